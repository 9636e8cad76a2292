"""The life of a run, whatever its task: it begins, it is resumed from its last checkpoint, and what is changed then."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from . import run_folder
from .errors import TrainingError
from .loop import Trainer
from .mpi import World
from .plan import Plan
from .tasks import Task


def begin(make: Callable[[], Task], kind: type[Task], plan: Plan, out: str | Path, about: dict, world: World,
          held: ExitStack) -> Trainer:
    """A new run, at its first checkpoint, the one before the first step.

    make    a task of that kind, at its beginning; puts its data into `out`, which is there, and may settle in its plan
            what follows from them.  Rank 0 alone calls it
    about   what run.json is to say beside task and plan
    held    gets the lock of the folder: no other process trains there until it is closed

    Rank 0 has to come here before the others.  Where it comes to nothing, the folder is removed again.
    """
    out = Path(out)
    kind.expect_shares(plan, world.size)
    if world.rank == 0:
        run_folder.make(out)
        held.enter_context(run_folder.locked(out))
        run_folder.write_run(out, {"task": kind.name, "plan": asdict(plan), "processes": world.size,
                                   "data": kind.data} | about)
        try:
            task = make()
            if task.plan.min_lr > task.plan.lr:
                raise TrainingError(f"--min-lr: expected at most the highest learning rate, {task.plan.lr:g}, got "
                                    f"{task.plan.min_lr:g}")
            run_folder.rewrite_run(out, run_folder.read_run(out) | {"plan": asdict(task.plan)})
            Trainer(task, task.plan, out).save()
        except BaseException:
            shutil.rmtree(out, ignore_errors=True)
            raise
    return last_checkpoint(kind, plan_of(kind, out), out, run_folder.load(out), world)


def resume(kinds: Sequence[type[Task]], out: str | Path, world: World, held: ExitStack, steps: int | None = None,
           threads: int | None = None) -> tuple[Trainer, list[str]]:
    """A run at its last checkpoint, and what is now different of it, in sentences.

    kinds            of which it may be
    steps, threads   what the run is to have from here on; None for what it has

    Rank 0 has to come here before the others.  TrainingError for what cannot be.
    """
    out = Path(out)
    name = run_folder.read_run(out).get("task")         # no lock is left in a folder that is not a run's
    kind = next((kind for kind in kinds if kind.name == name), kinds[0])
    if name not in (kind.name, None):
        raise TrainingError(f"{out / run_folder.RUN}: expected a run of {', '.join(kind.name for kind in kinds)}, got "
                            f"one of {name}: another command, or another --task, goes on with it")
    if world.rank == 0:
        held.enter_context(run_folder.locked(out))
    plan = plan_of(kind, out)
    kind.expect_shares(plan, world.size)
    checkpoint = run_folder.load(out)
    if world.rank > 0:                                  # rank 0 has written what is changed
        return last_checkpoint(kind, plan, out, checkpoint, world), []
    new = changed(plan, checkpoint.state, steps, threads)
    trainer = last_checkpoint(kind, new, out, checkpoint, world)
    return trainer, note_changes(out, plan, new, world.size, checkpoint.state["step"])


def last_checkpoint(kind: type[Task], plan: Plan, out: Path, checkpoint: run_folder.Checkpoint,
                    world: World) -> Trainer:
    """A run as it was when its last checkpoint was written."""
    return Trainer.resume(kind.load(checkpoint.folder, out, plan), checkpoint, plan, out, world)


def plan_of(kind: type[Task], out: str | Path) -> Plan:
    """The plan of the run in a folder; TrainingError for a run of another task, or another version."""
    run, path = run_folder.read_run(out), Path(out, run_folder.RUN)
    try:
        if run["task"] != kind.name:
            raise TrainingError(f"{path}: expected a run of {kind.name}, got one of {run['task']}: another command "
                                "goes on with it")
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                                  for name, value in run["plan"].items()}
        return kind.plan_type(**values)
    except (KeyError, TypeError, AttributeError) as error:
        raise TrainingError(f"{path}: expected the plan of a run of this version, got something else ({error}): begin "
                            f"a new run; --init-from {Path(out, run_folder.BEST)} takes this one's model") from None


def changed(plan: Plan, state: run_folder.State, steps: int | None, threads: int | None) -> Plan:
    """The plan with what a resumed run is to have; TrainingError for what cannot be."""
    new = replace(plan, steps=steps or plan.steps, threads=threads or plan.threads)
    if steps is not None:
        if new.steps <= plan.steps:
            raise TrainingError(f"--steps: expected more than the {plan.steps:,} that the run has, got {new.steps:,}")
        if 0 < plan.patience <= state["evaluations_since_best"]:
            raise TrainingError(f"--steps: the run ended at step {state['step']:,} because {plan.patience} evaluations "
                                "in a row brought no better loss; more steps do not change that")
    return new


def note_changes(out: Path, plan: Plan, new: Plan, processes: int, step: int) -> list[str]:
    """Write into run.json what a run does differently after a step; returns it in sentences."""
    run = run_folder.read_run(out)
    before = {"steps": plan.steps, "threads": plan.threads, "processes": run["processes"]}
    after = {"steps": new.steps, "threads": new.threads, "processes": processes}
    entry = {name: [before[name], after[name]] for name in before if before[name] != after[name]}
    said = []
    if "steps" in entry:
        last = f", after {plan.lr_of(step - 1):.2e} in the last one" if step else ""
        said.append(f"{new.steps:,} steps instead of {plan.steps:,}: the learning rate ({plan.schedule}) is from here "
                    f"on that of a run of {new.steps:,}: {new.lr_of(step):.2e} in the next step{last}")
    if "threads" in entry or "processes" in entry:
        said.append(f"{workers(processes, new.threads)} instead of {workers(before['processes'], plan.threads)}: "
                    "sums are taken in another order, and dropout draws other numbers, so from here on the run is no "
                    "longer, bit for bit, what it would have been")
    if entry:
        changes = [*run.get("changes", []), {"after_step": step} | entry]
        run_folder.rewrite_run(out, run | {"plan": asdict(new), "processes": processes, "changes": changes})
    return said


def workers(processes: int, threads: int) -> str:
    """Who shares a batch, in words."""
    each = f"{threads} thread{'s' * (threads > 1)}"
    return each if processes == 1 else f"{processes} processes with {each} each"
