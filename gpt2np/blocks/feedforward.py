"""The feed-forward network of a block: each position on its own, wider by a factor of four and back.

Chapter: S000 4.2; S001 4.2; S003 4.2.
"""

import numpy as np
from numpy.typing import DTypeLike

from ..hints import Array, Cache, Rng
from ..layers.activations import GELU, Activation
from ..layers.dropout import check_rate, dropout_backward, dropout_forward
from ..layers.linear import Linear
from ..layers.module import Module


class MLP(Module):
    """y = activation(x c_fc) c_proj, with c_fc (C, F) and c_proj (F, C).

    n_inner   F; None: 4 C
    std       of the initial weights: see Linear
    """

    def __init__(self, n_embd: int, rng: Rng | None, *, activation: Activation = GELU, n_inner: int | None = None,
                 dropout: float = 0.0, std: float | None = 0.02, dtype: DTypeLike = np.float32):
        check_rate(dropout)
        n_inner = 4 * n_embd if n_inner is None else n_inner
        self.activation, self.dropout = activation, dropout
        self.c_fc = Linear(n_embd, n_inner, rng, std=std, dtype=dtype)
        self.c_proj = Linear(n_inner, n_embd, rng, std=std, dtype=dtype)

    def forward(self, x: Array, *, rng: Rng | None = None, keep_cache: bool = True) -> tuple[Array, Cache]:
        """x (B, T, C) -> y (B, T, C), cache"""
        h, c_c_fc = self.c_fc.forward(x, rng=rng)                                   # (B, T, F)
        h, c_activation = self.activation.forward(h) if keep_cache else (self.activation.inference(h), None)
        y, c_c_proj = self.c_proj.forward(h, rng=rng)                               # (B, T, C)
        y, c_dropout = dropout_forward(y, self.dropout, rng)
        return y, (c_c_fc, c_activation, c_c_proj, c_dropout) if keep_cache else None

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dy (B, T, C) -> dx (B, T, C)"""
        c_c_fc, c_activation, c_c_proj, c_dropout = cache
        dy = dropout_backward(dy, c_dropout)
        dh = self.c_proj.backward(dy, c_c_proj)
        dh = self.activation.backward(dh, c_activation)
        return self.c_fc.backward(dh, c_c_fc)
