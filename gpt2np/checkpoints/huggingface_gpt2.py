"""A GPT-2 in Hugging Face's layout: model.safetensors, and config.json beside it.

Large models are in several files, shards, and model.safetensors.index.json says which tensor is in which of them.

Names differ from OpenAI's (h.3.attn.c_attn.weight for model/h3/attn/c_attn/w), and may all begin with "transformer.".
Shapes do not: Hugging Face keeps OpenAI's (in, out) in a layer that it calls Conv1D, so nothing is transposed. Two
things that are no parameters may be there as well: the causal mask as a buffer, which is ignored, and the head of the
model, which is wte: both may be there, or one under the name of the other.

pruned_heads in config.json, as {"2": [0, 3]}, says which heads were taken out of a block, whose c_attn and c_proj are
smaller then, n_head being what it was. transformers up to 4 wrote and read it; 5 knows no such models.

huggingface/transformers, src/transformers/models/gpt2/{configuration_gpt2,modeling_gpt2}.py.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from ..adapt.replacing import AdaptError
from ..adapt.trimming import leave_out_heads, taken_out
from ..hints import Array
from ..layers.module import Module
from ..models.config import GPT2Config, TransformerConfig
from ..models.gpt2 import GPT2
from ..text.huggingface import PAIR
from ..text.protocol import AnyTokenizer
from . import safetensors
from .errors import CheckpointError, shortened, some
from .files import write_text
from .gpt2_config import config_of
from .layout import Source
from .parameters import as_parameter, check_tensors, shapes_of, values_of
from .vocabularies import read_tokenizer, write_tokenizer

MODEL_FILE, CONFIG_FILE, GENERATION_FILE = "model.safetensors", "config.json", "generation_config.json"
SHARDS_FILE = "model.safetensors.index.json"
MAX_SHARDS_BYTES = 1 << 22          # 1558M's would have some 50,000
PREFIX, HEAD, TABLE = "transformer.", "lm_head.weight", "wte.weight"
PRUNED = "pruned_heads"
MASK = re.compile(r"h\.([0-9]{1,4})\.attn\.(bias|masked_bias)")
FIELDS = {"n_vocab": "vocab_size", "n_ctx": "n_positions", "n_embd": "n_embd", "n_head": "n_head", "n_layer": "n_layer"}

# What config.json may say of a model whose arithmetic is GPT-2's. A field that is absent has the first value.
ARITHMETIC = {"model_type": ("gpt2",), "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
              "layer_norm_epsilon": (1e-5,), "scale_attn_weights": (True,), "scale_attn_by_inverse_layer_idx": (False,),
              "add_cross_attention": (False,), "tie_word_embeddings": (True, False)}

# The heads of other models on the same stack, by the first part of their tensors' names.
HEADS = {"score": "GPT2ForSequenceClassification", "classifier": "GPT2ForTokenClassification",
         "qa_outputs": "GPT2ForQuestionAnswering", "multiple_choice_head": "GPT2DoubleHeadsModel",
         "v_head": "a model with a value head (trl)"}

MODEL = GPT2
FILES = (MODEL_FILE, CONFIG_FILE)


def is_mine(source: Source) -> bool:
    """Whether a source is a .safetensors file, or a folder with one of that name, or with an index of several."""
    if source.path != source.folder:
        return os.path.isfile(source.path) and source.path.suffix == ".safetensors"
    return any(os.path.exists(source.folder / name) for name in (MODEL_FILE, SHARDS_FILE))


def read(source: Source, dtype: DTypeLike = np.float32) -> tuple[GPT2, AnyTokenizer | None]:
    """The model in a folder or a .safetensors file, with config.json beside it, and its tokenizer: see Layout."""
    config = read_config(source)
    model = read_weights(source, config, dtype)         # first, since they justify the number of tokens
    return model, read_tokenizer(source.folder, config.n_vocab, read_end_of_text(source, config))


def read_config(source: Source) -> GPT2Config:
    """The sizes in config.json, which go by other names there.

    Raises CheckpointError for one that does not describe a GPT-2: another model, another activation, another epsilon,
    ...
    """
    path, fields = source.folder / CONFIG_FILE, source.json(CONFIG_FILE)
    for field, values in ARITHMETIC.items():
        if (value := fields.get(field, values[0])) not in values:
            expected, which = " or ".join(map(repr, values)), ""
            if field == "model_type" and isinstance(architectures := fields.get("architectures"), list):
                which = f" ({some(architectures)})"
            raise CheckpointError(path, f"{field} is not GPT-2's", expected=expected, found=shortened(value) + which)
    if missing := [field for field in FIELDS.values() if field not in fields]:
        raise CheckpointError(path, f"it lacks {', '.join(missing)}")
    config = config_of(path, {name: fields[field] for name, field in FIELDS.items()})
    if (n_inner := fields.get("n_inner")) not in (None, 4 * config.n_embd):
        raise CheckpointError(path, "n_inner contradicts the other numbers", expected=4 * config.n_embd,
                              found=shortened(n_inner))
    return config


def blank(source: Source, config: GPT2Config, dtype: DTypeLike = np.float32) -> GPT2:
    """The model that config.json asks for, without the heads that it says were taken out, and without numbers."""
    model = GPT2(config, dtype=dtype)
    leave_out_pruned(source, model, dtype)
    return model


def leave_out_pruned(source: Source, model: Module, dtype: DTypeLike) -> None:
    """Take out of a model without numbers the heads that config.json says were taken out.

    CheckpointError for heads that are none, and for a block that would have none.
    """
    path = source.folder / CONFIG_FILE
    pruned = source.json(CONFIG_FILE).get(PRUNED) or {}
    try:
        heads = {int(block): which for block, which in pruned.items()}
        if not all(type(h) is int for which in heads.values() for h in which):
            raise ValueError("no numbers")
    except (AttributeError, TypeError, ValueError):
        raise CheckpointError(path, f"{PRUNED} does not say which heads of which blocks were taken out",
                              expected='numbers by block, as in {"2": [0, 3]}', found=shortened(pruned)) from None
    try:
        leave_out_heads(model, heads, dtype)
    except AdaptError as error:
        raise CheckpointError(path, f"{PRUNED} does not fit the other numbers: {error}") from None


def like(model: GPT2) -> GPT2:
    """A model of the same shapes, without numbers."""
    other = GPT2(model.config)
    leave_out_heads(other, taken_out(model))
    return other


def read_end_of_text(source: Source, config: GPT2Config | TransformerConfig) -> int | None:
    """The token at which generation ends: that of generation_config.json, or else of config.json.

    None where neither names one, or one that the model does not have: transformers writes GPT-2's 50256 for every
    vocabulary. Raises CheckpointError for several, and for what is no id.
    """
    for name in (GENERATION_FILE, CONFIG_FILE):
        ids = source.json(name).get("eos_token_id") if os.path.exists(source.folder / name) else None
        if ids is None:
            continue
        ids = ids if isinstance(ids, list) else [ids]
        if not ids or any(type(i) is not int or i < 0 for i in ids):
            raise CheckpointError(source.folder / name, "eos_token_id", expected="a token's id", found=shortened(ids))
        if len(set(ids)) > 1:
            raise CheckpointError(source.folder / name, "eos_token_id has several tokens that end a text, which is not "
                                  "supported: leave one there", found=shortened(ids))
        return ids[0] if ids[0] < config.n_vocab else None
    return None


def read_weights(source: Source, config: GPT2Config, dtype: DTypeLike = np.float32) -> GPT2:
    """The model that the config asks for, with the weights in a .safetensors file, everything checked.

    dtype     what the parameters are to be; those that are it already, at a fitting address, are mapped from the file

    Raises CheckpointError, and nothing else, for whatever is wrong with the file.
    """
    model = blank(source, config, dtype)
    path, tensors = read_tensors(source)
    _refuse_other_heads(path, tensors)
    tensors = without_prefix(path, tensors)
    head, tied = tensors.pop(HEAD, None), source.json(CONFIG_FILE).get("tie_word_embeddings", True)
    if tied and head is not None:
        tensors.setdefault(TABLE, head)
    if head is None and not tied:
        raise CheckpointError(path, "it is not there, though tie_word_embeddings in config.json is false", HEAD)
    if head is not None and TABLE in tensors and not np.array_equal(head, tensors[TABLE]):
        raise CheckpointError(path, "it differs from wte.weight, but GPT-2 has one matrix for both", HEAD)
    fill(model, path, tensors, dtype)
    return model


def fill(model: GPT2, path: Path, tensors: dict[str, Array], dtype: DTypeLike) -> None:
    """Put the tensors of a file into a model, out of the dict, once they are seen to be its own."""
    _drop_masks(path, tensors, model.config)
    check_tensors(path, tensors, {tensor_name(name): shape for name, shape in shapes_of(model).items()})
    for name, parameter in model.named_parameters():
        parameter.value = as_parameter(path, tensor_name(name), tensors.pop(tensor_name(name)), dtype)


def write(folder: Path, model: GPT2, tokenizer: AnyTokenizer | None, dtype: DTypeLike = np.float32) -> None:
    """Write a model into an empty folder, so that transformers can read it, and so can `read`: see Layout.

    dtype   of the numbers in the file: float32 or float16
    """
    values = values_of(model, like(model), folder, dtype)
    write_tokenizer(folder, tokenizer, model.config.n_vocab, PAIR)
    tensors = {tensor_name(path): value for path, value in values.items()}
    safetensors.write(folder / MODEL_FILE, tensors, {"format": "pt"})          # transformers refuses a file without it
    fields = {"architectures": ["GPT2LMHeadModel"], **fields_of(model, tokenizer)}
    write_text(folder / CONFIG_FILE, json.dumps(fields, indent=2) + "\n")


def fields_of(model: GPT2, tokenizer: AnyTokenizer | None) -> dict[str, object]:
    """What config.json says of the stack of blocks."""
    config = model.config
    end_of_text = None if tokenizer is None else tokenizer.end_of_text
    return {"model_type": "gpt2", **{field: getattr(config, name) for name, field in FIELDS.items()},
            "n_ctx": config.n_ctx, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
            "initializer_range": 0.02, "bos_token_id": end_of_text, "eos_token_id": end_of_text,
            **pruned_in(model)}


def pruned_in(model: Module) -> dict[str, dict[str, list[int]]]:
    """What config.json says of the heads that a model lacks: nothing where it has all."""
    heads = {str(i): which for i, which in taken_out(model).items()}
    return {PRUNED: heads} if heads else {}


def tensor_name(path: str) -> str:
    """Hugging Face's name of a parameter, without the prefix: h.3.attn.c_attn.weight for h.3.attn.c_attn.w."""
    stem, _, last = path.rpartition(".")
    return f"{stem}.{'bias' if last == 'b' else 'weight'}" if last in ("w", "g", "b") else f"{path}.weight"


