"""The BLAS that multiplies NumPy's matrices: how many threads it should use, and whether it knows the processor."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

from threadpoolctl import ThreadpoolController

from . import memory

# Where somebody has set one of these, he has chosen.
NUMBERS = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
           "VECLIB_MAXIMUM_THREADS")
EVERY = 0.1                                     # seconds, after which it is looked again who is busy
LIMITING = Lock()                               # the number of threads is one for the whole process

TYPE = "OPENBLAS_CORETYPE"                      # chooses OpenBLAS's kernels; read once, when NumPy is imported
NARROW, WIDE = ("Haswell", "Zen"), "SkylakeX"   # kernels of 256 bits, and those of 512
NEEDED = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}        # by the latter
ZEN_4 = ("AuthenticAMD", "25")                  # has them, but computes them in halves: neither kernel is faster there


@cache
def libraries() -> ThreadpoolController:
    """The BLAS libraries of this process."""
    return ThreadpoolController().select(user_api="blas")


class FreeThreads:
    """As many of BLAS's threads as there are cores that nobody else is busy on.

        threads = FreeThreads()
        with threads.limited():
            ...                                 a token: some fifty products, each of which waits for all its threads

    A thread whose core is taken waits for a time slice, and the product with it: on two cores, one of them busy, GPT-2
    124M needs 86 ms for a token with two threads, 298 at worst, and 35 with one.
    """

    def __init__(self) -> None:
        self.free, self.until = 0, 0.0

    @contextmanager
    def limited(self) -> Iterator[None]:
        """A context with so many threads, of those that there are; with all, where somebody has set their number."""
        most = max((library.num_threads for library in libraries().lib_controllers), default=1)
        if most > 1 and not any(os.environ.get(name) for name in NUMBERS) and LIMITING.acquire(blocking=False):
            try:
                if time.monotonic() >= self.until:
                    self.free, self.until = memory.free_cores(), time.monotonic() + EVERY
                if self.free < most:
                    with libraries().limit(limits=self.free):
                        yield
                    return
            finally:
                LIMITING.release()
        yield


def say_what_to_set() -> None:
    """Say on standard error, in a line, how matrices are multiplied faster here, where they can be; else nothing."""
    if to_set := what_to_set():
        print(f"note: NumPy's BLAS takes this processor for one without AVX-512: {to_set} in the environment makes "
              f"products up to twice as fast, training and long prompts up to 1.5 times ({TYPE}=Haswell ends it)",
              file=sys.stderr)


def what_to_set() -> str:
    """The variable with its value; "" where nothing is gained, where somebody has chosen, or where none can tell."""
    if os.environ.get(TYPE):
        return ""
    try:
        lines = (memory.PROC / "cpuinfo").read_text().splitlines()
    except OSError:                             # no Linux
        return ""
    about = dict(reversed([[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]))
    if not NEEDED.issubset(about.get("flags", "").split()) or \
            (about.get("vendor_id"), about.get("cpu family")) == ZEN_4:
        return ""
    known_as = [library.get("architecture") for library in libraries().info()
                if library["internal_api"] == "openblas"]
    return f"{TYPE}={WIDE}" if any(name in NARROW for name in known_as) else ""
