"""The output head: hidden vectors to logits by the transposed embedding, which GPT-2 shares; alone, and with its loss.

The logits are by far the largest array of the model: V = 50257 numbers for each position.  As two layers, the head and
the cross-entropy keep three arrays of that size: logits, probabilities, and their gradient.  As one pair, one.

Chapter: S000 4.2; S004 3.2, 4.2.
"""

import numpy as np

from ..hints import Array, Cache
from .checks import check_shape
from .cross_entropy import expected_logit, mean_of_counted, row_scale, weigh_targets
from .embedding import Embedding, add_rows
from .module import Module, Parameter
from .softmax import subtract_top
from .tiles import product, rows, sum_rows, tiles


def lm_head_forward(x: Array, wte: Array, b: Array | None = None) -> tuple[Array, Cache]:
    """Score every word of the vocabulary by its embedding.

        logits = x wte' + b

    x        (..., C)   floating
    wte      (V, C)     the token embedding
    b        (V,)       a bias for each word, as BERT has it; None, as in GPT-2: without
    returns  logits (..., V) of x's dtype, and the cache for lm_head_backward
    """
    logits = product(x, wte.T)
    if b is not None:
        check_shape("b", b, wte.shape[:1])
        logits += b
    return logits.reshape(*x.shape[:-1], len(wte)), (x, wte, b)


def lm_head_backward(dlogits: Array, cache: Cache) -> tuple[Array, ...]:
    """dx = dlogits wte        dwte = dlogits' x        db = sum of dlogits over the rows, if there is a b"""
    x, wte, b = cache
    dx = lm_head_input_backward(dlogits, (x.shape, wte))
    dwte = rows(dlogits).T @ rows(x)
    return (dx, dwte) if b is None else (dx, dwte, sum_rows(dlogits))


def lm_head_input_backward(dlogits: Array, cache: Cache) -> Array:
    """dx alone, for a frozen wte: of x its shape is enough, cache (x.shape, wte)."""
    shape, wte = cache
    check_shape("dlogits", dlogits, (*shape[:-1], len(wte)))
    return (rows(dlogits) @ wte).reshape(shape)


def lm_head_loss_forward(x: Array, wte: Array, targets: Array, b: Array | None = None, label_smoothing: float = 0.0,
                         counted: int | None = None) -> tuple[Array, Cache]:
    """The head and the cross-entropy as one layer, which owns its logits.

        logits = x wte' + b        loss = mean of log(sum(exp(logits))) - sum_v t_v logits_v

    x                (..., C)   floating
    wte, b           (V, C), (V,) or None     as in lm_head_forward
    targets          (...)      integers from 0 to V - 1, or -100: left out of the mean
    label_smoothing  float      as in cross_entropy_forward, and so is counted
    returns          loss ()    of x's dtype, and the cache for lm_head_loss_backward

    It keeps e = exp(logits - max(logits)) in the memory of the logits, and the row sums of e.
    """
    check_shape("targets", targets, x.shape[:-1])
    safe, weight = weigh_targets(targets, x, len(wte), label_smoothing, counted)
    e = rows(x) @ wte.T                                 # (N, V), the only array of that size
    if b is not None:
        check_shape("b", b, wte.shape[:1])
    total, nll = np.empty_like(weight)[:, None], np.empty_like(weight)[:, None]
    for z, total_t, nll_t, target in tiles(e, total, nll, safe[:, None]):
        if b is not None:
            z += b
        subtract_top(z, out=z)
        expected = expected_logit(z, target, label_smoothing)
        np.exp(z, out=z)
        total_t[:] = z.sum(axis=-1, keepdims=True)
        np.subtract(np.log(total_t), expected, out=nll_t)
    return mean_of_counted(nll, weight), (x, wte, b, safe, weight, e, total, label_smoothing)


