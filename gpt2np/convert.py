"""Write a model in another layout:  python -m gpt2np.convert SOURCE DEST --to openai|safetensors

Chapter: S001 9 Q3.
"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.convert")

import shlex
from collections.abc import Sequence
from pathlib import Path

from .adapt.narrow import scheme_of
from .adapt.replacing import merge, replacements
from .checkpoints.errors import CheckpointError
from .checkpoints.loading import LAYOUTS, NAMES, expect_new, write_model
from .checkpoints.peft import save_peft
from .command import Parser, not_empty, run_command
from .interrupts import leave
from .model_names import load
from .models.gpt2 import GPT2
from .terminal import wrapped

PEFT = "peft"
NAMELESS = "SOURCE and DEST stand for themselves, as in: convert demo hf --to safetensors"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(convert, arguments, "interrupted: nothing was written")


def convert(arguments: Sequence[str] | None) -> None:
    """Write what the arguments ask for."""
    parser = Parser("convert", usage="%(prog)s SOURCE DEST --to LAYOUT [OPTIONS]",
                    description="Write a model in another layout. In brackets: what holds where nothing is said.",
                    known_as={"--format": "--to", "--layout": "--to", "--model": NAMELESS, "-m": NAMELESS,
                              "--out": NAMELESS, "--output": NAMELESS, "-o": NAMELESS},
                    examples=("python -m gpt2np.convert demo hf --to safetensors",
                              "python -m gpt2np.convert hf small --to openai --dtype float16",
                              "python -m gpt2np.convert demo merged --to openai --adapter run --merge"))
    parser.add_argument("source", type=not_empty, metavar="SOURCE",
                        help=f"one of {', '.join(NAMES)}; a model's folder; or a .safetensors file")
    parser.add_argument("dest", type=not_empty, metavar="DEST", help="the folder to make")
    parser.add_argument("--to", required=True, choices=(*LAYOUTS, PEFT),
                        help="of a GPT-2: OpenAI's files, which TensorFlow reads, or safetensors with Hugging Face's "
                             "names, as of a BERT bert, and of either with a head heads; or, of an --adapter alone, "
                             "peft's")
    parser.add_argument("--adapter", type=not_empty, metavar="DIR",
                        help="what was trained beside SOURCE: the folder of train or finetune --adapt, or of peft's")
    parser.add_argument("--merge", action="store_true", help="write one model of SOURCE and the --adapter")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32",
                        help="of the numbers in the files; float16 halves them, and rounds (%(default)s)")
    options = parser.parse_args(arguments)
    if (options.to == PEFT or options.merge) and options.adapter is None:
        parser.error(f"{'--merge' if options.merge else '--to peft'}: expected an --adapter with it, got none")
    if options.adapter is not None and options.merge is (options.to == PEFT):
        parser.error("--adapter: expected either --merge, and a layout of models, or --to peft, for the adapter alone")
    if options.to == PEFT and options.dtype != "float32":
        parser.error(f"--dtype {options.dtype}: expected float32 with --to peft, for an adapter is small")
    expect_new(options.dest)
    try:
        model, tokenizer = load(options.source, adapter=options.adapter)
        if scheme := scheme_of(model):
            raise CheckpointError(options.source, f"its matrices are in {scheme}: convert the model that it was made "
                                  "from")
        if options.to == PEFT:
            save_peft(options.dest, model, options.source)
        else:
            if replacements(model):
                merge(model)
            write_model(options.dest, options.to, model, tokenizer, options.dtype)
    except OSError as error:
        error.filename = error.filename or options.dest     # a full disk is said without a name
        raise
    size = sum(path.stat().st_size for path in Path(options.dest).iterdir())
    print(wrapped(f"{options.source} written to {options.dest}, in the layout {options.to}, as {options.dtype}: "
                  f"{size / 1e6:,.1f} MB"))
    if isinstance(model, GPT2) and tokenizer is not None and options.to != PEFT:
        print(f"To use it:\n    python -m gpt2np.generate --model {shlex.quote(options.dest)}")


if __name__ == "__main__":
    leave(main())
