"""Each sampling rule against Hugging Face's own, against what defines it, and by how often each token is drawn."""

import math
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2np.layers.softmax import softmax_forward
from gpt2np.sampling import (
    NEVER,
    Sampler,
    apply_temperature,
    draw,
    forbid_words,
    greedy,
    keep_min_p,
    keep_openai_top_p,
    keep_top_k,
    keep_top_p,
    keep_typical,
    penalise_frequency,
)
from tests.golden.make_generation import CHAINS, END, TOKENS

WRITTEN = TOKENS[-3:]
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "golden" / "generation.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def random_logits(seed, V=50, scale=2.0, dtype=np.float64):
    return (np.random.default_rng(seed).standard_normal(V) * scale).astype(dtype)


def probabilities(logits):
    return softmax_forward(logits)[0]


# ---- against Hugging Face

@pytest.mark.parametrize("name", CHAINS)
def test_hugging_face_gives_the_same(golden, name):
    options = dict(CHAINS[name])
    if "logit_bias" in options:
        options["logit_bias"] = {token: b for (token,), b in options["logit_bias"].items()}
    sampler = Sampler(**options, end_of_text=END)
    for logits, expected in zip(golden["logits"], golden[name]):
        got = sampler.filter(logits, TOKENS, WRITTEN)
        np.testing.assert_array_equal(got == NEVER, expected == NEVER)
        np.testing.assert_allclose(probabilities(got), probabilities(expected), rtol=1e-12, atol=1e-15)


# ---- what defines each rule

@given(seeds, st.integers(1, 50))
def test_top_k_keeps_k(seed, k):
    logits = random_logits(seed)
    kept = keep_top_k(logits, k)
    assert (kept > NEVER).sum() == k and kept[kept > NEVER].min() > logits[kept == NEVER].max(initial=NEVER)


@given(seeds, st.floats(0.001, 1), st.floats(0.01, 10))
def test_top_p_keeps_the_smallest_set_of_that_mass(seed, p, scale):
    logits = random_logits(seed, scale=scale)
    probability = probabilities(logits)
    kept = keep_top_p(logits, p) > NEVER
    assert probability[kept].sum() >= p - 1e-12
    assert probability[kept].sum() - probability[kept].min() < p + 1e-12
    assert logits[kept].min() >= logits[~kept].max(initial=NEVER)


def test_top_p_of_equal_tokens_keeps_the_first_ones():
    assert np.flatnonzero(keep_top_p(np.zeros(8), 0.5) > NEVER).tolist() == [0, 1, 2, 3]
    assert np.flatnonzero(keep_top_p(np.zeros(8), 0.501) > NEVER).tolist() == [0, 1, 2, 3, 4]


def test_typical_of_equal_tokens_keeps_the_first_ones():
    """transformers keeps all that are as typical as the last: then half of the mass is all of it."""
    assert np.flatnonzero(keep_typical(np.zeros(8), 0.5) > NEVER).tolist() == [0, 1, 2, 3]


def test_openais_top_p_keeps_one_token_fewer():
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05]))
    for p, ours, openai in ((0.4, 1, 1), (0.6, 2, 1), (0.79, 2, 1), (0.81, 3, 2), (0.96, 4, 3)):
        assert (keep_top_p(logits, p) > NEVER).sum() == ours
        assert (keep_openai_top_p(logits, p) > NEVER).sum() == openai
    sampler = Sampler(top_p=0.81, openai_top_p=True)
    assert (sampler.filter(logits, [], []) > NEVER).sum() == 2


@given(seeds, st.floats(0.001, 1))
def test_min_p_is_a_share_of_the_largest(seed, p):
    logits = random_logits(seed)
    probability = probabilities(logits)
    kept = keep_min_p(logits, p) > NEVER
    assert probability[kept].min() >= p * probability.max() * (1 - 1e-12)
    assert probability[~kept].max(initial=0) <= p * probability.max() * (1 + 1e-12)


@given(seeds, st.floats(0.01, 0.99))
def test_typical_keeps_the_smallest_set_nearest_to_the_entropy(seed, mass):
    logits = random_logits(seed)
    logits[::7] = NEVER
    probability = probabilities(logits)
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = -np.log(probability)
        distance = np.abs(surprise - np.nansum(probability * surprise))
    kept = keep_typical(logits, mass) > NEVER
    assert probability[kept].sum() >= mass - 1e-12 and np.isfinite(logits[kept]).all()
    assert probability[kept].sum() - probability[kept][distance[kept].argmax()] < mass + 1e-12
    assert distance[kept].max() <= distance[~kept].min() + 1e-12


def test_frequency_and_presence_count_what_was_written():
    logits = penalise_frequency(np.zeros(5, np.float32), [1, 1, 3], 0.5, 0.25)
    assert logits.tolist() == [0, -1.25, 0, -0.75, 0] and logits.dtype == np.float32
    sampler = Sampler(frequency_penalty=0.5, presence_penalty=0.25)
    assert sampler.filter(np.zeros(5), [4, 4, 1, 1, 3], [1, 1, 3]).tolist() == [0, -1.25, 0, -0.75, 0]
    assert sampler.filter(np.zeros(5), [4, 4], []).tolist() == [0] * 5


