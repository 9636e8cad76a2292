"""The keys and values of several texts in one array, where a text can join the others, and leave them, at any time."""

from collections.abc import Sequence

import numpy as np

from ..blocks.kv_cache import KVCache
from ..hints import Array
from ..layers.checks import check_ids, check_shape


class SharedCache(KVCache):
    """A KVCache for texts that come and go: a row for each, and all of them end in the same column.

        row 0      a  b  c  d  e  f         who joins stands with its last position below that of the others; what is
        row 1      0  0  0  a  b  c         before its first is 0, and a padding mask hides it

    rows    how many there are at present, of the B that there is room for: append takes that many
    like    as in KVCache

    To join and to leave move the positions of one text, and of none beside it.
    """

    def __init__(self, B: int, H: int, n: int, D: int, like: Array):
        self.k = np.zeros_like(like, shape=(B, H, D, n)).swapaxes(2, 3)             # (B, H, n, D)
        self.v = np.zeros_like(like, shape=(B, H, n, D))
        self.length, self.rows = 0, 0

    @classmethod
    def for_texts(cls, B: int, n: int, own: KVCache) -> "SharedCache":
        """One with room for B texts of n positions, of the sizes, dtype and device that a text's own has."""
        return cls(B, own.k.shape[1], n, own.k.shape[3], own.k)

    def append(self, k: Array, v: Array) -> tuple[Array, Array]:
        """k, v (rows, H, T, D) of T new positions -> k, v (rows, H, S, D) of all S so far."""
        B, H, n, D = self.k.shape
        T, end = k.shape[2], self.length + k.shape[2]
        check_shape("k", k, (self.rows, H, T, D))
        check_shape("v", v, (self.rows, H, T, D))
        if end > n:
            raise ValueError(f"SharedCache: expected at most {n} positions, got {T} after {self.length}")
        self.k[:self.rows, :, self.length:end] = k
        self.v[:self.rows, :, self.length:end] = v
        self.length = end
        return self.k[:self.rows, :, :end], self.v[:self.rows, :, :end]

    def join(self, own: KVCache, row: int, n: int) -> None:
        """One row more, the last one, with the last n positions of a row of `own`: at most as many as are here."""
        start = self.length - n
        if not 0 <= n <= min(self.length, own.length) or self.rows == len(self.k):
            raise ValueError(f"SharedCache: expected one of {len(self.k)} rows of {self.length} columns to be free, "
                             f"got {n} of {own.length} positions beside {self.rows} rows")
        for shared, read in ((self.k, own.k), (self.v, own.v)):
            shared[self.rows, :, :start] = 0
            shared[self.rows, :, start:self.length] = read[row, :, own.length - n:own.length]
        self.rows += 1

    def leave(self, row: int) -> None:
        """One row less; the last one takes its place."""
        self.rows -= 1
        for a in (self.k, self.v):
            a[row, :, :self.length] = a[self.rows, :, :self.length]

    def laid_out(self, length: int, n: int) -> "SharedCache":
        """The same rows with `length` columns, and room for n: columns are cut off, or zeros put, on the left."""
        B, H, _, D = self.k.shape
        new, kept = SharedCache(B, H, n, D, self.k), min(length, self.length)
        new.rows, new.length = self.rows, length
        for there, here in ((new.k, self.k), (new.v, self.v)):
            there[:self.rows, :, length - kept:length] = here[:self.rows, :, self.length - kept:self.length]
        return new

    def select(self, rows: Sequence[int]) -> KVCache:
        """A KVCache of these rows."""
        check_ids("rows", np.asarray(rows, int if len(rows) == 0 else None), self.rows)
        return super().select(rows)