def lm_head_loss_backward(dloss: float | Array, cache: Cache) -> tuple[Array, ...]:
    """Gradients of lm_head_loss_forward.

        dlogits = (e / total - t) dloss / counted
        dx = dlogits wte        dwte = dlogits' x        db = sum of dlogits over the rows, if there is a b

    dlogits is never made: to scale the rows of e is to scale the rows of the products, which are much smaller, and the
    rest of it, t = (1 - s) onehot(target) + s / V, is one row of wte for each row of x, and the mean of all.
    """
    x, wte, b, safe, weight, e, total, label_smoothing = cache
    dx = lm_head_loss_input_backward(dloss, cache)
    scale = row_scale(dloss, weight)
    dwte = _times_dlogits(rows(x) * scale, cache)
    return (dx, dwte) if b is None else (dx, dwte, _times_dlogits(scale, cache)[:, 0])


def lm_head_loss_input_backward(dloss: float | Array, cache: Cache) -> Array:
    """dx alone, for a frozen wte."""
    x, wte, b, safe, weight, e, total, label_smoothing = cache
    dx = e @ wte
    dx /= total
    dx -= wte[safe] * (1 - label_smoothing)
    if label_smoothing:
        dx -= sum_rows(wte) * (label_smoothing / len(wte))
    dx *= row_scale(dloss, weight)
    return dx.reshape(x.shape)


def lm_head_loss_bias_backward(dloss: float | Array, cache: Cache) -> Array:
    """db alone, for a frozen wte."""
    x, wte, b, safe, weight, e, total, label_smoothing = cache
    return _times_dlogits(row_scale(dloss, weight), cache)[:, 0]


def _times_dlogits(scaled: Array, cache: Cache) -> Array:
    """dlogits' y, (V, K), for rows y (N, K) that are scaled by dloss / counted already."""
    x, wte, b, safe, weight, e, total, label_smoothing = cache
    dw = e.T @ (scaled / total)
    add_rows(dw, safe, scaled * (label_smoothing - 1))
    if label_smoothing:
        dw -= sum_rows(scaled) * (label_smoothing / len(wte))
    return dw


class LMHead(Module):
    """The head of a model, which shares its table of tokens, and a bias b (V,), at first 0, where `bias` asks for one.

    wte   Embedding   the model's own: there is one parameter, and the gradients of both its uses add
    """

    def __init__(self, wte: Embedding, bias: bool = False):
        self.wte = wte
        self.b = Parameter(np.zeros_like(wte.value, shape=len(wte.value))) if bias else None

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """x (..., C) -> logits (..., V), cache: (x, wte, b), or (x.shape, wte) for a frozen wte"""
        logits, cache = lm_head_forward(x, self.wte.value, self._bias())
        return logits, cache if self.wte.trainable else (x.shape, self.wte.value)

    def backward(self, dlogits: Array, cache: Cache) -> Array:
        """dlogits (..., V) -> dx (..., C)"""
        if isinstance(cache[0], tuple):
            if self.b is not None and self.b.trainable:
                self.b.accumulate(sum_rows(dlogits))
            return lm_head_input_backward(dlogits, cache)
        return self._accumulate(*lm_head_backward(dlogits, cache))

    def loss(self, x: Array, targets: Array, *, label_smoothing: float = 0.0,
             counted: int | None = None) -> tuple[Array, Cache]:
        """x (..., C) and targets (...) -> the mean cross-entropy (), cache: see lm_head_loss_forward"""
        return lm_head_loss_forward(x, self.wte.value, targets, self._bias(), label_smoothing, counted)

    def loss_backward(self, dloss: float | Array, cache: Cache) -> Array:
        """dloss () -> dx (..., C)"""
        if not self.wte.trainable:
            if self.b is not None and self.b.trainable:
                self.b.accumulate(lm_head_loss_bias_backward(dloss, cache))
            return lm_head_loss_input_backward(dloss, cache)
        return self._accumulate(*lm_head_loss_backward(dloss, cache))

    def _bias(self) -> Array | None:
        return None if self.b is None else self.b.value

    def _accumulate(self, dx: Array, dwte: Array, *db: Array) -> Array:
        self.wte.accumulate(dwte)
        if self.b is not None:
            self.b.accumulate(*db)
        return dx
