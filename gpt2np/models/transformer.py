"""The original Transformer: an encoder reads a sentence, a decoder writes another one, word by word.

Chapter: S000 3.2, 4.1, 4.3, 4.4; S001 3.4; S002 2.2.1.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..blocks.kv_cache import DecoderPast
from ..blocks.stack import Stack, check_unused
from ..blocks.transformer import DecoderBlock, PostNormBlock, PreNormBlock, PreNormDecoderBlock
from ..hints import Array, Cache, Rng
from ..layers.activations import RELU, Activation
from ..layers.checks import check_padding_mask
from ..layers.cross_entropy import IGNORED, count_targets
from ..layers.dropout import check_rate, dropout_backward, dropout_forward
from ..layers.embedding import Embedding
from ..layers.layernorm import LayerNorm
from ..layers.lm_head import LMHead
from ..layers.module import Constant, Module
from ..layers.positional import sinusoidal_positions
from .config import TransformerConfig
from .tokens import check_inference, host_ids, positions_of


class Transformer(Module):
    """Two stacks of blocks and one table: of the source's tokens, of the target's, and of the head.

        embed(ids) = sqrt(C) wte[ids] + positions[0, 1, 2, ...]         positions are sines and cosines, not learned
        memory     = e_L(... e_1(embed(source)))                        each position sees all real ones of the source
        x          = d_L(... d_1(embed(tokens), memory), memory)        each sees those before it, and all the memory
        logits     = x wte'

    config           TransformerConfig
    rng              numpy.random.Generator for the initial weights; None leaves them 0, for a checkpoint to fill in
    dropout          rate in training, at the places of the paper's section 5.4: the sums of embeddings and positions,
                     and the end of each sub-layer; attention weights are not dropped
    label_smoothing  in training, see cross_entropy_forward: spread over all V words, as PyTorch does.  tensor2tensor
                     and fairseq spread it over the V - 1 others, OpenNMT over V - 2, without padding; the loss differs
                     by a constant and a factor near 1 of the smoothing
    recompute        True: need far less memory in training, and somewhat more time: see Stack
    activation       of the MLPs; the checks take one without a kink

    The target's tokens are those of the text with one before them that says to begin, and its targets those of the text
    with one behind them that says that it ends: any two ids of the vocabulary, or one for both, as <|endoftext|> is
    here.  Rows that are shorter than the longest are filled up with any id: source_mask hides it in the source, a
    target of -100 in the loss, and what comes before cannot see it.

    Initial weights: those of layers N(0, 2 / (in + out)), Glorot's; with the 0.02 of GPT-2 a model of this width learns
    nothing.  The table N(0, 1 / C), so that what is embedded has variance 1.
    Vaswani et al. 2017, arXiv:1706.03762.
    """

    def __init__(self, config: TransformerConfig, rng: Rng | None = None, dropout: float = 0.0,
                 dtype: DTypeLike = np.float32, recompute: bool = False, label_smoothing: float = 0.0,
                 activation: Activation = RELU):
        if not isinstance(config, TransformerConfig):
            raise ValueError(f"config: expected a TransformerConfig, got {config!r}")
        check_rate(dropout)
        C, V = config.n_embd, config.n_vocab
        self.config, self.dropout, self.label_smoothing = config, dropout, label_smoothing
        options: dict[str, Any] = {"activation": activation, "n_inner": config.n_inner, "dropout": dropout,
                                   "attention_dropout": 0.0, "std": None, "dtype": dtype}
        pre = config.norms == "pre"
        Encoder, Decoder = (PreNormBlock, PreNormDecoderBlock) if pre else (PostNormBlock, DecoderBlock)
        self.wte = Embedding(V, C, rng, std=1 / math.sqrt(C), scale=math.sqrt(C), dtype=dtype)
        self.positions = Constant(sinusoidal_positions(config.n_ctx, C, dtype))
        self.encoder = Stack((Encoder(C, config.n_head, rng, causal=False, **options)
                              for _ in range(config.n_layer)), recompute)
        self.ln_encoder = None if config.norms == "post" else LayerNorm(C, dtype=dtype)
        self.decoder = Stack((Decoder(C, config.n_head, rng, **options) for _ in range(config.n_layer)), recompute)
        self.ln_decoder = None if config.norms == "post" else LayerNorm(C, dtype=dtype)
        self.lm_head = LMHead(self.wte)

    # ---- forward, and its mirror image

    def forward(self, source: ArrayLike, source_mask: Array | None, tokens: ArrayLike, rng: Rng | None = None,
                keep_cache: bool = True) -> tuple[Array, Cache]:
        """source (B, S) with a mask (B, S) of its real tokens, tokens (B, T) -> logits (B, T, V), cache

        All on the host.  ValueError for what it cannot take; a mask of None: all tokens are real.
        """
        x, c_hidden = self.hidden(source, source_mask, tokens, rng=rng, keep_cache=keep_cache)
        logits, c_head = self.lm_head.forward(x)
        return logits, [c_hidden, c_head] if keep_cache else None

    def backward(self, dlogits: Array, cache: Cache) -> None:
        """Add the gradients of all parameters, given dlogits (B, T, V).  Uses the cache up: it is freed on the way."""
        check_unused(cache)
        c_hidden, c_head = cache
        dx = self.lm_head.backward(dlogits, c_head)
        cache.clear()
        self.hidden_backward(dx, c_hidden)

    def hidden(self, source: ArrayLike, source_mask: Array | None, tokens: ArrayLike, *, rng: Rng | None = None,
               keep_cache: bool = True) -> tuple[Array, Cache]:
        """The same up to the head: x (B, T, C), cache"""
        source, tokens = self.ids("source", source), self.ids("tokens", tokens)
        source_mask = self._mask(source_mask, source)
        T = tokens.shape[1]
        memory, c_encode = self.encode(source, source_mask, rng=rng, keep_cache=keep_cache and self._encoder_trains())
        x, c_decode = self.decode(tokens, positions_of(T, T, None, tokens, self.decoder.before), memory=memory,
                                  memory_padding_mask=source_mask, rng=rng, keep_cache=keep_cache)
        return x, [c_encode, c_decode] if keep_cache else None

    def hidden_backward(self, dy: Array, cache: Cache) -> None:
        """dy (B, T, C) -> gradients"""
        check_unused(cache)
        c_encode, c_decode = cache
        cache.clear()
        dmemory = self.decode_backward(dy, c_decode)
        if c_encode is not None and dmemory is not None:
            self.encode_backward(dmemory, c_encode)

    def encode(self, source: Array, source_mask: Array | None, *, rng: Rng | None = None,
               keep_cache: bool = True) -> tuple[Array, Cache]:
        """source (B, S) -> memory (B, S, C), cache"""
        S = source.shape[1]
        x, c_embed = self._embed(source, positions_of(S, S, None, source, self.encoder.before), rng)
        memory, c_encoder = self.encoder.forward(x, padding_mask=source_mask, rng=rng, keep_cache=keep_cache,
                                                 needs_dx=self.wte.trainable)
        c_ln = None
        if self.ln_encoder is not None:
            memory, c_ln = self.ln_encoder.forward(memory)
        return memory, (c_embed, c_encoder, c_ln) if keep_cache else None

    def encode_backward(self, dmemory: Array, cache: Cache) -> None:
        """dmemory (B, S, C) -> gradients"""
        c_embed, c_encoder, c_ln = cache
        if self.ln_encoder is not None:
            dmemory = self.ln_encoder.backward(dmemory, c_ln)
        dx = self.encoder.backward(dmemory, c_encoder)
        self._embed_backward(dx, c_embed)

    def decode(self, tokens: Array, positions: Array, *, rng: Rng | None = None, keep_cache: bool = True,
               **inputs: Any) -> tuple[Array, Cache]:
        """tokens (B, T) -> x (B, T, C), cache

        inputs   memory (B, S, C) and memory_padding_mask (B, S); or, for inference, past, padding_mask and last
        """
        x, c_embed = self._embed(tokens, positions, rng)
        x, c_decoder = self.decoder.forward(x, rng=rng, keep_cache=keep_cache, needs_dx=self._encoder_trains(),
                                            **inputs)
        c_ln = None
        if self.ln_decoder is not None:
            x, c_ln = self.ln_decoder.forward(x)
        return x, (c_embed, c_decoder, c_ln) if keep_cache else None

    def decode_backward(self, dy: Array, cache: Cache) -> Array | None:
        """dy (B, T, C) -> dmemory (B, S, C); None where neither the encoder nor the table is trained"""
        c_embed, c_decoder, c_ln = cache
        if self.ln_decoder is not None:
            dy = self.ln_decoder.backward(dy, c_ln)
        below = self.decoder.backward(dy, c_decoder)
        if below is None:
            return None
        dx, dmemory = below
        self._embed_backward(dx, c_embed)
        return dmemory

    def _embed(self, ids: Array, positions: Array, rng: Rng | None) -> tuple[Array, Cache]:
        """ids (B, T), positions (T,) or (B, T) -> x (B, T, C), cache"""
        word, c_wte = self.wte.forward(ids)
        x, c_dropout = dropout_forward(word + self.positions.value[positions], self.dropout, rng)
        return x, (c_wte, c_dropout)

    def _embed_backward(self, dx: Any, cache: Cache) -> None:
        """dx (B, T, C) -> the table's gradient; None where the table, and what is above it, is frozen"""
        c_wte, c_dropout = cache
        if self.wte.trainable:
            self.wte.backward(dropout_backward(dx, c_dropout), c_wte)

    def _encoder_trains(self) -> bool:
        """Whether a gradient by the memory is needed."""
        last = [] if self.ln_encoder is None else [p for _, p in self.ln_encoder.named_parameters()]
        return (self.wte.trainable or self.encoder.lowest() < len(self.encoder)
                or any(p.trainable for p in last))

    # ---- training

    def counted(self, source: Array, source_mask: Array | None, tokens: Array, targets: Array) -> int:
        """What the mean loss of a batch is over: how many of its targets count."""
        return count_targets(np.asarray(targets))

    def loss(self, source: ArrayLike, source_mask: Array | None, tokens: ArrayLike, targets: ArrayLike, *,
             counted: int | None = None) -> Array:
        """The mean cross-entropy of targets (B, T), -100 for those that do not count; without dropout and smoothing.

        counted  of a whole batch, where these rows are a part of it: its losses add up to the batch's
        """
        targets = self.ids("targets", targets, ignored=IGNORED)
        x, _ = self.hidden(source, source_mask, tokens, keep_cache=False)
        loss, _ = self.lm_head.loss(x, targets, counted=counted)
        return loss

    def loss_and_gradients(self, source: ArrayLike, source_mask: Array | None, tokens: ArrayLike, targets: ArrayLike, *,
                           counted: int | None = None, rng: Rng | None = None) -> Array:
        """The same with dropout and label smoothing; adds its gradient by each parameter to that parameter's grad."""
        targets = self.ids("targets", targets, ignored=IGNORED)
        x, c_hidden = self.hidden(source, source_mask, tokens, rng=rng)
        loss, c_loss = self.lm_head.loss(x, targets, label_smoothing=self.label_smoothing, counted=counted)
        dx = self.lm_head.loss_backward(1.0, c_loss)
        del c_loss                                      # the (N, V) array: freed before the stacks need room
        self.hidden_backward(dx, c_hidden)
        return loss

    # ---- writing

    def given(self, source: ArrayLike, source_mask: Array | None = None) -> "Given":
        """The decoder as a language model that has seen these sources (B, S): decoding.py writes with it."""
        source = self.ids("source", source)
        source_mask = self._mask(source_mask, source)
        memory, _ = self.encode(source, source_mask, keep_cache=False)
        return Given(self, memory, source_mask)

    @property
    def n_ctx(self) -> int:
        """How many positions it sees at most, of a source, and of a target: the config's, or what a prefix leaves."""
        return self.config.n_ctx - max(self.encoder.before, self.decoder.before)

    @property
    def source_end(self) -> bool:
        """Whether a source ends in the token that ends a text."""
        return self.config.source_end

    def looked_at(self, source: ArrayLike, source_mask: Array | None, tokens: ArrayLike) -> Array:
        """p (B, T, S): how much each position of the target looked at which of the source, to say what follows it.

        In the last block, and the mean over its heads; the sum over a row is 1.
        """
        _, (_, c_decode) = self.hidden(source, source_mask, tokens)
        c_embed, c_decoder, c_ln = c_decode
        if self.decoder.recompute:
            raise ValueError("recompute: expected a model without it, for its caches hold no weights of attention")
        return self.decoder[-1].cross_weights(c_decoder[-1]).mean(axis=1)

    def ids(self, name: str, ids: ArrayLike, ignored: int | None = None) -> Array:
        """Check token ids (B, T) on the host, and move them to where the weights are."""
        ids = host_ids(name, ids, self.config.n_vocab, self.n_ctx, ignored)
        return np.asarray(ids, like=self.wte.value)

    def _mask(self, source_mask: Array | None, source: Array) -> Array | None:
        if source_mask is None:
            return None
        check_padding_mask(source_mask, source.shape)
        return np.asarray(source_mask, like=self.wte.value)


