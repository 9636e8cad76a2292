"""Models that are no GPT-2, and have no parameters: decoding asks for what LanguageModel says, and for nothing else."""

import ast
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from gpt2np import decoding
from gpt2np.blocks.kv_cache import KVCache
from gpt2np.decoding import (
    GREEDY,
    ModelDraft,
    NgramDraft,
    beam_search,
    columns,
    generate,
    generate_batch,
    prefill,
    speculate,
    window_start,
)
from gpt2np.layers.softmax import log_softmax_forward
from gpt2np.sampling import Sampler
from tests.decoding.test_decoding import comes_again


class Counter:
    """A past that is a number: how many tokens there were."""

    on_host = True

    def __init__(self):
        self.length = 0

    def append(self, k, v):
        self.length += k.shape[2]
        return k, v

    def forget(self, length):
        self.length = length

    def select(self, rows):
        chosen = Counter()
        chosen.length = self.length
        return chosen


class Bigrams:
    """What comes next follows from the last token alone: log p(next | last) is a row of a table (V, V)."""

    def __init__(self, V, n_ctx, seed):
        self.n_vocab, self.n_ctx = V, n_ctx
        self.table = np.random.default_rng(seed).standard_normal((V, V)) * 2

    def new_past(self, B, n):
        return [Counter()]

    def next_logits(self, tokens, past, padding_mask=None, last=1):
        tokens = np.asarray(tokens)
        past[0].append(tokens[:, None, :, None], None)
        return self.table[tokens[:, tokens.shape[1] - last:]]

    def after(self, text, source):
        """The logits after a text, worked out without a past."""
        return self.table[text[-1]]


class SourcePast:
    """The tokens so far, as keys of width 1, and the source that each text belongs to: as a decoder has its memory."""

    def __init__(self, own, source):
        self.own, self.source = own, source

    length = property(lambda self: self.own.length)
    on_host = property(lambda self: self.own.on_host)

    def append(self, k, v):
        return self.own.append(k, v)

    def forget(self, length):
        self.own.forget(length)

    def select(self, rows):
        return SourcePast(self.own.select(rows), self.source[rows])


class Translation:
    """What comes next follows from all tokens in the window, the real ones, with their places, and from a source."""

    PRIME = 31

    def __init__(self, V, n_ctx, sources, seed):
        self.n_vocab, self.n_ctx, self.sources = V, n_ctx, np.array(sources)
        self.table = np.random.default_rng(seed).standard_normal((self.PRIME, V)) * 2

    def new_past(self, B, n):
        assert B == len(self.sources)
        return [SourcePast(KVCache(B, 1, n, 1, np.zeros(1)), self.sources) for _ in range(2)]

    def next_logits(self, tokens, past, padding_mask=None, last=1):
        tokens = np.asarray(tokens)
        new = tokens[:, None, :, None].astype(float)
        (seen, _), (seen, _) = [layer.append(new, new) for layer in past]
        seen = seen[:, 0, :, 0].astype(int)                                 # (B, S)
        real = np.ones(seen.shape, bool) if padding_mask is None else padding_mask
        places = np.cumsum(real, axis=1)
        sums = np.cumsum(np.where(real, (1 + seen) * places, 0), axis=1)
        states = (sums + past[0].source[:, None]) % self.PRIME
        return self.table[states[:, seen.shape[1] - last:]]

    def after(self, text, source):
        """The logits after a text, worked out without a past."""
        window = text[window_start(len(text), self.n_ctx):]
        return self.table[(sum((1 + token) * place for place, token in enumerate(window, 1)) + source) % self.PRIME]


SOURCE = 11
MODELS = {"bigrams": lambda V, n_ctx: Bigrams(V, n_ctx, 0),
          "translation": lambda V, n_ctx: Translation(V, n_ctx, [SOURCE], 1)}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


def plainly(model, tokens, n, sampler=GREEDY, rng=None, stop=lambda written: False, source=SOURCE):
    """Each token by the logits after the whole text."""
    text = list(tokens)
    for _ in range(n):
        text.append(sampler.sample(model.after(text, source), text, text[len(tokens):], rng))
        if text[-1] == sampler.end_of_text or stop(text[len(tokens):]):
            break
    return text[len(tokens):]


def log_p(model, text, written):
    """log p of what was written after a text."""
    total, text = 0.0, list(text)
    for token in written:
        total += float(log_softmax_forward(model.after(text, SOURCE))[0][token])
        text.append(token)
    return total


@every_model
def test_one_token_after_another(make):
    """Greedy and sampled, past the window, with a stop and an end."""
    model = make(7, 8)
    for prompt in ([3], [1, 2, 3, 4, 5, 6, 0, 1]):
        assert list(generate(model, prompt, 40, GREEDY)) == plainly(model, prompt, 40)
        for sampler in (Sampler(), Sampler(temperature=0.7, top_k=4, repetition_penalty=1.3), Sampler(end_of_text=2)):
            expected = plainly(model, prompt, 40, sampler, np.random.default_rng(5).spawn(1)[0])
            assert list(generate(model, prompt, 40, sampler, np.random.default_rng(5))) == expected
        expected = plainly(model, prompt, 40, stop=comes_again)
        assert list(generate(model, prompt, 40, GREEDY, stop=comes_again)) == expected


