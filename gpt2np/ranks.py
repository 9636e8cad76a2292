"""A command that mpiexec has started several times:  mpiexec -n 4 python -m gpt2np.train FILE... --out DIR

A process knows that it is one of several, a rank, by what mpiexec puts into its environment; mpi4py is imported only
then.  Rank 0 alone prints.  An error that comes on all ranks alike (training diverges, a wrong option) ends each of
them, and rank 0 says it.  An error on one rank alone ends the others by MPI's Abort.  A rank that is killed can say
nothing: mpiexec sees it, says so, and ends the rest.  What the ranks compute together is in training/mpi.py.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator

from .errors import foreseen, sentence
from .training.errors import TrainingError
from .training.mpi import World

# How many processes mpiexec has started, and which of them this is: MPICH and Intel MPI, Open MPI.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK")


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


@contextlib.contextmanager
def as_one(world: World) -> Iterator[World]:
    """A context in which all ranks are one command to whoever sees it: one prints, and all end where one does."""
    with contextlib.ExitStack() as silence:
        if world.rank > 0:
            nowhere = silence.enter_context(open(os.devnull, "w", encoding="utf-8"))
            silence.enter_context(contextlib.redirect_stdout(nowhere))
            silence.enter_context(contextlib.redirect_stderr(nowhere))
        try:
            yield world
        except BaseException as error:
            silence.close()
            if world.comm is None:
                raise
            if isinstance(error, (TrainingError, SystemExit)):          # on all ranks alike: the first one says it
                if world.rank > 0:
                    raise SystemExit(getattr(error, "code", 1)) from None
                raise
            if isinstance(error, KeyboardInterrupt) or foreseen(error):
                said = "interrupted" if isinstance(error, KeyboardInterrupt) else sentence(error)
                print(f"error: rank {world.rank}: {said}", file=sys.stderr, flush=True)
            else:
                traceback.print_exception(error)
            world.comm.Abort(1)                         # the others wait for this rank: they would for ever
            raise SystemExit(1) from None               # some MPI let it go on for a moment
