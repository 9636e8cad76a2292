"""Data parallel over processes, on one machine or several:  mpiexec -n 4 python -m gpt2np.train FILE... --out DIR

Each process, a rank, runs the same loop on a model of its own, with its share of every batch on its own threads.  The
gradients are summed over the ranks, so that all take the same step, and their models stay the same bit for bit.  Rank 0
alone writes; the others read its checkpoints, so DIR must be a folder that all of them see.  Whatever happens to one of
them, the last checkpoint is whole; who says it, and how all end, is in ranks.py.

Chapter: S001 9 Q4.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

import numpy as np

from ..errors import foreseen, sentence
from ..memory import cores
from ..models.protocols import Trainable
from .errors import TrainingError
from .parallel import Batch, DataParallel, Learn, plainly, share_loss

Comm: TypeAlias = Any               # a communicator of mpi4py, which need not be installed
Thing = TypeVar("Thing")            # whatever the ranks have to share


class World:
    """All the ranks of a run, seen from one of them.

    comm         a communicator of mpi4py, or None: then there is one rank, and no MPI
    rank, size   which of the ranks this is, counted from 0, and how many there are
    """

    def __init__(self, comm: Comm | None = None):
        self.comm = comm
        self.rank = 0 if comm is None else comm.rank
        self.size = 1 if comm is None else comm.size

    def gather(self, value: Thing) -> list[Thing]:
        """The values that the ranks call this with, in their order: every rank gets all."""
        return [value] if self.comm is None else self.comm.allgather(value)

    def together(self, function: Callable[..., Thing], *arguments: object) -> Thing:
        """function(*arguments) on rank 0, then on the others; what it returns here.  An error of one is all ranks'."""
        if self.comm is None:
            return function(*arguments)
        results = []
        for turn in (self.rank == 0, self.rank > 0):
            message = None
            if turn:
                try:
                    results.append(function(*arguments))
                except Exception as error:
                    if not foreseen(error):
                        raise
                    message = sentence(error)
            for rank, failed in enumerate(self.gather(message)):
                if failed is not None:
                    raise TrainingError(f"rank {rank}: {failed}" if rank else failed)
        return results[0]

    def cores(self) -> int:
        """How many processor cores there are for each rank of this machine."""
        if self.comm is None:
            return cores()
        from mpi4py.MPI import COMM_TYPE_SHARED
        here = self.comm.Split_type(COMM_TYPE_SHARED)   # the ranks of this machine
        return max(1, max(here.allgather(cores())) // here.size)

    def parallel(self, model: Trainable, threads: int) -> "DataParallel | MPIParallel":
        """DataParallel, over the ranks where there are several."""
        return DataParallel(model, threads) if self.comm is None else MPIParallel(self.comm, model, threads)


class MPIParallel:
    """DataParallel over the ranks of MPI: each takes its rows of a batch, and every rank gets the whole batch's result.

    comm            a communicator of mpi4py
    model, threads  this rank's, as for DataParallel

        gradient = sum over ranks of the gradient of the rank's rows, a part of the mean over the whole batch

    The same number of ranks and threads gives the same bits, with the same MPI on the same machines.
    """

    def __init__(self, comm: Comm, model: Trainable, threads: int):
        self.comm, self.local = comm, DataParallel(model, threads)
        self.replicas, self.run = self.local.replicas, self.local.run
        self.workers = comm.size * threads

    def __enter__(self) -> "MPIParallel":
        self.local.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.local.__exit__(*exception)

    def loss_and_gradients(self, batch: Batch, pieces: int = 1, seed: Sequence[int] | None = None,
                           learn: Learn = plainly) -> tuple[Any, float]:
        """As DataParallel's, for a batch that all ranks have; a rank may be without rows."""
        model = self.replicas[0]
        loss, _ = self.local.loss_and_gradients(self._share(batch), pieces,
                                                None if seed is None else [*seed, self.comm.rank],
                                                model.counted(*batch), learn)
        parameters = [p for _, p in model.named_parameters()]
        for p, *held in zip(parameters, *self.comm.allgather([p.grad is not None for p in parameters])):
            if any(held):                               # by a rank: one without rows has nothing to add
                g = np.zeros_like(p.value, order="C") if p.grad is None else np.ascontiguousarray(p.grad)
                p.grad = np.empty_like(g)
                self.comm.Allreduce(g, p.grad)          # the sum
        return sum(self.comm.allgather(loss)), self.norm()

    def norm(self) -> float:
        """As DataParallel's.  Processors of different kinds may round differently: all ranks take rank 0's."""
        return self.comm.bcast(self.local.norm())

    def loss(self, batch: Batch) -> float:
        """As DataParallel's."""
        model = self.replicas[0]
        return self.total(partial(share_loss, model, model.counted(*batch)), batch)

    def total(self, function: Callable[[Batch], Any], batch: Batch) -> Any:
        """As DataParallel's, over all ranks; every rank gets it."""
        return sum(self.comm.allgather(self.local.total(function, self._share(batch))))

    def _share(self, batch: Batch) -> Batch:
        """This rank's rows of a batch."""
        return tuple(np.array_split(array, self.comm.size)[self.comm.rank] for array in batch)


Parallel: TypeAlias = DataParallel | MPIParallel
