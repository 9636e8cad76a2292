"""Adversarial training: each text is learned a second time, where a small change of its embeddings hurts most.

    r      = argmax of loss(x + r), |r| <= epsilon          x: the embeddings of a text's tokens, (T, C), in one norm
    learn  = loss(x) + loss(x + r)                          r is a constant: no gradient is taken through it

The largest loss in that ball is not to be had; what leads uphill is a step along the gradient by x:

    fgm    r = epsilon g / |g|                              g = dloss/dx at x
    pgd    r = 0; K times: r <- P(r + alpha g / |g|)        g = dloss/dx at x + r, P: back onto the ball

A text is a row of a batch, with the tokens that stand around it; where a model reads two texts apart, as an encoder and
a decoder do, each has its own r.  Padding has no gradient, and so is not moved.  r follows from a text, the weights,
what the mean of the whole batch is over, and dropout, which drops the same each time: whatever else is in its part of
the batch.  So the parts add up, over pieces, threads and processes, as they do without.

Miyato, Dai, Goodfellow 2017, arXiv:1605.07725, section 3, there with normalised embeddings; Madry et al. 2018,
arXiv:1706.06083, section 2.1, there with signs, in the largest norm, and from a random beginning.

Chapter: S001 9 Q2; S003 9 Q5.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..hints import Array, Cache, Rng
from ..interpret.taps import Tap, tapped
from ..layers.module import Module, Parameter
from .errors import TrainingError
from .parallel import Batch, Learn, plainly
from .plan import FGM, NO_ATTACK, Plan

WORDS, POSITIONS = "wte", "wpe"         # the names of a model's tables


class Attack(NamedTuple):
    """How the embeddings of a text are moved: the epsilon, K and alpha of above.  fgm is one step of epsilon."""

    epsilon: float
    steps: int
    size: float


def attack_of(plan: Plan) -> Attack | None:
    """What a plan asks for; None for nothing."""
    if plan.adversarial == NO_ATTACK or plan.perturbation == 0:
        return None
    if plan.adversarial == FGM:
        return Attack(plan.perturbation, 1, plan.perturbation)
    return Attack(plan.perturbation, plan.attack_steps, plan.attack_size)


def how_to_learn(model: Module, plan: Plan) -> Learn:
    """How a run learns its rows.  TrainingError for a model without a table of words."""
    attack = attack_of(plan)
    if attack is None:
        return plainly
    table_of(model)
    return partial(adversarially, attack)


def adversarially(attack: Attack, model: Any, rows: Batch, counted: Any, rng: Rng | None) -> Array:
    """Learn some rows as they are, and as an attack moves them: the losses of both, (2,)."""
    lowest = lowest_of(model)
    with thawed(lowest), moved(model) as tap:
        loss = plainly(model, rows, counted, copy.deepcopy(rng))
    r = steps_up(attack, tap.g)
    with alone(model, lowest):
        for _ in range(attack.steps - 1):
            r = further(attack, model, rows, counted, copy.deepcopy(rng), r)
    with moved(model, r):
        return np.array([loss, plainly(model, rows, counted, rng)])


def attacked(attack: Attack, model: Any, rows: Batch, counted: Any = None) -> list[Array]:
    """r of some rows, without dropout, to measure what a model makes of them: `with moved(model, r): ...`.

    The parameters' gradients stay as they are.
    """
    lowest, r = lowest_of(model), list[Array]()
    with alone(model, lowest):
        for _ in range(attack.steps):
            r = further(attack, model, rows, counted, None, r)
    return r


def further(attack: Attack, model: Any, rows: Batch, counted: Any, rng: Rng | None, r: Sequence[Array]) -> list[Array]:
    """One step more: r of some rows, from r, which is empty for 0."""
    with moved(model, r) as tap:
        plainly(model, rows, counted, rng)
    return steps_up(attack, tap.g, r)


# ---- the mathematics


def steps_up(attack: Attack, gradients: Sequence[Array], r: Sequence[Array] = ()) -> list[Array]:
    """P(r + alpha g / |g|) of each text, for the gradients of each time that the table was read; without r, from 0."""
    steps = [scaled(g, attack.size) for g in gradients]
    return [within(step, attack.epsilon) for step in (map(np.add, r, steps) if r else steps)]


def scaled(g: Array, size: float) -> Array:
    """size g / |g| of each text, g (B, T, C); 0 where g is.

    By its largest number first: a model that is sure has gradients whose squares are 0 in float32.
    """
    top = abs(g).max(axis=(1, 2), keepdims=True)
    g = g / np.where(top == 0, 1, top)
    return g * (size / np.where(top == 0, 1, norms(g)))


def within(r: Array, epsilon: float) -> Array:
    """P(r): r of each text, or, where its norm is above epsilon, what lies on the ball in its direction."""
    norm = norms(r)
    return r * np.where(norm > epsilon, epsilon / np.where(norm == 0, 1, norm), 1)


def norms(r: Array) -> Array:
    """|r| of each text, (B, 1, 1)."""
    return np.sqrt((r * r).sum(axis=(1, 2), keepdims=True))


# ---- where it is done: behind the table of words, in front of all else


class Moved(Tap):
    """Adds r to what a table gives, the first time r[0], the second time r[1]; g are the gradients by that."""

    def __init__(self, r: Sequence[Array]):
        self.r, self.g, self.read = r, list[Array](), 0

    def after(self, path: str, y: Any, cache: Cache) -> Any:
        self.read += 1
        return y + self.r[self.read - 1] if self.r else y

    def before_backward(self, path: str, dy: Any, cache: Cache) -> Any:
        self.g.insert(0, dy)                            # the last one that was read comes first
        return dy


@contextmanager
def moved(model: Module, r: Sequence[Array] = ()) -> Iterator[Moved]:
    """A model whose texts are moved by r, while the `with` lasts: see Moved."""
    with tapped(model, Moved(r), table_of(model)) as tap:
        yield tap


def table_of(model: Module) -> str:
    """The path of the table in which a model looks up its tokens; TrainingError where there is none."""
    for path, _ in model.named_modules():
        if path.rpartition(".")[2] == WORDS:
            return path
    raise TrainingError(f"--adversarial: expected a model with a table of embeddings, {WORDS}, got a "
                        f"{type(model).__name__}, which has none")


def lowest_of(model: Module) -> Parameter:
    """A parameter beside the embeddings, so that to train it all gradients must come down to there: that of positions,
    where there is one, for the table of words may be the head's, too.
    """
    path, parameters = table_of(model), dict(model.named_parameters())
    return parameters.get(path.removesuffix(WORDS) + POSITIONS, parameters[path])


@contextmanager
def thawed(lowest: Parameter) -> Iterator[None]:
    """A parameter that is trained for now; if it is frozen, its gradient is forgotten."""
    trainable, lowest.trainable = lowest.trainable, True
    try:
        yield
    finally:
        lowest.trainable = trainable
        if not trainable:
            lowest.grad = None


@contextmanager
def alone(model: Module, lowest: Parameter) -> Iterator[None]:
    """One parameter that is trained alone for now, so that no product is made for the other weights; afterwards all
    gradients are as before.
    """
    before = [(p, p.trainable, p.grad) for _, p in model.named_parameters()]
    model.freeze()
    lowest.trainable, lowest.grad = True, None
    try:
        yield
    finally:
        for p, trainable, grad in before:
            p.trainable, p.grad = trainable, grad
