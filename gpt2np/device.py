"""The border between the host and the GPU. Everything else is plain NumPy, and runs where its arrays are.

    model = to_device(model)                            # the parameters move, in place
    logits, _ = model.forward(to_device(tokens))        # the same functions, on the GPU
    logits = to_host(logits)

No other file names CuPy.  Beside it, two places copy to the device, by like=: the models their tokens and padding
masks, which are checked on the host, and dropout its masks, which are drawn there.  Three call to_host: the models, for
tokens that are on the device; decoding, for the logits that a token is drawn from; checkpoints, to save.  A copy back
waits for all that the GPU still has to do.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from .errors import Gpt2npError
from .hints import Array

Thing = TypeVar("Thing")        # what is moved comes back as the same kind of thing


class NoDeviceError(Gpt2npError):
    """A GPU was asked for, and CuPy or the GPU itself is missing."""


def to_device(thing: Thing) -> Thing:
    """Move arrays to the GPU, and return them as CuPy arrays; what is there already stays as it is.

    thing   an array; or a tuple, list or dict of such things (numbers, text and None in it pass unchanged);
            or a module: the value and grad of each parameter and constant move in place, and it is returned
    """
    try:
        import cupy
    except ImportError as error:
        raise NoDeviceError("expected CuPy, for arrays on a GPU, but it cannot be imported here "
                            f"({error}): pip install 'gpt2np[gpu]'") from error
    if not cupy.is_available():
        raise NoDeviceError("expected an NVIDIA GPU with its driver, but CuPy finds none on this machine: "
                            "start it where there is one, or leave the arrays on the host")
    return _move(thing, cupy.asarray)


def to_host(thing: Thing) -> Thing:
    """The same, back into the host's memory, as NumPy arrays; a NumPy array is returned as it is."""
    return _move(thing, _fetch)


def _fetch(array: Any) -> Array:
    return array if isinstance(array, np.ndarray) else array.get()


def _move(thing: Any, convert: Callable[[Any], Array]) -> Any:
    if hasattr(thing, "named_parameters"):
        for _, constant in thing.named_constants():
            constant.value = convert(constant.value)
        for _, parameter in thing.named_parameters():
            parameter.value = convert(parameter.value)
            parameter.grad = None if parameter.grad is None else convert(parameter.grad)
        return thing
    if isinstance(thing, dict):
        return {key: _move(item, convert) for key, item in thing.items()}
    if isinstance(thing, (tuple, list)):
        parts = [_move(item, convert) for item in thing]
        return type(thing)(*parts) if hasattr(thing, "_fields") else type(thing)(parts)     # a NamedTuple, or not
    if thing is None or isinstance(thing, (bool, int, float, str, np.generic)):
        return thing
    if isinstance(thing, np.ndarray) or hasattr(thing, "get"):
        return convert(thing)
    raise TypeError(f"expected arrays, a tuple, list or dict of them, or a module, but got {type(thing).__name__}")
