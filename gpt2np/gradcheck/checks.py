"""Checks that know nothing of the layer they check: only that it is a function of named arrays, with a backward.

Every check returns what it measured, or raises CheckFailed with the first element that is wrong.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..hints import Array, Cache, Rng
from ..layers.module import Constant, Parameter

LIMIT_ADJOINT = 1e-13           # correct code: at most 4e-16
LIMIT_DIFFERENCES = 1e-7        # correct code: at most 5e-10
LIMIT_ORDER = 0.1               # around 2; correct code: 1.995 to 2.006
LIMIT_LINEARITY = 1e-12         # correct code: at most 2e-14
LIMIT_REFERENCE = 1e-13         # correct code: at most 2e-15
LIMIT_LAYOUT = 1e-12            # another memory layout, another order of the sums; a deep stack adds them up

STEP = 1e-5                     # the best step of central differences in float64: smaller ones lose more to rounding
TINY = 1e-100                   # the complex step: no difference is taken, so nothing is lost however small it is
STEPS = 10.0 ** np.array([-2.5, -3.0, -3.5])
MANY = 6                        # arguments: with more than these, the parameters of a module move together in `order`
ALL_PARAMETERS = "all parameters"
ELEMENTS = 4                    # and of each, so many elements by differences
DIRECTIONS = 8                  # along a single one the third derivative may vanish, and the order with it

Arguments: TypeAlias = dict[str, Any]       # of a forward, by name: arrays, rates, options, Seeds
Linearised: TypeAlias = tuple[Array, dict[str, Array]]      # a dy, and all gradients of <y, dy> by name


class CheckFailed(AssertionError):
    """A check did not hold; the message names the array, the first wrong element, what was expected and what came."""


class Seed(int):
    """Stands for a random generator among the arguments of a case: every forward gets a new one with this seed."""


class Subject:
    """A function of named arguments with its backward: what all checks and laws are about, a pair or a module.

        y, cache = forward(arguments)           {name: gradient} = backward(dy, cache)

    arguments      to check it at; of a module these are its inputs, and its parameters and constants by path
    parameters     of a module, by path: while one is frozen, backward gives no gradient by it
    constants      names of other arguments that backward gives none by, though they are floating arrays
    on_host        names of arrays that stay on the host where all others are on a GPU: forward moves each itself, once
    uses_cache_up  True where backward frees the caches of blocks on its way, so that each cache serves once
    """

    limit_float32: float        # of float32 against float64
    factors: int                # arguments in the largest product that a gradient is a sum of
    uses_cache_up = False
    on_host: Collection[str] = ()

    def __init__(self, arguments: Arguments, constants: Collection[str] = (),
                 parameters: Mapping[str, Parameter] | None = None):
        self.arguments, self.constants, self.parameters = arguments, constants, dict(parameters or {})

    def differentiable(self) -> list[str]:
        """The names of the arguments that have a gradient: floating arrays, neither constant nor frozen."""
        frozen = {path for path, p in self.parameters.items() if not p.trainable}
        return [name for name in floating(self.arguments) if name not in {*self.constants, *frozen}]

    def trained(self) -> list[str]:
        """The names of the parameters that have a gradient."""
        return [name for name in self.differentiable() if name in self.parameters]

    def movable(self) -> list[str]:
        """What `order` moves: each argument alone, but ALL_PARAMETERS of a module with many together."""
        names = self.differentiable()
        if len(names) <= MANY:
            return names
        return [name for name in names if name not in self.parameters] + [ALL_PARAMETERS] * bool(self.trained())

    def forward(self, arguments: Arguments) -> tuple[Array, Cache]:
        raise NotImplementedError

    def backward(self, dy: float | Array, cache: Cache) -> dict[str, Array]:
        """The gradients by name, one for each of differentiable."""
        raise NotImplementedError

    def reference(self) -> Array:
        """What forward gives of the arguments, by scalar loops."""
        raise NotImplementedError

    @contextmanager
    def holding(self, arguments: Arguments) -> Iterator[None]:
        """Inside the `with` the module's parameters and constants are these, for a backward that runs forward again."""
        yield


