"""From a name or a path to a model and its tokenizer, and back into a folder.

A name is one of demo, demo-zh, translation, fill, 124M, 355M, 774M, 1558M, and stands for the folder of that name in
the first of these places that has it: $GPT2NP_WEIGHTS; weights/ beside the package, in a clone of the repository;
gpt2np/ in the user's cache folder; the package itself, into which an installation puts those that come with it.

Chapter: S003 5.2.
"""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..adapt.narrow import scheme_of
from ..adapt.trimming import taken_out
from ..layers.module import Module
from ..models.bert import BERT, BertForPreTraining
from ..models.config import SIZES
from ..models.gpt2 import GPT2
from ..models.heads import AnswerFinder, Classifier, TokenClassifier
from ..models.transformer import Transformer
from ..text.protocol import AnyTokenizer
from . import huggingface_bert, huggingface_gpt2, huggingface_heads, narrow_gpt2, openai_gpt2, transformer
from .errors import CheckpointError
from .files import map_file, sync_file, what_it_looks_like, whole_folder
from .layout import Layout, Source
from .vocabularies import VOCABULARY_FILES

DEMO, CHINESE_DEMO, TRANSLATION, FILL = EMBEDDED = "demo", "demo-zh", "translation", "fill"     # come with the package
GPT2_NAMES = (DEMO, CHINESE_DEMO, *SIZES)
NAMES = (*EMBEDDED, *SIZES)

PACKAGE = Path(__file__).parents[1]
TO_TRAIN = {TRANSLATION: "--task translation", FILL: "--task masked FILE"}      # by whoever has no clone, no wheel

# What other programs leave in a folder, and what is said of it where nothing else is there.
PICKLE = "a pickle, which can run any code: ask for model.safetensors"
BESIDE = "which is nothing without its model: it goes behind --adapter; convert --merge makes one model of both"
OTHERS = {"pytorch_model*.bin": PICKLE, "*.pt": PICKLE, "*.pth": PICKLE, "*.ckpt": PICKLE,
          "model-*-of-*.safetensors": f"a part of a model: {huggingface_gpt2.SHARDS_FILE} says where the others are",
          "adapter.json": f"an adapter's, {BESIDE}", "adapter_config.json": f"an adapter's (peft), {BESIDE}",
          "tf_model.h5": "Keras's, which is not read: ask for model.safetensors",
          "flax_model.msgpack": "Flax's, which is not read: ask for model.safetensors",
          "*.gguf": "llama.cpp's, which is not read: ask for model.safetensors",
          "*.onnx": "ONNX's, which is not read: ask for model.safetensors"}

# A source is read by the first one whose own it is, and a model is saved by the first one that writes its class.
LAYOUTS: Mapping[str, Layout] = {
    "openai": openai_gpt2,
    "transformer": transformer,
    "narrow": narrow_gpt2,
    "heads": huggingface_heads,
    "bert": huggingface_bert,
    "safetensors": huggingface_gpt2,
}

# What the models of a class are for, and the command that uses them, up to the model's name.
USES = {GPT2: ("goes on from a text", "generate --model"), Transformer: ("translates", "translate --model"),
        BERT: ("compares texts", "similar --model"), BertForPreTraining: ("fills gaps", "fill --model"),
        Classifier: ("labels texts", "label --model"), TokenClassifier: ("labels words", "label --model"),
        AnswerFinder: ("finds answers", "label --model")}


