"""The embedding: a row of a table for every token id.

Chapter: S000 4.2; S003 4.1.
"""

import numpy as np
from numpy.typing import DTypeLike

from ..hints import Array, Cache, Rng
from .checks import check_ids, check_shape
from .module import Parameter, initial
from .tiles import tiles


def embedding_forward(ids: Array, w: Array, scale: float = 1.0) -> tuple[Array, Cache]:
    """Look up the vector of each token.

        y[...] = scale w[ids[...]]      the same as onehot(ids) w, without the product

    ids      (...)      integers from 0 to V - 1
    w        (V, C)     floating
    scale    float      sqrt(C) in the original Transformer, whose head has the same table without it
    returns  y (..., C) of w's dtype, and the cache for embedding_backward
    raises   ValueError for an id outside the table

    Vaswani et al. 2017, arXiv:1706.03762, section 3.4.
    """
    check_ids("ids", ids, len(w))
    y = w[ids]
    if scale != 1:
        y *= scale
    return y, (ids, w, scale)


def embedding_backward(dy: Array, cache: Cache) -> Array:
    """dw[i] = scale sum of dy over the places where ids = i: rows not looked up get 0, repeated ones their sum."""
    ids, w, scale = cache
    dw = np.zeros_like(w, order="C")
    add_rows(dw, ids, dy if scale == 1 else dy * scale)
    return dw


def add_rows(dw: Array, ids: Array, dy: Array) -> None:
    """dw[i] += dy, for each row of dy and its id i, in place.

    dw       (V, C)     C-contiguous: the rows of another layout are a copy, and the sums would be lost
    ids      (...)      from 0 to V - 1
    dy       (..., C)

    Not dw[ids] += dy, which keeps only one of several rows with the same id.  np.add.at is 4 to 5 times as fast along
    one axis as over rows, so the places are those in dw as one row of V C numbers.
    """
    C = dw.shape[1]
    check_shape("dy", dy, (*ids.shape, C))
    if not dw.flags.c_contiguous:
        raise ValueError(f"dw: expected a C-contiguous array, got strides {dw.strides} for shape {dw.shape}")
    flat, columns = dw.reshape(-1), np.arange(C, like=dw)
    for dy_t, first in tiles(dy, ids.astype(np.int64)[..., None] * C):
        np.add.at(flat, (first + columns).reshape(-1), dy_t.reshape(-1))


class Embedding(Parameter):
    """One table (n, C), drawn from N(0, std^2): OpenAI's code has 0.02 for tokens and 0.01 for positions.

    scale   what its rows are multiplied by where they are looked up

    It is a Parameter itself, so that its path is the checkpoint's name, wte, and so that the head can share it.
    """

    def __init__(self, n: int, n_embd: int, rng: Rng | None, *, std: float = 0.02, scale: float = 1.0,
                 dtype: DTypeLike = np.float32):
        super().__init__(initial(rng, (n, n_embd), std, dtype))
        self.scale = scale

    def forward(self, ids: Array) -> tuple[Array, Cache]:
        return embedding_forward(ids, self.value, self.scale)

    def backward(self, dy: Array, cache: Cache) -> None:
        """Adds to grad.  Token ids have no gradient, so there is nothing to return."""
        if not self.trainable:
            return
        if self.grad is None:
            self.grad = embedding_backward(dy, cache)
        else:                               # the few rows that were looked up, straight into the gradient that is there
            ids, _, scale = cache
            add_rows(self.grad, ids, dy if scale == 1 else dy * scale)
