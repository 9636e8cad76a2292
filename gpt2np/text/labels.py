"""Labels of words: names in a text as tags, in three schemes, and the names that tags spell.

B stands for the beginning of a name, I for its inside, E for its end, S for a name of a single word, and O for what is
no name; the type comes after a hyphen:

             Alex  Ma     flew  to  New    York   Paris      two of the names are of one type and side by side
    BIO      B-PER I-PER  O     O   B-LOC  I-LOC  B-LOC      IOB2: every name begins with B
    IOB1     I-PER I-PER  O     O   I-LOC  I-LOC  B-LOC      B only where a name follows another of its type
    BIOES    B-PER E-PER  O     O   B-LOC  E-LOC  S-LOC

A model may write what no scheme allows, as I after O, and files do too. entities_of reads any sequence of tags, by the
rule of conlleval, the program of CoNLL's shared tasks. What is read can be written in any scheme, and the tags that
come out different in their own were broken. How many names were found, label_reports.py counts.

Tjong Kim Sang, Veenstra 1999, Representing Text Chunks, cs/9907006, section 2.1 (IOB1, IOB2).

Chapter: S002 3.4.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..errors import Gpt2npError

Sentences = Sequence[Sequence[str]]         # the label of each word of each sentence

SCHEMES = {"BIO": ("B", "I"), "IOB1": ("B", "I"), "BIOES": ("B", "I", "E", "S")}       # what each has beside O
OUTSIDE = "O"


class LabelError(Gpt2npError):
    """Labels, or an option, of which nothing can be said; the message says what was expected and what came."""


class Entity(NamedTuple):
    """A name: its words are start, ..., end - 1 of the sentence."""
    type: str
    start: int
    end: int


def entities_of(tags: Sequence[str]) -> list[Entity]:
    """The names that these tags of a sentence spell, whatever the scheme and however broken: conlleval's rule.

    A tag goes on with a name if it is I or E, the tag before it is B or I, and the types are the same. Every other tag
    but O begins one.
    """
    entities: list[Entity] = []
    letter_before, type_before = OUTSIDE, ""
    for i, tag in enumerate(tags):
        letter, _, its_type = tag.partition("-")
        if letter in ("I", "E") and letter_before in ("B", "I") and its_type == type_before:
            entities[-1] = entities[-1]._replace(end=i + 1)
        elif letter != OUTSIDE:
            entities.append(Entity(its_type, i, i + 1))
        letter_before, type_before = letter, its_type
    return entities


def strict_entities_of(tags: Sequence[str], scheme: str = "BIO") -> list[Entity]:
    """The names without a fault in their spelling: those of entities_of that the scheme would write as they stand."""
    entities = entities_of(tags)
    written = tags_of(entities, len(tags), scheme)
    return [entity for entity in entities if list(tags[entity.start:entity.end]) == written[entity.start:entity.end]]


def tags_of(entities: Iterable[Entity], n: int, scheme: str = "BIO") -> list[str]:
    """The tags of a sentence of n words with these names, which come in their order, as a scheme writes them."""
    check_scheme(scheme)
    tags = [OUTSIDE] * n
    for its_type, start, end in entities:
        follows_its_like = start > 0 and tags[start - 1].partition("-")[2] == its_type
        tags[start:end] = [f"I-{its_type}"] * (end - start)
        if scheme == "BIO" or (scheme == "IOB1" and follows_its_like):
            tags[start] = f"B-{its_type}"
        elif scheme == "BIOES" and end - start == 1:
            tags[start] = f"S-{its_type}"
        elif scheme == "BIOES":
            tags[start], tags[end - 1] = f"B-{its_type}", f"E-{its_type}"
    return tags


def converted(sentences: Sentences, scheme: str, to: str = "BIO") -> tuple[list[list[str]], int]:
    """The same names as another scheme writes them, or the same one, and how many of the tags were broken.

    sentences   the tags of each sentence in `scheme`; broken ones are taken as entities_of reads them

    A tag is broken where `scheme` itself writes another: I-PER after O is broken in BIO, and right in IOB1. Very many
    of them mean that the file has another scheme than was thought. LabelError, with sentence and word, for a tag that
    is malformed.
    """
    check_tags(sentences, scheme)
    check_scheme(to)
    read = [(entities_of(tags), len(tags)) for tags in sentences]
    broken = sum(tag != right for tags, (entities, n) in zip(sentences, read)
                 for tag, right in zip(tags, tags_of(entities, n, scheme)))
    return [tags_of(entities, n, to) for entities, n in read], broken


# ---- what spells no name

def check_scheme(scheme: str) -> None:
    """LabelError for a scheme that is not one of SCHEMES."""
    if scheme not in SCHEMES:
        raise LabelError(f"scheme: expected BIO (which is IOB2), IOB1 or BIOES, got {scheme!r}")


def check_tags(sentences: Sentences, scheme: str) -> None:
    """LabelError, with sentence and word, for a tag that is no tag of the scheme, such as PER, B- or X-PER."""
    check_scheme(scheme)
    for i, tags in enumerate(sentences, 1):
        if isinstance(tags, str):
            raise LabelError(f"sentence {i}: expected a list with the label of each word, got one text")
        for j, tag in enumerate(tags, 1):
            check_tag(f"sentence {i}, word {j}", tag, scheme)


def check_tag(where: str, tag: str, scheme: str) -> None:
    """LabelError for one tag; `where` it stands begins the message."""
    check_scheme(scheme)
    letter, _, its_type = tag.partition("-") if isinstance(tag, str) else ("", "", "")
    if tag != OUTSIDE and not (letter in SCHEMES[scheme] and its_type):
        *letters, last = [f"{letter}-" for letter in SCHEMES[scheme]]
        raise LabelError(f"{where}: expected O, or {', '.join(letters)} or {last} with a type, as {scheme} has it, got "
                         f"{tag!r:.40}")
