"""What all classes share: a Parameter is an array with its gradient, a Module is a tree of them."""

import copy
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from ..hints import Array, Rng


class Blank(NamedTuple):
    """An array that has not been made yet, with the same number everywhere: it takes no memory."""

    shape: tuple[int, ...]
    dtype: DTypeLike
    number: float = 0.0


class Parameter:
    """An array that training changes, and the gradient of the loss by it.

    value      the array; a Blank becomes one when it is first asked for
    shape      that of the array, without asking for it
    grad       None, or an array of value's shape: the sum of all gradients since it was last set to None
    trainable  False for a frozen parameter: it gets no gradient, and no matrix product is computed for one

    So a model takes no memory until it computes, or until a checkpoint's arrays take the places of its own; and its
    shapes can be compared with those of a file that asks for more than there is.
    """

    def __init__(self, value: Array | Blank):
        self._value, self.trainable = value, True
        self.grad: Array | None = None

    @property
    def value(self) -> Array:
        if isinstance(self._value, Blank):
            self._value = np.full(self._value.shape, self._value.number, self._value.dtype)
        return self._value

    @value.setter
    def value(self, value: Array) -> None:
        self._value = value

    @property
    def shape(self) -> tuple[int, ...]:
        return self._value.shape

    def accumulate(self, grad: Array) -> None:
        """grad += grad.  Gradients add, so a weight that is used twice (the tied embedding) needs no special case.

        The first one is kept as it is, not copied: what a backward returns is fresh memory.
        """
        if not self.trainable:
            return
        if self.grad is None:
            self.grad = grad
        else:
            self.grad += grad


SameModule = TypeVar("SameModule", bound="Module")      # what copies itself returns one of its own class


class Module:
    """Parameters and child modules by name, in the order in which they were set, alone or in lists or tuples.

    The path of a parameter is its name in OpenAI's checkpoint: h.0.attn.c_attn.w.  Subclasses have

        y, cache = forward(x, ...)       nothing is kept on self: a module may be used twice, or from two threads
        dx       = backward(dy, cache)   adds to the grad of every parameter, and returns the gradient by x
    """

    def children(self) -> Iterator[tuple[str, "Module | Parameter"]]:
        """All modules and parameters below this module as (path, child), a shared one under each of its paths."""
        for name, value in vars(self).items():
            several = isinstance(value, list | tuple)
            for path, child in [(f"{name}.{i}", c) for i, c in enumerate(value)] if several else [(name, value)]:
                if isinstance(child, Module | Parameter):
                    yield path, child
                if isinstance(child, Module):
                    yield from ((f"{path}.{below}", c) for below, c in child.children())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters below this module as (path, Parameter), each once, a shared one under its first path."""
        seen = set()
        for path, child in self.children():
            if isinstance(child, Parameter) and id(child) not in seen:
                seen.add(id(child))
                yield path, child

    def zero_grad(self) -> None:
        """Forget all gradients, before the next step."""
        for _, parameter in self.named_parameters():
            parameter.grad = None

    def freeze(self) -> None:
        """Leave every parameter below as it is from now on."""
        for _, parameter in self.named_parameters():
            parameter.trainable = False

    def unfreeze(self) -> None:
        """Let every parameter below be trained again."""
        for _, parameter in self.named_parameters():
            parameter.trainable = True

    def replica(self: SameModule) -> SameModule:
        """A copy that shares every value and owns its gradients: for a thread with its own share of the batch."""
        # deepcopy looks into a dict, by id, for what has been copied before, and takes the copy it finds there: here
        # each value is its own copy, and the copy of each gradient is None.
        shared = {id(p.value): p.value for _, p in self.named_parameters()}
        forgotten = {id(p.grad): None for _, p in self.named_parameters()}
        return copy.deepcopy(self, shared | forgotten)


def initial(rng: Rng | None, shape: tuple[int, ...], std: float, dtype: DTypeLike) -> Array | Blank:
    """An array drawn from N(0, std^2); without an rng, zeros in no memory, for a checkpoint to replace."""
    if rng is None:
        return Blank(shape, dtype)
    value = np.empty(shape, dtype)
    rng.standard_normal(dtype=value.dtype, out=value)
    value *= std
    return value
