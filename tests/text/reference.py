"""GPT-2's encoding as its definition says it, and nothing done to make it fast.

It works in the same way as OpenAI's encoder.py (strings for symbols; a sweep over the piece for each merge; a memory of
pieces), so it also stands in for that program where speed is compared. It shares no code with the package.
"""

import unicodedata
from collections import Counter
from itertools import pairwise

import regex

PATTERN = regex.compile(r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""")
CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def byte_spelling():
    """byte -> printable character."""
    spelling, extra = {}, 256
    for byte in range(256):
        if 33 <= byte <= 126 or 161 <= byte <= 172 or 174 <= byte <= 255:
            spelling[byte] = chr(byte)
        else:
            spelling[byte] = chr(extra)
            extra += 1
    return spelling


def ids_in_order(merges):
    """token -> id for a vocabulary in OpenAI's order: bytes by their spelling, merges, `<|endoftext|>`."""
    tokens = sorted(byte_spelling().values()) + [left + right for left, right in merges] + ["<|endoftext|>"]
    return {token: i for i, token in enumerate(tokens)}


def read_merges(path):
    """The merges in a vocab.bpe, as spelled there."""
    with open(path, encoding="utf-8", newline="") as file:
        return [tuple(line.split(" ")) for line in file.read().split("\n")[1:-1]]


class Reference:
    """Encodes with merges and ids that are given as the two files of a vocabulary spell them."""

    def __init__(self, merges, ids):
        self.rank = {pair: rank for rank, pair in enumerate(merges)}
        self.ids = ids
        self.spelling = byte_spelling()
        self.memory = {}

    def encode(self, text):
        ids = []
        for piece in PATTERN.findall(text):
            spelled = "".join(self.spelling[byte] for byte in piece.encode("utf-8"))
            ids.extend(self.ids[symbol] for symbol in self.merge(spelled).split(" "))
        return ids

    def merge(self, spelled):
        """The symbols of one piece, with spaces between them."""
        if spelled in self.memory:
            return self.memory[spelled]
        symbols = tuple(spelled)
        while len(symbols) > 1:
            pair = min(set(pairwise(symbols)), key=lambda pair: self.rank.get(pair, float("inf")))
            if pair not in self.rank:
                break
            symbols = sweep(symbols, pair)
        self.memory[spelled] = " ".join(symbols)
        return self.memory[spelled]


def learn(texts, n_merges):
    """The merges that some texts teach: all pairs counted again for each."""
    spelling = byte_spelling()
    order = {symbol: i for i, symbol in enumerate(sorted(spelling.values()))}
    pieces = [piece.encode("utf-8") for text in texts for piece in PATTERN.findall(text)]
    pieces = [tuple(spelling[byte] for byte in piece) for piece in pieces]
    merges = []
    while len(merges) < n_merges:
        counts = Counter(pair for piece in pieces for pair in pairwise(piece))
        candidates = [pair for pair in counts if counts[pair] > 1]
        if not candidates:
            break
        best = min(candidates, key=lambda pair: (-counts[pair], order[pair[0]], order[pair[1]]))
        order[best[0] + best[1]] = len(order)
        pieces = [sweep(piece, best) for piece in pieces]
        merges.append(best)
    return merges


def sweep(symbols, pair):
    """Merge a pair wherever it stands, from left to right."""
    merged, i = [], 0
    while i < len(symbols):
        if symbols[i : i + 2] == pair:
            merged.append(pair[0] + pair[1])
            i += 2
        else:
            merged.append(symbols[i])
            i += 1
    return tuple(merged)


def kind(character):
    """What GPT-2's regular expression tells apart: white space, letters, numbers, all else."""
    if character in WHITE_SPACE:
        return "space"
    return {"L": "letter", "N": "number"}.get(unicodedata.category(character)[0], "other")


def cut(text):
    """The pieces of a text, found without a regular expression."""
    pieces, start = [], 0
    while start < len(text):
        end = piece_end(text, start)
        pieces.append(text[start:end])
        start = end
    return pieces


def piece_end(text, start):
    for contraction in CONTRACTIONS:
        if text.startswith(contraction, start):
            return start + len(contraction)
    first = start + 1 if text[start] == " " and start + 1 < len(text) else start
    if kind(text[first]) != "space":
        end = first
        while end < len(text) and kind(text[end]) == kind(text[first]):
            end += 1
        return end
    end = start
    while end < len(text) and kind(text[end]) == "space":
        end += 1
    # A run of white space leaves its last character to what follows, unless nothing follows or it has only that one.
    return end if end == len(text) or end == start + 1 else end - 1
