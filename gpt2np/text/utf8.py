"""Bytes in UTF-8 to text, and the one sentence for bytes that are not, or for what is no text that UTF-8 can hold."""

import codecs
import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from .vocabulary import TokenizerError

BLOCK = 2**20       # bytes read at a time


def decode_utf8(data: bytes, source: str | Path) -> str:
    """The text that these bytes are; TokenizerError, with source and place, where they are not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(source, error, 0) from None


def read_utf8(path: str | Path) -> Iterator[str]:
    """The text of a file, in parts of about BLOCK bytes, without the byte order mark that some editors put before it.

    TokenizerError, with file and place, where it is not UTF-8; OSError where it cannot be read.
    """
    decoder, read, mark = codecs.getincrementaldecoder("utf-8")(), 0, "\ufeff"
    with open(path, "rb") as file:
        while True:
            data = file.read(BLOCK)
            read += len(data)
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                start = read - len(error.object)        # the object ends where we are
                raise _not_utf8(path, error, start, advice(path, data if start == 0 else b"")) from None
            if text:
                yield text.removeprefix(mark)
                mark = ""                               # further on it is a character like any other
            if not data:
                return


def expect_readable(paths: Iterable[str | Path]) -> None:
    """OSError for a file that cannot be opened: it is said now, not after minutes of work."""
    for path in paths:
        if not Path(path).is_fifo():                    # whoever writes into a pipe ends when it is closed
            open(path, "rb").close()


def lines_in(path: str | Path) -> list[str]:
    """The lines of a file, without their ends, \\n or \\r\\n: what else may end a line in Unicode is a part of it."""
    return [line.rstrip("\r") for line in "".join(read_utf8(path)).split("\n")]


def expect_text(text: object) -> None:
    """TokenizerError for anything but a str."""
    if not isinstance(text, str):
        hint = "; decode it first, as in data.decode('utf-8')" if isinstance(text, (bytes, bytearray)) else ""
        raise TokenizerError(f"expected text, a str, got {type(text).__name__}{hint}")


def lone_surrogate(text: str) -> TokenizerError:
    """The error for a text that UTF-8 cannot hold."""
    at = next(i for i, character in enumerate(text) if "\ud800" <= character <= "\udfff")
    return TokenizerError(f"the text holds a lone surrogate, U+{ord(text[at]):04X} at character {at}, which UTF-8 "
                          f"cannot hold; text.encode('utf-8', 'replace').decode() puts '?' in its place")


def advice(path: str | Path, begins: bytes) -> str:
    """How to convert a file: from UTF-16 where its first bytes are that encoding's mark, and else from what most
    Chinese files are in that are not in UTF-8.
    """
    name = "UTF-16" if begins.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "GBK"
    return f"; from {name}: iconv -f {name.lower()} -t utf-8 {shlex.quote(os.fspath(path))}"


def _not_utf8(source: str | Path, error: UnicodeDecodeError, start: int, advice: str = "") -> TokenizerError:
    """What is said where a decoder fails on bytes, of a file or from elsewhere, that begin there at byte `start`."""
    byte, place = error.object[error.start], start + error.start
    return TokenizerError(f"{os.fspath(source)}: expected text in UTF-8, got the byte 0x{byte:02x} at byte {place:,}: "
                          f"convert it to UTF-8{advice}")
