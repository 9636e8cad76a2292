"""Every number of one step, in one file, for a port to compare with:  python -m gpt2np.oracle "text" --out FILE"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.oracle")

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .adapt.narrow import scheme_of
from .checkpoints.loading import NAMES
from .command import Parser, not_empty, real, run_command
from .interpret.oracle import Difference, arrays_of, compare, files_of, write
from .interpret.taps import InterpretError
from .interrupts import leave
from .model_names import load_with_tokenizer
from .models.gpt2 import GPT2
from .terminal import wrapped


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(run, arguments, "interrupted: nothing was written")


def run(arguments: Sequence[str] | None) -> int:
    """Write what the arguments ask for, and compare.  1 where something differs."""
    parser = Parser(
        "oracle", usage='%(prog)s ["TEXT"] [--out FILE] [--compare OTHER] [OPTIONS]',
        description="Write every number of one step of GPT-2 on a text, by name and in the order of computation: "
                    "parameters, activations, loss, gradients. Or compare them with those of your own program, and "
                    "say where it goes wrong first. In brackets: what holds where nothing is said.",
        epilog="FILE.safetensors is written with the same as FILE.npz, and FILE.json, which lists name, shape and "
               "equation. OTHER may hold some of the arrays only.",
        known_as={"-m": "--model", "-o": "--out", "--output": "--out", "--against": "--compare", "--with": "--compare",
                  "--tol": "--tolerance", "--text": "the text stands for itself, as in: oracle \"To be\" --out FILE"},
        examples=('python -m gpt2np.oracle "To be, or not to be" --out oracle.safetensors',
                  'python -m gpt2np.oracle --out oracle.safetensors --compare mine.npz',
                  'python -m gpt2np.oracle "To be" --compare mine.npz --dtype float64'))
    parser.add_argument("text", nargs="?", metavar="TEXT",
                        help="two tokens at least: the loss is that of each token but the first")
    parser.add_argument("--out", type=not_empty, metavar="FILE",
                        help="the file to write, whose name ends in .safetensors; without TEXT, the one to read")
    parser.add_argument("--compare", type=not_empty, metavar="OTHER", help=".safetensors or .npz of another program")
    parser.add_argument("--model", type=not_empty, default="demo",
                        help=f"one of {', '.join(NAMES)}; or the path of a model's folder (%(default)s)")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32",
                        help="in which all is worked out (%(default)s)")
    parser.add_argument("--tolerance", type=real, metavar="X",
                        help="how far the largest difference of an array may be, as a part of its largest number "
                             "(1e-4 for float32, 1e-9 for float64)")
    options = parser.parse_args(arguments)
    if not (options.out or options.compare):
        parser.error("expected --out FILE, to write, or --compare OTHER, or both")
    if options.text is None and not (options.out and options.compare):
        parser.error("expected a text in quotes; without one, --out FILE and --compare OTHER")
    if options.compare and not os.path.exists(options.compare):
        open(options.compare, "rb").close()             # said before the work begins
    if options.text is None:
        found = compare(options.out, options.compare, options.tolerance)
    else:
        arrays = written(options.text, options.model, options.dtype, options.out)
        if not options.compare:
            return 0
        found = compare(arrays, options.compare, options.tolerance)
    return said(found, options.compare)


def written(text: str, name: str, dtype: str, out: str | None) -> dict[str, np.ndarray]:
    """The arrays of one step, which are in the files too where a name for those is given."""
    if out:
        files_of(out)                                   # a name that cannot be is said before the work begins
    model, tokenizer = load_with_tokenizer(name)
    if not isinstance(model, GPT2):
        raise InterpretError(f"{name}: expected a GPT2, got a {type(model).__name__}")
    tokens = tokenizer.encode(text)
    if not 2 <= len(tokens) <= model.n_ctx + 1:
        raise InterpretError(f"the text: expected from 2 to {model.n_ctx + 1:,} tokens, for the model sees "
                             f"{model.n_ctx:,} and each is to be followed by one, got {len(tokens):,}")
    if scheme := scheme_of(model):
        raise InterpretError(f"{name}: expected a model whose matrices are parameters, got one in {scheme}: name the "
                             "model that it was made from")
    for _, p in model.named_parameters():
        p.value = p.value.astype(dtype)
    batch = np.array([tokens[:-1]]), np.array([tokens[1:]])
    arrays = arrays_of(model, *batch)
    if out is None:
        return arrays
    paths = write(out, arrays)
    size = sum(path.stat().st_size for path in paths)
    print(wrapped(f"{len(arrays)} arrays of one step on {len(tokens) - 1} tokens, loss {float(arrays['loss']):.6f}, "
                  f"{size / 1e6:,.1f} MB: {', '.join(str(path) for path in paths)}"))
    print(wrapped(f"next: python -m gpt2np.oracle --out {shlex.quote(out)} --compare YOURS.npz"))
    return arrays


def said(found: Difference | int, other: str) -> int:
    """Print what a comparison has found.  Returns the exit status."""
    if isinstance(found, int):
        print(wrapped(f"{Path(other)}: all {found} arrays agree"))
        return 0
    for line in str(found).split("\n"):
        print(wrapped(line, indent="    " if line.startswith(" ") else ""))
    if found.missing:
        shown = ", ".join(found.missing[:3])
        print(wrapped(f"{len(found.missing)} arrays of the oracle are not in {Path(other)}: {shown}"
                      + ", ..." * (len(found.missing) > 3)))
    return 1


if __name__ == "__main__":
    leave(main())
