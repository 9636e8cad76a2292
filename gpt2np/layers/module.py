"""What all classes share: a Parameter is learned, and has a gradient; a Constant is not; a Module is a tree of them.

Chapter: S000 8.2.
"""

import copy
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias, TypeVar

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


class Constant:
    """An array that belongs to a module and is not learned: a fixed table of positions, weights that were rounded.

    value      the array, of any dtype; replicas share it, and it moves to a device with the parameters
    """

    def __init__(self, value: Array):
        self.value = value


SameModule = TypeVar("SameModule", bound="Module")      # what copies itself returns one of its own class


class Module:
    """Parameters, constants and modules by name, in the order in which they were set, alone or in lists or tuples.

    The path of a parameter is its name in OpenAI's checkpoint: h.0.attn.c_attn.w.  Subclasses have

        y, cache = forward(x, ...)       nothing is kept on self: a module may be used twice, or from two threads
        dx       = backward(dy, cache)   adds to the grad of every parameter, and returns the gradient by x

    What is shared stands below a module several times, and is listed once, under its first path.
    """

    def children(self) -> Iterator[tuple[str, "Child"]]:
        """What is directly below this module, as (name, child); the children in a list go by h.0, h.1, ..."""
        for name, value in vars(self).items():
            several = isinstance(value, list | tuple)
            for path, child in [(f"{name}.{i}", c) for i, c in enumerate(value)] if several else [(name, value)]:
                if isinstance(child, Child):
                    yield path, child

    def named_modules(self) -> Iterator[tuple[str, "Module | Parameter"]]:
        """All modules below this one as (path, module); an Embedding, a Parameter with a forward, is one here."""
        return ((path, child) for path, child in self._below()
                if isinstance(child, Module) or (isinstance(child, Parameter) and hasattr(child, "forward")))

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters below this module as (path, Parameter)."""
        return ((path, child) for path, child in self._below() if isinstance(child, Parameter))

    def named_constants(self) -> Iterator[tuple[str, Constant]]:
        """All constants below this module as (path, Constant)."""
        return ((path, child) for path, child in self._below() if isinstance(child, Constant))

    def _below(self, seen: set[int] | None = None) -> Iterator[tuple[str, "Child"]]:
        """Everything below this module as (path, child), a parent before its children; seen: the ids of what was."""
        seen = set() if seen is None else seen
        for name, child in self.children():
            if id(child) not in seen:
                seen.add(id(child))
                yield name, child
                if isinstance(child, Module):
                    yield from ((f"{name}.{path}", c) for path, c in child._below(seen))

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
        shared |= {id(c.value): c.value for _, c in self.named_constants()}
        forgotten = {id(p.grad): None for _, p in self.named_parameters()}
        return copy.deepcopy(self, shared | forgotten)


Child: TypeAlias = Module | Parameter | Constant


def initial(rng: Rng | None, shape: tuple[int, ...], std: float, dtype: DTypeLike) -> Array | Blank:
    """An array drawn from N(0, std^2); without an rng, zeros in no memory, for a checkpoint to replace."""
    if rng is None:
        return Blank(shape, dtype)
    value = np.empty(shape, dtype)
    rng.standard_normal(dtype=value.dtype, out=value)
    value *= std
    return value
