"""What a run does: each field says what it may be and what it means, and from that follow the checks and --help.

Chapter: S001 9 Q2; S002 3.2.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints

from .errors import TrainingError
from .optimizers import OPTIMIZERS
from .schedules import SCHEDULES

# What is drawn for different purposes is independent: each has its number beside the seed, as in [seed, FOR_X, step].
FOR_WINDOWS, FOR_EPOCHS, FOR_DROPOUT, FOR_SAMPLES, FOR_MASKS, FOR_ADAPTERS, FOR_CHANGES = 1, 2, 3, 4, 5, 10, 11

ATTACKS = NO_ATTACK, FGM, PGD = ("none", "fgm", "pgd")      # see adversarial.py


# ---- what a field may be


class Rule(NamedTuple):
    """What is allowed, as a phrase for messages, and as a function."""

    expected: str
    allows: Callable[[Any], bool]
    least: int | None = None            # of a whole number
    choices: tuple[str, ...] = ()


def at_least(least: int) -> Rule:
    """A whole number; True is none, though Python takes it for 1."""
    return Rule(f"a whole number of {least} or more", lambda value: type(value) is int and value >= least, least)


def one_of(names: Iterable[str]) -> Rule:
    """One of a few names."""
    choices = tuple(names)
    return Rule(f"one of {', '.join(choices)}", lambda value: value in choices, choices=choices)


def is_number(value: Any) -> bool:
    """Whether this is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)


POSITIVE = Rule("a number above 0", lambda value: is_number(value) and value > 0)
NOT_NEGATIVE = Rule("a number of 0 or more", lambda value: is_number(value) and value >= 0)
SHARE = Rule("a number from 0 to less than 1", lambda value: is_number(value) and 0 <= value < 1)
YES_OR_NO = Rule("true or false", lambda value: type(value) is bool)
NAMES = Rule("a list of names", lambda value: type(value) is tuple and all(type(v) is str and v for v in value))


# ---- the plan


@dataclass(frozen=True)
class Plan:
    """What any run does; what is a task's own, its own plan adds.

    With the first weights, the data and the number of processes, everything follows from it: to the bit on machines of
    one kind; another BLAS rounds otherwise.  TrainingError for a value that its field may not have.
    """

    steps: Annotated[int, at_least(1), "updates of the weights"]
    accumulate: Annotated[int, at_least(1), "pieces that each thread makes of its share of a batch, to need less "
                          "memory"] = 1
    optimizer: Annotated[str, one_of(OPTIMIZERS), "the rule by which the weights follow their gradients"] = "adamw"
    lr: Annotated[float, POSITIVE, "the highest learning rate; with the schedule noam, (n_embd warmup)^-0.5"] = 1e-3
    warmup: Annotated[int, at_least(0), "steps until it is reached"] = 100
    schedule: Annotated[str, one_of(SCHEDULES), "what follows"] = "cosine"
    min_lr: Annotated[float, NOT_NEGATIVE, "the learning rate at the end"] = 0.0
    beta1: Annotated[float, SHARE, "how much of the mean of gradients adamw and adam keep in a step"] = 0.9
    beta2: Annotated[float, SHARE, "the same for the mean of their squares"] = 0.95
    eps: Annotated[float, NOT_NEGATIVE, "what adamw and adam add to the root of that mean, by which they divide"] = 1e-8
    momentum: Annotated[float, SHARE, "how much of its last step sgd takes again"] = 0.9
    weight_decay: Annotated[float, NOT_NEGATIVE, "how much of a weight adamw takes away in a step, times the learning "
                            "rate; with adam and sgd, the factor of an L2 penalty, added to the gradient; for what has "
                            "more than one axis, tables of embeddings too, and not for gains and biases"] = 0.1
    clip: Annotated[float, NOT_NEGATIVE, "the highest norm of a gradient, 0 for no limit"] = 1.0
    train_only: Annotated[tuple[str, ...], NAMES, "freeze all but what this names, component by component, with all "
                          "below it, as ln_f, h.11, h.*.attn.c_attn; may be given several times"] = ()
    eval_every: Annotated[int, at_least(1), "steps from one evaluation to the next"] = 250
    save_every: Annotated[int, at_least(0), "steps from one checkpoint to the next, 0 for one with each evaluation"] = 0
    keep: Annotated[int, at_least(1), "checkpoints to keep, the last ones; several, to average them: see average"] = 1
    patience: Annotated[int, at_least(0), "end after this many evaluations without a better one, 0 for never"] = 0
    adversarial: Annotated[str, one_of(ATTACKS), "learn each text a second time, with its embeddings moved to where "
                           "its loss is larger: in one step, or in several smaller ones"] = NO_ATTACK
    perturbation: Annotated[float, NOT_NEGATIVE, "how far adversarial moves the embeddings of a text, all its tokens "
                            "together; 0: not at all, which is training without it"] = 0.2
    attack_steps: Annotated[int, at_least(1), "of adversarial pgd"] = 3
    attack_size: Annotated[float, POSITIVE, "how far each step of pgd goes"] = 0.1
    seed: Annotated[int, at_least(0), "the number from which all random numbers follow"] = 0
    threads: Annotated[int, at_least(1), "how many share each batch, in each process"] = 1

    def __post_init__(self) -> None:
        for name, _, rule, _, _ in settings(type(self)):
            value = getattr(self, name)
            if not rule.allows(value):
                raise TrainingError(f"{name}: expected {rule.expected}, got {value!r}")
        for name, attacks in (("perturbation", ATTACKS[1:]), ("attack_steps", (PGD,)), ("attack_size", (PGD,))):
            if self.adversarial not in attacks and getattr(self, name) != getattr(type(self), name):
                got = "it without" if self.adversarial == NO_ATTACK else f"it with {self.adversarial}"
                raise TrainingError(f"{name}: expected only with --adversarial {' or '.join(attacks)}, got {got}")

    def lr_of(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return SCHEDULES[self.schedule](step, self.lr, self.warmup, self.steps, self.min_lr)


class Setting(NamedTuple):
    """A field of a plan; default is None where it has none."""

    name: str
    kind: type
    rule: Rule
    meaning: str
    default: Any


def settings(plan: type[Plan]) -> list[Setting]:
    """The fields of a plan, with what stands beside each."""
    hints = get_type_hints(plan, include_extras=True)
    found = []
    for field in fields(plan):
        kind, rule, meaning = get_args(hints[field.name])
        found.append(Setting(field.name, kind, rule, meaning, None if field.default is MISSING else field.default))
    return found
