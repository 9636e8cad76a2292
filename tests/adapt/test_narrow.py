"""Matrices in few bits: what rounding may cost, and what it may not change."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from gpt2np.adapt import narrow
from gpt2np.adapt.lora import add_lora
from gpt2np.adapt.narrow import (
    SCHEMES,
    Int8ActivationsLinear,
    Int8Linear,
    Int8TensorLinear,
    bfloat16_bits,
    int8_codes,
    plant_outlier,
    quantize,
    scheme_of,
    widen_bfloat16,
)
from gpt2np.adapt.replacing import AdaptError, restore
from gpt2np.layers.linear import Linear
from gpt2np.layers.module import Parameter
from tests.adapt.models import batch_for, gpt2

U = 2.0**-24                    # half of what float32 numbers differ by, of those around 1
numbers = st.floats(-2.0**20, 2.0**20, width=32)
matrices = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=numbers)


def linear(w, b=None):
    layer = Linear(*w.shape, None)
    layer.w, layer.b = Parameter(w), Parameter(np.zeros(w.shape[1], np.float32) if b is None else b)
    return layer


@given(matrices, st.sampled_from([0, None]))
def test_rounding_costs_half_a_step(w, axis):
    """fl(w / s) is within 127 u of w / s, so rint takes at most 1/2 more than that."""
    q, s = int8_codes(w, axis)
    assert q.dtype == np.int8 and s.dtype == np.float32 and s.shape == ((w.shape[1],) if axis == 0 else (1,))
    assert (s > 0).all() and np.abs(q.astype(int)).max() <= 127
    error = np.abs(w.astype(np.float64) - q * s.astype(np.float64))
    assert (error <= s.astype(np.float64) * (0.5 + 127 * U)).all()


@given(matrices, st.integers(-10, 10), st.sampled_from([1, -1]))
def test_it_knows_no_unit(w, exponent, sign):
    """q(c w) = sign(c) q(w), and the step |c| times as large: to the bit where c is a power of two."""
    assume(not ((w != 0) & (np.abs(w) < 2.0**-80)).any())       # where float32 has fewer bits
    assume((np.abs(w).max(axis=0) > 0).all())
    q, s = int8_codes(w)
    q_c, s_c = int8_codes(w * np.float32(sign * 2.0**exponent))
    np.testing.assert_array_equal(q_c, sign * q)
    np.testing.assert_array_equal(s_c, s * np.float32(2.0**exponent))


@given(matrices)
def test_a_step_for_each_output_is_never_a_longer_one(w):
    """So the worst error that can be in an output is never larger; that which is there may be."""
    _, of_outputs = int8_codes(w)
    _, of_all = int8_codes(w, None)
    assert (of_outputs <= of_all).all()
    assert of_outputs.max() == of_all[0]


def test_where_columns_differ_a_step_for_each_is_better():
    rng = np.random.default_rng(0)
    w = (rng.standard_normal((64, 16)) * 2.0 ** -np.arange(16)).astype(np.float32)
    each, one = (np.abs(linear(w).w.value - kind(linear(w)).w.value).max(axis=0) / np.abs(w).max(axis=0)
                 for kind in (Int8Linear, Int8TensorLinear))
    assert (each <= 0.5 / 127 + 1e-6).all() and one[-1] == 1.0          # the last columns are all 0


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**32 - 1), st.integers(1, 64))
def test_a_product_is_within_its_bound_of_the_exact_one(n_in, n_out, seed, tile):
    """|y - (x w + b)| <= |x|_1 s (1/2 + 127 u) + gamma_n (|x| |w^| + |b|), n of all roundings of a number.

    The first term is what the weights lost, the second what any float32 product of n_in terms may lose: n_in products
    and sums, one sum for each tile, the step and the bias.
    """
    rng = np.random.default_rng(seed)
    w, x, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((n_in, n_out), (3, n_in), n_out))
    layer = Int8Linear(linear(w, b))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(narrow, "TILE", tile)
        y, _ = layer.forward(x)
    wide = layer.codes.value * layer.scale.value.astype(np.float64)
    n = 3 * n_in + 3
    x, exact = np.abs(x.astype(np.float64)), x.astype(np.float64) @ w + b
    bound = (x.sum(axis=1, keepdims=True) * layer.scale.value * (0.5 + 127 * U)
             + n * U / (1 - n * U) * (x @ np.abs(wide) + np.abs(b)))
    assert y.dtype == np.float32 and (np.abs(y - exact) <= bound).all()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("tile", [1, 20, 1000])
def test_tiles_are_the_whole(scheme, tile, monkeypatch):
    monkeypatch.setattr(narrow, "TILE", tile)
    rng = np.random.default_rng(0)
    layer = SCHEMES[scheme](linear(rng.standard_normal((13, 5)).astype(np.float32), np.ones(5, np.float32)))
    x, dy = rng.standard_normal((2, 3, 13)), rng.standard_normal((2, 3, 5))
    y, cache = layer.forward(x)
    w = layer.w.value.astype(np.float64)
    np.testing.assert_allclose(y, layer.taken(x) @ w + 1, rtol=1e-6, atol=1e-6)
    if scheme == "int8-activations":
        with pytest.raises(AdaptError, match="int8-activations: expected no gradients to be asked for"):
            layer.backward(dy, cache)
        return
    np.testing.assert_allclose(layer.backward(dy, cache), dy @ w.T, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(layer.b.grad, dy.sum(axis=(0, 1)), rtol=1e-12)
    layer.b.trainable, layer.b.grad = False, None
    layer.backward(dy, cache)
    assert layer.b.grad is None


@pytest.mark.parametrize("scheme, bits", [("float16", 11), ("bfloat16", 8)])
@given(data=st.data())
def test_numbers_that_a_scheme_has_stay_as_they_are(scheme, bits, data):
    whole = data.draw(arrays(np.int64, (4, 3), elements=st.integers(-2**bits, 2**bits)))
    w = (whole * 2.0 ** data.draw(st.integers(-10, 4))).astype(np.float32)
    np.testing.assert_array_equal(SCHEMES[scheme](linear(w)).w.value, w)


@given(arrays(np.float32, 5, elements=st.floats(-2.0**100, 2.0**100, width=32)))
def test_bfloat16_is_the_nearest_one(w):
    """Of the upper halves below and above, the nearer one; of two as near, the even one."""
    bits = bfloat16_bits(w)
    below = (w.view(np.uint32) >> 16).astype(np.uint16)
    low, high = (widen_bfloat16(half).astype(np.float64) for half in (below, below + np.uint16(1)))
    to_low, to_high = np.abs(w - low), np.abs(high - w)
    expected = np.where((to_low < to_high) | ((to_low == to_high) & (below % 2 == 0)), below, below + np.uint16(1))
    np.testing.assert_array_equal(bits, expected)


def test_one_large_number_makes_the_others_vanish():
    """The lesson of rounded activations: the step is for the largest, and all below half of it become 0."""
    layer = Int8ActivationsLinear(linear(np.eye(3, dtype=np.float32)))
    np.testing.assert_allclose(layer.forward(np.array([1, 0.5, -0.25], np.float32))[0], [1, 0.5, -0.25], atol=1 / 254)
    np.testing.assert_array_equal(layer.forward(np.array([256, 1, -1], np.float32))[0], [256, 0, 0])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_model_is_narrow_and_can_be_restored(scheme):
    model, (tokens, _) = gpt2(np.float32), batch_for(gpt2())
    before, _ = model.forward(tokens)
    paths = {path for path, _ in model.named_parameters()}
    assert scheme_of(model) is None
    old = quantize(model, scheme)
    assert len(old) == 8 and scheme_of(model) == scheme
    assert paths - {path for path, _ in model.named_parameters()} == {f"{path}.w" for path in old}
    narrow_y, _ = model.forward(tokens)
    assert 0 < np.abs(narrow_y - before).max() < 0.05
    replica_y, _ = model.replica().forward(tokens)
    np.testing.assert_array_equal(replica_y, narrow_y)
    with pytest.raises(AdaptError, match=f"expected one as the model has it, got one with {scheme}: restore it first"):
        add_lora(model, paths="h.*.attn.c_attn", r=2)
    restore(model, old)
    np.testing.assert_array_equal(model.forward(tokens)[0], before)


def test_a_planted_outlier_changes_nothing_but_what_is_rounded():
    model, (tokens, _) = gpt2(np.float32), batch_for(gpt2())
    planted = model.replica()
    plant_outlier(planted)
    before, _ = model.forward(tokens)
    np.testing.assert_array_equal(planted.forward(tokens)[0], before)
    errors = []
    for one in (model, planted):
        quantize(one, "int8-activations")
        errors.append(np.abs(one.forward(tokens)[0] - before).max())
    assert errors[1] > 3 * errors[0]


@pytest.mark.parametrize("scheme, number, message", [
    ("int8", np.nan, "expected finite weights, got some that are infinite or not a number"),
    ("float16", 1e5, "expected weights below 65,520, which float16 ends at, got 100000: take bfloat16"),
    ("bfloat16", np.finfo(np.float32).max, r"expected weights that bfloat16 has, got 3.40282e\+38")])
def test_weights_that_do_not_fit(scheme, number, message):
    model = gpt2(np.float32)
    model.h[1].mlp.c_fc.w.value[2, 3] = number
    with pytest.raises(AdaptError, match=f"h.1.mlp.c_fc: {message}"):
        quantize(model, scheme)
    assert scheme_of(model) is None


def test_what_cannot_be_narrow():
    with pytest.raises(AdaptError, match=r"scheme: expected one of bfloat16, float16, int8, .*, got 'int4'"):
        quantize(gpt2(), "int4")
    with pytest.raises(AdaptError, match="expected a model with a stack of blocks, got Linear"):
        quantize(linear(np.eye(2, dtype=np.float32)))
    with pytest.raises(AdaptError, match=r"expected a linear layer, such as attn.c_attn or mlp.c_fc, got LayerNorm"):
        Int8Linear(gpt2().ln_f)
