"""docs/memory.md says what each cache holds.  It is compared with the arrays that are there."""

import inspect
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from gpt2np.blocks.transformer import PreNormBlock
from gpt2np.gradcheck.cases import CASES
from gpt2np.gradcheck.checks import arrays_of
from gpt2np.layers.attention import attention_forward
from gpt2np.layers.lm_head import lm_head_loss_backward, lm_head_loss_forward
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2

PAGE = (Path(__file__).parents[1] / "docs" / "memory.md").read_text(encoding="utf-8")
TABLE = re.findall(r"^\| (`.+?) \| .+? \| `(.+?)`.* \|$", PAGE.split("## One block")[0], re.M)
WORDS = " ".join(PAGE.split())                       # wherever its lines end
SIZES = {"B": 2, "T": 3, "C": 8, "F": 8, "V": 7, "H": 3, "D": 2, "S": 5, "r": 3, "P": 4, "K": 2}
WEIGHTS = {"lora_forward": ("a", "u"), "adalora_forward": ("p", "e", "q"), "orthogonality_forward": ("p", "q")}


def held(subject):
    """The elements of all arrays in the cache that are no parameter: arguments other than inputs are by reference."""
    _, cache = subject.forward(subject.arguments)
    names = WEIGHTS.get(subject.forward_pass.__name__, ("w", "b", "g", "wte"))
    weights = [subject.arguments[n] for n in names if n in subject.arguments]
    return elements([a for a in arrays_of(cache) if not any(a is w for w in weights)])


def elements(arrays):
    """How many elements the arrays have in memory: views of the same memory count once."""
    places = set()
    for a in arrays:
        first = a.__array_interface__["data"][0]
        places |= {first + int(np.dot(index, a.strides)) for index in np.ndindex(a.shape)}
    return len(places)


@pytest.mark.parametrize("pairs, formula", TABLE, ids=[row for row, _ in TABLE])
def test_each_pair(pairs, formula):
    with_options = {"`attention`, causal": "attention, causal", "`attention`, with dropout": "attention, dropout"}
    for name in [with_options[pairs]] if pairs in with_options else re.findall(r"`(\w+)`", pairs):
        make = next(c.make for c in CASES if c.name == name)
        past = {"attention, causal": 0, "attention, dropout": SIZES["S"] - SIZES["T"]}
        sizes = {n: {**SIZES, "past": past.get(name)}[n] for n in inspect.signature(make).parameters
                 if n in SIZES or n == "past"}
        subject = make(np.random.default_rng(0), **sizes)
        expected = eval(formula, {**SIZES, "N": SIZES["B"] * SIZES["T"]})
        assert held(subject) == expected, name


def test_every_pair_is_on_the_page():
    on_page = {name for row, _ in TABLE for name in re.findall(r"`(\w+)`", row)}
    pairs = {c.name for c in CASES if c.name[0].islower() and "," not in c.name}
    assert pairs == on_page


def test_one_block():
    B, T, C, H = 2, 5, 12, 3
    block = PreNormBlock(C, H, np.random.default_rng(0))
    _, cache = block.forward(np.ones((B, T, C), "f"))
    parameters = [p.value for _, p in block.named_parameters()]
    arrays = [a for a in arrays_of(cache) if not any(a is p for p in parameters)]
    total = int(re.search(r"\*\*(\d+)\*\*", PAGE)[1])
    assert elements(arrays) == total * B * T * C + B * H * T * T + 2 * B * T
    assert all(a.dtype == np.float32 for a in arrays)


def test_the_share_of_the_square_that_causal_attention_keeps():
    q = np.ones((1, 1, 1024, 1), "f")
    _, cache = attention_forward(q, q, q, causal=True)
    weights = sum(p.size for p, _ in cache[4])
    assert weights * 16 == 9 * 1024 * 1024
    assert "9/16" in WORDS


def test_the_figures_for_124m():
    assert round(16 * 1024 * 768 * 4 / 1e6) == 50 and "50 MB" in WORDS
    assert round(12 * 1024 * 1024 * 9 / 16 * 4 / 1e6) == 28 and "28 MB" in WORDS
    assert round(12 * (16 * 1024 * 768 + 12 * 1024 * 1024 * 9 / 16) * 4 / 1e9, 2) == 0.94 and "0.94 GB" in WORDS
    assert round(1024 * 50257 * 4 / 1e6) == 206 and "206 MB" in WORDS


def test_backward_frees_the_caches_on_its_way():
    model = GPT2(GPT2Config(11, 4, 6, 3, 3), np.random.default_rng(0))
    logits, cache = model.forward([[1, 2, 3]])
    caches_of_blocks = cache[0][1]
    assert len(caches_of_blocks) == 3
    model.backward(logits, cache)
    assert caches_of_blocks == []


def test_recomputation_keeps_each_blocks_input_and_one_cache_at_a_time():
    config, tokens, sizes = GPT2Config(11, 64, 24, 3, 4), np.ones((4, 64), int), {}
    for recompute in (False, True):
        model = GPT2(config, np.random.default_rng(0), recompute=recompute)
        model.loss_and_gradients(tokens, tokens)        # the gradients are there, to be added to
        tracemalloc.start()
        try:
            kept = model.hidden(tokens)[1]
            after_forward, _ = tracemalloc.get_traced_memory()
            del kept
            tracemalloc.reset_peak()
            model.loss_and_gradients(tokens, tokens)
            sizes[recompute] = after_forward, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    NC, cache_of_one = 4 * 64 * 24 * 4, (16 * 4 * 64 * 24 + 4 * 3 * 64 * 64) * 4
    assert 4 * cache_of_one < sizes[False][0] < 4.2 * cache_of_one + 4 * NC
    assert 4 * NC < sizes[True][0] < 4 * NC + 4 * NC    # and embedding, ln_f: ids, xhat, y
    assert sizes[False][1] - sizes[True][1] > 2.5 * cache_of_one - 4 * NC
    assert round(12 * 1024 * 768 * 4 / 1e6) == 38 and "38 MB" in WORDS
    assert round((16 * 1024 * 768 + 12 * 1024 * 1024 * 9 / 16) * 4 / 1e6) == 79 and "79 MB" in WORDS


def test_head_and_loss_keep_one_array_of_the_logits_size():
    """At its peak, forward and backward together hold one (N, V) array, and arrays of the parameters' sizes."""
    N, V, C = 256, 20000, 8
    rng = np.random.default_rng(0)
    x, wte = rng.standard_normal((N, C), dtype="f"), rng.standard_normal((V, C), dtype="f")
    targets = rng.integers(0, V, N)
    tracemalloc.start()
    try:
        _, cache = lm_head_loss_forward(x, wte, targets)
        lm_head_loss_backward(1.0, cache)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert N * V * 4 < peak < 1.15 * N * V * 4
