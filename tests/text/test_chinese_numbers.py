"""Numbers and dates in Chinese: examples by hand, and a reader of its own that takes every spelling back."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2np.text.chinese_numbers import MOST, date_in_chinese, number_in_chinese

VALUES = {c: i for i, c in enumerate("零一二三四五六七八九")} | {"〇": 0}
UNITS = {"十": 10, "百": 100, "千": 1000}


def read_number(text):
    """The number: each digit times the unit behind it, 万 for all before it."""
    total = group = digit = 0
    for c in text:
        if c in VALUES:
            digit = VALUES[c]
        elif c in UNITS:
            group, digit = group + (digit or 1) * UNITS[c], 0
        else:
            assert c == "万"
            total, group, digit = (group + digit) * 10_000, 0, 0
    return total + group + digit


@pytest.mark.parametrize("n, text", [
    (0, "零"), (5, "五"), (10, "十"), (15, "十五"), (20, "二十"), (22, "二十二"), (100, "一百"), (101, "一百零一"),
    (110, "一百一十"), (115, "一百一十五"), (305, "三百零五"), (1000, "一千"), (1001, "一千零一"), (1010, "一千零一十"),
    (2002, "二千零二"), (10_000, "一万"), (10_005, "一万零五"), (10_050, "一万零五十"), (10_500, "一万零五百"),
    (15_000, "一万五千"), (100_000, "十万"), (100_015, "十万零一十五"), (120_000, "十二万"), (2_003_000, "二百万三千"),
    (20_202_020, "二千零二十万二千零二十"), (99_999_999, "九千九百九十九万九千九百九十九")])
def test_by_hand(n, text):
    assert number_in_chinese(n) == text and read_number(text) == n


@given(st.integers(0, MOST - 1))
def test_every_number_is_read_back_and_has_no_zero_too_many(n):
    text = number_in_chinese(n)
    assert read_number(text) == n
    assert "零零" not in text and "两" not in text and not text.startswith("一十")
    assert n == 0 or not text.endswith("零")
    assert "零万" not in text and "零十" not in text


@given(st.dates(datetime.date(1000, 1, 1), datetime.date(2999, 12, 31)))
def test_every_date_is_read_back(day):
    year, rest = date_in_chinese(day).split("年")
    month, rest = rest.split("月")
    assert rest.endswith("日")
    assert int("".join(str(VALUES[c]) for c in year)) == day.year and len(year) == 4
    assert (read_number(month), read_number(rest[:-1])) == (day.month, day.day)


def test_the_day_of_the_issue():
    assert date_in_chinese(datetime.date(2026, 11, 26)) == "二〇二六年十一月二十六日"


@pytest.mark.parametrize("n", [-1, MOST])
def test_other_numbers_are_refused(n):
    with pytest.raises(ValueError, match="number: expected a whole number from 0 to 99,999,999, got"):
        number_in_chinese(n)
