"""Let a BERT fill the gaps of a text:  python -m gpt2np.fill "床前明[MASK]光" --model run

Chapter: S002 4.3.
"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.fill")

import argparse
from collections.abc import Sequence
from typing import Any

from .adapt.replacing import merge_if_possible
from .checkpoints.loading import FILL
from .command import Parser, not_empty, run_command, whole
from .filling import Guess, fill
from .interrupts import leave
from .memory import keep_freed_memory
from .model_names import load_with_tokenizer, name_of
from .models.bert import BertForPreTraining
from .terminal import folded, read_text, width
from .text.columns import columns_of, padded
from .text.vocab_txt import MASK
from .text.wordpiece import WordPiece


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(show, arguments)


def show(arguments: Sequence[str] | None) -> None:
    """Print the text with its gaps filled, and the likeliest words for each gap."""
    options = parse(arguments)
    text = read_text(options.text, "text").strip()
    loaded: Any = load_with_tokenizer(name_of(options.model, options.adapter, FILL), kind=BertForPreTraining,
                                      adapter=options.adapter)
    model, tokenizer = loaded
    merge_if_possible(model)
    keep_freed_memory()
    gaps = fill(model, tokenizer, text, options.top_k, options.cut)
    print(folded(filled(tokenizer, text, [guesses[0].piece for guesses in gaps]), width()))
    for number, guesses in enumerate(gaps, 1):
        if len(gaps) > 1:
            print(f"gap {number}:")
        widest = max(columns_of(guess.piece) for guess in guesses)
        for guess in guesses:
            print(line(guess, widest))


def line(guess: Guess, widest: int) -> str:
    """A piece and its probability."""
    return f"    {padded(guess.piece, widest)}  {guess.probability:6.1%}"


def filled(tokenizer: WordPiece, text: str, pieces: Sequence[str]) -> str:
    """The text with these pieces in its gaps, as the tokenizer writes it: an uncased one has no capitals."""
    ids, left = tokenizer.encode(text, allowed_special=(MASK,)), list(pieces)
    number = {piece: i for i, piece in enumerate(tokenizer.pieces)}
    return tokenizer.decode([number[left.pop(0)] if i == tokenizer.mask and left else i for i in ids])


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments by their names."""
    parser = Parser(
        "fill", usage="%(prog)s [TEXT] [OPTIONS]",
        description="Let a BERT say which words are likely at each [MASK] of a text, each gap for itself. In brackets: "
                    "what holds where nothing is said.",
        known_as={"-m": "--model", "-k": "--top-k",
                  "--text": 'the text stands for itself, as in: fill "床前明[MASK]光"',
                  "": "words of a text stand together: put them in quotes"},
        examples=('python -m gpt2np.fill "床前明[MASK]光" --model run',
                  'echo "白日依[MASK]尽" | python -m gpt2np.fill --model run --top-k 3'))
    parser.add_argument("text", nargs="*", metavar="TEXT", help="the text; without it, standard input is read")
    parser.add_argument("--model", type=not_empty, metavar="MODEL",
                        help="the folder of a BERT with its head for hidden words, or of a run that has trained one "
                             f"({FILL})")
    parser.add_argument("--adapter", type=not_empty, metavar="DIR",
                        help="what was trained beside a model: the folder of train --adapt; without --model, the model "
                             "is the one that it names")
    parser.add_argument("--top-k", type=whole(1), default=5, metavar="N", help="how many words for each gap "
                                                                              "(%(default)s)")
    parser.add_argument("--cut", action="store_true", help="leave out the end of a text that is too long for the model")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    leave(main())
