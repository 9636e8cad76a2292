"""Several models as one: the mean of their probabilities.

    p = (p_1 + ... + p_K) / K           log p = log sum_k exp(log p_k) - log K

What one of them is wrong about, and the others are not, counts a K-th.  The loss of the mean is never above the mean of
the losses, since -log is convex (Jensen); by how much it is below depends on how much the models differ, and models
that began with other random numbers do.

Averaging weights is something else, and gives one model again: see average.py.

Dietterich 2000, Ensemble Methods in Machine Learning, section 1.

Chapter: S001 9 Q2.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .errors import Gpt2npError
from .hints import Array
from .layers.module import Module
from .layers.softmax import log_softmax_forward
from .models.gpt2 import GPT2
from .models.heads import SOFTMAX, Classifier
from .models.transformer import Given, Transformer


class Ensemble(Module):
    """Models that answer together, as one of them would: what it gives are logits whose softmax is the mean.

    models   GPT2s, Transformers, or Classifiers of one kind that choose one of the same labels; of any sizes, but of
             one vocabulary

    Gpt2npError for models that cannot answer together.  It is not trained: its models were, each by itself.
    """

    def __init__(self, models: Sequence[Any]):
        kinds = {type(model) for model in models}
        if len(kinds) != 1 or not issubclass(kinds.pop(), GPT2 | Transformer | Classifier):
            got = ", ".join(sorted({type(model).__name__ for model in models})) or "none"
            raise Gpt2npError("ensemble: expected models of one kind, that go on from texts, translate or classify, "
                              f"got {got}")
        for name, values in (("words in the vocabulary", {model.config.n_vocab for model in models}),
                             ("labels", {getattr(model, "labels", ()) for model in models}),
                             ("aim", {getattr(model, "objective", SOFTMAX).name for model in models} | {SOFTMAX.name})):
            if len(values) > 1:
                raise Gpt2npError(f"ensemble: expected models with the same {name}, got "
                                  f"{' and '.join(sorted(map(str, values)))}")
        self.models = list(models)

    @property
    def config(self) -> Any:
        """The first one's."""
        return self.models[0].config

    @property
    def n_ctx(self) -> int:
        """How many positions all of them see."""
        return min(model.n_ctx for model in self.models)

    def forward(self, *inputs: Any, keep_cache: bool = False) -> tuple[Array, None]:
        """What each of the models takes -> log of the mean of their probabilities, of the shape of one's logits"""
        if keep_cache:
            raise ValueError("keep_cache: expected False, for an ensemble is not trained, got True")
        return log_mean([model.forward(*inputs, keep_cache=False)[0] for model in self.models]), None

    def counted(self, *batch: Any) -> Any:
        """What the mean loss of a batch is over: as each of the models has it."""
        return self.models[0].counted(*batch)

    # ---- of GPT2s: a LanguageModel

    @property
    def n_vocab(self) -> int:
        """How many tokens there are, V."""
        return self.config.n_vocab

    def new_past(self, B: int, n: int) -> list[Any]:
        """See Writers."""
        return Writers(self.models).new_past(B, n)

    def next_logits(self, tokens: ArrayLike, past: Sequence[Any], padding_mask: Array | None = None,
                    last: int = 1) -> Array:
        """See Writers."""
        return Writers(self.models).next_logits(tokens, past, padding_mask, last)

    # ---- of Transformers: a Translator

    @property
    def source_end(self) -> bool:
        """Whether a source ends in the token that ends a text."""
        return self.config.source_end

    def given(self, source: ArrayLike, source_mask: Array | None = None) -> "Writers":
        """What writes, given the sources: see Transformer.given."""
        return Writers([model.given(source, source_mask) for model in self.models])

    def looked_at(self, source: ArrayLike, source_mask: Array | None, tokens: ArrayLike) -> Array:
        """The mean of where they looked: see Transformer.looked_at."""
        return np.mean([model.looked_at(source, source_mask, tokens) for model in self.models], axis=0)


class Writers:
    """Language models that write one text together; the past of all is in one list, the first one's blocks first."""

    def __init__(self, models: Sequence[GPT2 | Given]):
        self.models = models
        self.n_vocab, self.n_ctx = models[0].n_vocab, min(model.n_ctx for model in models)

    def new_past(self, B: int, n: int) -> list[Any]:
        """The past of B texts of which nothing was read."""
        return [layer for model in self.models for layer in model.new_past(B, n)]

    def next_logits(self, tokens: ArrayLike, past: Sequence[Any], padding_mask: Array | None = None,
                    last: int = 1) -> Array:
        """log of the mean of their probabilities (B, last, V), after the last of the tokens: see LanguageModel."""
        return log_mean([model.next_logits(tokens, its, padding_mask, last)
                         for model, its in zip(self.models, self.each(past))])

    def each(self, past: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """What of the past is each model's."""
        first = 0
        for model in self.models:
            end = first + len(model.h if isinstance(model, GPT2) else model.model.decoder)
            yield past[first:end]
            first = end


def log_mean(logits: Sequence[Array]) -> Array:
    """log of the mean of several softmaxes, (..., V) each."""
    total, _ = log_softmax_forward(logits[0])
    for z in logits[1:]:
        np.logaddexp(total, log_softmax_forward(z)[0], out=total)
    total -= math.log(len(logits))
    return total