def load(name_or_path: str | Path, dtype: DTypeLike = np.float32) -> tuple[Any, AnyTokenizer | None]:
    """A model and its tokenizer, which is None where no vocabulary lies beside the weights.

        model, tokenizer = gpt2np.load("124M")

    name_or_path   demo, demo-zh, translation, fill, 124M, 355M, 774M, 1558M; or the path of a folder in OpenAI's or
                   Hugging Face's layout, or in that of a Transformer, of a .safetensors file with config.json beside
                   it, or of one of several checkpoints of TensorFlow's, as run/model-1000 (a folder here that is
                   called 124M: ./124M)
    dtype          float32, which is mapped from the file where it lies (so keep the file as it is while the model is in
                   use; training changes only this process's copy), or float64

    Raises CheckpointError for a model that is not there or not as it must be, and ValueError for another dtype.
    """
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype: expected float32 or float64, got {np.dtype(dtype)}")
    source = Source(find(name_or_path))
    for layout in LAYOUTS.values():
        if layout.is_mine(source):
            model, tokenizer = layout.read(source, dtype)
            if tokenizer is not None and tokenizer.unused:
                model.unused = list(tokenizer.unused)
            return model, tokenizer
    raise _not_a_model(source.path)


def load_with_tokenizer(name_or_path: str | Path, dtype: DTypeLike = np.float32,
                        kind: type[Module] = GPT2) -> tuple[Any, AnyTokenizer]:
    """The same for whoever needs text; CheckpointError where there is no tokenizer, or a model of another class.

    kind   GPT2, Transformer, BERT, BertForPreTraining, a class of heads.py; Module for any
    """
    model, tokenizer = load(name_or_path, dtype)
    if not isinstance(model, kind):
        (does, command), (wanted, _) = USES[type(model)], USES[kind]
        raise CheckpointError(name_or_path, f"expected a model that {wanted}, found one that {does}: python -m gpt2np."
                              f"{command} {shlex.quote(str(name_or_path))} uses it")
    if tokenizer is None:
        raise CheckpointError(find(name_or_path), "it lacks its vocabulary, so it can neither read nor write text: "
                              "expected tokenizer.json, vocab.json and merges.txt, encoder.json and vocab.bpe, or a "
                              "BERT's vocab.txt there")
    return model, tokenizer


def save(folder: str | Path, model: Module, tokenizer: AnyTokenizer | None) -> None:
    """Save a model and its tokenizer, as float32, for `load`: a GPT-2 in OpenAI's layout, which TensorFlow reads, too;
    one without some of its heads in Hugging Face's.

    folder      is made; a model that is there already is replaced, and stays whole until the new one is

    Raises CheckpointError if the folder holds anything but a model, if model and tokenizer do not belong together, or
    if a parameter is not finite; OSError where the disk refuses. See write_model for what a crash can leave behind.
    """
    write_model(folder, layout_of(model), model, tokenizer)


def expect_new(folder: str | Path) -> None:
    """CheckpointError for a folder that is there: `save` replaces a model; a slip of the hand in a command should not.
    """
    if os.path.lexists(folder):
        raise CheckpointError(folder, "it is there already: name a new folder")


def layout_of(model: Module) -> str:
    """The name of the layout that models of this class are saved in; ValueError if there is none."""
    if scheme_of(model) is not None:
        return "narrow"
    if isinstance(model, GPT2) and taken_out(model):
        return "safetensors"
    for name, layout in LAYOUTS.items():
        if isinstance(model, layout.MODEL):
            return name
    raise ValueError(f"model: expected one that has a layout of files, got a {type(model).__name__}")


def write_model(folder: str | Path, layout: str, model: Module, tokenizer: AnyTokenizer | None,
                dtype: DTypeLike = np.float32) -> None:
    """Write a model into a folder, whole or not at all.

    folder       is made; a model that is there already is replaced
    layout       "openai" or "safetensors" for a GPT-2, "transformer" for a Transformer, "bert" for a BERT, "heads"
                 for one of the two with a head
    dtype        of the numbers in the files: float32, or float16 for half their size and 11 significant bits

    A model that is there moves to .NAME.old in the moment before and is removed in the moment after: whatever happens,
    one whole model is in NAME or in .NAME.old (see whole_folder). Raises what `save` raises.
    """
    folder = Path(os.path.realpath(folder))
    _refuse_what_is_no_model(folder)
    with whole_folder(folder, _old(folder)) as new:
        write_files(new, layout, model, tokenizer, dtype)


