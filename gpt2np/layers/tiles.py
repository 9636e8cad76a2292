"""How the pairs walk through memory: matrices of rows, a cache-sized tile at a time.

A chain of element-wise operations over a whole array reads and writes main memory once for each operation.  Done tile
by tile, in place, all but the first read and the last write stay in the processor's cache.
"""

import math
from collections.abc import Iterator

import numpy as np

from ..hints import Array

TILE = 1 << 18                  # elements: 1 MB of float32.  Much smaller ones lose to the cost of the calls
FEW = 8                         # rows: fewer are padded up to it, but a single one, a product with a vector
SEVERAL = 64                    # rows: more multiply a matrix in any order of its numbers at about the same speed


def rows(x: Array) -> Array:
    """x as a matrix, (..., C) -> (N, C): a view where memory allows it."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])      # not -1, which cannot be told where C is 0


def product(x: Array, w: Array) -> Array:
    """rows(x) w, (N, O).  2 to 7 rows are padded with zeros to 8, which OpenBLAS's threads multiply in less time.

    GPT-2 124M writes 4 texts at once 20 % faster by it, and 6 texts 60 % faster.  Where the columns of w lie together,
    as decoding has them, (w' x')' is the faster product of several rows, and lies by columns too: 8 texts, 7 % faster.
    """
    x = rows(x)
    n = len(x)
    if 1 < n < FEW:
        padded = np.zeros_like(x, shape=(FEW, x.shape[1]))
        padded[:n] = x
        return product(padded, w)[:n]
    if 1 < n <= SEVERAL and w.flags.f_contiguous and len(w) >= w.shape[1]:      # not a table of V rows, turned: logits
        return (w.T @ x.T).T                                                    # are read row by row
    return x @ w


def tiles(*arrays: Array) -> Iterator[list[Array]]:
    """Yield the same few rows of every array, (n, C) views of about TILE elements, from the first row to the last.

    arrays  (..., C)   any number, with the same number of rows; those to be written must be C-contiguous
                       (np.empty_like(x, order="C")): the rows of another layout are a copy, and the writes are lost
    """
    arrays = tuple(rows(a) for a in arrays)
    n, width = arrays[0].shape
    step = max(1, TILE // max(1, width))
    for first in range(0, n, step):
        yield [a[first:first + step] for a in arrays]


def sum_rows(x: Array) -> Array:
    """The sum over all leading axes, (..., C) -> (C,), as a product with ones: 2 to 3 times as fast as sum."""
    x = rows(x)
    return np.ones_like(x[:, 0]) @ x


def dot_rows(x: Array, y: Array) -> Array:
    """The product of each row with its like, (n, C), (n, C) -> (n, 1): the sum of x y, without an array to hold x y."""
    return (x[:, None] @ y[..., None])[:, 0]
