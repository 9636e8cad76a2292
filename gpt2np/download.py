"""Fetch one of OpenAI's models:  python -m gpt2np.download 124M"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.download")

import argparse
from collections.abc import Sequence

from .checkpoints.download import FILES, download
from .checkpoints.loading import NAMES
from .command import Parser, not_empty, run_command
from .interrupts import leave
from .model_names import known_as
from .models.config import SIZES


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(fetch, arguments, "interrupted: what has arrived is kept; run this again to continue")


def fetch(arguments: Sequence[str] | None) -> None:
    """Fetch what the arguments ask for, and print where it is."""
    parser = Parser("download", usage="%(prog)s MODEL [--mirror URL]",
                    description="Fetch one of OpenAI's models, or the rest of it.",
                    epilog="It goes into $GPT2NP_WEIGHTS, weights/ of a clone, or the user's cache.",
                    known_as={"--model": "the model stands for itself, as in: download 124M"},
                    examples=("python -m gpt2np.download 124M",
                              "python -m gpt2np.download 124M --mirror https://example.org/gpt-2"))
    parser.add_argument("model", type=released, choices=FILES, metavar="MODEL", help=f"one of {', '.join(FILES)}")
    parser.add_argument("--mirror", type=not_empty, metavar="URL",
                        help="fetch URL/MODEL/FILE ($GPT2NP_MIRROR, or OpenAI's server)")
    options = parser.parse_args(arguments)
    print(download(options.model, options.mirror))


def released(argument: str) -> str:
    """The type of the model: one of OpenAI's, under any name."""
    if (name := known_as(argument)) in NAMES and name not in SIZES:
        raise argparse.ArgumentTypeError(f"{name} comes with gpt2np, and need not be fetched")
    return name


if __name__ == "__main__":
    leave(main())
