"""Documents of sentences, and what BERT learns from them: rows of one text or two, in which some words are hidden.

In a file, a sentence is a line, and an empty line stands between two documents.  In a batch,

    tokens     [CLS] a b c [SEP] d e [SEP] [PAD]            some of a, ..., e are [MASK], or another piece
    segments     0   0 0 0   0   1 1   1     0
    targets    -100, but for those that are hidden: what was there
    not_next   0: the second text follows the first in its document; 1: it is from another; -100: there is none

Devlin et al. 2019, arXiv:1810.04805, section 3.1 and A.1; google-research/bert, create_pretraining_data.py.

Chapter: S001 3.1.1.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..hints import Array, Rng
from ..layers.cross_entropy import IGNORED
from ..models.bert import IS_NEXT, NOT_NEXT
from ..text.utf8 import lines_in
from ..text.wordpiece import WordPiece
from .by_length import ByLength
from .errors import TrainingError
from .plan import FOR_MASKS

HIDDEN = 0.15                   # which part of the pieces is to be predicted; of these
SHOWN_AS_MASK, SHOWN_AS_OTHER = 0.8, 0.1        # are [MASK], are any other piece; the rest stays as it is
PIECES, WORDS, SPACES = UNITS = ("pieces", "words", "spaces")
NO_WORD = -1                    # of special pieces: never hidden

Sentence = list[tuple[int, int]]        # for each piece its id, and the number of its word in the sentence
Document = list[Sentence]


class Rows(NamedTuple):
    """Some rows, as BertForPreTraining takes them."""

    tokens: Array               # (B, T)
    segments: Array             # (B, T)
    padding_mask: Array         # (B, T)   bool, True for a real token
    targets: Array              # (B, T)   -100 where nothing is hidden
    not_next: Array             # (B,)     -100 where nothing is asked


class Chunk(NamedTuple):
    """Sentences first, ..., end - 1 of a document: as many as a row has room for."""

    document: int
    first: int
    end: int


# ---- files


def read_documents(paths: Iterable[str | Path]) -> list[list[str]]:
    """The sentences of each document; each file begins a new one.  TokenizerError where a text is not UTF-8."""
    documents: list[list[str]] = []
    for path in paths:
        documents.append([])
        for line in lines_in(path):
            if sentence := line.strip():
                documents[-1].append(sentence)
            elif documents[-1]:
                documents.append([])
    return [document for document in documents if document]


def encode_documents(documents: Iterable[Sequence[str]], tokenizer: WordPiece, unit: str, room: int) -> list[Document]:
    """The pieces of each sentence, with the numbers of their words; one of more than `room` pieces is several.

    unit   what is hidden whole or not at all: a piece; a word of the tokenizer's, which in Chinese is a character; or
           what stands between spaces
    """
    encoded = []
    for document in documents:
        sentences: Document = []
        for text in document:
            found = tokenizer.encode_pair(text.split() if unit == SPACES else text)
            ids, words = found.ids[1:-1], found.words[1:-1]
            numbers = range(len(ids)) if unit == PIECES else words
            pieces = [(i, number) for i, number in zip(ids, numbers) if number is not None]
            sentences += [pieces[at:at + room] for at in range(0, len(pieces), room)]
        if sentences:
            encoded.append(sentences)
    return encoded


# ---- batches


class MaskedBatches:
    """What each step of training sees: B rows of like lengths, with words that are hidden anew every time.

    documents  of encode_documents, with room for context - 3 pieces
    pairs      whether rows may have two texts: half of the second ones follow the first, half are from another document
    B          how many rows a batch has
    context    how many positions a row has at most, [CLS] and [SEP] among them
    seed       integer

    A row is made of neighbouring sentences, as many as there is room for.  In one with two texts, it is drawn after
    which sentence the second one begins, and whether it stays or is taken from another document: from any of its
    sentences on, as many as there is then room for.  A row of one sentence has no second text, and is asked nothing.

    Every row comes once in an epoch.  A batch follows from (seed, step) alone.
    """

    def __init__(self, documents: Sequence[Document], tokenizer: WordPiece, pairs: bool, B: int, context: int,
                 seed: int):
        self.documents, self.tokenizer, self.pairs = documents, tokenizer, pairs
        self.room, self.seed = context - 3, seed
        self.chunks = list(chunks(documents, self.room))
        if not self.chunks:
            raise TrainingError("text: expected at least one sentence, got none")
        self.lengths = np.array([sum(map(len, documents[c.document][c.first:c.end])) for c in self.chunks])
        self.order = ByLength(self.lengths, B, seed)
        special = {tokenizer.pad, tokenizer.unk, tokenizer.cls, tokenizer.sep, tokenizer.mask}
        self.others = np.array([i for i in range(tokenizer.n_vocab) if i not in special])

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return len(self.order)

    def batch(self, step: int) -> Rows:
        """The batch of a step, counted from 0."""
        return self.rows(self.order.rows(step), np.random.default_rng([self.seed, FOR_MASKS, step]))

    def rows(self, chosen: Iterable[int], rng: Rng) -> Rows:
        """Some chunks as rows, with what is drawn for them."""
        return padded([self._row(self.chunks[i], rng) for i in chosen], self.tokenizer.pad)

    def _row(self, chunk: Chunk, rng: Rng) -> Rows:
        """One row, not yet padded: each array without the batch's axis."""
        document, not_next = self.documents[chunk.document], IGNORED
        first, second = document[chunk.first:chunk.end], Document()
        if self.pairs and len(first) > 1:
            at = int(rng.integers(1, len(first)))
            first, second, not_next = first[:at], first[at:], IS_NEXT
            if rng.random() < 0.5:
                second, not_next = self._from_another(chunk.document, self.room - sum(map(len, first)), rng), NOT_NEXT
        texts = [joined(first)] + [joined(second)] * bool(second)
        ids, segments, words = [self.tokenizer.cls], [0], [NO_WORD]
        for segment, text in enumerate(texts):
            last = max(words) + 1
            ids += [i for i, _ in text] + [self.tokenizer.sep]
            words += [last + number for _, number in text] + [NO_WORD]
            segments += [segment] * (len(text) + 1)
        tokens, targets = hide(np.array(ids), np.array(words), rng, self.tokenizer.mask, self.others)
        return Rows(tokens, np.array(segments), np.ones(len(ids), bool), targets, np.array(not_next))

    def _from_another(self, document: int, room: int, rng: Rng) -> Document:
        """Sentences of another document, as many as there is room for; one at least, if need be without its end."""
        other = int(rng.integers(len(self.documents) - 1))
        sentences = self.documents[other + (other >= document)]
        found = Document()
        for sentence in sentences[int(rng.integers(len(sentences))):]:
            if found and len(sentence) > room:
                break
            found.append(sentence[:room])
            room -= len(found[-1])
        return found