def test_a_forbidden_word_is_cut_before_its_last_token():
    words = [[2], [0, 1], [4, 0, 3], [1, 1, 1, 1]]
    assert np.flatnonzero(forbid_words(np.zeros(5), [4, 0], words) == NEVER).tolist() == [1, 2, 3]
    assert np.flatnonzero(forbid_words(np.zeros(5), [0], words) == NEVER).tolist() == [1, 2]
    assert np.flatnonzero(forbid_words(np.zeros(5), [], words) == NEVER).tolist() == [2]


def test_minimum_length_holds_the_end_back():
    sampler = Sampler(temperature=0, end_of_text=2, min_new_tokens=2)
    logits = np.array([0.0, 1.0, 5.0])
    assert [sampler.sample(logits, [0], [0] * n, None) for n in range(4)] == [1, 1, 2, 2]


@given(seeds, st.floats(0.001, 100))
def test_temperature_divides_the_differences(seed, temperature):
    logits = random_logits(seed)
    hot = apply_temperature(logits, temperature)
    np.testing.assert_allclose(hot - hot[0], (logits - logits[0]) / temperature, rtol=1e-9, atol=1e-9 / temperature)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("temperature", [5e-324, 1e-50, 1e-40, 1e-20])
def test_a_temperature_next_to_0_is_greedy(dtype, temperature):
    logits = random_logits(0, dtype=dtype)
    sampler = Sampler(temperature=temperature, top_p=0.9, typical_p=0.9, min_p=0.1)
    assert sampler.sample(logits, [], [], np.random.default_rng(0)) == greedy(logits)


def test_the_first_of_equals_is_greedy():
    assert greedy(np.array([0.0, 2.0, 2.0])) == 1
    assert Sampler(temperature=0).probabilities(np.array([0.0, 2.0, 2.0]), [], []).tolist() == [0, 1, 0]


