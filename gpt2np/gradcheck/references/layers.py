"""The layers by scalar loops."""

import math
from collections.abc import Callable

import numpy as np

from ...hints import Array, Rng


def linear(x: Array, w: Array, b: Array) -> Array:
    y, columns = np.zeros((*x.shape[:-1], w.shape[1])), w.T.tolist()
    for n in np.ndindex(x.shape[:-1]):
        row = x[n].tolist()
        for o, column in enumerate(columns):
            y[n][o] = b[o] + sum(x_i * w_i for x_i, w_i in zip(row, column))
    return y


def embedding(ids: Array, w: Array, scale: float = 1.0) -> Array:
    return np.array([[scale * a for a in w[i]] for i in ids.flat]).reshape(*ids.shape, w.shape[1])


def layernorm(x: Array, g: Array, b: Array, eps: float = 1e-5) -> Array:
    y, C = np.zeros(x.shape), x.shape[-1]
    for n in np.ndindex(x.shape[:-1]):
        row = x[n].tolist()
        mean = sum(row) / C
        var = sum((a - mean) ** 2 for a in row) / C
        for i in range(C):
            y[n][i] = g[i] * (row[i] - mean) / math.sqrt(var + eps) + b[i]
    return y


def gelu(x: Array) -> Array:
    return _each(x, lambda a: 0.5 * a * (1 + math.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a ** 3))))


def gelu_erf(x: Array) -> Array:
    return _each(x, lambda a: 0.5 * a * (1 + math.erf(a / math.sqrt(2))))


def relu(x: Array) -> Array:
    return _each(x, lambda a: a if a > 0 else 0.0)


def tanh(x: Array) -> Array:
    return _each(x, math.tanh)


def softmax(x: Array) -> Array:
    y = np.zeros(x.shape)
    for n in np.ndindex(x.shape[:-1]):
        row, top = x[n].tolist(), max(x[n])
        total = math.fsum(math.exp(a - top) for a in row)
        for i, a in enumerate(row):
            y[n][i] = math.exp(a - top) / total
    return y


def log_softmax(x: Array) -> Array:
    y = np.zeros(x.shape)
    for n in np.ndindex(x.shape[:-1]):
        row, top = x[n].tolist(), max(x[n])
        total = math.fsum(math.exp(a - top) for a in row)
        for i, a in enumerate(row):
            y[n][i] = a - top - math.log(total)
    return y


def dropout(x: Array, rate: float, rng: Rng) -> Array:
    keep = rng.random(x.shape, dtype=np.float32)
    y = np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        y[i] = x[i] / (1 - rate) if keep[i] >= rate else 0.0
    return y


def attention(q: Array, k: Array, v: Array, causal: bool = False, padding_mask: Array | None = None,
              dropout: float = 0.0, rng: Rng | None = None) -> Array:
    (B, H, T, D), S = q.shape, k.shape[2]
    y, queries, keys, values = np.zeros(q.shape), q.tolist(), k.tolist(), v.tolist()
    keep = np.ones((B, H, T, S)) if rng is None else rng.random((B, H, T, S), dtype=np.float32)
    for b, h, t in np.ndindex(B, H, T):
        seen = [s for s in range(S) if (not causal or s <= S - T + t) and (padding_mask is None or padding_mask[b, s])]
        scores = [sum(q_d * k_d for q_d, k_d in zip(queries[b][h][t], keys[b][h][s])) / math.sqrt(D) for s in seen]
        for s, p in zip(seen, softmax(np.array(scores)).tolist() if seen else []):
            if keep[b, h, t, s] >= dropout:
                for d in range(D):
                    y[b, h, t, d] += p / (1 - dropout) * values[b][h][s][d]
    return y


def cross_entropy(logits: Array, targets: Array, label_smoothing: float = 0.0, counted: int | None = None) -> Array:
    V, losses = logits.shape[-1], []
    for n in np.ndindex(targets.shape):
        if targets[n] != -100:
            log_p = log_softmax(logits[n])
            t = [label_smoothing / V + (1 - label_smoothing if v == targets[n] else 0.0) for v in range(V)]
            losses.append(-math.fsum(t[v] * log_p[v] for v in range(V)))
    return np.array(math.fsum(losses) / max(1, len(losses) if counted is None else counted))


def binary_cross_entropy(logits: Array, targets: Array, counted: int | None = None) -> Array:
    losses = []
    for z, t in zip(logits.flat, targets.flat):
        if t != -100:
            losses.append(t * math.log1p(math.exp(-z)) + (1 - t) * math.log1p(math.exp(z)))
    return np.array(math.fsum(losses) / max(1, len(losses) if counted is None else counted))


def mean_squared_error(y: Array, targets: Array, counted: int | None = None) -> Array:
    losses = [(float(a) - float(t)) ** 2 for a, t in zip(y.flat, targets.flat)]
    return np.array(math.fsum(losses) / max(1, len(losses) if counted is None else counted))


def lm_head(x: Array, wte: Array, b: Array | None = None) -> Array:
    return linear(x, wte.T, np.zeros(len(wte)) if b is None else b)


def lm_head_loss(x: Array, wte: Array, targets: Array, b: Array | None = None, label_smoothing: float = 0.0,
                 counted: int | None = None) -> Array:
    return cross_entropy(lm_head(x, wte, b), targets, label_smoothing, counted)


def _each(x: Array, f: Callable[[float], float]) -> Array:
    return np.array([f(float(a)) for a in x.flat]).reshape(x.shape)
