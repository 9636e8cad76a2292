"""What the commands train and evaluate share."""

import os
import sys
from collections.abc import Callable, Sequence

from ..checkpoints.errors import CheckpointError
from ..text import terminal
from ..text.vocabulary import TokenizerError
from .errors import TrainingError

KNOWN_ERRORS = (TrainingError, CheckpointError, TokenizerError, OSError, MemoryError)


def run_command(name: str, command: Callable[[Sequence[str] | None], int], arguments: Sequence[str] | None) -> int:
    """command(arguments), or one sentence on standard error and exit status 1 instead of a traceback."""
    terminal.prepare_streams()
    try:
        return command(arguments)
    except (*KNOWN_ERRORS, KeyboardInterrupt) as error:
        print(f"{name}: {sentence(error)}", file=sys.stderr)
        return 130 if isinstance(error, KeyboardInterrupt) else 1


def sentence(error: BaseException) -> str:
    """What is said of one of the errors that are no mistake of this package."""
    return terminal.sentence(error, "try a smaller batch, context or model")


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
