"""Layer normalisation: every row to mean 0 and variance 1, then a learned gain and bias.

Chapter: S000 5.3; S003 2.1, 4.2.
"""

import numpy as np
from numpy.typing import DTypeLike

from ..hints import Array, Cache
from .checks import check_shape
from .module import Blank, Module, Parameter
from .tiles import dot_rows, tiles


def layernorm_forward(x: Array, g: Array, b: Array, eps: float = 1e-5) -> tuple[Array, Cache]:
    """Normalise each row, then scale and shift it.

        xhat = (x - mean(x)) / sqrt(var(x) + eps)
        y    = g xhat + b

    x        (..., C)   floating
    g, b     (C,)       gain and bias
    returns  y (..., C) of x's dtype, and the cache for layernorm_backward

    var is the biased one, divided by C, and eps is inside the root.
    Ba, Kiros, Hinton 2016, arXiv:1607.06450, eq. 4.
    """
    C = x.shape[-1]
    check_shape("g", g, (C,))
    check_shape("b", b, (C,))
    y, xhat = np.empty_like(x, order="C"), np.empty_like(x, order="C")
    inv_std = np.empty_like(x[..., :1], order="C")
    mean = np.full_like(g, 1 / C)                       # a @ mean: the mean of each row, in one pass of BLAS
    for x_t, xhat_t, inv_t, y_t in tiles(x, xhat, inv_std, y):
        np.subtract(x_t, (x_t @ mean)[:, None], out=xhat_t)
        inv_t[:] = 1 / np.sqrt(dot_rows(xhat_t, xhat_t) / C + eps)
        xhat_t *= inv_t
        np.multiply(xhat_t, g, out=y_t)
        y_t += b
    return y, (xhat, inv_std, g)


def layernorm_backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """Gradients of layernorm_forward.

        dxhat = g dy
        dx    = (dxhat - mean(dxhat) - xhat mean(dxhat xhat)) / sqrt(var(x) + eps)
        dg    = sum of dy xhat over the rows        db = sum of dy over the rows

    The two means are there because mean(x) and var(x) depend on x too.  They leave a dx whose rows sum to 0, and so do
    those of dx xhat, but for eps.
    """
    xhat, inv_std, g = cache
    check_shape("dy", dy, xhat.shape)
    dx, dg, db = np.empty_like(dy, order="C"), np.zeros_like(g), np.zeros_like(g)
    for dy_t, xhat_t, inv_t, dx_t in tiles(dy, xhat, inv_std, dx):
        ones, dy_xhat = np.ones_like(inv_t[:, 0]), dy_t * xhat_t
        dg += ones @ dy_xhat
        db += ones @ dy_t
        gradient_by_x(dy_t, dy_xhat, xhat_t, inv_t, g, out=dx_t)
    return dx, dg, db


def layernorm_input_backward(dy: Array, cache: Cache) -> Array:
    """dx alone, for a frozen gain and bias."""
    xhat, inv_std, g = cache
    check_shape("dy", dy, xhat.shape)
    dx = np.empty_like(dy, order="C")
    for dy_t, xhat_t, inv_t, dx_t in tiles(dy, xhat, inv_std, dx):
        gradient_by_x(dy_t, dy_t * xhat_t, xhat_t, inv_t, g, out=dx_t)
    return dx


def gradient_by_x(dy: Array, dy_xhat: Array, xhat: Array, inv_std: Array, g: Array, out: Array) -> None:
    """out = dx of a tile, (n, C).  dy_xhat, which is dy xhat, is written over."""
    g_mean = g * (1 / g.size)                           # dy @ g_mean: the mean of g dy
    np.multiply(dy, g, out=out)
    out -= (dy @ g_mean)[:, None]
    out -= np.multiply(xhat, (dy_xhat @ g_mean)[:, None], out=dy_xhat)
    out *= inv_std


class LayerNorm(Module):
    """A gain g (C,), at first 1, and a bias b (C,), at first 0."""

    def __init__(self, n_embd: int, *, eps: float = 1e-5, dtype: DTypeLike = np.float32):
        self.g, self.b = Parameter(Blank((n_embd,), dtype, 1)), Parameter(Blank((n_embd,), dtype))
        self.eps = eps

    def forward(self, x: Array) -> tuple[Array, Cache]:
        return layernorm_forward(x, self.g.value, self.b.value, self.eps)

    def backward(self, dy: Array, cache: Cache) -> Array:
        if not (self.g.trainable or self.b.trainable):
            return layernorm_input_backward(dy, cache)
        dx, dg, db = layernorm_backward(dy, cache)
        self.g.accumulate(dg)
        self.b.accumulate(db)
        return dx
