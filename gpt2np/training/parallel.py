"""Data parallel on one machine: threads, each with a replica of the model and its share of every batch.

NumPy releases Python's lock while it computes, so threads use all cores in every operation, where BLAS alone would use
them in the matrix products only.  While the threads run, BLAS has one thread each: two kinds of threads are in each
other's way.  A batch of one row cannot be shared: then one worker has all of BLAS's threads.

Chapter: S001 3.3, 9 Q4.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from ..hints import Array
from ..layers.module import Parameter
from ..layers.tiles import tiles
from ..models.protocols import Trainable
from .clipping import gradient_norm, square_sum
from .errors import TrainingError

NOTICED = 0.1       # seconds after which a signal is seen at the latest; Python handles it in the main thread alone

Batch = tuple[Array, ...]           # what a model's loss takes, with one first axis, the rows; tokens come first

# learn(model, rows, counted, rng) -> their part of the loss, or an array of such parts; adds to the parameters' grad
Learn = Callable[[Any, Batch, Any, np.random.Generator | None], Any]


def plainly(model: Trainable, rows: Batch, counted: Any, rng: np.random.Generator | None) -> float:
    """Learn some rows as they are."""
    return float(model.loss_and_gradients(*rows, counted=counted, rng=rng))


class DataParallel:
    """The loss and the gradients of a model on whole batches, worked out by threads; for use in a with statement.

    model    Trainable.  Its values are shared by all replicas: change them in place, as the optimizers do
    threads  how many workers there are at most

    The mean over a batch is a sum over its rows, divided by what the model says that it is over:

        loss = sum over pieces of model.loss(*piece, counted=model.counted(*batch))

    so that the parts add, losses and gradients alike, however the rows are dealt out.

    A sum of floating-point numbers depends on their order, so another number of threads gives other last bits; the same
    number gives the same bits.
    """

    def __init__(self, model: Trainable, threads: int):
        if threads < 1:
            raise ValueError(f"threads: expected a positive integer, got {threads}")
        self.threads = self.workers = threads
        self.replicas = [model] + [model.replica() for _ in range(threads - 1)]
        self.pool = ThreadPoolExecutor(threads)
        self.blas = ThreadpoolController()

    def __enter__(self) -> "DataParallel":
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        self.pool.shutdown(wait=kind is None, cancel_futures=True)      # on an error, nobody wants what is left

    def loss_and_gradients(self, batch: Batch, pieces: int = 1, seed: Sequence[int] | None = None,
                           counted: Any = None, learn: Learn = plainly) -> tuple[Any, float]:
        """The mean loss of a batch and the norm of its gradient, which is in the model's parameters afterwards.

        batch    what the model's loss takes: arrays with one first axis, the rows
        pieces   how many pieces each worker makes of its share, to go through one after another: gradients
                 accumulate, and memory is needed for one piece at a time
        seed     list of integers from which dropout's masks follow; None for no dropout
        counted  of a larger batch, where this one is a part of it; None: this batch's own
        learn    how each piece is learned
        returns  loss, a float, or the array that `learn` gives; norm, a float

        What was in the gradients before is dropped.
        """
        shares = split(batch, self.threads)
        counted = self.replicas[0].counted(*batch) if counted is None else counted
        for mine, *others in self._parameters():
            mine.grad = None
            for other in others:
                other.grad, other.trainable = None, mine.trainable      # what was frozen or thawed since the last step
        work = [(replica, split(share, pieces), None if seed is None else np.random.default_rng([*seed, i]))
                for i, (replica, share) in enumerate(zip(self.replicas, shares))]
        with self.blas_threads(len(shares)):
            loss = sum(self.run(partial(share_loss_and_gradients, learn, counted), work))
        with self.blas_threads(self.threads):
            norm = math.sqrt(sum(self.run(sum_replicas, self._gradient_tiles())))
        return loss, norm

    def norm(self) -> float:
        """The norm of the gradient that is in the model's parameters now: where something was added to it."""
        with self.blas_threads(self.threads):
            return gradient_norm(self.replicas[0], self.run)

    def loss(self, batch: Batch, counted: Any = None) -> float:
        """The mean loss of a batch alone: no gradients, no dropout."""
        model = self.replicas[0]
        return self.total(partial(share_loss, model, model.counted(*batch) if counted is None else counted), batch)

    def total(self, function: Callable[[Batch], Any], batch: Batch) -> Any:
        """The sum of function(rows) over the threads' shares of a batch: numbers or arrays that add, as counts do."""
        shares = split(batch, self.threads)
        with self.blas_threads(len(shares)):
            return sum(self.run(function, shares))

    def run(self, function: Callable, items: Iterable) -> list:
        """function(item) for each item, dealt out to the threads like cards; the results in the order of the items.

        The threads are handed a list each, once: one by one, small items would wait for each other.
        """
        items = list(items)
        hands = [self.pool.submit(lambda hand: [function(item) for item in hand], items[i::self.threads])
                 for i in range(self.threads)]
        while wait(hands, NOTICED).not_done:            # Ctrl-C may come to a thread that waits for none of it
            pass
        results = [None] * len(items)
        for i, hand in enumerate(hands):
            results[i::self.threads] = hand.result()
        return results

    def blas_threads(self, workers: int) -> AbstractContextManager:
        """A context in which BLAS has one thread for each of several workers, or all of them for a single one."""
        return self.blas.limit(limits=self.threads if workers == 1 else 1, user_api="blas")

    def _parameters(self) -> Iterator[list[Parameter]]:
        """Every parameter as the replicas have it: the model's own comes first."""
        for parameters in zip(*(replica.named_parameters() for replica in self.replicas)):
            yield [p for _, p in parameters]

    def _gradient_tiles(self) -> Iterator[list[Array]]:
        """For every tile of every parameter, the gradients that the replicas have of it: those that had a share."""
        for parameters in self._parameters():
            if gradients := [p.grad for p in parameters if p.grad is not None]:
                yield from tiles(*gradients)


def split(batch: Batch, n: int) -> list[Batch]:
    """The rows of a batch in n parts, as even as can be; in fewer where rows are fewer, and none where there are none.

    TrainingError where its arrays disagree on how many rows there are.
    """
    if len({len(array) for array in batch}) != 1:
        raise TrainingError(f"batch: expected arrays with one first axis, got shapes {[a.shape for a in batch]}")
    if n := min(n, len(batch[0])):
        return list(zip(*(np.array_split(array, n) for array in batch)))
    return []


def share_loss_and_gradients(learn: Learn, counted: Any,
                             work: tuple[Trainable, list[Batch], np.random.Generator | None]) -> Any:
    """What one worker adds to the batch's loss; its replica gets the gradients."""
    replica, pieces, rng = work
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):     # found afterwards, in loss and norm
        return sum(learn(replica, piece, counted, rng) for piece in pieces)


def share_loss(model: Trainable, counted: Any, share: Batch) -> float:
    """What one worker adds to the loss where no gradients are wanted."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return float(model.loss(*share, counted=counted))


def sum_replicas(gradients: Sequence[Array]) -> float:
    """Add the other replicas' gradients to the first one's, (n, C) each; returns the sum of the squares of the result.

    One tile of a parameter: it is still in the cache when it is squared.
    """
    total, *others = gradients
    with np.errstate(over="ignore", invalid="ignore"):
        for g in others:
            total += g
        return square_sum(total)
