"""Learn a vocabulary from text files: `python -m gpt2np.train_tokenizer FILE... --n-vocab 4096 --out DIR`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .text.bpe_train import learn_vocabulary
from .text.terminal import run_command
from .text.vocabulary import TokenizerError


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(train, arguments)


def train(arguments: Sequence[str] | None) -> None:
    """Learn and write what the arguments ask for."""
    options = parse(arguments)
    out = Path(options.out)
    for name in ("encoder.json", "vocab.bpe"):
        if (out / name).exists():
            raise TokenizerError(f"{out / name} exists, and a model may need it: name another folder, or remove it")
    out.mkdir(parents=True, exist_ok=True)      # before the work, not after: the folder may not be writable
    learn_vocabulary(options.files, options.n_vocab, progress=True).save(out)
    print(f"{options.n_vocab:,} tokens written to {out / 'encoder.json'} and {out / 'vocab.bpe'}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments by their names."""
    parser = argparse.ArgumentParser(
        prog="python -m gpt2np.train_tokenizer",
        description="Learn a vocabulary from text files and write it as encoder.json and vocab.bpe, as OpenAI does.",
        epilog="<|endoftext|> in a file stands between two documents and is not learned as text.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="text in UTF-8")
    parser.add_argument("--n-vocab", type=int, required=True, metavar="N",
                        help="how many tokens: 256 bytes, <|endoftext|>, and N - 257 merges")
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder to write to, made if need be")
    options = parser.parse_args(arguments)
    if options.n_vocab < 257:
        parser.error(f"argument --n-vocab: expected 257 or more, got {options.n_vocab}")
    return options


if __name__ == "__main__":
    sys.exit(main())
