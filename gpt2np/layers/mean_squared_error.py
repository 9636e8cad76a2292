"""Mean squared error: how far numbers are from those that they should be.

Chapter: S001 3.1.2.
"""

import math

from ..hints import Array, Cache
from .checks import check_numbers, check_shape
from .cross_entropy import scaled


def mean_squared_error_forward(y: Array, targets: Array, counted: int | None = None) -> tuple[Array, Cache]:
    """The mean of the squared differences.

        loss = mean of (y - t)^2

    y        (..., K)   floating
    targets  (..., K)   t: any finite numbers
    counted  int        what the sum is divided by: how many numbers there are in the whole batch, where these are a
                        part of it; None: how many there are here
    returns  loss ()    of y's dtype, 0 where there are none; and the cache for the backward
    raises   ValueError for targets of another shape: (B,) against (B, 1) would be broadcast to (B, B), every number
             against those of all rows; and for what is no number

    No number is left out, as -100 is of labels: any may be the right one.
    """
    check_shape("targets", targets, y.shape)
    check_numbers("targets", targets, -math.inf, math.inf)
    difference = y - targets.astype(y.dtype)
    n = max(targets.size if counted is None else counted, 1)
    return (difference * difference).sum() / n, (difference, n)


def mean_squared_error_backward(dloss: float | Array, cache: Cache) -> Array:
    """dy = 2 (y - t) dloss / counted"""
    difference, n = cache
    return scaled(dloss * 2 / n, difference)
