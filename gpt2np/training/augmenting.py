"""Texts changed a little, so that a text is another one each time it is learned, and means the same.

    synonyms   each word that has some is replaced by one of them, with a probability
    deletion   each word is left out, with a probability; one stays at least

A word is what label_rows takes for one: a Chinese character, or a run of letters and digits, or a sign; what is looked
up in the synonyms may be several words beside each other, 不错, and the longest is taken.  That the label stays is the
list's promise for synonyms.  For deletion nobody promises it: without its `not` a text says the contrary.

Wei, Zou 2019, EDA, arXiv:1901.11196, section 2: synonym replacement and random deletion.

Chapter: S001 9 Q2; S003 9 Q5.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..hints import Rng
from .errors import TrainingError
from .label_rows import words_of
from .labelled import columns_of

Synonyms = Mapping[str, Sequence[str]]          # of words in small letters


def read_synonyms(path: str | Path) -> dict[str, list[str]]:
    """The synonyms in a file: in each line a word, and behind tabs what may stand in its place.

    TrainingError for a line without a tab, for a word or a synonym that is empty, and for a file without any.
    """
    found: dict[str, list[str]] = {}
    expected = "a word, a tab and its synonyms, with tabs between them"
    for where, columns in columns_of(path, 2, None, expected):
        word, *others = (column.strip() for column in columns)
        if not all([word, *others]):
            raise TrainingError(f"{where}: expected a word and its synonyms, got nothing beside a tab")
        found.setdefault(word.lower(), []).extend(others)
    if not found:
        raise TrainingError(f"{path}: expected {expected}, in each line, got no line")
    return found


def lines_of_synonyms(synonyms: Synonyms) -> str:
    """What read_synonyms reads."""
    return "".join("\t".join([word, *others]) + "\n" for word, others in synonyms.items())


def with_synonyms(text: str, synonyms: Synonyms, rate: float, rng: Rng) -> str:
    """A text in which each word that has synonyms is replaced by one of them, with this probability."""
    places = [(start, start + len(word)) for word, start in words_of(text)]
    starts, ends = {start for start, _ in places}, {end for _, end in places}
    lengths = sorted({len(word) for word in synonyms}, reverse=True)
    written, at = [], 0
    while at < len(text):
        its = next((n for n in lengths if at in starts and at + n in ends and text[at:at + n].lower() in synonyms), 0)
        if its and rng.random() < rate:
            others = synonyms[text[at:at + its].lower()]
            written.append(others[int(rng.integers(len(others)))])
        else:
            written.append(text[at:at + max(its, 1)])
        at += max(its, 1)
    return "".join(written)


def with_deletions(text: str, rate: float, rng: Rng) -> str:
    """A text from which each word is left out with this probability; where all would be, one that is drawn stays."""
    starts = [start for _, start in words_of(text)]
    if not starts:
        return text
    pieces = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)])]
    kept = [bool(stays) for stays in rng.random(len(pieces)) >= rate]
    if not any(kept):
        kept[int(rng.integers(len(pieces)))] = True
    return (text[:starts[0]] + "".join(piece for piece, stays in zip(pieces, kept) if stays)).strip() or text


def words_in(synonyms: Synonyms) -> Iterable[str]:
    """All that a text may have with them: what a vocabulary is learned from."""
    return (word for one, others in synonyms.items() for word in (one, *others))
