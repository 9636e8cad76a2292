"""GPT-2's sizes, names and initial values, and what it says to input that it cannot take."""

import dataclasses

import numpy as np
import pytest

from gpt2np.models.config import SIZES, GPT2Config
from gpt2np.models.gpt2 import GPT2

TINY = GPT2Config(n_vocab=50, n_ctx=8, n_embd=12, n_head=3, n_layer=2)


def test_the_four_sizes():
    counts = {name: config.n_parameters for name, config in SIZES.items()}
    assert counts == {"124M": 124_439_808, "355M": 354_823_168, "774M": 774_030_080, "1558M": 1_557_611_200}


def test_the_number_of_parameters_is_that_of_the_model():
    model = GPT2(TINY, np.random.default_rng(0))
    assert sum(p.value.size for _, p in model.named_parameters()) == TINY.n_parameters


@pytest.mark.parametrize("changed", [
    {"n_vocab": 0}, {"n_ctx": -1}, {"n_embd": 12.0}, {"n_head": "3"}, {"n_layer": True}, {"n_head": 5},
    {"n_head": None}])
def test_a_wrong_config_is_refused_by_name(changed):
    with pytest.raises(ValueError, match="n_embd: expected a multiple" if changed == {"n_head": 5} else
                       f"^{next(iter(changed))}: expected a positive integer, got "):
        dataclasses.replace(TINY, **changed)


def test_initial_values_are_those_of_openai():
    model = GPT2(GPT2Config(500, 400, 60, 3, 2), np.random.default_rng(0))
    for path, p in model.named_parameters():
        std = 0.01 if path == "wpe" else 0.02 if path == "wte" or path.endswith(".w") else 0
        assert p.value.dtype == np.float32
        assert abs(p.value.std() - std) < 5e-4 and abs(p.value.mean() - path.endswith(".g")) < 5e-4, path


def test_an_untrained_model_is_surprised_by_ln_v():
    rng = np.random.default_rng(0)
    model = GPT2(TINY, rng)
    tokens = rng.integers(0, 50, (4, 8))
    assert abs(model.loss_and_gradients(tokens, tokens[:, ::-1]) - np.log(50)) < 0.05


def test_without_a_generator_nothing_is_drawn():
    assert not any(p.value.any() for path, p in GPT2(TINY).named_parameters() if not path.endswith(".g"))


def test_lists_of_tokens_are_fine():
    model = GPT2(TINY, np.random.default_rng(0))
    assert model.forward([[1, 2, 3]])[0].shape == (1, 3, 50)
    assert np.isfinite(model.loss_and_gradients([[1, 2, 3]], [[2, 3, 4]]))


@pytest.mark.parametrize("tokens, message", [
    ([[1, 50]], r"tokens: expected ids from 0 to 49, got 50 at index \(0, 1\)"),
    ([[1, -1]], r"tokens: expected ids from 0 to 49, got -1 at index \(0, 1\)"),
    ([[1.0, 2.0]], "tokens: expected integers, got float64"),
    ([[]], r"tokens: expected shape \(B, T\) with T from 1 to 8, got \(1, 0\)"),
    ([[0] * 9], r"tokens: expected shape \(B, T\) with T from 1 to 8, got \(1, 9\)"),
    ([1, 2], r"tokens: expected shape \(B, T\) with T from 1 to 8, got \(2,\)"),
    ([[1, 2], [3]], r"tokens: expected rows of equal length"),
])
def test_wrong_tokens(tokens, message):
    with pytest.raises(ValueError, match=message):
        GPT2(TINY).forward(tokens)


def test_wrong_targets():
    model = GPT2(TINY, np.random.default_rng(0))
    for targets, message in (([[1, 2]], r"targets: expected shape \(1, 3\), got \(1, 2\)"),
                             ([[1, 2, 50]], "targets: expected ids from 0 to 49, got 50"),
                             ([[1, 2, -1]], "targets: expected ids from 0 to 49, got -1")):
        with pytest.raises(ValueError, match=message):
            model.loss_and_gradients([[1, 2, 3]], targets)
        assert all(p.grad is None for _, p in model.named_parameters())


def test_wrong_dlogits():
    model = GPT2(TINY, np.random.default_rng(0))
    logits, cache = model.forward([[1, 2, 3]])
    with pytest.raises(ValueError, match=r"dlogits: expected shape \(1, 3, 50\), got \(1, 1, 50\)"):
        model.backward(logits[:, :1], cache)


@pytest.mark.parametrize("frozen", [None, "wte", "wpe", "h.0", "h.1", "ln_f"])
def test_with_recomputation_the_gradients_are_the_same_bit_for_bit(frozen):
    tokens = np.random.default_rng(1).integers(0, 50, (2, 8))
    gradients = []
    for recompute in (False, True):
        model = GPT2(TINY, np.random.default_rng(0), 0.2, recompute=recompute)
        for path, p in model.named_parameters():
            p.trainable = frozen is None or not path.startswith(frozen)
        loss = model.loss_and_gradients(tokens, tokens[:, ::-1], rng=np.random.default_rng(2))
        gradients.append((loss, {path: p.grad for path, p in model.named_parameters()}))
    (loss, stored), (loss_again, again) = gradients
    assert loss == loss_again and any(g is not None for g in stored.values())
    for path, g in stored.items():
        assert (g is None) == (frozen is not None and path.startswith(frozen))
        np.testing.assert_array_equal(again[path], g)


def test_two_threads_may_share_a_model():
    from concurrent.futures import ThreadPoolExecutor
    model = GPT2(TINY, np.random.default_rng(0), dtype=np.float64)
    tokens = np.random.default_rng(1).integers(0, 50, (8, 4, 8))
    alone = [model.forward(t)[0] for t in tokens]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda t: model.forward(t)[0], tokens))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(alone, together))


def test_the_gradients_of_two_halves_add_to_that_of_the_batch():
    rng = np.random.default_rng(0)
    model = GPT2(TINY, rng, dtype=np.float64)
    tokens, targets = rng.integers(0, 50, (2, 4, 8))
    model.loss_and_gradients(tokens, targets)
    whole = {path: p.grad for path, p in model.named_parameters()}
    model.zero_grad()
    replica = model.replica()
    replica.loss_and_gradients(tokens[:2], targets[:2], counted=targets.size)
    model.loss_and_gradients(tokens[2:], targets[2:], counted=targets.size)
    halves = dict(replica.named_parameters())
    for path, p in model.named_parameters():
        np.testing.assert_allclose(p.grad + halves[path].grad, whole[path], rtol=0, atol=1e-14)
