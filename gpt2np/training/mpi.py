"""Data parallel over processes, on one machine or several:  mpiexec -n 4 python -m gpt2np.train FILE... --out DIR

Each process, a rank, runs the same loop on a model of its own, with its share of every batch on its own threads.  The
gradients are summed over the ranks, so that all take the same step, and their models stay the same bit for bit.  Rank 0
alone writes and prints; the others read its checkpoints, so DIR must be a folder that all of them see.

A process knows that it is one of several by what mpiexec puts into its environment; mpi4py is imported only then.
An error that comes on all ranks alike (training diverges, a wrong option) ends each of them, and rank 0 says it.  An
error on one rank alone ends the others by MPI's Abort.  A rank that is killed can say nothing: mpiexec sees it, says
so, and ends the rest.  In either case the last checkpoint is whole.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np

from ..command import cores, foreseen, sentence
from ..models.protocols import Trainable
from .clipping import gradient_norm
from .errors import TrainingError
from .parallel import Batch, DataParallel

# How many processes mpiexec has started, and which of them this is: MPICH and Intel MPI, Open MPI.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK")

Comm: TypeAlias = Any               # a communicator of mpi4py, which need not be installed
Thing = TypeVar("Thing")            # whatever the ranks have to share


class World:
    """All the ranks of a run, seen from one of them; for use in a with statement.

    comm         a communicator of mpi4py, or None: then there is one rank, and no MPI
    rank, size   which of the ranks this is, counted from 0, and how many there are
    """

    def __init__(self, comm: Comm | None = None):
        self.comm = comm
        self.rank = 0 if comm is None else comm.rank
        self.size = 1 if comm is None else comm.size
        self.silence = contextlib.ExitStack()

    def __enter__(self) -> "World":
        if self.rank > 0:
            nowhere = self.silence.enter_context(open(os.devnull, "w", encoding="utf-8"))
            self.silence.enter_context(contextlib.redirect_stdout(nowhere))
            self.silence.enter_context(contextlib.redirect_stderr(nowhere))
        return self

    def __exit__(self, kind: object, error: BaseException | None, place: object) -> None:
        self.silence.close()
        if error is None or self.comm is None:
            return
        if isinstance(error, (TrainingError, SystemExit)):              # on all ranks alike: the first one says it
            if self.rank > 0:
                raise SystemExit(getattr(error, "code", 1)) from None
        else:                                           # the others wait for this rank: they would for ever
            if isinstance(error, KeyboardInterrupt) or foreseen(error):
                said = "interrupted" if isinstance(error, KeyboardInterrupt) else sentence(error)
                print(f"error: rank {self.rank}: {said}", file=sys.stderr, flush=True)
            else:
                traceback.print_exception(error)
            self.comm.Abort(1)
            raise SystemExit(1) from None               # some MPI let it go on for a moment

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


def join_world() -> World:
    """The World that this process was started in: of many ranks by mpiexec, and otherwise of one.

    TrainingError where mpiexec is there and mpi4py is not, or is that of another MPI.
    """
    size = max(int(os.environ.get(name, 1)) for name in SIZES)
    if size == 1:
        return World()
    try:
        from mpi4py import MPI
        if MPI.COMM_WORLD.size == size:
            return World(MPI.COMM_WORLD)
        message = (f"mpi4py sees {MPI.COMM_WORLD.size}: it works with another MPI than that of this mpiexec; use the "
                   "mpiexec that belongs to it")
    except (ImportError, RuntimeError) as error:        # RuntimeError: it finds no MPI library
        message = f"mpi4py, by which they talk to each other, cannot be imported ({error}): pip install 'gpt2np[mpi]'"
    if max(int(os.environ.get(name, 0)) for name in RANKS) > 0:
        raise SystemExit(1)                             # rank 0 says it
    raise TrainingError(f"mpiexec has started {size} processes, but {message}")


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

    def loss_and_gradients(self, batch: Batch, pieces: int = 1,
                           seed: Sequence[int] | None = None) -> tuple[float, float]:
        """As DataParallel's, for a batch that all ranks have, of a row for each rank at least."""
        model = self.replicas[0]
        loss, _ = self.local.loss_and_gradients(self._share(batch), pieces,
                                                None if seed is None else [*seed, self.comm.rank],
                                                model.counted(*batch))
        for _, p in model.named_parameters():
            if p.grad is not None:
                g = np.ascontiguousarray(p.grad)        # in the order of all ranks
                p.grad = np.empty_like(g)
                self.comm.Allreduce(g, p.grad)          # the sum
        with self.local.blas_threads(self.local.threads):
            norm = gradient_norm(model, self.run)
        # Processors of different kinds may round norms differently: all take rank 0's.
        return sum(self.comm.allgather(loss)), self.comm.bcast(norm)

    def loss(self, batch: Batch) -> float:
        """As DataParallel's; ranks may be without rows."""
        share = self._share(batch)
        counted = self.replicas[0].counted(*batch)
        return sum(self.comm.allgather(self.local.loss(share, counted) if len(share[0]) else 0.0))

    def _share(self, batch: Batch) -> Batch:
        """This rank's rows of a batch."""
        return tuple(np.array_split(array, self.comm.size)[self.comm.rank] for array in batch)
