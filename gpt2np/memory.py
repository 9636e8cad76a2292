"""What the commands ask of the memory that NumPy's arrays come from."""

import ctypes
import sys

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