class PairSubject(Subject):
    """A pair of functions: y, cache = forward(**arguments); backward(dy, cache) gives the gradients in their order.

    reference  the same function of the same arguments by scalar loops
    inference  the pair's third function, if it has one: y of x alone, without a cache
    """

    limit_float32 = 2e-5        # correct code: at most 2e-6
    factors = 2

    def __init__(self, forward: Callable, backward: Callable, reference: Callable, arguments: Arguments,
                 constants: Collection[str] = (), inference: Callable[[Array], Array] | None = None):
        super().__init__(arguments, constants)
        self.forward_pass, self.backward_pass, self._reference = forward, backward, reference
        self.inference = inference

    def forward(self, arguments: Arguments) -> tuple[Array, Cache]:
        return self.forward_pass(**with_generators(arguments))

    def backward(self, dy: float | Array, cache: Cache) -> dict[str, Array]:
        return _named(self.differentiable(), self.backward_pass(dy, cache))

    def reference(self) -> Array:
        return self._reference(**with_generators(self.arguments))


class ModuleSubject(Subject):
    """A module as a function of its inputs, of all its parameters and of its constants.

    module         a Module or an Embedding, of Any type: a law asks for what its own module alone has
    reference      its forward by scalar loops, a function of the inputs and of p, parameters and constants by path
    constants      names of inputs
    """

    limit_float32 = 1e-4        # norms over a few numbers, one after the other, multiply the rounding
    factors = 4

    def __init__(self, module: Any, reference: Callable, inputs: Arguments, *, constants: Collection[str] = (),
                 on_host: Collection[str] = (), uses_cache_up: bool = False):
        single = isinstance(module, Parameter)
        parameters = {"w": module} if single else dict(module.named_parameters())
        fixed = {} if single else dict(module.named_constants())
        self.values: dict[str, Parameter | Constant] = {**parameters, **fixed}
        super().__init__(inputs | {path: p.value for path, p in self.values.items()}, {*constants, *fixed}, parameters)
        self.module, self.inputs, self._reference = module, inputs, reference
        self.on_host, self.uses_cache_up = on_host, uses_cache_up

    def forward(self, arguments: Arguments) -> tuple[Array, Cache]:
        inputs = {name: a for name, a in arguments.items() if name not in self.values}
        with self.holding(arguments):
            return self.module.forward(**with_generators(inputs))

    def backward(self, dy: float | Array, cache: Cache) -> dict[str, Array]:
        for p in self.parameters.values():
            p.grad = None
        inputs = [name for name in self.differentiable() if name in self.inputs]
        return _named(inputs, self.module.backward(dy, cache)) | self.gradients()

    def gradients(self) -> dict[str, Array]:
        """What backward has added to the parameters' grad since it was None: each that is not frozen must have it."""
        for path, p in self.parameters.items():
            if p.trainable is (p.grad is None):
                expected, got = ("a gradient", "none") if p.trainable else ("None for a frozen parameter", "a gradient")
                raise CheckFailed(f"d{path}: expected {expected}, got {got}")
        return {path: p.grad for path, p in self.parameters.items() if p.grad is not None}

    @contextmanager
    def holding(self, arguments: Arguments) -> Iterator[None]:
        before = {path: p.value for path, p in self.values.items()}
        try:
            for path, p in self.values.items():
                p.value = arguments[path]
            yield
        finally:
            for path, p in self.values.items():
                p.value = before[path]

    @contextmanager
    def frozen(self, paths: Collection[str]) -> Iterator[None]:
        """Inside the `with` these parameters are frozen too; afterwards each is what it was."""
        before = {path: p.trainable for path, p in self.parameters.items()}
        try:
            for path in paths:
                self.parameters[path].trainable = False
            yield
        finally:
            for path, p in self.parameters.items():
                p.trainable = before[path]

    def reference(self) -> Array:
        inputs = with_generators(self.inputs)
        return self._reference(**inputs, p={path: self.arguments[path] for path in self.values})


def floating(arguments: Arguments) -> list[str]:
    """The names of the floating arrays among the arguments: ids, masks, rates and seeds are none."""
    return [name for name, a in arguments.items() if isinstance(a, np.ndarray) and a.dtype.kind == "f"]


def cast(arguments: Arguments, dtype: DTypeLike) -> Arguments:
    """The same arguments with every floating array in another dtype."""
    return arguments | {name: arguments[name].astype(dtype) for name in floating(arguments)}


def with_generators(arguments: Arguments) -> Arguments:
    """The arguments with a new random generator in place of each Seed."""
    return {name: np.random.default_rng(int(a)) if isinstance(a, Seed) else a for name, a in arguments.items()}


