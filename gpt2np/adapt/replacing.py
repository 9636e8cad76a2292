"""Layers in the places of a model's own: put there by their paths, taken out again, merged.

What takes a layer's place is of a subclass of its class, and takes over all that it has, the parameters themselves and
not copies.  So every path of a checkpoint stays, and what is new stands beside:

    h.0.attn.c_attn.w, h.0.attn.c_attn.b                        of a Linear
    h.0.attn.c_attn.lora.0.a, h.0.attn.c_attn.lora.0.u          and of the LoRALinear in its place
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from ..blocks.stack import Stack
from ..errors import Gpt2npError
from ..layers.module import Module, Parameter
from ..layers.paths import fits, near


class AdaptError(Gpt2npError):
    """What is asked for cannot be; the message is a sentence."""


class Replacement:
    """What all layers that take another's place have in common.  Each is a subclass of this and of the other's class.

    kind   what a file calls it
    own    names of the attributes that it adds to the layer's

    __init__(layer, options, rng) takes over the layer; without an rng, what is added is left 0, for a file to fill in.
    """

    kind: ClassVar[str]
    own: ClassVar[tuple[str, ...]]

    def take_over(self, layer: Module) -> None:
        """Have all that the layer has.  AdaptError where something has taken its own layer's place before."""
        if isinstance(layer, Replacement):
            raise AdaptError(f"layer: expected one as the model has it, got one with {layer.kind}: restore it first")
        vars(self).update(vars(layer))

    def options(self) -> dict[str, Any]:
        """What __init__ was given between the layer and the rng, by name: a file of JSON can hold it."""
        raise NotImplementedError

    def merged(self) -> Module:
        """A layer of the class that was there before, which computes the same; this one stays as it is.

        AdaptError where there is none.
        """
        raise AdaptError(f"merge: expected what changes a matrix, as LoRA does, got {self.kind}, which no matrix of "
                         "the model can stand for")


class Place(NamedTuple):
    """Where a module stands: an attribute of another one, or an element of a list or tuple that is one."""

    path: str
    above: Module
    name: str
    at: int | None
    child: Module | Parameter

    def put(self, child: Module) -> None:
        """Put another one there."""
        if self.at is None:
            setattr(self.above, self.name, child)
            return
        several = getattr(self.above, self.name)
        if isinstance(several, list):
            several[self.at] = child
        else:
            setattr(self.above, self.name, (*several[:self.at], child, *several[self.at + 1:]))


def places(model: Module) -> Iterator[Place]:
    """Every place below a model: what is shared stands in several."""
    return _places(model, "", set())


def _places(above: Module, prefix: str, seen: set[int]) -> Iterator[Place]:
    for name, value in list(vars(above).items()):
        several = isinstance(value, list | tuple)
        for at, child in enumerate(value) if several else [(None, value)]:
            if isinstance(child, Module | Parameter):
                path = f"{prefix}{name}" + (f".{at}" if several else "")
                yield Place(path, above, name, at, child)
                if isinstance(child, Module) and id(child) not in seen:
                    seen.add(id(child))
                    yield from _places(child, f"{path}.", seen)


