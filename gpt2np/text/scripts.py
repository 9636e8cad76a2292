"""Which scripts a text is written in: what letters a model has learned to read, and what is foreign to it."""

import unicodedata
from collections import Counter
from collections.abc import Iterable

RARE = 0.01                     # of the letters: what has no larger part of them is no script of a language


def script_of(character: str) -> str | None:
    """The first word of a letter's name in Unicode, CJK, LATIN, CYRILLIC, ...; None for what is no letter."""
    return unicodedata.name(character, "").partition(" ")[0] or None if character.isalpha() else None


def scripts_of(texts: Iterable[str]) -> tuple[str, ...]:
    """The scripts of some texts, the most frequent first, without what is rare in them."""
    letters: Counter[str] = Counter()
    for text in texts:
        letters.update(text)
    counts: Counter[str] = Counter()
    for letter, n in letters.items():
        if script := script_of(letter):
            counts[script] += n
    return tuple(script for script, n in counts.most_common() if n >= RARE * counts.total())


def foreign_script(text: str, scripts: Iterable[str]) -> str | None:
    """The most frequent script of a text, where it has letters and none of these scripts; None otherwise."""
    found = scripts_of([text])
    return found[0] if found and scripts and not set(found) & set(scripts) else None
