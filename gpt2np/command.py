"""What the commands share: how one ends, with one sentence instead of a traceback, and the types of options.

Exit status 0; 2 for wrong usage; 1 for what else goes wrong, and where the reader goes away (`| head`); 130 for Ctrl-C.
"""

import argparse
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

from .errors import Gpt2npWarning, foreseen, sentence
from .interrupts import raise_again
from .memory import cores
from .nearest import did_you_mean

MAX_THREADS = 1024             # beyond, a slip of the hand: replicas of the model would fill the memory


# ---- the end of a command

def run_command(command: Callable[[Sequence[str] | None], int | None], arguments: Sequence[str] | None,
                interrupted: str = "interrupted") -> int:
    """command(arguments), which returns its exit status, or None for 0; what it raises becomes a sentence and a status.

    interrupted   what is said after Ctrl-C

    Wrong usage ends in SystemExit with status 2: see Parser. What is not foreseen keeps its traceback. The package's
    own warnings are a sentence, too.
    """
    prepare_streams()
    status = 1
    try:
        raise_again()
        try:
            with warnings.catch_warnings():
                warnings.showwarning = partial(show_warning, warnings.showwarning)
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


def show_warning(usual: Callable, message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    """Print a warning of this package in a line, and any other as usual."""
    if issubclass(category, Gpt2npWarning):
        print(f"warning: {message}", file=sys.stderr)
    else:
        usual(message, category, *place, **more)


# ---- options

class Parser(argparse.ArgumentParser):
    """The options of python -m gpt2np.NAME.

    examples   lines that --help shows below the options
    known_as   {name: ours}: what others call an option, which is taken for ours; or, where ours works otherwise, what
               to do here: {"--batch-size": "--batch", "--epochs": "expected --steps, ..."}; "" stands for words where
               none are expected
    options    ArgumentParser's own

    An option is known by its whole name, with - or _ in it: the beginning of one could be that of another.
    """

    def __init__(self, name: str, *, examples: Sequence[str], known_as: Mapping[str, str] | None = None,
                 **options: Any):
        super().__init__(prog=f"python -m gpt2np.{name}", allow_abbrev=False, **options)
        self.examples, self.known_as = examples, known_as or {}
        self.typed: list[str] = []                      # as far as options go

    def parse_args(self, arguments: Sequence[str] | None = None,        # type: ignore[override]
                   namespace: argparse.Namespace | None = None) -> argparse.Namespace:
        """The options by their names."""
        typed = list(sys.argv[1:] if arguments is None else arguments)
        end = typed.index("--") if "--" in typed else len(typed)
        self.typed = [*map(self._ours, typed[:end])]
        return super().parse_args(self.typed + typed[end:], namespace)

    def add_threads(self, what: str) -> None:
        """--threads: how many, which are all cores where nothing is said; `what`, for --help, says of what."""
        self.add_argument("--threads", type=whole(1, MAX_THREADS), default=cores(), metavar="N", help=what)

    def _ours(self, argument: str) -> str:
        """What is typed, with the name of an option as it is known here."""
        name, equals, value = argument.partition("=")
        name = name.replace("_", "-") if name.startswith("--") else name
        ours = self.known_as.get(name, "")
        return (ours if name and ours.startswith("--") else name) + equals + value if name[:1] == "-" else argument

    def format_help(self) -> str:
        """What --help prints."""
        return super().format_help() + "\nexamples:\n" + "".join(f"  {example}\n" for example in self.examples)

    def error(self, message: str) -> NoReturn:
        """End with status 2, a sentence, and where the options are explained."""
        self.exit(2, f"error: {message.removeprefix('argument ')}{self._hint(message)}\nSee {self.prog} --help.\n")

    def _hint(self, message: str) -> str:
        """What to do about the first name of an option that is none, or about words that nobody expects."""
        if not message.startswith(("unrecognized arguments: ", "the following arguments are required: ")):
            return ""
        options = [name for action in self._actions for name in action.option_strings]
        names = [argument.partition("=")[0] for argument in self.typed if re.match(r"--?[a-zA-Z]", argument)]
        name = next((name for name in names if name not in options and " " not in name), "")
        about = "" if name in message else f"{name}: "
        return f"; {about}{self.known_as[name]}" if name in self.known_as else did_you_mean(name, options, about)


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
