"""Laws of layers of many kinds, and those of every module."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...hints import Array, Rng
from ...layers.embedding import Embedding
from ...layers.linear import Linear
from ...layers.module import Constant, Module, Parameter
from ...layers.tiles import TILE
from ..checks import (
    MANY,
    Arguments,
    CheckFailed,
    ModuleSubject,
    Subject,
    calls_of,
    cast,
    close,
    identical,
    refused,
    upstream,
    with_generators,
)

EXACT = 1e-13                   # float64, where only rounding differs


# ---- any subject


def inference_is_forward(subject: Subject, rng: Rng) -> None:
    """With keep_cache=False, y is the same (to the bit, unless another form of an activation makes it), and no more."""
    y, _ = subject.forward(subject.arguments)
    inferred, cache = subject.forward(subject.arguments | {"keep_cache": False})
    close("y without a cache", inferred, y, EXACT)
    if cache is not None:
        raise CheckFailed(f"the cache for inference: expected None, got {type(cache).__name__}")


def rows_are_independent(subject: Subject, rng: Rng) -> None:
    """The rows of the batch do not see each other: each alone gives the same."""
    y, _ = subject.forward(subject.arguments)
    for b in range(len(y)):
        alone, _ = subject.forward(subject.arguments | {"x": subject.arguments["x"][b:b + 1]})
        close(f"y of row {b} alone", alone, y[b:b + 1], EXACT)


def gradient_rows_sum_to_0(subject: Subject, rng: Rng) -> None:
    """A constant added to a row of x changes nothing, so the gradient of the row sums to 0."""
    y, cache = subject.forward(subject.arguments)
    name, dx = next(iter(subject.backward(upstream(y, rng), cache).items()))
    close(f"row sums of d{name}", dx.sum(axis=-1), np.zeros(dx.shape[:-1]), EXACT, scale=max(1.0, np.abs(dx).max()))


def finite_at_10000(subject: Subject, rng: Rng) -> None:
    """Numbers of 10^4, where exp overflows, give finite results, in float64 and in float32."""
    first = next(iter(subject.arguments))
    for dtype in (np.float64, np.float32):
        changed = cast(subject.arguments, dtype)
        y, cache = subject.forward(changed | {first: changed[first] * dtype(1e4)})
        for name, a in {"y": y, **subject.backward(upstream(y, rng), cache)}.items():
            if not np.isfinite(a).all():
                raise CheckFailed(f"{name} at {first} times 10^4 in {dtype.__name__}: expected finite numbers, got {a}")


def many_tiles_are_one(subject: Subject, rng: Rng) -> None:
    """More rows than a tile holds give what the first, the last and the rest give: rows apart, sums over them added."""
    n = TILE // subject.arguments["x"].shape[-1] + 2
    x = rng.standard_normal((n, subject.arguments["x"].shape[-1]))
    y, cache = subject.forward(subject.arguments | {"x": x})
    dy = upstream(y, rng)
    whole, sums = subject.backward(dy, cache), dict[str, Array]()
    for rows in (slice(0, 1), slice(1, n - 1), slice(n - 1, n)):
        y_of_rows, cache = subject.forward(subject.arguments | {"x": x[rows]})
        close(f"y of rows {rows.start} to {rows.stop}, of {n}", y[rows], y_of_rows, EXACT)
        for name, a in subject.backward(dy[rows], cache).items():
            if name == "x":
                close(f"dx of rows {rows.start} to {rows.stop}, of {n}", whole["x"][rows], a, EXACT)
            else:
                sums[name] = sums[name] + a if name in sums else a
    for name, a in sums.items():
        close(f"d{name} of {n} rows", whole[name], a, EXACT)


# ---- any module


def gradients_add(subject: ModuleSubject, rng: Rng) -> None:
    """A module that was used twice has the sum of both gradients; a backward that is refused adds nothing."""
    y, cache = subject.forward(subject.arguments)
    dy = upstream(y, rng)
    subject.backward(dy, cache)
    once = {path: a.copy() for path, a in subject.gradients().items()}
    _, cache = subject.forward(subject.arguments)
    refused("a second backward with a wrong dy", subject.module.backward, dy[..., :1, None], cache)
    for path, gradient in subject.gradients().items():
        close(f"d{path} after a refused backward", gradient, once[path], EXACT)
    _, cache = subject.forward(subject.arguments)
    subject.module.backward(dy, cache)                  # without zero_grad before
    for path, gradient in subject.gradients().items():
        close(f"d{path} after two backwards", gradient, 2 * once[path], EXACT)


def frozen_parameters_get_nothing(subject: ModuleSubject, rng: Rng) -> None:
    """What is frozen has no gradient, and for a matrix none is made; all others are what they were, to the bit.

    One frozen parameter, all but one, and all; where there are many, three of them so, and halves of all, so that of
    any two each is once frozen while the other is trained.
    """
    y, cache = subject.forward(subject.arguments)
    dy = upstream(y, rng)
    free = subject.backward(dy, cache)
    paths = subject.trained()
    trained, many = set(paths), len(paths) > MANY
    alone = [{paths[i]} for i in rng.permutation(len(paths))[:3 if many else MANY]]
    digits = range((len(paths) - 1).bit_length()) if many else ()
    halves = [{path for i, path in enumerate(paths) if i >> digit & 1 == bit} for digit in digits for bit in (0, 1)]
    for frozen in [*alone, *(trained - one for one in alone), *halves, trained]:
        with subject.frozen(frozen), calls_of(Parameter.accumulate) as offered:
            _, cache = subject.forward(subject.arguments)
            gradients = subject.backward(dy, cache)     # CheckFailed where a frozen one has a gradient
        for path in frozen:
            p = subject.parameters[path]
            if p.value.ndim > 1 and any(p is call.first for call in offered):
                raise CheckFailed(f"{path}, frozen: expected that no gradient is made for it, got one")
        for name in free.keys() - frozen:
            identical(f"d{name} with {', '.join(sorted(frozen))} frozen", gradients[name], free[name])


def frozen_as_a_whole(subject: ModuleSubject, rng: Rng) -> None:
    """freeze is for all parameters below, unfreeze undoes it, and zero_grad forgets all gradients."""
    y, cache = subject.forward(subject.arguments)
    subject.backward(upstream(y, rng), cache)
    subject.module.zero_grad()
    for path, p in subject.parameters.items():
        if p.grad is not None:
            raise CheckFailed(f"d{path} after zero_grad: expected None, got a gradient")
    with subject.frozen(()):                            # afterwards each is what the case made of it
        for act, trainable in ((subject.module.freeze, False), (subject.module.unfreeze, True)):
            act()
            for path, p in subject.parameters.items():
                if p.trainable is not trainable:
                    raise CheckFailed(f"{path} after {act.__name__}: expected trainable = {trainable}")


def a_replica_has_its_own_gradients(subject: ModuleSubject, rng: Rng) -> None:
    """A replica shares every value, computes the same, and leaves the original's gradients alone."""
    y, cache = subject.forward(subject.arguments)
    dy = upstream(y, rng)
    subject.backward(dy, cache)
    before = {path: a.copy() for path, a in subject.gradients().items()}
    replica = subject.module.replica()
    copies, fixed = dict(replica.named_parameters()), dict(replica.named_constants())
    for path, p in subject.values.items():
        if (copies | fixed)[path].value is not p.value or (path in copies and copies[path].grad is not None):
            raise CheckFailed(f"{path} of a replica: expected the same value, and no gradient yet")
    y_of_replica, cache = replica.forward(**with_generators(subject.inputs))
    identical("y of a replica", y_of_replica, y)
    replica.backward(dy, cache)
    for path, gradient in subject.gradients().items():
        identical(f"d{path} after the replica's backward", gradient, before[path])
        close(f"d{path} of the replica", copies[path].grad, before[path], EXACT)


