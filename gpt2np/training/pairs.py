"""Pairs of texts, a source and what it becomes: read from lines, encoded, and put into batches of like lengths.

In a file, a pair is a line: source, tab, target; what stands behind a second tab is not read.  In memory it is two rows
of token ids.  In a batch, rows are filled up to the longest one of their side:

    source   a b c .        source_mask   1 1 1 0       . is padding: any id, which the mask hides
    tokens   ⊣ x y .        targets       x y ⊣ -100    ⊣ is <|endoftext|>: with it a target begins, and ends
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..hints import Array
from ..layers.cross_entropy import IGNORED
from ..text.utf8 import lines_in
from .batches import FOR_EPOCHS
from .errors import TrainingError

Pair = tuple[list[int], list[int]]              # the token ids of a source and of its target, without anything around


class Batch(NamedTuple):
    """Some pairs, as the Transformer takes them."""

    source: Array               # (B, S)
    source_mask: Array          # (B, S)   bool, True for a real token
    tokens: Array               # (B, T)
    targets: Array              # (B, T)   -100 where there is none


# ---- files -----------------------------------------------------------------------------------------------------------


def read_pairs(paths: Iterable[str | Path]) -> Iterator[tuple[str, str]]:
    """The pairs of some files, line by line; empty lines are passed over.

    TrainingError, with file and line, where a line has no tab, or nothing on one side of it.
    """
    for path in paths:
        for number, line in enumerate(lines_in(path), 1):
            if not line:
                continue
            source, tab, rest = line.partition("\t")
            target = rest.partition("\t")[0]
            if not (source.strip() and target.strip()):
                problem = "nothing on one side of the tab" if tab else f"no tab in {line[:40]!r}"
                raise TrainingError(f"{path}, line {number}: expected a source, a tab and its target, got {problem}")
            yield source, target


# ---- batches ---------------------------------------------------------------------------------------------------------


class PairBatches:
    """What each step of training sees: as many pairs of like lengths as make a batch of a given size.

    pairs         Pairs of token ids
    batch_tokens  how many positions a batch may have, source and target, padding included
    end           the id of <|endoftext|>
    seed          integer

    The pairs are sorted by their lengths, and cut where a batch is full.  Those of one length come in another order in
    each epoch, so that they meet others, and so do the batches; every pair comes once in an epoch.  A batch follows
    from (seed, step) alone, so a run that is resumed needs no state to go on with the same ones.
    """

    def __init__(self, pairs: Sequence[Pair], batch_tokens: int, end: int, seed: int):
        if not pairs:
            raise TrainingError("pairs: expected at least one, got none")
        self.pairs, self.end, self.seed = pairs, end, seed
        self.lengths = np.array([(len(source), len(target) + 1) for source, target in pairs])   # (n, 2): S, T
        # By the longer side first: a batch of all lengths up to it would be padded on both.
        self.keys = (self.lengths[:, 1], self.lengths[:, 0], self.lengths.max(axis=1))
        longest = int(self.lengths.sum(axis=1).max())
        if batch_tokens < longest:
            raise TrainingError(f"batch_tokens: expected at least the {longest:,} of the longest pair, got "
                                f"{batch_tokens:,}")
        sorted_lengths = self.lengths[np.lexsort(self.keys)]
        self.cuts = full_batches(sorted_lengths, batch_tokens)

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return len(self.cuts) - 1

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        epoch, place = divmod(step, len(self))
        order, batches = self._epoch(epoch)
        i = batches[place]
        return padded([self.pairs[pair] for pair in order[self.cuts[i]:self.cuts[i + 1]]], self.end)

    @functools.lru_cache(maxsize=2)     # noqa: B019    one epoch, and the one after it; as long-lived as the run
    def _epoch(self, epoch: int) -> tuple[Array, Array]:
        """The order of the pairs, sorted by length, and that of the batches which it is cut into."""
        rng = np.random.default_rng([self.seed, FOR_EPOCHS, epoch])
        order = np.lexsort((rng.permutation(len(self.pairs)), *self.keys))
        return order, rng.permutation(len(self))

    @property
    def padding(self) -> float:
        """The share of padding in the positions of an epoch."""
        sorted_lengths = self.lengths[np.lexsort(self.keys)]
        positions = sum((b - a) * int(sorted_lengths[a:b].max(axis=0).sum())
                        for a, b in zip(self.cuts, self.cuts[1:]))
        return 1 - int(self.lengths.sum()) / positions


def full_batches(lengths: Array, most: int) -> list[int]:
    """Where to cut rows of lengths (n, 2) so that no part, padded, has more positions than `most`: 0, ..., n."""
    cuts, longest = [0], np.zeros(2, int)
    for i, pair in enumerate(lengths):
        longest = np.maximum(longest, pair)
        if (i + 1 - cuts[-1]) * longest.sum() > most:
            cuts.append(i)
            longest = pair
    return [*cuts, len(lengths)]


def padded(pairs: Sequence[Pair], end: int) -> Batch:
    """Some pairs as arrays, padded on the right: see the head of this file."""
    return Batch(rows([source for source, _ in pairs], end),
                 rows([[1] * len(source) for source, _ in pairs], 0).astype(bool),
                 rows([[end, *target] for _, target in pairs], end),
                 rows([[*target, end] for _, target in pairs], IGNORED))


def rows(lists: Sequence[Sequence[int]], fill: int) -> Array:
    """Lists of unequal lengths as one array (B, T), filled up on the right."""
    array = np.full((len(lists), max(map(len, lists))), fill, np.int64)
    for row, ids in zip(array, lists):
        row[:len(ids)] = ids
    return array
