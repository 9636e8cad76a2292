"""What is added to layers, by scalar loops."""

import math

import numpy as np

from ...hints import Array, Rng
from .blocks import _of_weights, below, dropped, heads, joined
from .layers import attention, dropout, gelu, linear


def times(x: Array, w: Array) -> Array:
    return linear(x, w, np.zeros(w.shape[1]))


def lora(x: Array, a: Array, u: Array, scale: float) -> Array:
    return scale * times(times(x, a), u)


def adalora(x: Array, p: Array, e: Array, q: Array, scale: float) -> Array:
    y = np.zeros((*x.shape[:-1], q.shape[1]))
    for n in np.ndindex(x.shape[:-1]):
        for k in range(len(e)):
            t = sum(x[n][i] * p[i, k] for i in range(len(p)))
            for o in range(q.shape[1]):
                y[n][o] += scale * e[k] * t * q[k, o]
    return y


def orthogonality(p: Array, q: Array) -> Array:
    terms = []
    for vectors in (p.T, q):
        for i, v in enumerate(vectors):
            for j, w in enumerate(vectors):
                terms.append((sum(a * b for a, b in zip(v, w)) - (i == j)) ** 2)
    return np.array(math.fsum(terms))


def prefix(k: Array, prefix: Array) -> Array:
    B, H, T, D = k.shape
    P = len(prefix)
    y = np.zeros((B, H, P + T, D))
    for b, h, s, d in np.ndindex(y.shape):
        y[b, h, s, d] = prefix[s, h * D + d] if s < P else k[b, h, s - P, d]
    return y


def lora_linear(x: Array, p: dict[str, Array], scale: float, columns: list[tuple[int, int]], rate: float = 0.0,
                rng: Rng | None = None) -> Array:
    y = linear(x, p["w"], p["b"])
    x = x if rng is None else dropout(x, rate, rng)
    for i, (first, end) in enumerate(columns):
        y[..., first:end] += lora(x, p[f"lora.{i}.a"], p[f"lora.{i}.u"], scale)
    return y


def adalora_linear(x: Array, p: dict[str, Array], scale: float, rate: float = 0.0, rng: Rng | None = None) -> Array:
    y = linear(x, p["w"], p["b"])
    return y + adalora(x if rng is None else dropout(x, rate, rng), p["p"], p["e"], p["q"], scale)


def adapter(x: Array, p: dict[str, Array]) -> Array:
    return x + linear(gelu(linear(x, p["down.w"], p["down.b"])), p["up.w"], p["up.b"])


def adapter_linear(x: Array, p: dict[str, Array], rng: Rng | None = None) -> Array:
    """rng draws nothing: a Linear is handed it for what else may stand there."""
    return adapter(linear(x, p["w"], p["b"]), below(p, "adapter"))


def importance(seen: list[dict[str, tuple[Array, Array]]], beta1: float, beta2: float) -> list[float]:
    """S of each rank of a layer, by algorithm 1 of AdaLoRA's paper; seen: of each step, w and dw of p, e and q."""
    I: dict[tuple, float] = {}
    U: dict[tuple, float] = {}
    for step in seen:
        for name, (w, dw) in step.items():
            for i in np.ndindex(w.shape):
                key, now = (name, *i), abs(w[i] * dw[i])
                I[key] = beta1 * I.get(key, 0.0) + (1 - beta1) * now
                U[key] = beta2 * U.get(key, 0.0) + (1 - beta2) * abs(now - I[key])
    p, q = seen[0]["p"][0], seen[0]["q"][0]
    s = {key: I[key] * U[key] for key in I}
    return [s["e", k] + sum(s["p", i, k] for i in range(len(p))) / len(p)
            + sum(s["q", k, o] for o in range(q.shape[1])) / q.shape[1] for k in range(len(q))]


def prefix_self_attention(x: Array, H: int, p: dict[str, Array], causal: bool, padding_mask: Array | None = None,
                          rate: float = 0.0, rng: Rng | None = None) -> Array:
    C = x.shape[-1]
    if "prefix_k" in p:
        prefix_k, prefix_v = p["prefix_k"], p["prefix_v"]
    else:
        h = np.array([[math.tanh(a) for a in row] for row in linear(p["table"], p["fc.w"], p["fc.b"])])
        kv = linear(h, p["proj.w"], p["proj.b"])
        prefix_k, prefix_v = kv[:, :C], kv[:, C:]
    q, k, v = (heads(linear(x, p["c_attn.w"][:, i:i + C], p["c_attn.b"][i:i + C]), H) for i in (0, C, 2 * C))
    k, v = prefix(k, prefix_k), prefix(v, prefix_v)
    if padding_mask is not None:
        padding_mask = np.array([[True] * len(prefix_k) + list(row) for row in padding_mask], bool)
    y = joined(attention(q, k, v, causal, padding_mask, *_of_weights(rate, rng, None)))
    return dropped(linear(y, p["c_proj.w"], p["c_proj.b"]), rate, rng)


def bfloat16(bits: int) -> float:
    """The number that 16 bits are: a sign, 8 bits of an exponent, 7 of a fraction."""
    sign, exponent, fraction = bits >> 15, bits >> 7 & 255, bits & 127
    return (-1) ** sign * math.ldexp(fraction + 128 * (exponent > 0), max(exponent, 1) - 127 - 7)


def nearest(a: float, bits: int) -> float:
    """The nearest number with so many significant bits, of two the even one."""
    fraction, exponent = math.frexp(a)
    return math.ldexp(round(math.ldexp(fraction, bits)), exponent - bits)


def narrow_linear(x: Array, p: dict[str, Array], rng: Rng | None = None) -> Array:
    codes, scale = p["codes"], p.get("scale", np.ones(1))
    w = np.zeros(codes.shape)
    for i, o in np.ndindex(codes.shape):
        code = bfloat16(int(codes[i, o])) if codes.dtype == np.uint16 else float(codes[i, o])
        w[i, o] = code * float(scale[o if len(scale) > 1 else 0])
    return linear(x, w, p["b"])
