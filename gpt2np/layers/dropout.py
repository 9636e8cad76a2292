"""Dropout: training with a random part of the activations set to 0, so that no unit relies on a single other one.

Chapter: S000 5.3; S001 9 Q2.
"""

import numpy as np

from ..hints import Array, Cache, Rng
from .checks import check_shape


def dropout_forward(x: Array, rate: float, rng: Rng | None) -> tuple[Array, Cache]:
    """Set each element to 0 with probability `rate`, and scale the rest so that the expectation stays.

        y = x keep / (1 - rate)         keep is 0 with probability rate, else 1

    x        (...)      floating
    rate     float      0 <= rate < 1
    rng      numpy.random.Generator, or None: then y is x itself, nothing is drawn and nothing copied (evaluation)
    returns  y (...) of x's dtype, and the cache for dropout_backward
    raises   ValueError for a rate outside 0 <= rate < 1

    Srivastava et al. 2014, JMLR 15; the scaling is done in training, so that evaluation needs none.
    """
    check_rate(rate)
    if rng is None or rate == 0:
        return x, None
    keep = draw_keep(x, rate, rng)
    y = x * keep
    y *= 1 / (1 - rate)
    return y, (keep, rate)


def dropout_backward(dy: Array, cache: Cache) -> Array:
    """dx = dy keep / (1 - rate); dy itself where nothing was dropped."""
    if cache is None:
        return dy
    keep, rate = cache
    check_shape("dy", dy, keep.shape)
    dx = dy * keep
    dx *= 1 / (1 - rate)
    return dx


def draw_keep(x: Array, rate: float, rng: Rng) -> Array:
    """A mask of x's shape, True with probability 1 - rate: drawn on the host, the same for any device, moved to x."""
    return np.asarray(rng.random(x.shape, dtype=np.float32) >= rate, like=x)


def check_rate(rate: float) -> None:
    """Raise ValueError unless 0 <= rate < 1."""
    if not 0 <= rate < 1:
        raise ValueError(f"dropout: expected a rate from 0 to less than 1, got {rate}")
