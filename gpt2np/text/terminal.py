"""What the commands that print text share: errors as one sentence, closed pipes, and any text on any terminal."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence

from .vocabulary import TokenizerError


def run_command(command: Callable[..., None], *arguments: object) -> int:
    """Run a command and return its exit status: 0; or with one sentence on standard error instead of a traceback, 1,
    and 130 after Ctrl-C, as in a shell.
    """
    prepare_streams()
    try:
        command(*arguments)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        # The reader has gone (`... | head`). Python would try to flush again at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError, MemoryError) as error:     # ValueError: whatever the package raises for bad input
        print(f"error: {sentence(error)}", file=sys.stderr)
    except KeyboardInterrupt as error:
        print(sentence(error), file=sys.stderr)
        return 130
    return 1


def prepare_streams() -> None:
    """See to it that standard output and error are there, and take any text."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:                      # closed by the shell: `... >&-`
            setattr(sys, name, open(os.devnull, "w"))
        getattr(sys, name).reconfigure(errors="backslashreplace")   # an ASCII terminal shows \u4e16 instead of failing


def sentence(error: BaseException, to_save_memory: str = "ask for less at once") -> str:
    """What is said of an error that is no mistake of this package."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, MemoryError):
        return f"not enough memory ({error}): {to_save_memory}"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)


def read_text(words: Sequence[str]) -> str:
    """The words as one text, or all of standard input if there are none; TokenizerError if it is no UTF-8."""
    # The bytes of the arguments, since Python decodes them by the locale, which need not be that of a text in UTF-8.
    return decode(os.fsencode(" ".join(words)) if words else sys.stdin.buffer.read())


def decode(data: bytes) -> str:
    """The text that these bytes are; TokenizerError if they are no UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"expected text in UTF-8, and the byte 0x{data[error.start]:02x} at {error.start} is none "
                             f"there") from None


def wants_colour() -> bool:
    """Whether standard output is a terminal that shows colour, and nobody asked for none (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width() -> int:
    """How many columns a line may have: those of the terminal, and as many as it likes where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize


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
