"""Texts in columns, as terminals show them, and tables of equal widths."""

import unicodedata
from itertools import accumulate


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes: a Chinese character two, an accent on the letter before it none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def padded(text: str, n: int) -> str:
    """The text with spaces behind it, n columns wide, or as wide as it is."""
    return text + " " * (n - columns_of(text))


def fitting(text: str, room: int) -> str:
    """As much of the beginning of a text as fits so many columns."""
    used = accumulate(map(columns_of, text))
    return text[:next((i for i, n in enumerate(used) if n > room), len(text))]


def fitted(text: str, n: int) -> str:
    """The text in just so many columns: cut, or with spaces behind it."""
    return padded(text if columns_of(text) <= n else fitting(text, n - 1) + "…", n)
