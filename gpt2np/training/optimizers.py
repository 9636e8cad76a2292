"""The optimizers by their names, with what each takes of a plan.

Chapter: S001 9 Q2.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from ..layers.module import Module
from .adam import Adam
from .adamw import AdamW
from .optimizer import Optimizer
from .sgd import SGD


class Choice(NamedTuple):
    """An optimizer to choose.

    make     Adam, AdamW, SGD
    options  the fields of the plan that are its own, beside lr and weight_decay
    usual    fields for which it wants another default than the plan's, which are AdamW's

    An L2 penalty of AdamW's 0.1 would be larger than the gradients themselves.  SGD's lr is for gradients that are
    clipped to a norm of 1: the length of its steps, where Adam's is for each number by itself.
    """

    make: Callable[..., Optimizer]
    options: tuple[str, ...]
    usual: dict[str, float]


OPTIMIZERS = {
    "adamw": Choice(AdamW, ("beta1", "beta2", "eps"), {}),
    "adam": Choice(Adam, ("beta1", "beta2", "eps"), {"weight_decay": 0.0}),
    "sgd": Choice(SGD, ("momentum",), {"weight_decay": 0.0, "lr": 0.1}),
}


def make_optimizer(model: Module, plan: Any) -> Optimizer:
    """The optimizer that a Plan asks for, at its first step."""
    make, options, _ = OPTIMIZERS[plan.optimizer]
    return make(model, weight_decay=plan.weight_decay, **{name: getattr(plan, name) for name in options})
