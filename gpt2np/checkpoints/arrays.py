"""What every format has to ask of the arrays in it."""

import math
from collections.abc import Sequence

import numpy as np

from ..hints import Array


def from_bytes(stored: Array, dtype: np.dtype, shape: tuple[int, ...]) -> Array:
    """The array that these bytes are: the same memory where its address suits the dtype, a copy where not.

    stored    uint8, of exactly the size that dtype and shape ask for
    """
    if stored.__array_interface__["data"][0] % dtype.alignment:
        stored = stored.copy()
    return stored.view(dtype).reshape(shape)


def widen_bfloat16(bits: Array) -> Array:
    """The float32 numbers whose upper 16 bits are given as uint16: a bfloat16 is exactly that."""
    return (bits.astype("<u4") << 16).view("<f4")


def is_possible(shape: Sequence[int]) -> bool:
    """Whether NumPy can have an array of this shape; (0, 2^62) has no elements, and yet cannot be had."""
    return len(shape) <= 32 and min(shape, default=0) >= 0 and math.prod(max(n, 1) for n in shape) < 1 << 59
