"""What a trained body is given to answer with: a label for a text, a label for each token, where an answer stands.

    Classifier        (B, K)      one label of K for each text (SOFTMAX), each label for itself (SIGMOID), or numbers
                                  (SQUARED): on what the body pools
    TokenClassifier   (B, T, K)   a label for each token
    AnswerFinder      (B, 2, T)   the first and the last token of an answer

Each stands on any Body, a BERT or a GPT-2 alike, and is trained by the same batches.

Chapter: S001 3.1.2; S002 5.2; S003 9 Q5; S004 3.2.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..blocks.stack import check_unused
from ..device import to_host
from ..hints import Array, Cache, Rng
from ..layers.attention import LOWEST
from ..layers.binary_cross_entropy import binary_cross_entropy_backward, binary_cross_entropy_forward
from ..layers.checks import check_ids, check_numbers, check_padding_mask, check_shape
from ..layers.cross_entropy import IGNORED, count_targets, cross_entropy_backward, cross_entropy_forward
from ..layers.dropout import check_rate, dropout_backward, dropout_forward
from ..layers.embedding import Embedding
from ..layers.lm_head import LMHead
from ..layers.mean_squared_error import mean_squared_error_backward, mean_squared_error_forward
from ..layers.module import Module
from .protocols import Body
from .tokens import host_ids

START, END = 0, 1               # of an answer: its first token, and its last


def check_labels(targets: Array, shape: tuple[int, ...]) -> None:
    """The id of a label for each row of logits of this shape, or -100."""
    check_shape("targets", targets, shape[:-1])
    check_ids("targets", targets, shape[-1], ignored=IGNORED)


def check_truths(targets: Array, shape: tuple[int, ...]) -> None:
    """How true each label is, from 0 to 1, or -100."""
    check_shape("targets", targets, shape)
    check_numbers("targets", targets, 0, 1, ignored=IGNORED)


def check_values(targets: Array, shape: tuple[int, ...]) -> None:
    """A number for each of the head's."""
    check_shape("targets", targets, shape)
    check_numbers("targets", targets, -math.inf, math.inf)


class Objective(NamedTuple):
    """What a head is trained for: the pair of its loss, and the targets that it takes.

    name     as problem_type in config.json has it, of transformers
    check    check(targets, shape of the logits): ValueError for what is no target
    count    how many of the targets the mean is over
    """

    name: str
    forward: Callable[..., tuple[Array, Cache]]
    backward: Callable[[float | Array, Cache], Array]
    check: Callable[[Array, tuple[int, ...]], None]
    count: Callable[[Array], int]


SOFTMAX = Objective("single_label_classification", cross_entropy_forward, cross_entropy_backward, check_labels,
                    count_targets)
SIGMOID = Objective("multi_label_classification", binary_cross_entropy_forward, binary_cross_entropy_backward,
                    check_truths, count_targets)
SQUARED = Objective("regression", mean_squared_error_forward, mean_squared_error_backward, check_values, np.size)
OBJECTIVES = {objective.name: objective for objective in (SOFTMAX, SIGMOID, SQUARED)}


