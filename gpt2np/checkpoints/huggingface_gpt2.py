"""A GPT-2 in Hugging Face's layout: model.safetensors, and config.json beside it.

Names differ from OpenAI's (h.3.attn.c_attn.weight for model/h3/attn/c_attn/w), and may all begin with "transformer.".
Shapes do not: Hugging Face keeps OpenAI's (in, out) in a layer that it calls Conv1D, so nothing is transposed. Two
things that are no parameters may be there as well: the causal mask as a buffer, which is ignored, and the head of the
model, which is wte.

huggingface/transformers, src/transformers/models/gpt2/{configuration_gpt2,modeling_gpt2}.py.
"""

import json
import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from ..hints import Array
from ..models.config import GPT2Config
from ..models.gpt2 import GPT2
from ..text.protocol import AnyTokenizer
from . import safetensors
from .errors import CheckpointError, shortened
from .files import write_text
from .gpt2_config import config_of
from .layout import Source
from .parameters import as_parameter, check_tensors, shapes_of, values_of
from .vocabularies import HUGGING_FACE_FILES, read_tokenizer, write_tokenizer

MODEL_FILE, CONFIG_FILE = "model.safetensors", "config.json"
PREFIX, HEAD = "transformer.", "lm_head.weight"
MASK = re.compile(r"h\.([0-9]{1,4})\.attn\.(bias|masked_bias)")
FIELDS = {"n_vocab": "vocab_size", "n_ctx": "n_positions", "n_embd": "n_embd", "n_head": "n_head", "n_layer": "n_layer"}

# What config.json may say of a model whose arithmetic is GPT-2's. A field that is absent has the first value.
ARITHMETIC = {"model_type": ("gpt2",), "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
              "layer_norm_epsilon": (1e-5,), "scale_attn_weights": (True,), "scale_attn_by_inverse_layer_idx": (False,),
              "add_cross_attention": (False,), "tie_word_embeddings": (True,)}

MODEL = GPT2
FILES = (MODEL_FILE, CONFIG_FILE)


def is_mine(source: Source) -> bool:
    """Whether a source is a .safetensors file, or a folder with one of that name."""
    return os.path.exists(source.path / MODEL_FILE) or (
        os.path.isfile(source.path) and source.path.suffix == ".safetensors")


def read(source: Source, dtype: DTypeLike = np.float32) -> tuple[GPT2, AnyTokenizer]:
    """The model in a folder or a .safetensors file, with config.json beside it, and its tokenizer: see Layout."""
    config = read_config(source)
    tokenizer = read_tokenizer(source.folder, config.n_vocab)
    return read_weights(source, config, dtype), tokenizer


def read_config(source: Source) -> GPT2Config:
    """The sizes in config.json, which go by other names there.

    Raises CheckpointError for one that does not describe a GPT-2: another model, another activation, another epsilon,
    ...
    """
    path, fields = source.folder / CONFIG_FILE, source.json(CONFIG_FILE)
    for field, values in ARITHMETIC.items():
        if (value := fields.get(field, values[0])) not in values:
            expected = " or ".join(map(repr, values))
            raise CheckpointError(path, f"{field} is not GPT-2's", expected=expected, found=shortened(value))
    if missing := [field for field in FIELDS.values() if field not in fields]:
        raise CheckpointError(path, f"it lacks {', '.join(missing)}")
    config = config_of(path, {name: fields[field] for name, field in FIELDS.items()})
    for field, value in (("n_ctx", config.n_ctx), ("n_inner", 4 * config.n_embd)):
        if fields.get(field) not in (None, value):
            found = shortened(fields[field])
            raise CheckpointError(path, f"{field} contradicts the other numbers", expected=value, found=found)
    return config


def read_weights(source: Source, config: GPT2Config, dtype: DTypeLike = np.float32) -> GPT2:
    """The model that the config asks for, with the weights in a .safetensors file, everything checked.

    dtype     what the parameters are to be; those that are it already, at a fitting address, are mapped from the file

    Raises CheckpointError, and nothing else, for whatever is wrong with the file.
    """
    model = GPT2(config, dtype=dtype)
    path = source.path / MODEL_FILE if source.path == source.folder else source.path
    tensors, _ = safetensors.read(path)
    tensors = _without_prefix(path, tensors)
    head = tensors.pop(HEAD, None)
    _drop_masks(path, tensors, config)
    check_tensors(path, tensors, {tensor_name(name): shape for name, shape in shapes_of(model).items()})
    if head is not None and not np.array_equal(head, tensors["wte.weight"]):
        raise CheckpointError(path, "it differs from wte.weight, but GPT-2 has one matrix for both", HEAD)
    for name, parameter in model.named_parameters():
        parameter.value = as_parameter(path, tensor_name(name), tensors.pop(tensor_name(name)), dtype)
    return model


def write(folder: Path, model: GPT2, tokenizer: AnyTokenizer | None, dtype: DTypeLike = np.float32) -> None:
    """Write a model into an empty folder, so that transformers can read it, and so can `read`: see Layout.

    dtype   of the numbers in the file: float32 or float16
    """
    config, end_of_text = model.config, None if tokenizer is None else tokenizer.end_of_text
    values = values_of(model, GPT2(config), folder, dtype)
    write_tokenizer(folder, tokenizer, config.n_vocab, HUGGING_FACE_FILES)
    tensors = {tensor_name(path): value for path, value in values.items()}
    safetensors.write(folder / MODEL_FILE, tensors, {"format": "pt"})          # transformers refuses a file without it
    fields = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2",
              **{field: getattr(config, name) for name, field in FIELDS.items()}, "n_ctx": config.n_ctx,
              "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "initializer_range": 0.02,
              "bos_token_id": end_of_text, "eos_token_id": end_of_text}
    write_text(folder / CONFIG_FILE, json.dumps(fields, indent=2) + "\n")


def tensor_name(path: str) -> str:
    """Hugging Face's name of a parameter, without the prefix: h.3.attn.c_attn.weight for h.3.attn.c_attn.w."""
    stem, _, last = path.rpartition(".")
    return f"{stem}.{'bias' if last == 'b' else 'weight'}" if last in ("w", "g", "b") else f"{path}.weight"


def _without_prefix(path: Path, tensors: dict[str, Array]) -> dict[str, Array]:
    names = [name for name in tensors if name != HEAD]
    with_it = [name for name in names if name.startswith(PREFIX)]
    if not with_it:
        return tensors
    if len(with_it) != len(names):
        other = next(name for name in names if not name.startswith(PREFIX))
        raise CheckpointError(path, f"some names begin with {PREFIX!r} and some do not", other)
    return {name if name == HEAD else name.removeprefix(PREFIX): array for name, array in tensors.items()}


def _drop_masks(path: Path, tensors: dict[str, Array], config: GPT2Config) -> None:
    """Take out the causal masks, (1, 1, n_ctx, n_ctx), and the single number of older files for what is masked."""
    for name in list(tensors):
        match = MASK.fullmatch(name)
        if match and int(match[1]) < config.n_layer:
            shape = (1, 1, config.n_ctx, config.n_ctx) if match[2] == "bias" else ()
            if tensors.pop(name).shape != shape:
                raise CheckpointError(path, "it should be a mask, and its shape is wrong", name, expected=shape)
