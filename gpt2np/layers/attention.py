"""Scaled dot-product attention: each position takes a weighted mean of the values, by how well its query fits the keys.

One function serves all uses.  Self-attention gives it q, k and v made of the same x; cross-attention takes k and v from
another sequence; decoding with a cache gives it T new queries and all S >= T keys so far.  With causal=True the last
query sees all keys, the one before it all but the last, and so on: aligned at the lower right corner of (T, S).

Chapter: S000 1.1, 1.2, 4.2, 4.4; S001 1.1, 4.1, 4.2; S002 1.2, 2.2.3, 4.2; S003 1.1, 4.2, 9 Q2.
"""

import math
from collections.abc import Iterator

import numpy as np

from ..hints import Array, Cache, Rng
from .checks import check_heads, check_padding_mask, check_shape
from .dropout import check_rate, draw_keep

QUERIES = 128                   # queries at a time: the scores above the diagonal of a block of them are never computed
SCORES = 1 << 18                # scores at a time (elements), so that they stay in cache: 1 MB of float32
LOWEST = -1e30                  # stands for the largest score of a row that sees nothing: -inf - LOWEST is still -inf


def attention_forward(q: Array, k: Array, v: Array, causal: bool = False, padding_mask: Array | None = None,
                      dropout: float = 0.0, rng: Rng | None = None, keep_cache: bool = True) -> tuple[Array, Cache]:
    """Weighted means of the values.

        y = p v        p = softmax(q k' / sqrt(D) + M)        M is 0 where a query may look, -inf elsewhere
        y = (keep p / (1 - rate)) v                           with dropout: keep is 0 with probability `rate`, else 1

    q             (B, H, T, D)   floating
    k, v          (B, H, S, D)
    causal        bool           query t sees keys up to S - T + t; needs S >= T
    padding_mask  (B, S)         bool, True for a real token, False for padding that no query sees; None: all are real
    dropout, rng                 the rate, and numpy.random.Generator; without an rng nothing is dropped
    keep_cache    bool           False for inference: p is not kept
    returns       y (B, H, T, D) of q's dtype, in q's order of axes in memory, and the cache for attention_backward

    A query that sees nothing gets zeros.  Queries are taken in blocks, each with only the keys that its last one sees.
    Vaswani et al. 2017, arXiv:1706.03762, eq. 1.
    """
    (B, H, T, D), S = q.shape, k.shape[2]
    if not (S and H and D):
        raise ValueError(f"attention: expected at least one key, head and column, got q {q.shape} and k {k.shape}")
    check_shape("k", k, (B, H, S, D))
    check_shape("v", v, (B, H, S, D))
    check_rate(dropout)
    if causal and S < T:
        raise ValueError(f"causal attention: expected at least as many keys as queries, got {T} queries and {S} keys")
    future = _future(q, min(T, QUERIES)) if causal and T > 1 else None
    if padding_mask is not None:
        check_padding_mask(padding_mask, (B, S))
    padding = None if padding_mask is None else _padding(q, padding_mask)
    y, weights = np.empty_like(q), []
    for b, h, queries, keys in _blocks(B, H, T, S, causal):
        p = (q[b, h, queries] * (1 / math.sqrt(D))) @ k[b, h, keys].swapaxes(2, 3)      # (b, h, t, s)
        if future is not None:
            t = p.shape[2]
            p[..., -t:] += future[:t, :t]               # the keys before these are in every query's past
        if padding is not None:
            p += padding[b, :, :, keys]
        p -= np.maximum(p.max(axis=-1, keepdims=True), LOWEST)
        np.exp(p, out=p)
        total = p.sum(axis=-1, keepdims=True)
        p *= 1 / (total + (total == 0))                 # a row that sees nothing: 0 / 1
        keep = draw_keep(p, dropout, rng) if dropout and rng is not None else None
        np.matmul(_dropped(p, keep, dropout), v[b, h, keys], out=y[b, h, queries])
        if keep_cache:
            weights.append((p, keep))
    return y, (q, k, v, y, weights, causal, dropout) if keep_cache else None


