"""A GPT-2 in Hugging Face's layout: model.safetensors, and config.json beside it.

Names differ from OpenAI's (h.3.attn.c_attn.weight for model/h3/attn/c_attn/w), and may all begin with "transformer.".
Shapes do not: Hugging Face keeps OpenAI's (in, out) in a layer that it calls Conv1D, so nothing is transposed. Two
things that are no parameters may be there as well: the causal mask as a buffer, which is ignored, and the head of the
model, which is wte.

huggingface/transformers, src/transformers/models/gpt2/{configuration_gpt2,modeling_gpt2}.py.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from ..hints import Array
from . import safetensors
from .errors import CheckpointError, shortened
from .files import read_json, write_text
from .gpt2_parameters import as_parameter, check_hparams, check_tensors, parameter_shapes

MODEL_FILE, CONFIG_FILE = "model.safetensors", "config.json"
MAX_CONFIG_BYTES = 1 << 16
PREFIX, HEAD = "transformer.", "lm_head.weight"
MASK = re.compile(r"h\.([0-9]{1,4})\.attn\.(bias|masked_bias)")
FIELDS = {"n_vocab": "vocab_size", "n_ctx": "n_positions", "n_embd": "n_embd", "n_head": "n_head", "n_layer": "n_layer"}

# What config.json may say of a model whose arithmetic is GPT-2's. A field that is absent has the first value.
ARITHMETIC = {"model_type": ("gpt2",), "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
              "layer_norm_epsilon": (1e-5,), "scale_attn_weights": (True,), "scale_attn_by_inverse_layer_idx": (False,),
              "add_cross_attention": (False,), "tie_word_embeddings": (True,)}


def read(path: str | Path, dtype: DTypeLike = np.float32) -> tuple[dict[str, Array], dict[str, int]]:
    """The parameters of a model and its hparams, everything checked.

    path      a .safetensors file with config.json beside it
    dtype     what the parameters are to be; those that are it already, at a fitting address, are mapped from the file
    returns   path -> array in the model's order, and the five hparams under OpenAI's names

    Raises CheckpointError, and nothing else, for whatever is wrong with the files.
    """
    path = Path(path)
    hparams = read_config(path.parent / CONFIG_FILE)
    tensors, _ = safetensors.read(path)
    shapes = parameter_shapes(hparams)
    tensors = _without_prefix(path, tensors)
    head = tensors.pop(HEAD, None)
    _drop_masks(path, tensors, hparams)
    check_tensors(path, tensors, {tensor_name(name): shape for name, shape in shapes.items()})
    if head is not None and not np.array_equal(head, tensors["wte.weight"]):
        raise CheckpointError(path, "it differs from wte.weight, but GPT-2 has one matrix for both", HEAD)
    parameters = {}
    for name in shapes:
        parameters[name] = as_parameter(path, tensor_name(name), tensors.pop(tensor_name(name)), dtype)
    return parameters, hparams


def read_config(path: Path) -> dict[str, int]:
    """The five hparams that a config.json holds, under OpenAI's names.

    Raises CheckpointError for one that does not describe a GPT-2: another model, another activation, another epsilon,
    ...
    """
    config = read_json(path, MAX_CONFIG_BYTES)
    for field, values in ARITHMETIC.items():
        if (value := config.get(field, values[0])) not in values:
            expected = " or ".join(map(repr, values))
            raise CheckpointError(path, f"{field} is not GPT-2's", expected=expected, found=shortened(value))
    if missing := [field for field in FIELDS.values() if field not in config]:
        raise CheckpointError(path, f"it lacks {', '.join(missing)}")
    hparams = check_hparams(path, {name: config[field] for name, field in FIELDS.items()})
    for field, value in (("n_ctx", hparams["n_ctx"]), ("n_inner", 4 * hparams["n_embd"])):
        if config.get(field) not in (None, value):
            found = shortened(config[field])
            raise CheckpointError(path, f"{field} contradicts the other numbers", expected=value, found=found)
    return hparams


def write(folder: str | Path, parameters: Mapping[str, Array], hparams: Mapping[str, int], end_of_text: int,
          dtype: DTypeLike = np.float32) -> None:
    """Write model.safetensors and config.json, so that transformers can read them, and so can `read`.

    folder       an existing folder without these files
    parameters   path -> array
    hparams      the five
    end_of_text  the id of <|endoftext|>
    dtype        of the numbers in the file: float32 or float16

    Raises CheckpointError if the parameters are not those of a model with these hparams; OSError where the disk
    refuses.
    """
    folder = Path(folder)
    hparams = check_hparams(folder / CONFIG_FILE, hparams)
    shapes = parameter_shapes(hparams)
    check_tensors(folder, parameters, shapes)
    tensors = {tensor_name(path): as_parameter(folder, path, parameters[path], dtype) for path in shapes}
    safetensors.write(folder / MODEL_FILE, tensors, {"format": "pt"})          # transformers refuses a file without it
    config = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2",
              **{field: hparams[name] for name, field in FIELDS.items()}, "n_ctx": hparams["n_ctx"],
              "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "initializer_range": 0.02,
              "bos_token_id": end_of_text, "eos_token_id": end_of_text}
    write_text(folder / CONFIG_FILE, json.dumps(config, indent=2) + "\n")


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


def _drop_masks(path: Path, tensors: dict[str, Array], hparams: Mapping[str, int]) -> None:
    """Take out the causal masks, (1, 1, n_ctx, n_ctx), and the single number of older files for what is masked."""
    for name in list(tensors):
        match = MASK.fullmatch(name)
        if match and int(match[1]) < hparams["n_layer"]:
            shape = (1, 1, hparams["n_ctx"], hparams["n_ctx"]) if match[2] == "bias" else ()
            if tensors.pop(name).shape != shape:
                raise CheckpointError(path, "it should be a mask, and its shape is wrong", name, expected=shape)
