"""From what people call a model, or a vocabulary, to what is loaded.

A model is called demo, demo-zh, translation, fill, 124M, 355M, 774M or 1558M, or by the path of its folder
(checkpoints/loading.py). Understood are

    gpt2, gpt2-medium, gpt2-large, gpt2-xl      too, Hugging Face's names of OpenAI's four
    demo/                                       a name with a slash behind it, as a shell completes it
    demo_zh                                     the name of its package
    RUN, RUN/run.json                           the folder of a run: its best model so far

but for what lies under that path itself.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .checkpoints import adapters, loading, peft
from .checkpoints.errors import CheckpointError
from .models.config import SIZES
from .models.gpt2 import GPT2
from .models.heads import Classifier
from .nearest import did_you_mean
from .text.bpe import Tokenizer
from .text.huggingface import read_tokenizer
from .text.protocol import AnyTokenizer
from .text.vocab_txt import is_vocab_txt
from .text.vocabulary import TokenizerError
from .text.wordpiece import WordPiece
from .training.heads import put_head_on

OTHER_NAMES = {"gpt2": "124M", "gpt2-small": "124M", "gpt2-medium": "355M", "gpt2-large": "774M", "gpt2-xl": "1558M",
               "demo_zh": "demo-zh"}
RUN, BEST = "run.json", "best"                          # of training/run_folder.py


def load(name_or_path: str | Path = "demo", dtype: DTypeLike = np.float32,
         adapter: str | Path | None = None) -> tuple[Any, AnyTokenizer | None]:
    """A model and its tokenizer, None where a folder has no vocabulary.

        model, tokenizer = gpt2np.load("124M")

    name_or_path   demo, demo-zh, translation, fill, 124M, 355M, 774M, 1558M; or the path of a folder in OpenAI's or
                   Hugging Face's layout, or in that of a Transformer, of a .safetensors file with config.json beside
                   it, of one of several checkpoints of TensorFlow's, as tf/model-1000, or of a run's folder (a folder
                   here that is called 124M: ./124M)
    dtype          float32, which is mapped from the file where it lies (so keep the file as it is while the model is in
                   use; training changes only this process's copy), or float64
    adapter        the folder of one that was trained on this model, here or with peft, or of the run that did; a head
                   that it brings along is put on the model

    Raises CheckpointError for a model that is not there or not as it must be, and ValueError for another dtype.
    """
    model, tokenizer = loading.load(find_model(name_or_path), dtype)
    if adapter is not None:
        model = adapted(model, adapter)
    return model, tokenizer


def load_with_tokenizer(name_or_path: str | Path = "demo", dtype: DTypeLike = np.float32,
                        kind: type[Any] = GPT2, adapter: str | Path | None = None) -> tuple[Any, AnyTokenizer]:
    """The same for whoever needs text; CheckpointError where there is no tokenizer, or a model of another class."""
    model, tokenizer = loading.load_with_tokenizer(find_model(name_or_path), dtype, kind)
    if adapter is not None:
        put_adapter(model, adapter)
    return model, tokenizer


def adapted(model: Any, adapter: str | Path) -> Any:
    """A model with all that an adapter brings along: what was trained beside it, and the head, where there is one."""
    model = with_its_head(model, adapter)
    put_adapter(model, adapter)
    return model


def with_its_head(model: Any, adapter: str | Path) -> Any:
    """A model with the head that an adapter brings along, for the adapter to fill; without one, the model itself."""
    folder = find_adapter(adapter)
    head = adapters.read_head(folder) if adapters.is_adapter(folder) else None
    if head is None:
        return model
    below: Any = model.body if isinstance(model, Classifier) else model
    try:
        return put_head_on(below, head.kind, head.labels, None, objective=head.objective)[0]
    except ValueError as error:
        raise CheckpointError(folder, f"its head does not go on this model: {error}") from None


def put_adapter(model: GPT2, adapter: str | Path) -> None:
    """Add to a model what is in the folder of an adapter, ours or peft's; CheckpointError for what is none."""
    folder = find_adapter(adapter)
    read = adapters.read_adapter if adapters.is_adapter(folder) else peft.read_peft
    read(folder, model)


def name_of(model: str | None, adapter: str | None, usual: str) -> str:
    """The model that is meant where --model and --adapter are options: what is named, what the adapter names, or the
    usual one."""
    return model or (usual if adapter is None else base_of(adapter))


def base_of(adapter: str | Path) -> str:
    """The name or path of the model that an adapter was trained on, as its file has it."""
    folder = find_adapter(adapter)
    if adapters.is_adapter(folder):
        return adapters.read_about(folder)["base"]
    return known_as(peft.read_base(folder))


def find_adapter(adapter: str | Path) -> Path:
    """The folder with its files: of a run, that of its best one."""
    folder = Path(adapter)
    folder = folder / BEST if os.path.isfile(folder / RUN) else folder
    if not adapters.is_adapter(folder) and not peft.is_peft(folder):
        what = "there is no such folder" if not os.path.isdir(folder) else "it is not the folder of an adapter"
        raise CheckpointError(repr(str(adapter)), f"{what}: expected one with {adapters.ADAPTER_FILE}, or with peft's "
                              f"{peft.CONFIG_FILE}")
    return folder


def find_model(name_or_path: str | Path) -> str | Path:
    """The name or path that is loaded for what was typed; CheckpointError with what is near, where there is nothing."""
    typed = os.fspath(name_or_path)
    if typed in loading.NAMES:
        return typed
    if not os.path.lexists(typed) and (name := known_as(typed)) in loading.NAMES:
        return name
    run = Path(typed).parent if Path(typed).name == RUN else Path(typed)
    if os.path.isfile(run / RUN):
        if not os.path.isdir(run / BEST):
            raise CheckpointError(run, "the folder of a run that has kept no model yet; go on with it by --resume")
        return run / BEST
    try:
        loading.find(typed)
    except CheckpointError as error:
        names = [*loading.NAMES, *OTHER_NAMES, *folders_beside(typed)]
        raise CheckpointError(error.file, error.problem + did_you_mean(typed, names)) from None
    return typed                                        # as it is: ./demo is not demo


def known_as(typed: str) -> str:
    """The name here of one of OpenAI's models, or of the demo, whatever it was called; anything else as it is."""
    bare = typed.rstrip("/" + os.sep).removeprefix("openai-community/")
    return OTHER_NAMES.get(bare, bare)


def folders_beside(typed: str) -> list[str]:
    """The folders that are where a path would have been."""
    parent = Path(typed).parent
    try:
        return [str(parent / entry.name) for entry in os.scandir(parent) if entry.is_dir() and entry.name[0] != "."]
    except (OSError, ValueError):                       # ValueError: a zero byte in it
        return []


def vocabulary(name_or_path: str | Path) -> Tokenizer | WordPiece:
    """The tokenizer that goes by a name, gpt2 or that of a model which comes with it, or that lies in a folder.

    Raises CheckpointError where there is no such folder, TokenizerError or OSError for files that are none.
    """
    typed = os.fspath(name_or_path)
    if (name := known_as(typed)) in SIZES:              # all of them have GPT-2's, which comes with the package
        return Tokenizer.gpt2()
    names = ("gpt2", *loading.EMBEDDED)
    if name not in names and not os.path.lexists(typed):
        near = did_you_mean(typed, [*names, *folders_beside(typed)])
        raise CheckpointError(repr(typed), f"neither a vocabulary's name ({', '.join(names)}) nor the folder of one"
                              f"{near}")
    folder = loading.find(find_model(typed))
    if is_vocab_txt(folder):                            # a file of any name, too
        return WordPiece.load(folder)
    try:
        return read_tokenizer(folder) or Tokenizer.load(folder)         # whose message says what should be there
    except TokenizerError as error:
        said = f"the vocabulary in {folder} cannot be used: "
        raise TokenizerError(said + str(error).removeprefix(said)) from None