class Classifier(Module):
    """Labels for a whole text, or numbers.

        y      = dropout(pooled(x))             x = body(tokens)
        logits = y w' + b                       a row of w for each label, as the head of GPT-2 has one for each word

    body       Body, which says what is pooled: BERT what its pooler makes of [CLS], GPT-2 the last real token
    labels     the names of the K labels, or numbers
    rng        numpy.random.Generator for w, N(0, 0.02^2); None leaves it 0, for a checkpoint to fill in
    objective  SOFTMAX   one of the labels is right     targets (B,)     its id; -100 where none is known
               SIGMOID   each label is true or not      targets (B, K)   from 0 to 1; -100 where it is not known
               SQUARED   the logits are numbers         targets (B, K)
    dropout    rate in training, of y
    label_smoothing   in training, with SOFTMAX: how much of each target is spread over all labels
    raises     ValueError for no labels, the same twice, or one alone of which one is right; for smoothing of others

    A body that is frozen as a whole costs its inference in training, and nothing more.
    Devlin et al. 2019, arXiv:1810.04805, section 4.1; Radford et al. 2018, Improving Language Understanding by
    Generative Pre-Training, section 3.2, where the last token's vector is classified.
    """

    def __init__(self, body: Body, labels: Iterable[str], rng: Rng | None = None, *, objective: Objective = SOFTMAX,
                 dropout: float = 0.0, label_smoothing: float = 0.0, dtype: DTypeLike = np.float32):
        check_rate(dropout)
        self.body, self.labels, self.objective, self.dropout = body, tuple(labels), objective, dropout
        self.label_smoothing = label_smoothing
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels: expected names, each of them once, got {list(self.labels)}")
        if objective == SOFTMAX and len(self.labels) == 1:
            raise ValueError(f"labels: expected two at least, to choose between, got {self.labels[0]!r} alone")
        if label_smoothing and objective != SOFTMAX:
            raise ValueError("label_smoothing: expected 0 but where one label is right, got "
                             f"{label_smoothing} for {objective.name}")
        table = Embedding(len(self.labels), body.config.n_embd, rng, dtype=dtype)
        self.head = LMHead(table, bias=self.has_bias())

    @property
    def config(self) -> Any:
        """The body's: GPT2Config or BertConfig."""
        return self.body.config

    @property
    def n_ctx(self) -> int:
        """How many tokens it sees: those of the body."""
        return self.body.n_ctx

    def forward(self, tokens: ArrayLike, segments: ArrayLike | None = None, padding_mask: ArrayLike | None = None,
                rng: Rng | None = None, keep_cache: bool = True) -> tuple[Array, Cache]:
        """tokens (B, T) -> logits (B, K), cache

        segments      (B, T)   0 for the first text, 1 for the second, where the body knows two; None: all 0
        padding_mask  (B, T)   bool, False for padding, which changes nothing: a BERT's is on the right, a GPT-2's on
                               either side; None: all are real

        All on the host.  ValueError for what the body cannot take, and for a row of padding alone.
        """
        tokens = host_ids("tokens", tokens, self.body.config.n_vocab, self.body.n_ctx)
        padding_mask = real_tokens(padding_mask, tokens.shape)
        trained = keep_cache and any(p.trainable for _, p in self.body.named_parameters())
        x, c_body = self.body.hidden(tokens, segments=segments, padding_mask=padding_mask, rng=rng, keep_cache=trained)
        y, c_read = self.read(x, padding_mask)
        y, c_dropout = dropout_forward(y, self.dropout, rng)
        logits, c_head = self.head.forward(y)
        return logits, [(c_body, c_read) if trained else None, c_dropout, c_head] if keep_cache else None

    def backward(self, dlogits: Array, cache: Cache) -> None:
        """Add the gradients of all parameters, given dlogits.  Uses the cache up: it is freed on the way."""
        check_unused(cache)
        below, c_dropout, c_head = cache
        dy = dropout_backward(self.head.backward(dlogits, c_head), c_dropout)
        cache.clear()
        if below is not None:                           # where something of the body is trained
            c_body, c_read = below
            self.body.hidden_backward(self.read_backward(dy, c_read), c_body)

    # ---- what the other heads do in their own ways

    def has_bias(self) -> bool:
        """Whether the head has a bias."""
        return self.body.head_bias

    def read(self, x: Array, padding_mask: Array | None) -> tuple[Array, Cache]:
        """x (B, T, C) -> what the head looks at, cache"""
        return self.body.pooled(x, padding_mask)

    def read_backward(self, dy: Array, cache: Cache) -> Array:
        return self.body.pooled_backward(dy, cache)

    def check_targets(self, targets: Array, shape: tuple[int, ...], padding_mask: Array | None) -> None:
        """ValueError for targets that do not fit logits of this shape."""
        self.objective.check(targets, shape)

    # ---- training

    def counted(self, tokens: ArrayLike, segments: ArrayLike | None, padding_mask: ArrayLike | None,
                targets: ArrayLike) -> int:
        """What the mean loss of a batch is over: how many of its targets count."""
        return self.objective.count(np.asarray(targets))

    def loss(self, tokens: ArrayLike, segments: ArrayLike | None, padding_mask: ArrayLike | None, targets: ArrayLike, *,
             counted: int | None = None) -> Array:
        """The mean loss of the targets, without dropout.

        counted  of a whole batch, where these rows are a part of it: its losses add up to the batch's
        """
        logits, _ = self.forward(tokens, segments, padding_mask, keep_cache=False)
        return self._loss(logits, padding_mask, targets, counted)[0]

    def loss_and_gradients(self, tokens: ArrayLike, segments: ArrayLike | None, padding_mask: ArrayLike | None,
                           targets: ArrayLike, *, counted: int | None = None, rng: Rng | None = None) -> Array:
        """The same with dropout and label smoothing; adds its gradient by each parameter to that parameter's grad."""
        logits, cache = self.forward(tokens, segments, padding_mask, rng)
        smoothing = {"label_smoothing": self.label_smoothing} if self.label_smoothing else {}
        loss, c_loss = self._loss(logits, padding_mask, targets, counted, **smoothing)
        self.backward(self.objective.backward(1.0, c_loss), cache)
        return loss

    def _loss(self, logits: Array, padding_mask: ArrayLike | None, targets: ArrayLike,
              counted: int | None, **options: float) -> tuple[Array, Cache]:
        targets = np.asarray(to_host(targets))
        padding_mask = None if padding_mask is None else np.asarray(to_host(padding_mask))
        self.check_targets(targets, logits.shape, padding_mask)
        return self.objective.forward(logits, np.asarray(targets, like=logits), counted=counted, **options)


