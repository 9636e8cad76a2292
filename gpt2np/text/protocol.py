"""What the rest of the package asks of a tokenizer, whatever the tokens are made of."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol


class AnyTokenizer(Protocol):
    """Text to ids and back: bpe.Tokenizer is one, and so is whatever has these.

    n_vocab       how many ids there are, from 0 on
    end_of_text   the id that ends a text, and that stands between two
    """

    @property
    def n_vocab(self) -> int: ...

    @property
    def end_of_text(self) -> int: ...

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
