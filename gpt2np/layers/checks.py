"""What the doors of the package check: shapes that broadcasting would hide, and ids that indexing would wrap."""

import math

import numpy as np

from ..hints import Array


def check_shape(name: str, x: Array, expected: tuple[int, ...]) -> None:
    """Raise ValueError unless x has exactly the expected shape: broadcasting must not hide a mistake."""
    if x.shape != expected:
        raise ValueError(f"{name}: expected shape {expected}, got {x.shape}")


def check_padding_mask(padding_mask: Array, expected: tuple[int, ...]) -> None:
    """Raise ValueError unless a padding mask is an array of bool, and has exactly the expected shape."""
    kind = str(getattr(padding_mask, "dtype", type(padding_mask).__name__))
    if kind != "bool":
        raise ValueError(f"padding_mask: expected an array of bool, True for a real token, got {kind}")
    check_shape("padding_mask", padding_mask, expected)


def check_heads(n_embd: int, n_head: int) -> None:
    """Raise ValueError unless the heads divide the width."""
    if n_head < 1 or n_embd % n_head:
        raise ValueError(f"n_embd: expected a multiple of n_head {n_head}, got {n_embd}")


def check_ids(name: str, ids: Array, n: int, ignored: int | None = None) -> None:
    """Raise ValueError unless ids are integers from 0 to n - 1, or `ignored`: indexing would wrap -1 silently.

    Values are looked at on the host only: on a GPU it would wait for all work queued there.  The models check their
    tokens before they move them.
    """
    if ids.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected integers, got {ids.dtype}")
    if isinstance(ids, np.ndarray):
        wrong = (ids < 0) | (ids >= n)
        if ignored is not None:
            wrong &= ids != ignored
        if wrong.any():
            where = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(f"{name}: expected ids from 0 to {n - 1}, got {ids[where]} at index {where}")


def check_numbers(name: str, numbers: Array, lowest: float, highest: float, ignored: int | None = None) -> None:
    """Raise ValueError unless all are finite numbers from lowest to highest, or `ignored`; looked at on the host only.
    """
    if numbers.dtype.kind not in "fciub":
        raise ValueError(f"{name}: expected numbers, got {numbers.dtype}")
    if isinstance(numbers, np.ndarray):
        wrong = ~np.isfinite(numbers) | (numbers < lowest) | (numbers > highest)
        if ignored is not None:
            wrong &= numbers != ignored
        if wrong.any():
            where = tuple(int(i) for i in np.argwhere(wrong)[0])
            of = "finite numbers" if math.isinf(highest) else f"numbers from {lowest} to {highest}"
            raise ValueError(f"{name}: expected {of}, got {numbers[where]} at index {where}")
