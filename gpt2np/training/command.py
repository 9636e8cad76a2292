"""What the commands train and evaluate share."""

import os
import sys
from collections.abc import Callable, Sequence

from ..checkpoints.errors import CheckpointError
from ..text.vocabulary import TokenizerError
from .errors import TrainingError

KNOWN_ERRORS = (TrainingError, CheckpointError, TokenizerError, OSError, MemoryError)


def run_command(name: str, command: Callable[[Sequence[str] | None], int], arguments: Sequence[str] | None) -> int:
    """command(arguments), or one sentence on standard error and exit status 1 instead of a traceback."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")       # a terminal in ASCII shows \u4e16 instead of failing
    try:
        return command(arguments)
    except (*KNOWN_ERRORS, KeyboardInterrupt) as error:
        print(f"{name}: {sentence(error)}", file=sys.stderr)
        return 130 if isinstance(error, KeyboardInterrupt) else 1


def sentence(error: BaseException) -> str:
    """What is said of one of the errors that are no mistake of this package."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, MemoryError):
        return f"not enough memory ({error}): try a smaller batch, context or model"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
