"""Whether what a file holds are the parameters of a model: the same for every format and every model.

A parameter goes by its path in the model: OpenAI's name with dots, for example h.3.attn.c_attn.w. Weights are (in,
out). Which there are, and of which shapes, the model itself says: it is made from what the file says of its sizes, and
takes no memory before the file's arrays are in it (see Parameter). So a file that asks for more than it holds is
refused first, whatever it asks for.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from ..device import to_host
from ..hints import Array
from ..layers.module import Module
from ..layers.tiles import tiles
from .errors import CheckpointError, some


def shapes_of(model: Module) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter of a model, by its path, in the model's order."""
    return {path: parameter.shape for path, parameter in model.named_parameters()}


def size_of(model: Module) -> int:
    """The bytes of all arrays of a model."""
    return sum(p.value.nbytes for _, p in model.named_parameters()) + sum(
        c.value.nbytes for _, c in model.named_constants())


def values_of(model: Module, asked_for: Module, folder: Path, dtype: DTypeLike) -> dict[str, Array]:
    """The parameters of a model as a file is to have them, by their paths.

    asked_for   a model made anew from the same config: someone may have put other arrays into this one

    Raises CheckpointError, in the name of the folder, unless they are those that the config asks for, and finite.
    """
    values = {path: to_host(parameter.value) for path, parameter in model.named_parameters()}
    check_tensors(folder, values, shapes_of(asked_for))
    return {path: as_parameter(folder, path, value, dtype) for path, value in values.items()}


def check_tensors(file: Path, tensors: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]],
                  of: str = "GPT-2") -> None:
    """Raise CheckpointError unless these are the tensors named in `shapes`, all of them and no others.

    of      the model's name, for the message
    """
    missing = [name for name in shapes if name not in tensors]
    unexpected = [name for name in tensors if name not in shapes]
    if missing or unexpected:
        differences = [f"{len(names)} {what} ({some(names)})"
                       for names, what in ((missing, "missing"), (unexpected, "unexpected")) if names]
        problem = f"its tensors are not those of a {of} with these hparams: " + " and ".join(differences)
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


def count_not_finite(array: Array) -> int:
    """How many numbers of an array are infinite or not a number."""
    return sum(0 if np.isfinite(tile).all() else int(tile.size - np.isfinite(tile).sum())
               for tile, in tiles(array.ravel("K")[:, None]))       # in their order in memory, so without a copy
