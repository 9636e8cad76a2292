"""The linear layer: y = x w + b.

Chapter: S000 4.2.
"""

import math

import numpy as np
from numpy.typing import DTypeLike

from ..hints import Array, Cache, Rng
from .checks import check_shape
from .module import Blank, Module, Parameter, initial
from .tiles import product, rows, sum_rows


def linear_forward(x: Array, w: Array, b: Array) -> tuple[Array, Cache]:
    """Multiply every row by a matrix and add a vector.

        y = x w + b

    x        (..., I)   floating
    w, b     (I, O), (O,)
    returns  y (..., O) of x's dtype, and the cache for linear_backward

    w is (in, out), as in OpenAI's checkpoint: nothing is transposed.  One product for all rows: with three axes NumPy
    would make B small ones.
    """
    check_shape("b", b, w.shape[1:])
    y = product(x, w)
    y += b
    return y.reshape(*x.shape[:-1], w.shape[1]), (x, w)


def linear_backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """Gradients of y = x w + b.

        dx = dy w'        dw = x' dy        db = sum of dy over the rows
    """
    x, w = cache
    dx = linear_input_backward(dy, (x.shape, w))
    dw = rows(x).T @ rows(dy)
    db = sum_rows(dy)
    return dx, dw, db


def linear_input_backward(dy: Array, cache: Cache) -> Array:
    """dx alone, for a frozen w: half the work of linear_backward, and of x its shape is enough, cache (x.shape, w)."""
    shape, w = cache
    check_shape("dy", dy, (*shape[:-1], w.shape[1]))
    return (rows(dy) @ w.T).reshape(shape)


class Linear(Module):
    """A matrix w (n_in, n_out), drawn from N(0, std^2), and a bias b (n_out,), at first 0.

    std   0.02 as in OpenAI's code; None: sqrt(2 / (n_in + n_out)), with which neither what goes up nor what comes down
          grows or fades from layer to layer (Glorot, Bengio 2010, AISTATS 9, eq. 12).  At the widths that are trained
          on a processor, 48 to 256, that is 2 to 7 times as much
    """

    def __init__(self, n_in: int, n_out: int, rng: Rng | None, *, std: float | None = 0.02,
                 dtype: DTypeLike = np.float32):
        std = math.sqrt(2 / (n_in + n_out)) if std is None else std
        self.w = Parameter(initial(rng, (n_in, n_out), std, dtype))
        self.b = Parameter(Blank((n_out,), dtype))

    def forward(self, x: Array, *, rng: Rng | None = None) -> tuple[Array, Cache]:
        """x (..., n_in) -> y (..., n_out), cache: (x, w), or (x.shape, w) for a frozen w

        rng   for the dropout of what may stand in this layer's place, of LoRA; here nothing is drawn
        """
        y, cache = linear_forward(x, self.w.value, self.b.value)
        return y, cache if self.w.trainable else (x.shape, self.w.value)

    def backward(self, dy: Array, cache: Cache) -> Array:
        if isinstance(cache[0], tuple):                 # of a frozen w: see forward
            if self.b.trainable:
                self.b.accumulate(sum_rows(dy))
            return linear_input_backward(dy, cache)
        dx, dw, db = linear_backward(dy, cache)
        self.w.accumulate(dw)
        self.b.accumulate(db)
        return dx