def test_several_texts_each_with_a_source_of_its_own():
    """Texts of different lengths that end at different times; what is kept beside the tokens goes with its text."""
    sources, prompts = [3, 17, 4, 29], [[1], [2, 3, 4, 5], [6, 0], [1]]
    model, sampler = Translation(7, 8, sources, 2), Sampler(end_of_text=2)
    for n in (1, 3):
        together = columns(generate_batch(model, prompts, 30, sampler, np.random.default_rng(0), n))
        rngs = np.random.default_rng(0).spawn(4 * n)
        assert together == [plainly(model, prompts[i // n], 30, sampler, rng, source=sources[i // n])
                            for i, rng in enumerate(rngs)]
    assert len(set(map(len, together))) > 2 and together[0] != together[3 * n]      # one prompt, two sources


@every_model
@pytest.mark.parametrize("end", [None, 1])
def test_all_beams_are_the_likeliest_of_all_texts(make, end):
    """By brute force: a vocabulary of 3, four tokens, so many beams that none is dropped."""
    model, prompt, n = make(3, 16), [0, 2], 4
    every = [text for m in range(1, n + 1) for text in itertools.product(range(3), repeat=m)
             if end not in text[:-1] and (m == n or text[-1] == end)]
    for penalty in (0.0, 1.0, 2.0):
        scores = {text: log_p(model, prompt, text) / len(text) ** penalty for text in every}
        found = beam_search(model, prompt, n, 81, penalty, end)
        assert sorted(tuple(written) for _, written, _ in found) == sorted(every)
        np.testing.assert_allclose([beam.score for beam in found], sorted(scores.values(), reverse=True), rtol=1e-12)
        for score, written, _ in found:                    # bigrams have equals: 2 0 2 0 0 and 2 0 0 2 0 from a 2
            assert math.isclose(score, scores[tuple(written)], rel_tol=1e-12)
    assert math.isclose(sum(math.exp(log_p(model, prompt, text)) for text in every), 1, rel_tol=1e-12)


@every_model
def test_beams_past_the_window(make):
    model, prompt = make(5, 8), [1, 4]
    assert beam_search(model, prompt, 30, 1)[0][1] == plainly(model, prompt, 30)
    for score, written, _ in beam_search(model, prompt, 30, 4):
        assert math.isclose(score, log_p(model, prompt, written) / 30, rel_tol=1e-12)


@every_model
@pytest.mark.parametrize("draft", [
    lambda model: NgramDraft(5, 2, 1), ModelDraft, lambda model: ModelDraft(Bigrams(5, 6, 9), GREEDY)],
    ids=["n-grams", "itself", "another kind of model, with a shorter window"])
def test_speculation(make, draft):
    model = make(5, 12)
    for prompt in ([1, 2, 1, 2, 1], [3]):
        for sampler in (GREEDY, Sampler(temperature=0, end_of_text=plainly(model, prompt, 40)[-1])):
            assert list(speculate(model, prompt, 40, draft(model), sampler)) == plainly(model, prompt, 40, sampler)


def test_a_long_prompt_in_chunks_on_threads():
    """What a model keeps beside the tokens is seen from each chunk, and each waits for the one before it."""
    sources = [5, 8]
    model, tokens = Translation(7, 64, sources, 3), np.random.default_rng(0).integers(0, 7, (2, 60))
    mask = np.arange(60) >= np.array([[0], [13]])
    for padding_mask in (None, mask):
        past = [model.new_past(2, 60) for _ in range(2)]
        expected = model.next_logits(tokens, past[0], padding_mask, 3)
        with threadpool_limits(2, user_api="blas"):
            got = prefill(model, tokens, past[1], padding_mask, 3, rows=8)
        np.testing.assert_array_equal(got, expected)
        assert [layer.length for layer in past[1]] == [60, 60]


@every_model
@pytest.mark.parametrize("prompt, message", [
    ([], "prompt: expected at least one token, got none"), ([7], "prompt: expected token ids from 0 to 6, got 7"),
    ([0] * 9, "prompt: expected at most the 8 tokens that the model can see, got 9")])
def test_prompts_that_cannot_be(make, prompt, message):
    """The door is decoding's own: these models look at nothing."""
    for loop in (generate, beam_search, lambda *arguments: speculate(*arguments, NgramDraft(7))):
        with pytest.raises(ValueError, match=message):
            loop(make(7, 8), prompt, 5)


def test_decoding_knows_no_model():
    for path in Path(decoding.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert getattr(node, "id", None) != "GPT2" and getattr(node, "attr", None) != "config", path
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("models"):
                assert node.module == "models.protocols", path
