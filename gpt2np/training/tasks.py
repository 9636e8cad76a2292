"""What a run is about: a model, what it learns from, how it is measured, and what is kept of it.

The loop, the folder of a run, resuming, threads, processes, optimizers and the curve know this much of it and no more,
so that they serve any model.  LanguageModelling (language_modelling.py) is the example to read.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from .mpi import Parallel
from .parallel import Batch
from .plan import Plan

SameTask = TypeVar("SameTask", bound="Task")
Progress = Callable[[int, int], None]       # is told now and then how much of something is done, and of how much


def unseen(done: int, of: int) -> None:
    """Progress that nobody looks at."""


class Task(Protocol):
    """One class for each kind of run; what a subclass does not say is as it stands here.

    name               what run.json calls it: a run is resumed as what it began as
    plan_type          Plan, or a dataclass that adds fields to it
    data               names of the files that a run of it has in its folder, beside those of run_folder.py
    model              Trainable, and a Module
    plan               what the run does: what it was made with, or what came of it when it saw its data
    best_by            which figure of evaluate says which model is the best, and when patience is at its end
    larger_is_better   whether more of it is better, as of an F1
    """

    name: ClassVar[str]
    plan_type: ClassVar[type[Plan]]
    data: ClassVar[tuple[str, ...]] = ()
    model: Any
    plan: Any
    best_by: str = "val_loss"
    larger_is_better: bool = False

    @classmethod
    def expect_shares(cls, plan: Any, processes: int) -> None:
        """Raise TrainingError where a batch has no share for each of several processes."""
        return

    def batch(self, step: int) -> Batch:
        """What a step, counted from 0, sees: arrays that model.loss takes.

        It follows from the seed of the plan and the step alone, so that a run which is resumed goes on with the same.
        """

    def inputs(self, batch: Batch) -> Batch:
        """What of a batch model.forward takes: to find out what was not finite."""

    def tokens(self, batch: Batch) -> int:
        """How many tokens a batch has, for those of a second."""
        return batch[0].size

    def evaluate(self, parallel: Parallel, progress: Progress) -> dict[str, float]:
        """The figures of the model as it is, "val_loss" among them; the others go into log and curve beside it."""

    def save(self, folder: Path) -> None:
        """Write what is kept of the model into a folder that is there and empty: of a checkpoint, and of the best."""

    @classmethod
    def load(cls: type[SameTask], folder: Path, out: Path, plan: Any) -> SameTask:
        """The task of the run in `out`, with what was saved in a folder; in memory of its own, for the files will go.
        """

    def sample(self, rng: np.random.Generator) -> str | None:
        """Something that shows what the model can do by now; None for nothing."""
        return None

    def before_step(self, step: int) -> None:
        """What is to be so in a step, and follows from its number alone: which parameters are frozen, say."""
        return

    def before_update(self, step: int) -> float | None:
        """Add to the gradients of the whole batch, once a step, what no data is in; before the norm is taken.

        Returns the value of that penalty, for the log; None where there is none.
        """
        return None

    def after_update(self, step: int) -> None:
        """What follows an update: a budget of ranks, say.  What it remembers, save and load keep."""
        return