def arrays_of(cache: Cache) -> Iterator[Array]:
    """Every array in a cache of nested tuples, lists and dicts."""
    if isinstance(cache, np.ndarray):
        yield cache
    elif isinstance(cache, tuple | list | dict):
        for part in cache.values() if isinstance(cache, dict) else cache:
            yield from arrays_of(part)


def memory_of(cache: Cache, besides: Collection[Array] = ()) -> int:
    """How many numbers a cache keeps in memory, besides these arrays: a view counts as all that it is a view of."""
    owners = {id(owner): owner for owner in map(_owner, arrays_of(cache))}
    for a in besides:
        owners.pop(id(_owner(a)), None)
    return sum(owner.size for owner in owners.values())


def _owner(a: Array) -> Array:
    return _owner(a.base) if isinstance(a.base, np.ndarray) else a


class Call(NamedTuple):
    """That a function was called: its name, and its first argument, which for a method is self."""

    name: str
    first: Any


@contextmanager
def calls_of(*functions: Callable) -> Iterator[list[Call]]:
    """Every call of these functions inside the `with`, in their order, whoever makes it: a list that grows.

    Python tells a profiler of each call, so nothing is put in a function's place, and it does not matter under which
    name it was imported.
    """
    codes, calls = {function.__code__ for function in functions}, list[Call]()
    outer: Any = sys.getprofile()

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code in codes:
            calls.append(Call(code.co_name, frame.f_locals[code.co_varnames[0]]))
        if outer is not None:
            outer(frame, event, argument)

    sys.setprofile(watch)
    try:
        yield calls
    finally:
        sys.setprofile(outer)


def close(name: str, got: ArrayLike | None, expected: ArrayLike | None, limit: float, scale: float | None = None,
          floor: float = 0.0) -> float:
    """max |got - expected| over the largest magnitude of both; raises CheckFailed above the limit, or if not finite.

    Never element by element: an element near 0 has no relative error worth the name.  Nor has an array that is 0 but
    for rounding, the gradient of softmax over one number: nothing is divided by less than `floor`.
    """
    got, expected = np.asarray(got), np.asarray(expected)
    if got.shape != expected.shape:
        raise CheckFailed(f"{name}: expected shape {expected.shape}, got {got.shape}")
    if got.size == 0:
        return 0.0
    difference = np.abs(got - expected)
    if scale is None:
        scale = max(np.abs(got).max(), np.abs(expected).max(), floor)
    error = difference.max() / scale if scale != 0 else 0.0        # not `scale > 0`: a NaN has to fail
    if not error <= limit:
        wrong = ~(difference <= limit * scale)
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        at = "[" + ", ".join(map(str, where)) + "]" if where else ""
        raise CheckFailed(f"{name}{at}: expected {expected[where]:.12g}, got {got[where]:.12g}")
    return float(error)


def each_close(name: str, got: ArrayLike, expected: ArrayLike, limit: float) -> None:
    """close for each element by itself, over its own size: for a tail, where the elements near 0 are what is asked."""
    got, expected = np.asarray(got), np.asarray(expected)
    for i in np.ndindex(expected.shape):
        close(f"{name}{list(i)}", got[i], expected[i], limit)


def identical(name: str, got: ArrayLike | None, expected: ArrayLike | None) -> None:
    """Raise CheckFailed unless both arrays are exactly equal."""
    close(name, got, expected, 0.0, scale=1.0)


def upstream(y: Array, rng: Rng) -> Array:
    """A random dy of y's shape and dtype: never ones, which hide a sum that is wrong."""
    y = np.asarray(y)
    return np.asarray(rng.standard_normal(y.shape), dtype=y.dtype)


def direction(x: Array, rng: Rng) -> Array:
    """A random array of x's shape with norm 1."""
    v = rng.standard_normal(x.shape)
    return v / np.sqrt((v * v).sum()) if x.size else v


def derivative(subject: Subject, vs: Mapping[str, Array]) -> Array:
    """J v, the derivative of y as each of these arguments moves along its v, by the complex step: Im f(x + i h v) / h.

    Exact to rounding.  All floating arguments become complex, so that y has a place for the imaginary part.
    Squire, Trapp 1998, SIAM Review 40.
    """
    arguments = cast(subject.arguments, complex)
    for name, v in vs.items():
        arguments[name] += 1j * TINY * v
    y, _ = subject.forward(arguments)
    return np.asarray(y).imag / TINY


