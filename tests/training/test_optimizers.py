"""Ten steps of each optimizer against PyTorch's (tests/golden/make_optimizers.py), clipping and schedules."""

import math
from pathlib import Path

import numpy as np
import pytest

from gpt2np.layers.linear import Linear
from gpt2np.layers.tiles import TILE
from gpt2np.training.adam import Adam, adam_update
from gpt2np.training.adamw import AdamW, adamw_update
from gpt2np.training.clipping import clip_scale, gradient_norm
from gpt2np.training.schedules import SCHEDULES, constant, cosine, inverse_sqrt, linear
from gpt2np.training.sgd import SGD
from tests.models.test_golden import model_of

GOLDEN = Path(__file__).parents[1] / "golden"


def golden(name):
    with np.load(GOLDEN / name, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("make, options", [(SGD, {"momentum": 0.9}), (Adam, {"beta2": 0.95}), (AdamW, {"beta2": 0.95})])
def test_ten_steps_are_those_of_pytorch(make, options):
    start, expected = golden("gpt2.npz"), golden("optimizers.npz")
    model = model_of(start, np.float64)
    optimizer = make(model, weight_decay=float(expected["weight_decay"]), **options)
    losses = []
    for _ in range(10):
        losses.append(model.loss_and_gradients(start["tokens"], start["targets"]))
        optimizer.step(float(expected["lr"]))
        assert all(p.grad is None for _, p in model.named_parameters())
    np.testing.assert_allclose(losses, expected[f"losses {make.__name__}"], rtol=1e-10, atol=0)
    values = {path: p.value for path, p in model.named_parameters()}
    compared = [name for name in expected if name.startswith(f"{make.__name__} ")]
    assert len(compared) == (len(values) if make is AdamW else 4)
    for name in compared:
        path = name.split()[1]
        np.testing.assert_allclose(determined(path, values[path]), determined(path, expected[name]),
                                   rtol=1e-10, atol=1e-10, err_msg=name)
        if path.endswith("c_attn.b"):
            keys_before, keys_after = (np.split(a, 3)[1] for a in (start["value " + path], values[path]))
            np.testing.assert_allclose(keys_after, keys_before, rtol=0, atol=1e-6)


def determined(path, value):
    """What the gradients determine: all but the keys' bias, whose gradient is 0.

    A bias of all keys adds the same to all scores of a query, which softmax does not see.  What is left of the gradient
    is rounding, other in every BLAS, and Adam divides it by eps, 10^-8.
    """
    if not path.endswith("c_attn.b"):
        return value
    queries, _, values = np.split(value, 3)
    return np.concatenate([queries, values])


def test_l2_and_decoupled_decay_differ_as_the_papers_say():
    """Two weights, one with gradients a million times as large: what decay takes from each, in percent."""
    shares = {}
    for update in (adam_update, adamw_update):
        for decay in (0.0, 0.1):
            w, m, v = np.full(2, 3.0), np.zeros(2), np.zeros(2)
            for t in range(1, 101):
                update(w, np.array([1e-3, 1e3]) * (-1) ** t, m, v, t, lr=1e-3, weight_decay=decay)
            shares[update, decay] = 100 * w / 3
    np.testing.assert_allclose(shares[adamw_update, 0.0] - shares[adamw_update, 0.1], 1, rtol=0.01)
    small, large = shares[adam_update, 0.0] - shares[adam_update, 0.1]
    assert small > 2 and abs(large) < 1e-3


def test_without_decay_the_two_are_one():
    rng = np.random.default_rng(0)
    ours = rng.standard_normal((2, 5))
    theirs = ours.copy()
    m, v = np.zeros((2, 2, 5)), np.zeros((2, 2, 5))
    for t in range(1, 4):
        g = rng.standard_normal((2, 5))
        adam_update(ours, g.copy(), m[0], v[0], t, 0.1)
        adamw_update(theirs, g.copy(), m[1], v[1], t, 0.1, weight_decay=0)
    np.testing.assert_array_equal(ours, theirs)


def test_vectors_do_not_decay_and_frozen_parameters_do_not_move():
    layer = Linear(3, 4, np.random.default_rng(0), dtype=np.float64)
    layer.b.value += 1
    optimizer = AdamW(layer, weight_decay=0.5)
    for p in (layer.w, layer.b):
        p.grad = np.zeros_like(p.value)
    before = layer.w.value.copy()
    optimizer.step(0.1)
    np.testing.assert_allclose(layer.w.value, before * 0.95, rtol=1e-15)
    np.testing.assert_array_equal(layer.b.value, 1)
    layer.w.trainable, before = False, layer.w.value.copy()
    for p in (layer.w, layer.b):
        p.grad = np.ones_like(p.value)
    optimizer.step(0.1)
    np.testing.assert_array_equal(layer.w.value, before)
    assert (layer.b.value < 1).all()
    assert optimizer.t == {"w": 1, "b": 2}


def test_a_parameter_without_a_gradient_is_left_alone():
    layer = Linear(3, 4, np.random.default_rng(0))
    before = layer.w.value.copy()
    AdamW(layer).step(0.1)
    np.testing.assert_array_equal(layer.w.value, before)


def test_tiles_make_no_difference():
    n = TILE // 512 + 3                                 # two tiles, the second one short
    layers = [Linear(n, 512, np.random.default_rng(0)) for _ in range(2)]
    optimizer = AdamW(layers[0])
    w, m, v = layers[1].w.value, np.zeros((n, 512), np.float32), np.zeros((n, 512), np.float32)
    for t in (1, 2):
        g = np.random.default_rng(t).standard_normal((n, 512), np.float32)
        layers[0].w.grad = g.copy()
        np.testing.assert_allclose(gradient_norm(layers[0]), np.linalg.norm(g.astype(float)), rtol=1e-6)
        optimizer.step(1e-3, scale=0.5)
        adamw_update(w, g * np.float32(0.5), m, v, t, 1e-3)
    np.testing.assert_array_equal(layers[0].w.value, w)
    assert w.dtype == np.float32


def test_clipping():
    assert clip_scale(2.0, 1.0) == 0.5 and clip_scale(1.0, 2.0) == 1 and clip_scale(7.0, 0) == 1
    layer = Linear(3, 4, None, dtype=np.float64)
    layer.w.grad, layer.b.grad = np.full((3, 4), 2.0), np.full(4, -4.0)
    assert gradient_norm(layer) == pytest.approx(math.sqrt(12 * 4 + 4 * 16), rel=1e-15)


def test_schedules():
    assert [constant(s, 2.0, 4) for s in range(6)] == [0.5, 1, 1.5, 2, 2, 2]
    assert [linear(s, 2.0, 2, 6, 1.0) for s in range(7)] == [1, 2, 1.75, 1.5, 1.25, 1, 1]
    np.testing.assert_allclose([cosine(s, 2.0, 1, 5, 1.0) for s in range(6)],
                               [2, 1.5 + math.sqrt(0.125), 1.5, 1.5 - math.sqrt(0.125), 1, 1], rtol=1e-15)
    d_model, warmup = 512, 4000
    for step in (0, 3999, 4000, 100000):                # equation 3 of the paper, whose steps count from 1
        lr = d_model ** -0.5 * min((step + 1) ** -0.5, (step + 1) * warmup ** -1.5)
        assert inverse_sqrt(step, (d_model * warmup) ** -0.5, warmup) == pytest.approx(lr, rel=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES.values())
@pytest.mark.parametrize("warmup, steps", [(0, 1), (1, 1), (3, 3), (5, 3), (0, 10), (2, 10)])
def test_no_schedule_leaves_its_bounds(schedule, warmup, steps):
    rates = [schedule(step, 1.0, warmup, steps, 0.0) for step in range(steps + 3)]
    assert all(0 <= rate <= 1 for rate in rates)
    assert rates[min(warmup, steps) - 1 if warmup else 0] > 0
    if 0 < warmup <= steps:
        assert rates[warmup - 1] == 1


@pytest.mark.parametrize("make, options, message", [
    (SGD, {"momentum": 1}, "momentum: expected a number from 0 to less than 1, got 1"),
    (Adam, {"beta1": -0.1}, "beta1: expected a number from 0 to less than 1, got -0.1"),
    (AdamW, {"beta2": 1.0}, "beta2: expected"), (AdamW, {"eps": math.nan}, "eps: expected a number of 0 or more, got"),
    (AdamW, {"weight_decay": -1}, "weight_decay: expected a number of 0 or more, got -1")])
def test_impossible_constants_are_refused(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(Linear(2, 2, None), **options)


def test_an_impossible_learning_rate_is_refused():
    with pytest.raises(ValueError, match="lr: expected a number of 0 or more, got nan"):
        AdamW(Linear(2, 2, None)).step(math.nan)


@pytest.mark.parametrize("make", [SGD, Adam, AdamW])
def test_a_parameter_that_is_thawed_begins_as_if_the_optimizer_were_new(make):
    """Its moments are 0 then, and their corrections count its own updates: 1 - beta^t of a late t would be none."""
    thawed, alone = (Linear(3, 4, np.random.default_rng(0), dtype=np.float64) for _ in range(2))
    optimizers = make(thawed), make(alone)
    for t in range(8):
        rng = np.random.default_rng(t)
        thawed.w.trainable = t >= 5
        thawed.b.grad = rng.standard_normal(4)
        if t >= 5:
            g = rng.standard_normal((3, 4))
            thawed.w.grad, alone.w.grad = g.copy(), g
            optimizers[1].step(1e-2)
        optimizers[0].step(1e-2)
    np.testing.assert_array_equal(thawed.w.value, alone.w.value)
    assert optimizers[0].t == {"w": 3, "b": 8} and optimizers[1].t == {"w": 3}
