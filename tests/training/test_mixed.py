"""Mixed precision, emulated: what is rounded, what is not, and when a step is skipped."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2np.adapt.replacing import AdaptError, restore
from gpt2np.layers.linear import Linear
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.training.adamw import AdamW
from gpt2np.training.mixed import HalfLinear, LossScale, half, in_half

TOKENS, TARGETS = np.random.default_rng(0).integers(0, 7, (2, 8, 6))


def gpt2(rounded=True):
    model = GPT2(GPT2Config(7, 6, 8, 2, 2), np.random.default_rng(1))
    if rounded:
        in_half(model)
    return model


def gradients(model, scale):
    LossScale(scale).gradients(model, TOKENS, TARGETS)
    return {path: p.grad for path, p in model.named_parameters()}


@given(st.floats(-1e5, 1e5, width=32))
def test_half_is_what_float16_holds(x):
    with np.errstate(over="ignore"):
        expected = np.float32(np.float16(np.float32(x)))
    found = half(np.array([x], np.float32))
    assert found.dtype == np.float32 and found[0] == expected
    assert np.isinf(found[0]) == (abs(x) >= 65520) and (found[0] == 0) == (abs(x) <= 2.0**-25)


def test_a_product_is_float16s_with_its_sums_in_float32():
    """NumPy's own product of float16 has its sums in float32, too, in another order: it may round to a neighbour."""
    rng = np.random.default_rng(2)
    layer = Linear(24, 5, rng, std=0.3)
    layer.b.value = rng.standard_normal(5).astype(np.float32)
    x, dy = (rng.standard_normal((3, n)).astype(np.float32) for n in (24, 5))
    rounded = HalfLinear(layer)
    y, cache = rounded.forward(x)
    dx = rounded.backward(dy, cache)
    x16, w16, b16, dy16 = (a.astype(np.float16).astype(np.float64) for a in (x, layer.w.value, layer.b.value, dy))
    for found, exact in ((y, x16 @ w16 + b16), (dx, dy16 @ w16.T), (layer.w.grad, x16.T @ dy16),
                         (layer.b.grad, dy16.sum(axis=0))):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(half(found), found)                   # each a number of float16
        np.testing.assert_allclose(found, exact, rtol=2.0**-11 + 1e-6, atol=1e-6)
    assert layer.w.value.dtype == np.float32 and (half(layer.w.value) != layer.w.value).any()


def test_the_master_copy_is_float32_and_the_rest_comes_back():
    model, plain = gpt2(False), gpt2(False)
    old = in_half(model)
    assert len(old) == 8 and all(isinstance(block.mlp.c_fc, HalfLinear) for block in model.h)
    assert (model.forward(TOKENS)[0] != plain.forward(TOKENS)[0]).any()
    with pytest.raises(AdaptError, match="restore it first"):
        in_half(model)
    restore(model, old)
    np.testing.assert_array_equal(model.forward(TOKENS)[0], plain.forward(TOKENS)[0])


def test_in_float32_a_scale_changes_nothing():
    """Nor in float16, as long as nothing vanishes or overflows: powers of two are exact."""
    plain = gpt2(False)
    by_itself = gradients(plain, 1.0)
    for path, gradient in gradients(gpt2(False), 2.0**20).items():
        np.testing.assert_array_equal(gradient * 2.0**-20, by_itself[path], err_msg=path)
    small, large = gradients(gpt2(), 2.0**8), gradients(gpt2(), 2.0**10)
    for path, gradient in large.items():
        np.testing.assert_allclose(gradient * 2.0**-2, small[path], atol=2.0**-20, rtol=1e-3, err_msg=path)


def test_without_a_scale_small_gradients_vanish():
    """A scale below 1 stands for a mean over so many more tokens."""
    zero = {scale: np.mean([(gradient == 0).mean() for path, gradient in gradients(gpt2(), scale).items()
                            if path.endswith(".w")]) for scale in (2.0**-18, 1.0, 2.0**12)}
    assert zero[2.0**-18] > 0.5 > zero[1.0] >= zero[2.0**12] == 0


def test_a_step_that_overflows_is_skipped_and_halves_the_scale():
    model = gpt2()
    optimizer, scaling = AdamW(model), LossScale(2.0**40, every=3)
    before = {path: p.value.copy() for path, p in model.named_parameters()}
    scaling.step(model, optimizer, TOKENS, TARGETS, 1e-3)
    assert (scaling.scale, scaling.skipped) == (2.0**39, 1) and optimizer.t == {}
    for path, p in model.named_parameters():
        np.testing.assert_array_equal(p.value, before[path])
        assert p.grad is None
    while not optimizer.t:
        scaling.step(model, optimizer, TOKENS, TARGETS, 1e-3)
    fits, skipped = scaling.scale, scaling.skipped
    assert fits == 2.0**(40 - skipped) and 2.0**12 < fits < 2.0**36
    scaling.scale, scaling.good = fits / 16, 0
    for expected in (16, 16, 8):                        # after 3 in a row it is doubled
        scaling.step(model, optimizer, TOKENS, TARGETS, 1e-3)
        assert scaling.scale == fits / expected and scaling.skipped == skipped
    assert all((p.value != before[path]).any() for path, p in model.named_parameters() if path.endswith(".w"))


def test_its_curve_is_float32s():
    losses = []
    for rounded in (False, True):
        model = gpt2(rounded)
        optimizer, scaling = AdamW(model), LossScale(2.0**10)
        losses.append([scaling.step(model, optimizer, TOKENS, TARGETS, 1e-2) for _ in range(15)])
    assert losses[0][-1] < losses[0][0] - 0.1
    np.testing.assert_allclose(*losses, rtol=1e-2)