def _complex_difference(subject: Subject, name: str, v: Array, dy: Array) -> float:
    return (derivative(subject, {name: v}) * dy).sum()


def _central_difference(subject: Subject, name: str, v: Array, dy: Array) -> float:
    return _difference_along(subject, {name: v}, dy, STEP)


def _difference_along(subject: Subject, vs: Mapping[str, Array], dy: Array, h: float) -> float:
    """<f(x + h v) - f(x - h v), dy> / 2h, where v moves several arguments."""
    above, _ = subject.forward(subject.arguments | {name: subject.arguments[name] + h * v for name, v in vs.items()})
    below, _ = subject.forward(subject.arguments | {name: subject.arguments[name] - h * v for name, v in vs.items()})
    return ((above - below) * dy).sum() / (2 * h)


def _gradient_by(subject: Subject, name: str, dy: Array, difference: Callable[[Subject, str, Array, Array], float],
                 gradient: Array, elements: Iterable[tuple[int, ...]] | None = None) -> Array:
    """This gradient of <y, dy> by one argument, with these elements of it by differences; None: all of them."""
    gradient, unit = gradient.copy(), np.zeros(gradient.shape)
    for i in np.ndindex(gradient.shape) if elements is None else elements:
        unit[i] = 1.0
        gradient[i] = difference(subject, name, unit, dy)
        unit[i] = 0.0
    return gradient


def linearised(subject: Subject, rng: Rng) -> Linearised:
    """A random dy, and all gradients of <y, dy>: checks of one gradient after the other can share them."""
    y, cache = subject.forward(subject.arguments)
    dy = upstream(y, rng)
    return dy, subject.backward(dy, cache)


def adjoint(subject: Subject, name: str, rng: Rng, known: Linearised | None = None) -> float:
    """<J v, dy> = <v, J' dy>: backward is the transpose of the derivative of forward.  Returns the relative error.

    known   what `linearised` gave, for this check and the next; None: it is asked for here
    """
    dy, gradients = known or linearised(subject, rng)
    gradient = gradients[name]
    v = direction(subject.arguments[name], rng)
    forward, backward = derivative(subject, {name: v}) * dy, v * gradient
    scale = max(np.abs(forward).sum() + np.abs(backward).sum(), 1e-2 * _terms(subject, dy))
    error = abs(forward.sum() - backward.sum()) / scale if scale != 0 else 0.0
    if not error <= LIMIT_ADJOINT:
        exact = _gradient_by(subject, name, dy, _complex_difference, gradient)
        close(f"d{name}", gradient, exact, LIMIT_ADJOINT, floor=1e-2 * _terms(subject, dy))
        raise CheckFailed(f"d{name}: expected <Jv, dy> = {forward.sum():.15g}, got <v, J'dy> = {backward.sum():.15g}")
    return float(error)


def differences(subject: Subject, name: str, rng: Rng, known: Linearised | None = None) -> float:
    """Every element of the gradient by central differences, (f(x + h) - f(x - h)) / 2h.  Returns the relative error.

    Of the many parameters of a module a few elements each: its layers have rows of their own, and adjoint sees all.
    """
    dy, gradients = known or linearised(subject, rng)
    gradient, elements = gradients[name], None
    if ALL_PARAMETERS in subject.movable() and name in subject.parameters:
        places = list(np.ndindex(gradient.shape))
        elements = [places[i] for i in rng.permutation(len(places))[:ELEMENTS]]
    expected = _gradient_by(subject, name, dy, _central_difference, gradient, elements)
    return close(f"d{name}", gradient, expected, LIMIT_DIFFERENCES, floor=1e-3 * _terms(subject, dy))


