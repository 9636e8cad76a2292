"""GPT-2's byte-level byte-pair encoding (BPE): text to token ids and back, to the id as OpenAI's encoder does it.

    text  ->  pieces  ->  bytes  ->  merges  ->  ids

1. A regular expression cuts the text into pieces: a word with the space before it, a number, a run of signs.
2. Every piece becomes its UTF-8 bytes, and every byte is a token: so there is no text that cannot be encoded.
3. Of all pairs of neighbours, the one that was learned first (of the lowest rank) is merged into one token, wherever
   it stands, from left to right; and again, until no pair of neighbours is a merge.

Pieces are encoded independently of one another, so each is worked out once and then remembered.
This file does not read vocabulary files (vocabulary.py), learn merges (bpe_train.py) or print tokens as they arrive
(streaming.py).

Sennrich, Haddow, Birch 2016, arXiv:1508.07909, section 3.2 (BPE of words);
Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2 (of bytes).

Chapter: S001 2.1.
"""

import hashlib
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple

import regex

from .protocol import end_of
from .utf8 import expect_text, lone_surrogate
from .vocabulary import (
    END_OF_TEXT,
    FILES,
    Merges,
    TokenizerError,
    check_ids,
    check_merges,
    openai_ids,
    read_gpt2_merges,
    read_vocabulary,
    write_vocabulary,
)