class Given:
    """A LanguageModel: what the decoder of a Transformer writes, given the sources that its encoder has read.

    model         Transformer
    memory        (B, S, C)    of model.encode
    source_mask   (B, S)       bool, True for a real token, or None

    There are as many texts as sources; each block makes the memory's keys and values once, in new_past.
    """

    def __init__(self, model: Transformer, memory: Array, source_mask: Array | None):
        self.model, self.memory, self.source_mask = model, memory, source_mask
        self.n_vocab, self.n_ctx = model.config.n_vocab, model.n_ctx

    def new_past(self, B: int, n: int) -> list[DecoderPast]:
        """The past of B texts that have not begun, one for each source: for each block, with room for n positions."""
        if B != len(self.memory):
            raise ValueError(f"texts: expected one for each of {len(self.memory)} sources, got {B}")
        if not 1 <= n <= self.n_ctx:
            raise ValueError(f"n: expected from 1 to {self.n_ctx} positions, got {n}")
        return self.model.decoder.new_past(B, n, memory=self.memory, memory_padding_mask=self.source_mask)

    def next_logits(self, tokens: ArrayLike, past: Sequence[DecoderPast], padding_mask: Array | None = None,
                    last: int = 1) -> Array:
        """The logits (B, last, V) after the tokens (B, T), when all before are in the past: as GPT2.next_logits."""
        tokens = self.model.ids("tokens", tokens)
        T, S = tokens.shape[1], past[0].length + tokens.shape[1]
        check_inference(tokens.shape, past, len(self.model.decoder), padding_mask, last)
        positions = positions_of(T, S, padding_mask, tokens, self.model.decoder.before)
        if padding_mask is not None:
            padding_mask = np.asarray(padding_mask, like=self.memory)
        x, _ = self.model.decode(tokens, positions, keep_cache=False, padding_mask=padding_mask, past=past, last=last)
        logits, _ = self.model.lm_head.forward(x)
        return logits
