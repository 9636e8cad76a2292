"""Small files and their JSON: what two readers could understand in two ways is refused."""

import json
import math

import pytest

from gpt2np.bytes_in import KeyTwice, TooLarge, parse_json, read_small


def test_a_file_is_read_whole_or_not_at_all(tmp_path):
    (tmp_path / "x").write_bytes(b"12345")
    assert read_small(tmp_path / "x", 5) == b"12345"
    with pytest.raises(TooLarge, match="expected at most 4 bytes"):
        read_small(tmp_path / "x", 4)
    with pytest.raises(FileNotFoundError):
        read_small(tmp_path / "absent", 4)


@pytest.mark.parametrize("text, value", [
    ('{"a": [1, -2.5, "é", null, true, {}]}', {"a": [1, -2.5, "é", None, True, {}]}), (" 3 ", 3),
    (r'"\ud83d\uDE00 \\ud83d"', "😀 \\ud83d"),
    ('{"a": {"b": 1}, "b": {"b": 2}}', {"a": {"b": 1}, "b": {"b": 2}})])
def test_json_is_read(text, value):
    assert parse_json(text) == value


@pytest.mark.parametrize("text, error, problem", [
    ("{", json.JSONDecodeError, "line 1 column 2"), ("{} {}", json.JSONDecodeError, "Extra data"),
    ('{"a": {"b": 1, "b": 1}}', KeyTwice, "the key 'b' comes twice"), ('{"a": NaN}', ValueError, "NaN is not JSON"),
    ("[-Infinity]", ValueError, "-Infinity is not JSON"), ("[" * 100_000, ValueError, "nested too deep"),
    ("9" * 10_000, ValueError, "digits"), (r'["\ud83d"]', ValueError, r"^\\ud83d is half of a surrogate pair$"),
    (r'{"\uDE00\ud83d": 1}', ValueError, r"^\\ude00 is half")])
def test_what_is_not_json_is_refused(text, error, problem):
    with pytest.raises(error, match=problem):
        parse_json(text)


@pytest.mark.parametrize("text", ["-0", "-0.0", "-0e0"])
def test_minus_zero_is_no_whole_number(text):
    assert math.copysign(1, parse_json(text)) == -1


def test_both_values_of_a_key_are_told():
    with pytest.raises(KeyTwice) as caught:
        parse_json('{"a": 1, "a": 2}')
    assert caught.value.values == (1, 2)
