"""Weights in 8 or 16 bits: matrices that take a quarter or half of the memory, and are widened where they are used.

        int8            w_ij ~ s_j q_ij         q_ij = round(w_ij / s_j)        s_j = max_i |w_ij| / 127
        int8-tensor     one s for the whole matrix
        float16         w_ij with 11 significant bits, below 65,520
        bfloat16        the upper half of a float32, with 8 significant bits

A processor multiplies floats: so each tile of a matrix, as much as stays in its cache, becomes float32 in the moment
in which it is multiplied.  What is read from the memory, which decides how fast one text is written, is narrow.

int8-activations rounds also what is multiplied, with one step for all of it, as whoever has hardware for the products
of whole numbers would want to.  One large number makes the step large for all others, and these vanish.
Dettmers et al. 2022, LLM.int8(), arXiv:2208.07339, section 2.

Chapter: S001 9 Q3; S003 9 Q4.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from ..hints import Array, Cache
from ..layers.checks import check_shape
from ..layers.linear import Linear
from ..layers.module import Constant, Module, Parameter
from ..layers.tiles import TILE, product, rows, sum_rows
from .lora import check_linear
from .replacing import AdaptError, Replacement, in_blocks, replace

MOST = 127                      # of int8; -128 is not used, so that -w becomes -q
ALL_LINEAR = ("*.c_attn", "*.c_proj", "*.c_fc")         # of each block of a GPT-2


def int8_codes(w: Array, axis: int | None = 0) -> tuple[Array, Array]:
    """The whole numbers q that stand for w, and their step s: |w - s q| is at most s / 2.

        s = max |w| / 127        q = round(w / s)

    w        (I, O)   float32, finite
    axis     0: a step for each output, the largest |w| being that of its column; None: one for all
    returns  q (I, O) int8, s (O,) or (1,) float32

    Multiplied by c, w has the same q and c times the step.  A step is never 0: of a column of zeros it is the smallest
    normal number.
    """
    top = np.abs(w).max(axis=axis, initial=0).reshape(-1)
    scale = np.maximum(top / np.float32(MOST), np.finfo(np.float32).tiny).astype(np.float32)
    return np.rint(w / scale).astype(np.int8, order="C"), scale


def bfloat16_bits(w: Array) -> Array:
    """The upper 16 bits of float32 numbers, as uint16, rounded to the nearest, of two to the even one."""
    bits = np.ascontiguousarray(w, np.float32).view(np.uint32)
    return ((bits + (0x7fff + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def widen_bfloat16(bits: Array) -> Array:
    """The float32 numbers that these are the upper halves of."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


