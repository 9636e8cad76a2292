"""What the rest of the package asks of a tokenizer, whatever the tokens are made of."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from .vocabulary import TokenizerError

MOST_OF_ONE = 8                 # tokens: a character has four bytes at most, and its neighbours' may be in its tokens


class AnyTokenizer(Protocol):
    """Text to ids and back: bpe.Tokenizer is one, and so is whatever has these.

    n_vocab       how many ids there are, from 0 on: as many as the model has rows for
    unused        those of them that no token has, since a model's table may be larger than its vocabulary: not to be
                  written, which the model that is loaded with it knows
    end_of_text   the id that ends a text, and that stands between two; None where the vocabulary has none
    cuts          whether a long text may be cut before white space: its ids are then those of its parts
    """

    @property
    def n_vocab(self) -> int: ...

    @property
    def unused(self) -> Sequence[int]: ...

    @property
    def end_of_text(self) -> int | None: ...

    @property
    def cuts(self) -> bool: ...

    def encode(self, text: str, allowed_special: Iterable[str] = ()) -> list[int]:
        """The ids of a text, in which the names of special tokens are text, but for the allowed ones."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of a sequence of ids."""

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The same in UTF-8, of which a single token may be a part that is no text by itself."""

    def save(self, folder: str | Path) -> None:
        """Write the files from which it can be read again into a folder without them."""

    def fingerprint(self) -> bytes:
        """32 bytes that differ where a text could have other ids: token files name the tokenizer by them."""


def end_of(tokenizer: AnyTokenizer) -> int:
    """The token that ends a text, and that one without a prompt is begun with; TokenizerError where there is none."""
    if tokenizer.end_of_text is None:
        raise TokenizerError("the vocabulary has no token that ends a text, so none can be begun without a prompt, and "
                             "texts cannot follow one another: give a prompt, or one text; or have config.json name "
                             "the token, as eos_token_id")
    return tokenizer.end_of_text


def characters_of(tokenizer: AnyTokenizer, ids: Sequence[int]) -> list[tuple[bytes, list[int]]]:
    """The tokens by the shortest texts that they are together, as (bytes, places): most are by themselves, and those of
    one character stand together; so do, for want of better, at most MOST_OF_ONE that are no text.
    """
    found, begin = [], 0
    for end in range(1, len(ids) + 1):
        data = tokenizer.decode_bytes(ids[begin:end])
        if is_text(data) or end == len(ids) or end - begin == MOST_OF_ONE:
            found.append((data, list(range(begin, end))))
            begin = end
    return found


def is_text(data: bytes) -> bool:
    """Whether bytes are whole characters."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
