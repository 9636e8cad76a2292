"""Learning the merges of a vocabulary from text: the most frequent pair of neighbours becomes a token, again and again.

The text is read once, and only to count its different pieces (see bpe.py): no merge crosses the border of a piece, so a
piece that occurs 10,000 times need be looked at once, with weight 10,000. From then on every merge touches the places
where its pair stands, and no others.

Ties, which are frequent, go to the pair with the smaller ids, first left, then right: the same text gives the same
vocabulary, whatever the order of its files or words. A pair seen only once is not learned: it would be about one word.

Sennrich, Haddow, Birch 2016, arXiv:1508.07909, algorithm 1 (which counts all pairs again for every merge).
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush
from itertools import pairwise
from pathlib import Path

from tqdm import tqdm

from .bpe import Tokenizer, at_breaks, cut
from .utf8 import read_utf8
from .vocabulary import BYTE_TOKENS, END_OF_TEXT, Merges, TokenizerError

WALL = -1           # stands before, between and after the pieces, so that every symbol has neighbours
GONE = -2           # stands where a symbol has become part of the one before it


def learn_vocabulary(paths: Iterable[str | Path], n_vocab: int, progress: bool = False) -> Tokenizer:
    """Learn a vocabulary from text files.

    paths     files in UTF-8; `<|endoftext|>` in them stands between documents and is not learned as text
    n_vocab   how many tokens to have: 256 bytes, n_vocab - 257 merges, and `<|endoftext|>`
    progress  show how far it is on the terminal, if there is one
    returns   the tokenizer; TokenizerError for text that is not UTF-8 or does not suffice, OSError from reading
    """
    n_merges = n_vocab - 257
    if n_merges < 0:
        raise TokenizerError(f"expected a vocabulary of 257 tokens, bytes and {END_OF_TEXT}, or more, got {n_vocab}")
    merges = learn_merges(count_pieces(paths, progress), n_merges, progress)
    if len(merges) < n_merges:
        raise TokenizerError(f"the text has too few pairs that occur twice for {n_vocab} tokens: it suffices for "
                             f"{257 + len(merges)}; ask for fewer tokens by --n-vocab, or give more text")
    return Tokenizer(merges)


# ---- counting pieces

def count_pieces(paths: Iterable[str | Path], progress: bool = False) -> Counter[str]:
    """How often each piece occurs in some text files. TokenizerError where they are not UTF-8."""
    paths = list(paths)
    counts: Counter[str] = Counter()
    size = sum(os.path.getsize(path) for path in paths)
    with tqdm(total=size, desc="reading", unit="B", unit_scale=True, disable=None if progress else True) as bar:
        for path in paths:
            for text in at_breaks(read_utf8(path)):
                for document in text.split(END_OF_TEXT):
                    for pieces in cut(document):
                        counts.update(pieces)
                bar.update(len(text.encode()))
    return counts


# ---- learning merges

def learn_merges(piece_counts: Mapping[str, int], n_merges: int, progress: bool = False) -> Merges:
    """The first `n_merges` merges that these pieces teach, or fewer if no pair is left that occurs twice.

    The most frequent pair comes from a heap. Counts of old pairs only ever fall, so an entry promises at least the true
    count, and is put back lower if it promised more.
    """
    symbols = _Symbols(piece_counts)
    heap = [(-count, pair) for pair, count in symbols.counts.items()]       # the smallest is the most frequent
    heapify(heap)
    tokens = list(BYTE_TOKENS)
    merges: list[tuple[bytes, bytes]] = []
    with tqdm(total=n_merges, desc="learning", unit=" merges", disable=None if progress else True) as bar:
        while heap and len(merges) < n_merges:
            promised, pair = heappop(heap)
            count = symbols.counts[pair]
            if count < 2: continue
            if count != -promised:
                heappush(heap, (-count, pair))
                continue
            left, right = pair
            merges.append((tokens[left], tokens[right]))
            tokens.append(tokens[left] + tokens[right])
            for new_pair in symbols.merge(left, right, len(tokens) - 1):
                heappush(heap, (-symbols.counts[new_pair], new_pair))
            bar.update()
    return merges


class _Symbols:
    """The symbols of all pieces in one linked list, with a WALL between any two pieces.

    ids, before, after   the symbol at each place, and the places of its neighbours
    weights              how often the piece at each place occurs
    counts, places       of each pair of neighbours: how often it occurs, by weight, and the places of its left symbol

    A merge changes both beside each of its places only. Places that it made untrue stay listed, and are found out when
    their turn comes.
    """

    def __init__(self, piece_counts: Mapping[str, int]):
        self.ids, self.weights = _lay_out(piece_counts)
        n = len(self.ids)
        self.before, self.after = list(range(-1, n - 1)), list(range(1, n + 1))
        self.counts: dict[tuple[int, int], int] = defaultdict(int)
        self.places: dict[tuple[int, int], list[int]] = defaultdict(list)
        for i, pair in enumerate(pairwise(self.ids)):
            if WALL not in pair:
                self.counts[pair] += self.weights[i]
                self.places[pair].append(i)

    def merge(self, left: int, right: int, new: int) -> set[tuple[int, int]]:
        """Make the symbol `new` of left and right wherever they are neighbours; returns the pairs that come of it.

                h   [i     j]    k      ->     h   [i]   k          places
                a   left right   b             a   new   b          symbols
        """
        ids, before, after, weights = self.ids, self.before, self.after, self.weights
        counts, places = self.counts, self.places
        new_pairs = set()
        for i in places.pop((left, right)):     # from left to right, since they were listed so: it matters in "aaa"
            j = after[i]
            if ids[i] != left or ids[j] != right: continue
            h, k = before[i], after[j]
            ids[i], ids[j], after[i], before[k] = new, GONE, k, i
            if (a := ids[h]) != WALL:
                counts[a, left] -= weights[i]
                counts[a, new] += weights[i]
                places[a, new].append(h)
                new_pairs.add((a, new))
            if (b := ids[k]) != WALL:
                counts[right, b] -= weights[i]
                counts[new, b] += weights[i]
                places[new, b].append(i)
                new_pairs.add((new, b))
        del counts[left, right]
        return new_pairs


def _lay_out(piece_counts: Mapping[str, int]) -> tuple[list[int], list[int]]:
    """The bytes of all pieces as ids, with walls, and for each place how often its piece occurs."""
    id_of_byte = [BYTE_TOKENS.index(bytes([byte])) for byte in range(256)]
    ids, weights = [WALL], [0]
    for piece, count in piece_counts.items():
        data = piece.encode()
        ids += [id_of_byte[byte] for byte in data]
        weights += [count] * len(data)
        ids.append(WALL)
        weights.append(0)
    return ids, weights
