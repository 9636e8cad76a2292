"""A prompt in chunks on several threads is what it is in one piece."""

from threading import Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from gpt2np.blocks.kv_cache import KVCache
from gpt2np.blocks.transformer import PreNormBlock
from gpt2np.decoding.prefill import Turn, prefill
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2

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
        logits = prefill(MODEL, tokens[:, seen:], pasts[1], mask, last, rows)
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


def test_what_a_past_holds_beside_the_tokens_is_seen_through_a_turn():
    past = KVCache(1, 1, 4, 1, np.ones(1))
    past.memory = np.ones(3)
    assert Turn(past, 0, None).memory is past.memory and Turn(past, 0, None).on_host
    with pytest.raises(AttributeError, match="nothing"):
        Turn(past, 0, None).nothing  # noqa: B018


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


WRONG = np.where(np.arange(32) == 30, 23, 1)[None]


@pytest.mark.parametrize("tokens, room, mask, message", [
    (WRONG, 32, None, "tokens: expected ids from 0 to 22, got 23 at index "),
    (np.ones((1, 32), int), 32, np.ones((1, 33), bool), r"padding_mask: expected shape \(1, 32\), got \(1, 33\)"),
    (np.ones((1, 32), int), 32, np.ones((1, 32)), "padding_mask: expected an array of bool, .* got float64"),
    (np.ones((1, 32), int), 30, None, "KVCache: expected at most 30 positions"),
])
def test_an_error_leaves_the_past_as_it_was(tokens, room, mask, message):
    """Most of them are found by the last chunk alone, when those before it have written into the past."""
    past = MODEL.new_past(1, room)
    with threadpool_limits(2, user_api="blas"), pytest.raises(ValueError, match=message):
        prefill(MODEL, tokens, past, mask, rows=4)
    assert [layer.length for layer in past] == [0] * 3


def test_an_error_while_threads_run_leaves_the_past_as_it_was(monkeypatch):
    """Whatever goes wrong, in a chunk that is not the first and in a block that is not the first."""
    past, original = MODEL.new_past(1, 34), PreNormBlock.forward
    MODEL.next_logits([[1, 2]], past)

    def forward(self, x, *arguments, past, **options):
        if past.length == 18 and self is MODEL.h[1]:
            raise MemoryError
        return original(self, x, *arguments, past=past, **options)

    monkeypatch.setattr(PreNormBlock, "forward", forward)
    with threadpool_limits(2, user_api="blas"), pytest.raises(MemoryError):
        prefill(MODEL, np.ones((1, 32), int), past, rows=8)
    assert [layer.length for layer in past] == [2] * 3
