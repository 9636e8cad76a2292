"""BERT: an encoder that reads a text from both sides, and the two heads that it is trained with.

Chapter: S002 4.3.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..blocks.stack import Stack, check_unused
from ..blocks.transformer import PostNormBlock
from ..hints import Array, Cache, Rng
from ..layers.activations import GELU_ERF, TANH
from ..layers.checks import check_ids, check_shape
from ..layers.cross_entropy import IGNORED, count_targets, cross_entropy_backward, cross_entropy_forward
from ..layers.dropout import check_rate, dropout_backward, dropout_forward
from ..layers.embedding import Embedding, embedding_backward, embedding_forward
from ..layers.layernorm import LayerNorm
from ..layers.linear import Linear
from ..layers.lm_head import LMHead
from ..layers.module import Module
from ..layers.tiles import rows
from .config import BertConfig
from .tokens import host_ids, positions_of

IS_NEXT, NOT_NEXT = 0, 1            # what the second of two texts is to the first: BERT's 0 is the true one


class BERT(Module):
    """A stack of blocks in which every position sees all others, on the sum of three embeddings.

        x = ln(wte[tokens] + wpe[0, 1, 2, ...] + wse[segments])
        x = h_L(... h_1(x))                                         post-norm blocks with the exact GELU

    config     BertConfig; its eps is that of every norm
    rng        numpy.random.Generator for the initial weights; None leaves them 0, for a checkpoint to fill in
    dropout    rate in training: of the embeddings, of the attention weights, and at the end of each sub-layer
    recompute  True: need far less memory in training, and somewhat more time: see Stack
    std        of the initial weights: 0.02 is BERT's own, at a width of 768; None: Linear's, for narrow ones
    pooler     False: without one

    head_bias  whether a head on what it pools has a bias: transformers' has

    Initial weights: N(0, std^2), where Google's code draws again what is beyond 2 std; tables N(0, 0.02^2).
    Devlin, Chang, Lee, Toutanova 2019, arXiv:1810.04805, section 3 and fig. 2; google-research/bert, modeling.py.
    """

    head_bias = True

    def __init__(self, config: BertConfig, rng: Rng | None = None, dropout: float = 0.0,
                 dtype: DTypeLike = np.float32, recompute: bool = False, std: float | None = 0.02,
                 pooler: bool = True):
        if not isinstance(config, BertConfig):
            raise ValueError(f"config: expected a BertConfig, got {config!r}")
        check_rate(dropout)
        C = config.n_embd
        self.config, self.dropout = config, dropout
        self.wte = Embedding(config.n_vocab, C, rng, dtype=dtype)
        self.wpe = Embedding(config.n_ctx, C, rng, dtype=dtype)
        self.wse = Embedding(config.n_segment, C, rng, dtype=dtype)
        self.ln = LayerNorm(C, eps=config.eps, dtype=dtype)
        self.h = Stack((PostNormBlock(C, config.n_head, rng, activation=GELU_ERF, eps=config.eps, dropout=dropout,
                                      n_inner=config.n_inner, std=std, dtype=dtype)
                        for _ in range(config.n_layer)), recompute)
        self.pooler = Pooler(C, rng, std=std, dtype=dtype) if pooler else None

    @property
    def n_ctx(self) -> int:
        """How many positions of a text it sees at most: the config's, or what a prefix leaves of them."""
        return self.config.n_ctx - self.h.before

    def forward(self, tokens: ArrayLike, segments: ArrayLike | None = None, padding_mask: Array | None = None,
                rng: Rng | None = None, keep_cache: bool = True) -> tuple[Array, Cache]:
        """tokens (B, T) -> x (B, T, C), a vector for each of them; cache

        segments      (B, T)   0 for the first text, 1 for the second; None: all 0
        padding_mask  (B, T)   bool, True for a real token, which nothing but real ones changes; None: all are real

        All on the host.  ValueError for what it cannot take.
        """
        tokens, segments, padding_mask = self.inputs(tokens, segments, padding_mask)
        T = tokens.shape[1]
        tables = any(table.trainable for table in (self.wte, self.wpe, self.wse))
        needs_dx = tables or self.ln.g.trainable or self.ln.b.trainable
        word, c_wte = self.wte.forward(tokens)                                      # (B, T, C)
        place, c_wpe = self.wpe.forward(positions_of(T, T, None, tokens, self.h.before))        # (T, C)
        segment, c_wse = self.wse.forward(segments)                                 # (B, T, C)
        x, c_ln = self.ln.forward(word + place + segment)
        x, c_dropout = dropout_forward(x, self.dropout, rng)
        x, c_h = self.h.forward(x, padding_mask=padding_mask, rng=rng, keep_cache=keep_cache, needs_dx=needs_dx)
        c_tables = (c_wte, c_wpe, c_wse) if tables else None
        return x, [(c_tables, c_ln, c_dropout) if needs_dx else None, c_h] if keep_cache else None

    def backward(self, dy: Array, cache: Cache) -> None:
        """dy (B, T, C) -> gradients.  Uses the cache up: it is freed on the way."""
        check_unused(cache)
        c_embedding, c_h = cache
        cache.clear()
        dx = self.h.backward(dy, c_h)
        if dx is None or c_embedding is None:           # where the stack ends below, or nothing is below it
            return
        c_tables, c_ln, c_dropout = c_embedding
        dx = self.ln.backward(dropout_backward(dx, c_dropout), c_ln)
        if c_tables is None:
            return
        c_wte, c_wpe, c_wse = c_tables
        self.wse.backward(dx, c_wse)
        if self.wpe.trainable:
            self.wpe.backward(dx.sum(axis=0), c_wpe)
        self.wte.backward(dx, c_wte)

    # ---- as the body of a head: see heads.py

    def hidden(self, tokens: ArrayLike, *, segments: ArrayLike | None = None, padding_mask: Array | None = None,
               rng: Rng | None = None, keep_cache: bool = True) -> tuple[Array, Cache]:
        """forward, under the name that all bodies have for it."""
        return self.forward(tokens, segments, padding_mask, rng, keep_cache)

    def hidden_backward(self, dy: Array, cache: Cache) -> None:
        """backward, under the name that all bodies have for it."""
        self.backward(dy, cache)

    def pooled(self, x: Array, padding_mask: Array | None = None) -> tuple[Array, Cache]:
        """x (B, T, C) -> what the pooler makes of the first token of each row, [CLS], (B, C); cache"""
        if padding_mask is not None and not padding_mask[:, 0].all():
            raise ValueError("padding_mask: expected [CLS] at the first position of each row, and padding on the "
                             "right, got padding there")
        return self._needed_pooler().forward(x)

    def pooled_backward(self, dy: Array, cache: Cache) -> Array:
        """dy (B, C) -> dx (B, T, C)"""
        return self._needed_pooler().backward(dy, cache)

    def _needed_pooler(self) -> "Pooler":
        if self.pooler is None:
            raise ValueError("pooler: expected a BERT with one, for a head on whole texts, got one without")
        return self.pooler

    def inputs(self, tokens: ArrayLike, segments: ArrayLike | None,
               padding_mask: Array | None) -> tuple[Array, Array, Array | None]:
        """Check what forward takes, on the host, and move it to where the weights are; attention checks the mask."""
        config, like = self.config, self.wte.value
        tokens = host_ids("tokens", tokens, config.n_vocab, self.n_ctx)
        if segments is None:
            segments = np.zeros_like(np.asarray(tokens, like=like))
        else:
            segments = host_ids("segments", segments, config.n_segment, self.n_ctx)
            check_shape("segments", segments, tokens.shape)
            segments = np.asarray(segments, like=like)
        if padding_mask is not None:
            padding_mask = np.asarray(padding_mask, like=like)
        return np.asarray(tokens, like=like), segments, padding_mask


