"""GPT-2: tokens to the logits of the next token, at every position; and the gradients of all parameters."""

import copy
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..blocks.kv_cache import KVCache, Past
from ..blocks.transformer import PreNormBlock
from ..device import to_host
from ..hints import Array, Cache, Rng
from ..layers.checks import check_ids, check_padding_mask
from ..layers.cross_entropy import IGNORED
from ..layers.dropout import check_rate, dropout_backward, dropout_forward
from ..layers.embedding import Embedding
from ..layers.layernorm import LayerNorm
from ..layers.lm_head import (
    lm_head_backward,
    lm_head_forward,
    lm_head_input_backward,
    lm_head_loss_backward,
    lm_head_loss_forward,
    lm_head_loss_input_backward,
)
from ..layers.module import Module
from .config import GPT2Config


class GPT2(Module):
    """A stack of L blocks between an embedding and a head that share one table, wte.

        x      = wte[tokens] + wpe[0, 1, 2, ...]
        x      = h_L(... h_2(h_1(x)))
        logits = ln_f(x) wte'

    config     GPT2Config
    rng        numpy.random.Generator for the initial weights; None leaves them 0, for a checkpoint to fill in
    dropout    rate in training, at the three places of GPT-2: embedding, attention weights, end of each sub-layer
    recompute  True: of each block only its input is kept, and the block runs again in the backward pass, which saves
               most of the memory and gives the same gradients, bit for bit; see docs/memory.md

    Initial weights as in OpenAI's code: N(0, 0.02^2), positions N(0, 0.01^2), biases 0, gains 1.  The paper also says
    that the weights of residual layers are scaled by 1/sqrt(N) at first, N being how many there are, 2L: the code that
    came with it does not do that, nor does this one.
    Radford et al. 2019, Language Models are Unsupervised Multitask Learners, section 2.3.
    """

    def __init__(self, config: GPT2Config, rng: Rng | None = None, dropout: float = 0.0, dtype: DTypeLike = np.float32,
                 recompute: bool = False):
        if not isinstance(config, GPT2Config):
            raise ValueError(f"config: expected a GPT2Config, such as SIZES['124M'], got {config!r}")
        check_rate(dropout)
        self.config, self.dropout, self.recompute = config, dropout, recompute
        self.wte = Embedding(config.n_vocab, config.n_embd, rng, std=0.02, dtype=dtype)
        self.wpe = Embedding(config.n_ctx, config.n_embd, rng, std=0.01, dtype=dtype)
        self.h = [PreNormBlock(config.n_embd, config.n_head, rng, dropout=dropout, dtype=dtype)
                  for _ in range(config.n_layer)]
        self.ln_f = LayerNorm(config.n_embd, dtype=dtype)

    def forward(self, tokens: ArrayLike, rng: Rng | None = None, keep_cache: bool = True) -> tuple[Array, Cache]:
        """tokens (B, T) on the host -> logits (B, T, V), cache.  raises ValueError for tokens it cannot take."""
        x, c_hidden = self.hidden(tokens, rng, keep_cache)
        logits, c_head = lm_head_forward(x, self.wte.value)
        return logits, (c_hidden, c_head) if keep_cache else None

    def backward(self, dlogits: Array, cache: Cache) -> None:
        """Add the gradients of all parameters, given dlogits (B, T, V).  Uses the cache up: it is freed on the way."""
        self._check_unused(cache)
        c_hidden, c_head = cache
        if self.wte.trainable:
            dx, dwte = lm_head_backward(dlogits, c_head)
            self.wte.accumulate(dwte)
        else:
            dx = lm_head_input_backward(dlogits, c_head)
        self.hidden_backward(dx, c_hidden)

    def loss(self, tokens: ArrayLike, targets: ArrayLike) -> Array:
        """The mean cross-entropy of targets (B, T), -100 for those that do not count; no gradients, no dropout."""
        targets = self._ids("targets", targets, ignored=IGNORED)
        x, _ = self.hidden(tokens, keep_cache=False)
        loss, _ = lm_head_loss_forward(x, self.wte.value, targets)
        return loss

    def loss_and_gradients(self, tokens: ArrayLike, targets: ArrayLike, dloss: float = 1.0,
                           rng: Rng | None = None) -> Array:
        """The same with dropout; adds dloss times the gradient of the loss by each parameter to that parameter's grad.

        The head and the loss are one pair here: the logits are kept once, and never copied.
        """
        targets = self._ids("targets", targets, ignored=IGNORED)
        x, c_hidden = self.hidden(tokens, rng)
        loss, c_loss = lm_head_loss_forward(x, self.wte.value, targets)
        if self.wte.trainable:
            dx, dwte = lm_head_loss_backward(dloss, c_loss)
            self.wte.accumulate(dwte)
        else:
            dx = lm_head_loss_input_backward(dloss, c_loss)
        del c_loss                                      # the (N, V) array: freed before the stack needs room
        self.hidden_backward(dx, c_hidden)
        return loss

    def hidden(self, tokens: ArrayLike, rng: Rng | None = None, keep_cache: bool = True) -> tuple[Array, Cache]:
        """tokens (B, T) -> the vectors that the head reads, x (B, T, C), cache"""
        tokens = self._ids("tokens", tokens)
        word, c_wte = self.wte.forward(tokens)                                      # (B, T, C)
        place, c_wpe = self.wpe.forward(np.arange(tokens.shape[1], like=tokens))    # (T, C)
        x, c_dropout = dropout_forward(word + place, self.dropout, rng)
        c_h, recompute = [], keep_cache and self.recompute
        for block in self.h:
            before = (x, copy.deepcopy(rng)) if recompute else None         # dropout draws the same numbers again
            x, c_block = block.forward(x, rng=rng, keep_cache=keep_cache and not recompute)
            c_h.append(before if recompute else c_block)
        x, c_ln_f = self.ln_f.forward(x)
        return x, (c_wte, c_wpe, c_dropout, c_h, c_ln_f) if keep_cache else None

    def hidden_backward(self, dy: Array, cache: Cache) -> None:
        """dy (B, T, C) -> gradients.  Each block's cache is dropped as soon as it has been used.

        Recomputation: Chen et al. 2016, arXiv:1604.06174, section 4, with a segment for each block.
        """
        c_wte, c_wpe, c_dropout, c_h, c_ln_f = cache
        dx = self.ln_f.backward(dy, c_ln_f)
        for block in reversed(self.h):
            c_block = c_h.pop()
            if self.recompute:
                x, rng = c_block
                _, c_block = block.forward(x, rng=rng)
            dx = block.backward(dx, c_block)
        dx = dropout_backward(dx, c_dropout)
        self.wpe.backward(dx.sum(axis=0), c_wpe)
        self.wte.backward(dx, c_wte)

    def new_past(self, B: int, n: int) -> list[KVCache]:
        """The past of B sequences that have none yet, for next_logits: a KVCache for each block, with n positions."""
        if not 1 <= n <= self.config.n_ctx:
            raise ValueError(f"n: expected from 1 to {self.config.n_ctx} positions, got {n}")
        H, D = self.config.n_head, self.config.n_embd // self.config.n_head
        return [KVCache(B, H, n, D, self.wte.value) for _ in self.h]

    def next_logits(self, tokens: ArrayLike, past: Sequence[Past], padding_mask: Array | None = None,
                    last: int = 1) -> Array:
        """The logits of forward at the last positions alone, when all tokens before are in the past.

        tokens        (B, T)        on the host: those that follow the past; their keys and values are added to it
        past                        of new_past
        padding_mask  (B, S)        bool, on the host, for the past and the tokens, so S >= T: False for padding, which
                                    is on the left; a token's position is the number of real tokens before it
        last                        how many of the T positions, from 0 on
        returns       (B, last, V)  nothing is kept for a backward
        raises        ValueError    of check_next, and for a past of another size: then nothing is added to the past
        """
        tokens = self.check_next(tokens, past, padding_mask, last)
        T, S = tokens.shape[1], past[0].length + tokens.shape[1]
        tokens = np.asarray(tokens, like=self.wte.value)
        positions = np.arange(S - T, S, like=tokens)
        if padding_mask is not None:
            positions = np.asarray(np.maximum(padding_mask.cumsum(axis=1) - 1, 0)[:, S - T:], like=self.wte.value)
            padding_mask = np.asarray(padding_mask, like=self.wte.value)
        word, _ = self.wte.forward(tokens)                                  # (B, T, C)
        place, _ = self.wpe.forward(positions)                              # (T, C), or (B, T, C) with padding
        x = word + place
        *lower, (top, top_past) = zip(self.h, past)
        for block, block_past in lower:
            x, _ = block.forward(x, padding_mask=padding_mask, keep_cache=False, past=block_past)
        x, _ = top.forward(x, padding_mask=padding_mask, keep_cache=False, past=top_past, last=last)    # (B, last, C)
        x, _ = self.ln_f.forward(x)
        logits, _ = lm_head_forward(x, self.wte.value)
        return logits

    def check_next(self, tokens: ArrayLike, past: Sequence[Past], padding_mask: Array | None, last: int) -> Array:
        """Raise ValueError for what next_logits cannot take.  Returns the tokens as an array (B, T) on the host."""
        if len(past) != len(self.h):
            raise ValueError(f"past: expected that of new_past, a KVCache for each of {len(self.h)} blocks, "
                             f"got {len(past)}")
        tokens = self._host_ids("tokens", tokens)
        B, T = tokens.shape
        if not 0 <= last <= T:
            raise ValueError(f"last: expected from 0 to {T} of the tokens, got {last}")
        if padding_mask is not None:
            check_padding_mask(padding_mask, (B, past[0].length + T))
        return tokens

    def _check_unused(self, cache: Cache) -> None:
        """Raise ValueError for the cache of inference or one that has been used up, before any gradient is added."""
        if cache is not None:
            (c_wte, c_wpe, c_dropout, c_h, c_ln_f), c_head = cache
        if cache is None or len(c_h) != len(self.h):
            raise ValueError("cache: expected that of a forward with keep_cache=True, not used by a backward before")

    def _ids(self, name: str, ids: ArrayLike, ignored: int | None = None) -> Array:
        """Check token ids (B, T) on the host, and move them to where the weights are."""
        return np.asarray(self._host_ids(name, ids, ignored), like=self.wte.value)

    def _host_ids(self, name: str, ids: ArrayLike, ignored: int | None = None) -> Array:
        """Check token ids (B, T).  Returns them as an array on the host."""
        try:
            ids = np.asarray(to_host(ids))
        except ValueError as error:
            raise ValueError(f"{name}: expected rows of equal length, {error}") from error
        if ids.ndim != 2 or not 1 <= ids.shape[1] <= self.config.n_ctx:
            raise ValueError(f"{name}: expected shape (B, T) with T from 1 to {self.config.n_ctx}, got {ids.shape}")
        check_ids(name, ids, self.config.n_vocab, ignored)
        return ids
