"""Text in and out of the commands: what is typed or piped, and what fits a terminal."""

import argparse
import contextlib
import io
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from .errors import Gpt2npError, sentence
from .text.columns import columns_of, fitting, padded
from .text.utf8 import decode_utf8

MARK = "\ufeff"                 # the byte order mark


def read_text(words: Sequence[str], source: str) -> str:
    """The words as one text, or all of standard input if there are none; TokenizerError if it is not UTF-8.

    source   what the words are, for that message

    A pipe on Windows begins with a byte order mark, and its lines end in a carriage return, too: they are no text.
    """
    # The bytes of the arguments, since Python decodes them by the locale, which need not be that of a text in UTF-8.
    if words:
        return decode_utf8(os.fsencode(" ".join(words)), source)
    return decode_utf8(sys.stdin.buffer.read(), "standard input").removeprefix(MARK).replace("\r\n", "\n")


def typed_text(argument: str) -> str:
    """The type of an option that is a text."""
    try:
        return read_text([argument], "text")
    except Gpt2npError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def read_line(mark: str) -> bytes:
    """The next line of standard input, b"" at the end of it.

    mark   what asks for it

    On a terminal it can be edited, and the lines before it come back with the arrow keys.
    """
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()):
        print(mark, end="", file=sys.stderr, flush=True)
        return sys.stdin.buffer.readline() if sys.stdin else b""
    with contextlib.suppress(ImportError):              # Windows has its own way
        import readline  # noqa: F401                   input() takes it up by itself
    sys.stdin.reconfigure(errors="surrogateescape")     # type: ignore[union-attr]
    try:
        return f"{input(mark)}\n".encode(sys.stdin.encoding, "surrogateescape")
    except EOFError:
        return b""


def texts_given(texts: Sequence[str], done: str, together: int) -> Iterator[list[str]]:
    """What a command is to do something with, in lists of texts that go together: those of the command line; or the
    lines of a pipe, as many as are there by now; or lines that are typed.

    done      what becomes of a line: "translated"
    together  how many texts a list has at most
    """
    if texts:
        yield [read_text([text], f"text {i}") for i, text in enumerate(texts, 1)]
    elif sys.stdin is not None and sys.stdin.isatty():
        end = "Ctrl-Z and Enter" if os.name == "nt" else "Ctrl-D"
        print(f"Each line is {done}; {end} ends.", file=sys.stderr)
        while line := read_line("> "):
            try:
                yield [line_of(line, "the line")]
            except Gpt2npError as error:                # of this line: the next one may do
                print(f"error: {sentence(error)}", file=sys.stderr)
        print(file=sys.stderr)
    else:
        yield from piped_lines(together)


def piped_lines(together: int) -> Iterator[list[str]]:
    """The lines of a pipe: as soon as some are there, and not more than go together."""
    number, rest = 0, b""
    while sys.stdin is not None:
        data = sys.stdin.buffer.read1(1 << 16)          # type: ignore[union-attr]      # waits for one byte alone
        *lines, rest = (rest + data).split(b"\n")
        if not data and rest:
            lines, rest = [rest], b""                   # the last line need not end in one
        for start in range(0, len(lines), together):
            some = lines[start:start + together]
            yield [line_of(line, f"standard input, line {number + i}") for i, line in enumerate(some, 1)]
            number += len(some)
        if not data:
            return


def line_of(line: bytes, source: str) -> str:
    """A line as text; TokenizerError, with its source, for one that is not UTF-8."""
    return decode_utf8(line, source).removeprefix(MARK).rstrip("\r\n")


def write_utf8() -> None:
    """From here on standard output is in UTF-8, whatever the locale says: another program reads it."""
    if isinstance(sys.stdout, io.TextIOWrapper):        # a notebook has another kind
        sys.stdout.reconfigure(encoding="utf-8")


def wants_colour() -> bool:
    """Whether standard output is a terminal that shows colour, and nobody asked for none (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_width() -> int:
    """How many columns the terminal has; 80 where it does not say, as one that another program plays."""
    return shutil.get_terminal_size().columns or 80     # Python 3.10 gives its 0


def width() -> int:
    """How many columns a line may have: those of the terminal, and as many as it likes where there is none."""
    return terminal_width() if sys.stdout.isatty() else sys.maxsize


def table(heading: str, rows: Sequence[tuple[str, str]]) -> str:
    """A line for each label and its numbers, which are as wide as their heading; where a line has no room for both, the
    label stands above.
    """
    side = max(columns_of(label) for label, _ in rows)
    if side + len(heading) > width():
        return "\n".join([heading.rstrip(), *(f"{wrapped(label)}\n{numbers}" for label, numbers in rows)])
    return "\n".join([(" " * side + heading).rstrip(), *(padded(label, side) + numbers for label, numbers in rows)])


def show_progress(bar: Any, done: int, of: int) -> None:
    """Tell a bar of tqdm how far it is."""
    bar.total = of
    bar.update(done - bar.n)


def wrapped(line: str, indent: str = "    ") -> str:
    """A line as several that fit the terminal, cut at spaces alone: what can be copied, as a path, stays whole."""
    if (room := width()) == sys.maxsize:
        return line
    rows = [""]
    for blank, word in re.findall(r"(\s*)(\S+)", line):
        if rows[-1].strip() and columns_of(rows[-1] + blank + word) > room:
            rows.append(indent + word)
        else:
            rows[-1] += blank + word
    return "\n".join(rows)


def folded(line: str, room: int, indent: str = "") -> str:
    """A line of any text as several of at most so many columns, each behind an indent: cut at spaces, or, where none
    comes in time, as in Chinese, anywhere.
    """
    rows, room = [indent], max(room, columns_of(indent) + 2)        # a wide character needs two
    for blank, word in re.findall(r"(\s*)(\S+)", line):
        if rows[-1].strip() and columns_of(rows[-1] + blank + word) > room and columns_of(indent + word) <= room:
            rows.append(indent)
        else:
            rows[-1] += fitting(blank, room - columns_of(rows[-1]))
        while word:
            start = fitting(word, room - columns_of(rows[-1]))
            rows[-1] += start
            word = word[len(start):]
            if word:
                rows.append(indent)
    return "\n".join(rows)


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
