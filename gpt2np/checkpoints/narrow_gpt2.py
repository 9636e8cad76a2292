"""A GPT-2 with narrow matrices (adapt/narrow.py): Hugging Face's layout, with codes in the place of each matrix.

    h.3.attn.c_attn.codes      (in, out), int8, float16, or uint16 for the bits of bfloat16
    h.3.attn.c_attn.scale      (out,) or (1,), float32, of int8 alone
    h.3.attn.c_attn.bias ...   all else as it is in that layout, in float32

config.json says which they are, under quantization_config: {"quant_method": "gpt2np", "scheme": "int8"}. Other programs
see there that the file is not for them.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..adapt.narrow import SCHEMES, matrices, scheme_of
from ..adapt.replacing import replace
from ..device import to_host
from ..hints import Array
from ..models.gpt2 import GPT2
from ..text.huggingface import PAIR
from ..text.protocol import AnyTokenizer
from . import safetensors
from .errors import CheckpointError, shortened
from .files import write_text
from .huggingface_gpt2 import (
    CONFIG_FILE,
    MODEL_FILE,
    blank,
    fields_of,
    like,
    read_config,
    read_end_of_text,
    tensor_name,
)
from .huggingface_gpt2 import FILES as FILES
from .layout import Source
from .parameters import as_parameter, check_tensors
from .vocabularies import read_tokenizer, write_tokenizer

MODEL = GPT2
FIELD, METHOD = "quantization_config", "gpt2np"


def is_mine(source: Source) -> bool:
    """Whether a folder's config.json says so."""
    if not all(os.path.isfile(source.folder / name) for name in FILES):
        return False
    try:
        about = source.json(CONFIG_FILE).get(FIELD)
    except CheckpointError:                             # which whoever reads it will say
        return False
    return isinstance(about, dict) and about.get("quant_method") == METHOD


def read(source: Source, dtype: DTypeLike = np.float32) -> tuple[GPT2, AnyTokenizer | None]:
    """The model, its matrices as narrow as in the file, and its tokenizer: see Layout."""
    config, scheme = read_config(source), source.json(CONFIG_FILE)[FIELD].get("scheme")
    if not isinstance(scheme, str) or scheme not in SCHEMES:
        raise CheckpointError(source.folder / CONFIG_FILE, "scheme is not known", found=shortened(scheme),
                              expected=f"one of {', '.join(SCHEMES)}")
    path = source.folder / MODEL_FILE
    tensors, _ = safetensors.read(path)
    model, kind = blank(source, config, dtype), SCHEMES[scheme]
    check_tensors(path, tensors, shapes_in_file(model, kind), f"GPT-2 in {scheme}")
    paths = {id(layer): name for name, layer in model.named_modules()}
    replace(model, matrices(model), lambda layer: kind(layer, arrays_for(path, tensors, paths[id(layer)], kind)))
    for name, parameter in model.named_parameters():
        parameter.value = as_parameter(path, tensor_name(name), tensors[tensor_name(name)], dtype)
    return model, read_tokenizer(source.folder, config.n_vocab, read_end_of_text(source, config))


def shapes_in_file(model: GPT2, kind: Any) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor, given a model that is not narrow yet."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, parameter in model.named_parameters():
        if name.endswith(".w"):                         # in a GPT-2, of the blocks' matrices alone
            n_in, n_out = parameter.shape
            shapes |= {f"{name[:-1]}{part}": shape for part, (shape, _) in kind.shapes(n_in, n_out).items()}
        else:
            shapes[tensor_name(name)] = parameter.shape
    return shapes


def arrays_for(file: Path, tensors: Mapping[str, Array], path: str, kind: Any) -> dict[str, Array]:
    """What a file has for one matrix; CheckpointError for another dtype, or numbers that are not finite."""
    arrays = {}
    for part, (_, dtype) in kind.shapes(0, 0).items():
        array = tensors[name := f"{path}.{part}"]
        if array.dtype != dtype:
            raise CheckpointError(file, "its dtype is wrong", name, np.dtype(dtype), array.dtype)
        arrays[part] = as_parameter(file, name, array, array.dtype) if array.dtype.kind == "f" else array
    return arrays


def write(folder: Path, model: GPT2, tokenizer: AnyTokenizer | None, dtype: DTypeLike = np.float32) -> None:
    """Write a narrow model into an empty folder: see Layout.

    dtype   of what is not narrow
    """
    scheme = scheme_of(model)
    if scheme is None:
        raise CheckpointError(folder, "its matrices are not narrow: python -m gpt2np.quantize --out makes them so")
    values = {tensor_name(name): as_parameter(folder, name, to_host(p.value), dtype)
              for name, p in model.named_parameters()}
    values |= {name: to_host(constant.value) for name, constant in model.named_constants()}
    check_tensors(folder, values, shapes_in_file(like(model), SCHEMES[scheme]), f"GPT-2 in {scheme}")
    write_tokenizer(folder, tokenizer, model.config.n_vocab, PAIR)
    safetensors.write(folder / MODEL_FILE, values)
    fields = {"architectures": ["GPT2LMHeadModel"], **fields_of(model, tokenizer),
              FIELD: {"quant_method": METHOD, "scheme": scheme}}
    write_text(folder / CONFIG_FILE, json.dumps(fields, indent=2) + "\n")
