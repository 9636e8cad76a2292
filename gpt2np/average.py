"""Average the weights of several checkpoints of a run:  python -m gpt2np.average RUN --out DIR

Towards the end of a run the weights circle round a better place than any of them is in: their mean lies nearer to it.
Vaswani et al. 2017, arXiv:1706.03762, section 6.1, take the last 5 checkpoints of their base model.
"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.average")

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .adapt.narrow import scheme_of
from .blocks.multihead import SelfAttention
from .checkpoints.errors import CheckpointError
from .checkpoints.loading import expect_new, save
from .command import Parser, not_empty, run_command, whole
from .interrupts import leave
from .layers.module import Module
from .model_names import RUN, find_model, load_with_tokenizer
from .terminal import wrapped
from .text.protocol import AnyTokenizer
from .training import run_folder


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(average, arguments, "interrupted: nothing was written")


def average(arguments: Sequence[str] | None) -> None:
    """Write what the arguments ask for."""
    parser = Parser("average", usage="%(prog)s RUN --out DIR [--last N]\n       %(prog)s MODEL MODEL ... --out DIR",
                    description="Write the model whose weights are the mean of those of several. In brackets: what "
                                "holds where nothing is said.",
                    epilog="A run keeps its last N checkpoints where it was begun with train --keep N.",
                    known_as={"--inputs": "the models stand for themselves, as in: average run --out mean",
                              "--output": "--out", "-o": "--out", "--num-epoch-checkpoints": "--last"},
                    examples=("python -m gpt2np.average run --last 5 --out mean",
                              "python -m gpt2np.average run-1/best run-2/best --out mean"))
    parser.add_argument("models", nargs="+", type=not_empty, metavar="RUN",
                        help="the folder of a run, for the checkpoints that it has kept; or that of a model")
    parser.add_argument("--out", required=True, type=not_empty, metavar="DIR", help="the folder to make")
    parser.add_argument("--last", type=whole(1), metavar="N", help="of a run, only the last N checkpoints (all)")
    options = parser.parse_args(arguments)
    expect_new(options.out)
    if options.last and (others := [name for name in options.models if not is_run(name)]):
        parser.error(f"--last: expected the folder of a run before it, got {others[0]}, which has no checkpoints")
    paths = [path for name in options.models for path in checkpoints_of(name, options.last)]
    for path in paths:
        find_model(path)                                # what is not there is said before the work begins
    if len(paths) < 2:
        raise CheckpointError(options.models[0], "it is one model, and the mean of one is itself: name several, or a "
                              "run that was begun with --keep 2 or more")
    model, tokenizer = load_with_tokenizer(paths[0], kind=Module)
    set_mean(model, tokenizer, paths)
    save(options.out, model, tokenizer)
    print(wrapped(f"the mean of {len(paths)} models, {', '.join(map(str, paths))}, is in {options.out}"))


def is_run(name: str) -> bool:
    """Whether a name is the folder of a run, which has checkpoints."""
    return os.path.isfile(Path(name, RUN))


def checkpoints_of(name: str, last: int | None) -> list[str | Path]:
    """The checkpoints of a run, the last ones; anything else is the name or the path of a model."""
    if not is_run(name):
        return [name]
    found: list[str | Path] = [*run_folder.checkpoints(name)]
    return found[-last:] if last else found


def set_mean(model: Any, tokenizer: AnyTokenizer, paths: Sequence[str | Path]) -> None:
    """Give a model, the first one's, the mean of the parameters of all: in double precision, one model after another.

    CheckpointError for models that are not alike: see expect_alike.
    """
    expect_wide(paths[0], model)
    total = {path: p.value.astype(np.float64) for path, p in model.named_parameters()}
    for name in paths[1:]:
        other, its_tokenizer = load_with_tokenizer(name, kind=Module)
        expect_alike(name, other, its_tokenizer, model, tokenizer)
        for path, p in other.named_parameters():
            total[path] += p.value
    for path, p in model.named_parameters():
        p.value = (total[path] / len(paths)).astype(p.value.dtype)


def expect_wide(name: str | Path, model: Module) -> None:
    """CheckpointError for a model whose matrices are whole numbers, and no parameters."""
    if scheme := scheme_of(model):
        raise CheckpointError(name, f"its matrices are in {scheme}: name the model that it was made from, and quantize "
                              "the mean")


def expect_alike(name: str | Path, other: Any, its_tokenizer: AnyTokenizer, model: Any,
                 tokenizer: AnyTokenizer) -> None:
    """CheckpointError for a model in which the same number stands for something else than in the first: one of another
    class or other sizes, without other heads, of other tokens or labels.
    """
    expect_wide(name, other)
    if type(other) is not type(model) or other.config != model.config:
        raise CheckpointError(name, "it is not a model of the sizes of the first", expected=model.config,
                              found=other.config)
    if (here := heads_gone(other)) != (there := heads_gone(model)):
        raise CheckpointError(name, "it is not a model with the heads of the first", expected=f"all but {there}",
                              found=f"all but {here}")
    if its_tokenizer.fingerprint() != tokenizer.fingerprint():
        raise CheckpointError(name, "its tokens are not those of the first, so a row of its table is another token's: "
                              "train both with the same --vocab")
    for what in ("labels", "objective"):
        expected, found = (getattr(one, what, None) for one in (model, other))
        if expected != found:
            raise CheckpointError(name, f"its {what} is not that of the first" if what == "objective" else
                                  f"its {what} are not those of the first", expected=expected, found=found)


def heads_gone(model: Module) -> dict[str, list[int]]:
    """The heads that were taken out of a model, by the path of their attention."""
    return {path: list(layer.gone) for path, layer in model.named_modules()
            if isinstance(layer, SelfAttention) and layer.gone}


if __name__ == "__main__":
    leave(main())
