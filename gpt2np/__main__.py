"""The commands, a line each:  python -m gpt2np.  With the name of one behind it, it runs that."""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np")

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from . import __version__
from .command import run_command
from .interrupts import leave
from .starting import COMMANDS, wrong_command
from .terminal import wrapped


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in COMMANDS:
        spec = find_spec(f"{__package__}.{name}")
        is_folder = spec is not None and spec.submodule_search_locations is not None
        return import_module(f"{__package__}.{name}" + ".__main__" * is_folder).main(rest)
    if name not in ("--help", "-h", "--version"):
        wrong_command(name)
    return run_command(list_commands, [name])


def list_commands(arguments: Sequence[str] | None) -> None:
    """Print what there is, or the version."""
    if arguments == ["--version"]:
        print(f"gpt2np {__version__}")
        return
    print(wrapped("GPT-2 in NumPy alone. The commands, as in python -m gpt2np.generate --help:", indent=""), end="\n\n")
    for name, what in COMMANDS.items():
        print(wrapped(f"{name:<17}{what}", indent=" " * 17))


if __name__ == "__main__":
    leave(main())
