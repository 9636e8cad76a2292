"""What a vocabulary may ask of a text beside merges: GPT-2's asks for nothing but `<|endoftext|>`, those of others do.

    text  ->  without added tokens  ->  normalised  ->  without added tokens  ->  a space before  ->  pieces (bpe.py)

An added token is a word that is no merge's: it stands for itself wherever it is found, and what is between two of them
is a text of its own. They come in two kinds: some are looked for in the text as it is, some in what the normalisation
has made of it. A special one, which tells the model something and is no part of the language, is text like any other
unless it is allowed: as `<|endoftext|>` always is here.

The order of these steps, and the small print of each, are those of huggingface/tokenizers: added_vocabulary.rs,
normalizers/, pre_tokenizers/byte_level.rs, models/bpe/model.rs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple
from unicodedata import normalize

import regex

# What may be done with a text, by its name. Lower case goes letter by letter: a sigma is the same one at a word's end.
NORMALIZERS: Mapping[str, Callable[[str], str]] = {
    "NFC": partial(normalize, "NFC"), "NFD": partial(normalize, "NFD"), "NFKC": partial(normalize, "NFKC"),
    "NFKD": partial(normalize, "NFKD"), "Lowercase": lambda text: "".join([character.lower() for character in text])}
SPACE, WORD = regex.compile(r"\s"), regex.compile(r"\w")


class AddedToken(NamedTuple):
    """A token that no merge makes.

    special           found only where it is allowed
    normalized        looked for in the normalised text, and not before
    single_word       not found inside a word: no letter, digit or _ stands beside it
    lstrip, rstrip    the white space before it, or after it, is a part of it
    """

    content: str
    id: int
    special: bool = True
    normalized: bool = False
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False


class Rules(NamedTuple):
    """How a vocabulary differs from GPT-2's.

    added           AddedTokens
    normalizers     of NORMALIZERS, in their order
    prefix_space    whether a text, and what follows an added token, begins with a space: one is put there if need be
    unknown         the id for bytes that have no token; None: a text may not hold such bytes
    fuse_unknown    one such id for several of them that stand together in a piece
    """

    added: tuple[AddedToken, ...] = ()
    normalizers: tuple[str, ...] = ()
    prefix_space: bool = False
    unknown: int | None = None
    fuse_unknown: bool = False


def normalise(text: str, normalizers: Iterable[str]) -> str:
    """The text after one normalisation after another."""
    for name in normalizers:
        text = NORMALIZERS[name](text)
    return text


def find_tokens(parts: Iterable[str | int], tokens: Sequence[AddedToken]) -> list[str | int]:
    """The parts, of which each text is cut where it holds an added token, whose id then stands there."""
    if not (by_content := {token.content: token for token in tokens if token.content}):
        return list(parts)
    pattern = regex.compile("|".join(map(regex.escape, sorted(by_content, key=len, reverse=True))))    # the longest
    return [found for part in parts for found in ([part] if isinstance(part, int) else _cut(part, pattern, by_content))]


def _cut(text: str, pattern: regex.Pattern[str], tokens: Mapping[str, AddedToken]) -> Iterator[str | int]:
    """One text, cut so. White space that two tokens claim is the first one's, and the second is there all the same."""
    end = 0
    for match in pattern.finditer(text):
        token, (start, stop) = tokens[match[0]], match.span()
        if token.single_word and (WORD.match(text, stop) or (start > 0 and WORD.match(text, start - 1))):
            continue
        if token.lstrip:
            while start > end and SPACE.match(text, start - 1):
                start -= 1
            if (start := max(start, end)) >= stop:      # the token before has taken all of it
                continue
        while token.rstrip and SPACE.match(text, stop):
            stop += 1
        if end < start:
            yield text[end:start]
        yield token.id
        end = stop
    if end < len(text):
        yield text[end:]
