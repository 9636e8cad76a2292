"""Modules by scalar loops: those of the layers, composed.  p holds the parameters by path below the module."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...hints import Array, Rng
from .layers import attention, dropout, gelu, layernorm, linear, relu


def heads(x: Array, H: int) -> Array:
    """The heads one after the other, (B, H, T, D)."""
    D = x.shape[-1] // H
    return np.stack([x[:, :, h * D:(h + 1) * D] for h in range(H)], axis=1)


def joined(y: Array) -> Array:
    """Head beside head, (B, T, H D)."""
    return np.concatenate([y[:, h] for h in range(y.shape[1])], axis=-1)


def self_attention(x: Array, H: int, p: dict[str, Array], causal: bool, padding_mask: Array | None = None,
                   rate: float = 0.0, rng: Rng | None = None, attention_rate: float | None = None) -> Array:
    C = len(p["c_proj.w"])                              # H D: less than x has, where heads were taken out
    q, k, v = (heads(linear(x, p["c_attn.w"][:, i:i + C], p["c_attn.b"][i:i + C]), H) for i in (0, C, 2 * C))
    y = joined(attention(q, k, v, causal, padding_mask, *_of_weights(rate, rng, attention_rate)))
    return dropped(linear(y, p["c_proj.w"], p["c_proj.b"]), rate, rng)


def cross_attention(x: Array, memory: Array, H: int, p: dict[str, Array], padding_mask: Array | None = None,
                    rate: float = 0.0, rng: Rng | None = None, attention_rate: float | None = None) -> Array:
    C = x.shape[-1]
    q = heads(linear(x, p["c_q.w"], p["c_q.b"]), H)
    k, v = (heads(linear(memory, p["c_kv.w"][:, i:i + C], p["c_kv.b"][i:i + C]), H) for i in (0, C))
    y = joined(attention(q, k, v, False, padding_mask, *_of_weights(rate, rng, attention_rate)))
    return dropped(linear(y, p["c_proj.w"], p["c_proj.b"]), rate, rng)


def mlp(x: Array, p: dict[str, Array], activation: Callable[[Array], Array] = gelu, rate: float = 0.0,
        rng: Rng | None = None) -> Array:
    h = activation(linear(x, p["c_fc.w"], p["c_fc.b"]))
    return dropped(linear(h, p["c_proj.w"], p["c_proj.b"]), rate, rng)


def norm(x: Array, p: dict[str, Array], eps: float = 1e-5) -> Array:
    return layernorm(x, p["g"], p["b"], eps)


def pre_norm_block(x: Array, H: int, p: dict[str, Array], activation: Callable[[Array], Array] = gelu,
                   causal: bool = True, eps: float = 1e-5, padding_mask: Array | None = None, rate: float = 0.0,
                   rng: Rng | None = None, attention_rate: float | None = None) -> Array:
    h = norm(x, below(p, "ln_1"), eps)
    x = x + self_attention(h, H, below(p, "attn"), causal, padding_mask, rate, rng, attention_rate)
    return x + mlp(norm(x, below(p, "ln_2"), eps), below(p, "mlp"), activation, rate, rng)


def post_norm_block(x: Array, H: int, p: dict[str, Array], activation: Callable[[Array], Array] = relu,
                    causal: bool = False, eps: float = 1e-5, padding_mask: Array | None = None, rate: float = 0.0,
                    rng: Rng | None = None, attention_rate: float | None = None) -> Array:
    h = self_attention(x, H, below(p, "attn"), causal, padding_mask, rate, rng, attention_rate)
    x = norm(x + h, below(p, "ln_1"), eps)
    return norm(x + mlp(x, below(p, "mlp"), activation, rate, rng), below(p, "ln_2"), eps)


def decoder_block(x: Array, memory: Array, H: int, p: dict[str, Array], activation: Callable[[Array], Array] = relu,
                  eps: float = 1e-5, padding_mask: Array | None = None, memory_padding_mask: Array | None = None,
                  rate: float = 0.0, rng: Rng | None = None, attention_rate: float | None = None) -> Array:
    h = self_attention(x, H, below(p, "attn"), True, padding_mask, rate, rng, attention_rate)
    x = norm(x + h, below(p, "ln_1"), eps)
    h = cross_attention(x, memory, H, below(p, "cross_attn"), memory_padding_mask, rate, rng, attention_rate)
    x = norm(x + h, below(p, "ln_2"), eps)
    return norm(x + mlp(x, below(p, "mlp"), activation, rate, rng), below(p, "ln_3"), eps)


def pre_norm_decoder_block(x: Array, memory: Array, H: int, p: dict[str, Array],
                           activation: Callable[[Array], Array] = relu, eps: float = 1e-5,
                           padding_mask: Array | None = None, memory_padding_mask: Array | None = None,
                           rate: float = 0.0, rng: Rng | None = None, attention_rate: float | None = None) -> Array:
    h = norm(x, below(p, "ln_1"), eps)
    x = x + self_attention(h, H, below(p, "attn"), True, padding_mask, rate, rng, attention_rate)
    h = norm(x, below(p, "ln_2"), eps)
    x = x + cross_attention(h, memory, H, below(p, "cross_attn"), memory_padding_mask, rate, rng, attention_rate)
    return x + mlp(norm(x, below(p, "ln_3"), eps), below(p, "mlp"), activation, rate, rng)


def stack(x: Array, H: int, L: int, p: dict[str, Array], needs_dx: bool = True, **options: Any) -> Array:
    """L pre-norm blocks.  needs_dx says what backward gives, and nothing of y."""
    for i in range(L):
        x = pre_norm_block(x, H, below(p, f"h.{i}"), **options)
    return x


def below(p: dict[str, Array], prefix: str) -> dict[str, Array]:
    """The parameters below a child, under their names there."""
    return {path[len(prefix) + 1:]: value for path, value in p.items() if path.startswith(prefix + ".")}


def dropped(x: Array, rate: float, rng: Rng | None) -> Array:
    """Dropout where there is a generator."""
    return x if rng is None else dropout(x, rate, rng)


def _of_weights(rate: float, rng: Rng | None, attention_rate: float | None) -> tuple[float, Rng | None]:
    """Rate and generator of the attention weights: at rate 0 nothing is drawn."""
    rate = rate if attention_rate is None else attention_rate
    return rate, rng if rate else None
