"""Texts as the rows of ids that a body reads, and the windows of a text that is longer than it sees.

    BERT     [CLS] a b c [SEP]      [CLS] a b [SEP] d e [SEP]       segments 0 ... 0, and 1 from d on
    GPT-2    a b c ⊣                a b ⊣ d e ⊣                     ⊣ is <|endoftext|>, or nothing where there is none

Where every word has a label, the ids of a word have it all, or its first or its last one alone; the others have -100,
which does not count.  GPT-2 has not read the rest of a word at its first piece, and has at its last.

A long text is read in windows that share some words, so that those at an edge are seen with others beside them; each
word counts in the one window in which the nearer edge is farthest away.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..hints import Array
from ..layers.cross_entropy import IGNORED
from ..text.protocol import AnyTokenizer
from ..text.wordpiece import CHINESE, WordPiece
from .errors import TrainingError

FIRST, LAST, ALL = ON = ("first", "last", "all")        # pieces of a word that have its label
WORD = re.compile(f"[{CHINESE}]|[^\\W{CHINESE}]+|\\S")   # a Chinese character; letters and digits; any sign
NO_SPACE = re.compile(f"[{CHINESE}\u3000-\u303f\uff00-\uffef]")     # Chinese characters and signs stand without spaces


class Window(NamedTuple):
    """Words first, ..., end - 1 of a text, of which those from `own` to own_end - 1 count here."""
    first: int
    end: int
    own: int
    own_end: int


class Row(NamedTuple):
    """What a body reads of one text, or two, not yet padded.

    first, second   where in ids the two begin
    """
    ids: list[int]
    segments: list[int]
    first: int
    second: int


def framed(tokenizer: AnyTokenizer, first: Sequence[int], second: Sequence[int] | None = None) -> Row:
    """The ids of one text, or of two, with what stands around them."""
    bert = isinstance(tokenizer, WordPiece)
    begin = [tokenizer.cls] if isinstance(tokenizer, WordPiece) else []
    between = [tokenizer.sep] if isinstance(tokenizer, WordPiece) else ends(tokenizer)
    ids = [*begin, *first, *between]
    n = len(ids)
    if second is not None:
        ids += [*second, *between]
    return Row(ids, [0] * n + [int(bert)] * (len(ids) - n), len(begin), n)


def ends(tokenizer: AnyTokenizer) -> list[int]:
    """What ends a text for a GPT-2: one id, or none."""
    return [] if tokenizer.end_of_text is None else [tokenizer.end_of_text]


def room_in(tokenizer: AnyTokenizer, context: int, texts: int = 1) -> int:
    """How many ids of one text, or two, there is room for in a row."""
    around = 1 + texts if isinstance(tokenizer, WordPiece) else texts * len(ends(tokenizer))
    if context <= around:
        raise TrainingError(f"context: expected more than the {around} that stand around {texts} of the texts, got "
                            f"{context}")
    return context - around


def pieces_of(tokenizer: AnyTokenizer, words: Sequence[str]) -> list[list[int]]:
    """The ids of each word, one at least: as if the words stood in a text, with spaces where they have some there."""
    if isinstance(tokenizer, WordPiece):
        return [tokenizer.encode(word) or [tokenizer.unk] for word in words]
    spaced = [i > 0 and not (NO_SPACE.match(word[0]) or NO_SPACE.match(words[i - 1][-1]))
              for i, word in enumerate(words)]
    return [tokenizer.encode(" " * space + word) for space, word in zip(spaced, words)]


def words_of(text: str) -> list[tuple[str, int]]:
    """The words of a text, and where each begins: Chinese characters, runs of letters and digits, signs."""
    return [(found.group(), found.start()) for found in WORD.finditer(text)]


def windows(lengths: Sequence[int], room: int) -> list[Window]:
    """Windows that have room for so many pieces, over words of these numbers of pieces; neighbours share half of it.

    One word of more pieces than that is a window by itself, and is cut.
    """
    found: list[tuple[int, int]] = []
    first, end, used = 0, 0, 0
    while end < len(lengths) or not found:
        while end < len(lengths) and (used + lengths[end] <= room or end == first):
            used += lengths[end]
            end += 1
        found.append((first, end))
        while used > room // 2 and first < end and end < len(lengths):
            used -= lengths[first]
            first += 1
        while end < len(lengths) and first < end and used + lengths[end] > room:
            used -= lengths[first]
            first += 1
    cuts = [0, *((first + end) // 2 for (first, _), (_, end) in zip(found[1:], found)), len(lengths)]
    return [Window(*window, own, own_end) for window, own, own_end in zip(found, cuts, cuts[1:])]


def labelled(pieces: Sequence[Sequence[int]], labels: Sequence[int], on: str) -> list[int]:
    """The target of each piece of some words: the word's label on its first, its last or all pieces, elsewhere -100."""
    targets: list[int] = []
    for ids, label in zip(pieces, labels):
        place = {FIRST: [0], LAST: [len(ids) - 1], ALL: range(len(ids))}[on]
        targets += [label if i in place else IGNORED for i in range(len(ids))]
    return targets


def padded(rows: Sequence[Row], pad: int) -> tuple[Array, Array, Array]:
    """tokens, segments (B, T) and a mask of the real ones of some rows, filled up on the right."""
    T = max(len(row.ids) for row in rows)
    tokens, segments = np.full((len(rows), T), pad, np.int64), np.zeros((len(rows), T), np.int64)
    mask = np.zeros((len(rows), T), bool)
    for i, row in enumerate(rows):
        n = len(row.ids)
        tokens[i, :n], segments[i, :n], mask[i, :n] = row.ids, row.segments, True
    return tokens, segments, mask
