"""How likely a model holds it that a text goes on in a given way: scores, by which it answers without being trained to.

    log p(continuation | context) = sum over its tokens of log p(token | all tokens before it)

    for choice in score(model, tokenizer, "The capital of France is", [" Paris", " London"]):
        print(choice.sum, choice.per_character, choice.greedy)

Of several choices the likeliest is the answer.  A long one is unlikely whatever it says, so its sum may be divided by
how long it is; by what, tokens, characters or bytes, is a convention, and gives other answers.  The rules are those of
EleutherAI's lm-evaluation-harness, so that figures can be compared:

    context and continuation are encoded as one text: what follows the tokens of the context is the continuation
    the space between them belongs to the continuation; at the end of the context it is moved there
    characters and bytes are counted without the space that a continuation begins with
    an empty context is <|endoftext|>
    of a text that is too long, the beginning of the context is left out, token by token as far as need be

In one case the harness scores tokens that do not stand behind each other in any text: where a token of the whole text
holds the end of the context and the beginning of the continuation.  Here that token is the continuation's.

Chapter: S000 3.4, 8.2; S002 2.3.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby, takewhile
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

from .decoding.prefill import prefill
from .device import to_host
from .errors import Gpt2npError
from .hints import Array
from .layers.softmax import log_softmax_forward
from .models.protocols import LanguageModel
from .text.protocol import AnyTokenizer, end_of

PADDING = 0                             # any token: nobody sees it
POSITIONS, LOGITS = 4096, 1 << 25       # of a batch, its past among them; and the numbers in its logits, 128 MB


class Score(NamedTuple):
    """What a model holds of one continuation.

    text       the continuation
    tokens     those that were scored
    log_p      of each, given all before it
    likeliest  whether each is the one that the model holds likeliest at its place
    joined     whether the first of them also holds the end of the context
    cut        how many tokens of the context were left out, since the model does not see so many
    """

    text: str
    tokens: list[int]
    log_p: list[float]
    likeliest: list[bool]
    joined: bool
    cut: int

    @property
    def sum(self) -> float:
        """log p(continuation | context), in nats."""
        return math.fsum(self.log_p)

    @property
    def per_token(self) -> float:
        """The sum by the number of tokens."""
        return self.sum / len(self.tokens)

    @property
    def per_character(self) -> float:
        """The sum by the number of characters, without the space that the text begins with."""
        return self.sum / len(without_space(self.text))

    @property
    def per_byte(self) -> float:
        """The sum by the number of bytes in UTF-8, without that space."""
        return self.sum / len(without_space(self.text).encode())

    @property
    def greedy(self) -> bool:
        """Whether the model would write it by itself, with the likeliest token each time."""
        return all(self.likeliest)


class Row(NamedTuple):
    """The tokens of a context and its continuation; those from `start` on are the continuation's."""

    tokens: list[int]
    start: int
    joined: bool
    cut: int

    @property
    def window(self) -> tuple[int, int]:
        """Where it begins: rows of one context share their first tokens if they begin at the same place."""
        return self.cut, self.tokens[0]


def score(model: LanguageModel, tokenizer: AnyTokenizer, context: str, continuations: Sequence[str]) -> list[Score]:
    """What the model holds of each continuation of a context, in their order; each is as if it were alone.

    The context is run once, and its keys and values are shared.  Gpt2npError for a continuation that has no token of
    its own, or more than the model sees; TokenizerError for an empty context where the vocabulary has no end of text.
    """
    rows = rows_of(tokenizer, context, continuations, model.n_ctx)
    found: dict[int, tuple[list[float], list[bool]]] = {}
    order = sorted(range(len(rows)), key=lambda i: rows[i].window)
    for _, places in groupby(order, key=lambda i: rows[i].window):
        some = list(places)
        found.update(zip(some, log_likelihoods(model, [rows[i] for i in some])))
    return [Score(text, row.tokens[row.start:], *found[i], row.joined, row.cut)
            for i, (text, row) in enumerate(zip(continuations, rows))]


