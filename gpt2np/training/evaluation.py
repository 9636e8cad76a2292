"""How well a model predicts a text: the mean loss of a token, each scored once, whatever the text's length.

Chapter: S001 3.2.1, 3.2.2; S004 5.2.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from ..hints import Array
from ..layers.cross_entropy import IGNORED
from .errors import TrainingError
from .mpi import Parallel
from .tasks import Progress, unseen

MAX_WINDOWS, MAX_LOGITS = 8, 1 << 27    # of a batch; the numbers in its logits, 512 MB of float32: more gain nothing


def evaluate(parallel: Parallel, tokens: Array, window: int, stride: int, progress: Progress = unseen) -> float:
    """The mean loss, in nats, of every token but the first, which nothing comes before.

    parallel  DataParallel, or the same over several processes
    tokens    (n,)  integers, n >= 2
    window    how many tokens the model sees at a time, at most its n_ctx
    stride    by how many tokens one window is ahead of the one before, from 1 to window: the smaller, the more context
              a token has, and the longer it takes: beyond the first window, each is predicted from at least
              window - stride + 1 tokens
    progress  is told after each batch how many windows are done
    returns   loss, float; TrainingError for a text or sizes that cannot be

    A batch has as many windows for each worker as the limits above allow, but one at least.
    """
    if len(tokens) < 2:
        raise TrainingError(f"text: expected at least 2 tokens, of which the second is predicted, got {len(tokens)}")
    if not 1 <= stride <= window:
        raise TrainingError(f"stride: expected a number from 1 to the window, {window}, got {stride}")
    most = min(MAX_WINDOWS, MAX_LOGITS // (parallel.replicas[0].config.n_vocab * window))
    batch = parallel.workers * max(1, most // parallel.workers)
    total, done, places = 0.0, 0, windows(len(tokens), window, stride)
    n = 1 + max(0, math.ceil((len(tokens) - 1 - window) / stride))
    while some := list(islice(places, batch)):
        x, y = scored_windows(tokens, some)
        total += parallel.loss((x, y)) * np.count_nonzero(y != IGNORED)
        done += len(some)
        progress(done, n)
    return float(total / (len(tokens) - 1))


def windows(n: int, window: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """Where each window begins and ends, and the first place in it that is scored: no window before scored it.

    Places are those of the targets' predecessors, 0 to n - 2.  The last window ends where the text does, so that all
    are of one length.
    """
    end = scored = 0
    while scored < n - 1:
        end = min(end + (stride if end else window), n - 1)
        yield max(0, end - window), end, scored
        scored = end


def scored_windows(tokens: Array, places: Sequence[tuple[int, int, int]]) -> tuple[Array, Array]:
    """tokens and targets (B, T) of some windows; targets that are there as context only are -100."""
    x = np.stack([tokens[begin:end] for begin, end, _ in places]).astype(np.int64)
    y = np.stack([tokens[begin + 1:end + 1] for begin, end, _ in places]).astype(np.int64)
    for row, (begin, _, scored) in enumerate(places):
        y[row, :scored - begin] = IGNORED
    return x, y


def perplexity(loss: float) -> float:
    """exp(loss): between how many equally likely tokens the model hesitates, on average."""
    return math.exp(loss) if loss < 700 else math.inf


def bits_per_byte(loss: float, n_tokens: int, n_bytes: int) -> float:
    """The loss in bits, for each byte of the text: it compares models with different vocabularies.

        loss n_tokens / (n_bytes ln 2)

    n_tokens   how many were scored, <|endoftext|> among them
    n_bytes    how many they stand for: <|endoftext|> is no text, and stands for none; inf where there are none at all
    """
    return loss * n_tokens / (n_bytes * math.log(2)) if n_bytes else math.inf