@pytest.mark.parametrize("options", [*CHAINS.values(), {"presence_penalty": 1.0}, {"top_p": 0.5, "openai_top_p": True}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rules_are_pure_and_keep_the_dtype(options, dtype):
    options = options | {"logit_bias": {k[0]: b for k, b in options.get("logit_bias", {}).items()}}
    logits = random_logits(1, 61, dtype=dtype)
    logits.setflags(write=False)
    assert Sampler(**options, end_of_text=END).filter(logits, TOKENS, WRITTEN).dtype == dtype


# ---- how often each token is drawn

class Fixed:
    """A generator whose next number is known, or next numbers."""

    def __init__(self, number):
        self.number = number

    def random(self):
        return self.number


@pytest.mark.parametrize("options", [
    {}, {"temperature": 0.5}, {"temperature": 2.0}, {"top_k": 4}, {"top_p": 0.7}, {"top_p": 0.9, "openai_top_p": True},
    {"min_p": 0.1}, {"typical_p": 0.6}, {"repetition_penalty": 1.5}, {"frequency_penalty": 0.6},
    {"presence_penalty": 0.7}, {"logit_bias": {3: 1.0}}, {"forbidden": [[5]]},
    {"temperature": 0.8, "top_k": 8, "top_p": 0.9}], ids=str)
def test_draws_have_their_probabilities(options):
    """Pearson's chi-square over 100,000 draws with a fixed seed, within 4 standard deviations of its mean."""
    n, V = 100_000, 12
    sampler, logits, rng = Sampler(**options), random_logits(3, V, 1.0), np.random.default_rng(5)
    expected = probabilities(sampler.filter(logits, TOKENS, WRITTEN)) * n
    p = sampler.probabilities(logits, TOKENS, WRITTEN)
    counts = np.bincount(draw(p, Fixed(rng.random(n))), minlength=V)      # n draws at once
    possible = expected > 0
    assert counts[~possible].sum() == 0
    freedom = possible.sum() - 1
    chi_square = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    assert abs(chi_square - freedom) <= 4 * math.sqrt(2 * freedom)


def test_sample_is_draw_of_its_probabilities():
    logits = random_logits(0)
    sampler = Sampler(temperature=0.9, top_k=20)
    drawn = [sampler.sample(logits, [], [], np.random.default_rng(s)) for s in range(200)]
    assert drawn == [draw(sampler.probabilities(logits, [], []), np.random.default_rng(s)) for s in range(200)]


def test_no_token_of_probability_0_is_ever_drawn():
    p = np.array([0, 0.25, 0, 0.75, 0], np.float32)
    below_1 = np.nextafter(1, 0)
    assert [draw(p, Fixed(u)) for u in (0.0, np.nextafter(0.25, 0), 0.25, below_1)] == [1, 1, 3, 3]
    for seed in range(20):
        p = probabilities(keep_top_k(random_logits(seed, 1000, dtype=np.float32), 7))
        assert p[draw(p, Fixed(below_1))] > 0 and p[draw(p, Fixed(0.0))] > 0


# ---- bad input

@pytest.mark.parametrize("options", [
    {"temperature": -0.1}, {"temperature": math.nan}, {"temperature": math.inf}, {"top_k": 0}, {"top_p": 0.0},
    {"top_p": 1.01}, {"min_p": -0.1}, {"min_p": 1.1}, {"typical_p": 0.0}, {"repetition_penalty": 0.0},
    {"temperature": 2e9}, {"repetition_penalty": 1e-10}, {"frequency_penalty": math.nan},
    {"presence_penalty": math.inf}, {"logit_bias": {3: math.nan}}, {"logit_bias": {3: -2e9}}, {"forbidden": [[]]},
    {"min_new_tokens": -1}, {"end_of_text": -1},
    # and what is no number, or none of that kind: an integer that came as 5.0 is seen before it fails inside of NumPy
    {"top_k": 5.0}, {"top_k": "5"}, {"no_repeat_ngram": 2.5}, {"min_new_tokens": 1.0}, {"end_of_text": 1.5},
    {"end_of_text": "</s>"}, {"logit_bias": {3: "1"}}, {"logit_bias": {"love": 1.0}}, {"forbidden": [5]},
    {"forbidden": ["word"]}, {"forbidden": [[1.0]]},
    *({field.name: None} for field in fields(Sampler) if field.name not in ("top_k", "openai_top_p", "end_of_text")),
    *({field.name: "x"} for field in fields(Sampler) if field.name != "openai_top_p")], ids=str)
def test_a_value_out_of_range_is_named(options):
    with pytest.raises(ValueError, match=f"^{next(iter(options))}: expected "):
        Sampler(**options)


@pytest.mark.parametrize("bias", [1e9, -1e9])
@pytest.mark.parametrize("repetition", [1e9, 1e-9])
@pytest.mark.parametrize("penalty", [1e9, -1e9])
@pytest.mark.parametrize("temperature", [1e-300, 1e9])
def test_the_largest_options_leave_probabilities(bias, repetition, penalty, temperature):
    """In float32, together, for logits of any size, next to a forbidden token; a warning of NumPy would fail it."""
    sampler = Sampler(temperature, top_p=0.9, typical_p=0.9, min_p=0.1, repetition_penalty=repetition,
                      frequency_penalty=penalty, presence_penalty=penalty, logit_bias={1: bias, 2: bias},
                      forbidden=[[4]])
    for scale in (1e-4, 1.0, 1e4):
        p = sampler.probabilities(random_logits(0, 9, scale, np.float32), [1, 2, 3, 5], [3, 3, 5])
        assert abs(p.sum() - 1) < 1e-6 and p.min() >= 0 and p[4] == 0


def test_numbers_may_be_numpys():
    sampler = Sampler(np.float32(0.5), np.int64(2), logit_bias={np.int64(1): np.float64(2)}, end_of_text=np.int32(1),
                      forbidden=(np.array([0]), (np.int64(4),)), min_new_tokens=np.int8(0))
    assert (sampler.filter(np.zeros(5), [], []) > NEVER).sum() == 3        # 1, and two that are equal


@pytest.mark.parametrize("options", [{"logit_bias": {5: 1.0}}, {"logit_bias": {-1: 1.0}}, {"forbidden": [[0], [5, 0]]},
                                     {"end_of_text": 5}])
def test_a_token_that_the_model_does_not_know(options):
    with pytest.raises(ValueError, match=r"^logit_bias, forbidden, end_of_text: expected tokens from 0 to 4, got "):
        Sampler(**options).filter(np.zeros(5), [], [])


@pytest.mark.parametrize("wrong", [[0.0, math.nan], [0.0, math.inf], [-math.inf, -math.inf], [-math.inf, math.nan]])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers(wrong, temperature):
    with pytest.raises(ValueError, match="logits: expected finite numbers, or -inf"):
        Sampler(temperature=temperature).sample(np.array(wrong), [], [], np.random.default_rng(0))


@pytest.mark.parametrize("name", CHAINS)
def test_what_cannot_come_may_be_told_before_any_rule(name):
    """A caller masks tokens: then all goes on as if the vocabulary were that much smaller."""
    options = CHAINS[name] | {"logit_bias": {k[0]: b for k, b in CHAINS[name].get("logit_bias", {}).items()}}
    logits, sampler = random_logits(3, 61), Sampler(**options, end_of_text=END)
    masked = np.append(logits, [NEVER] * 20)
    for rule in (sampler.filter, sampler.probabilities):
        np.testing.assert_allclose(rule(masked, TOKENS, WRITTEN)[:61], rule(logits, TOKENS, WRITTEN), rtol=1e-13)
    assert not sampler.probabilities(masked, TOKENS, WRITTEN)[61:].any()


def test_top_k_above_the_vocabulary():
    assert Sampler(top_k=5).filter(np.zeros(5), [], []).tolist() == [0] * 5
    with pytest.raises(ValueError, match="top_k: expected at most the 5 tokens of the vocabulary, got 6"):
        Sampler(top_k=6).filter(np.zeros(5), [], [])


def test_everything_forbidden():
    with pytest.raises(ValueError, match="forbidden: expected to leave at least one token"):
        Sampler(temperature=0, forbidden=[[0], [1]]).filter(np.zeros(2), [], [])
