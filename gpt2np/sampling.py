"""From logits to a token: every sampling rule as a few lines beside its formula.

Each rule is a pure function from the logits (V,) of one position to new ones, in which -inf stands for a token that can
not be drawn: it may be there before any rule. `Sampler` applies those that are asked for, always in this order, which
is that of Hugging Face's generate():

    logit bias, repetition penalty, frequency and presence penalty, repeated n-grams, forbidden words, minimum length,
    temperature, top-k, top-p, min-p, typical

The order matters: top-p sees the probabilities after the temperature and after top-k. Then one token is drawn.
Here `tokens` is all of the text so far, and `written` the part of it that the model wrote.

Chapter: S000 3.4; S004 5.2.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from numbers import Integral, Real
from typing import Any

import numpy as np

from .errors import Gpt2npError
from .hints import Array
from .layers.softmax import log_softmax_forward, softmax_forward

NEVER, LARGEST = -math.inf, 1e9             # with options up to the latter, no logit becomes infinite in float32
ABOVE_0 = math.ulp(0.0)
LISTS = (Sequence, np.ndarray)


class GenerationError(Gpt2npError):
    """A prompt, an option or logits from which nothing can be written; the message says what was expected."""


# ---- what changes single logits

def bias_logits(logits: Array, bias: Mapping[int, float]) -> Array:
    """z_i + b_i for the tokens i that have a bias: -100 all but forbids a token, 100 all but forces it.

    The `logit_bias` of OpenAI's API.
    """
    logits = logits.copy()
    for token, b in bias.items():
        logits[token] += b
    return logits


def penalise_repetition(logits: Array, tokens: Iterable[int], penalty: float) -> Array:
    """z_i / penalty where z_i > 0, z_i penalty elsewhere, for every token i of the text: above 1 it makes them rarer.

    Keskar et al. 2019, CTRL, arXiv:1909.05858, section 4.1, divides all of them, which makes those below 0 likelier.
    """
    logits, seen = logits.copy(), list(set(tokens))
    z = logits[seen]
    logits[seen] = np.where(z > 0, z / penalty, z * penalty)
    return logits


def penalise_frequency(logits: Array, written: Iterable[int], frequency: float, presence: float) -> Array:
    """z_i - frequency n_i - presence [n_i > 0], where n_i is how often token i has been written.

    The two penalties of OpenAI's API. They look at what was written, and not at the prompt.
    """
    logits = logits.copy()
    seen, n = np.unique(np.fromiter(written, np.intp), return_counts=True)
    logits[seen] -= (frequency * n + presence).astype(logits.dtype)
    return logits


def forbid_words(logits: Array, tokens: Sequence[int], words: Iterable[Sequence[int]]) -> Array:
    """-inf for the last token of each word (a sequence of tokens) where the text ends with all of it but that."""
    logits = logits.copy()
    for word in words:
        begun = len(word) - 1
        if begun <= len(tokens) and list(tokens[len(tokens) - begun:]) == list(word[:-1]):
            logits[word[-1]] = NEVER
    return logits


def forbid_repeats(logits: Array, tokens: Sequence[int], n: int) -> Array:
    """-inf for each token that would make the last n tokens of the text come a second time in it.

    Paulus, Xiong, Socher 2018, arXiv:1705.04304, section 2.5, with n = 3.
    """
    logits, begun = logits.copy(), list(tokens[len(tokens) - n + 1:]) if n > 1 else []
    for at in range(len(tokens) - n + 1):
        if list(tokens[at:at + n - 1]) == begun:
            logits[tokens[at + n - 1]] = NEVER
    return logits


# ---- what shapes the whole distribution

def apply_temperature(logits: Array, temperature: float) -> Array:
    """z_i / temperature: below 1 the likely tokens become likelier, above 1 all become more alike.

    Ackley, Hinton, Sejnowski 1985, A Learning Algorithm for Boltzmann Machines, section 2.
    """
    with np.errstate(over="ignore"):                    # next to 0, all but the largest become -inf: as they should
        return (logits - logits.max()) / max(temperature, float(np.finfo(logits.dtype).tiny))


def keep_top_k(logits: Array, k: int) -> Array:
    """The k largest logits, and those equal to the last of them.

    Fan, Lewis, Dauphin 2018, arXiv:1805.04833, section 5.4.
    """
    return np.where(logits < np.partition(logits, -k)[-k], NEVER, logits)


def keep_top_p(logits: Array, p: float) -> Array:
    """The nucleus: the smallest set of the likeliest tokens whose probabilities sum to at least p.

    Holtzman et al. 2020, arXiv:1904.09751, section 3.1, eq. 2.
    """
    if p == 1:
        return logits                                   # where rounding could otherwise lose the last ones
    probability, _ = softmax_forward(logits)
    likely = np.flatnonzero(probability >= (1 - p) / len(logits))   # the rest sums to less than 1 - p: none is needed
    order = likely[np.argsort(-probability[likely], kind="stable")]
    return _keep(logits, _smallest_set(order, probability, p))


def keep_openai_top_p(logits: Array, p: float) -> Array:
    """The nucleus as OpenAI's own code takes it: the tokens whose running sum does not exceed p, but at least one.

    One token fewer than keep_top_p, unless the sum meets p exactly; tokens as likely as the last one stay.
    https://github.com/openai/gpt-2, src/sample.py, top_p_logits.
    """
    probability, _ = softmax_forward(logits)
    descending = -np.sort(-logits)
    n = max(1, int(np.count_nonzero(np.cumsum(-np.sort(-probability), dtype=np.float64) <= p)))
    return np.where(logits < descending[n - 1], NEVER, logits)


def keep_min_p(logits: Array, p: float) -> Array:
    """The tokens at least p times as likely as the likeliest: z_i >= max(z) + log p.

    Nguyen et al. 2024, arXiv:2407.01082, section 3.
    """
    return np.where(logits < logits.max() + math.log(p), NEVER, logits)


def keep_typical(logits: Array, mass: float) -> Array:
    """The smallest set of tokens of mass p, counted from those whose surprise is nearest to the mean surprise.

        |-log p_i - H|        H = -sum_i p_i log p_i

    Meister et al. 2023, Locally Typical Sampling, arXiv:2202.00666, section 4, eq. 11.
    """
    if mass == 1:
        return logits
    possible = np.flatnonzero(logits > NEVER)
    log_p, _ = log_softmax_forward(logits[possible])
    probability = np.exp(log_p)
    entropy = -(probability @ log_p)
    order = np.argsort(np.abs(-log_p - entropy), kind="stable")
    return _keep(logits, possible[_smallest_set(order, probability, mass)])


def _smallest_set(order: Array, probability: Array, mass: float) -> Array:
    """The first tokens in this order whose probabilities sum to at least the mass.

    The smallest set leaves out some of several equal ones: those of the largest ids, since the order is a stable one.
    """
    total = np.cumsum(probability[order], dtype=np.float64)
    return order[:np.searchsorted(total, mass) + 1]


def _keep(logits: Array, kept: Array) -> Array:
    """The logits of these tokens, -inf for all others."""
    filtered = np.full_like(logits, NEVER)
    filtered[kept] = logits[kept]
    return filtered


# ---- the draw

def greedy(logits: Array) -> int:
    """The likeliest token; of several, the first."""
    return int(logits.argmax())


def draw(probability: Array, rng: np.random.Generator) -> np.integer:
    """A token i with probability p_i: the first at which the running sum of p exceeds a number drawn from [0, 1)."""
    total = np.cumsum(probability, dtype=np.float64)    # in float64: in float32 the sum of 50,257 would be 1e-4 off
    return np.searchsorted(total, rng.random() * total[-1], side="right")


# ---- what is given

def check_logits(logits: Array) -> None:
    """Raise ValueError for logits (..., V) that are no numbers. -inf is one: that token cannot come; others must."""
    if not np.isfinite(logits.max(axis=-1)).all():      # the largest is NaN where any is
        raise GenerationError("logits: expected finite numbers, or -inf for what cannot come, got NaN or infinity: the "
                              "model's weights are damaged, or too large for their dtype")


def is_number(value: Any, least: float, most: float) -> bool:
    """Whether a value is a number in this range."""
    return isinstance(value, Real) and least <= float(value) <= most


def is_whole(value: Any, least: int) -> bool:
    """Whether a value is an integer, and not below the least."""
    return isinstance(value, Integral) and least <= int(value)


def are_biases(value: object) -> bool:
    """Whether these are tokens with numbers."""
    return isinstance(value, Mapping) and all(isinstance(token, Integral) and is_number(b, -LARGEST, LARGEST)
                                              for token, b in value.items())


def are_words(value: object) -> bool:
    """Whether these are sequences of tokens, none of them empty."""
    return isinstance(value, LISTS) and all(isinstance(word, LISTS) and len(word) > 0 and
                                            all(isinstance(token, Integral) for token in word) for word in value)


@dataclass(frozen=True)
class Sampler:
    """Which rules are applied, in the order that the head of this file states. The defaults change nothing.

    temperature                           0 is greedy: the likeliest token
    top_k                                 from 1 to V, or None: all
    top_p, typical_p                      in (0, 1]; openai_top_p takes OpenAI's rule for top_p
    min_p                                 from 0 to 1
    repetition_penalty                    above 0; 1 is none
    frequency_penalty, presence_penalty   numbers of any sign; 0 is none
    logit_bias                            {token: number added to its logit}
    no_repeat_ngram                       no n tokens in a row come twice in the text, the prompt among it; 0 is none
    forbidden                             words, each a sequence of tokens
    end_of_text                           the token that ends a text, or None: nothing does
    min_new_tokens                        this many are written before end_of_text may be drawn

    raises   ValueError for values outside these ranges
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    openai_top_p: bool = False
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    no_repeat_ngram: int = 0
    forbidden: Sequence[Sequence[int]] = ()
    end_of_text: int | None = None
    min_new_tokens: int = 0

    def __post_init__(self) -> None:
        for name, good, range_ in (
            ("temperature", is_number(self.temperature, 0, LARGEST), "a number from 0 to 1e9"),
            ("top_k", self.top_k is None or is_whole(self.top_k, 1), "an integer from 1"),
            ("top_p", is_number(self.top_p, ABOVE_0, 1), "a number above 0 and up to 1"),
            ("min_p", is_number(self.min_p, 0, 1), "a number from 0 to 1"),
            ("typical_p", is_number(self.typical_p, ABOVE_0, 1), "a number above 0 and up to 1"),
            ("repetition_penalty", is_number(self.repetition_penalty, 1 / LARGEST, LARGEST),
             "a number from 1e-9 to 1e9"),
            ("frequency_penalty", is_number(self.frequency_penalty, -LARGEST, LARGEST), "a number from -1e9 to 1e9"),
            ("presence_penalty", is_number(self.presence_penalty, -LARGEST, LARGEST), "a number from -1e9 to 1e9"),
            ("logit_bias", are_biases(self.logit_bias), "tokens with numbers from -1e9 to 1e9"),
            ("no_repeat_ngram", is_whole(self.no_repeat_ngram, 0), "an integer from 0"),
            ("forbidden", are_words(self.forbidden), "words of at least one token"),
            ("end_of_text", self.end_of_text is None or is_whole(self.end_of_text, 0), "a token, or None"),
            ("min_new_tokens", is_whole(self.min_new_tokens, 0), "an integer from 0"),
        ):
            if not good:
                raise GenerationError(f"{name}: expected {range_}, got {getattr(self, name)!r}")

    def filter(self, logits: Array, tokens: Sequence[int], written: Sequence[int]) -> Array:
        """The logits (V,) after all rules but the temperature 0.  raises ValueError for logits that are no numbers."""
        check_logits(logits)
        if self.top_k is not None and self.top_k > len(logits):
            raise GenerationError(f"top_k: expected at most the {len(logits)} tokens of the vocabulary, "
                                  f"got {self.top_k}")
        named = (*self.logit_bias, *chain.from_iterable(self.forbidden), self.end_of_text or 0)
        if unknown := [token for token in named if not 0 <= token < len(logits)]:
            raise GenerationError(f"logit_bias, forbidden, end_of_text: expected tokens from 0 to {len(logits) - 1}, "
                                  f"got {unknown[0]}")
        if self.logit_bias: logits = bias_logits(logits, self.logit_bias)
        if self.repetition_penalty != 1: logits = penalise_repetition(logits, tokens, self.repetition_penalty)
        if self.frequency_penalty or self.presence_penalty:
            logits = penalise_frequency(logits, written, self.frequency_penalty, self.presence_penalty)
        if self.no_repeat_ngram: logits = forbid_repeats(logits, tokens, self.no_repeat_ngram)
        if self.forbidden: logits = forbid_words(logits, tokens, self.forbidden)
        if self.end_of_text is not None and len(written) < self.min_new_tokens:
            logits = forbid_words(logits, tokens, [[self.end_of_text]])
        if logits.max() == NEVER:
            raise GenerationError("forbidden: expected to leave at least one token that can be drawn, got all of them")
        if self.temperature == 0: return logits
        if self.temperature != 1: logits = apply_temperature(logits, self.temperature)
        if self.top_k is not None: logits = keep_top_k(logits, self.top_k)
        if self.top_p < 1: logits = (keep_openai_top_p if self.openai_top_p else keep_top_p)(logits, self.top_p)
        if self.min_p > 0: logits = keep_min_p(logits, self.min_p)
        if self.typical_p < 1: logits = keep_typical(logits, self.typical_p)
        return logits

    def probabilities(self, logits: Array, tokens: Sequence[int], written: Sequence[int]) -> Array:
        """The distribution (V,) that the next token is drawn from: at temperature 0, all of it is on one token."""
        logits = self.filter(logits, tokens, written)
        if self.temperature > 0:
            return softmax_forward(logits)[0]
        probability = np.zeros_like(logits)
        probability[greedy(logits)] = 1
        return probability

    def sample(self, logits: Array, tokens: Sequence[int], written: Sequence[int],
               rng: np.random.Generator) -> int:
        """The next token, given the logits (V,), the text so far, and the part of it that the model wrote."""
        if self.temperature == 0:
            return greedy(self.filter(logits, tokens, written))
        return int(draw(self.probabilities(logits, tokens, written), rng))
