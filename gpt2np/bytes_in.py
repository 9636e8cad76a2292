"""Bytes that come from elsewhere: small files, and the JSON in them, with everything refused that two readers could
understand in two ways.

Whoever reads says in an error of its own which file it was, and what to do.
"""

import json
import os
import re
from typing import NoReturn

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")         # an escape of one half; most texts have none, and need no more


class TooLarge(ValueError):
    """A file larger than what it should be has any reason to be."""


class KeyTwice(ValueError):
    """A JSON object with a key twice: a reader that keeps the first and one that keeps the last would disagree.

    values   what comes under it, the first and the second time
    """

    def __init__(self, key: str, *values: object):
        super().__init__(f"the key {key!r} comes twice")
        self.values = values


def read_small(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """The bytes of a file; OSError where it cannot be read, TooLarge, and not more memory, where it has more."""
    with open(path, "rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise TooLarge(f"expected at most {max_bytes:,} bytes")
    return data


def parse_json(text: str) -> object:
    """The value that a JSON text is.

    -0 is the floating number: to most readers of JSON it is no whole one.

    Raises json.JSONDecodeError for what is no JSON, KeyTwice, and ValueError for NaN and Infinity, which JSON does not
    have, for half a surrogate pair, which no text does, for a number of thousands of digits, and for what is nested too
    deep to be read.
    """
    try:
        value = json.loads(text, object_pairs_hook=without_duplicates, parse_constant=_refuse,
                           parse_int=_whole if "-0" in text else None)
        if SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError("nested too deep") from None
    except UnicodeEncodeError as error:
        raise ValueError(f"\\u{ord(error.object[error.start]):04x} is half of a surrogate pair") from None
    return value


def without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object as a dict, where json itself would keep the last of two equal keys and say nothing."""
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise KeyTwice(key, found[key], value)
        found[key] = value
    return found


def _whole(digits: str) -> int | float:
    return -0.0 if digits == "-0" else int(digits)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
