"""GPT-2: tokens to the logits of the next token, at every position; and the gradients of all parameters.

Chapter: S000 2.1, 3.1, 4.1, 4.2, 4.4, 5.2; S001 5.2, 5.3, 7.3; S002 2.2.2; S003 2.1, 3.2, 4.1, 4.3; S004 2.1, 4.1.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..blocks.kv_cache import KVCache, Past
from ..blocks.stack import Stack, check_unused
from ..blocks.transformer import PreNormBlock
from ..hints import Array, Cache, Rng
from ..layers.checks import check_shape
from ..layers.cross_entropy import IGNORED, count_targets
from ..layers.dropout import check_rate, dropout_backward, dropout_forward
from ..layers.embedding import Embedding, embedding_backward, embedding_forward
from ..layers.layernorm import LayerNorm
from ..layers.lm_head import LMHead
from ..layers.module import Module
from ..layers.tiles import rows
from .config import GPT2Config
from .tokens import check_inference, host_ids, positions_of


class GPT2(Module):
    """A stack of L blocks between an embedding and a head that share one table, wte.

        x      = wte[tokens] + wpe[0, 1, 2, ...]
        x      = h_L(... h_2(h_1(x)))
        logits = ln_f(x) wte'

    config     GPT2Config
    rng        numpy.random.Generator for the initial weights; None leaves them 0, for a checkpoint to fill in
    dropout    rate in training, at the three places of GPT-2: embedding, attention weights, end of each sub-layer
    recompute  True: need far less memory in training, and somewhat more time: see Stack

    unused     the ids that no token of its vocabulary has, where the table has more rows than that: none is written
    head_bias  whether a head on what it pools has a bias: transformers' has none

    Initial weights as in OpenAI's code: N(0, 0.02^2), positions N(0, 0.01^2), biases 0, gains 1.  The paper also says
    that the weights of residual layers are scaled by 1/sqrt(N) at first, N being how many there are, 2L: the code that
    came with it does not do that, nor does this one.
    Radford et al. 2019, Language Models are Unsupervised Multitask Learners, section 2.3.
    """

    head_bias = False

    def __init__(self, config: GPT2Config, rng: Rng | None = None, dropout: float = 0.0, dtype: DTypeLike = np.float32,
                 recompute: bool = False):
        if not isinstance(config, GPT2Config):
            raise ValueError(f"config: expected a GPT2Config, such as SIZES['124M'], got {config!r}")
        check_rate(dropout)
        self.config, self.dropout, self.unused = config, dropout, list[int]()
        self.wte = Embedding(config.n_vocab, config.n_embd, rng, std=0.02, dtype=dtype)
        self.wpe = Embedding(config.n_ctx, config.n_embd, rng, std=0.01, dtype=dtype)
        self.h = Stack((PreNormBlock(config.n_embd, config.n_head, rng, dropout=dropout, dtype=dtype)
                        for _ in range(config.n_layer)), recompute)
        self.ln_f = LayerNorm(config.n_embd, dtype=dtype)
        self.lm_head = LMHead(self.wte)

    def __repr__(self) -> str:
        return f"GPT2 of {self.config.n_parameters:,} parameters, {self.wte.value.dtype}: {self.config}"

    @property
    def n_vocab(self) -> int:
        """How many tokens there are, V."""
        return self.config.n_vocab

    @property
    def n_ctx(self) -> int:
        """How many positions of a text it sees at most: the config's, or what a prefix leaves of them."""
        return self.config.n_ctx - self.h.before

    def forward(self, tokens: ArrayLike, rng: Rng | None = None, keep_cache: bool = True) -> tuple[Array, Cache]:
        """tokens (B, T) on the host -> logits (B, T, V), cache.  raises ValueError for tokens it cannot take."""
        x, c_hidden = self.hidden(tokens, rng=rng, keep_cache=keep_cache)
        logits, c_head = self.lm_head.forward(x)
        return logits, [c_hidden, c_head] if keep_cache else None

    def backward(self, dlogits: Array, cache: Cache) -> None:
        """Add the gradients of all parameters, given dlogits (B, T, V).  Uses the cache up: it is freed on the way."""
        check_unused(cache)
        c_hidden, c_head = cache
        dx = self.lm_head.backward(dlogits, c_head)
        cache.clear()
        self.hidden_backward(dx, c_hidden)

    def counted(self, tokens: ArrayLike, targets: ArrayLike) -> int:
        """What the mean loss of a batch is over: how many of its targets count."""
        return count_targets(np.asarray(targets))

    def loss(self, tokens: ArrayLike, targets: ArrayLike, *, counted: int | None = None) -> Array:
        """The mean cross-entropy of targets (B, T), -100 for those that do not count; no gradients, no dropout.

        counted  of a whole batch, where these rows are a part of it: its losses add up to the batch's
        """
        targets = self._ids("targets", targets, ignored=IGNORED)
        x, _ = self.hidden(tokens, keep_cache=False)
        loss, _ = self.lm_head.loss(x, targets, counted=counted)
        return loss

    def loss_and_gradients(self, tokens: ArrayLike, targets: ArrayLike, *, counted: int | None = None,
                           rng: Rng | None = None) -> Array:
        """The same with dropout; adds the gradient of the loss by each parameter to that parameter's grad.

        The head and the loss are one pair here: the logits are kept once, and never copied.
        """
        targets = self._ids("targets", targets, ignored=IGNORED)
        x, c_hidden = self.hidden(tokens, rng=rng)
        loss, c_loss = self.lm_head.loss(x, targets, counted=counted)
        dx = self.lm_head.loss_backward(1.0, c_loss)
        del c_loss                                      # the (N, V) array: freed before the stack needs room
        self.hidden_backward(dx, c_hidden)
        return loss

    def hidden(self, tokens: ArrayLike, *, segments: ArrayLike | None = None, padding_mask: Array | None = None,
               rng: Rng | None = None, keep_cache: bool = True, needs_dx: bool = False,
               past: Sequence[Past] | None = None, last: int | None = None) -> tuple[Array, Cache]:
        """tokens (B, T) -> the vectors that the head reads, x (B, T, C) or (B, last, C), cache

        The one way through the model: of training, of a prompt, of one token after another, and below another head.

        segments            None, or 0 for each token, as a BERT has them: GPT-2 knows no second text
        needs_dx            True: hidden_backward is to return the gradient by the sum of the embeddings in any case
        padding_mask, past, last     as in next_logits; without a past, S = T, and without last, all positions are meant
        """
        tokens = self._ids("tokens", tokens)
        if segments is not None:
            check_shape("segments", host_ids("segments", segments, 1, self.config.n_ctx), tokens.shape)
        T, S = tokens.shape[1], tokens.shape[1]
        if past is not None:
            check_inference(tokens.shape, past, len(self.h), padding_mask, last)
            S += past[0].length
        positions = positions_of(T, S, padding_mask, tokens, self.h.before)
        if padding_mask is not None:
            padding_mask = np.asarray(padding_mask, like=self.wte.value)
        needs_dx = needs_dx or self.wte.trainable or self.wpe.trainable
        word, c_wte = self.wte.forward(tokens)                                      # (B, T, C)
        place, c_wpe = self.wpe.forward(positions)                                  # (T, C), or (B, T, C) with padding
        x, c_dropout = dropout_forward(word + place, self.dropout, rng)
        x, c_h = self.h.forward(x, padding_mask=padding_mask, rng=rng, keep_cache=keep_cache, needs_dx=needs_dx,
                                past=past, last=last)
        x, c_ln_f = self.ln_f.forward(x)
        c_embedding = (c_wte, c_wpe, c_dropout) if needs_dx else None
        return x, [c_embedding, c_h, c_ln_f] if keep_cache else None

    def hidden_backward(self, dy: Array, cache: Cache) -> Array | None:
        """dy (B, T, C) -> gradients, and dx (B, T, C) by the sum of the embeddings; None where nothing needed it."""
        check_unused(cache)
        c_embedding, c_h, c_ln_f = cache
        dy = self.ln_f.backward(dy, c_ln_f)
        cache.clear()
        dx = self.h.backward(dy, c_h)
        if dx is None or c_embedding is None:           # where the stack ends below, or nothing is below it
            return None
        c_wte, c_wpe, c_dropout = c_embedding
        dx = dropout_backward(dx, c_dropout)
        if self.wpe.trainable:
            self.wpe.backward(dx if c_wpe[0].ndim == 2 else dx.sum(axis=0), c_wpe)
        self.wte.backward(dx, c_wte)
        return dx

    def pooled(self, x: Array, padding_mask: Array | None = None) -> tuple[Array, Cache]:
        """x (B, T, C) -> the vector of the last real token of each row, which alone has seen all of it, (B, C); cache

        padding_mask   (B, T), on the host: False for padding, on either side; None: all are real
        """
        B, T = x.shape[:2]
        real = np.ones((B, T), bool) if padding_mask is None else padding_mask
        last = np.arange(B) * T + T - 1 - real[:, ::-1].argmax(axis=1)          # among the rows of all texts
        y, c_rows = embedding_forward(np.asarray(last, like=x), rows(x))
        return y, (x.shape, c_rows)

    def pooled_backward(self, dy: Array, cache: Cache) -> Array:
        """dy (B, C) -> dx (B, T, C), which is 0 but at the last real tokens"""
        shape, c_rows = cache
        return embedding_backward(dy, c_rows).reshape(shape)

    def new_past(self, B: int, n: int) -> list[KVCache]:
        """The past of B sequences that have none yet, for next_logits: each block's own, with room for n positions."""
        if not 1 <= n <= self.n_ctx:
            raise ValueError(f"n: expected from 1 to {self.n_ctx} positions, got {n}")
        return self.h.new_past(B, n)

    def next_logits(self, tokens: ArrayLike, past: Sequence[Past], padding_mask: Array | None = None,
                    last: int = 1) -> Array:
        """The logits of forward at the last positions alone, when all tokens before are in the past.

        tokens        (B, T)        on the host: those that follow the past; their keys and values are added to it
        past                        of new_past
        padding_mask  (B, S)        bool, on the host, for the past and the tokens, so S >= T: False for padding, which
                                    is on the left; a token's position is the number of real tokens before it
        last                        how many of the T positions, from 0 on
        returns       (B, last, V)  nothing is kept for a backward
        raises        ValueError    for what cannot follow this past: then nothing is added to it
        """
        x, _ = self.hidden(tokens, padding_mask=padding_mask, keep_cache=False, past=past, last=last)
        logits, _ = self.lm_head.forward(x)
        return logits

    def _ids(self, name: str, ids: ArrayLike, ignored: int | None = None) -> Array:
        """Check token ids (B, T) on the host, and move them to where the weights are."""
        ids = host_ids(name, ids, self.n_vocab, self.n_ctx, ignored)
        return np.asarray(ids, like=self.wte.value)
