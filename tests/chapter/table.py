"""What an entry of the chapter's table is made of: see __init__.py."""

from collections.abc import Iterator
from typing import NamedTuple


class Both(NamedTuple):
    """The same in Chinese and in English. Lines are joined: their breaks are for the eye."""
    zh: str = ""
    en: str = ""


NOTHING = Both()


class Entry(NamedTuple):
    """What there is to say of a section, or of one part of it.

    title     of the part, as the book has it, where a section has several; NOTHING for the section as a whole
    where     names that the package defines, with blanks between them, the one to begin with first
    run       a command, or at most six lines of Python that need nothing of other entries
    prints    what those lines print, to the letter
    here      what a reader finds, where names alone do not say it
    shown     names of laws and tests that show it; those of the mistakes follow by themselves
    points    numbers of the points at the head of the page that the section has wrong, too
    errata    numbers of the mistakes that `text` and the points tell of
    text      what the book says that is not so, and what is; or what is right
    missing   what cannot be run here yet, with the reason
    like      another section, "S000 6.1", whose entry answers for this one too
    """

    title: Both = NOTHING
    where: str = ""
    run: str = ""
    prints: str = ""
    here: Both = NOTHING
    shown: str = ""
    points: tuple[int, ...] = ()
    errata: str = ""
    text: Both = NOTHING
    missing: Both = NOTHING
    like: str = ""


class Section(NamedTuple):
    """A heading of the book, in its own words, with what they mean; the entries are below the innermost headings."""
    number: str                                         # "3.2"; "9 Q1" for a question of the appendix
    zh: str
    en: str
    entries: tuple[Entry, ...] = ()

    @property
    def depth(self) -> int:
        return self.number.count(".") + self.number.count("Q")


class Text(NamedTuple):
    """The chapter, or one of its companions."""
    number: str                                         # "S000"
    zh: str
    en: str
    sections: tuple[Section, ...]

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """("S000 3.2", entry) from top to bottom."""
        return ((f"{self.number} {section.number}", entry) for section in self.sections for entry in section.entries)


def section(number: str, zh: str, en: str, *entries: Entry) -> Section:
    return Section(number, zh, en, entries)
