"""What the commands train and evaluate share."""

import os
import sys
from collections.abc import Callable, Sequence

from ..checkpoints.errors import CheckpointError
from ..text.vocabulary import TokenizerError
from .errors import TrainingError


def run_command(name: str, command: Callable[[Sequence[str] | None], int], arguments: Sequence[str] | None) -> int:
    """command(arguments), or one sentence on standard error and exit status 1 instead of a traceback."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")       # a terminal in ASCII shows \u4e16 instead of failing
    try:
        return command(arguments)
    except (TrainingError, CheckpointError, TokenizerError) as error:
        print(f"{name}: {error}", file=sys.stderr)
    except OSError as error:
        print(f"{name}: {error.filename}: {error.strerror}" if error.filename else f"{name}: {error}", file=sys.stderr)
    except MemoryError as error:
        print(f"{name}: not enough memory ({error}): try a smaller batch, context or model", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    return 1


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
