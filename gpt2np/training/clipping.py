"""Clipping: a step is never longer than a gradient of a given norm would make it."""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ..hints import Array
from ..layers.module import Module
from ..layers.tiles import rows, tiles


def gradient_norm(model: Module, run: Callable[..., Iterable[float]] = map) -> float:
    """sqrt of the sum of the squares of all gradients of a model: the length of the gradient as one vector.

    run      as in Optimizer.step
    returns  float; the tiles' sums are added in double precision, in their order: the same for any number of threads
    """
    gradients = [tile for _, p in model.named_parameters() if p.grad is not None for tile in tiles(p.grad)]
    return math.sqrt(sum(run(square_sum_of_tile, gradients)))


def square_sum_of_tile(tile: Sequence[Array]) -> float:
    """The sum of the squares of a tile's one array, (n, C) -> float; where it is not finite, there is no warning."""
    g, = tile
    with np.errstate(over="ignore", invalid="ignore"):  # here: each thread has its own
        return square_sum(g)


def square_sum(g: Array) -> float:
    """sum(g^2) of (n, C) as a float: a product of the array with itself, which makes no array of squares."""
    g = rows(g).reshape(-1)
    return float(g @ g)


def clip_scale(norm: float, max_norm: float) -> float:
    """What to multiply gradients of this norm by, so that their norm is at most `max_norm`; 0 means no limit.

        scale = min(1, max_norm / norm)

    PyTorch divides by norm + 1e-6: of a norm of 1, that is a scale smaller by a millionth.
    Pascanu, Mikolov, Bengio 2013, arXiv:1211.5063, section 3.2.
    """
    return max_norm / norm if 0 < max_norm < norm else 1.0
