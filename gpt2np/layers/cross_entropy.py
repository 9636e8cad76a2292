"""Cross-entropy: how many nats the model is surprised by the right answer, on average.

Chapter: S001 5.2; S002 5.2; S004 4.2.
"""

import numpy as np

from ..hints import Array, Cache
from .checks import check_ids, check_shape
from .softmax import subtract_top
from .tiles import rows, tiles

IGNORED = -100                  # a target that does not count: padding, or a prompt that should not be learned


def cross_entropy_forward(logits: Array, targets: Array, label_smoothing: float = 0.0,
                          counted: int | None = None) -> tuple[Array, Cache]:
    """The mean negative log-probability of the targets.

        loss = mean of -sum_v t_v log p_v        p = softmax(logits)
        t    = (1 - e) onehot(target) + e / V    e = label_smoothing; without it, loss = mean of -log p_target

    logits           (..., V)   floating
    targets          (...)      integers from 0 to V - 1, or -100: left out of the mean
    label_smoothing  float      0 <= e <= 1
    counted          int        what the sum is divided by: how many targets count in the whole batch, where these are
                                a part of it, so that the losses and gradients of all parts add up to those of the
                                batch; None: how many count here
    returns          loss ()    of logits' dtype, 0 where all targets are left out; and the cache for the backward
    raises           ValueError for targets of another shape or outside the vocabulary, and for another label_smoothing

    -log p_v = log(sum(exp(logits))) - logits_v: the logarithm of a probability that was rounded to 0 is never taken.
    Both terms are of logits - max(logits): a large number that is added to all of them costs no digits of the loss.
    Label smoothing: Szegedy et al. 2016, arXiv:1512.00567, section 7.
    """
    check_shape("targets", targets, logits.shape[:-1])
    safe, weight = weigh_targets(targets, logits, logits.shape[-1], label_smoothing, counted)
    p = np.empty_like(logits, order="C")
    nll = np.empty_like(weight)[:, None]
    for z, p_t, nll_t, target in tiles(logits, p, nll, safe[:, None]):
        subtract_top(z, out=p_t)
        expected = expected_logit(p_t, target, label_smoothing)
        np.exp(p_t, out=p_t)
        total = p_t.sum(axis=-1, keepdims=True)
        p_t *= 1 / total
        np.subtract(np.log(total), expected, out=nll_t)
    return mean_of_counted(nll, weight), (p, safe, weight, label_smoothing)


def cross_entropy_backward(dloss: float | Array, cache: Cache) -> Array:
    """dlogits = (p - t) dloss / counted, with t = (1 - e) onehot(target) + e / V.

    0 where the target is left out, as long as the logits there are finite.
    """
    p, safe, weight, label_smoothing = cache
    V = p.shape[-1]
    scale = row_scale(dloss, weight)
    dlogits = np.empty_like(p)
    for p_t, d_t, scale_t in tiles(p, dlogits, scale):
        np.multiply(p_t, scale_t, out=d_t)
        if label_smoothing:
            d_t -= label_smoothing / V * scale_t
    row = np.arange(len(safe), like=safe)
    rows(dlogits)[row, safe] -= (1 - label_smoothing) * scale[:, 0]
    return dlogits


def mean_of_counted(nll: Array, weight: Array) -> Array:
    """The loss of the rows that count: one that does not may be infinite, and 0 times that is no number."""
    return weight @ np.where(weight == 0, 0, nll[:, 0])


def row_scale(dloss: float | Array, weight: Array) -> Array:
    """What the gradient of each row is multiplied by, (N, 1)."""
    return scaled(dloss, weight)[:, None]


def scaled(dloss: float | Array, weight: Array) -> Array:
    """dloss times the weights, of weight's dtype: a float64 dloss does not promote."""
    if np.ndim(dloss):
        raise ValueError(f"dloss: expected a number, got shape {np.shape(dloss)}")
    return (dloss * weight).astype(weight.dtype)


def expected_logit(z: Array, target: Array, label_smoothing: float) -> Array:
    """sum_v t_v z_v of each row (N, 1), for the targets (N, 1)."""
    expected = (1 - label_smoothing) * np.take_along_axis(z, target, axis=-1)
    if label_smoothing:
        expected += label_smoothing / z.shape[-1] * z.sum(axis=-1, keepdims=True)
    return expected


def count_targets(targets: Array) -> int:
    """How many targets count."""
    return int(np.count_nonzero(targets != IGNORED))


def weigh_targets(targets: Array, like: Array, V: int, label_smoothing: float,
                  counted: int | None) -> tuple[Array, Array]:
    """Check the targets.  Returns them (N,), 0 in place of those left out, and each one's weight in the mean (N,)."""
    check_ids("targets", targets, V, ignored=IGNORED)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing: expected a number from 0 to 1, got {label_smoothing}")
    targets = targets.reshape(-1)
    counts = (targets != IGNORED).astype(like.dtype)
    total = np.maximum(counts.sum(), 1) if counted is None else max(counted, 1)
    return np.where(targets != IGNORED, targets, 0), counts / total