class Narrow(Replacement):
    """What all linear layers whose matrix is in few bits have in common: y = x w + b, with w widened tile by tile.

    codes   (I, O)   a Constant: what the matrix became
    b       (O,)     as it was
    arrays  by name: codes and what else a file holds; None: those that stand for the layer's matrix
    """

    own: ClassVar = ()
    codes: Constant
    b: Parameter

    def __init__(self, layer: Linear, arrays: Mapping[str, Array] | None = None):
        check_linear(layer)
        self.take_over(layer)
        del vars(self)["w"]
        if arrays is None:
            w = np.asarray(layer.w.value, np.float32)
            if not np.isfinite(w).all():
                raise AdaptError("layer: expected finite weights, got some that are infinite or not a number")
            arrays = self.narrowed(w)
        for name, array in arrays.items():
            setattr(self, name, Constant(array))

    @staticmethod
    def narrowed(w: Array) -> dict[str, Array]:
        """What stands for a matrix (I, O), by the names of the attributes."""
        raise NotImplementedError

    @staticmethod
    def shapes(n_in: int, n_out: int) -> dict[str, tuple[tuple[int, ...], DTypeLike]]:
        """Shapes and dtypes of the same."""
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        return {}

    def widen(self, codes: Array, out: Array) -> None:
        """Some rows of the codes as floating numbers, but for what scaled does."""
        out[:] = codes

    def scaled(self, y: Array) -> Array:
        """Rows of outputs (N, O), or of gradients by them, each output times its step, in place."""
        return y

    def taken(self, x: Array) -> Array:
        """What is multiplied for x."""
        return x

    @property
    def w(self) -> Parameter:
        """The whole matrix as float32, made anew each time: for who looks at it, not for forward."""
        wide = np.empty(self.codes.value.shape, np.float32)
        self.widen(self.codes.value, wide)
        parameter = Parameter(self.scaled(wide))
        parameter.trainable = False
        return parameter

    def forward(self, x: Array, *, rng: Any = None) -> tuple[Array, Cache]:
        """x (..., I) -> y (..., O), cache: x.shape"""
        many = rows(self.taken(x))
        y = np.zeros_like(x, shape=(len(many), self.codes.value.shape[1]))
        for part, w in self._tiles(x):
            y += product(many[:, part], w)
        y = self.scaled(y)
        y += self.b.value
        return y.reshape(*x.shape[:-1], y.shape[1]), x.shape

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dx = dy w', and of the parameters the bias alone has a gradient"""
        check_shape("dy", dy, (*cache[:-1], self.codes.value.shape[1]))
        if self.b.trainable:
            self.b.accumulate(sum_rows(dy))
        many = self.scaled(rows(dy).copy())
        dx = np.empty_like(dy, shape=(len(many), len(self.codes.value)))
        for part, w in self._tiles(dy):
            dx[:, part] = many @ w.T
        return dx.reshape(cache)

    def _tiles(self, like: Array) -> Iterator[tuple[slice, Array]]:
        """The matrix, a few of its rows at a time, in one and the same piece of memory."""
        codes = self.codes.value
        n = max(1, TILE // max(1, codes.shape[1]))
        memory = np.empty_like(like, shape=(min(n, len(codes)), codes.shape[1]))
        for first in range(0, len(codes), n):
            some = codes[first:first + n]
            self.widen(some, memory[:len(some)])
            yield slice(first, first + len(some)), memory[:len(some)]


class Int8Linear(Narrow, Linear):                  # type: ignore[override]
    """int8, with a step for each output.

    |x w^ - x w|, for the w^ that the codes stand for, is at most |x|_1 s_j / 2 for output j.
    """

    kind: ClassVar = "int8"
    scale: Constant

    @staticmethod
    def narrowed(w: Array) -> dict[str, Array]:
        codes, scale = int8_codes(w)
        return {"codes": codes, "scale": scale}

    @staticmethod
    def shapes(n_in: int, n_out: int) -> dict[str, tuple[tuple[int, ...], DTypeLike]]:
        return {"codes": ((n_in, n_out), np.int8), "scale": ((n_out,), np.float32)}

    def scaled(self, y: Array) -> Array:
        y *= self.scale.value
        return y


class Int8TensorLinear(Int8Linear):
    """int8, with one step for the whole matrix."""

    kind: ClassVar = "int8-tensor"

    @staticmethod
    def narrowed(w: Array) -> dict[str, Array]:
        codes, scale = int8_codes(w, axis=None)
        return {"codes": codes, "scale": scale}

    @staticmethod
    def shapes(n_in: int, n_out: int) -> dict[str, tuple[tuple[int, ...], DTypeLike]]:
        return {"codes": ((n_in, n_out), np.int8), "scale": ((1,), np.float32)}


class Int8ActivationsLinear(Int8Linear):
    """int8 with a step for each output, and what comes in rounded to int8, too, with one step for all of it.

    The products are those of whole numbers, which floats hold exactly as far as sums go up to 2^24.
    """

    kind: ClassVar = "int8-activations"

    def taken(self, x: Array) -> Array:
        scale = np.maximum(np.abs(x).max(initial=0) / MOST, np.finfo(np.float32).tiny)
        return (np.rint(x / scale) * scale).astype(x.dtype, copy=False)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """AdaptError: a staircase has no gradient that leads anywhere."""
        raise AdaptError(f"{self.kind}: expected no gradients to be asked for: what is rounded has none")


class Float16Linear(Narrow, Linear):                  # type: ignore[override]
    """The matrix in IEEE's half precision."""

    kind: ClassVar = "float16"

    @staticmethod
    def narrowed(w: Array) -> dict[str, Array]:
        with np.errstate(over="ignore"):
            codes = w.astype(np.float16, order="C")
        if not np.isfinite(codes).all():
            raise AdaptError(f"layer: expected weights below 65,520, which float16 ends at, got {np.abs(w).max():g}: "
                             "take bfloat16")
        return {"codes": codes}

    @staticmethod
    def shapes(n_in: int, n_out: int) -> dict[str, tuple[tuple[int, ...], DTypeLike]]:
        return {"codes": ((n_in, n_out), np.float16)}


class BFloat16Linear(Narrow, Linear):                  # type: ignore[override]
    """The matrix in bfloat16, its bits as uint16: NumPy has no such numbers."""

    kind: ClassVar = "bfloat16"

    @staticmethod
    def narrowed(w: Array) -> dict[str, Array]:
        codes = bfloat16_bits(w)
        if not np.isfinite(widen_bfloat16(codes)).all():
            raise AdaptError(f"layer: expected weights that bfloat16 has, got {np.abs(w).max():g}")
        return {"codes": codes}

    @staticmethod
    def shapes(n_in: int, n_out: int) -> dict[str, tuple[tuple[int, ...], DTypeLike]]:
        return {"codes": ((n_in, n_out), np.uint16)}

    def widen(self, codes: Array, out: Array) -> None:
        if out.dtype == np.float32:                     # where it is: 6 times as fast as with copies
            bits = out.view(np.uint32)
            bits[:] = codes
            bits <<= 16
        else:
            out[:] = widen_bfloat16(codes).astype(out.dtype)


SCHEMES: Mapping[str, Any] = {kind.kind: kind for kind in (
    BFloat16Linear, Float16Linear, Int8Linear, Int8TensorLinear, Int8ActivationsLinear)}


def quantize(model: Module, scheme: str = "int8") -> dict[str, Module]:
    """Put narrow layers in the places of all matrices of a GPT-2's blocks.

    scheme    one of SCHEMES
    returns   the layers that were there, by path: restore(model, it) undoes it

    Tables and norms stay as they are: the table is read a row for each token, and the head, which is the same table,
    decides between words.  AdaptError where a matrix does not fit, or something stands in its place already.
    """
    if scheme not in SCHEMES:
        raise AdaptError(f"scheme: expected one of {', '.join(SCHEMES)}, got {scheme!r}")
    return replace(model, matrices(model), SCHEMES[scheme])


def matrices(model: Module) -> list[str]:
    """Patterns of the linear layers of all blocks."""
    return [path for part in ALL_LINEAR for path in in_blocks(model, part)]


def scheme_of(model: Module) -> str | None:
    """The scheme that a model was narrowed by; None for one that was not."""
    return next((layer.kind for _, layer in model.named_modules() if isinstance(layer, Narrow)), None)


def plant_outlier(model: Any, factor: float = 64.0, column: int = 0) -> None:
    """Let one column of what goes into c_attn and c_fc be `factor` times as large, and the model compute the same.

        ln.g_c *= factor        ln.b_c *= factor        w_cj /= factor

    To the bit, for a power of two.  Large models grow such columns by themselves: Dettmers et al. 2022, section 3.
    """
    for block in model.h:
        for norm, layer in ((block.ln_1, block.attn.c_attn), (block.ln_2, block.mlp.c_fc)):
            for p, by in ((norm.g, factor), (norm.b, factor), (layer.w, 1 / factor)):
                value = p.value.copy()
                value[column] *= by
                p.value = value
