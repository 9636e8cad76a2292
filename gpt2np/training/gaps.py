"""How well a BERT tells the pieces of a text, each hidden once: a seventh of a row at a time.

    loss = mean over all pieces of -log p(piece | its row, in which it and each seventh piece from it on are [MASK])

Seven passes ask for the whole text.  As many pieces are hidden at a time as in training, but all of them as [MASK], and
nothing is drawn: two models are asked about the same gaps.  It is no probability of the text, since each piece is told
from those on both sides of it.  A piece that is [UNK] is nothing that could be told, and is not asked for.

Salazar et al. 2020, arXiv:1910.14659, section 2.1, hide one piece alone each time, which costs as many passes as a row
has pieces.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..layers.cross_entropy import IGNORED
from ..text.wordpiece import WordPiece
from .by_length import ByLength
from .documents import PIECES, Rows, chunks, encode_documents, padded, read_documents
from .errors import TrainingError
from .masked_words import score
from .mpi import Parallel
from .tasks import Progress, unseen

EVERY = 7                       # one piece of so many is hidden at a time: 14%, where training hides 15
BATCH = 32                      # rows at once


class Told(NamedTuple):
    """What was found out about the pieces of a text.

    loss      the mean of -log p, in nats
    right     how often the piece was the likeliest one
    pieces    how many were asked for
    """

    loss: float
    right: float
    pieces: int


def rows_of(path: str | Path, tokenizer: WordPiece, context: int) -> list[list[int]]:
    """A text as rows of ids, [CLS] and [SEP] around neighbouring sentences, as many as there is room for.

    In the file a sentence is a line, and an empty line ends a document, as where a BERT is trained.
    """
    documents = encode_documents(read_documents([path]), tokenizer, PIECES, context - 2)
    return [[tokenizer.cls, *(i for sentence in documents[c.document][c.first:c.end] for i, _ in sentence),
             tokenizer.sep] for c in chunks(documents, context - 2)]


def with_gaps(ids: Sequence[int], first: int, tokenizer: WordPiece) -> Rows:
    """A row in which the pieces first, first + 7, ... are hidden; the [CLS] before them is not counted."""
    tokens = np.array(ids)
    targets = np.full_like(tokens, IGNORED)
    targets[1 + first:-1:EVERY] = tokens[1 + first:-1:EVERY]
    targets[targets == tokenizer.unk] = IGNORED
    tokens[targets != IGNORED] = tokenizer.mask
    return Rows(tokens, np.zeros_like(tokens), np.ones(len(tokens), bool), targets, np.array(IGNORED))


def measure(parallel: Parallel, rows: Sequence[Sequence[int]], tokenizer: WordPiece,
            progress: Progress = unseen) -> Told:
    """Ask for each piece of the rows once.  TrainingError where there is none that the vocabulary can spell."""
    total, by_length = np.zeros(6), ByLength([len(ids) for ids in rows], BATCH, 0).each()
    for done, chosen in enumerate(by_length, 1):
        for first in range(EVERY):
            found = [with_gaps(rows[i], first, tokenizer) for i in chosen]
            if found := [row for row in found if (row.targets != IGNORED).any()]:
                total += parallel.total(partial(score, parallel.replicas[0]), tuple(padded(found, tokenizer.pad)))
        progress(done, len(by_length))
    loss, right, n = map(float, total[:3])
    if not n:
        raise TrainingError("text: expected a word that the vocabulary can spell, got none")
    return Told(loss / n, right / n, int(n))


def some_gaps(rows: Sequence[Sequence[int]], tokenizer: WordPiece) -> Iterator[Rows]:
    """Each row once, as a batch, with a seventh of it hidden, of one row from its first piece on, of the next from its
    second.
    """
    for number, ids in enumerate(rows):
        row = with_gaps(ids, number % min(EVERY, len(ids) - 2), tokenizer)
        if (row.targets != IGNORED).any():
            yield padded([row], tokenizer.pad)
