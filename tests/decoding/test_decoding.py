"""The loops over tokens, each against the plainest way to the same text: one full forward for every token."""

import itertools
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from gpt2np.decoding import (
    GREEDY,
    ModelDraft,
    NgramDraft,
    Texts,
    beam_search,
    columns,
    generate,
    generate_batch,
    speculate,
    speculation,
    window_start,
)
from gpt2np.layers.softmax import log_softmax_forward
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.sampling import Sampler
from tests.golden.make_generation import BEAMS

GOLDEN = Path(__file__).parents[1] / "golden"


def filled(config, seed=0, dtype=np.float64):
    """A model whose choices depend on all that it sees: with the initial weights they hardly do."""
    rng = np.random.default_rng(seed)
    model = GPT2(config, rng, dtype=dtype)
    for _, parameter in model.named_parameters():
        parameter.value = (rng.standard_normal(parameter.value.shape) * 0.5).astype(dtype)
    return model


@pytest.fixture(scope="module")
def model():
    return filled(GPT2Config(n_vocab=23, n_ctx=16, n_embd=12, n_head=3, n_layer=2))


@pytest.fixture(scope="module")
def golden_model():
    with np.load(GOLDEN / "gpt2.npz", allow_pickle=False) as arrays:
        golden = dict(arrays)
    (V, C), n_ctx = golden["value wte"].shape, len(golden["value wpe"])
    model = GPT2(GPT2Config(V, n_ctx, C, int(golden["n_head"]), 2), dtype=np.float64)
    for path, parameter in model.named_parameters():
        parameter.value = golden["value " + path]
    return model


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "generation.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def plainly(model, tokens, n, sampler=GREEDY, rng=None, stop=lambda written: False):
    """One full forward over the window for every token."""
    text = list(tokens)
    for _ in range(n):
        seen = text[window_start(len(text), model.config.n_ctx):]
        logits = model.forward([seen], keep_cache=False)[0][0, -1]
        text.append(sampler.sample(logits, text, text[len(tokens):], rng))
        if text[-1] == sampler.end_of_text or stop(text[len(tokens):]):
            break
    return text[len(tokens):]


def mean_log_p(model, prompt, written):
    """The score of a beam, by full forwards."""
    text, total = [*prompt, *written], 0.0
    for at in range(len(prompt), len(text)):
        logits = model.forward([text[window_start(at, model.config.n_ctx):at]], keep_cache=False)[0][0, -1]
        total += log_softmax_forward(logits)[0][text[at]]
    return total / len(written)


# ---- one text

@pytest.mark.parametrize("penalty", [1.0, 2.0])
def test_greedy_is_that_of_hugging_face(golden_model, golden, penalty):
    for prompt, expected in zip(golden["prompts"], golden[f"greedy {penalty}"]):
        sampler = Sampler(temperature=0, repetition_penalty=penalty)
        assert list(generate(golden_model, prompt, 8, sampler)) == expected[len(prompt):].tolist()


@pytest.mark.parametrize("n_prompt", [1, 2, 7, 15, 16])
def test_with_the_past_it_writes_what_full_forwards_write(model, n_prompt):
    """Also beyond n_ctx, where the window slides several times."""
    prompt = np.random.default_rng(n_prompt).integers(0, 23, n_prompt)
    assert list(generate(model, prompt, 40, GREEDY)) == plainly(model, prompt, 40)
    sampler = Sampler(temperature=1.5, top_k=10, repetition_penalty=1.2)
    expected = plainly(model, prompt, 40, sampler, np.random.default_rng(3).spawn(1)[0])
    assert list(generate(model, prompt, 40, sampler, np.random.default_rng(3))) == expected


