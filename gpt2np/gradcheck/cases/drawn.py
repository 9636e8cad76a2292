"""What the cases are made of: numbers, ids and masks that are drawn, and the parameters of a module drawn anew."""

import math
from typing import TypeVar

from ...hints import Array, Rng
from ...layers.module import Module

SomeModule = TypeVar("SomeModule", bound=Module)


def normal(rng: Rng, *shape: int) -> Array:
    return rng.standard_normal(shape)


def ids(rng: Rng, n: int, *shape: int) -> Array:
    """Token ids, the last of the table among them, of which some are the same: gradients of a repeated token add."""
    drawn = rng.integers(0, n, shape)
    drawn.flat[2:3] = n - 1
    if drawn.size > 1:
        drawn.flat[-1] = drawn.flat[0]
    return drawn


def mask(rng: Rng, *shape: int) -> Array:
    """Real tokens and padding in every row, if there is room: True first, so that every query sees something."""
    real = rng.random(shape) < 0.6
    real[:, 0] = True
    real[:, 1:2] = False
    return real


def filled(module: SomeModule, rng: Rng) -> SomeModule:
    """Every parameter drawn anew: the gains of 1 and biases of 0 that a model starts with would hide mistakes.

    A matrix with many rows gets smaller numbers: the scores of attention must not grow with the width, or p is all 0
    and 1.
    """
    for _, parameter in module.named_parameters():
        shape = parameter.value.shape
        fan_in = shape[0] if len(shape) == 2 else 1
        parameter.value = rng.standard_normal(shape) * (0.7 * min(1.0, math.sqrt(8 / max(1, fan_in))))
    return module
