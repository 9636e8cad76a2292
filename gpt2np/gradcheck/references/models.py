"""The models by scalar loops."""

import math
from collections.abc import Callable

import numpy as np

from ...hints import Array, Rng
from .blocks import (
    below,
    decoder_block,
    dropped,
    norm,
    post_norm_block,
    pre_norm_block,
    pre_norm_decoder_block,
    stack,
)
from .layers import embedding, lm_head, relu


def gpt2(tokens: Array, H: int, L: int, p: dict[str, Array], rate: float = 0.0, rng: Rng | None = None) -> Array:
    positions = np.array([range(tokens.shape[1])] * len(tokens))
    x = dropped(embedding(tokens, p["wte"]) + embedding(positions, p["wpe"]), rate, rng)
    x = stack(x, H, L, p, rate=rate, rng=rng)
    return lm_head(norm(x, below(p, "ln_f")), p["wte"])


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
