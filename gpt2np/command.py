"""What the commands share: how one ends, with one sentence instead of a traceback, and the types of options.

Exit status 0; 2 for wrong usage; 1 for what else goes wrong, and where the reader goes away (`| head`); 130 for Ctrl-C.
"""

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from .errors import foreseen, sentence
from .interrupts import raise_again

MAX_THREADS = 1024             # beyond, a slip of the hand: replicas of the model would fill the memory


# ---- the end of a command

def run_command(command: Callable[[Sequence[str] | None], int | None], arguments: Sequence[str] | None,
                interrupted: str = "interrupted") -> int:
    """command(arguments), which returns its exit status, or None for 0; what it raises becomes a sentence and a status.

    interrupted   what is said after Ctrl-C

    Wrong usage ends in SystemExit with status 2: see Parser. What is not foreseen keeps its traceback.
    """
    prepare_streams()
    status = 1
    try:
        raise_again()
        try:
            return command(arguments) or 0
        finally:
            sys.stdout.flush()                          # while an error is still caught
    except BrokenPipeError:
        pass                                            # the reader has gone: nobody is there to be told
    except KeyboardInterrupt:
        status = 130
        print("\n" * sys.stderr.isatty() + interrupted, file=sys.stderr)      # below the ^C that a terminal shows
    except Exception as error:
        if not foreseen(error):
            raise
        print(f"error: {sentence(error)}", file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:                                     # Python would try again at exit, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def prepare_streams() -> None:
    """See to it that standard output and error are there, and take any text."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:                  # closed by the shell: `... >&-`
            setattr(sys, name, open(os.devnull, "w"))
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):      # a notebook has another kind
            stream.reconfigure(errors="backslashreplace")       # an ASCII terminal shows \u4e16 instead of failing


# ---- options

class Parser(argparse.ArgumentParser):
    """The options of python -m gpt2np.NAME.

    examples   lines that --help shows below the options
    options    ArgumentParser's own
    """

    def __init__(self, name: str, *, examples: Sequence[str], **options: Any):
        super().__init__(prog=f"python -m gpt2np.{name}", **options)
        self.examples = examples

    def format_help(self) -> str:
        """What --help prints."""
        return super().format_help() + "\nexamples:\n" + "".join(f"  {example}\n" for example in self.examples)

    def error(self, message: str) -> NoReturn:
        """End with status 2, a sentence, and where the options are explained."""
        self.exit(2, f"error: {message.removeprefix('argument ')}\nSee {self.prog} --help.\n")


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """The type of an option that is a whole number, not below `least` nor above `most`."""
    def number_in_range(argument: str) -> int:
        try:
            if least <= (n := int(argument)) and (most is None or n <= most):
                return n
        except ValueError:
            pass
        which = f"of {least} or more" if most is None else f"from {least} to {most:,}"
        raise argparse.ArgumentTypeError(f"expected a whole number {which}, got {got(argument)}")
    return number_in_range


def real(argument: str) -> float:
    """The type of an option that is any number."""
    try:
        return float(argument)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {got(argument)}") from None


def not_empty(argument: str) -> str:
    """The type of an option that names a file, a folder or a model: "" would be the folder that one is in."""
    if not argument:
        raise argparse.ArgumentTypeError("expected a name, got nothing")
    return argument


def got(argument: str) -> str:
    """What was given instead, for a message."""
    return (argument if len(argument) <= 40 else argument[:37] + "...") or "nothing"


def option(name: str) -> str:
    """The option of a name: n_layer is --n-layer."""
    return "--" + name.replace("_", "-")