def read_tensors(source: Source) -> tuple[Path, dict[str, Array]]:
    """All tensors of a source, and the file that says which there are."""
    if source.path != source.folder or os.path.exists(source.folder / MODEL_FILE):
        path = source.folder / MODEL_FILE if source.path == source.folder else source.path
        return path, safetensors.read(path)[0]
    path, place = source.folder / SHARDS_FILE, source.json(SHARDS_FILE, MAX_SHARDS_BYTES).get("weight_map")
    if not isinstance(place, dict) or not place or not all(isinstance(name, str) for name in place.values()):
        raise CheckpointError(path, "its weight_map does not map tensors to files")
    names = sorted(set(place.values()))
    for name in names:
        if not name.endswith(".safetensors") or not name.isprintable() or re.search(r"[/\\:]", name):
            raise CheckpointError(path, "a shard is a .safetensors file in the same folder", found=shortened(name))
        if not os.path.exists(source.folder / name):
            raise CheckpointError(source.folder / name, f"there is no such file, which {SHARDS_FILE} asks for")
    tensors: dict[str, Array] = {}
    for name in names:
        shard, _ = safetensors.read(source.folder / name)
        if shard.keys() != (listed := {tensor for tensor, file in place.items() if file == name}):
            raise CheckpointError(path, f"it is not the index of {name}: the two differ in "
                                  f"{some(sorted(shard.keys() ^ listed))}; one of them is of another model")
        tensors |= shard
    return path, tensors


def _refuse_other_heads(path: Path, tensors: Mapping[str, Array]) -> None:
    for name in tensors:
        if (head := name.partition(".")[0]) in HEADS:
            raise CheckpointError(path, f"it belongs to the head of {HEADS[head]}, which architectures in "
                                  f"{CONFIG_FILE} does not name", name)


def without_prefix(path: Path, tensors: dict[str, Array]) -> dict[str, Array]:
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