def order(subject: Subject, name: str, rng: Rng) -> float | None:
    """How fast central differences converge to the derivative that backward gives: error ~ h^order, and order is 2.

    name   of an argument; or ALL_PARAMETERS, which move together: each of the many of a model has its differences, and
           of how they converge, one figure says as much

    A gradient that is wrong by one part in a million already gives less than 1.  Returns None where the error is below
    what rounding allows, so that no order can be seen: linear layers are exact.
    """
    y, cache = subject.forward(subject.arguments)
    dy = upstream(y, rng)
    gradients, names = subject.backward(dy, cache), subject.trained() if name == ALL_PARAMETERS else [name]
    vs = [{n: direction(subject.arguments[n], rng) for n in names} for _ in range(DIRECTIONS)]
    slopes = [sum((v[n] * gradients[n]).sum() for n in names) for v in vs]
    scale, errors = max(1.0, np.abs(slopes).max()), list[float]()
    for h in STEPS:
        e = [_difference_along(subject, v, dy, h) - slope for v, slope in zip(vs, slopes)]
        errors.append(np.sqrt(np.mean(np.square(e))))
        if errors[-1] < 1e-10 * scale:                  # rounding, which grows from here on
            break
    if errors[0] < 1e-8 * scale:
        if not max(errors) < 1e-8 * scale:
            raise CheckFailed(f"d{name}: expected an error that falls with h, got {errors}")
        return None
    seen = np.array(errors) >= 1e-10 * scale
    if seen.sum() < 2:
        raise CheckFailed(f"d{name}: expected at least two errors above rounding to see an order, got {errors}")
    h, e = np.log10(STEPS[:len(seen)][seen]), np.log10(np.array(errors)[seen])
    slope = float(np.polyfit(h, e, 1)[0])
    if not abs(slope - 2) <= LIMIT_ORDER:
        raise CheckFailed(f"d{name}: expected central differences to converge with order 2, got {slope:.3f}")
    return slope


def linearity(subject: Subject, rng: Rng) -> float:
    """backward is linear in dy, and exactly 0 at dy = 0.  Returns the largest relative error."""
    y, cache = subject.forward(subject.arguments)
    dy_1, dy_2 = upstream(y, rng), upstream(y, rng)
    d_1, d_2, both, zero = (_backward_again(subject, cache, dy)
                            for dy in (dy_1, dy_2, 2.5 * dy_1 - 0.5 * dy_2, 0.0 * dy_1))
    for name in d_1:
        identical(f"d{name} at dy = 0", zero[name], np.zeros_like(zero[name]))
    floor = 1e-2 * _terms(subject, dy_1)
    return max((close(f"d{name} of a sum", both[name], 2.5 * d_1[name] - 0.5 * d_2[name], LIMIT_LINEARITY, floor=floor)
                for name in d_1), default=0.0)


def reference(subject: Subject, rng: Rng) -> float:
    """forward gives what scalar loops give.  Returns the relative error."""
    y, _ = subject.forward(subject.arguments)
    return close("y", y, subject.reference(), LIMIT_REFERENCE, floor=_largest(subject))


# ---- the contract: what every pair and module promises beside being right


def contract_arguments_untouched(subject: Subject, rng: Rng) -> None:
    """Neither forward nor backward writes into the arguments, dy or the cache."""
    arguments = {name: _locked(a) for name, a in subject.arguments.items()}
    y, cache = subject.forward(arguments)
    dy = _locked(upstream(y, rng))
    for a in arrays_of(cache):
        a.flags.writeable = False
    with subject.holding(arguments):
        subject.backward(dy, cache)


def contract_repeatable(subject: Subject, rng: Rng) -> None:
    """A second call gives the same bits: nothing is remembered from one call to the next."""
    y, cache = subject.forward(subject.arguments)
    again, _ = subject.forward(subject.arguments)
    identical("y of a second forward", again, y)
    dy = upstream(y, rng)
    first = subject.backward(dy, cache)
    second = _backward_again(subject, cache, dy)
    for name in first:
        identical(f"d{name} of a second backward", second[name], first[name])


def contract_fresh_memory(subject: Subject, rng: Rng) -> None:
    """A gradient shares memory with nothing: the caller may add into it."""
    y, cache = subject.forward(subject.arguments)
    dy = upstream(y, rng)
    held = [("dy", dy)] + [("the cache", a) for a in arrays_of(cache)]
    held += [(name, a) for name, a in subject.arguments.items() if isinstance(a, np.ndarray)]
    for name, gradient in subject.backward(dy, cache).items():
        if not gradient.flags.writeable:
            raise CheckFailed(f"d{name}: expected an array that can be written")
        for other, a in held:
            if np.shares_memory(gradient, a):
                raise CheckFailed(f"d{name}: expected fresh memory, got memory of {other}")
        held.append((f"d{name}", gradient))


