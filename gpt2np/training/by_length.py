"""Rows of like lengths together, in batches that come in another order in each epoch.

Padding is then little; rows of one length meet others each time; and every row comes once in an epoch.
"""

import functools
from collections.abc import Sequence

import numpy as np

from ..hints import Array
from .errors import TrainingError
from .plan import FOR_EPOCHS


class ByLength:
    """Which rows each step sees.  It follows from (seed, step) alone.

    lengths   of the rows
    B         how many rows a batch has; the last one may have fewer
    seed      integer
    """

    def __init__(self, lengths: Sequence[int] | Array, B: int, seed: int):
        self.lengths, self.B, self.seed = np.asarray(lengths), B, seed
        if not len(self.lengths):
            raise TrainingError("text: expected at least one example, got none")

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return -(-len(self.lengths) // self.B)

    def rows(self, step: int) -> Array:
        """The numbers of the rows of a step, counted from 0."""
        epoch, place = divmod(step, len(self))
        order, batches = self._epoch(epoch)
        first = batches[place] * self.B
        return order[first:first + self.B]

    def each(self) -> list[Array]:
        """All rows once, in batches: to measure by."""
        order = np.argsort(self.lengths, kind="stable")
        return [order[first:first + self.B] for first in range(0, len(order), self.B)]

    @functools.lru_cache(maxsize=2)     # noqa: B019    one epoch, and the one after it; as long-lived as the run
    def _epoch(self, epoch: int) -> tuple[Array, Array]:
        """The order of the rows, sorted by length, and that of the batches which it is cut into."""
        rng = np.random.default_rng([self.seed, FOR_EPOCHS, epoch])
        return np.lexsort((rng.permutation(len(self.lengths)), self.lengths)), rng.permutation(len(self))