class TokenClassifier(Classifier):
    """A label for each token, as of the names of people and places in a text.

        logits = dropout(x) w' + b              x = body(tokens), (B, T, K)

    targets (B, T) are the ids of labels; -100 where none counts: at padding always, and at all pieces of a word but its
    first.  The arguments are those of Classifier.

    Devlin et al. 2019, arXiv:1810.04805, section 5.3.
    """

    def __init__(self, body: Body, labels: Iterable[str], rng: Rng | None = None, *, dropout: float = 0.0,
                 dtype: DTypeLike = np.float32):
        super().__init__(body, labels, rng, dropout=dropout, dtype=dtype)

    def has_bias(self) -> bool:
        return True

    def read(self, x: Array, padding_mask: Array | None) -> tuple[Array, Cache]:
        return x, None

    def read_backward(self, dy: Array, cache: Cache) -> Array:
        return dy

    def check_targets(self, targets: Array, shape: tuple[int, ...], padding_mask: Array | None) -> None:
        self.objective.check(targets, shape)
        if padding_mask is not None and (wrong := ~padding_mask & (targets != IGNORED)).any():
            where = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(f"targets: expected {IGNORED} at padding, got {targets[where]} at index {where}")


class AnswerFinder(TokenClassifier):
    """Where in a text the answer to a question stands: which token it begins with, and which it ends with.

        logits = (dropout(x) w' + b)'           (B, 2, T): of START, and of END, one for each token

    Padding is no answer: it has the logit LOWEST, and so the probability 0.  targets (B, 2) are the two positions, -100
    for both where there is no answer to learn.

    Devlin et al. 2019, arXiv:1810.04805, section 4.2.
    """

    def __init__(self, body: Body, rng: Rng | None = None, *, dropout: float = 0.0, dtype: DTypeLike = np.float32):
        super().__init__(body, ("start", "end"), rng, dropout=dropout, dtype=dtype)

    def forward(self, tokens: ArrayLike, segments: ArrayLike | None = None, padding_mask: ArrayLike | None = None,
                rng: Rng | None = None, keep_cache: bool = True) -> tuple[Array, Cache]:
        """tokens (B, T) -> logits (B, 2, T), cache: see Classifier.forward"""
        logits, cache = super().forward(tokens, segments, padding_mask, rng, keep_cache)
        if padding_mask is None:
            real = np.ones_like(logits[:, None, :, 0], dtype=bool)              # (B, 1, T)
        else:
            real = np.asarray(padding_mask, like=logits)[:, None]
        return np.where(real, logits.swapaxes(1, 2), LOWEST), [real, cache] if keep_cache else None

    def backward(self, dlogits: Array, cache: Cache) -> None:
        check_unused(cache)
        real, c_tokens = cache
        check_shape("dlogits", dlogits, (len(real), 2, real.shape[2]))
        cache.clear()
        super().backward((dlogits * real).swapaxes(1, 2), c_tokens)

    def check_targets(self, targets: Array, shape: tuple[int, ...], padding_mask: Array | None) -> None:
        self.objective.check(targets, shape)
        start, end = targets[:, START], targets[:, END]
        wrong = (start > end) | ((start == IGNORED) != (end == IGNORED))
        if padding_mask is not None:
            real = np.take_along_axis(padding_mask, np.maximum(targets, 0), axis=1)
            wrong |= (~real & (targets != IGNORED)).any(axis=1)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise ValueError("targets: expected a start and an end that is not before it, both of them real tokens, "
                             f"or {IGNORED} twice, got {targets[row].tolist()} in row {row}")


def real_tokens(padding_mask: ArrayLike | None, shape: tuple[int, ...]) -> Array | None:
    """A padding mask (B, T) on the host; ValueError unless it is one, with a real token in each row."""
    if padding_mask is None:
        return None
    padding_mask = np.asarray(to_host(padding_mask))
    check_padding_mask(padding_mask, shape)
    if not padding_mask.any(axis=1).all():
        raise ValueError("padding_mask: expected a real token in each row, got none in row "
                         f"{int(np.flatnonzero(~padding_mask.any(axis=1))[0])}")
    return padding_mask