def replace(model: Module, paths: str | Sequence[str], make: Callable[[Any], Module]) -> dict[str, Module]:
    """Put make(layer) in the place of each layer that a pattern names: all of them, or none where one is refused.

        old = replace(model, "h.*.attn.c_attn", lambda layer: LoRALinear(layer, 8, 16, rng=rng))

    paths     one pattern or several, which name whole paths: as many components, `*` for any one
    returns   the layers that were there, by path: see restore

    A layer that stands in several places is replaced by one and the same in all of them.  AdaptError for a pattern that
    names nothing, and for a table.
    """
    patterns, there = [paths] if isinstance(paths, str) else list(paths), list(places(model))
    for pattern in patterns:
        if not any(_named(pattern, place) for place in there):
            raise AdaptError(f"paths: expected a pattern that names layers of the model, got {pattern!r}; there are "
                             f"{near(pattern, [path for path, _ in model.named_parameters()])}")
    old: dict[str, Module] = {}
    new: dict[int, Module] = {}
    for place in there:
        if id(place.child) in new or not any(_named(pattern, place) for pattern in patterns):
            continue
        if isinstance(place.child, Parameter):
            tied = sum(other.child is place.child for other in there) > 1
            raise AdaptError(f"{place.path}: expected a layer, got a table" + ", which the model also uses elsewhere, "
                             "where what is added would be added too" * tied + "; name the matrices of the blocks")
        try:
            new[id(place.child)] = make(place.child)
        except AdaptError as error:
            raise AdaptError(f"{place.path}: {str(error).removeprefix('layer: ')}") from None
        old[place.path] = place.child
    for place in there:
        if id(place.child) in new:
            place.put(new[id(place.child)])
    return old


def stacks(model: Module) -> Iterator[tuple[str, Stack]]:
    """The stacks below a model, by path; AdaptError where there is none."""
    found = False
    for prefix, module in [("", model), *((f"{path}.", m) for path, m in model.named_modules())]:
        for name, value in vars(module).items():
            if isinstance(value, Stack):
                found = True
                yield f"{prefix}{name}", value
    if not found:
        raise AdaptError(f"expected a model with a stack of blocks, got {type(model).__name__}")


def in_blocks(model: Module, part: str) -> list[str]:
    """Patterns of a part of every block, wherever the stacks are: h.*.attn of a GPT-2, bert.h.*.attn of a BERT."""
    return [f"{path}.*.{part}" for path, _ in stacks(model)]


def restore(model: Module, old: Mapping[str, Module]) -> None:
    """Undo a `replace`, given what it returned; of several, the last one first."""
    there = list(places(model))
    first = {place.path: place.child for place in there}
    if missing := [path for path in old if path not in first]:
        raise AdaptError(f"restore: expected the model that layers were taken out of, got one without {missing[0]}")
    back = {id(first[path]): layer for path, layer in old.items()}
    for place in there:
        if id(place.child) in back:
            place.put(back[id(place.child)])


def replacements(model: Module) -> dict[str, Any]:
    """All that has taken another layer's place, by path."""
    return {path: layer for path, layer in model.named_modules() if isinstance(layer, Replacement)}


def added(model: Module) -> dict[str, Parameter]:
    """The parameters that a model has beside those that it was made with, by path."""
    of_layers = tuple(f"{path}.{name}" for path, layer in replacements(model).items() for name in layer.own)
    return {path: p for path, p in model.named_parameters()
            if any(path == name or path.startswith(f"{name}.") for name in of_layers)}


def freeze_the_rest(model: Module) -> None:
    """Train what was added alone."""
    new = {id(p) for p in added(model).values()}
    for _, p in model.named_parameters():
        p.trainable = id(p) in new


def merge(model: Module) -> None:
    """Put what is merged in the place of all that was added: the model computes the same, at its own speed again.

    No parameter of the base is changed.  AdaptError where something cannot be merged, or nothing was added: then all
    stays as it is.
    """
    layers = replacements(model)
    if not layers:
        raise AdaptError("merge: expected a model to which something was added, got one without")
    new = {id(layer): layer.merged() for layer in layers.values()}
    for place in list(places(model)):
        if id(place.child) in new:
            place.put(new[id(place.child)])


def merge_if_possible(model: Module) -> None:
    """merge where all that was added can be merged, so that the model is as fast as its base; else nothing."""
    layers = replacements(model)
    if layers and all(type(layer).merged is not Replacement.merged for layer in layers.values()):
        merge(model)


def _named(pattern: str, place: Place) -> bool:
    """Whether a pattern names this place, and not one above it."""
    return fits(pattern, place.path) and pattern.count(".") == place.path.count(".")
