"""An encoder-decoder Transformer as files: model.safetensors, with the parameters under their own paths, and
config.json, with the fields of TransformerConfig; the vocabulary lies beside them.

    {"model_type": "gpt2np-transformer", "n_vocab": 4096, "n_ctx": 64, ..., "scripts": ["CJK"]}

No other program has a model with one table for both languages, these norms and fused projections in quite this form, so
the layout is this package's own.
"""

import json
import os
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from ..models.config import NORMS, TransformerConfig
from ..models.transformer import Transformer
from ..text.protocol import AnyTokenizer
from . import safetensors
from .errors import CheckpointError, shortened, some
from .files import write_text
from .gpt2_config import MAX_LAYERS
from .huggingface_gpt2 import CONFIG_FILE, MODEL_FILE, read_end_of_text
from .layout import Source
from .parameters import as_parameter, check_tensors, shapes_of, values_of
from .vocabularies import read_tokenizer, write_tokenizer

MODEL_TYPE = "gpt2np-transformer"
SIZES = tuple(field.name for field in fields(TransformerConfig) if field.type in (int, "int"))
OTHERS = {"model_type", "eos_token_id"}                 # what config.json has beside the fields of the config

MODEL = Transformer
FILES = (MODEL_FILE, CONFIG_FILE)


def is_mine(source: Source) -> bool:
    """Whether a source has weights in safetensors, and a config.json that says what they are."""
    file = source.path if source.path != source.folder else source.folder / MODEL_FILE
    if not os.path.isfile(file) or file.suffix != ".safetensors":
        return False
    try:
        return source.json(CONFIG_FILE).get("model_type") == MODEL_TYPE
    except CheckpointError:                             # whoever reads it says what is wrong
        return False


def read(source: Source, dtype: DTypeLike = np.float32) -> tuple[Transformer, AnyTokenizer | None]:
    """The model in a folder or a .safetensors file, with config.json beside it, and its tokenizer: see Layout."""
    config = read_config(source)
    file = source.path if source.path != source.folder else source.folder / MODEL_FILE
    model, (tensors, _) = Transformer(config, dtype=dtype), safetensors.read(file)
    check_tensors(file, tensors, shapes_of(model), "Transformer")
    for path, parameter in model.named_parameters():    # first, since they justify the number of tokens
        parameter.value = as_parameter(file, path, tensors.pop(path), dtype)
    return model, read_tokenizer(source.folder, config.n_vocab, read_end_of_text(source, config))


def read_config(source: Source) -> TransformerConfig:
    """What config.json says; CheckpointError if it does not hold the fields of the config, or anything unknown."""
    path, found = source.folder / CONFIG_FILE, source.json(CONFIG_FILE)
    names = [field.name for field in fields(TransformerConfig)]
    if missing := [name for name in names if name not in found]:
        raise CheckpointError(path, f"it lacks {', '.join(missing)}")
    if unknown := [name for name in found if name not in names and name not in OTHERS]:
        raise CheckpointError(path, "it holds something that a Transformer does not have", found=some(unknown))
    for name in SIZES:
        most, value = MAX_LAYERS if name == "n_layer" else 2**31 - 1, found[name]
        if type(value) is not int or not 1 <= value <= most:            # True is an instance of int
            raise CheckpointError(path, name, expected=f"a whole number from 1 to {most}", found=shortened(value))
    if found["n_embd"] % found["n_head"]:
        raise CheckpointError(path, "n_embd is not a multiple of n_head",
                              found=f"{found['n_embd']} and {found['n_head']}")
    if found["norms"] not in NORMS:
        raise CheckpointError(path, "norms", expected=f"one of {', '.join(map(repr, NORMS))}",
                              found=shortened(found["norms"]))
    if type(found["source_end"]) is not bool:
        raise CheckpointError(path, "source_end", expected="true or false", found=shortened(found["source_end"]))
    scripts = found["scripts"]
    if not isinstance(scripts, list) or not all(isinstance(name, str) for name in scripts):
        raise CheckpointError(path, "scripts", expected="a list of names", found=shortened(scripts))
    return TransformerConfig(**{name: found[name] for name in names} | {"scripts": tuple(scripts)})


def write(folder: Path, model: Transformer, tokenizer: AnyTokenizer | None, dtype: DTypeLike = np.float32) -> None:
    """Write a model into an empty folder, as float32 or float16: see Layout."""
    config, end_of_text = model.config, None if tokenizer is None else tokenizer.end_of_text
    values = values_of(model, Transformer(config), folder, dtype)
    write_tokenizer(folder, tokenizer, config.n_vocab)
    safetensors.write(folder / MODEL_FILE, values)
    said = {"model_type": MODEL_TYPE, **asdict(config), "eos_token_id": end_of_text}
    write_text(folder / CONFIG_FILE, json.dumps(said, indent=2) + "\n")
