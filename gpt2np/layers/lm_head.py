"""The output head: hidden vectors to logits by the transposed embedding, which GPT-2 shares; alone, and with its loss.

The logits are by far the largest array of the model: V = 50257 numbers for each position.  As two layers, the head and
the cross-entropy keep three arrays of that size: logits, probabilities, and their gradient.  As one pair, one.
"""

import numpy as np

from ..hints import Array, Cache
from .checks import check_shape
from .cross_entropy import expected_logit, mean_of_counted, row_scale, weigh_targets
from .embedding import add_rows
from .softmax import subtract_top
from .tiles import product, rows, sum_rows, tiles


def lm_head_forward(x: Array, wte: Array) -> tuple[Array, Cache]:
    """Score every word of the vocabulary by its embedding.

        logits = x wte'

    x        (..., C)   floating
    wte      (V, C)     the token embedding; the head has no bias
    returns  logits (..., V) of x's dtype, and the cache for lm_head_backward
    """
    return product(x, wte.T).reshape(*x.shape[:-1], len(wte)), (x, wte)


def lm_head_backward(dlogits: Array, cache: Cache) -> tuple[Array, Array]:
    """dx = dlogits wte        dwte = dlogits' x"""
    x, wte = cache
    dx = lm_head_input_backward(dlogits, cache)
    dwte = rows(dlogits).T @ rows(x)
    return dx, dwte


def lm_head_input_backward(dlogits: Array, cache: Cache) -> Array:
    """dx alone, for a frozen wte."""
    x, wte = cache
    check_shape("dlogits", dlogits, (*x.shape[:-1], len(wte)))
    return (rows(dlogits) @ wte).reshape(x.shape)


def lm_head_loss_forward(x: Array, wte: Array, targets: Array, label_smoothing: float = 0.0) -> tuple[Array, Cache]:
    """The head and the cross-entropy as one layer, which owns its logits.

        logits = x wte'        loss = mean of log(sum(exp(logits))) - sum_v t_v logits_v

    x                (..., C)   floating
    wte              (V, C)     the token embedding
    targets          (...)      integers from 0 to V - 1, or -100: left out of the mean
    label_smoothing  float      as in cross_entropy_forward
    returns          loss ()    of x's dtype, and the cache for lm_head_loss_backward

    It keeps e = exp(logits - max(logits)) in the memory of the logits, and the row sums of e.
    """
    check_shape("targets", targets, x.shape[:-1])
    safe, weight = weigh_targets(targets, x, len(wte), label_smoothing)
    e = rows(x) @ wte.T                                 # (N, V), the only array of that size
    total, nll = np.empty_like(weight)[:, None], np.empty_like(weight)[:, None]
    for z, total_t, nll_t, target in tiles(e, total, nll, safe[:, None]):
        subtract_top(z, out=z)
        expected = expected_logit(z, target, label_smoothing)
        np.exp(z, out=z)
        total_t[:] = z.sum(axis=-1, keepdims=True)
        np.subtract(np.log(total_t), expected, out=nll_t)
    return mean_of_counted(nll, weight), (x, wte, safe, weight, e, total, label_smoothing)


def lm_head_loss_backward(dloss: float | Array, cache: Cache) -> tuple[Array, Array]:
    """Gradients of lm_head_loss_forward.

        dlogits = (e / total - t) dloss / count         dx = dlogits wte        dwte = dlogits' x

    dlogits is never made: to scale the rows of e is to scale the rows of the products, which are much smaller, and the
    rest of it, t = (1 - s) onehot(target) + s / V, is one row of wte for each row of x, and the mean of all.
    """
    dx = lm_head_loss_input_backward(dloss, cache)
    x, wte, safe, weight, e, total, label_smoothing = cache
    scaled_x = rows(x) * row_scale(dloss, weight)
    dwte = e.T @ (scaled_x / total)
    add_rows(dwte, safe, scaled_x * (label_smoothing - 1))
    if label_smoothing:
        dwte -= sum_rows(scaled_x) * (label_smoothing / len(wte))
    return dx, dwte


def lm_head_loss_input_backward(dloss: float | Array, cache: Cache) -> Array:
    """dx alone, for a frozen wte."""
    x, wte, safe, weight, e, total, label_smoothing = cache
    dx = e @ wte
    dx /= total
    dx -= wte[safe] * (1 - label_smoothing)
    if label_smoothing:
        dx -= sum_rows(wte) * (label_smoothing / len(wte))
    dx *= row_scale(dloss, weight)
    return dx.reshape(x.shape)