def write_files(folder: Path, layout: str, model: Module, tokenizer: AnyTokenizer | None,
                dtype: DTypeLike = np.float32) -> None:
    """Write a model's files into an empty folder, and have them there for good: write_model's inner half."""
    kinds = LAYOUTS[layout].MODEL
    if not isinstance(model, kinds):
        names = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise CheckpointError(folder, f"the layout {layout} is for a {names}", found=f"a {type(model).__name__}")
    LAYOUTS[layout].write(folder, model, tokenizer, dtype)
    for path in folder.iterdir():
        sync_file(path)


def find(name_or_path: str | Path) -> Path:
    """The folder or file that a name or path stands for; CheckpointError if there is none."""
    name = str(name_or_path)
    if name in NAMES:
        for place in places():
            # A package's name has no hyphen: an installation puts demo-zh into gpt2np/demo_zh.
            if os.path.isdir(folder := place / (name.replace("-", "_") if place == PACKAGE else name)):
                return folder
        if name in SIZES:
            hint = f"to fetch it: python -m gpt2np.download {name}"
        elif name in TO_TRAIN:
            hint = f"to train one: python -m gpt2np.train {TO_TRAIN[name]} --out run; and then: --model run"
        else:
            hint = "to fetch another: python -m gpt2np.download 124M"
        raise CheckpointError(name, f"this model is in none of {', '.join(map(str, places()))}; {hint}")
    path = Path(name_or_path)
    if not (os.path.exists(path) or os.path.exists(f"{path}.index")):   # path.exists() may raise: a name too long, ...
        left = path.name and os.path.exists(_old(path))
        hint = f"; a crash while it was being replaced has left it as {_old(path)}: rename that" if left else ""
        raise CheckpointError(repr(str(path)),
                              f"neither a model's name ({', '.join(NAMES)}) nor the path of one" + hint)
    return path


def places() -> list[Path]:
    """The folders in which models go by their names, the first one first; downloads go there."""
    given = os.environ.get("GPT2NP_WEIGHTS")
    clone = Path(__file__).parents[2]
    cache = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/.cache")
    return [*([Path(given)] if given else []),
            *([clone / "weights"] if os.path.exists(clone / "pyproject.toml") else []),
            Path(cache) / "gpt2np", PACKAGE]


def _not_a_model(path: Path) -> CheckpointError:
    """The error for a path at which something lies, but no model that can be read."""
    if os.path.isfile(path):
        source = Source(path.parent)
        folder = f"name its folder, {path.parent}" if any(layout.is_mine(source) for layout in LAYOUTS.values()) else \
            "expected the folder of a model"
        looks = what_it_looks_like(map_file(path)[:200].tobytes())
        return CheckpointError(path, f"not a .safetensors file{looks}; {folder}")
    found = [(name, what) for pattern, what in OTHERS.items() for name in sorted(p.name for p in path.glob(pattern))]
    hint = f"; {found[0][0]} is {found[0][1]}" if found else ""
    return CheckpointError(path, f"it holds neither {openai_gpt2.INDEX_FILE} nor {huggingface_gpt2.MODEL_FILE}{hint}")


def _old(folder: Path) -> Path:
    """The name of a model in the moment in which another one replaces it."""
    return folder.with_name(f".{folder.name}.old")


def _refuse_what_is_no_model(folder: Path) -> None:
    """Saving replaces a folder: it must be one that holds a model's files and nothing that someone would miss."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise CheckpointError(folder, "a file, where the folder of a model should go")
    known = VOCABULARY_FILES.union(*(layout.FILES for layout in LAYOUTS.values()))
    if others := sorted(path.name for path in folder.iterdir() if path.name not in known or not path.is_file()):
        raise CheckpointError(folder, "it holds something that is not part of a model, and is left as it is",
                              found=repr(others[0]))
