"""Show how a text becomes tokens:  python -m gpt2np.text "Hello, 世界". See bpe.py for what it shows."""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.text")

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import cycle

from .. import model_names
from ..command import Parser, not_empty, run_command
from ..terminal import printable, read_text, wants_colour, wrapped
from .bpe import Piece, Tokenizer
from .vocabulary import END_OF_TEXT

MAX_MERGES = 40                    # of a piece that are shown step by step: more would fill screens
BOLD, BOLD_GREEN = "1", "1;32"      # a piece; the token just made
CYAN_YELLOW = "36", "33"            # tokens in turn, to tell neighbours apart


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(show, arguments)


def show(arguments: Sequence[str] | None) -> None:
    """Print what the arguments ask for."""
    options = parse(arguments)
    text = read_text(options.text, "text")
    tokenizer = model_names.vocabulary(options.vocab)
    pieces = tokenizer.explain(text, (END_OF_TEXT,) if options.special else ())
    colour = wants_colour()
    for piece in pieces:
        for line in explanation(piece, tokenizer, colour):
            print(line)
    ids = [i for piece in pieces for i in piece.ids]
    print(wrapped(f"{count(len(text), 'character')}, {count(len(text.encode()), 'byte')}, "
                  f"{count(len(pieces), 'piece')}, {count(len(ids), 'token')}"))
    print(wrapped(" ".join(map(str, ids)), indent=""))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments by their names."""
    parser = Parser(
        "text", usage="%(prog)s [TEXT] [OPTIONS]",
        description="Show how a text becomes tokens: its pieces, their bytes, and the merges in the order they happen.",
        epilog="␣ is a space; <e4> is a byte, in hexadecimal, that is no character by itself. Merges are numbered in "
               "the order in which they were learned, and the lowest number is always applied first.",
        known_as={"--vocabulary": "--vocab", "--tokenizer": "--vocab", "--model": "--vocab", "-m": "--vocab",
                  "--text": "the text stands for itself, as in: text \"Hello, world\"",
                  "": "words of a text stand together: put them in quotes"},
        examples=('python -m gpt2np.text "Attention is all you need"', 'echo "Hello, world" | python -m gpt2np.text'))
    parser.add_argument("text", nargs="*", metavar="TEXT", help="the text; without it, standard input is read")
    parser.add_argument("--vocab", type=not_empty, default="gpt2", metavar="NAME",
                        help="gpt2, demo, or a folder with encoder.json and vocab.bpe (%(default)s)")
    parser.add_argument("--special", action="store_true", help=f"take {END_OF_TEXT} as the token that ends a document")
    options = parser.parse_args(arguments)
    if not options.text and sys.stdin.isatty():
        parser.error('expected a text, as in: python -m gpt2np.text "Hello, world"')
    return options


def explanation(piece: Piece, tokenizer: Tokenizer, colour: bool) -> Iterator[str]:
    """The lines that explain a piece: its bytes; the symbols after each merge; the tokens with their ids."""
    yield paint(printable(piece.data), BOLD, colour) + "   " + piece.data.hex(" ")
    symbols = [bytes([byte]) for byte in piece.data]
    if len(piece.merges) > MAX_MERGES:
        yield f"    ... {len(piece.merges)} merges ..."
    elif piece.merges:
        yield "    " + " ".join(map(printable, symbols))
        for rank, left, right in piece.merges:
            at = next(i for i in range(len(symbols)) if symbols[i] == left and symbols[i + 1] == right)
            symbols[at : at + 2] = [left + right]
            shown = [printable(symbol) for symbol in symbols]
            shown[at] = paint(shown[at], BOLD_GREEN, colour)
            yield "    " + " ".join(shown) + f"   (merge {rank}: {printable(left)} + {printable(right)})"
    tokens = [printable(tokenizer.decode_bytes([i])) for i in piece.ids]
    yield "    = " + "  ".join(paint(token, code, colour) + f" {i}"
                               for token, i, code in zip(tokens, piece.ids, cycle(CYAN_YELLOW)))


def paint(text: str, code: str, colour: bool) -> str:
    """The text in a colour of the terminal, or as it is."""
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text


def count(number: int, noun: str) -> str:
    """The number with its noun, as in "1 piece" or "2 pieces"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


if __name__ == "__main__":
    sys.exit(main())
