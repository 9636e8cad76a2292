"""A prompt in chunks on several threads is what it is in one piece."""

from threading import Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from gpt2np.blocks.kv_cache import KVCache
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.prefill import Turn, prefill

MODEL = GPT2(GPT2Config(n_vocab=23, n_ctx=40, n_embd=12, n_head=3, n_layer=3), dtype=np.float64)
for _, parameter in MODEL.named_parameters():
    parameter.value = np.random.default_rng(parameter.value.size).standard_normal(parameter.value.shape) * 0.5


@given(data=st.data(), B=st.integers(1, 3), T=st.integers(1, 30), seen=st.integers(0, 10), last=st.integers(1, 3),
       rows=st.integers(1, 20), threads=st.integers(1, 4), seed=st.integers(0, 2 ** 32 - 1))
@settings(max_examples=60)
def test_it_is_next_logits(data, B, T, seen, last, rows, threads, seed):
    """With a past that is there already, with padding, and for any number of chunks and threads."""
    rng, last = np.random.default_rng(seed), min(last, T)
    tokens = rng.integers(0, 23, (B, seen + T))
    pads = data.draw(st.lists(st.integers(0, seen + T - 1), min_size=B, max_size=B) | st.none())
    mask = None if pads is None else np.arange(seen + T) >= np.array(pads)[:, None]
    pasts = [MODEL.new_past(B, seen + T) for _ in range(2)]
    if seen:
        for past in pasts:
            MODEL.next_logits(tokens[:, :seen], past, None if mask is None else mask[:, :seen])
    expected = MODEL.next_logits(tokens[:, seen:], pasts[0], mask, last)
    with threadpool_limits(threads, user_api="blas"):
        logits = prefill(MODEL, tokens[:, seen:].tolist(), pasts[1], mask, last, rows)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    for one, other in zip(*pasts):
        assert one.length == other.length == seen + T
        np.testing.assert_allclose(other.k, one.k, rtol=0, atol=1e-12 * np.abs(one.k).max())
        np.testing.assert_allclose(other.v, one.v, rtol=0, atol=1e-12 * np.abs(one.v).max())


def test_it_is_done_in_chunks_on_threads(monkeypatch):
    chunks = []
    original = GPT2.next_logits
    monkeypatch.setattr(GPT2, "next_logits", lambda self, tokens, past, mask, last: chunks.append(
        (tokens.shape[1], past[0].length, last)) or original(self, tokens, past, mask, last))
    with threadpool_limits(2, user_api="blas"):
        prefill(MODEL, np.ones((1, 34), int), MODEL.new_past(1, 34), rows=8)
    assert sorted(chunks, key=lambda chunk: chunk[1]) == [(8, 0, 0), (9, 8, 0), (8, 17, 0), (9, 25, 1)]


def test_a_chunk_waits_for_the_one_before():
    past, k = KVCache(1, 1, 4, 1, np.ones(1)), np.ones((1, 1, 2, 1))
    first = Turn(past, 0, None)
    second = Turn(past, 2, first)
    thread = Thread(target=second.append, args=(2 * k, 2 * k))
    thread.start()
    assert not second.over.wait(0.05) and past.length == 0
    first.append(k, k)
    thread.join()
    assert past.k.ravel().tolist() == [1, 1, 2, 2]


@pytest.mark.parametrize("wrong, message", [(3, "expected ids from 0 to 22, got 23"), (0, "expected at most 30")])
def test_an_error_ends_all_threads(wrong, message):
    tokens, past = np.ones((1, 32), int), MODEL.new_past(1, 32 if wrong else 30)
    tokens[0, wrong] += 22 * (wrong > 0)
    with threadpool_limits(2, user_api="blas"), pytest.raises(ValueError, match=message):
        prefill(MODEL, tokens, past, rows=4)
