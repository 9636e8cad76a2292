"""The keys and values of the tokens so far: each is computed once, and every later token looks at it again."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ..hints import Array
from ..layers.checks import check_ids, check_shape


class Past(Protocol):
    """What attention asks of the tokens before: how many they are, and their keys and values with the new ones behind.

    A KVCache, or what stands in for one, as a Turn does in prefill.py.
    """

    length: int

    def append(self, k: Array, v: Array) -> tuple[Array, Array]: ...


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
