"""What BERT holds for the word at each gap of a text:  床前明[MASK]光.

    p = softmax(words at the gap)           of all pieces of the vocabulary, each gap for itself
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .errors import Gpt2npError
from .layers.softmax import softmax_forward
from .models.bert import BertForPreTraining
from .text.vocab_txt import MASK
from .text.wordpiece import WordPiece


class Guess(NamedTuple):
    """A piece, and how likely it is."""

    piece: str
    probability: float


def fill(model: BertForPreTraining, tokenizer: WordPiece, text: str, top_k: int = 5,
         cut: bool = False) -> list[list[Guess]]:
    """The likeliest pieces at each [MASK] of a text, the likeliest first.

    cut      whether a text that is longer than the model sees loses its end

    Special pieces are no words, and are left out of the lists; what they have of the probability, nobody else gets.
    Gpt2npError for a text without [MASK], and for one that is too long.
    """
    n_ctx = model.n_ctx
    ids = np.array(tokenizer.encode_pair(text, max_length=n_ctx if cut else None, allowed_special=(MASK,)).ids)
    if len(ids) > n_ctx:
        raise Gpt2npError(f"expected a text of at most {n_ctx:,} pieces, [CLS] and [SEP] among them, got {len(ids):,}: "
                          "--cut leaves out the end")
    gaps = np.flatnonzero(ids == tokenizer.mask)
    if not len(gaps):
        raise Gpt2npError(f"expected a text with {MASK} where a word is missing, got {text!r:.60}"
                          + (", of which the end was cut" if cut and MASK in text else ""))
    x, _ = model.bert.forward(ids[None], keep_cache=False)
    words, _ = model.mlm.forward(x[0, gaps], keep_cache=False)
    p, _ = softmax_forward(words)
    return [likeliest(row, tokenizer, top_k) for row in p]


def likeliest(p: Sequence[float], tokenizer: WordPiece, top_k: int) -> list[Guess]:
    """The likeliest pieces of a row of probabilities, without special ones."""
    special = {tokenizer.pad, tokenizer.unk, tokenizer.cls, tokenizer.sep, tokenizer.mask}
    order = [int(i) for i in np.argsort(-np.asarray(p), kind="stable")[:top_k + len(special)] if i not in special]
    return [Guess(tokenizer.pieces[i], float(p[i])) for i in order[:top_k]]
