"""Show how a text becomes tokens:  python -m gpt2np.text "Hello, 世界". bpe.py and wordpiece.py say what it shows."""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.text")

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import cycle

from .. import model_names
from ..command import Parser, not_empty, run_command
from ..interrupts import leave
from ..terminal import printable, read_text, wants_colour, width, wrapped
from .bpe import Piece, Tokenizer
from .columns import columns_of, padded
from .vocab_txt import SPECIAL, UNK
from .vocabulary import END_OF_TEXT
from .wordpiece import MAX_LETTERS, Passage, Word, WordPiece

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
    if isinstance(tokenizer, WordPiece):
        show_wordpiece(text, tokenizer, options.special)
    else:
        show_bpe(text, tokenizer, options.special)


def show_bpe(text: str, tokenizer: Tokenizer, special: bool) -> None:
    """Print how a text becomes tokens of a byte-level BPE."""
    pieces = tokenizer.explain(text, (END_OF_TEXT,) if special else ())
    colour = wants_colour()
    for piece in pieces:
        for line in explanation(piece, tokenizer, colour):
            print(line)
    ids = [i for piece in pieces for i in piece.ids]
    print(wrapped(f"{count(len(text), 'character')}, {count(len(text.encode()), 'byte')}, "
                  f"{count(len(pieces), 'piece')}, {count(len(ids), 'token')}"))
    print(wrapped(" ".join(map(str, ids)), indent=""))


def show_wordpiece(text: str, tokenizer: WordPiece, special: bool) -> None:
    """Print how a text becomes tokens of a WordPiece."""
    passages = tokenizer.explain(text, (*SPECIAL, END_OF_TEXT) if special else ())
    colour = wants_colour()
    for passage in passages:
        for line in explanation_of_words(passage, tokenizer, colour):
            print(line)
    words = [word for passage in passages for word in passage.words]
    ids = [i for word in words for i in word.ids]
    print(wrapped(f"{count(len(text), 'character')}, {count(len(words), 'word')}, {count(len(ids), 'token')}"))
    print(wrapped(" ".join(map(str, ids)), indent=""))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments by their names."""
    parser = Parser(
        "text", usage="%(prog)s [TEXT] [OPTIONS]",
        description="Show how a text becomes tokens: its pieces, their bytes, and the merges in the order they happen.",
        epilog="␣ is a space; <e4> is a byte, in hexadecimal, that is no character by itself. Merges are numbered in "
               "the order in which they were learned, and the lowest number is always applied first. With a vocab.txt, "
               "each word is cut into the longest pieces that there are, from the left; ## goes on with a word.",
        known_as={"--vocabulary": "--vocab", "--tokenizer": "--vocab", "--model": "--vocab", "-m": "--vocab",
                  "--text": "the text stands for itself, as in: text \"Hello, world\"",
                  "": "words of a text stand together: put them in quotes"},
        examples=('python -m gpt2np.text "Attention is all you need"', 'echo "Hello, world" | python -m gpt2np.text'))
    parser.add_argument("text", nargs="*", metavar="TEXT", help="the text; without it, standard input is read")
    parser.add_argument("--vocab", type=not_empty, default="gpt2", metavar="NAME",
                        help="gpt2, demo, demo-zh, or a folder with encoder.json and vocab.bpe, or with vocab.txt, "
                             "BERT's (%(default)s)")
    parser.add_argument("--special", action="store_true",
                        help=f"take {END_OF_TEXT} as the token that ends a document; with a vocab.txt, "
                             f"{', '.join(SPECIAL)} as special pieces")
    options = parser.parse_args(arguments)
    if not options.text and sys.stdin.isatty():
        parser.error('expected a text, as in: python -m gpt2np.text "Hello, world"')
    return options


def explanation(piece: Piece, tokenizer: Tokenizer, colour: bool) -> Iterator[str]:
    """The lines that explain a piece: its bytes; the symbols after each merge; the tokens with their ids."""
    yield from over_bytes(piece, colour)
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
    yield found([printable(tokenizer.decode_bytes([i])) for i in piece.ids], piece.ids, colour)


def over_bytes(piece: Piece, colour: bool) -> Iterator[str]:
    """The lines that show the bytes of a piece, each character of several over its own."""
    if piece.data.isascii():
        yield paint(printable(piece.data), BOLD, colour) + "   " + piece.data.hex(" ")
        return
    above, below = "", ""
    for character in piece.data.decode():
        shown, data = visible(character), character.encode().hex(" ")
        n = max(columns_of(shown), len(data))
        if below and len(below) + n > width():
            yield paint(above.rstrip(), BOLD, colour)
            yield below.rstrip()
            above, below = "", ""
        above, below = above + padded(shown, n + 1), below + data.ljust(n + 1)
    yield paint(above.rstrip(), BOLD, colour)
    yield below.rstrip()


def explanation_of_words(passage: Passage, tokenizer: WordPiece, colour: bool) -> Iterator[str]:
    """The lines that explain what was written without white space: its words; how they are cut; the tokens."""
    words = " ".join(visible(word.text) for word in passage.words)
    yield paint(visible(passage.text), BOLD, colour) + "   " + (words or "is removed")
    for word in passage.words:
        if word.rest or len(word.pieces) > 1:
            yield f"    {visible(word.text)} = {cutting(word)}"
    if ids := [i for word in passage.words for i in word.ids]:
        yield found([visible(tokenizer.pieces[i]) for i in ids], ids, colour)


def cutting(word: Word) -> str:
    """The pieces of a word, or why it is [UNK]."""
    if len(word.text) > MAX_LETTERS:
        return f"{UNK}, with more than {MAX_LETTERS} characters"
    pieces = [visible(piece) for piece in word.pieces]
    if not word.rest: return " + ".join(pieces)
    return " + ".join([*pieces, "?"]) + f" = {UNK}, since no piece fits at {visible(word.rest)}"


def found(tokens: Sequence[str], ids: Sequence[int], colour: bool) -> str:
    """The line that has the tokens with their ids."""
    return "    = " + "  ".join(paint(token, code, colour) + f" {i}"
                                for token, i, code in zip(tokens, ids, cycle(CYAN_YELLOW)))


def visible(text: str) -> str:
    """The text as a reader can see it."""
    return printable(text.encode())


def paint(text: str, code: str, colour: bool) -> str:
    """The text in a colour of the terminal, or as it is."""
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text


def count(number: int, noun: str) -> str:
    """The number with its noun, as in "1 piece" or "2 pieces"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


if __name__ == "__main__":
    leave(main())
