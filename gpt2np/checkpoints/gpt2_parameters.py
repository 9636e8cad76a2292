"""Which parameters a GPT-2 has, and whether what a file holds is that: the same for every format.

A parameter goes by its path in the model: OpenAI's name with dots, for example h.3.attn.c_attn.w. Weights are (in,
out). The shapes stand here a second time, beside the model's own, so that a file which asks for too much is refused
before a model of that size is made; test_shapes_are_those_of_the_model (tests/checkpoints/test_openai_gpt2.py) holds
the two together.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from ..hints import Array
from .arrays import count_not_finite
from .errors import CheckpointError, shortened, some

HPARAMS = ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer")       # in the order of OpenAI's hparams.json
MAX_LAYERS = 1000                  # GPT-2's largest has 48; this bounds the list of names


def check_hparams(file: Path, hparams: Mapping[str, int]) -> dict[str, int]:
    """The five numbers that define a GPT-2, once they are seen to be exactly that.

    file      where they come from, for the error
    returns   them, in OpenAI's order

    Raises CheckpointError if one is missing, unknown, or not a whole number from 1 to 2^31 - 1, if there are more than
    1,000 layers, or if the heads do not divide the width.
    """
    if missing := [name for name in HPARAMS if name not in hparams]:
        raise CheckpointError(file, f"it lacks {', '.join(missing)}")
    if unknown := [name for name in hparams if name not in HPARAMS]:
        raise CheckpointError(file, "it holds something that GPT-2 does not have", found=some(unknown))
    for name in HPARAMS:
        most = MAX_LAYERS if name == "n_layer" else 2**31 - 1
        if type(hparams[name]) is not int or not 1 <= hparams[name] <= most:    # True is an instance of int
            raise CheckpointError(file, name, expected=f"a whole number from 1 to {most}",
                                  found=shortened(hparams[name]))
    if hparams["n_embd"] % hparams["n_head"]:
        raise CheckpointError(file, "n_embd is not a multiple of n_head",
                              found=f"{hparams['n_embd']} and {hparams['n_head']}")
    return {name: hparams[name] for name in HPARAMS}


def parameter_shapes(hparams: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter of the model, by its path."""
    C = hparams["n_embd"]
    layer = {"ln_1.g": (C,), "ln_1.b": (C,), "attn.c_attn.w": (C, 3 * C), "attn.c_attn.b": (3 * C,),
             "attn.c_proj.w": (C, C), "attn.c_proj.b": (C,), "ln_2.g": (C,), "ln_2.b": (C,),
             "mlp.c_fc.w": (C, 4 * C), "mlp.c_fc.b": (4 * C,), "mlp.c_proj.w": (4 * C, C), "mlp.c_proj.b": (C,)}
    return {"wte": (hparams["n_vocab"], C), "wpe": (hparams["n_ctx"], C),
            **{f"h.{i}.{name}": shape for i in range(hparams["n_layer"]) for name, shape in layer.items()},
            "ln_f.g": (C,), "ln_f.b": (C,)}


def check_tensors(file: Path, tensors: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise CheckpointError unless these are the tensors named in `shapes`, all of them and no others."""
    missing = [name for name in shapes if name not in tensors]
    unexpected = [name for name in tensors if name not in shapes]
    if missing or unexpected:
        differences = [f"{len(names)} {what} ({some(names)})"
                       for names, what in ((missing, "missing"), (unexpected, "unexpected")) if names]
        problem = "its tensors are not those of a GPT-2 with these hparams: " + " and ".join(differences)
        raise CheckpointError(file, problem, expected=f"{len(shapes)} tensors", found=f"{len(tensors)}")
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise CheckpointError(file, "its shape is wrong", name, shape, tensors[name].shape)


def as_parameter(file: Path, name: str, array: Array, dtype: DTypeLike) -> Array:
    """A tensor as the model wants it: in `dtype`, without a copy where it has it already, and every number finite.

    Raises CheckpointError if its numbers are not floating, or not all finite (after the conversion: 1e300 is infinite
    in float32). A single one that is not makes every output not a number, far from its cause.
    """
    if array.dtype.kind != "f":
        raise CheckpointError(file, "its dtype is wrong", name, "floating numbers", array.dtype)
    with np.errstate(all="ignore"):
        array = array.astype(dtype, copy=False)
    if count := count_not_finite(array):
        raise CheckpointError(file, f"{count:,} of its {array.size:,} numbers are not finite in {np.dtype(dtype)}",
                              name)
    return array
