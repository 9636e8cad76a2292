"""The one exception of this package."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import Gpt2npError


class CheckpointError(Gpt2npError):
    """A file that is not the checkpoint it should be.

    file       the file or folder at fault
    problem    what is wrong with it, as a phrase
    tensor     the tensor at fault, if it is one tensor's fault
    expected   what should have been there, and
    found      what was

    Its text has no control characters but newlines: much of it comes out of a file, and it goes to a terminal.
    """

    def __init__(self, file: str | Path, problem: str, tensor: str | None = None, expected: object = None,
                 found: object = None):
        super().__init__(file, problem, tensor, expected, found)      # all of them in args: it can be pickled
        self.file, self.problem, self.tensor, self.expected, self.found = file, problem, tensor, expected, found

    def __str__(self) -> str:
        text = f"{self.file}: " + (f"tensor {self.tensor!r}: " if self.tensor is not None else "") + self.problem
        if self.expected is not None:
            text += f": expected {self.expected}"
        if self.found is not None:
            text += f"{': ' if self.expected is None else ', '}found {self.found}"
        return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


class Malformed(Exception):
    """What a parser of bytes found wrong, before its caller adds the file's name and raises CheckpointError."""

    def __init__(self, problem: str, expected: object = None, found: object = None):
        super().__init__(problem, expected, found)
        self.problem, self.expected, self.found = problem, expected, found
        self.tensor: str | None = None


def some(names: Sequence[str]) -> str:
    """The first few of a list of names that a file holds, fit for a message."""
    return ", ".join(map(shortened, names[:3])) + (", ..." if len(names) > 3 else "")


def shortened(value: object) -> str:
    """A value that a file holds, fit for a message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