def contract_output_is_new(subject: Subject, rng: Rng) -> None:
    """y shares no memory with the arguments."""
    y, _ = subject.forward(subject.arguments)
    for name, a in subject.arguments.items():
        if isinstance(a, np.ndarray) and np.shares_memory(np.asarray(y), a):
            raise CheckFailed(f"y: expected new memory, got memory of {name}")


def contract_dtype(subject: Subject, rng: Rng) -> None:
    """float32 in, float32 out, and near the result in float64: no constant promotes, no step cancels.

    A loss may be multiplied by a float64 number: that must not promote the gradients either.
    """
    y, cache = subject.forward(subject.arguments)
    dy = upstream(y, rng)
    gradients = subject.backward(dy, cache)
    small = cast(subject.arguments, np.float32)
    y_32, cache = subject.forward(small)
    with subject.holding(small):
        gradients_32 = subject.backward(dy.astype(np.float32) if dy.ndim else np.float64(dy), cache)
    _, cache = subject.forward(small)                   # a model uses its cache up
    for name, got, expected in [("y", y_32, y)] + [(f"d{n}", gradients_32[n], gradients[n]) for n in gradients]:
        if got.dtype != np.float32:
            raise CheckFailed(f"{name}: expected float32 of float32 arguments, got {got.dtype}")
        close(f"{name} in float32", got, expected, subject.limit_float32, floor=1.0)
    for a in arrays_of(cache):
        if a.dtype == np.float64:
            raise CheckFailed(f"the cache: expected float32 of float32 arguments, got float64 of shape {a.shape}")


def contract_layout(subject: Subject, rng: Rng) -> None:
    """Arrays that are not contiguous, or in Fortran order, give the same result."""
    y, cache = subject.forward(subject.arguments)
    dy = upstream(y, rng)
    gradients = subject.backward(dy, cache)
    for layout in (_strided, np.asfortranarray):
        changed = {name: layout(a) if isinstance(a, np.ndarray) and a.ndim else a
                   for name, a in subject.arguments.items()}
        other_y, cache = subject.forward(changed)
        close("y of another memory layout", other_y, y, LIMIT_LAYOUT, floor=1.0)
        with subject.holding(changed):
            other_gradients = subject.backward(layout(dy) if dy.ndim else dy, cache)
        for name in gradients:
            close(f"d{name} of another memory layout", other_gradients[name], gradients[name], LIMIT_LAYOUT, floor=1.0)


def contract_gradient_shapes(subject: Subject, rng: Rng) -> None:
    """Every floating argument that is neither constant nor frozen has a gradient, of its own shape."""
    y, cache = subject.forward(subject.arguments)
    gradients = subject.backward(upstream(y, rng), cache)
    for name in subject.differentiable():
        if gradients[name].shape != subject.arguments[name].shape:
            raise CheckFailed(f"d{name}: expected shape {subject.arguments[name].shape}, got {gradients[name].shape}")


def contract_dy_shape(subject: Subject, rng: Rng) -> None:
    """A dy of another shape is refused, not broadcast."""
    y, cache = subject.forward(subject.arguments)
    dy = upstream(y, rng)
    if dy.ndim:
        refused(f"backward with dy of shape {dy[..., :1, None].shape}", subject.backward, dy[..., :1, None], cache)
        if 1 not in dy.shape:
            refused(f"backward with dy of shape {dy[..., :1].shape}", subject.backward, dy[..., :1], cache)
            refused(f"backward with dy of shape {dy[:1].shape}", subject.backward, dy[:1], cache)
        if dy.ndim > 2 and dy.shape[0] > 1:
            flat = dy.reshape(-1, *dy.shape[2:])        # as many rows, so that a product would not notice
            refused(f"backward with dy of shape {flat.shape}", subject.backward, flat, cache)


def contract_empty_batch(subject: Subject, rng: Rng) -> None:
    """A batch of no sequences is no error: no output, and gradients of 0.  The subject is made with B = 0."""
    y, cache = subject.forward(subject.arguments)
    for name, gradient in subject.backward(upstream(y, rng), cache).items():
        identical(f"d{name} of an empty batch", gradient, np.zeros_like(subject.arguments[name]))


CONTRACT: tuple[Callable, ...] = (
    contract_arguments_untouched, contract_repeatable, contract_fresh_memory, contract_output_is_new, contract_dtype,
    contract_layout, contract_gradient_shapes, contract_dy_shape,
)


