"""The models by scalar loops."""

import math
from collections.abc import Callable

import numpy as np

from ...hints import Array, Rng
from .blocks import below, decoder_block, dropped, norm, post_norm_block, pre_norm_block, pre_norm_decoder_block, stack
from .layers import embedding, gelu_erf, linear, lm_head, relu, tanh


def gpt2(tokens: Array, H: int, L: int, p: dict[str, Array], rate: float = 0.0, rng: Rng | None = None) -> Array:
    return lm_head(gpt2_hidden(tokens, H, L, p, rate, rng), p["wte"])


def gpt2_hidden(tokens: Array, H: int, L: int, p: dict[str, Array], rate: float = 0.0, rng: Rng | None = None) -> Array:
    positions = np.array([range(tokens.shape[1])] * len(tokens), int).reshape(tokens.shape)
    x = dropped(embedding(tokens, p["wte"]) + embedding(positions, p["wpe"]), rate, rng)
    return norm(stack(x, H, L, p, rate=rate, rng=rng), below(p, "ln_f"))


def transformer(source: Array, source_mask: Array, tokens: Array, H: int, L: int, norms: str, p: dict[str, Array],
                activation: Callable[[Array], Array] = relu, rate: float = 0.0, rng: Rng | None = None) -> Array:
    pre, ends_in_norms = norms == "pre", norms != "post"
    memory = embed(source, p["wte"], rate, rng)
    for i in range(L):
        block = pre_norm_block if pre else post_norm_block
        memory = block(memory, H, below(p, f"encoder.{i}"), activation, False, 1e-5, source_mask, rate, rng, 0.0)
    memory = norm(memory, below(p, "ln_encoder")) if ends_in_norms else memory
    x = embed(tokens, p["wte"], rate, rng)
    for i in range(L):
        decoder = pre_norm_decoder_block if pre else decoder_block
        x = decoder(x, memory, H, below(p, f"decoder.{i}"), activation, 1e-5, None, source_mask, rate, rng, 0.0)
    return lm_head(norm(x, below(p, "ln_decoder")) if ends_in_norms else x, p["wte"])


def embed(ids: Array, wte: Array, rate: float, rng: Rng | None) -> Array:
    """A token's row, times sqrt(C), and the sines and cosines of its position."""
    C = wte.shape[1]
    x = math.sqrt(C) * embedding(ids, wte)
    for b, t, c in np.ndindex(x.shape):
        angle = t / 10000 ** ((c - c % 2) / C)
        x[b, t, c] += math.sin(angle) if c % 2 == 0 else math.cos(angle)
    return dropped(x, rate, rng)


def bert(tokens: Array, segments: Array, padding_mask: Array, H: int, L: int, p: dict[str, Array],
         eps: float = 1e-12, rate: float = 0.0, rng: Rng | None = None) -> Array:
    positions = np.array([range(tokens.shape[1])] * len(tokens), int).reshape(tokens.shape)
    x = embedding(tokens, p["wte"]) + embedding(positions, p["wpe"]) + embedding(segments, p["wse"])
    x = dropped(norm(x, below(p, "ln"), eps), rate, rng)
    for i in range(L):
        x = post_norm_block(x, H, below(p, f"h.{i}"), gelu_erf, False, eps, padding_mask, rate, rng)
    return x


def pooler(x: Array, p: dict[str, Array]) -> Array:
    return tanh(linear(x[:, 0], p["dense.w"], p["dense.b"]))


def masked_words_head(x: Array, p: dict[str, Array], eps: float = 1e-12) -> Array:
    h = norm(gelu_erf(linear(x, p["dense.w"], p["dense.b"])), below(p, "ln"), eps)
    return lm_head(h, p["decoder.wte"], p["decoder.b"])


def bert_for_pre_training(tokens: Array, segments: Array, padding_mask: Array, H: int, L: int, p: dict[str, Array],
                          eps: float = 1e-12, rate: float = 0.0, rng: Rng | None = None) -> tuple[Array, Array]:
    x = bert(tokens, segments, padding_mask, H, L, below(p, "bert"), eps, rate, rng)
    words = masked_words_head(x, below(p, "mlm") | {"decoder.wte": p["bert.wte"]}, eps)
    return words, linear(pooler(x, below(p, "bert.pooler")), p["nsp.w"], p["nsp.b"])


def head(y: Array, p: dict[str, Array], rate: float = 0.0, rng: Rng | None = None) -> Array:
    return lm_head(dropped(y, rate, rng), p["head.wte"], p.get("head.b"))
