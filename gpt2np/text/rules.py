"""What a vocabulary may ask of a text beside merges: GPT-2's asks for nothing but `<|endoftext|>`, those of others do.

    text  ->  without added tokens  ->  normalised  ->  without added tokens  ->  a space before  ->  pieces (bpe.py)

An added token is a word that is no merge's: it stands for itself wherever it is found, and what is between two of them
is a text of its own. They come in two kinds: some are looked for in the text as it is, some in what the normalisation
has made of it. A special one, which tells the model something and is no part of the language, is text like any other
unless it is allowed: as `<|endoftext|>` always is here.

The order of these steps, and the small print of each, are those of huggingface/tokenizers: added_vocabulary.rs,
normalizers/, pre_tokenizers/byte_level.rs, models/bpe/model.rs.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

import regex

from .bpe import NO_TOKEN, Tokenizer, check_text
from .protocol import end_of
from .vocabulary import END_OF_TEXT, Merges, TokenizerError, spell

# What may be done with a text, by its name. Lower case goes letter by letter: a sigma is the same one at a word's end.
NORMALIZERS: Mapping[str, Callable[[str], str]] = {
    "NFC": partial(normalize, "NFC"), "NFD": partial(normalize, "NFD"), "NFKC": partial(normalize, "NFKC"),
    "NFKD": partial(normalize, "NFKD"), "Lowercase": lambda text: "".join([character.lower() for character in text])}
NO_TEXT = "\ufffd".encode()         # what an id without a token decodes to: it is not to be written

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


class RuledTokenizer(Tokenizer):
    """A Tokenizer with rules of its own.

    merges        as in Tokenizer, sound
    ids           of the bytes that there are, and of what the merges make
    rules         Rules
    n_vocab       how many ids there are, with those that no token has
    end_of_text   the id that ends a text, or None

    Attributes: as in Tokenizer; and rules, and ids.
    """

    def __init__(self, merges: Merges, ids: Mapping[bytes, int], rules: Rules, n_vocab: int, end_of_text: int | None):
        self._prepare(merges, ids, end_of_text)
        self.ids, self.rules, self.n_vocab = dict(ids), rules, n_vocab
        self._token_of_id = {token.id: token.content.encode() for token in rules.added} | self._token_of_id
        self.unused = [i for i in range(n_vocab) if i not in self._token_of_id]
        self._token_of_id |= dict.fromkeys(self.unused, NO_TEXT)

    def save(self, folder: str | Path) -> None:
        """Write tokenizer.json, as Hugging Face's libraries read it, and tokenizer_config.json into `folder`.

        OSError where that fails; TokenizerError where a vocabulary is there already.
        """
        from .tokenizer_json import write  # which makes such tokenizers
        write(folder, self)

    def fingerprint(self) -> bytes:
        """32 bytes that differ where two vocabularies do, or their rules."""
        return hashlib.sha256(super().fingerprint() + json.dumps([*self.rules, self.end_of_text]).encode()).digest()

    def _parts(self, text: str, allowed_special: Iterable[str]) -> list[str | int]:
        """What is to be cut into pieces, and the ids of the added tokens between."""
        found = self._to_find(text, check_text(text, allowed_special))
        parts = find_tokens([text], [token for token in found if not token.normalized])
        parts = [part if isinstance(part, int) else normalise(part, self.rules.normalizers) for part in parts]
        parts = find_tokens(parts, [token._replace(content=normalise(token.content, self.rules.normalizers))
                                    for token in found if token.normalized])
        if self.rules.prefix_space:
            parts = [part if isinstance(part, int) or part[:1] in ("", " ") else " " + part for part in parts]
        return parts

    def _to_find(self, text: str, allowed: set[str]) -> list[AddedToken]:
        """The added tokens that count: those that are not special, and those that are allowed."""
        names = {token.content for token in self.rules.added}
        if unknown := allowed - names - {END_OF_TEXT}:
            raise TokenizerError(f"allowed_special: expected of {sorted(names | {END_OF_TEXT})}, got {sorted(unknown)}")
        found = [token for token in self.rules.added if not token.special or token.content in allowed]
        if END_OF_TEXT in allowed - names and END_OF_TEXT in text:          # it has another name in this vocabulary
            found.append(AddedToken(END_OF_TEXT, end_of(self)))
        return found

    def _merge(self, piece: str) -> tuple[list[int], list[int]]:
        """The ids of one piece, and the ranks of the merges that made them."""
        ids, applied = super()._merge(piece)
        if NO_TOKEN in ids:
            if self.rules.unknown is None:
                character = next(c for c in piece if any(self._id_of_byte[byte] == NO_TOKEN for byte in c.encode()))
                byte = next(byte for byte in character.encode() if self._id_of_byte[byte] == NO_TOKEN)
                raise TokenizerError(f"the text holds {character!r}, and this vocabulary has no token for the byte "
                                     f"0x{byte:02x} of it (spelled {spell(bytes([byte]))!r}): leave it out, or put "
                                     "another character there")
            if self.rules.fuse_unknown:
                ids = [i for at, i in enumerate(ids) if i != NO_TOKEN or at == 0 or ids[at - 1] != NO_TOKEN]
            ids = [self.rules.unknown if i == NO_TOKEN else i for i in ids]
        return ids, applied


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