def attention_backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """Gradients of attention_forward.

        dv      = p' dy
        dscores = p (dp - sum(dp p))        dp = dy v'        sum(dp p) over the keys = sum(dy y) over D
        dq      = dscores k / sqrt(D)
        dk      = dscores' q / sqrt(D)

    With dropout, keep / (1 - rate) multiplies p in dv, and dy v' in dp; the p of dscores is without.  sum(dp p) stays
    sum(dy y), since it is in dp as it is in y.
    """
    q, k, v, y, weights, causal, dropout = cache
    (B, H, T, D), S = q.shape, k.shape[2]
    check_shape("dy", dy, q.shape)
    dq, dk, dv = np.empty_like(q), np.zeros_like(k), np.zeros_like(v)
    for (b, h, queries, keys), (p, keep) in zip(_blocks(B, H, T, S, causal), weights):
        dy_t, y_t, q_t = dy[b, h, queries], y[b, h, queries], q[b, h, queries]
        k_s, v_s = k[b, h, keys], v[b, h, keys]
        dv[b, h, keys] += _dropped(p, keep, dropout).swapaxes(2, 3) @ dy_t
        dp = _dropped(dy_t @ v_s.swapaxes(2, 3), keep, dropout)
        dp -= np.einsum("bhtd,bhtd->bht", dy_t, y_t)[..., None]
        dp *= p                                         # dscores
        np.matmul(dp, k_s, out=dq[b, h, queries])
        dk[b, h, keys] += dp.swapaxes(2, 3) @ q_t
    dq *= 1 / math.sqrt(D)
    dk *= 1 / math.sqrt(D)
    return dq, dk, dv


def attention_weights(cache: Cache) -> Array:
    """p of attention_forward, (B, H, T, S), put together of what its cache keeps; 0 where a query may not look."""
    q, k, v, y, weights, causal, dropout = cache
    (B, H, T), S = q.shape[:3], k.shape[2]
    p = np.zeros_like(q, shape=(B, H, T, S), order="C")
    for (b, h, queries, keys), (p_t, _) in zip(_blocks(B, H, T, S, causal), weights):
        p[b, h, queries, keys] = p_t
    return p


def split_heads(x: Array, H: int) -> Array:
    """(B, T, C) -> (B, H, T, D): head h is columns h D to (h + 1) D.  A view."""
    B, T, C = x.shape
    check_heads(C, H)
    return x.reshape(B, T, H, C // H).swapaxes(1, 2)


def merge_heads(x: Array) -> Array:
    """(B, H, T, D) -> (B, T, C), the inverse of split_heads; a view of what attention_forward makes of split heads."""
    B, H, T, D = x.shape
    return x.swapaxes(1, 2).reshape(B, T, H * D)


def _blocks(B: int, H: int, T: int, S: int, causal: bool) -> Iterator[tuple[slice, slice, slice, slice]]:
    """Yield (b, h, queries, keys): sequences, heads and queries at a time, with the keys that the last query sees."""
    fit = max(1, SCORES // max(1, min(T, QUERIES) * S))                 # heads whose scores fit into cache together
    step_b, step_h = max(1, fit // H), min(H, fit)
    for b in range(0, B, step_b):
        for h in range(0, H, step_h):
            for first in range(0, T, QUERIES):
                last = min(first + QUERIES, T)
                seen = S - T + last if causal else S
                yield slice(b, b + step_b), slice(h, h + step_h), slice(first, last), slice(0, seen)


def _future(q: Array, n: int) -> Array:
    """M of n queries and the last n keys they see, (n, n): -inf above the diagonal."""
    return np.triu(np.full_like(q, -math.inf, shape=(n, n)), 1)


def _padding(q: Array, padding_mask: Array) -> Array:
    """M of a padding mask, (B, 1, 1, S): -inf for padding."""
    padding_mask = padding_mask[:, None, None, :]
    return np.where(padding_mask, np.zeros_like(q, shape=padding_mask.shape), -math.inf)


def _dropped(p: Array, keep: Array | None, rate: float) -> Array:
    """p keep / (1 - rate), or p itself where nothing is dropped."""
    return p if keep is None else p * keep * (1 / (1 - rate))