def score_all(model: LanguageModel, tokenizer: AnyTokenizer, asked: Sequence[tuple[str, Sequence[str]]],
              threads: int = 1) -> Iterator[list[Score]]:
    """The scores of many contexts, each with its continuations, in their order.

    threads   how many contexts are worked out at once; one alone has all threads of BLAS
    """
    workers = min(threads, len(asked))
    if workers < 2:
        yield from (score(model, tokenizer, *one) for one in asked)
        return
    pool, done = ThreadPoolExecutor(workers), False
    try:
        with ThreadpoolController().select(user_api="blas").limit(limits=1):
            yield from pool.map(partial(score, model, tokenizer), *zip(*asked))
        done = True
    finally:
        pool.shutdown(wait=done, cancel_futures=True)   # on an error, or Ctrl-C, nobody wants what is left


# ---- texts to tokens


def rows_of(tokenizer: AnyTokenizer, context: str, continuations: Sequence[str], n_ctx: int) -> list[Row]:
    """The tokens of each continuation with the context before it, as many of the last ones as the model can use.

    The model sees n_ctx tokens, and the last one need not be seen: it is predicted alone.
    """
    before, rows = tokenizer.encode(context.rstrip()), []
    for text in continuations:
        tokens = tokenizer.encode(context + text) if text else []
        start = in_common(before, tokens)
        joined = start < len(before)
        if start == 0:
            tokens, start = [end_of(tokenizer), *tokens], 1
        n = len(tokens) - start
        if n < 1:
            raise Gpt2npError(f"continuation: expected a text with a token of its own, got {text!r:.40}")
        if n > n_ctx:
            raise Gpt2npError(f"continuation: expected at most the {n_ctx:,} tokens that the model sees, got {n:,}: "
                              f"{text!r:.40}")
        cut = max(0, len(tokens) - n_ctx - 1)
        rows.append(Row(tokens[cut:], start - cut, joined, cut))
    return rows


def in_common(a: Sequence[Any], b: Sequence[Any]) -> int:
    """How many of the first items of both are the same."""
    return sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(a, b)))


def without_space(text: str) -> str:
    """The text that is counted; a space that is all there is counts."""
    return text.removeprefix(" ") or text


# ---- tokens to log p


def log_likelihoods(model: LanguageModel, rows: Sequence[Row]) -> list[tuple[list[float], list[bool]]]:
    """(log p, whether it is the likeliest) of each row's tokens from its start on.

        shared      a b c d             run once
        row 0       . . . . e f .       run with the others, . on the right: nobody looks to the right
        row 1       . . . . g h i

    rows    that have their first tokens in common, one or more
    """
    contexts = [row.tokens[:row.start] for row in rows]
    seen = min(in_common(contexts[0], other) for other in contexts)
    shared, rest = contexts[0][:seen], [row.tokens[seen:-1] for row in rows]
    past = model.new_past(1, seen + max(map(len, rest)))
    first = to_host(prefill(model, np.array([shared]), past))[0]            # (1, V), of what follows the shared tokens
    found: dict[int, tuple[list[float], list[bool]]] = {}
    for batch in batches([len(ids) for ids in rest], seen, first.shape[-1]):
        T = max(len(rest[i]) for i in batch)
        tokens = np.array([rest[i] + [PADDING] * (T - len(rest[i])) for i in batch])            # (B, T)
        logits = np.empty_like(first, shape=(len(batch), 0, first.shape[-1]))
        if T:                                                               # (B, T, V)
            logits = to_host(model.next_logits(tokens, [layer.select([0] * len(batch)) for layer in past], None, T))
        for z, i in zip(logits, batch):
            start, targets = rows[i].start, np.array(rows[i].tokens[rows[i].start:])
            z = np.concatenate([first, z[:len(rest[i])]])[start - seen:]    # (n, V), what predicts each target
            found[i] = at_targets(z, targets)
    return [found[i] for i in range(len(rows))]


def at_targets(logits: Array, targets: Array) -> tuple[list[float], list[bool]]:
    """logits (n, V), targets (n,) -> log p of each target, and whether it has the largest logit"""
    log_p, _ = log_softmax_forward(logits)
    return log_p[np.arange(len(targets)), targets].tolist(), (logits.argmax(axis=-1) == targets).tolist()


def batches(lengths: Sequence[int], seen: int, n_vocab: int) -> Iterator[list[int]]:
    """The places of rows that are run together: those of like lengths, as many as the limits above allow, but one."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        n, T = len(batch) + 1, lengths[i]                                   # the longest so far
        if batch and (n * (seen + T) > POSITIONS or n * T * n_vocab > LOGITS):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
