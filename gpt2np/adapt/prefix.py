"""Prefix tuning: keys and values that are learned stand before those of the text, and nothing else is trained.

        k = [prefix_k; k]        v = [prefix_v; v]          in the attention of every block

Chapter: S000 8.2.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ..blocks.kv_cache import KVCache, Past
from ..blocks.multihead import SelfAttention
from ..hints import Array, Cache, Rng
from ..layers.activations import TANH
from ..layers.attention import attention_backward, attention_forward, merge_heads, split_heads
from ..layers.checks import check_shape
from ..layers.dropout import dropout_backward, dropout_forward
from ..layers.linear import Linear
from ..layers.module import Module, Parameter, initial
from .replacing import AdaptError, Replacement, freeze_the_rest, in_blocks, places, replace

STD = 0.02                          # of the first prefix, where it is not that of a text


def prefix_forward(k: Array, prefix: Array) -> tuple[Array, Cache]:
    """Put the same rows before those of each sequence.

        y = [prefix; k]

    k         (B, H, T, D)       keys, or values
    prefix    (P, C)             C = H D: head h is columns h D to (h + 1) D
    returns   y (B, H, P + T, D) of k's dtype, and the cache for prefix_backward

    Li, Liang 2021, arXiv:2101.00190, eq. 3.
    """
    (B, H, T, D), P = k.shape, len(prefix)
    check_shape("prefix", prefix, (P, H * D))
    y = np.empty_like(k, shape=(B, H, P + T, D))
    y[:, :, :P] = split_heads(prefix[None], H)
    y[:, :, P:] = k
    return y, (y.shape, P)


def prefix_backward(dy: Array, cache: Cache) -> tuple[Array, Array]:
    """dk is the part of dy behind the prefix; dprefix the sum of the part before, over the sequences."""
    shape, P = cache
    check_shape("dy", dy, shape)
    dprefix = merge_heads(dy[:, :, :P].sum(axis=0)[None])[0]
    return dy[:, :, P:].copy(), dprefix


class PrefixPast:
    """The past of one layer with a prefix: a KVCache that holds it before all tokens, which are counted alone.

    cache   KVCache, whose first P positions are the prefix's
    """

    def __init__(self, cache: KVCache, P: int):
        self.cache, self.P = cache, P

    @property
    def length(self) -> int:
        """How many tokens have been written; the prefix is not counted."""
        return self.cache.length - self.P

    @property
    def on_host(self) -> bool:
        return self.cache.on_host

    def append(self, k: Array, v: Array) -> tuple[Array, Array]:
        """k, v (B, H, T, D) of T new tokens -> k, v (B, H, P + S, D) of the prefix and all S tokens so far."""
        return self.cache.append(k, v)

    def forget(self, length: int) -> None:
        """KVCache.forget of the tokens; the prefix is kept."""
        if length < 0:
            raise ValueError(f"KVCache: expected to keep from 0 to {self.length} positions, got {length}")
        self.cache.forget(self.P + length)

    def select(self, rows: Sequence[int]) -> "PrefixPast":
        """That of these rows."""
        return PrefixPast(self.cache.select(rows), self.P)


class PrefixSelfAttention(Replacement, SelfAttention):
    """Self-attention in which every position also looks at P keys and values that are learned.

        q, k, v = split(x c_attn)
        y       = merge(attention(q, [prefix_k; k], [prefix_v; v])) c_proj

    length    P.  Parameters: prefix_k, prefix_v (P, C), 2 P C

    What a padding mask hides are positions of the text: the prefix is seen by all.  With causal attention no more is
    to be said, since queries and keys are aligned at their ends.  The text's positions begin at P, as in Li and Liang's
    code and in peft: the model asks each block what comes before its text, `before`.
    """

    kind: ClassVar = "prefix"
    own: ClassVar[tuple[str, ...]] = ("prefix_k", "prefix_v")

    def __init__(self, layer: SelfAttention, length: int, rng: Rng | None = None):
        C, dtype = self._begin(layer, length)
        self.prefix_k = Parameter(initial(rng, (length, C), STD, dtype))
        self.prefix_v = Parameter(initial(rng, (length, C), STD, dtype))

    def _begin(self, layer: SelfAttention, length: int) -> tuple[int, Any]:
        """What both kinds of prefix begin with.  Returns width and dtype."""
        if not isinstance(layer, SelfAttention):
            raise AdaptError(f"layer: expected self-attention, such as h.0.attn, got {type(layer).__name__}")
        if layer.gone:
            raise AdaptError(f"layer: expected attention with all its heads, got one without {list(layer.gone)}")
        check_length(length)
        self.take_over(layer)
        self.P = length
        return layer.c_proj.b.shape[0], layer.c_proj.w.value.dtype

    def options(self) -> dict[str, Any]:
        return {"length": self.P}

    @property
    def before(self) -> int:
        """How many positions come before the text's, P."""
        return self.P

    def prefixes(self) -> tuple[tuple[Array, Array], Cache]:
        """The two prefixes (P, C), and a cache."""
        return (self.prefix_k.value, self.prefix_v.value), None

    def prefixes_backward(self, dk: Array, dv: Array, cache: Cache) -> None:
        """The gradients by the two go to the parameters."""
        for prefix, gradient in ((self.prefix_k, dk), (self.prefix_v, dv)):
            if prefix.trainable:
                prefix.accumulate(gradient)

    def new_past(self, B: int, n: int) -> PrefixPast:           # type: ignore[override]
        """The past of B sequences that have only the prefix yet, with room for n positions behind it."""
        H, P, w = self.n_head, self.P, self.c_proj.w.value
        cache = KVCache(B, H, P + n, len(w) // H, w)
        prefixes, _ = self.prefixes()
        k, v = (np.broadcast_to(split_heads(p[None], H), (B, H, P, len(w) // H)) for p in prefixes)
        cache.append(k, v)
        return PrefixPast(cache, P)

    def forward(self, x: Array, *, padding_mask: Array | None = None, rng: Rng | None = None, keep_cache: bool = True,
                past: Past | None = None, last: int | None = None) -> tuple[Array, Cache]:
        """As SelfAttention's; padding_mask (B, S) is that of the text alone."""
        if keep_cache and (past is not None or last is not None):
            raise ValueError("past, last: expected keep_cache=False with them, since they are for inference")
        qkv, c_c_attn = self.c_attn.forward(x, rng=rng)                             # (B, T, 3C)
        q, k, v = (split_heads(a, self.n_head) for a in np.split(qkv, 3, axis=-1))  # (B, H, T, D)
        c_prefixes = c_k = c_v = None
        if past is not None:                                                        # which has the prefix in it
            k, v = past.append(k, v)                                                # (B, H, P + S, D)
        else:
            (prefix_k, prefix_v), c_prefixes = self.prefixes()
            k, c_k = prefix_forward(k, prefix_k)                                    # (B, H, P + T, D)
            v, c_v = prefix_forward(v, prefix_v)
        if padding_mask is not None:
            seen = np.ones_like(padding_mask, shape=(len(padding_mask), self.P))
            padding_mask = np.concatenate([seen, padding_mask], axis=1)
        if last is not None:
            q = q[:, :, q.shape[2] - last:]                                         # (B, H, last, D)
        y, c_attention = attention_forward(q, k, v, self.causal, padding_mask, self.attention_dropout, rng,
                                           keep_cache)
        y, c_c_proj = self.c_proj.forward(merge_heads(y), rng=rng)                  # (B, T, C)
        y, c_dropout = dropout_forward(y, self.dropout, rng)
        return y, (c_c_attn, (c_prefixes, c_k, c_v), c_attention, c_c_proj, c_dropout) if keep_cache else None

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dy (B, T, C) -> dx (B, T, C)"""
        c_c_attn, (c_prefixes, c_k, c_v), c_attention, c_c_proj, c_dropout = cache
        dy = dropout_backward(dy, c_dropout)
        dy = self.c_proj.backward(dy, c_c_proj)
        dq, dk, dv = attention_backward(split_heads(dy, self.n_head), c_attention)
        dk, dprefix_k = prefix_backward(dk, c_k)
        dv, dprefix_v = prefix_backward(dv, c_v)
        self.prefixes_backward(dprefix_k, dprefix_v, c_prefixes)
        dqkv = np.concatenate([merge_heads(dq), merge_heads(dk), merge_heads(dv)], axis=-1)
        return self.c_attn.backward(dqkv, c_c_attn)

    def weights(self, cache: Cache) -> Array:
        """p (B, H, T, P + S): how much each position looked at which, those of the prefix first."""
        c_c_attn, c_prefixes, c_attention, c_c_proj, c_dropout = cache
        return super().weights((c_c_attn, c_attention, c_c_proj, c_dropout))


class MLPPrefixSelfAttention(PrefixSelfAttention):
    """The same with a prefix that an MLP makes of a smaller table, which trains more steadily; see `flattened`.

        [prefix_k, prefix_v] = tanh(table fc) proj          table (P, E), fc (E, M), proj (M, 2C)

    table and fc are the same for all blocks, which are given them: together it is one MLP with an output for each.
    Li, Liang 2021, arXiv:2101.00190, section 4.3.
    """

    kind: ClassVar = "mlp prefix"
    own: ClassVar[tuple[str, ...]] = ("table", "fc", "proj")

    def __init__(self, layer: SelfAttention, table: Parameter, fc: Linear, rng: Rng | None = None):
        C, dtype = self._begin(layer, table.shape[0])
        self.table, self.fc = table, fc
        self.proj = Linear(fc.w.shape[1], 2 * C, rng, dtype=dtype)

    def options(self) -> dict[str, Any]:
        raise AdaptError("prefix: expected one without its MLP, which is for training alone: call flattened(model)")

    def prefixes(self) -> tuple[tuple[Array, Array], Cache]:
        """The two that the MLP makes (P, C), and its cache."""
        h, c_fc = self.fc.forward(self.table.value)                                 # (P, M)
        h, c_tanh = TANH.forward(h)
        kv, c_proj = self.proj.forward(h)                                           # (P, 2C)
        k, v = np.hsplit(kv, 2)
        return (k, v), (c_fc, c_tanh, c_proj)

    def prefixes_backward(self, dk: Array, dv: Array, cache: Cache) -> None:
        c_fc, c_tanh, c_proj = cache
        dh = self.proj.backward(np.hstack([dk, dv]), c_proj)
        dtable = self.fc.backward(TANH.backward(dh, c_tanh), c_fc)
        if self.table.trainable:
            self.table.accumulate(dtable)


def add_prefix(model: Module, paths: str | Sequence[str] | None = None, length: int = 20, hidden: int = 0,
               tokens: Sequence[int] | None = None, rng: Rng | None = None) -> dict[str, Module]:
    """Have a prefix in each self-attention that the paths name, and train it alone.  Returns what `restore` takes.

    paths    None: of every block
    hidden   M, the width of an MLP that makes the prefix while it is trained; 0 for none
    tokens   `length` tokens whose keys and values the prefix begins with, of a GPT2: then the model begins as one that
             has read them.  Li and Liang found that better than random numbers.  None: N(0, 0.02^2)
    rng      for what is drawn; None: the same for every call, of seed 0
    """
    check_room(model, length)
    rng = np.random.default_rng(0) if rng is None else rng
    if tokens is not None and (hidden or len(tokens) != length):
        raise AdaptError(f"tokens: expected {length}, one for each position of a prefix without an MLP, got "
                         f"{len(tokens)}")
    read = None if tokens is None else _past_of(model, tokens)
    shared: list[Any] = []

    def make(layer: SelfAttention) -> PrefixSelfAttention:
        if not hidden:
            return PrefixSelfAttention(layer, length, rng)
        if not shared:
            C, dtype = layer.c_proj.b.shape[0], layer.c_proj.w.value.dtype
            shared[:] = [Parameter(initial(rng, (length, C), STD, dtype)), Linear(C, hidden, rng, dtype=dtype)]
        table, fc = shared
        return MLPPrefixSelfAttention(layer, table, fc, rng)

    old = replace(model, in_blocks(model, "attn") if paths is None else paths, make)
    if read is not None:
        there = {place.path: place.child for place in places(model)}
        for path in old:
            layer: Any = there[path]
            past = read[int(path.split(".")[1])]
            layer.prefix_k.value, layer.prefix_v.value = (merge_heads(a[:, :, :length])[0].copy()
                                                          for a in (past.k, past.v))
    freeze_the_rest(model)
    return old


def flattened(model: Module) -> None:
    """Put the prefix itself in the place of each MLP that makes one: the model computes the same."""
    for place in list(places(model)):
        if isinstance(place.child, MLPPrefixSelfAttention):
            layer = place.child
            (k, v), _ = layer.prefixes()
            plain = PrefixSelfAttention.__new__(PrefixSelfAttention)
            vars(plain).update({name: value for name, value in vars(layer).items() if name not in layer.own})
            plain.prefix_k, plain.prefix_v = Parameter(k.copy()), Parameter(v.copy())
            place.put(plain)


def check_length(length: int) -> None:
    """AdaptError unless it is a positive whole number."""
    if type(length) is not int or length < 1:
        raise AdaptError(f"prefix: expected a length of 1 or more, got {length!r}")


def check_room(model: Any, length: int) -> None:
    """AdaptError for what is no length, and where a prefix would leave no position for a text."""
    check_length(length)
    n_ctx = getattr(getattr(model, "config", None), "n_ctx", None)
    if n_ctx is not None and length >= n_ctx:
        raise AdaptError(f"prefix: expected fewer than the {n_ctx} positions that the model sees, of which the text "
                         f"needs some, got {length}")


def _past_of(model: Any, tokens: Sequence[int]) -> list[KVCache]:
    """The keys and values of tokens, block by block."""
    past = model.new_past(1, len(tokens))
    model.next_logits([list(tokens)], past)
    return past
