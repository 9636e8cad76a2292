"""Ctrl-C, from the first moment of a command to its last: a sentence and status 130, and never a traceback.

Before the imports of a command are done nobody could catch it, so it ends the process (see starting.py); while the
command runs, it raises KeyboardInterrupt as in any program (see run_command), or does what the command needs (see
follow.py).  Whoever imports the package, and does not run a command of it, keeps his own handlers.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn, Self


def module_that_runs() -> str:
    """What stands behind python -m, while Python is on its way there; "" where nothing does."""
    arguments = sys.orig_argv
    return arguments[arguments.index("-m") + 1] if "-m" in arguments[:-1] else ""


def end_at_once_if_this_runs() -> None:
    """From here on Ctrl-C ends the process, if it is a command of this package that begins: nothing has begun yet."""
    if module_that_runs().partition(".")[0] == __package__:
        signal.signal(signal.SIGINT, _end)


def raise_again() -> None:
    """From here on Ctrl-C raises KeyboardInterrupt again, if it has ended the process so far; nothing otherwise."""
    import threading  # only now: not before Ctrl-C can be answered

    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Signals:
    """In its context, Ctrl-C and SIGTERM call `came`, and do nothing else."""

    def __enter__(self) -> Self:
        self.before = {number: signal.signal(number, lambda number, frame: self.came(number))
                       for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def came(self, number: int) -> None:
        """What is done at once, in the midst of whatever goes on; number: of the signal."""
        raise NotImplementedError


def leave(status: int) -> NoReturn:
    """End the process, also where threads still work at what nobody waits for any more: sys.exit would wait."""
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    others = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    if not others:
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    os.write(2, b"\n" * os.isatty(2) + b"interrupted\n")       # below the ^C that a terminal shows
    os._exit(130)
