"""Taps: to see, and to change, what each part of a model takes and gives, by its path in the checkpoint.

    with tapped(model, Recording()) as seen:
        loss = model.loss_and_gradients(tokens, targets)
    seen.y["h.0.attn.c_attn"], seen.dy["h.0.attn.c_attn"]

The model itself runs, and nothing is computed a second time: while the `with` lasts, each part below the model has a
forward and a backward of its own, which call those of its class, and ask the tap before and after.

Chapter: S000 3.3, 8.3.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import numpy as np

from ..blocks.transformer import PreNormBlock, PreNormDecoderBlock
from ..errors import Gpt2npError
from ..hints import Array, Cache
from ..layers.module import Module, Parameter
from ..layers.paths import near

# The two methods of a pair, as modules name them: a head has a second pair, which is the head and the loss in one.
PAIRS = (("forward", "backward"), ("loss", "loss_backward"))


class InterpretError(Gpt2npError):
    """Something that cannot be looked at, or not so."""


class Tap:
    """What is asked before and after each part of a model runs.  This one lets everything pass as it is.

        before(path, x) -> x                     the part is about to take x
        after(path, y, cache) -> y               it has given y
        before_backward(path, dy, cache) -> dy   the part is about to take dy, the gradient of the loss by its y
        after_backward(path, dx) -> dx           it has given dx, what comes of that by its x

    What a method returns takes the place of what it was given.  After such a change of x or y the gradient passes as if
    the value were the part's own: what was put in is a constant for nobody.
    x is the first argument: a cross-attention takes the memory beside it, and its dx is (dx, dmemory).
    """

    def begin(self, paths: Sequence[str]) -> None:
        """The paths of all parts of the model, before it runs."""

    def before(self, path: str, x: Any) -> Any:
        return x

    def after(self, path: str, y: Any, cache: Cache) -> Any:
        return y

    def before_backward(self, path: str, dy: Any, cache: Cache) -> Any:
        return dy

    def after_backward(self, path: str, dx: Any) -> Any:
        return dx


AnyTap = TypeVar("AnyTap", bound=Tap)


@contextmanager
def tapped(model: Module, tap: AnyTap, at: str | None = None) -> Iterator[AnyTap]:
    """Let a tap see what all parts below a model take and give, until the `with` ends, however it does.

    at       the path of the one part that it is to see; None: all of them

    Taps may be put on one another: the last one is asked first before a part runs, and last after it.

    raises   InterpretError   for blocks that are recomputed: each would run, and be seen, twice; for a path that is no
                              part's; and, when it is used so, for a copy of a tapped model, whose parts would be the
                              tapped one's
    """
    everything: list[tuple[str, Module | Parameter]] = [("", model), *model.named_modules()]
    parts = [(path, part) for path, part in everything[1:] if at in (None, path)]
    if at is not None and not parts:
        raise unknown(at, [path for path, _ in everything[1:]])
    twice = [f"{path}.{name}.".lstrip(".") for path, part in everything for name, value in vars(part).items()
             if getattr(value, "recompute", False)]
    if any(path.startswith(tuple(twice)) for path, _ in parts):
        raise InterpretError("recompute: expected a model that keeps its caches, got one that runs each block "
                             "twice; build it with recompute=False")
    tap.begin([path for path, _ in parts])
    before = []
    try:
        for path, part in parts:
            for forward, backward in PAIRS:
                if hasattr(part, forward):
                    for name, kind in ((forward, Forward), (backward, Backward)):
                        before.append((part, name, vars(part).get(name)))
                        setattr(part, name, kind(tap, path, getattr(part, name)))
        yield tap
    finally:
        for part, name, watched in reversed(before):
            delattr(part, name) if watched is None else setattr(part, name, watched)


class Watched:
    """A method of one part of a model while it is tapped."""

    def __init__(self, tap: Tap, path: str, method: Callable[..., Any]):
        self.tap, self.path, self.method = tap, path, method

    def __deepcopy__(self, copied: object) -> NoReturn:
        raise InterpretError("a tapped model cannot be copied, as training on several threads does: run it on one, "
                             "or copy it before")


class Forward(Watched):
    """Asks the tap on the way up."""

    def __call__(self, x: Any, *arguments: Any, **options: Any) -> tuple[Any, Cache]:
        y, cache = self.method(self.tap.before(self.path, x), *arguments, **options)
        return self.tap.after(self.path, y, cache), cache


class Backward(Watched):
    """Asks the tap on the way down."""

    def __call__(self, dy: Any, cache: Cache) -> Any:
        return self.tap.after_backward(self.path, self.method(self.tap.before_backward(self.path, dy, cache), cache))


class Recording(Tap):
    """Keeps what every part takes and gives in one run, by the part's path; the arrays are kept as they are.

        x, y       what it took and gave                       cache   what it kept for its backward
        dy, dx     the gradients of the loss that it took and gave
        order      (name, "x") and (name, "y") of the forward pass, as they came

    A part that runs again, as the table of an encoder-decoder does for the second text, is called wte:2 then.
    """

    def __init__(self) -> None:
        self.x: dict[str, Any] = {}
        self.y: dict[str, Any] = {}
        self.cache: dict[str, Cache] = {}
        self.dy: dict[str, Any] = {}
        self.dx: dict[str, Any] = {}
        self.order: list[tuple[str, str]] = []
        self._runs: Counter[str] = Counter()
        self._running: list[str] = []                   # names of the parts whose forward or backward is going on
        self._named: dict[int, str] = {}                # by the id of a cache, which is kept above

    def before(self, path: str, x: Any) -> Any:
        name = path
        if path in self.x:
            self._runs[path] += 1
            name = f"{path}:{self._runs[path] + 1}"
        self._running.append(name)
        self.x[name] = x
        self.order.append((name, "x"))
        return x

    def after(self, path: str, y: Any, cache: Cache) -> Any:
        name = self._running.pop()
        self.y[name], self.cache[name] = y, cache
        self._named[id(cache)] = name
        self.order.append((name, "y"))
        return y

    def before_backward(self, path: str, dy: Any, cache: Cache) -> Any:
        name = self._named[id(cache)]
        self._running.append(name)
        self.dy[name] = dy
        return dy

    def after_backward(self, path: str, dx: Any) -> Any:
        self.dx[self._running.pop()] = dx
        return dx

    def value(self, name: str) -> Any:
        """What a Patch of this name would put in the place of: what a part gave, or with .in what it took."""
        path = _inside(name)
        found = self.x.get(path.removesuffix(".in")) if path.endswith(".in") else self.y.get(path)
        if found is None:
            raise unknown(path, list(self.y))
        return found


class Patch(Tap):
    """Puts values in the places of what parts of a model give, or take.

    values   name -> array.  A part's path means what it gives, and its path with .in behind what it takes; attn.z, the
             heads side by side, and mlp.activation may be called so
    where    the index of what is put in its place, of the array and of the value alike: all of it, or
             np.s_[:, t] for a position, or np.s_[..., h * D:(h + 1) * D] of attn.z for a head

    The stream between attention and MLP, mid, is a sum that no part takes alone: patch h.3.attn, what is added to it,
    or h.3, the stream behind the block.

    raises   InterpretError    for a name that is no part's, or a value of another shape
    """

    def __init__(self, values: Mapping[str, Array], where: Any = np.s_[...]):
        self.values = {_inside(name): value for name, value in values.items()}
        self.where = where

    def begin(self, paths: Sequence[str]) -> None:
        for name in self.values:
            if name.removesuffix(".in") not in paths:
                raise unknown(name, paths)

    def before(self, path: str, x: Any) -> Any:
        return self._put(f"{path}.in", x)

    def after(self, path: str, y: Any, cache: Cache) -> Any:
        return self._put(path, y)

    def _put(self, name: str, array: Any) -> Any:
        if name not in self.values:
            return array
        value = self.values[name]
        if value.shape != array.shape:
            raise InterpretError(f"{name}: expected shape {array.shape}, got {value.shape}")
        array = array.copy()                            # what a part gave may be in its cache
        array[self.where] = value[self.where]
        return array


def unknown(name: str, paths: Sequence[str]) -> InterpretError:
    """What is said of a name that is no part's."""
    return InterpretError("expected the path of a part of the model, with .in behind it for what it takes, got "
                          f"{name}; there are {near(name.removesuffix('.in'), paths)}")