def has_pairs(documents: Sequence[Document], context: int) -> bool:
    """Whether it can be asked what follows what: a row has two sentences, and there is another document."""
    return len(documents) > 1 and any(c.end - c.first > 1 for c in chunks(documents, context - 3))


def chunks(documents: Iterable[Document], room: int) -> Iterator[Chunk]:
    """The sentences of each document, cut where there is no room for one more."""
    for number, document in enumerate(documents):
        first, used = 0, 0
        for i, sentence in enumerate(document):
            if used and used + len(sentence) > room:
                yield Chunk(number, first, i)
                first, used = i, 0
            used += len(sentence)
        yield Chunk(number, first, len(document))


def joined(sentences: Document) -> Sentence:
    """Sentences as one, whose words are numbered on."""
    text, words = Sentence(), 0
    for sentence in sentences:
        text += [(i, words + number) for i, number in sentence]
        words = text[-1][1] + 1
    return text


def hide(ids: Array, words: Array, rng: Rng, mask: int, others: Array, share: float = HIDDEN) -> tuple[Array, Array]:
    """Hide some words of a row, each whole or not at all.

    ids      (T,)
    words    (T,)    the number of each piece's word; -1 for special pieces, which are never hidden
    mask             the id of [MASK]
    others   (n,)    the ids of all that may stand in a hidden piece's place: no special ones
    share            of the pieces that are not special, which part is hidden: rounded, but one at least
    returns  tokens (T,), in which 8 of 10 hidden pieces are [MASK], one is any other, and one is what it was, so that
             every piece has to be looked at; and targets (T,), -100 where nothing is hidden

    Words come in a random order, and each is taken that does not make it too many; the first one in any case.
    """
    places = [np.flatnonzero(words == word) for word in range(words.max() + 1)]
    places = [places[word] for word in rng.permutation(len(places)) if len(places[word])]
    room, chosen = max(1, round(share * np.count_nonzero(words != NO_WORD))), list[Array]()
    for place in places:
        if len(place) <= room or not chosen:
            chosen.append(place)
            room -= len(place)
    hidden = np.concatenate(chosen) if chosen else np.empty(0, int)
    tokens, targets = ids.copy(), np.full_like(ids, IGNORED)
    targets[hidden] = ids[hidden]
    dice, drawn = rng.random(len(hidden)), rng.choice(others, len(hidden))
    shown = np.where(dice < SHOWN_AS_MASK, mask, np.where(dice < SHOWN_AS_MASK + SHOWN_AS_OTHER, drawn, ids[hidden]))
    tokens[hidden] = shown
    return tokens, targets


def padded(rows: Sequence[Rows], pad: int) -> Rows:
    """Rows of unequal lengths as one batch, filled up on the right."""
    T = max(len(row.tokens) for row in rows)
    fills = Rows(pad, 0, False, IGNORED, IGNORED)                       # type: ignore[arg-type]
    columns = [[np.pad(a, (0, T - len(a)), constant_values=fill) if a.ndim else a for a in column]
               for column, fill in zip(zip(*rows), fills)]
    return Rows(*map(np.stack, columns))
