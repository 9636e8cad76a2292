"""Softmax: a row of any numbers to a row of probabilities; and its logarithm.

Chapter: S000 5.2; S003 5.4.
"""

import numpy as np

from ..hints import Array, Cache
from .checks import check_shape
from .tiles import tiles


def softmax_forward(x: Array) -> tuple[Array, Cache]:
    """Turn each row into probabilities.

        y_i = exp(x_i) / sum_j exp(x_j)

    x        (..., V)   floating
    returns  y (..., V) of x's dtype, and the cache for softmax_backward: y itself

    The largest x of the row is subtracted first: y does not change, and exp cannot overflow.
    """
    y = np.empty_like(x, order="C")
    for x_t, y_t in tiles(x, y):
        subtract_top(x_t, out=y_t)
        np.exp(y_t, out=y_t)
        y_t *= 1 / y_t.sum(axis=-1, keepdims=True)
    return y, y


def softmax_backward(dy: Array, cache: Cache) -> Array:
    """dx = y (dy - sum(dy y)): every output depends on every input of its row."""
    y = cache
    check_shape("dy", dy, y.shape)
    dx = np.empty_like(y)
    for dy_t, y_t, dx_t in tiles(dy, y, dx):
        np.multiply(dy_t, y_t, out=dx_t)
        np.subtract(dy_t, dx_t.sum(axis=-1, keepdims=True), out=dx_t)
        dx_t *= y_t
    return dx


def log_softmax_forward(x: Array) -> tuple[Array, Cache]:
    """The logarithm of softmax, exact where softmax itself would be rounded to 0.

        y_i = x_i - log sum_j exp(x_j)

    x        (..., V)   floating
    returns  y (..., V) of x's dtype, and the cache for log_softmax_backward: y itself

    The largest x of the row is subtracted first, here too: a sum of it and the logarithm would lose the digits of y.
    """
    y = np.empty_like(x, order="C")
    for x_t, y_t in tiles(x, y):
        subtract_top(x_t, out=y_t)
        y_t -= np.log(np.exp(y_t).sum(axis=-1, keepdims=True))
    return y, y


def log_softmax_backward(dy: Array, cache: Cache) -> Array:
    """dx = dy - exp(y) sum(dy)"""
    y = cache
    check_shape("dy", dy, y.shape)
    dx = np.empty_like(y)
    for dy_t, y_t, dx_t in tiles(dy, y, dx):
        np.exp(y_t, out=dx_t)
        dx_t *= dy_t.sum(axis=-1, keepdims=True)
        np.subtract(dy_t, dx_t, out=dx_t)
    return dx


def subtract_top(x: Array, out: Array) -> None:
    """out = x - max(x), row by row; out may be x."""
    np.subtract(x, x.max(axis=-1, keepdims=True), out=out)
