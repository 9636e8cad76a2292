"""Multi-head attention: H attentions side by side, each on its own slice of the width.

Chapter: S000 2.1, 3.2, 4.1, 4.2, 4.3, 4.4; S001 3.4, 4.2, 5.2; S002 4.1, 4.2.
"""

import math

import numpy as np
from numpy.typing import DTypeLike

from ..hints import Array, Cache, Rng
from ..layers.attention import attention_backward, attention_forward, attention_weights, merge_heads, split_heads
from ..layers.checks import check_heads
from ..layers.dropout import check_rate, dropout_backward, dropout_forward
from ..layers.linear import Linear
from ..layers.module import Module
from .kv_cache import KVCache, Memory, Past


class SelfAttention(Module):
    """Every position looks at the positions of its own sequence.

        q, k, v = split(x c_attn)
        y       = merge(attention(q, k, v)) c_proj

    c_attn is one matrix (C, 3C) for the three projections, as in OpenAI's checkpoint.

    dropout, attention_dropout   rates, of y and of the attention weights; None: the same for both
    std                          of the initial weights; None: Linear's, for each of the three by itself, (C, C)

    gone    the heads that were taken out (adapt/trimming.py), by the numbers that they had: c_attn has no columns for
            them, and c_proj no rows

    Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2.
    """

    gone: tuple[int, ...] = ()

    def __init__(self, n_embd: int, n_head: int, rng: Rng | None, *, causal: bool, dropout: float = 0.0,
                 attention_dropout: float | None = None, std: float | None = 0.02, dtype: DTypeLike = np.float32):
        check_heads(n_embd, n_head)
        check_rate(dropout)
        std = math.sqrt(1 / n_embd) if std is None else std
        self.n_head, self.causal, self.dropout = n_head, causal, dropout
        self.attention_dropout = dropout if attention_dropout is None else attention_dropout
        check_rate(self.attention_dropout)
        self.c_attn = Linear(n_embd, 3 * n_embd, rng, std=std, dtype=dtype)
        self.c_proj = Linear(n_embd, n_embd, rng, std=std, dtype=dtype)

    @property
    def before(self) -> int:
        """How many positions come before those of the text: none, but for a prefix (adapt/prefix.py)."""
        return 0

    def new_past(self, B: int, n: int) -> KVCache:
        """The past of B sequences that have none yet, with room for n positions."""
        w = self.c_proj.w.value
        return KVCache(B, self.n_head, n, len(w) // self.n_head, w)

    def forward(self, x: Array, *, padding_mask: Array | None = None, rng: Rng | None = None, keep_cache: bool = True,
                past: Past | None = None, last: int | None = None) -> tuple[Array, Cache]:
        """x (B, T, C) and a padding mask (B, S) of real tokens -> y (B, T, C), cache

        past   of new_past: the tokens before x, and then those of x too; without one, S = T
        last   how many of the T positions y is wanted of, the last ones; None: of all

        Both are for inference: with keep_cache=True they raise ValueError.
        """
        if keep_cache and (past is not None or last is not None):
            raise ValueError("past, last: expected keep_cache=False with them, since they are for inference")
        qkv, c_c_attn = self.c_attn.forward(x, rng=rng)                             # (B, T, 3C)
        q, k, v = (split_heads(a, self.n_head) for a in np.split(qkv, 3, axis=-1))  # (B, H, T, D)
        if past is not None:
            k, v = past.append(k, v)                                                # (B, H, S, D)
        if last is not None:
            q = q[:, :, q.shape[2] - last:]                                         # (B, H, last, D)
        y, c_attention = attention_forward(q, k, v, self.causal, padding_mask, self.attention_dropout, rng,
                                           keep_cache)
        y, c_c_proj = self.c_proj.forward(merge_heads(y), rng=rng)                  # (B, T, C)
        y, c_dropout = dropout_forward(y, self.dropout, rng)
        return y, (c_c_attn, c_attention, c_c_proj, c_dropout) if keep_cache else None

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dy (B, T, C) -> dx (B, T, C)"""
        c_c_attn, c_attention, c_c_proj, c_dropout = cache
        dy = dropout_backward(dy, c_dropout)
        dy = self.c_proj.backward(dy, c_c_proj)
        dq, dk, dv = attention_backward(split_heads(dy, self.n_head), c_attention)
        dqkv = np.concatenate([merge_heads(dq), merge_heads(dk), merge_heads(dv)], axis=-1)
        return self.c_attn.backward(dqkv, c_c_attn)

    def weights(self, cache: Cache) -> Array:
        """p (B, H, T, S) of the forward that this cache is of: how much each position looked at which."""
        c_c_attn, c_attention, c_c_proj, c_dropout = cache
        return attention_weights(c_attention)


class CrossAttention(Module):
    """Every position of x looks at the positions of another sequence, the memory (the encoder's output).

        q    = x c_q            k, v = split(memory c_kv)
        y    = merge(attention(q, k, v)) c_proj

    Vaswani et al. 2017, arXiv:1706.03762, section 3.2.3.
    """

    def __init__(self, n_embd: int, n_head: int, rng: Rng | None, *, dropout: float = 0.0,
                 attention_dropout: float | None = None, std: float | None = 0.02, dtype: DTypeLike = np.float32):
        check_heads(n_embd, n_head)
        check_rate(dropout)
        std = math.sqrt(1 / n_embd) if std is None else std
        self.n_head, self.dropout = n_head, dropout
        self.attention_dropout = dropout if attention_dropout is None else attention_dropout
        check_rate(self.attention_dropout)
        self.c_q = Linear(n_embd, n_embd, rng, std=std, dtype=dtype)
        self.c_kv = Linear(n_embd, 2 * n_embd, rng, std=std, dtype=dtype)
        self.c_proj = Linear(n_embd, n_embd, rng, std=std, dtype=dtype)

    def keys_values(self, memory: Array, *, rng: Rng | None = None) -> tuple[tuple[Array, Array], Cache]:
        """memory (B, S, C) -> k, v (B, H, S, D) of it, which are the same for all that looks at it; cache"""
        kv, c_c_kv = self.c_kv.forward(memory, rng=rng)                             # (B, S, 2C)
        k, v = (split_heads(a, self.n_head) for a in np.split(kv, 2, axis=-1))
        return (k, v), c_c_kv

    def forward(self, x: Array, memory: Array | None = None, *, padding_mask: Array | None = None,
                rng: Rng | None = None, keep_cache: bool = True, past: Memory | None = None) -> tuple[Array, Cache]:
        """x (B, T, C), memory (B, S, C) and a padding mask (B, S) of the memory's real tokens -> y (B, T, C), cache

        past   for inference, in place of a memory and its mask: its keys and values, made once
        """
        if (memory is None) is (past is None) or (past is not None and keep_cache):
            raise ValueError("memory, past: expected either a memory, or for inference, with keep_cache=False, its "
                             "keys and values")
        q, c_c_q = self.c_q.forward(x, rng=rng)
        q = split_heads(q, self.n_head)
        if memory is not None:
            (k, v), c_c_kv = self.keys_values(memory, rng=rng)
        elif past is not None:
            (k, v, padding_mask), c_c_kv = past, None
        y, c_attention = attention_forward(q, k, v, False, padding_mask, self.attention_dropout, rng, keep_cache)
        y, c_c_proj = self.c_proj.forward(merge_heads(y), rng=rng)
        y, c_dropout = dropout_forward(y, self.dropout, rng)
        return y, (c_c_q, c_c_kv, c_attention, c_c_proj, c_dropout) if keep_cache else None

    def backward(self, dy: Array, cache: Cache) -> tuple[Array, Array]:
        """dy (B, T, C) -> dx (B, T, C), dmemory (B, S, C)"""
        c_c_q, c_c_kv, c_attention, c_c_proj, c_dropout = cache
        dy = dropout_backward(dy, c_dropout)
        dy = self.c_proj.backward(dy, c_c_proj)
        dq, dk, dv = attention_backward(split_heads(dy, self.n_head), c_attention)
        dkv = np.concatenate([merge_heads(dk), merge_heads(dv)], axis=-1)
        dmemory = self.c_kv.backward(dkv, c_c_kv)
        dx = self.c_q.backward(merge_heads(dq), c_c_q)
        return dx, dmemory

    def weights(self, cache: Cache) -> Array:
        """p (B, H, T, S) of the forward that this cache is of: how much each position looked at which of the memory."""
        c_c_q, c_c_kv, c_attention, c_c_proj, c_dropout = cache
        return attention_weights(c_attention)
