"""Every sampling rule at the size of GPT-2's vocabulary, 50,257: on flat, peaked and tied logits, against plain Python.

A rule that looks at a part of the tokens first is right for few of them whatever it looks at.
"""

import functools
import math
from bisect import bisect_right
from collections import Counter
from itertools import accumulate

import numpy as np
import pytest

from gpt2np.sampling import NEVER, Sampler, draw

V = 50257
RNG = np.random.default_rng(0)
LOGITS = {
    "all equal": np.zeros(V),
    "nearly equal": RNG.standard_normal(V) * 1e-3,
    "as a model's": RNG.standard_normal(V) * 3,
    "peaked": np.where(np.arange(V) == 40_000, 25.0, RNG.standard_normal(V)),
    "ten values": RNG.integers(0, 10, V).astype(float),
    "two values": np.where(np.arange(V) % 2 == 0, 5.0, -5.0),
}
every_kind = pytest.mark.parametrize("kind", LOGITS)
every_share = pytest.mark.parametrize("p", [1e-6, 0.5, 0.95])


def probabilities(logits):
    top = max(logits)
    e = [math.exp(z - top) for z in logits]
    total = math.fsum(e)
    return [a / total for a in e]


@functools.cache
def known(kind):
    """The logits, their probabilities, and the tokens from the likeliest to the least likely; of equals, by id."""
    logits = LOGITS[kind]
    return logits, probabilities(logits.tolist()), sorted(range(V), key=lambda i: (-logits[i], i))


def smallest_set(order, p, mass):
    """The first tokens in this order that have the mass together."""
    sums = list(accumulate(p[i] for i in order))
    n = next((n for n, total in enumerate(sums, 1) if total >= mass), len(sums))
    assert abs(sums[n - 1] - mass) > 1e-11 and (n == 1 or abs(sums[n - 2] - mass) > 1e-11), "the mass is at an edge"
    return set(order[:n])


def kept(logits, **options):
    """The tokens that a rule keeps; their logits are as they were, those of all others -inf."""
    filtered = Sampler(**options).filter(logits, [], [])
    tokens = np.flatnonzero(filtered > NEVER)
    np.testing.assert_array_equal(filtered[tokens], logits[tokens])
    return set(tokens.tolist())


@every_kind
@pytest.mark.parametrize("k", [1, 40, 5_000, V])
def test_top_k(kind, k):
    logits, _, order = known(kind)
    last = logits[order[k - 1]]
    assert kept(logits, top_k=k) == {i for i, z in enumerate(logits) if z >= last}


@every_kind
@every_share
def test_top_p(kind, p):
    logits, probability, order = known(kind)
    assert kept(logits, top_p=p) == smallest_set(order, probability, p)


@every_kind
@every_share
def test_openais_top_p(kind, p):
    logits, probability, order = known(kind)
    n = max(1, bisect_right(list(accumulate(probability[i] for i in order)), p))
    assert kept(logits, top_p=p, openai_top_p=True) == {i for i in range(V) if logits[i] >= logits[order[n - 1]]}


@every_kind
@every_share
def test_min_p(kind, p):
    logits = LOGITS[kind]
    lowest = max(logits) + math.log(p)
    assert kept(logits, min_p=p) == {i for i, z in enumerate(logits.tolist()) if z >= lowest}


@every_kind
@every_share
def test_typical(kind, p):
    """Where many are as typical but for rounding, it is the number of tokens and their mass that are compared."""
    logits, probability, _ = known(kind)
    surprise = [-math.log(a) for a in probability]
    entropy = math.fsum(a * s for a, s in zip(probability, surprise))
    order = sorted(range(V), key=lambda i: abs(surprise[i] - entropy))
    expected, got = smallest_set(order, probability, p), kept(logits, typical_p=p)
    farthest = max(abs(surprise[i] - entropy) for i in expected)
    assert abs(len(got) - len(expected)) <= 1 and math.fsum(probability[i] for i in got) >= p - 1e-11
    assert all(abs(surprise[i] - entropy) <= farthest + 1e-9 for i in got)


@every_kind
@pytest.mark.parametrize("temperature", [0.1, 0.7, 5.0])
def test_temperature(kind, temperature):
    logits = LOGITS[kind]
    got = Sampler(temperature=temperature).probabilities(logits, [], [])
    np.testing.assert_allclose(got, probabilities((logits / temperature).tolist()), rtol=1e-11, atol=0)


@every_kind
def test_penalties_and_biases(kind):
    """Of thousands of tokens of the text, many repeated, and of tokens of the whole vocabulary."""
    logits = LOGITS[kind]
    text = RNG.integers(0, V, 6_000).tolist() + [V - 1, 0] * 50
    times = Counter(text)
    got = Sampler(repetition_penalty=1.3).filter(logits, text, [])
    expected = [z if i not in times else z / 1.3 if z > 0 else z * 1.3 for i, z in enumerate(logits.tolist())]
    np.testing.assert_allclose(got, expected, rtol=1e-15)
    got = Sampler(frequency_penalty=0.01, presence_penalty=0.5).filter(logits, text, text)
    expected = [z - 0.01 * times[i] - 0.5 * (i in times) for i, z in enumerate(logits.tolist())]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13)
    bias = {int(i): float(i) / V - 1 for i in RNG.permutation(V)[:5_000]}
    got = Sampler(logit_bias=bias, forbidden=[[i] for i in range(0, V, 7)]).filter(logits, [], [])
    expected = [NEVER if i % 7 == 0 else z + bias.get(i, 0.0) for i, z in enumerate(logits.tolist())]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every_kind
def test_a_draw_is_where_the_running_sum_passes_a_random_number(kind, dtype):
    """In float32 too: a running sum in float32 would be a token off, or ten."""
    probability = np.array(known(kind)[1]).astype(dtype)
    sums = list(accumulate(probability.tolist()))
    for seed in range(50):
        place = np.random.default_rng(seed).random() * sums[-1]
        token = int(draw(probability, np.random.default_rng(seed)))
        assert sums[token] > place - 1e-12 and (token == 0 or sums[token - 1] <= place + 1e-12)