def refused(what: str, call: Callable, *arguments: Any, **named: Any) -> None:
    """Raise CheckFailed unless the call raises ValueError, and says of which thing what was expected."""
    try:
        call(*arguments, **named)
    except ValueError as error:
        if ": expected " in str(error):                 # not "(expected 2)", which Python says where it cannot unpack
            return
        raise CheckFailed(f"{what}: expected a message that says what was expected, got: {error}") from error
    raise CheckFailed(f"{what}: expected ValueError, but it was accepted")


def _named(names: list[str], gradients: Array | tuple[Array, ...] | None) -> dict[str, Array]:
    gradients = gradients if isinstance(gradients, tuple) else () if gradients is None else (gradients,)
    if len(names) != len(gradients):
        raise CheckFailed(f"backward: expected the gradients of {', '.join(names)}, got {len(gradients)} of them")
    return dict(zip(names, gradients))


def _largest(subject: Subject) -> float:
    """The largest number among the arguments."""
    return max(np.abs(subject.arguments[name]).max(initial=0) for name in floating(subject.arguments))


def _terms(subject: Subject, dy: Array) -> float:
    """The size of the terms that a gradient is the sum of: products of dy with a few arguments (scores, values).

    Where the sum is 0, what is left of them is rounding: some 10^-15 of it, or 10^-10 after a division by h.
    """
    return np.abs(dy).max(initial=0) * max(1.0, _largest(subject)) ** subject.factors


def _backward_again(subject: Subject, cache: Cache, dy: Array) -> dict[str, Array]:
    """backward once more with this cache; a model uses its cache up, and gets that of a new forward."""
    if subject.uses_cache_up:
        _, cache = subject.forward(subject.arguments)
    return subject.backward(dy, cache)


def _locked(a: Any) -> Any:
    if isinstance(a, np.ndarray):
        a = a.copy()
        a.flags.writeable = False
    return a


def _strided(a: Array) -> Array:
    """The same array, spread over twice the memory."""
    wide = np.zeros(tuple(2 * n for n in a.shape), a.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in a.shape)]
    view[...] = a
    return view


# ---- one row of the table


@dataclass(frozen=True)
class Case:
    """One row of the table.

    make  (rng, B=2, T=3, ...) -> the subject to check; the tests vary the sizes
    laws  what must hold for it beside the checks that hold for all
    """

    name: str
    make: Callable[..., Subject]
    laws: tuple[Callable, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What one check found: its kind, the argument it was about (or ""), the figure measured, and why it failed."""

    kind: str                   # "law", "contract", "adjoint", "differences" or "order"
    check: str
    argument: str
    figure: float | None
    failure: str | None


def examine(case: Case, seed: int = 0, **sizes: int) -> Iterator[Outcome]:
    """Yield the Outcome of every check of one case, the quick ones first.  sizes replace those in the table."""
    with np.errstate(over="raise", divide="raise", invalid="raise"):      # a warning would scroll by
        subject = case.make(np.random.default_rng(seed), **sizes)
        empty = case.make(np.random.default_rng(seed), **(sizes | {"B": 0}))
        try:
            known = linearised(subject, np.random.default_rng([seed, 2]))
        except Exception:                               # what it raises, each check meets again, and says so
            known = None
        for name in subject.differentiable():
            yield outcome("adjoint", adjoint, seed, subject, name, known=known)
        for check in CONTRACT:
            yield outcome("contract", check, seed, subject)
        yield outcome("contract", contract_empty_batch, seed, empty)
        for check in (reference, linearity, *case.laws):
            yield outcome("law", check, seed, subject)
        for name in subject.differentiable():
            yield outcome("differences", differences, seed, subject, name, known=known)
        for name in subject.movable():
            yield outcome("order", order, seed, subject, name)


def outcome(kind: str, check: Callable, seed: int, subject: Subject, *argument: str, about: str = "",
            **options: Any) -> Outcome:
    """Run one check; about says what the outcome is about where that is no argument, options are the check's."""
    try:
        # Not the generator that made the arguments: dy would be equal to x, and a dy in place of an x would not show.
        figure, failure = check(subject, *argument, np.random.default_rng([seed, 1]), **options), None
    except CheckFailed as error:
        figure, failure = None, str(error)
    except Exception as error:                          # whatever a broken layer raises is a failure of the layer
        figure, failure = None, f"expected a result, got {type(error).__name__}: {error}"
    return Outcome(kind, check.__name__, argument[0] if argument else about, figure, failure)
