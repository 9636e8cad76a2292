"""Learn a vocabulary from text files:  python -m gpt2np.train_tokenizer FILE... --n-vocab 4096 --out DIR"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.train_tokenizer")

import argparse
from collections.abc import Sequence
from pathlib import Path

from .command import Parser, not_empty, run_command, whole
from .interrupts import leave
from .terminal import wrapped
from .text.bpe_train import learn_vocabulary
from .text.vocabulary import expect_no_vocabulary


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(train, arguments)


def train(arguments: Sequence[str] | None) -> None:
    """Learn and write what the arguments ask for."""
    options = parse(arguments)
    out = Path(options.out)
    expect_no_vocabulary(out)
    out.mkdir(parents=True, exist_ok=True)      # before the work, not after: the folder may not be writable
    learn_vocabulary(options.files, options.n_vocab, progress=True).save(out)
    print(wrapped(f"{options.n_vocab:,} tokens written to {out / 'encoder.json'} and {out / 'vocab.bpe'}"))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments by their names."""
    parser = Parser(
        "train_tokenizer", usage="%(prog)s FILE... --n-vocab N --out DIR",
        description="Learn a vocabulary from text files and write it as encoder.json and vocab.bpe, as OpenAI does.",
        epilog="<|endoftext|> in a file stands between two documents and is not learned as text.",
        known_as={"--vocab-size": "--n-vocab", "--output": "--out", "-o": "--out"},
        examples=("python -m gpt2np.train_tokenizer plays.txt --n-vocab 4096 --out plays",
                  'python -m gpt2np.text --vocab plays "To be, or not to be"'))
    parser.add_argument("files", nargs="+", type=not_empty, metavar="FILE", help="text in UTF-8")
    parser.add_argument("--n-vocab", type=whole(257), required=True, metavar="N",
                        help="how many tokens: 256 bytes, <|endoftext|>, and N - 257 merges")
    parser.add_argument("--out", type=not_empty, required=True, metavar="DIR",
                        help="the folder to write to, made if need be")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    leave(main())
