"""The layers of a Transformer's stack: attention, then the MLP, each with a residual around it and a norm.

In the backward pass a residual is a sum: dy reaches x by the way around the sub-layer, and by the way through it.

Each class is one equation and its mirror image.  What models have in different ways is an option of all of them, with
the default of the model that the class is named for:

    activation   between the two matrices of the MLP
    causal       whether a position sees those before it and itself alone (DecoderBlock: always)
    eps          of the norms
    n_inner      inner width of the MLP, F; None: 4 C
    dropout      rate at the end of each sub-layer, and of the attention weights,
    attention_dropout    which may have one of their own
    std          of the initial weights: see Linear

Chapter: S000 3.2, 4.2, 4.3, 4.4, 5.3; S001 4.2; S002 2.1, 2.2.1, 4.3; S003 2.1, 2.2.
"""

import numpy as np
from numpy.typing import DTypeLike

from ..hints import Array, Cache, Rng
from ..layers.activations import GELU, RELU, Activation
from ..layers.layernorm import LayerNorm
from ..layers.module import Module
from .feedforward import MLP
from .kv_cache import DecoderPast, KVCache, Memory, Past
from .multihead import CrossAttention, SelfAttention


class PreNormBlock(Module):
    """GPT-2's block: the norm comes before each sub-layer, and nothing stands in the residual's way.

        x = x + attn(ln_1(x))
        x = x + mlp(ln_2(x))

    Radford et al. 2019, Language Models are Unsupervised Multitask Learners, section 2.3.
    """

    def __init__(self, n_embd: int, n_head: int, rng: Rng | None, *, activation: Activation = GELU,
                 causal: bool = True, eps: float = 1e-5, n_inner: int | None = None, dropout: float = 0.0,
                 attention_dropout: float | None = None, std: float | None = 0.02, dtype: DTypeLike = np.float32):
        self.ln_1 = LayerNorm(n_embd, eps=eps, dtype=dtype)
        self.attn = SelfAttention(n_embd, n_head, rng, causal=causal, dropout=dropout,
                                  attention_dropout=attention_dropout, std=std, dtype=dtype)
        self.ln_2 = LayerNorm(n_embd, eps=eps, dtype=dtype)
        self.mlp = MLP(n_embd, rng, activation=activation, n_inner=n_inner, dropout=dropout, std=std, dtype=dtype)

    def new_past(self, B: int, n: int) -> KVCache:
        """The past of B sequences that have none yet, with room for n positions."""
        return self.attn.new_past(B, n)

    def forward(self, x: Array, *, padding_mask: Array | None = None, rng: Rng | None = None, keep_cache: bool = True,
                past: Past | None = None, last: int | None = None) -> tuple[Array, Cache]:
        """x (B, T, C) -> y (B, T, C), or (B, last, C) of the last positions alone, and the cache"""
        h, c_ln_1 = self.ln_1.forward(x)
        h, c_attn = self.attn.forward(h, padding_mask=padding_mask, rng=rng, keep_cache=keep_cache,
                                      past=past, last=last)
        if last is not None:
            x = x[:, x.shape[1] - last:]
        x = x + h
        h, c_ln_2 = self.ln_2.forward(x)
        h, c_mlp = self.mlp.forward(h, rng=rng, keep_cache=keep_cache)
        y = x + h
        return y, (c_ln_1, c_attn, c_ln_2, c_mlp) if keep_cache else None

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dy (B, T, C) -> dx (B, T, C)"""
        c_ln_1, c_attn, c_ln_2, c_mlp = cache
        dh = self.mlp.backward(dy, c_mlp)
        dx = dy + self.ln_2.backward(dh, c_ln_2)
        dh = self.attn.backward(dx, c_attn)
        dx = dx + self.ln_1.backward(dh, c_ln_1)
        return dx


class PostNormBlock(Module):
    """The original Transformer's encoder layer, and BERT's: the norm comes after each residual sum.

        x = ln_1(x + attn(x))
        x = ln_2(x + mlp(x))

    Vaswani et al. 2017, arXiv:1706.03762, section 3.1.
    """

    def __init__(self, n_embd: int, n_head: int, rng: Rng | None, *, activation: Activation = RELU,
                 causal: bool = False, eps: float = 1e-5, n_inner: int | None = None, dropout: float = 0.0,
                 attention_dropout: float | None = None, std: float | None = 0.02, dtype: DTypeLike = np.float32):
        self.attn = SelfAttention(n_embd, n_head, rng, causal=causal, dropout=dropout,
                                  attention_dropout=attention_dropout, std=std, dtype=dtype)
        self.ln_1 = LayerNorm(n_embd, eps=eps, dtype=dtype)
        self.mlp = MLP(n_embd, rng, activation=activation, n_inner=n_inner, dropout=dropout, std=std, dtype=dtype)
        self.ln_2 = LayerNorm(n_embd, eps=eps, dtype=dtype)

    def forward(self, x: Array, *, padding_mask: Array | None = None, rng: Rng | None = None,
                keep_cache: bool = True) -> tuple[Array, Cache]:
        """x (B, T, C) -> y (B, T, C), cache"""
        h, c_attn = self.attn.forward(x, padding_mask=padding_mask, rng=rng, keep_cache=keep_cache)
        x, c_ln_1 = self.ln_1.forward(x + h)
        h, c_mlp = self.mlp.forward(x, rng=rng, keep_cache=keep_cache)
        y, c_ln_2 = self.ln_2.forward(x + h)
        return y, (c_attn, c_ln_1, c_mlp, c_ln_2) if keep_cache else None

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dy (B, T, C) -> dx (B, T, C)"""
        c_attn, c_ln_1, c_mlp, c_ln_2 = cache
        dh = self.ln_2.backward(dy, c_ln_2)
        dx = dh + self.mlp.backward(dh, c_mlp)
        dh = self.ln_1.backward(dx, c_ln_1)
        dx = dh + self.attn.backward(dh, c_attn)
        return dx


