"""The loop over tokens, for one text, or for several of different lengths at once: each is as if it were alone.

Chapter: S000 2.1; S004 1.1, 1.2.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from ..models.protocols import LanguageModel
from ..sampling import GenerationError, Sampler
from .texts import Texts

SAMPLE, GREEDY = Sampler(), Sampler(temperature=0)
Stop = Callable[[Sequence[int]], bool]


def generate(model: LanguageModel, tokens: Sequence[int], max_new_tokens: int, sampler: Sampler = SAMPLE,
             rng: np.random.Generator | None = None, stop: Stop | None = None) -> Iterator[int]:
    """Continue one text: yields one token after another, as soon as it is chosen.

    tokens           the prompt, from 1 to n_ctx of them
    max_new_tokens   at least 1; fewer are written if the sampler's end_of_text comes, which is the last one then
    rng              the same generator gives the same text; None: another one each time
    stop             stop(written) -> whether a text ends here, given the tokens written so far; for stop strings, it is
                     stops_at(tokenizer, ["The end"]) of gpt2np/text/streaming.py

    raises   ValueError, at once, for a prompt that is empty, too long or has unknown tokens
    """
    rows = generate_batch(model, [tokens], max_new_tokens, sampler, rng, stop=stop)
    return (token for token, in rows if token is not None)


def generate_batch(model: LanguageModel, prompts: Sequence[Sequence[int]], max_new_tokens: int,
                   sampler: Sampler = SAMPLE, rng: np.random.Generator | None = None, num_return_sequences: int = 1,
                   stop: Stop | None = None) -> Iterator[list[int | None]]:
    """Continue several texts at once, of any lengths, each as if it were alone.

    num_return_sequences   this many continuations of each prompt, one behind the other; the prompt is run once for all

    Yields the next token of every text, in order, and None for those that have ended: these cost nothing more. Text i
    draws from the i-th child of rng: what it becomes does not depend on the texts beside it.
    """
    check_count("max_new_tokens", max_new_tokens)
    check_count("num_return_sequences", num_return_sequences)
    texts = Texts(model, prompts, max_new_tokens)
    return _generate(texts, max_new_tokens, sampler, rng, num_return_sequences, stop)


def _generate(texts: Texts, max_new_tokens: int, sampler: Sampler, rng: np.random.Generator | None,
              num_return_sequences: int, stop: Stop | None) -> Iterator[list[int | None]]:
    logits = texts.last_logits()
    running = [i for i in range(len(logits)) for _ in range(num_return_sequences)]
    if num_return_sequences > 1:
        texts.select(running)
        logits = logits[running]
    rngs = children(rng, len(running))
    running = list(range(len(running)))                 # which text each row of the model's batch is
    prompted = [len(text) for text in texts.tokens]
    for step in range(max_new_tokens):
        row: list[int | None] = [None] * len(rngs)
        left = []
        for at, (i, z, text) in enumerate(zip(running, logits, texts.tokens)):
            row[i] = token = sampler.sample(z, text, text[prompted[i]:], rngs[i])
            text.append(token)
            if not ends(text[prompted[i]:], sampler.end_of_text, stop):
                left.append(at)
        yield row
        if not left or step + 1 == max_new_tokens:
            return
        if len(left) < len(running):
            texts.select(left)
            running = [running[at] for at in left]
        logits = texts.last_logits()


def ends(written: Sequence[int], end_of_text: int | None, stop: Stop | None) -> bool:
    """Whether a text ends with the last token that was written."""
    return written[-1] == end_of_text or (stop is not None and stop(written))


def columns(rows: Iterable[Sequence[int | None]]) -> list[list[int]]:
    """What each text gets in all, of the rows that generate_batch yields."""
    return [[token for token in column if token is not None] for column in zip(*rows)]


def children(rng: np.random.Generator | None, n: int) -> list[np.random.Generator]:
    """n generators that draw independently of one another; the first ones are the same for every n."""
    return (np.random.default_rng() if rng is None else rng).spawn(n)


def check_count(name: str, n: int) -> None:
    """Raise ValueError unless n is a positive integer."""
    if not isinstance(n, (int, np.integer)) or n < 1:
        raise GenerationError(f"{name}: expected an integer from 1, got {n}")