class Pooler(Module):
    """One vector for a whole row, made of that of its first token, [CLS].

        y = tanh(x_0 w + b)

    google-research/bert, modeling.py, BertModel.
    """

    def __init__(self, n_embd: int, rng: Rng | None, *, std: float | None = 0.02, dtype: DTypeLike = np.float32):
        self.dense = Linear(n_embd, n_embd, rng, std=std, dtype=dtype)

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """x (B, T, C) -> y (B, C), cache"""
        y, c_dense = self.dense.forward(x[:, 0])
        y, c_tanh = TANH.forward(y)
        return y, (x.shape, c_dense, c_tanh)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dy (B, C) -> dx (B, T, C), which is 0 but at the first position"""
        shape, c_dense, c_tanh = cache
        dx = np.zeros_like(dy, shape=shape)
        dx[:, 0] = self.dense.backward(TANH.backward(dy, c_tanh), c_dense)
        return dx


class MaskedWordsHead(Module):
    """Which word is hidden at each position: one more layer, then the table of the words, and a bias for each.

        logits = ln(gelu(x dense)) wte' + b

    wte  Embedding, the model's own: there is one parameter, and the gradients of both its uses add

    google-research/bert, run_pretraining.py, get_masked_lm_output.
    """

    def __init__(self, wte: Embedding, rng: Rng | None, *, eps: float = 1e-12, std: float | None = 0.02,
                 dtype: DTypeLike = np.float32):
        C = wte.shape[1]
        self.dense = Linear(C, C, rng, std=std, dtype=dtype)
        self.ln = LayerNorm(C, eps=eps, dtype=dtype)
        self.decoder = LMHead(wte, bias=True)

    def forward(self, x: Array, keep_cache: bool = True) -> tuple[Array, Cache]:
        """x (..., C) -> logits (..., V), cache"""
        h, c_transform = self._transform(x)
        logits, c_decoder = self.decoder.forward(h)
        return logits, (c_transform, c_decoder) if keep_cache else None

    def backward(self, dlogits: Array, cache: Cache) -> Array:
        """dlogits (..., V) -> dx (..., C)"""
        c_transform, c_decoder = cache
        return self._transform_backward(self.decoder.backward(dlogits, c_decoder), c_transform)

    def loss(self, x: Array, targets: Array, *, counted: int | None = None) -> tuple[Array, Cache]:
        """The mean cross-entropy of targets (B, T), on the host, -100 where nothing is hidden; cache

        One position in seven is hidden: the others' vectors are left out, and head and loss have a seventh to do.
        """
        check_shape("targets", targets, x.shape[:-1])
        check_ids("targets", targets, len(self.decoder.wte.value), ignored=IGNORED)
        hidden = np.flatnonzero(targets.reshape(-1) != IGNORED)
        chosen, c_chosen = embedding_forward(np.asarray(hidden, like=x), rows(x))
        h, c_transform = self._transform(chosen)
        loss, c_loss = self.decoder.loss(h, np.asarray(targets.reshape(-1)[hidden], like=x), counted=counted)
        return loss, (x.shape, c_chosen, c_transform, c_loss)

    def loss_backward(self, dloss: float | Array, cache: Cache) -> Array:
        """dloss () -> dx (B, T, C), which is 0 where nothing is hidden"""
        shape, c_chosen, c_transform, c_loss = cache
        dx = self._transform_backward(self.decoder.loss_backward(dloss, c_loss), c_transform)
        return embedding_backward(dx, c_chosen).reshape(shape)

    def _transform(self, x: Array) -> tuple[Array, Cache]:
        """What the table is multiplied with."""
        h, c_dense = self.dense.forward(x)
        h, c_gelu = GELU_ERF.forward(h)
        h, c_ln = self.ln.forward(h)
        return h, (c_dense, c_gelu, c_ln)

    def _transform_backward(self, dh: Array, cache: Cache) -> Array:
        c_dense, c_gelu, c_ln = cache
        return self.dense.backward(GELU_ERF.backward(self.ln.backward(dh, c_ln), c_gelu), c_dense)


class Logits(NamedTuple):
    """What BertForPreTraining answers, before the softmax."""

    words: Array                # (B, T, V)
    pairs: Array | None         # (B, 2)     IS_NEXT, NOT_NEXT; None for a model without this head


class BertForPreTraining(Module):
    """BERT with its two heads: which words are hidden, and whether the second text is what follows the first.

        words = mlm(x)                  x = bert(tokens, segments)
        pairs = pooler(x) nsp           column 0: it is next; column 1: it is not

    next_sentence  False: without the second head, and without a pooler, as transformers' BertForMaskedLM
    The other arguments are those of BERT.

    The loss is the sum of two means: over the hidden words, and over the pairs.
    Devlin et al. 2019, arXiv:1810.04805, section 3.1.
    """

    def __init__(self, config: BertConfig, rng: Rng | None = None, dropout: float = 0.0,
                 dtype: DTypeLike = np.float32, recompute: bool = False, std: float | None = 0.02,
                 next_sentence: bool = True):
        self.bert = BERT(config, rng, dropout, dtype, recompute, std, pooler=next_sentence)
        self.mlm = MaskedWordsHead(self.bert.wte, rng, eps=config.eps, std=std, dtype=dtype)
        self.nsp = Linear(config.n_embd, 2, rng, std=std, dtype=dtype) if next_sentence else None

    @property
    def config(self) -> BertConfig:
        return self.bert.config

    @property
    def n_ctx(self) -> int:
        """As BERT's."""
        return self.bert.n_ctx

    def forward(self, tokens: ArrayLike, segments: ArrayLike | None = None, padding_mask: Array | None = None,
                rng: Rng | None = None, keep_cache: bool = True) -> tuple[Logits, Cache]:
        """tokens (B, T) -> Logits, cache: see BERT.forward"""
        x, c_bert = self.bert.forward(tokens, segments, padding_mask, rng, keep_cache)
        words, c_mlm = self.mlm.forward(x, keep_cache)
        pairs, c_nsp = self.pairs(x)
        return Logits(words, pairs), [c_bert, c_mlm, c_nsp] if keep_cache else None

    def backward(self, dlogits: Logits, cache: Cache) -> None:
        """Add the gradients of all parameters, given those by both logits.  Uses the cache up."""
        check_unused(cache)
        c_bert, c_mlm, c_nsp = cache
        cache.clear()
        dx = self.mlm.backward(dlogits.words, c_mlm)
        self._add_pairs_backward(dx, dlogits.pairs, c_nsp)
        self.bert.backward(dx, c_bert)

    def pairs(self, x: Array) -> tuple[Array | None, Cache]:
        """x (B, T, C) -> the logits of both answers (B, 2), cache; None without this head"""
        if self.nsp is None or self.bert.pooler is None:
            return None, None
        pooled, c_pooler = self.bert.pooler.forward(x)
        pairs, c_nsp = self.nsp.forward(pooled)
        return pairs, (c_pooler, c_nsp)

    def _add_pairs_backward(self, dx: Array, dpairs: Array | None, cache: Cache) -> None:
        """dpairs (B, 2) -> what it adds to dx (B, T, C), in place"""
        if self.nsp is not None and self.bert.pooler is not None and dpairs is not None:
            c_pooler, c_nsp = cache
            dx += self.bert.pooler.backward(self.nsp.backward(dpairs, c_nsp), c_pooler)

    # ---- training

    def counted(self, tokens: Array, segments: Array, padding_mask: Array, targets: Array,
                not_next: Array) -> tuple[int, int]:
        """What the two means of a batch are over: how many words are hidden, and how many pairs are asked about."""
        return count_targets(np.asarray(targets)), count_targets(np.asarray(not_next))

    def loss(self, tokens: ArrayLike, segments: ArrayLike | None, padding_mask: Array | None, targets: ArrayLike,
             not_next: ArrayLike, *, counted: tuple[int, int] | None = None) -> Array:
        """The sum of the two mean cross-entropies, without dropout.

        targets   (B, T)   the words that are hidden; -100 everywhere else
        not_next  (B,)     0 where the second text follows the first, 1 where it does not; -100 where nothing is asked,
                           and everywhere in a model without this head
        counted            of a whole batch, where these rows are a part of it: its losses add up to the batch's
        """
        return self._loss(tokens, segments, padding_mask, targets, not_next, counted, None, keep_cache=False)[0]

    def loss_and_gradients(self, tokens: ArrayLike, segments: ArrayLike | None, padding_mask: Array | None,
                           targets: ArrayLike, not_next: ArrayLike, *, counted: tuple[int, int] | None = None,
                           rng: Rng | None = None) -> Array:
        """The same with dropout; adds its gradient by each parameter to that parameter's grad."""
        loss, (c_bert, c_words, c_nsp, c_pairs) = self._loss(tokens, segments, padding_mask, targets, not_next, counted,
                                                             rng, keep_cache=True)
        dx = self.mlm.loss_backward(1.0, c_words)
        del c_words                                     # the (N, V) array: freed before the stack needs room
        if c_pairs is not None:
            self._add_pairs_backward(dx, cross_entropy_backward(1.0, c_pairs), c_nsp)
        self.bert.backward(dx, c_bert)
        return loss

    def _loss(self, tokens: ArrayLike, segments: ArrayLike | None, padding_mask: Array | None, targets: ArrayLike,
              not_next: ArrayLike, counted: Any, rng: Rng | None, keep_cache: bool) -> tuple[Array, list[Cache]]:
        targets = host_ids("targets", targets, self.config.n_vocab, self.n_ctx, IGNORED)
        not_next = np.asarray(not_next)
        check_ids("not_next", not_next, 2, ignored=IGNORED)
        n_words, n_pairs = (None, None) if counted is None else counted
        x, c_bert = self.bert.forward(tokens, segments, padding_mask, rng, keep_cache)
        loss, c_words = self.mlm.loss(x, targets, counted=n_words)
        check_shape("not_next", not_next, x.shape[:1])
        pairs, c_nsp = self.pairs(x)
        c_pairs = None
        if pairs is not None:
            of_pairs, c_pairs = cross_entropy_forward(pairs, np.asarray(not_next, like=x), counted=n_pairs)
            loss = loss + of_pairs
        elif count_targets(not_next):
            raise ValueError("not_next: expected -100 everywhere, for this model has no head for pairs, got others")
        return loss, [c_bert, c_words, c_nsp, c_pairs]
