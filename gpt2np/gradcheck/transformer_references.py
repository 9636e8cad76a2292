"""To be moved into references: the encoder-decoder by scalar loops."""
import math
from collections.abc import Callable
from typing import Any
import numpy as np
from ..hints import Array, Rng
from .references import _dropped, below, cross_attention, decoder_block, embedding, lm_head, mlp, norm, post_norm_block, self_attention


def pre_norm_encoder_block(x, H, p, activation, padding_mask=None, rate=0.0, rng=None):
    x = x + self_attention(norm(x, below(p, "ln_1")), H, below(p, "attn"), False, padding_mask, rate, rng)
    return x + mlp(norm(x, below(p, "ln_2")), below(p, "mlp"), activation, rate, rng)


def pre_norm_decoder_block(x, memory, H, p, activation, padding_mask=None, memory_padding_mask=None, rate=0.0, rng=None):
    x = x + self_attention(norm(x, below(p, "ln_1")), H, below(p, "attn"), True, padding_mask, rate, rng)
    h = norm(x, below(p, "ln_2"))
    x = x + cross_attention(h, memory, H, below(p, "cross_attn"), memory_padding_mask, rate, rng)
    return x + mlp(norm(x, below(p, "ln_3")), below(p, "mlp"), activation, rate, rng)


def transformer(source, source_mask, tokens, H, L, form, p, activation, rate=0.0, rng=None):
    encoder_block, block = (pre_norm_encoder_block, pre_norm_decoder_block) if form == "pre" else (post_norm_block, decoder_block)
    memory = embed(source, p["wte"], rate, rng)
    for i in range(L):
        memory = encoder_block(memory, H, below(p, f"encoder.{i}"), activation, source_mask, rate, rng)
    memory = memory if form == "post" else norm(memory, below(p, "ln_encoder"))
    x = embed(tokens, p["wte"], rate, rng)
    for i in range(L):
        x = block(x, memory, H, below(p, f"decoder.{i}"), activation, None, source_mask, rate, rng)
    x = x if form == "post" else norm(x, below(p, "ln_decoder"))
    return lm_head(x, p["wte"])


def embed(ids, wte, rate, rng):
    C = wte.shape[1]
    x = math.sqrt(C) * embedding(ids, wte)
    for b, t, c in np.ndindex(x.shape):
        angle = t / 10000 ** ((c - c % 2) / C)
        x[b, t, c] += math.sin(angle) if c % 2 == 0 else math.cos(angle)
    return _dropped(x, rate, rng)