def what_is_below_is_listed_once(subject: ModuleSubject, rng: Rng) -> None:
    """Parameters, constants and modules are found in a tuple too; what is shared is listed under its first path."""
    module, shared = subject.module, Linear(1, 1, None)
    listed = (module.named_parameters, module.named_constants, module.named_modules, module.children)
    before = [[path for path, _ in named()] for named in listed]
    first = next(p for _, p in module.named_parameters())
    module.more = (shared, first, Constant(np.zeros(1)), shared, Embedding(1, 1, None), 7)
    try:
        new = (["more.0.w", "more.0.b", "more.4"], ["more.2"], ["more.0", "more.4"], [f"more.{i}" for i in range(5)])
        for named, old, more in zip(listed, before, new):
            found = [path for path, _ in named()]
            if found != [*old, *more]:
                raise CheckFailed(f"{named.__name__}: expected {[*old, *more]}, got {found}")
        if dict(module.replica().named_constants())["more.2"].value is not module.more[2].value:
            raise CheckFailed("a constant of a replica: expected the same value, got a copy")
    finally:
        del module.more


def nothing_is_remembered(subject: ModuleSubject, rng: Rng) -> None:
    """forward and backward leave nothing on a module: a cache belongs to the call."""
    modules = [subject.module, *(m for _, m in subject.module.named_modules() if isinstance(m, Module))]
    before = [dict(vars(m)) for m in modules]
    y, cache = subject.forward(subject.arguments)
    subject.backward(upstream(y, rng), cache)
    for module, attributes in zip(modules, before):
        for name, value in vars(module).items():
            if name not in attributes or attributes[name] is not value:
                raise CheckFailed(f"{type(module).__name__}.{name}: expected what it was before forward and backward")


