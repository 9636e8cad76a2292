"""Beam search: the likeliest text as a whole, which need not begin with the likeliest token."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..hints import Array
from ..layers.softmax import log_softmax_forward
from ..models.protocols import LanguageModel
from ..sampling import NEVER, GenerationError, check_logits, forbid_repeats, is_number, is_whole
from .loop import Stop, check_count, ends
from .texts import Texts

POWER, WU = PENALTIES = ("power", "wu")
Bonus = Callable[[int, Sequence[int]], float]
Watch = Callable[[int, list[list["Beam"]]], None]


class Beam(NamedTuple):
    """One text that was found.

    score     what it is ranked by
    written   its tokens, without the prompt's; the last is the end of the text, if it ends with one
    total     the sum of its tokens' log p, that of the end among them
    """

    score: float
    written: list[int]
    total: float


@dataclass(frozen=True)
class BeamRules:
    """How beams are followed, ranked and ended.  n is how many tokens a text has, its end among them.

        score = sum_t log p(token_t | tokens before it) / n^a                "power", Hugging Face's and fairseq's
        score = sum_t log p(token_t | tokens before it) / ((5 + n) / 6)^a    "wu", of Wu et al. 2016, eq. 14

    num_beams         how many texts go on side by side
    length_penalty    a, from -10 to 10: the larger, the longer the texts that win
    penalty           "power" or "wu"
    early_stopping    when it ends, once num_beams texts have ended:
                      True     at once
                      False    when the beams that go on have no better score, at the length that they have now, than
                               the worst that has ended: a positive penalty is not followed to the end
                      "never"  when no beam can come to a better score, whatever its length will be
    min_new_tokens    no text ends before it has so many
    no_repeat_ngram   no n tokens in a row come twice in a text, its prompt among it; 0: any may
    end_of_text       the token that ends a text, or None

    raises   ValueError for what is out of range

    Graves 2012, arXiv:1211.3711, section 2.4; Wu et al. 2016, arXiv:1609.08144, section 7.
    """

    num_beams: int = 4
    length_penalty: float = 1.0
    penalty: str = POWER
    early_stopping: bool | str = False
    min_new_tokens: int = 0
    no_repeat_ngram: int = 0
    end_of_text: int | None = None

    def __post_init__(self) -> None:
        check_count("num_beams", self.num_beams)
        for name, good, expected in (
            ("length_penalty", is_number(self.length_penalty, -10, 10),               # n^a has to stay one
             "a number from -10 to 10"),
            ("penalty", self.penalty in PENALTIES, f"one of {', '.join(PENALTIES)}"),
            ("early_stopping", self.early_stopping in (True, False, "never"), "True, False or 'never'"),
            ("min_new_tokens", is_whole(self.min_new_tokens, 0), "an integer from 0"),
            ("no_repeat_ngram", is_whole(self.no_repeat_ngram, 0), "an integer from 0"),
        ):
            if not good:
                raise GenerationError(f"{name}: expected {expected}, got {getattr(self, name)!r}")

    def score(self, total: float, n: int) -> float:
        """The score of a text of n tokens."""
        return float(total / ((5 + n) / 6 if self.penalty == WU else n) ** self.length_penalty)

    def best(self, total: float, n: int, most: int) -> float:
        """The best score that a text with n tokens can come to, of at most so many; no log p is above 0."""
        if self.early_stopping == "never":
            return max(self.score(total, n), self.score(total, most))
        return self.score(total, n)

    def allowed(self, log_p: Array, text: Sequence[int], n: int) -> Array:
        """log p (V,) of what may follow, -inf for what may not, where n tokens were written so far."""
        if self.no_repeat_ngram:
            log_p = forbid_repeats(log_p, text, self.no_repeat_ngram)
        if self.end_of_text is not None and n < self.min_new_tokens:
            log_p = log_p.copy()
            log_p[self.end_of_text] = NEVER
        return log_p


def beam_search(model: LanguageModel, tokens: Sequence[int], max_new_tokens: int, num_beams: int = 4,
                length_penalty: float = 1.0, end_of_text: int | None = None, stop: Stop | None = None,
                watch: Watch | None = None, **rules: Any) -> list[Beam]:
    """Look for the likeliest continuation of a text: of all texts one token longer, the num_beams likeliest go on.

    num_beams, length_penalty, end_of_text, rules     see BeamRules
    stop                                              as in generate
    watch                                             see beam_search_batch

    returns  up to num_beams of them, the best first; each ends in end_of_text, or where stop says so, or is of
             max_new_tokens
    """
    chosen = BeamRules(num_beams, length_penalty, end_of_text=end_of_text, **rules)
    return beam_search_batch(model, [tokens], max_new_tokens, chosen, stop, watch=watch)[0]


def beam_search_batch(model: LanguageModel, prompts: Sequence[Sequence[int]], max_new_tokens: int | Sequence[int],
                      rules: BeamRules | None = None, stop: Stop | None = None,
                      bonus: Bonus | None = None, watch: Watch | None = None) -> list[list[Beam]]:
    """The same for several texts at once, each as if it were alone: what beam_search returns, for each of them.

    max_new_tokens   of all, or of each
    bonus            bonus(i, written) is added to the score of what was written to prompt i, when it has ended; it is
                     at most 0, as a penalty for what a translation has left out
    watch            watch(n, best) is called after n tokens, 1, 2, ..., with the best so far of each prompt: texts that
                     have ended, and such as go on, for whoever shows how far it is, or is not let wait for the end
    """
    rules = rules or BeamRules()
    most = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    for n in most:
        check_count("max_new_tokens", n)
    texts = Texts(model, prompts, max(most, default=0))
    searches = [Search(i, len(prompt), n, rules, stop, bonus) for i, (prompt, n) in enumerate(zip(texts.tokens, most))]
    rows = [[i] for i in range(len(searches))]          # of the model's batch, those of each search
    for n in range(1, max(most) + 1):
        logits = texts.last_logits()                                        # (rows, V)
        check_logits(logits)
        log_p = log_softmax_forward(logits)[0].astype(np.float64)
        going_on: list[tuple[int, int]] = []            # (row, token), search after search
        for search, mine in zip(searches, rows):
            first = len(going_on)
            going_on += search.step(n, mine, [texts.tokens[row] for row in mine], log_p[mine]) if mine else []
            mine[:] = range(first, len(going_on))
        if not going_on:
            break
        texts.select([row for row, _ in going_on])
        for text, (_, token) in zip(texts.tokens, going_on):
            text.append(token)
        if watch:
            watch(n, [search.best() for search in searches])
    return [search.ended for search in searches]


class Search:
    """The beams of one prompt.

    i, prompted   which prompt, and how many tokens it has
    sums          (beams,)   of log p of the beams that go on
    open          these beams, as if they ended here
    ended         the best texts so far that have ended, the best first
    """

    def __init__(self, i: int, prompted: int, max_new_tokens: int, rules: BeamRules, stop: Stop | None,
                 bonus: Bonus | None):
        self.i, self.prompted, self.max_new_tokens = i, prompted, max_new_tokens
        self.rules, self.stop, self.bonus = rules, stop, bonus
        self.sums, self.open, self.ended = np.zeros(1), list[Beam](), list[Beam]()

    def step(self, n: int, rows: Sequence[int], texts: Sequence[Sequence[int]], log_p: Array) -> list[tuple[int, int]]:
        """Choose the n-th token: (row, token) of the beams that go on, none when the search is over.

        rows    of the model's batch, one for each beam
        texts   the beams, with their prompt
        log_p   (beams, V)
        """
        rules, most = self.rules, self.rules.num_beams
        log_p = np.stack([rules.allowed(z, text, n - 1) for z, text in zip(log_p, texts)])
        totals = self.sums[:, None] + log_p
        best = np.argsort(-totals, axis=None, kind="stable")[:2 * most]     # so many that num_beams can go on
        beams, tokens = np.unravel_index(best, totals.shape)
        going_on: list[tuple[int, int]] = []            # (beam, token)
        self.open = []
        for rank, (beam, token) in enumerate(zip(beams.tolist(), tokens.tolist())):
            if totals[beam, token] == NEVER:
                continue
            written = [*texts[beam][self.prompted:], token]
            if n == self.max_new_tokens or ends(written, rules.end_of_text, self.stop):
                if rank < most:
                    self._end(written, float(totals[beam, token]))
            elif len(going_on) < most:
                going_on.append((beam, token))
                total = float(totals[beam, token])
                self.open.append(Beam(rules.score(total, n), written, total))
        if not going_on or self._over(totals[going_on[0]], n):
            self.open = []
            return []
        self.sums = np.array([totals[choice] for choice in going_on])
        return [(rows[beam], token) for beam, token in going_on]

    def best(self) -> list[Beam]:
        """The best texts so far, the best first, num_beams at most."""
        return sorted([*self.ended, *self.open], key=lambda beam: -beam.score)[:self.rules.num_beams]

    def _end(self, written: list[int], total: float) -> None:
        score = self.rules.score(total, len(written)) + (self.bonus(self.i, written) if self.bonus else 0.0)
        self.ended = sorted([*self.ended, Beam(score, written, total)], key=lambda beam: -beam.score)
        del self.ended[self.rules.num_beams:]

    def _over(self, total: float, n: int) -> bool:
        """Whether what goes on, at best with this sum after n tokens, need not be followed."""
        if len(self.ended) < self.rules.num_beams:
            return False
        if self.rules.early_stopping is True:
            return True
        return self.rules.best(float(total), n, self.max_new_tokens) <= self.ended[-1].score


def log_coverage(weights: Array) -> float:
    """How much of a source a translation has left out: 0 where each word was looked at once in all, else below.

        sum over s of log(min(sum over t of p_ts, 1))

    weights   p (T, S): how much target position t looked at source position s; of several heads, their mean

    Wu et al. 2016, arXiv:1609.08144, eq. 14, without its factor beta.
    """
    with np.errstate(divide="ignore"):
        return float(np.log(np.minimum(weights.sum(axis=0), 1)).sum()) if weights.size else -math.inf
