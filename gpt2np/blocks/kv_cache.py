"""The keys and values of the tokens so far: each is computed once, and every later token looks at it again.

Chapter: S000 8.3; S001 3.3; S004 1.2.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from ..hints import Array
from ..layers.checks import check_ids, check_shape


class Past(Protocol):
    """What a block knows of the tokens before: a KVCache, or an object that holds one and more.

    Attention asks how many there are, and for their keys and values with the new ones behind; decoding goes back to an
    earlier length, and goes on with some of the texts.
    """

    @property
    def length(self) -> int:
        """How many positions there are so far."""

    @property
    def on_host(self) -> bool:
        """Whether the arrays are in the host's memory, where several threads may fill them."""

    def append(self, k: Array, v: Array) -> tuple[Array, Array]:
        """k, v (B, H, T, D) of T new positions -> k, v (B, H, S, D) of all S so far."""

    def forget(self, length: int) -> None:
        """Keep only the first positions, as many as `length`."""

    def select(self, rows: Sequence[int]) -> "Past":
        """A past of these rows alone: any number of them, in any order, also repeated."""


class KVCache:
    """Room for the keys and values of one layer at n positions, of which the first `length` are filled.

        k, v = cache.append(k, v)       the new ones go behind the old ones; all so far come back, as views

    B, H, n, D   sequences, heads, positions, width of a head
    like         an array of the dtype and device that they have

    The memory is taken once: to append copies the new positions alone, and a loop over tokens takes no more.  For each
    head the values of one position lie together, and the keys of one column: so each product of a single query runs
    over the longest rows that there are.
    """

    def __init__(self, B: int, H: int, n: int, D: int, like: Array):
        self.k = np.empty_like(like, shape=(B, H, D, n)).swapaxes(2, 3)             # (B, H, n, D)
        self.v = np.empty_like(like, shape=(B, H, n, D))
        self.length = 0

    @property
    def on_host(self) -> bool:
        return isinstance(self.k, np.ndarray)

    def append(self, k: Array, v: Array) -> tuple[Array, Array]:
        """k, v (B, H, T, D) of T new positions -> k, v (B, H, S, D) of all S so far.  ValueError if they do not fit."""
        B, H, n, D = self.k.shape
        T = k.shape[2]
        check_shape("k", k, (B, H, T, D))
        check_shape("v", v, (B, H, T, D))
        end = self.length + T
        if end > n:
            raise ValueError(f"KVCache: expected at most {n} positions, got {T} after {self.length}")
        self.k[:, :, self.length:end] = k
        self.v[:, :, self.length:end] = v
        self.length = end
        return self.k[:, :, :end], self.v[:, :, :end]

    def forget(self, length: int) -> None:
        """Keep only the first positions, as many as `length`: the next ones take the place of the rest."""
        if not 0 <= length <= self.length:
            raise ValueError(f"KVCache: expected to keep from 0 to {self.length} positions, got {length}")
        self.length = length

    def select(self, rows: Sequence[int]) -> "KVCache":
        """A new cache whose sequences are these rows of this one: any number of them, in any order, also repeated.

        rows   indices from 0 to B - 1, not a mask.  ValueError for others
        """
        B, H, n, D = self.k.shape
        check_ids("rows", np.asarray(rows, int if len(rows) == 0 else None), B)
        chosen = KVCache(len(rows), H, n, D, self.k)
        chosen.append(self.k[rows, :, :self.length], self.v[rows, :, :self.length])
        return chosen


class Memory(NamedTuple):
    """What cross-attention sees of an encoder's output: its keys and values, made once for all tokens that follow.

    k, v           (B, H, S, D)
    padding_mask   (B, S)         bool, True for a real token; or None: all are
    """

    k: Array
    v: Array
    padding_mask: Array | None

    def select(self, rows: Sequence[int]) -> "Memory":
        """That of these rows, any number of them, in any order, also repeated."""
        mask = None if self.padding_mask is None else self.padding_mask[rows]
        return Memory(self.k[rows], self.v[rows], mask)


class DecoderPast:
    """The past of a decoder's block: the keys and values of its own tokens so far, and those of the memory.

    own      KVCache, which grows
    memory   Memory, which stays as it is
    """

    def __init__(self, own: KVCache, memory: Memory):
        self.own, self.memory = own, memory

    @property
    def length(self) -> int:
        """How many tokens have been written; the memory is not counted."""
        return self.own.length

    @property
    def on_host(self) -> bool:
        return self.own.on_host

    def append(self, k: Array, v: Array) -> tuple[Array, Array]:
        """KVCache.append of the own tokens."""
        return self.own.append(k, v)

    def forget(self, length: int) -> None:
        """KVCache.forget of the own tokens; the memory is kept."""
        self.own.forget(length)

    def select(self, rows: Sequence[int]) -> "DecoderPast":
        """That of these rows: of each, the own tokens and the memory."""
        return DecoderPast(self.own.select(rows), self.memory.select(rows))