OF_ANY_PARAMETER = (gradients_add, frozen_parameters_get_nothing)
OF_ANY_MODULE = (*OF_ANY_PARAMETER, frozen_as_a_whole, a_replica_has_its_own_gradients, what_is_below_is_listed_once,
                 nothing_is_remembered)


# ---- models


def a_cache_serves_once(subject: ModuleSubject, rng: Rng) -> None:
    """backward frees the caches of the blocks on its way: a second time, or without a cache, it is refused."""
    model, inputs = subject.module, subject.inputs
    of_hidden = [(model.hidden, model.hidden_backward)] if hasattr(model, "hidden") else []
    for forward, backward in [(model.forward, model.backward), *of_hidden]:
        y, cache = forward(**with_generators(inputs))
        dy = upstream(y, rng)
        model.zero_grad()
        backward(dy, cache)
        once = {path: None if p.grad is None else p.grad.copy() for path, p in subject.parameters.items()}
        identical("what is left of a cache", len(cache), 0)
        refused("a cache that has been used", backward, dy, cache)
        _, cache = forward(**with_generators(inputs), keep_cache=False)
        if cache is not None:
            raise CheckFailed(f"the cache of {forward.__name__} for inference: expected None")
        refused("the cache of inference", backward, dy, cache)
        for path, p in subject.parameters.items():
            identical(f"d{path} after two that were refused", p.grad, once[path])


def rows_add(model: Any, batch: Sequence[Array]) -> None:
    """Losses and gradients of the rows of a batch, each told what the whole counts, are those of the batch."""
    counted, rows = model.counted(*batch), [[a[b:b + 1] for a in batch] for b in range(len(batch[0]))]
    model.zero_grad()
    loss = model.loss_and_gradients(*batch)
    whole = {path: p.grad for path, p in model.named_parameters()}
    model.zero_grad()
    parts = [model.loss_and_gradients(*row, counted=counted) for row in rows]
    close("loss of the rows", sum(parts), loss, EXACT, floor=1.0)
    for path, p in model.named_parameters() if rows else ():
        close(f"d{path} of the rows", p.grad, whole[path], EXACT, floor=1.0)
    alone = [model.loss(*row, counted=counted) for row in rows]
    close("loss of the rows, without gradients", sum(alone), model.loss(*batch), EXACT, floor=1.0)
    model.zero_grad()


def generator_of(subject: ModuleSubject) -> Arguments:
    """The generator for dropout, new, where the subject has one."""
    return with_generators({name: a for name, a in subject.inputs.items() if name == "rng"})
