"""Whole numbers and dates as Chinese writes them: 三百零五 is 305, 二〇二六年十一月二十六日 is 2026-11-26.

There is one spelling for each: 二 throughout, never 两; 十五 and not 一十五, but 一百一十五; 零 once where digits
are left out between others; in years each digit by itself, with 〇 for 0.
"""

import datetime

DIGITS, PLACES = "零一二三四五六七八九", ("", "十", "百", "千")
MOST = 10**8                    # numbers below it have two groups of four digits, with 万 between them


def number_in_chinese(n: int) -> str:
    """305 -> 三百零五.  ValueError for what is not a whole number from 0 to 99,999,999."""
    if not 0 <= n < MOST:
        raise ValueError(f"number: expected a whole number from 0 to {MOST - 1:,}, got {n}")
    if n == 0:
        return DIGITS[0]
    high, low = divmod(n, 10_000)
    text = _group(high) + "万" if high else ""
    if low:
        text += ("零" if high and low < 1000 else "") + _group(low)
    return text[1:] if text.startswith("一十") else text


def date_in_chinese(day: datetime.date) -> str:
    """2026-11-26 -> 二〇二六年十一月二十六日"""
    year = "".join("〇" if digit == "0" else DIGITS[int(digit)] for digit in f"{day.year:04d}")
    return f"{year}年{number_in_chinese(day.month)}月{number_in_chinese(day.day)}日"


def _group(n: int) -> str:
    """The four digits of 1 to 9,999: 零 where there are zeros between two others."""
    text, gap = "", False
    for place in (3, 2, 1, 0):
        digit = n // 10**place % 10
        if digit:
            text += ("零" if gap and text else "") + DIGITS[digit] + PLACES[place]
        gap = not digit
    return text