# ---- names

# What the second matrix of a sub-layer takes has a name of its own.
INSIDE = {"attn.z": "attn.c_proj.in", "mlp.activation": "mlp.c_proj.in"}
# Where the norms come first, the stream between two sub-layers is what the next norm takes; its gradient, on both ways,
# is what the sub-layer before it is given.
STREAM = {"ln_2": ("mid", "attn"), "ln_3": ("mid_2", "cross_attn")}


def _inside(name: str) -> str:
    """h.3.attn.c_proj.in for h.3.attn.z, which activations() calls so."""
    for short, long in INSIDE.items():
        if name.endswith(short):
            return name.removesuffix(short) + long
    return name


def activations(model: Module, seen: Recording) -> dict[str, Array]:
    """Every array of a recorded run, by name, in the order of computation; gradients have .grad behind.

        wte, wpe, h.0.in
        h.0.ln_1, h.0.attn.c_attn, h.0.attn.p, h.0.attn.z, h.0.attn.c_proj, h.0.attn, h.0.mid
        h.0.ln_2, h.0.mlp.c_fc, h.0.mlp.activation, h.0.mlp.c_proj, h.0.mlp, h.0.out

    A path means what the part gives, with .out behind it for a block: the stream behind it.  attn.p are the weights of
    the heads, (B, H, T, S), attn.z what they give, side by side, mid the stream between attention and MLP, and NAME.in
    what a part takes that no other has given.  A gradient is that of the loss by the array, on all ways that lead from
    it; there is none by p, which exists a few queries at a time.
    Where a part gives the very array that one below it gave (attn and attn.c_proj), both names have it.
    """
    parts: dict[str, Any] = dict(model.named_modules())
    named: dict[str, Array] = {}
    known: set[int] = set()
    for name, side in seen.order:
        path = name.partition(":")[0]
        above, _, last = path.rpartition(".")
        array = seen.x[name] if side == "x" else seen.y[name]
        if side == "y":
            called = "loss" if np.ndim(array) == 0 else f"{name}.out" if last.isdigit() else name
            gradient = seen.dy.get(name)
        else:
            if last == "c_proj" and hasattr(parts[above], "weights") and seen.cache[above] is not None:
                named[f"{above}.p"] = parts[above].weights(seen.cache[above])
            if id(array) in known:
                continue
            called, gradient = _called(f"{name}.in"), seen.dx.get(name)
            if last in STREAM and isinstance(parts[above], PreNormBlock | PreNormDecoderBlock):
                stream, before = STREAM[last]
                called, gradient = f"{above}.{stream}", seen.dy.get(f"{above}.{before}")
        named[called] = array
        known.add(id(array))
        if gradient is not None and called != "loss":
            named[f"{called}.grad"] = gradient[0] if isinstance(gradient, tuple) else gradient
    return named


def _called(name: str) -> str:
    """h.3.attn.z for h.3.attn.c_proj.in."""
    for short, long in INSIDE.items():
        if name.endswith(long):
            return name.removesuffix(long) + short
    return name