class DecoderBlock(Module):
    """The original Transformer's decoder layer: it looks at what it has written so far, then at the encoder's memory.

        x = ln_1(x + attn(x))                   causal
        x = ln_2(x + cross_attn(x, memory))
        x = ln_3(x + mlp(x))

    Vaswani et al. 2017, arXiv:1706.03762, section 3.1.
    """

    def __init__(self, n_embd: int, n_head: int, rng: Rng | None, *, activation: Activation = RELU,
                 eps: float = 1e-5, n_inner: int | None = None, dropout: float = 0.0,
                 attention_dropout: float | None = None, std: float | None = 0.02, dtype: DTypeLike = np.float32):
        self.attn = SelfAttention(n_embd, n_head, rng, causal=True, dropout=dropout,
                                  attention_dropout=attention_dropout, std=std, dtype=dtype)
        self.ln_1 = LayerNorm(n_embd, eps=eps, dtype=dtype)
        self.cross_attn = CrossAttention(n_embd, n_head, rng, dropout=dropout, attention_dropout=attention_dropout,
                                         std=std, dtype=dtype)
        self.ln_2 = LayerNorm(n_embd, eps=eps, dtype=dtype)
        self.mlp = MLP(n_embd, rng, activation=activation, n_inner=n_inner, dropout=dropout, std=std, dtype=dtype)
        self.ln_3 = LayerNorm(n_embd, eps=eps, dtype=dtype)

    def new_past(self, B: int, n: int, memory: Array, memory_padding_mask: Array | None = None) -> DecoderPast:
        """The past of B sequences that have none yet, with room for n positions, and the memory that they look at."""
        (k, v), _ = self.cross_attn.keys_values(memory)
        return DecoderPast(self.attn.new_past(B, n), Memory(k, v, memory_padding_mask))

    def forward(self, x: Array, memory: Array | None = None, *, padding_mask: Array | None = None,
                memory_padding_mask: Array | None = None, rng: Rng | None = None, keep_cache: bool = True,
                past: DecoderPast | None = None, last: int | None = None) -> tuple[Array, Cache]:
        """x (B, T, C), memory (B, S, C) -> y (B, T, C), or (B, last, C) of the last positions alone, and the cache

        past   of new_past, in place of the memory and its mask
        """
        seen = None if past is None else past.memory
        h, c_attn = self.attn.forward(x, padding_mask=padding_mask, rng=rng, keep_cache=keep_cache,
                                      past=past, last=last)
        if last is not None:
            x = x[:, x.shape[1] - last:]
        x, c_ln_1 = self.ln_1.forward(x + h)
        h, c_cross_attn = self.cross_attn.forward(x, memory, padding_mask=memory_padding_mask, rng=rng,
                                                  keep_cache=keep_cache, past=seen)
        x, c_ln_2 = self.ln_2.forward(x + h)
        h, c_mlp = self.mlp.forward(x, rng=rng, keep_cache=keep_cache)
        y, c_ln_3 = self.ln_3.forward(x + h)
        return y, (c_attn, c_ln_1, c_cross_attn, c_ln_2, c_mlp, c_ln_3) if keep_cache else None

    def backward(self, dy: Array, cache: Cache) -> tuple[Array, Array]:
        """dy (B, T, C) -> dx (B, T, C), dmemory (B, S, C)"""
        c_attn, c_ln_1, c_cross_attn, c_ln_2, c_mlp, c_ln_3 = cache
        dh = self.ln_3.backward(dy, c_ln_3)
        dx = dh + self.mlp.backward(dh, c_mlp)
        dh = self.ln_2.backward(dx, c_ln_2)
        dx, dmemory = self.cross_attn.backward(dh, c_cross_attn)
        dx = dh + dx
        dh = self.ln_1.backward(dx, c_ln_1)
        dx = dh + self.attn.backward(dh, c_attn)
        return dx, dmemory

    def cross_weights(self, cache: Cache) -> Array:
        """p (B, H, T, S) of the forward that this cache is of: how much each position looked at which of the memory."""
        c_attn, c_ln_1, c_cross_attn, c_ln_2, c_mlp, c_ln_3 = cache
        return self.cross_attn.weights(c_cross_attn)


