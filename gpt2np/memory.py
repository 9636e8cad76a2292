"""What there is of a machine: the memory that NumPy's arrays come from, and its processor cores."""

import ctypes
import os
import sys
from pathlib import Path

PROC = Path("/proc")                                        # where Linux tells of itself
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8     # the numbers of glibc's malloc.h


def keep_freed_memory() -> None:
    """Have glibc keep the memory of freed arrays, so that the next step's arrays need no new pages; nothing elsewhere.

    Otherwise every large array is given back to the system and taken anew, zeroed page by page: tens of thousands of
    page faults for a step of training, hundreds for a token.  All threads share one arena: those that glibc gives to
    each thread do not grow past 64 MB, and go back to the system whenever they are empty, whatever else is asked for.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_TRIM_THRESHOLD, -1)


def expect_room(n_bytes: float, what: str) -> None:
    """MemoryError where `what` needs more bytes than this machine has: otherwise it would give them one by one, and end
    the process without a word when they are spent.
    """
    if hasattr(os, "sysconf") and n_bytes > (there := os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")):
        raise MemoryError(f"{what} needs at least {n_bytes / 1e9:,.0f} GB, and this machine has {there / 1e9:,.0f}")


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_cores() -> int:
    """How many of these cores nobody else is busy on at the moment, 1 at least; all, where the system does not tell.

    Linux counts the threads that run, or wait for nothing but a core; those of this process are taken off.
    """
    try:
        running = int((PROC / "loadavg").read_text().split()[3].partition("/")[0])
        own = [path.read_text().rpartition(")")[2].split()[0] for path in PROC.glob("self/task/*/stat")]
    except (OSError, ValueError, IndexError):               # also a thread that ends in between
        return cores()
    return max(1, min(cores(), (os.cpu_count() or 1) - (running - own.count("R"))))
