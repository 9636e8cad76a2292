"""A vocabulary without the tokens that a text does not need, which cuts that text into the same tokens.

The ids are 0, 1, 2, ... again, in the old order.

Of a byte-level BPE there stay: every byte, so that any text can still be encoded; every token that no merge makes, as
`<|endoftext|>`; the tokens of the text; and what these are merged of, down to the bytes.

Why the text has the same tokens: each token is made by one merge alone, so the merges that are applied to a piece are
those of the trees of its tokens, and all of these stay, in the same order. Of the pairs that stand in a piece at any
moment, the one of the lowest rank is therefore the same: the merges that are gone were none that could be applied
before. At the end no pair is a merge, and with fewer merges still none is. Of another text none of this is true: it may
need more tokens than before.

Of a WordPiece there stay: the special pieces, and those that are found in the text. At each place of a word the longest
piece is taken: that one is still there, and no longer one has come. Of a word that is [UNK], what was found before
the place where nothing fits has to stay, too: without it a shorter piece might be taken, and the word be cut another
way, to its end. Of another text, a word may have shorter pieces than before, or become [UNK].

Chapter: S001 9 Q3.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from .bpe import Tokenizer
from .protocol import AnyTokenizer
from .ruled import RuledTokenizer
from .vocabulary import TokenizerError
from .wordpiece import WordPiece


def smaller(tokenizer: Any, used: Iterable[int]) -> tuple[Any, list[int]]:
    """The tokenizer with what some ids need, and the old ids in the order of the new ones.

    used   ids of a text, in any order, as often as they come; for a WordPiece, what its `needed` has of the text

    TokenizerError for ids that it does not have.
    """
    return fewer_pieces(tokenizer, used) if isinstance(tokenizer, WordPiece) else fewer_merges(tokenizer, used)


def fewer_pieces(tokenizer: WordPiece, used: Iterable[int]) -> tuple[WordPiece, list[int]]:
    """smaller, of a WordPiece."""
    old = sorted({tokenizer.pad, tokenizer.unk, tokenizer.cls, tokenizer.sep, tokenizer.mask, *used})
    expect_ids(tokenizer, old)
    options: Any = tokenizer.options
    return WordPiece([tokenizer.pieces[i] for i in old], **options), old


def fewer_merges(tokenizer: Tokenizer, used: Iterable[int]) -> tuple[Tokenizer, list[int]]:
    """smaller, of a byte-level BPE."""
    ids = tokenizer.ids if isinstance(tokenizer, RuledTokenizer) else ids_of(tokenizer)
    rules = tokenizer.rules if isinstance(tokenizer, RuledTokenizer) else None
    special = {i for i in (tokenizer.end_of_text, rules and rules.unknown) if i is not None}
    added = {token.id for token in rules.added} if rules else set()
    kept = set(used) | special | added
    expect_ids(tokenizer, kept)
    token_of = {i: token for token, i in ids.items()}
    tokens = with_parts(tokenizer, [token_of[i] for i in kept if i in token_of])
    kept |= {ids[token] for token in tokens} | {i for token, i in ids.items() if len(token) == 1}
    old = sorted(kept)
    new = {i: at for at, i in enumerate(old)}
    merges = [(left, right) for left, right in tokenizer.merges if left + right in tokens]
    new_ids = {token: new[i] for token, i in ids.items() if i in new}
    if rules is None:
        return Tokenizer(merges, new_ids), old
    rules = rules._replace(added=tuple(token._replace(id=new[token.id]) for token in rules.added),
                           unknown=None if rules.unknown is None else new[rules.unknown])
    end = tokenizer.end_of_text
    return RuledTokenizer(merges, new_ids, rules, len(old), None if end is None else new[end]), old


def expect_ids(tokenizer: AnyTokenizer, ids: Collection[int]) -> None:
    """TokenizerError for ids that a tokenizer does not have."""
    if ids and not 0 <= min(ids) <= max(ids) < tokenizer.n_vocab:
        raise TokenizerError(f"ids: expected from 0 to {tokenizer.n_vocab - 1}, got {min(ids)} to {max(ids)}")


def ids_of(tokenizer: Tokenizer) -> Mapping[bytes, int]:
    """The ids of all tokens."""
    return {tokenizer.decode_bytes([i]): i for i in range(tokenizer.n_vocab)}


def with_parts(tokenizer: Tokenizer, tokens: Iterable[bytes]) -> set[bytes]:
    """The tokens, and all that they are merged of."""
    parts = {left + right: (left, right) for left, right in tokenizer.merges}
    found, queue = set[bytes](), list(tokens)
    while queue:
        if (token := queue.pop()) not in found:
            found.add(token)
            queue += parts.get(token, ())
    return found
