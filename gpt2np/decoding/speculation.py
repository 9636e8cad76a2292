"""Speculation: several tokens for one run of the model, which checks what a draft has guessed.

Chapter: S003 9 Q4.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from ..hints import Array
from ..models.protocols import LanguageModel
from ..sampling import GenerationError, Sampler, draw
from .loop import SAMPLE, Stop, check_count, children, ends
from .texts import Texts, window_start


class Draft(Protocol):
    """What guesses how a text goes on."""

    def guess(self, text: Sequence[int], n: int, rng: np.random.Generator) -> list[tuple[int, Array]]:
        """Up to n tokens, each with the distribution (V,) that it was drawn from."""


def speculate(model: LanguageModel, tokens: Sequence[int], max_new_tokens: int, draft: Draft,
              sampler: Sampler = SAMPLE, rng: np.random.Generator | None = None, k: int = 7,
              stop: Stop | None = None) -> Iterator[int]:
    """The same as generate, in less time where the draft guesses well: one run of the model checks up to k guesses.

    To run the model on 8 tokens takes little longer than on one, since the time goes into reading the weights. A guess
    that is refused costs that little; every one that is taken saves a whole run. What is written has exactly the
    distribution of generate, whatever the draft guesses; at temperature 0 it is the same text.

    stop    as in generate
    Leviathan, Kalman, Matias 2023, arXiv:2211.17192, algorithm 1; Chen et al. 2023, arXiv:2302.01318.
    """
    check_count("max_new_tokens", max_new_tokens)
    check_count("k", k)
    texts = Texts(model, [tokens], max_new_tokens)
    return _speculate(texts, max_new_tokens, draft, sampler, children(rng, 1)[0], k, stop)


def _speculate(texts: Texts, max_new_tokens: int, draft: Draft, sampler: Sampler,
               rng: np.random.Generator, k: int, stop: Stop | None) -> Iterator[int]:
    text, n_ctx = texts.tokens[0], texts.model.n_ctx
    n_prompt = len(text)
    goal = n_prompt + max_new_tokens
    while len(text) < goal:
        known = len(text)
        room = window_start(known, n_ctx) + n_ctx - known           # a window that slid would not be the guess's own
        guesses = draft.guess(text, min(k, room, goal - known - 1), rng)
        if wrong := [len(q) for _, q in guesses if len(q) != texts.model.n_vocab]:
            raise GenerationError(f"draft: expected the model's {texts.model.n_vocab} tokens, got {wrong[0]}")
        text += [guess for guess, _ in guesses]
        logits = texts.last_logits(1 + len(guesses)).reshape(1 + len(guesses), -1)
        del text[known:]
        for z, guess in zip(logits, [*guesses, None]):
            p = sampler.probabilities(z, text, text[n_prompt:])
            token = int(draw(p, rng)) if guess is None else check_guess(*guess, p, rng)
            last = guess is None or token != guess[0]               # what was guessed after it is not in this text
            if last:
                texts.rewind(len(text))
            text.append(token)
            yield token
            if ends(text[n_prompt:], sampler.end_of_text, stop):
                return
            if last:
                break


def check_guess(guess: int, q: Array, p: Array, rng: np.random.Generator) -> int:
    """Make a guess drawn from q into a draw from p: it is taken with probability min(1, p / q); if it is not, the token
    is drawn from what p has above q.

        P(token = i) = q_i min(1, p_i / q_i) + (1 - sum_j min(q_j, p_j)) max(p_i - q_i, 0) / sum_j max(p_j - q_j, 0)
                     = min(q_i, p_i)         + max(p_i - q_i, 0)  =  p_i
    """
    take = min(1.0, float(p[guess] / q[guess]))
    if rng.random() < take:
        return guess
    above = np.maximum(p - q, 0)
    return int(draw(above if above.any() else p, rng))  # none is above where p and q differ by rounding alone


class NgramDraft:
    """Guesses that the text goes on as it did the last time its last few tokens came. It needs no second model.

    n_vocab             V
    longest, shortest   how many tokens the tail may have that has come before: without such a tail, no guess

    Saxena 2023, Prompt Lookup Decoding, https://github.com/apoorvumang/prompt-lookup-decoding.
    """

    def __init__(self, n_vocab: int, longest: int = 4, shortest: int = 3):
        self.n_vocab, self.lengths = n_vocab, range(longest, shortest - 1, -1)
        self.known: list[int] = []                      # the text so far
        self.after: dict[tuple[int, ...], int] = {}     # tail -> where in it the token after it is, the last time

    def guess(self, text: Sequence[int], n: int, rng: np.random.Generator) -> list[tuple[int, Array]]:
        """Up to n tokens, each with the distribution (V,) that it was drawn from: certainty."""
        if list(text[:len(self.known)]) != self.known:              # another text
            self.known, self.after = [], {}
        for at in range(len(self.known), len(text)):
            for length in self.lengths:
                if length <= at:
                    self.after[tuple(text[at - length:at])] = at
        self.known += text[len(self.known):]
        found = (self.after.get(tuple(text[len(text) - length:])) for length in self.lengths if length <= len(text))
        place = next((place for place in found if place is not None), None)
        if place is None:
            return []
        period = len(text) - place                      # beyond the end of the text, it repeats its own guesses
        return [(token, self._certain(token)) for token in (text[place + i % period] for i in range(n))]

    def _certain(self, token: int) -> Array:
        q = np.zeros(self.n_vocab)
        q[token] = 1
        return q


class ModelDraft:
    """Guesses what a smaller model with the same vocabulary would write, drawn by a sampler of its own."""

    def __init__(self, model: LanguageModel, sampler: Sampler = SAMPLE):
        self.model, self.sampler = model, sampler
        self.texts: Texts | None = None                 # until the first text comes

    def guess(self, text: Sequence[int], n: int, rng: np.random.Generator) -> list[tuple[int, Array]]:
        """Up to n tokens, each with the distribution (V,) that it was drawn from."""
        if self.texts is None:
            self.texts = Texts(self.model, [text[:1]], self.model.n_ctx)     # all of it may be more than it sees
        own = self.texts.tokens[0]
        if self.texts.starts:                           # of its own guesses, those that were taken are seen already
            same = next((i for i, (a, b) in enumerate(zip(own, text)) if a != b), min(len(own), len(text)))
            self.texts.rewind(min(same, len(text) - 1))
        own[:] = text
        guesses = []
        for _ in range(n):
            q = self.sampler.probabilities(self.texts.last_logits()[0], own, [])
            own.append(int(draw(q, rng)))
            guesses.append((own[-1], q))
        return guesses
