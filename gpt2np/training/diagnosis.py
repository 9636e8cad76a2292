"""What a practitioner looks at first: the loss before training, and where a number first went wrong."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..hints import Array, Cache
from ..interpret.taps import Tap, tapped
from ..layers.module import Module, Parameter

MAX_ABOVE = 1.0                 # nats; OpenAI's initial weights give 0.0 to 0.4, the more the wider the model


def initial_loss_warning(loss: float, n_vocab: int, new: bool = True) -> str | None:
    """A sentence where a model before training does not do as it should by guessing, which is log(V); otherwise None.

    new   whether its weights are random: then better means that it sees what it should predict, and much worse that its
          first weights are too large.  A model that has learned does better, if it is its kind of text
    """
    guessing = math.log(n_vocab)
    if new and not guessing - 0.1 <= loss <= guessing + MAX_ABOVE:
        return (f"an untrained model should have a loss near log({n_vocab}) = {guessing:.3f}, but this one has "
                f"{loss:.3f}")
    if not new and loss > guessing:
        return (f"before it learns anything here, the model has a loss of {loss:.3f}, worse than that of guessing, "
                f"log({n_vocab}) = {guessing:.3f}: such texts are foreign to it, and to its vocabulary")
    return None


def first_not_finite(model: Any, inputs: Sequence[Array]) -> str:
    """The first thing that is not finite, in the order in which a step computes: a phrase.

    model    a Module
    inputs   what its forward takes: arrays with one first axis, the rows

    Parameters come first, then what each part takes and gives for these rows (without dropout), then the gradients that
    the parameters hold, from the last layer to the first.
    """
    for path, p in model.named_parameters():
        if not np.isfinite(p.value).all():
            return f"in the parameter {path}"
    watched = _keeping_caches(model)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        rows = zip(*(np.split(array, len(array)) for array in inputs))
        places = [_places(watched, *row) for row in rows]               # one by one, to need little memory
    for of_rows in zip(*places):                        # the same place on each row
        if not all(finite for _, finite in of_rows):
            return of_rows[0][0]
    gradients = [(path, p.grad) for path, p in backward_order(model) if p.grad is not None]
    for path, grad in gradients:
        if not np.isfinite(grad).all():
            return f"in the gradient of {path}"
    if gradients:
        return "in the sum of the squares of the gradients: each of them is finite"
    return "on other data than this step's, on which all is finite"


class _Places(Tap):
    """Whether what each part takes and gives is finite, in the order of computation."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bool]] = []

    def before(self, path: str, x: Any) -> Any:
        return self._note(f"in what {path} takes", x)

    def after(self, path: str, y: Any, cache: Cache) -> Any:
        return self._note(f"in the output of {path}", y)

    def _note(self, place: str, array: Any) -> Any:
        self.seen.append((place, not hasattr(array, "dtype") or bool(np.isfinite(array).all())))
        return array


def _places(model: Any, *inputs: Array) -> list[tuple[str, bool]]:
    with tapped(model, _Places()) as places:
        model.forward(*inputs)
    return places.seen


def _keeping_caches(model: Module) -> Module:
    """The model without recomputation, for taps see no other; it shares the values."""
    model = model.replica()
    for part in [model, *(part for _, part in model.named_modules())]:
        for value in vars(part).values():
            if getattr(value, "recompute", False):
                value.recompute = False
    return model


def backward_order(model: Module) -> Iterator[tuple[str, Parameter]]:
    """The parameters in the order in which the backward pass reaches them: the embeddings, which come first, last."""
    return reversed(list(model.named_parameters()))
