"""Fetch one of OpenAI's models:  python -m gpt2np.download 124M"""

import argparse
import sys

from .checkpoints.download import FILES, download
from .checkpoints.errors import CheckpointError


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status: 0, or 1 with one message on stderr."""
    parser = argparse.ArgumentParser(prog="python -m gpt2np.download",
                                     description="Fetch one of OpenAI's models, or the rest of it.",
                                     epilog="It goes into $GPT2NP_WEIGHTS, weights/ of a clone, or the user's cache.")
    parser.add_argument("model", choices=FILES)
    parser.add_argument("--mirror", metavar="URL",
                        help="fetch URL/MODEL/FILE; by default $GPT2NP_MIRROR or OpenAI's server")
    options = parser.parse_args(arguments)
    try:
        print(download(options.model, options.mirror))
    except CheckpointError as error:
        print(f"gpt2np.download: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ngpt2np.download: stopped; what has arrived is kept: run this again to continue", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
