"""From texts to their translations: the encoder reads a text once, and the decoder writes, as any language model.

    translate(model, tokenizer, ["我喜欢读书。"])                           the likeliest token, again and again
    best_translations(model, tokenizer, ["我喜欢读书。"], BeamRules(4))     the likeliest text, by beams

Texts are taken together where their lengths are alike, and each is as if it were alone.

Chapter: S000 3.4.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np

from ..hints import Array
from ..models.protocols import LanguageModel, Translator
from ..sampling import Sampler
from ..text.protocol import AnyTokenizer, end_of
from ..text.streaming import text_before
from .beams import BeamRules, beam_search_batch, log_coverage
from .loop import GREEDY, columns, generate_batch

MORE = 50                       # tokens that a translation may have beyond its source's: Vaswani et al. 2017, 6.1
TOGETHER = 32                   # texts at once
Found = TypeVar("Found")


class Translated(NamedTuple):
    """One translation of a text.

    text      what it says
    written   its tokens; the last one ends it, unless it was cut
    score     what it is ranked by
    total     the sum of its tokens' log p, that of the end among them
    """

    text: str
    written: list[int]
    score: float
    total: float


def translate(model: Translator, tokenizer: AnyTokenizer, texts: Sequence[str], sampler: Sampler = GREEDY,
              rng: np.random.Generator | None = None, done: Callable[[int], None] | None = None) -> list[str]:
    """The translations of some texts, token by token; that of a text without a word is "".

    sampler   how each token is chosen; it ends a translation at the tokenizer's end, whatever its end_of_text says
    rng       the same generator gives the same translations; None: others each time, if anything is drawn
    done      is told now and then how many texts are done

    Of a text that is longer than the model can see, the beginning is read: see source_of.
    """
    end = end_of(tokenizer)
    sampler = replace(sampler, end_of_text=end, forbidden=[*sampler.forbidden, *([i] for i in tokenizer.unused)])
    rng = np.random.default_rng() if rng is None else rng

    def together(sources: Sequence[list[int]]) -> list[str]:
        most = [longest(model, source) for source in sources]
        rows = generate_batch(given(model, sources), [[end]] * len(sources), max(most), sampler, rng)
        return [text_before(tokenizer, written[:n]) for written, n in zip(columns(rows), most)]

    return list(by_length(model, tokenizer, texts, together, "", done))


def best_translations(model: Translator, tokenizer: AnyTokenizer, texts: Sequence[str],
                      rules: BeamRules | None = None, coverage_penalty: float = 0.0,
                      done: Callable[[int], None] | None = None) -> list[list[Translated]]:
    """The best translations of some texts, for each up to num_beams, the best first; none of one without a word.

    rules              BeamRules; with one beam, and early_stopping, the one is what translate gives
    coverage_penalty   beta: how much it counts that a translation has looked at all of the source, see log_coverage

        score = sum_t log p / (length penalty) + beta sum_s log(min(sum_t p_ts, 1))

    Wu et al. 2016, arXiv:1609.08144, eq. 14, where p_ts are the weights of attention; here, those of Transformer's
    looked_at.  They use a beta of 0.2.
    """
    end = end_of(tokenizer)
    rules = replace(rules or BeamRules(), end_of_text=end)

    def together(sources: Sequence[list[int]]) -> list[list[Translated]]:
        def coverage(i: int, written: Sequence[int]) -> float:
            return coverage_penalty * log_coverage(looked_at(model, sources[i], [end, *written[:-1]]))

        found = beam_search_batch(given(model, sources), [[end]] * len(sources),
                                  [longest(model, source) for source in sources], rules,
                                  bonus=coverage if coverage_penalty else None)
        return [[Translated(text_before(tokenizer, beam.written), beam.written, beam.score, beam.total)
                 for beam in beams] for beams in found]

    nothing: list[Translated] = []
    return list(by_length(model, tokenizer, texts, together, nothing, done))


def looked_at(model: Translator, source: Sequence[int], tokens: Sequence[int]) -> Array:
    """p (T, S): how much each token of a target looked at which of the source; see Transformer.looked_at"""
    return model.looked_at([list(source)], None, [list(tokens)])[0]


def source_of(model: Translator, tokenizer: AnyTokenizer, text: str) -> list[int]:
    """The tokens of a text as the model reads it, as many of its first ones as it can see."""
    end = [end_of(tokenizer)] if model.source_end else []
    return tokenizer.encode(text)[:model.n_ctx - len(end)] + end


def longest(model: Translator, source: Sequence[int]) -> int:
    """How many tokens a translation has at most."""
    return min(model.n_ctx, len(source) + MORE)


def given(model: Translator, sources: Sequence[Sequence[int]]) -> LanguageModel:
    """The decoder that has these sources to translate."""
    S = max(map(len, sources))
    mask = np.arange(S) < np.array([len(source) for source in sources])[:, None]
    ids = np.array([[*source, *[0] * (S - len(source))] for source in sources])
    return model.given(ids, None if mask.all() else mask)


def by_length(model: Translator, tokenizer: AnyTokenizer, texts: Sequence[str],
              together: Callable[[Sequence[list[int]]], Sequence[Found]], nothing: Found,
              done: Callable[[int], None] | None) -> Iterator[Found]:
    """What a function gives for several sources at once, of all texts in their order; `nothing` of one without a word.
    """
    sources = [source_of(model, tokenizer, text) if text.strip() else [] for text in texts]
    order = sorted((i for i, source in enumerate(sources) if source), key=lambda i: len(sources[i]))
    found: dict[int, Found] = {}
    for start in range(0, len(order), TOGETHER):
        some = order[start:start + TOGETHER]
        found |= zip(some, together([sources[i] for i in some]))
        if done:
            done(len(found))
    return (found.get(i, nothing) for i in range(len(texts)))
