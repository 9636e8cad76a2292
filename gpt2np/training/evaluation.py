"""How well a model predicts a text: the mean loss of a token, each scored once, whatever the text's length.

    evaluate    the loss alone, as training asks for it again and again
    measure     more of the same tokens: how often the likeliest one came, whether the model knows how sure it may be,
                and from where to where the loss would be with other texts of this kind

Chapter: S001 3.2.1, 3.2.2; S004 5.2.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np

from ..hints import Array
from ..layers.cross_entropy import IGNORED, cross_entropy_forward
from ..layers.softmax import subtract_top
from ..layers.tiles import rows
from ..text.protocol import AnyTokenizer
from .errors import TrainingError
from .mpi import Parallel
from .parallel import Batch
from .tasks import Progress, unseen

MAX_WINDOWS, MAX_LOGITS = 8, 1 << 27    # of a batch; the numbers in its logits, 512 MB of float32: more gain nothing
BINS = 10                       # of the probabilities that the likeliest tokens have: 0 to 10 %, 10 to 20 %, ...
ROWS = 16                       # of logits at a time
AT_A_TIME = 2**13               # tokens whose words are counted: lists of them need memory
PARTS, DRAWS = 1000, 2000       # of a text that are drawn, at most; how often the text is drawn anew


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
    total = 0.0
    for x, y in batches(parallel, tokens, window, stride, progress):
        total += parallel.loss((x, y)) * np.count_nonzero(y != IGNORED)
    return float(total / (len(tokens) - 1))


def expect_two(tokens: Array) -> int:
    """How many tokens there are; TrainingError for less than 2."""
    if len(tokens) < 2:
        raise TrainingError(f"text: expected at least 2 tokens, of which the second is predicted, got {len(tokens)}")
    return len(tokens)


def token_sums(model: Any, share: Batch) -> Array:
    """(3,)   the sum of the losses of some rows' targets, how many are the likeliest, and of how many.

    share   what the model's forward takes, and the targets last
    """
    *inputs, targets = share
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):     # found afterwards, in the loss
        logits, _ = model.forward(*inputs, keep_cache=False)
        loss, _ = cross_entropy_forward(logits, targets, counted=1)
        right = (logits.argmax(axis=-1) == targets) & (targets != IGNORED)
    return np.array([float(loss), right.sum(), model.counted(*share)])


class Measures(NamedTuple):
    """What was found out about the tokens of a text, in sums.

    windows   (m, 3)     of each window: how many tokens it scores, -log p of all of them in nats, and of how many the
                         model held the right one likeliest
    bins      (BINS, 3)  of the likeliest tokens whose probability is in each bin: how many there are, the sum of these
                         probabilities, and how many of the tokens were right
    """

    windows: Array
    bins: Array

    @property
    def tokens(self) -> int:
        """How many were scored."""
        return int(self.windows[:, 0].sum())

    @property
    def loss(self) -> float:
        """The mean of -log p, as evaluate has it."""
        return float(self.windows[:, 1].sum() / self.tokens)

    @property
    def accuracy(self) -> float:
        """How often the likeliest token was the one that came."""
        return float(self.windows[:, 2].sum() / self.tokens)

    @property
    def calibration_error(self) -> float:
        """How far the probability of the likeliest token is from how often it is right, on average.

            ECE = sum over the bins of n_b / n |right_b / n_b - p_b / n_b|

        Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599, section 2.
        """
        return float(np.abs(self.bins[:, 2] - self.bins[:, 1]).sum() / self.tokens)

    def interval(self) -> tuple[float, float] | None:
        """From where to where the loss is in 95 of 100 texts that are drawn from this one's windows, as many as it has.

        The same draws each time.  None for a text of one window: there is nothing to draw from.
        Efron 1979, Bootstrap Methods: Another Look at the Jackknife.
        """
        parts = np.array([part.sum(axis=0) for part in np.array_split(self.windows, min(PARTS, len(self.windows)))])
        if len(parts) < 2:
            return None
        drawn = np.random.default_rng(0).multinomial(len(parts), np.full(len(parts), 1 / len(parts)), DRAWS)
        tokens, losses, _ = (drawn @ parts).T
        low, high = np.quantile(losses / tokens, (0.025, 0.975))
        return float(low), float(high)

    def __add__(self, other: "Measures") -> "Measures":                     # type: ignore[override]
        """Those of two texts."""
        return Measures(np.concatenate([self.windows, other.windows]), self.bins + other.bins)


def measure(parallel: Parallel, tokens: Array, window: int, stride: int, progress: Progress = unseen) -> Measures:
    """More about the tokens that evaluate scores, with the same arguments."""
    found, bins = [], np.zeros((BINS, 3))
    for x, y in batches(parallel, tokens, window, stride, progress):
        sums = parallel.total(partial(sums_of, parallel.replicas[0], len(x)), (x, y, np.arange(len(x))))
        found.append(sums[:len(x)])
        bins += sums[len(x):]
    return Measures(np.concatenate(found), bins)


def sums_of(model: Any, n: int, share: Sequence[Array]) -> Array:
    """The sums of Measures for some of n windows, (n + BINS, 3), which add up over the shares of a batch.

    share   tokens (b, T), targets (b, T), and which of the n windows they are (b,)
    """
    x, y, places = share
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):     # a model of no use has an infinite loss
        logits, _ = model.forward(x, keep_cache=False)
        found = scores_of(rows(logits), np.where(y == IGNORED, 0, y).ravel())
        log_p, top, right = (of_all.reshape(y.shape) for of_all in found)
    counts = y != IGNORED
    sums = np.zeros((n + BINS, 3))
    sums[places] = np.stack([counts, np.where(counts, -log_p, 0), right & counts], axis=-1).sum(axis=1)
    which = n + np.minimum(BINS - 1, np.nan_to_num(top[counts] * BINS).astype(int))
    np.add.at(sums, which, np.stack([np.ones(len(which)), top[counts], right[counts]], axis=-1))
    return sums


def scores_of(logits: Array, targets: Array) -> tuple[Array, Array, Array]:
    """logits (N, V), targets (N,) -> log p of each target, the largest p, and whether the target is it; (N,) each

    The logits are overwritten, a few rows at a time, which stay in cache: a copy would be as large as they are.
    """
    log_p, top, right = np.empty(len(targets)), np.empty(len(targets)), np.empty(len(targets), bool)
    for first in range(0, len(targets), ROWS):
        z, target = logits[first:first + ROWS], targets[first:first + ROWS]
        right[first:first + ROWS] = z.argmax(axis=-1) == target
        subtract_top(z, out=z)
        expected = z[np.arange(len(target)), target]
        total = np.exp(z, out=z).sum(axis=-1)
        log_p[first:first + ROWS] = expected - np.log(total)
        top[first:first + ROWS] = 1 / total                                 # exp(0) / total
    return log_p, top, right


def batches(parallel: Parallel, tokens: Array, window: int, stride: int,
            progress: Progress) -> Iterator[tuple[Array, Array]]:
    """The windows of a text, x and y (B, T) as in scored_windows, as many at once as the limits above allow."""
    expect_two(tokens)
    if not 1 <= stride <= window:
        raise TrainingError(f"stride: expected a number from 1 to the window, {window}, got {stride}")
    most = min(MAX_WINDOWS, MAX_LOGITS // (parallel.replicas[0].config.n_vocab * window))
    batch = parallel.workers * max(1, most // parallel.workers)
    done, places = 0, windows(len(tokens), window, stride)
    n = 1 + max(0, math.ceil((len(tokens) - 1 - window) / stride))
    while some := list(islice(places, batch)):
        yield scored_windows(tokens, some)
        done += len(some)
        progress(done, n)


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


def bytes_and_words(tokens: Array, tokenizer: AnyTokenizer) -> tuple[int, int]:
    """How many bytes of text tokens (n,) stand for, and how many words, parts between white space, these are.

    <|endoftext|> is no text: it stands for no byte, and no word goes beyond it.
    """
    end = tokenizer.end_of_text
    cuts = np.union1d(np.flatnonzero(tokens == end), np.arange(0, len(tokens), AT_A_TIME)).tolist()
    n_bytes = n_words = 0
    last, before = list[int](), b" "                    # the token before a part, and the byte
    for first, beyond in pairwise([*cuts, len(tokens)]):
        part = tokens[first:beyond].tolist()
        if part[0] == end:
            last, before, part = [], b" ", part[1:]
        text = tokenizer.decode_bytes(last + part)[len(tokenizer.decode_bytes(last)):]
        n_bytes += len(text)
        n_words += len((before + text).split()) - (not before.isspace())    # a word that had begun was counted there
        last, before = part[-1:], text[-1:] or before
    return n_bytes, n_words
