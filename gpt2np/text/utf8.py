"""Bytes to text, and the one sentence for bytes that are none."""

import os
from pathlib import Path

from .vocabulary import TokenizerError


def decode(data: bytes, source: str | Path) -> str:
    """The text that these bytes are; TokenizerError, with source and place, where they are not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(source, error, 0) from None


def not_utf8(source: str | Path, error: UnicodeDecodeError, start: int) -> TokenizerError:
    """What is said where a decoder fails on bytes, of a file or from elsewhere, that begin there at byte `start`."""
    byte, place = error.object[error.start], start + error.start
    return TokenizerError(f"{os.fspath(source)}: expected text in UTF-8, got the byte 0x{byte:02x} at byte {place:,}: "
                          "convert it to UTF-8")