@pytest.mark.parametrize("n_ctx", [1, 2, 3, 5])
def test_texts_three_times_as_long_as_the_window(n_ctx):
    """Alone, in a batch, with guesses and as one beam: all write what one full forward for every token writes."""
    model = filled(GPT2Config(n_vocab=11, n_ctx=n_ctx, n_embd=4, n_head=2, n_layer=1))
    prompts, n = [[5], [3] * n_ctx, [*range(1 + n_ctx // 2)]], 3 * n_ctx
    expected = [plainly(model, prompt, n) for prompt in prompts]
    assert columns(generate_batch(model, prompts, n, GREEDY)) == expected
    for prompt, text in zip(prompts, expected):
        assert list(generate(model, prompt, n, GREEDY)) == text
        for draft in (NgramDraft(11, 2, 1), ModelDraft(model)):
            assert list(speculate(model, prompt, n, draft, GREEDY)) == text
        assert beam_search(model, prompt, n, 1)[0][1] == text
        for score, beam, _ in beam_search(model, prompt, n, 3):
            assert abs(score - mean_log_p(model, prompt, beam)) < 1e-12 and len(beam) == n


def test_the_logits_of_every_step_are_those_of_a_full_forward(model):
    rng = np.random.default_rng(0)
    texts = Texts(model, [rng.integers(0, 23, n) for n in (3, 9, 1)], 30)
    for _ in range(30):
        logits = texts.last_logits()
        for z, text in zip(logits, texts.tokens):
            seen = text[window_start(len(text), 16):]
            expected = model.forward([seen], keep_cache=False)[0][0, -1]
            np.testing.assert_allclose(z, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
            text.append(int(rng.integers(0, 23)))


def test_window_start():
    assert [window_start(n, 8) for n in range(6, 15)] == [0, 0, 0, 2, 2, 4, 4, 6, 6]
    assert [window_start(n, 1) for n in range(1, 5)] == [0, 1, 2, 3]


def test_it_ends_at_the_end_of_text(model):
    written = list(generate(model, [1, 2], 30, GREEDY))
    end = written[4]
    until = written[:written.index(end) + 1]
    assert list(generate(model, [1, 2], 30, Sampler(temperature=0, end_of_text=end))) == until
    longer = list(generate(model, [1, 2], 30, Sampler(temperature=0, end_of_text=end, min_new_tokens=8)))
    assert end not in longer[:8]


def test_the_same_seed_gives_the_same_text(model):
    texts = [list(generate(model, [1, 2], 30, rng=np.random.default_rng(seed))) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert list(generate(model, [1, 2], 30)) != list(generate(model, [1, 2], 30))


def test_no_token_is_computed_that_is_not_asked_for(model, monkeypatch):
    calls = []
    original = GPT2.next_logits
    monkeypatch.setattr(GPT2, "next_logits", lambda self, *a, **k: calls.append(1) or original(self, *a, **k))
    tokens = generate(model, [1, 2], 10, GREEDY)
    next(tokens), next(tokens)
    assert len(calls) == 2
    assert len(list(generate(model, [1, 2], 10, GREEDY))) == 10 and len(calls) == 12


# ---- several

SAMPLED = Sampler(temperature=0.9, top_k=20, top_p=0.9)
PROMPTS = [[1, 2, 3, 4, 5], [7], list(range(16)), [3, 1, 4, 1, 5, 9, 2, 6, 5], [7]]


@pytest.mark.parametrize("end_of_text", [None, 4])
def test_each_text_of_a_batch_is_as_if_alone(model, end_of_text):
    """Of any lengths, past the window, and when others end before it: the room for the longest one is then free."""
    greedy = Sampler(temperature=0, end_of_text=end_of_text)
    together = columns(generate_batch(model, PROMPTS, 40, greedy))
    assert together == [plainly(model, prompt, 40, greedy) for prompt in PROMPTS]
    sampler = Sampler(temperature=1.3, top_p=0.9, end_of_text=end_of_text)
    together = columns(generate_batch(model, PROMPTS, 40, sampler, np.random.default_rng(0)))
    rngs = np.random.default_rng(0).spawn(5)
    assert together == [plainly(model, prompt, 40, sampler, rng) for prompt, rng in zip(PROMPTS, rngs)]


def test_several_continuations_share_the_prompts_run(model, monkeypatch):
    shapes = []
    original = GPT2.next_logits
    monkeypatch.setattr(GPT2, "next_logits", lambda self, tokens, *a, **k: shapes.append(np.shape(tokens)) or
                        original(self, tokens, *a, **k))
    sampler = Sampler(temperature=1.3)
    together = columns(generate_batch(model, PROMPTS[:2], 6, sampler, np.random.default_rng(0), 3))
    assert shapes == [(2, 5)] + [(6, 1)] * 5
    rngs = np.random.default_rng(0).spawn(6)
    assert together == [plainly(model, PROMPTS[i // 3], 6, sampler, rng) for i, rng in enumerate(rngs)]


def comes_again(written):
    """A stop that depends on more than the last token."""
    return written[-1] in written[:-1]


def test_a_text_that_stops_costs_nothing_more(model, monkeypatch):
    rows = []
    original = GPT2.next_logits
    monkeypatch.setattr(GPT2, "next_logits", lambda self, tokens, *a, **k: rows.append(len(tokens)) or
                        original(self, tokens, *a, **k))
    sampler, rngs = Sampler(temperature=1.3, end_of_text=4), np.random.default_rng(0).spawn(5)
    together = columns(generate_batch(model, PROMPTS, 40, sampler, np.random.default_rng(0), stop=comes_again))
    lengths = [len(text) for text in together]
    assert len(set(lengths)) > 2 and max(lengths) < 40
    assert rows == [sum(n > step for n in lengths) for step in range(max(lengths))]
    assert together == [plainly(model, p, 40, sampler, rng, comes_again) for p, rng in zip(PROMPTS, rngs)]


def test_one_text_and_guesses_stop_as_well(model):
    expected = plainly(model, [1, 2], 40, stop=comes_again)
    assert 1 < len(expected) < 40
    assert list(generate(model, [1, 2], 40, GREEDY, stop=comes_again)) == expected
    for draft in (ModelDraft(model), NgramDraft(23, 2, 1)):
        assert list(speculate(model, [1, 2], 40, draft, GREEDY, stop=comes_again)) == expected


def test_memory_is_taken_once(model):
    texts = Texts(model, [[1, 2, 3]], 5)
    arrays = [(layer.k, layer.v) for layer in texts.past]
    for _ in range(5):
        texts.tokens[0].append(int(texts.last_logits()[0].argmax()))
    assert all(layer.k is k and layer.v is v for layer, (k, v) in zip(texts.past, arrays))
    assert texts.past[0].k.shape == (1, 3, 8, 4)


# ---- beams

@pytest.mark.parametrize("beams, penalty, end", BEAMS)
def test_beams_are_those_of_hugging_face(golden_model, golden, beams, penalty, end):
    prompt = golden["prompts"][0]
    name = f"beams {beams} {penalty} {end}"
    found = beam_search(golden_model, prompt, 8, beams, penalty, end)
    np.testing.assert_allclose([beam.score for beam in found], golden[name + " scores"], rtol=1e-6)
    for (_, written, _), expected in zip(found, golden[name]):
        assert (list(prompt) + written + [end] * 8)[:len(expected)] == expected.tolist()


def test_one_beam_is_greedy(golden_model, golden):
    assert beam_search(golden_model, [3, 1, 4], 8, 1)[0][1] == golden["greedy 1.0"][0][3:].tolist()


def test_enough_beams_find_the_likeliest_text(model):
    """All 23^3 texts, each scored by one full forward."""
    every = np.stack(np.meshgrid(*[np.arange(23)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    logits = model.forward(np.concatenate([np.full((len(every), 1), 5), every[:, :2]], axis=1), keep_cache=False)[0]
    log_p = np.take_along_axis(log_softmax_forward(logits)[0], every[:, :, None], axis=-1).sum(axis=(1, 2))
    best = np.argsort(-log_p)[:3]
    found = beam_search(model, [5], 3, num_beams=529, length_penalty=0.0)[:3]
    assert [beam.written for beam in found] == every[best].tolist()
    np.testing.assert_allclose([beam.score for beam in found], log_p[best], rtol=1e-12)


def test_beams_end_where_stop_says_so(model):
    """A stop at one token is an end of text; one at two tokens in a row ends each beam there, or not at all."""
    for token in range(23):
        found = beam_search(model, [5], 6, 3, stop=lambda written, token=token: written[-1] == token)
        assert found == beam_search(model, [5], 6, 3, end_of_text=token)
    found = beam_search(model, [5], 30, 4, stop=comes_again)
    assert all(comes_again(written) and len(set(written)) == len(written) - 1 for _, written, _ in found)


# ---- speculation

class Wrong:
    """A draft that guesses some token with certainty, seldom the right one, and any number of them."""

    def __init__(self, n_vocab, seed):
        self.n_vocab, self.rng = n_vocab, np.random.default_rng(seed)

    def guess(self, text, n, rng):
        tokens = self.rng.integers(0, self.n_vocab, self.rng.integers(0, n + 1)).tolist()
        return [(token, np.eye(self.n_vocab)[token]) for token in tokens]


@pytest.mark.parametrize("draft", [
    lambda model: NgramDraft(23), lambda model: NgramDraft(23, 2, 1), lambda model: Wrong(23, 0),
    lambda model: ModelDraft(model), lambda model: ModelDraft(model, GREEDY),
    lambda model: ModelDraft(filled(GPT2Config(n_vocab=23, n_ctx=7, n_embd=4, n_head=2, n_layer=1), seed=5))],
    ids=["n-grams", "short n-grams", "wrong", "itself", "itself, greedy", "smaller"])
@pytest.mark.parametrize("k", [1, 7])
def test_speculation_does_not_change_greedy_text(model, draft, k):
    for prompt in ([1, 2, 1, 2, 1], [7]):
        for sampler in (GREEDY, Sampler(temperature=0, repetition_penalty=1.5),
                        Sampler(temperature=0, end_of_text=plainly(model, prompt, 40)[-1])):
            expected = plainly(model, prompt, 40, sampler)
            assert list(speculate(model, prompt, 40, draft(model), sampler, np.random.default_rng(0), k)) == expected


def test_good_guesses_save_runs_of_the_model(model, monkeypatch):
    runs = []
    original = GPT2.next_logits
    monkeypatch.setattr(GPT2, "next_logits", lambda self, *a, **k: runs.append(self) or original(self, *a, **k))
    same = filled(model.config)
    assert len(list(speculate(model, [5], 12, ModelDraft(same, GREEDY), GREEDY, k=5))) == 12
    assert runs.count(model) == 2 and runs.count(same) == 10        # 5 taken and one more, twice


def test_a_draft_with_another_vocabulary(model):
    with pytest.raises(ValueError, match="draft: expected the model's 23 tokens, got 24"):
        list(speculate(model, [1, 2, 1, 2, 1, 2, 1], 5, NgramDraft(24)))


def test_a_draft_that_sees_less_than_the_prompt(model):
    small = filled(GPT2Config(n_vocab=23, n_ctx=4, n_embd=4, n_head=2, n_layer=1), seed=5)
    prompt = list(range(10))
    assert list(speculate(model, prompt, 20, ModelDraft(small), GREEDY)) == plainly(model, prompt, 20)


def test_ngrams_guess_what_came_after_the_same_tail():
    draft = NgramDraft(10, 3, 2)
    assert draft.guess([1, 2, 3, 4, 1, 2], 3, None)[0][1].tolist() == np.eye(10)[3].tolist()
    assert [token for token, _ in draft.guess([1, 2, 3, 4, 1, 2], 3, None)] == [3, 4, 1]
    assert draft.guess([1, 2, 3, 4, 1, 2, 9], 3, None) == []
    assert [token for token, _ in draft.guess([1, 2, 3, 4, 1, 2, 9, 2, 9], 5, None)] == [2, 9, 2, 9, 2]
    assert NgramDraft(10).guess([1], 3, None) == []


def test_a_draft_may_be_used_for_one_text_after_another():
    """What came in the first is no guess for the second, which may be shorter."""
    draft = NgramDraft(10, 3, 2)
    draft.guess([1, 2, 3, 4, 1, 2, 5, 6], 3, None)
    for text in ([1, 2], [7, 8, 1, 2], [1, 2, 9, 1, 2]):
        got = [token for token, _ in draft.guess(text, 3, None)]
        assert got == [token for token, _ in NgramDraft(10, 3, 2).guess(text, 3, None)]


class EveryPath:
    """In the place of draw and of its generator: takes one path through all outcomes after another, and notes the
    probability of each.
    """

    def __init__(self):
        self.script = []

    def __call__(self, p, rng):
        if self.at == len(self.script):
            self.script.append(0)
        outcome = self.script[self.at]
        self.outcomes.append(len(p))
        self.at += 1
        self.probability *= p[outcome] / p.sum()
        return outcome

    def spawn(self, n):
        return [self] * n

    def random(self):
        """A number from 0 to 1 that is drawn when it is compared: it is below x with probability x."""
        return self

    def __lt__(self, x):
        return self(np.array([1 - x, x]), None) == 1

    def paths(self, run):
        """Yield (probability, result of run) for every path."""
        while True:
            self.at, self.outcomes, self.probability = 0, [], 1.0
            result = run()
            yield self.probability, result
            self.script = self.script[:self.at]
            while self.script and self.script[-1] == self.outcomes[len(self.script) - 1] - 1:
                self.script.pop()
            if not self.script:
                return
            self.script[-1] += 1


@pytest.mark.parametrize("sampler", [Sampler(), Sampler(temperature=0.6, top_k=2), Sampler(repetition_penalty=2.0),
                                     Sampler(end_of_text=1)], ids=["plain", "top-k", "penalty", "end"])
@pytest.mark.parametrize("name", ["model", "n-grams"])
def test_speculation_has_exactly_the_models_distribution(monkeypatch, sampler, name):
    """A vocabulary of 3: the sum over every path of guesses, acceptances and draws, against the product of p."""
    config = GPT2Config(n_vocab=3, n_ctx=6, n_embd=4, n_head=2, n_layer=1)
    model, small = filled(config, 1), filled(config, 2)
    prompt, n = [0, 1, 0, 1], 3
    every = EveryPath()
    monkeypatch.setattr(speculation, "draw", every)
    got = {}
    for p, text in every.paths(lambda: tuple(speculate(
            model, prompt, n, ModelDraft(small) if name == "model" else NgramDraft(3, 2, 1), sampler, every, k=2))):
        got[text] = got.get(text, 0) + p
    expected = {}
    for text in itertools.product(range(3), repeat=n):
        probability, written = 1.0, []
        for token in text:
            so_far = prompt + written
            logits = model.forward([so_far[window_start(len(so_far), 6):]], keep_cache=False)[0][0, -1]
            probability *= sampler.probabilities(logits, so_far, written)[token]
            written.append(token)
            if token == sampler.end_of_text:
                break
        expected[tuple(written)] = probability
    assert abs(sum(got.values()) - 1) < 1e-12
    for text in {*got, *expected}:
        assert abs(got.get(text, 0) - expected.get(text, 0)) < 1e-12, text


# ---- memory

def test_a_step_takes_no_more_memory_late_than_early():
    """But for the attention weights of one query, and a longer list: the keys of one layer are 310,000 bytes by then.

    And for the freed tuples that Python keeps, to use them again: with 3.11 these are 140,000 bytes by then.
    """
    model = filled(GPT2Config(n_vocab=23, n_ctx=256, n_embd=192, n_head=3, n_layer=2))
    tokens, peaks = generate(model, [1, 2], 220, SAMPLED, np.random.default_rng(0)), []
    tracemalloc.start()
    for step, _ in enumerate(tokens):
        if step in (10, 200):
            tracemalloc.reset_peak()
        if step in (20, 210):
            peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert peaks[1] - peaks[0] < 200_000


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the size of a process is read from Linux's /proc")
def test_a_thousand_generations_leave_nothing_behind(model):
    """The process does not grow: with a single array of the cache or of the logits left each time it would, by more."""
    def pages():
        return int(Path("/proc/self/statm").read_text().split()[1])

    for i in range(1100):
        list(generate(model, [1, 2], 3, SAMPLED, np.random.default_rng(i)))
        if i == 99: before = pages()
    assert (pages() - before) * os.sysconf("SC_PAGE_SIZE") < 1000 * 200


# ---- bad input

@pytest.mark.parametrize("prompt, message", [
    ([], "prompt: expected at least one token"),
    (list(range(17)), "at most the 16 tokens that the model can see, got 17"),
    ([23], "expected token ids from 0 to 22, got 23"), ([-1], "expected token ids from 0 to 22, got -1"),
    ([1.0], "expected token ids in a row"), ([[1]], "expected token ids in a row"),
])
def test_a_prompt_that_cannot_be(model, prompt, message):
    with pytest.raises(ValueError, match=message):
        generate(model, prompt, 5)                      # at once, not when the first token is asked for


@pytest.mark.parametrize("options, message", [
    ({"max_new_tokens": 0}, "max_new_tokens: expected an integer from 1, got 0"),
    ({"max_new_tokens": 2.5}, "max_new_tokens: expected an integer from 1, got 2.5"),
    ({"max_new_tokens": 1, "num_return_sequences": 0}, "num_return_sequences: expected an integer from 1, got 0"),
    ({"max_new_tokens": 1, "prompts": []}, "prompts: expected at least one, got none"),
])
def test_counts_that_cannot_be(model, options, message):
    with pytest.raises(ValueError, match=message):
        generate_batch(**{"model": model, "prompts": [[1]]} | options)


@pytest.mark.parametrize("options, message", [
    ({"num_beams": 0}, "num_beams: expected an integer from 1, got 0"),
    ({"length_penalty": float("nan")}, "length_penalty: expected a number from -10 to 10, got nan"),
    ({"length_penalty": 1e308}, "length_penalty: expected a number from -10 to 10, got 1e"),
])
def test_beams_that_cannot_be(model, options, message):
    with pytest.raises(ValueError, match=message):
        beam_search(model, [1], 5, **options)
