"""Write a model in another layout:  python -m gpt2np.convert SOURCE DEST --to openai|safetensors"""

import argparse
import os
import sys

from .checkpoints.errors import CheckpointError
from .checkpoints.loading import LAYOUTS, NAMES, read_model, write_model


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status: 0, or 1 with one message on stderr."""
    parser = argparse.ArgumentParser(prog="python -m gpt2np.convert", description="Write a model in another layout.")
    parser.add_argument("source", help=f"one of {', '.join(NAMES)}; a model's folder; or a .safetensors file")
    parser.add_argument("dest", help="the folder to make")
    parser.add_argument("--to", required=True, choices=LAYOUTS,
                        help="OpenAI's files, which TensorFlow reads; or safetensors with Hugging Face's names")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32",
                        help="of the numbers in the files; float16 halves them, and rounds (%(default)s)")
    options = parser.parse_args(arguments)
    if os.path.lexists(options.dest):               # save() replaces a model; a slip of the hand here should not
        print(f"gpt2np.convert: {options.dest}: it is there already", file=sys.stderr)
        return 1
    try:
        write_model(options.dest, options.to, *read_model(options.source), options.dtype)
    except CheckpointError as error:
        print(f"gpt2np.convert: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"gpt2np.convert: {error.filename or options.dest}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ngpt2np.convert: stopped; nothing was written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
