"""What SGD, Adam and AdamW share: the walk over a model's parameters, and what they remember of each."""

import math
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from ..hints import Array
from ..layers.module import Module
from ..layers.tiles import tiles


class Optimizer:
    """An update rule and its memory: for every parameter that has had a gradient, one array of each name in MOMENTS.

    model         a Module, of which parameters may be frozen and thawed at any time
    weight_decay  pulls the matrices towards 0; biases and gains (one-dimensional) are left out, as for GPT-2

    moments       name -> path -> array; one is made, all 0, when the parameter's first gradient comes
    t             path -> how many updates the parameter has had

    A subclass says what happens to one tile of a parameter:

        update(w, g, *moments, t, lr, weight_decay)     in place; g is used up; t is the number of this update, from 1
    """

    MOMENTS: tuple[str, ...] = ()
    update: Callable[..., None]

    def __init__(self, model: Module, weight_decay: float):
        check_not_negative("weight_decay", weight_decay)
        self.weight_decay = weight_decay
        self.parameters = dict(model.named_parameters())
        self.moments: dict[str, dict[str, Array]] = {name: {} for name in self.MOMENTS}
        self.t: dict[str, int] = {}

    def step(self, lr: float, scale: float = 1.0, run: Callable[..., Iterable] = map) -> None:
        """Change every parameter that has a gradient, and use the gradients up: they are None afterwards.

        lr     learning rate of this step
        scale  the gradients are multiplied by it first: see clip_scale
        run    run(function, items) calls function(item) for each item, as map does, or DataParallel.run on its threads
        """
        check_not_negative("lr", lr)
        work: list[tuple] = []
        for path, p in self.parameters.items():
            if p.trainable and p.grad is not None:
                self.t[path] = self.t.get(path, 0) + 1
                for arrays in self.moments.values():
                    if path not in arrays:
                        arrays[path] = np.zeros_like(p.value)
                decay = self.weight_decay if p.value.ndim > 1 else 0.0
                work += [(self.t[path], decay, *tile)
                         for tile in tiles(p.value, p.grad, *(arrays[path] for arrays in self.moments.values()))]
        for _ in run(partial(self._update_tile, lr, scale), work):
            pass
        for p in self.parameters.values():
            p.grad = None

    def _update_tile(self, lr: float, scale: float, tile: tuple) -> None:
        t, weight_decay, w, g, *moments = tile
        scaled = g * scale                              # a tile that stays in the cache, where g would be written back
        self.update(w, scaled, *moments, t=t, lr=lr, weight_decay=weight_decay)


def check_not_negative(name: str, value: float) -> None:
    """Raise ValueError unless value is a number from 0 on."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name}: expected a number of 0 or more, got {value}")


def check_rate(name: str, value: float) -> None:
    """Raise ValueError unless 0 <= value < 1: the share of an average that stays."""
    if not 0 <= value < 1:
        raise ValueError(f"{name}: expected a number from 0 to less than 1, got {value}")
