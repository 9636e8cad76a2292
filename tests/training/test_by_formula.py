"""Sixty steps of each optimizer, each against what the formula gives for that step from all gradients so far.

A mistake in what is remembered, or in the corrections by t, may begin at any step; ten steps see the early ones.  And
the schedules that end.
"""

import math

import numpy as np
import pytest

from gpt2np.layers.linear import Linear
from gpt2np.training.adam import Adam
from gpt2np.training.adamw import AdamW
from gpt2np.training.schedules import cosine, linear
from gpt2np.training.sgd import SGD

STEPS, LR, DECAY = 60, 0.05, 0.3


def average(share, gradients):
    """The mean of all gradients so far, each step weighs `share` less than the next, with weights that add up to 1."""
    t = len(gradients)
    weights = [(1 - share) * share ** (t - i) / (1 - share ** t) for i in range(1, t + 1)]
    return sum(w * g for w, g in zip(weights, gradients))


def sgd(w, gradients, decay, momentum):
    """w and all that has been added to each gradient -> the next w."""
    t = len(gradients)
    return w - LR * sum(momentum ** (t - i) * g for i, g in enumerate(gradients, 1))


def adam(w, gradients, decay, beta1, beta2, eps):
    mean, square = average(beta1, gradients), average(beta2, [g * g for g in gradients])
    return w - LR * mean / (np.sqrt(square) + eps)


def adamw(w, gradients, decay, beta1, beta2, eps):
    return adam(w, gradients, decay, beta1, beta2, eps) - LR * decay * w


@pytest.mark.parametrize("make, rule, options, penalty", [
    (SGD, sgd, {"momentum": 0.9}, True), (SGD, sgd, {"momentum": 0.0}, True),
    (Adam, adam, {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}, True),
    (Adam, adam, {"beta1": 0.5, "beta2": 0.9, "eps": 1e-2}, True),
    (AdamW, adamw, {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8}, False),
], ids=["sgd", "sgd without momentum", "adam", "adam, other constants", "adamw"])
def test_every_step_is_what_its_formula_says(make, rule, options, penalty):
    """penalty: weight decay is the gradient of an L2 penalty, and enters the averages; biases do not decay."""
    rng = np.random.default_rng(0)
    layer = Linear(3, 4, rng, std=1.0, dtype=np.float64)
    optimizer = make(layer, weight_decay=DECAY, **options)
    expected = {path: p.value.copy() for path, p in layer.named_parameters()}
    seen = {path: [] for path in expected}
    for step in range(STEPS):
        for path, p in layer.named_parameters():
            g = rng.standard_normal(p.value.shape) * 10 ** rng.uniform(-2, 2)
            decay = DECAY if path == "w" else 0.0
            seen[path].append(g + decay * expected[path] if penalty else g)
            p.grad = g.copy()
            expected[path] = rule(expected[path], seen[path], decay, **options)
        optimizer.step(LR)
        for path, p in layer.named_parameters():
            np.testing.assert_allclose(p.value, expected[path], rtol=1e-10, atol=1e-12, err_msg=f"{path}, step {step}")


def test_a_constant_gradient_moves_adam_by_the_learning_rate_at_every_step():
    """mhat = g and vhat = g^2 whatever t is, so each step is lr g / (|g| + eps): no correction is early or late."""
    layer = Linear(1, 5, None, dtype=np.float64)
    g, optimizer = np.array([1e-3, -1.0, 2.0, -1e3, 1e-6]), Adam(layer, eps=1e-8)
    for step in range(1, 201):
        layer.b.grad = g.copy()
        optimizer.step(0.01)
        np.testing.assert_allclose(layer.b.value, -0.01 * step * g / (np.abs(g) + 1e-8), rtol=1e-9)


def test_momentum_of_a_constant_gradient_is_a_geometric_series():
    layer = Linear(1, 2, None, dtype=np.float64)
    optimizer, total = SGD(layer, momentum=0.9), 0.0
    for step in range(1, 101):
        layer.b.grad = np.array([1.0, -3.0])
        optimizer.step(0.1)
        total += (1 - 0.9 ** step) / (1 - 0.9)
        np.testing.assert_allclose(layer.b.value, -0.1 * total * np.array([1.0, -3.0]), rtol=1e-12)
    assert math.isclose(total, 100 * 10 - 90 * (1 - 0.9 ** 100), rel_tol=1e-12)


@pytest.mark.parametrize("warmup, steps", [(0, 7), (1, 2), (2, 3), (4, 9), (5, 100)])
def test_linear_and_cosine_fall_from_the_peak_to_the_last_step(warmup, steps):
    """Up in a straight line for `warmup` steps, then a line, or half a cosine, that ends with step steps - 1."""
    first = max(0, warmup - 1)
    for step in range(steps + 3):
        up = (step + 1) / warmup if step < first else 1.0
        p = 0.0 if step <= first else min(1.0, (step - first) / (steps - 1 - first))
        assert linear(step, 0.7, warmup, steps, 0.1) == pytest.approx(up * (0.7 - 0.6 * p), rel=1e-14)
        half_turn = 0.1 + 0.3 * (1 + math.cos(math.pi * p))
        assert cosine(step, 0.7, warmup, steps, 0.1) == pytest.approx(up * half_turn, rel=1e-14)
