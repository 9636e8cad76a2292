"""Text in and out of the commands: what is typed or piped, and what fits a terminal."""

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence

from .text.utf8 import decode_utf8


def read_text(words: Sequence[str], source: str) -> str:
    """The words as one text, or all of standard input if there are none; TokenizerError if it is not UTF-8.

    source   what the words are, for that message
    """
    # The bytes of the arguments, since Python decodes them by the locale, which need not be that of a text in UTF-8.
    if words:
        return decode_utf8(os.fsencode(" ".join(words)), source)
    return decode_utf8(sys.stdin.buffer.read(), "standard input")


def wants_colour() -> bool:
    """Whether standard output is a terminal that shows colour, and nobody asked for none (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width() -> int:
    """How many columns a line may have: those of the terminal, and as many as it likes where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize


def wrapped(line: str, indent: str = "    ") -> str:
    """A line as several that fit the terminal, cut at spaces alone: what can be copied, as a path, stays whole."""
    return textwrap.fill(line, width(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def printable(token: bytes) -> str:
    """The token as a reader can see it: ␣ for a space, \\n for a new line, <e4> for a byte that is no whole, printable
    character.
    """
    shown = []
    for character in token.decode("utf-8", errors="surrogateescape"):
        if character in " \n":
            shown.append("␣" if character == " " else "\\n")
        elif character.isprintable():
            shown.append(character)
        else:
            shown += [f"<{byte:02x}>" for byte in character.encode("utf-8", errors="surrogateescape")]
    return "".join(shown)