class PreNormDecoderBlock(DecoderBlock):
    """The same with the norms before the sub-layers, as PreNormBlock has them.

        x = x + attn(ln_1(x))                   causal
        x = x + cross_attn(ln_2(x), memory)
        x = x + mlp(ln_3(x))

    Xiong et al. 2020, arXiv:2002.04745, section 3: it trains without a warm-up, where the other form needs one.
    """

    def forward(self, x: Array, memory: Array | None = None, *, padding_mask: Array | None = None,
                memory_padding_mask: Array | None = None, rng: Rng | None = None, keep_cache: bool = True,
                past: DecoderPast | None = None, last: int | None = None) -> tuple[Array, Cache]:
        """As DecoderBlock's."""
        seen = None if past is None else past.memory
        h, c_ln_1 = self.ln_1.forward(x)
        h, c_attn = self.attn.forward(h, padding_mask=padding_mask, rng=rng, keep_cache=keep_cache,
                                      past=past, last=last)
        if last is not None:
            x = x[:, x.shape[1] - last:]
        x = x + h
        h, c_ln_2 = self.ln_2.forward(x)
        h, c_cross_attn = self.cross_attn.forward(h, memory, padding_mask=memory_padding_mask, rng=rng,
                                                  keep_cache=keep_cache, past=seen)
        x = x + h
        h, c_ln_3 = self.ln_3.forward(x)
        h, c_mlp = self.mlp.forward(h, rng=rng, keep_cache=keep_cache)
        y = x + h
        return y, (c_ln_1, c_attn, c_ln_2, c_cross_attn, c_ln_3, c_mlp) if keep_cache else None

    def backward(self, dy: Array, cache: Cache) -> tuple[Array, Array]:
        """dy (B, T, C) -> dx (B, T, C), dmemory (B, S, C)"""
        c_ln_1, c_attn, c_ln_2, c_cross_attn, c_ln_3, c_mlp = cache
        dh = self.mlp.backward(dy, c_mlp)
        dx = dy + self.ln_3.backward(dh, c_ln_3)
        dh, dmemory = self.cross_attn.backward(dx, c_cross_attn)
        dx = dx + self.ln_2.backward(dh, c_ln_2)
        dh = self.attn.backward(dx, c_attn)
        dx = dx + self.ln_1.backward(dh, c_ln_1)
        return dx, dmemory

    def cross_weights(self, cache: Cache) -> Array:
        """As DecoderBlock's."""
        c_ln_1, c_attn, c_ln_2, c_cross_attn, c_ln_3, c_mlp = cache
        return self.cross_attn.weights(c_cross_attn)
