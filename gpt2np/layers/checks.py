"""What the doors of the package check: shapes that broadcasting would hide, and ids that indexing would wrap."""

import numpy as np

from ..hints import Array


def check_shape(name: str, x: Array, expected: tuple[int, ...]) -> None:
    """Raise ValueError unless x has exactly the expected shape: broadcasting must not hide a mistake."""
    if x.shape != expected:
        raise ValueError(f"{name}: expected shape {expected}, got {x.shape}")


def check_ids(name: str, ids: Array, n: int, ignored: int | None = None) -> None:
    """Raise ValueError unless ids are integers from 0 to n - 1, or `ignored`: indexing would wrap -1 silently.

    Values are looked at on the host only: on a GPU it would wait for all work queued there.  The models check their
    tokens before they move them.
    """
    if ids.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected integers, got {ids.dtype}")
    if type(ids) is np.ndarray:
        wrong = (ids < 0) | (ids >= n)
        if ignored is not None:
            wrong &= ids != ignored
        if wrong.any():
            where = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(f"{name}: expected ids from 0 to {n - 1}, got {ids[where]} at index {where}")
