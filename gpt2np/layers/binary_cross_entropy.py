"""Binary cross-entropy: of several labels at once, each is true or not, whatever the others are.

Chapter: S001 3.1.2; S004 4.2.
"""

import numpy as np

from ..hints import Array, Cache
from .checks import check_numbers, check_shape
from .cross_entropy import IGNORED, scaled


def binary_cross_entropy_forward(logits: Array, targets: Array, counted: int | None = None) -> tuple[Array, Cache]:
    """The mean negative log-probability of what is true of each label.

        loss = mean of -t log p - (1 - t) log(1 - p)        p = 1 / (1 + exp(-z))
             = mean of max(z, 0) - z t + log(1 + exp(-|z|))

    logits   (..., K)   floating, z
    targets  (..., K)   t from 0 to 1: 1 where the label is true, 0 where it is not, and what lies between where nobody
                        is sure; -100: left out of the mean
    counted  int        what the sum is divided by: how many targets count in the whole batch, where these are a part
                        of it; None: how many count here
    returns  loss ()    of logits' dtype, 0 where all targets are left out; and the cache for the backward
    raises   ValueError for targets of another shape, which broadcasting would hide, and for other numbers

    The logarithm of a probability that was rounded to 0 is never taken, and exp never overflows.
    """
    check_shape("targets", targets, logits.shape)
    check_numbers("targets", targets, 0, 1, ignored=IGNORED)
    left_out = targets == IGNORED
    z, t = (np.where(left_out, 0, a).astype(logits.dtype) for a in (logits, targets))
    counts = (~left_out).astype(logits.dtype)
    weight = counts / (np.maximum(counts.sum(), 1) if counted is None else max(counted, 1))
    e = np.exp(-np.maximum(z, -z))                      # |z|; np.abs would drop what the checks make complex
    nll = np.maximum(z, 0) - z * t + np.log1p(e)
    more, less = 1 / (1 + e), e / (1 + e)               # of p and 1 - p the larger, and the smaller with all its digits
    p, other = np.where(z > 0, more, less), np.where(z > 0, less, more)
    return (weight * nll).sum(), ((1 - t) * p - t * other) * weight


def binary_cross_entropy_backward(dloss: float | Array, cache: Cache) -> Array:
    """dlogits = (p - t) dloss / counted, where p - t = (1 - t) p - t (1 - p) keeps its digits however small it is."""
    slope = cache
    return scaled(dloss, slope)
