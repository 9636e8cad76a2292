"""The BPE of bpe.py for a vocabulary that has rules of its own (rules.py), or ids that no token has."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from .bpe import NO_TOKEN, Tokenizer
from .protocol import end_of
from .rules import SPACE, AddedToken, Rules, find_tokens, normalise
from .tokenizer_json import write
from .utf8 import expect_text
from .vocabulary import END_OF_TEXT, Merges, TokenizerError, spell

NO_TEXT = "\ufffd".encode()         # what an id without a token decodes to: it is not to be written


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
        self.cuts = not (rules.prefix_space or any(token.lstrip or token.rstrip or SPACE.search(token.content)
                                                   for token in rules.added))
        self._token_of_id = {token.id: token.content.encode() for token in rules.added} | self._token_of_id
        self.unused = [i for i in range(n_vocab) if i not in self._token_of_id]
        self._token_of_id |= dict.fromkeys(self.unused, NO_TEXT)

    def save(self, folder: str | Path) -> None:
        """Write tokenizer.json, as Hugging Face's libraries read it, and tokenizer_config.json into `folder`.

        OSError where that fails; TokenizerError where a vocabulary is there already.
        """
        write(folder, self.merges, self.ids, self.rules, self.end_of_text)

    def fingerprint(self) -> bytes:
        """32 bytes that differ where two vocabularies do, or their rules."""
        return hashlib.sha256(super().fingerprint() + json.dumps([*self.rules, self.end_of_text]).encode()).digest()

    def _parts(self, text: str, allowed_special: Iterable[str]) -> list[str | int]:
        """What is to be cut into pieces, and the ids of the added tokens between."""
        expect_text(text)
        found = self._to_find(text, {allowed_special} if isinstance(allowed_special, str) else set(allowed_special))
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
