"""Beam search: the likeliest text as a whole, which need not begin with the likeliest token."""

from collections.abc import Sequence

import numpy as np

from ..layers.softmax import log_softmax_forward
from ..models.protocols import LanguageModel
from ..sampling import GenerationError, check_finite
from .loop import Stop, check_count, ends
from .texts import Texts


def beam_search(model: LanguageModel, tokens: Sequence[int], max_new_tokens: int, num_beams: int = 4,
                length_penalty: float = 1.0, end_of_text: int | None = None,
                stop: Stop | None = None) -> list[tuple[float, list[int]]]:
    """Look for the likeliest continuation as a whole: of all texts one token longer, the num_beams likeliest go on.

        score = sum_t log p(token_t | tokens before it) / n^length_penalty        n tokens were written

    length_penalty   from -10 to 10
    stop             as in generate

    returns  up to num_beams of (score, what was written), the best first; each ends in end_of_text, or where stop says
             so, or is of max_new_tokens

    It ends when the beams that go on have no better score than the worst that has ended: as Hugging Face does, so a
    positive penalty, which favours long texts, is not followed to the end.
    Graves 2012, arXiv:1211.3711, section 2.4; the score is that of Wu et al. 2016, arXiv:1609.08144, simplified.
    """
    check_count("max_new_tokens", max_new_tokens)
    check_count("num_beams", num_beams)
    if not -10 <= length_penalty <= 10:                 # beyond, n^length_penalty would not stay a number
        raise GenerationError(f"length_penalty: expected a number from -10 to 10, got {length_penalty}")
    texts, sums = Texts(model, [tokens], max_new_tokens), np.zeros(1)
    ended: list[tuple[float, list[int]]] = []
    for n in range(1, max_new_tokens + 1):
        logits = texts.last_logits()                                        # (beams, V)
        check_finite(logits)
        totals = sums[:, None] + log_softmax_forward(logits)[0].astype(np.float64)
        best = np.argsort(-totals, axis=None, kind="stable")[:2 * num_beams]    # so many that num_beams can go on
        going_on: list[tuple[int, int]] = []
        for rank, (row, token) in enumerate(zip(*map(np.ndarray.tolist, np.unravel_index(best, totals.shape)))):
            written = [*texts.tokens[row][len(tokens):], token]
            if n == max_new_tokens or ends(written, end_of_text, stop):
                if rank < num_beams:
                    ended.append((float(totals[row, token]) / n ** length_penalty, written))
            elif len(going_on) < num_beams:
                going_on.append((row, token))
        ended = sorted(ended, key=lambda scored: -scored[0])[:num_beams]
        if not going_on or (len(ended) == num_beams and totals[going_on[0]] / n ** length_penalty <= ended[-1][0]):
            break
        texts.select([row for row, _ in going_on])
        for text, (_, token) in zip(texts.tokens, going_on):
            text.append(token)
        sums = np.array([totals[choice] for choice in going_on])
    return ended
