"""Pairs to translate that need no file: numbers and dates in Chinese characters and in digits, either way.

    三百零五 -> 305        305 -> 三百零五        二〇二六年十一月二十六日 -> 2026-11-26        2026-11-26 -> ...

Which way is asked for, the source itself says.  What is right can be worked out, so every translation can be judged.
"""

import datetime
import zlib
from collections.abc import Iterator
from itertools import islice

import numpy as np

from ..hints import Rng
from ..text.chinese_numbers import date_in_chinese, number_in_chinese

DIGITS = 8                      # the longest number
FIRST, LAST = datetime.date(1000, 1, 1).toordinal(), datetime.date(2999, 12, 31).toordinal()
ONE_OF = 20                     # of so many values, one is held out: never seen in training, in either direction


def number_pairs(n: int, seed: int, held_out: bool = False) -> list[tuple[str, str]]:
    """n pairs (source, target), half of them numbers and half dates, each way alike.

    held_out  True: of the values that are kept for measuring; False: of all others
    """
    drawn = _drawn(np.random.default_rng([seed, int(held_out)]))
    return list(islice((pair for pair in drawn if is_held_out(pair) is held_out), n))


def is_held_out(pair: tuple[str, str]) -> bool:
    """Whether the value of a pair is kept for measuring: it depends on the value alone."""
    return zlib.crc32(min(pair).encode()) % ONE_OF == 0         # of the two, digits come first


def _drawn(rng: Rng) -> Iterator[tuple[str, str]]:
    """Pairs without end: numbers of 1 to 8 digits, each length as likely as any other, and days."""
    while True:
        if rng.random() < 0.5:
            digits = int(rng.integers(1, DIGITS + 1))
            number = int(rng.integers(10 ** (digits - 1) if digits > 1 else 0, 10 ** digits))
            pair = number_in_chinese(number), str(number)
        else:
            day = datetime.date.fromordinal(int(rng.integers(FIRST, LAST + 1)))
            pair = date_in_chinese(day), day.isoformat()
        yield pair if rng.random() < 0.5 else pair[::-1]
