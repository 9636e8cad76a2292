"""Positions: attention itself sees a set, so the order of the tokens has to be added to their vectors.

GPT-2 learns a vector for each of n_ctx positions: an Embedding looked up at 0, 1, 2, ...  The original Transformer
has a fixed table instead, which needs no gradient.

Chapter: S000 3.2; S003 2.1, 3.3.
"""

import math

import numpy as np
from numpy.typing import DTypeLike

from ..hints import Array


def sinusoidal_positions(n_ctx: int, n_embd: int, dtype: DTypeLike = np.float32) -> Array:
    """The fixed table of the original Transformer: each pair of columns turns at its own speed.

        table[t, 2i]     = sin(t / 10000^(2i / C))
        table[t, 2i + 1] = cos(t / 10000^(2i / C))

    returns  table (n_ctx, C)

    Vaswani et al. 2017, arXiv:1706.03762, section 3.5.
    """
    t = np.arange(n_ctx, dtype=np.float64)[:, None]
    column = np.arange(n_embd)
    angle = t * np.exp((column - column % 2) * (-math.log(10000.0) / n_embd))
    return np.where(column % 2 == 0, np.sin(angle), np.cos(angle)).astype(dtype)