# GPT-2's own: a contraction | letters | digits | other signs, each with one space before it | white space.
# `\s+(?!\S)` leaves the last space of a run to the word after it: "a   b" is "a", "  ", " b".
PIECE = regex.compile(r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""")

# The same, where there is nothing but ASCII: Python's own `re` needs half the time, but does not know \p{L} and \p{N}.
# What is frequent comes first: it is tried first, and no other alternative begins with a letter or digit.
ASCII_PIECE = re.compile(
    r""" [A-Za-z]+|[A-Za-z]+| ?[0-9]+|'(?:[stmd]|re|ve|ll)| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+""", re.ASCII)

# Where white space follows something else, a piece begins, whatever stands around it. (?r) finds the last such place.
LAST_BREAK = regex.compile(r"(?r)(?<=\S)\s")

WINDOW = 2**13          # characters cut into pieces at a time, so that the pieces stay in the processor's cache
MAX_WORDS = 2**16       # pieces remembered, in some 10 MB; Shakespeare has 35,000 different ones
MAX_WORD_LENGTH = 64    # longer pieces are hardly ever met twice
LONG = 32               # bytes; from here on merge_long is the faster one

NO_MERGE = 2**62        # the rank of a pair that is no merge: above every true rank
GONE = -1               # stands where a symbol has become part of the one before it
NO_TOKEN = -2           # stands for a byte that has no token; such vocabularies are in ruled.py

# SHA-256 of the parts of GPT-2's merges. Every token of theirs is what its own bytes encode to: so it is with all that
# were learned from texts, but not with any that a file may hold; these have been tried out (tests/text/test_bpe.py).
WHOLE = "c52ffe423f68ccb68f9c8f3d52deaf8d5d5b3b661d8a76046e7e5b590a0d8d0e"


# ---- cutting

def cut(text: str) -> Iterator[list[str]]:
    """The pieces of a text, step 1, as one list after another, each of some WINDOW characters of the text."""
    start = 0
    while start < len(text):
        end = start + WINDOW
        while end < len(text):
            if found := LAST_BREAK.search(text, start + 1, end):
                end = found.start()
                break
            end += end - start                  # a long run without a break: look twice as far
        window = text[start:end]
        yield ASCII_PIECE.findall(window) if window.isascii() else PIECE.findall(window)
        start = end


def at_breaks(parts: Iterable[str]) -> Iterator[str]:
    """The same text in parts that end where a piece begins: so never inside a piece, nor inside `<|endoftext|>`.

    The ids of such parts, one after another, are those of the text.  A part is as long as those that came in, or as the
    longest run without white space.
    """
    text = ""
    for part in parts:
        known = len(text)               # searched already, and without a place to cut
        text += part
        if found := LAST_BREAK.search(text, known):
            yield text[:found.start()]
            text = text[found.start():]
    yield text


# ---- merging
#
# Both functions do step 3, in place, on a list that holds the ids of single bytes at first; they return the ranks they
# applied, in order. `rank_of` has the rank of each pair of ids that is a merge, `made` the id that each rank makes.
#
# They merge one pair at a time, the leftmost of the lowest rank, where step 3 merges a pair wherever it stands. That is
# the same: a merge needs what earlier merges made (Tokenizer checks it), so a pair that holds the new token ranks above
# the merge that made the token, and waits until that merge has been applied wherever it can be.


def merge_short(ids: list[int], rank_of: Mapping[tuple[int, int], int], made: Sequence[int]) -> list[int]:
    """Merge a short piece: look through all pairs for the lowest rank, merge it, look again."""
    applied, get = [], rank_of.get
    ranks = [get(pair, NO_MERGE) for pair in pairwise(ids)]                 # ranks[i] is that of ids[i], ids[i + 1]
    while ranks and (lowest := min(ranks)) != NO_MERGE:
        i = ranks.index(lowest)
        ids[i] = new = made[lowest]
        del ids[i + 1], ranks[i]
        if i > 0: ranks[i - 1] = get((ids[i - 1], new), NO_MERGE)
        if i < len(ranks): ranks[i] = get((new, ids[i + 1]), NO_MERGE)
        applied.append(lowest)
    return applied


def merge_long(ids: list[int], rank_of: Mapping[tuple[int, int], int], made: Sequence[int]) -> list[int]:
    """Merge a piece of n bytes in O(n log n): merge_short would look at all n pairs again for each of n merges.

    The symbols form a linked list (before, after) over their first places, so that a merge moves nothing; a heap gives
    the lowest rank. A merge changes the two pairs beside it: their old entries stay in the heap, and are known to be
    stale by ranks[i], which always holds the rank of the pair that begins at place i now.
    """
    n = len(ids)
    applied = []
    before, after = list(range(-1, n - 1)), list(range(1, n + 1))
    ranks = [rank_of.get(pair, NO_MERGE) for pair in pairwise(ids)] + [NO_MERGE]
    heap = [rank * n + i for i, rank in enumerate(ranks) if rank != NO_MERGE]   # sorts by rank, then from left to right
    heapify(heap)
    while heap:
        rank, i = divmod(heappop(heap), n)
        if ranks[i] != rank: continue
        gone = after[i]
        ids[i], ids[gone], ranks[gone] = made[rank], GONE, NO_MERGE
        after[i] = after[gone]
        if after[i] < n: before[after[i]] = i
        for left in (before[i], i):
            if left < 0: continue
            right = after[left]
            ranks[left] = rank_of.get((ids[left], ids[right]), NO_MERGE) if right < n else NO_MERGE
            if ranks[left] != NO_MERGE: heappush(heap, ranks[left] * n + left)
        applied.append(rank)
    ids[:] = [token for token in ids if token != GONE]
    return applied


# ---- the tokenizer

class Merge(NamedTuple):
    """Two tokens that became one; rank counts from 0, the merge that was learned first."""

    rank: int
    left: bytes
    right: bytes


class Piece(NamedTuple):
    """A piece of a text, its bytes, the merges applied to them in their order, and the ids that came out."""

    text: str
    data: bytes
    merges: list[Merge]
    ids: list[int]


class Tokenizer:
    """Encodes text as token ids and decodes ids as text, with a vocabulary of bytes, merges and `<|endoftext|>`.

    merges  (left, right) in the order of learning, as bytes; each part is a byte or what an earlier merge makes
    ids     the id of every token, from 0 without a gap; by default in OpenAI's order: bytes, merges, `<|endoftext|>`
    names   of the files that ids and merges are from, for messages; and the line of the first merge

    TokenizerError where these contradict each other. `Tokenizer.gpt2()` has GPT-2's own vocabulary.
    Attributes to read: n_vocab, how many tokens there are; end_of_text, the id of `<|endoftext|>`; merges; unused, the
    ids that no token has: none here (see ruled.py).
    """

    unused: Sequence[int] = ()
    cuts = True                     # at white space: see protocol.py

    def __init__(self, merges: Merges, ids: Mapping[bytes, int] | None = None, names: tuple[str, str] = FILES,
                 first: int = 2):
        check_merges(merges, names[1], first)
        if ids is None:
            ids = openai_ids(merges)
        check_ids(ids, merges, names)
        self._prepare(merges, ids, ids[END_OF_TEXT.encode()])

    @classmethod
    def checked(cls, merges: Merges, ids: Mapping[bytes, int]) -> "Tokenizer":
        """One of merges and ids that have been seen to be as they must."""
        tokenizer = cls.__new__(cls)
        tokenizer._prepare(merges, ids, ids[END_OF_TEXT.encode()])
        return tokenizer

    def _prepare(self, merges: Merges, ids: Mapping[bytes, int], end_of_text: int | None) -> None:
        """Have at hand what encoding and decoding ask for."""
        self.end_of_text = end_of_text
        self.merges = list(merges)
        self.n_vocab = len(ids)
        self._token_of_id = {i: token for token, i in ids.items()}
        self._id_of_byte = [ids.get(bytes([byte]), NO_TOKEN) for byte in range(256)]
        self._rank_of = {(ids[left], ids[right]): rank for rank, (left, right) in enumerate(merges)}
        self._made = [ids[left + right] for left, right in merges]
        self._whole = ids if hashlib.sha256(b"\n".join(chain.from_iterable(merges))).hexdigest() == WHOLE else {}
        self._ids_of_piece = _RememberedPieces(self)

    def __repr__(self) -> str:
        unused = f", {len(self.unused):,} of them unused" if self.unused else ""
        return f"{type(self).__name__} of {self.n_vocab:,} tokens{unused}: byte-level BPE of {len(self.merges):,} " \
               f"merges, end of text {self.end_of_text}"

    @classmethod
    def gpt2(cls) -> "Tokenizer":
        """GPT-2's vocabulary, one for all its sizes: it comes with this package, so nothing is downloaded."""
        merges = read_gpt2_merges()                     # sound: the tests have checked them
        return cls.checked(merges, openai_ids(merges))

    @classmethod
    def load(cls, folder: str | Path, names: tuple[str, str] = FILES) -> "Tokenizer":
        """The vocabulary in two files of `folder`: encoder.json and vocab.bpe, or what names says they are called.

        TokenizerError says which file and line is missing, damaged or in contradiction with the other.
        """
        try:
            merges, ids, first = read_vocabulary(folder, names)
            return cls(merges, ids, names, first)
        except TokenizerError as error:
            raise TokenizerError(f"the vocabulary in {folder} cannot be used: {error}") from None

    def save(self, folder: str | Path) -> None:
        """Write the vocabulary as encoder.json and vocab.bpe into `folder`, made if need be.

        OSError where that fails; TokenizerError where one of the two is there already.
        """
        write_vocabulary(folder, self.merges, {token: i for i, token in self._token_of_id.items()})

    def fingerprint(self) -> bytes:
        """32 bytes that differ where two vocabularies do: the SHA-256 of their tokens, by id, and merges."""
        digest = hashlib.sha256()
        tokens = [self.decode_bytes([i]) for i in range(self.n_vocab)]
        for token in [*tokens, *chain.from_iterable(self.merges)]:
            digest.update(struct.pack("<I", len(token)) + token)
        return digest.digest()

    def encode(self, text: str, allowed_special: Iterable[str] = ()) -> list[int]:
        """The ids of a text.

        text             any str; TokenizerError for bytes and for lone surrogates, which are no text
        allowed_special  `("<|endoftext|>",)` makes that string in the text the token that ends a document;
                         by default it is text like any other, so that nobody can end a document by writing it
        returns          a list of ids
        """
        ids: list[int] = []
        ids_of = self._ids_of_piece.__getitem__
        try:
            for part in self._parts(text, allowed_special):
                if isinstance(part, int):
                    ids.append(part)
                else:
                    for pieces in cut(part):
                        ids.extend(chain.from_iterable(map(ids_of, pieces)))
        except UnicodeEncodeError:
            raise lone_surrogate(text) from None
        return ids

    def encode_batch(self, texts: Iterable[str], allowed_special: Iterable[str] = ()) -> list[list[int]]:
        """The ids of several texts, a list for each; the arguments and errors are those of encode."""
        if isinstance(texts, (str, bytes)):
            raise TokenizerError(f"encode_batch: expected a list of texts, got one {type(texts).__name__}; "
                                 f"encode takes one text")
        return [self.encode(text, allowed_special) for text in texts]

    def explain(self, text: str, allowed_special: Iterable[str] = ()) -> list[Piece]:
        """How encode comes to its ids: the pieces of the text, the bytes of each, and the merges applied, in order."""
        explained = []
        try:
            for part in self._parts(text, allowed_special):
                if isinstance(part, int):
                    explained.append(Piece(self.decode([part]), self.decode_bytes([part]), [], [part]))
                    continue
                for piece in chain.from_iterable(cut(part)):
                    ids, applied = self._merge(piece)
                    merges = [Merge(rank, *self.merges[rank]) for rank in applied]
                    explained.append(Piece(piece, piece.encode(), merges, ids))
        except UnicodeEncodeError:
            raise lone_surrogate(text) from None
        return explained

    def decode(self, ids: Iterable[int]) -> str:
        """The text of a sequence of ids, with U+FFFD for bytes that are not UTF-8; TokenizerError for an unknown id."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of a sequence of ids, which need not be UTF-8; TokenizerError for an unknown id."""
        token_of_id = self._token_of_id
        try:
            return b"".join([token_of_id[i] for i in ids])
        except KeyError as error:
            raise TokenizerError(f"decode: expected ids from 0 to {self.n_vocab - 1}, got {error.args[0]!r}") from None
        except TypeError as error:
            raise TokenizerError(f"decode: expected a flat sequence of ids: {error}") from None

    def _parts(self, text: str, allowed_special: Iterable[str]) -> list[str | int]:
        """The text between the tokens `<|endoftext|>`, and their id: the whole text, unless that token is allowed."""
        expect_text(text)
        allowed = {allowed_special} if isinstance(allowed_special, str) else set(allowed_special)
        if unknown := allowed - {END_OF_TEXT}:
            raise TokenizerError(f"allowed_special: the one special token is {END_OF_TEXT!r}, got {sorted(unknown)}")
        end = end_of(self)
        first, *others = text.split(END_OF_TEXT) if allowed else [text]
        return [first, *(part for other in others for part in (end, other))]

    def _merge(self, piece: str) -> tuple[list[int], list[int]]:
        """The ids of one piece, and the ranks of the merges that made them."""
        ids = [self._id_of_byte[byte] for byte in piece.encode()]
        merge = merge_short if len(ids) < LONG else merge_long
        return ids, merge(ids, self._rank_of, self._made)


class _RememberedPieces(dict):
    """piece -> its ids, worked out when first asked for; emptied when full, so that it never grows with the text.

    A piece that is a token needs no merge, where this is known of all tokens (WHOLE).
    """

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer, self.whole = tokenizer, tokenizer._whole

    def __missing__(self, piece: str) -> tuple[int, ...]:
        whole = self.whole.get(piece.encode())
        ids = tuple(self.tokenizer._merge(piece)[0]) if whole is None else (whole,)
        if len(piece) <= MAX_WORD_LENGTH:
            if len(self) >= MAX_WORDS: self.clear()
            self[piece] = ids
        return ids
