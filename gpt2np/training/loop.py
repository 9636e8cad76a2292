"""The training loop: batch, gradients, update; and now and then an evaluation and a checkpoint.

Chapter: S001 3.1.1, 5.2; S004 3.1.
"""

import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from ..errors import Gpt2npError
from ..layers.paths import freeze_all_but
from . import run_folder
from .adversarial import how_to_learn
from .clipping import clip_scale
from .diagnosis import first_not_finite
from .errors import TrainingError
from .mpi import World
from .optimizers import make_optimizer
from .plan import FOR_DROPOUT, FOR_SAMPLES, Plan
from .tasks import Progress, Task, unseen

GRADIENTS, EVALUATION, CHANGE = "gradients", "evaluation", "change"
MOVED = "adversarial_loss"      # in the log: of the same texts with their embeddings moved

# A checkpoint is written after so many seconds at the latest, the first one and the others, whatever the plan says: a
# run that ends without a word has then lost no more.  That it is there changes nothing of the run.
FIRST_SAVE, LATER_SAVES = 60.0, 600.0


class Trainer:
    """A run: a task, a plan, and the folder that everything goes to; for use in a with statement.

    task    Task: its model is trained in place
    plan    Plan: the task's
    out     the folder, begun by run_folder.write_run
    world   World: the processes that share the run; each has a Trainer, and the first one writes

    for record in trainer.run(): ... trains, and may be left at any record; save() then keeps what has been done.

    doing   GRADIENTS or EVALUATION: may be left at any moment, by an exception that a signal raises, say, for nothing
            is kept of it; CHANGE: weights, state and files become those of another step, and it must not be left
    """

    def __init__(self, task: Task, plan: Plan, out: str | Path, world: World | None = None):
        self.task, self.plan, self.out, self.doing = task, plan, out, ""
        if plan.train_only:
            try:
                freeze_all_but(task.model, plan.train_only)
            except Gpt2npError as error:
                raise TrainingError(f"--train-only: {error}") from None
        if not any(p.trainable for _, p in task.model.named_parameters()):
            raise TrainingError("model: expected a parameter to train, got a model in which all are frozen")
        self.optimizer = make_optimizer(task.model, plan)
        self.world = world or World()
        self.parallel, self.learn = self.world.parallel(task.model, plan.threads), how_to_learn(task.model, plan)
        # What, beside weights and moments, the rest of the run depends on: the last step that was done, the last one
        # after which was evaluated, and the best so far.
        self.state: run_folder.State = {"step": 0, "evaluated": None, "best": None, "best_step": None,
                                        "evaluations_since_best": 0}

    @classmethod
    def resume(cls, task: Task, checkpoint: run_folder.Checkpoint, plan: Plan, out: str | Path,
               world: World | None = None) -> "Trainer":
        """The run as it was when its last checkpoint was written, from which the task was loaded."""
        trainer = cls(task, plan, out, world)
        trainer.state = checkpoint.state
        run_folder.restore(trainer.optimizer, checkpoint)
        if trainer.world.rank == 0:
            run_folder.cut_log(out, trainer.state)
        return trainer

    def __enter__(self) -> "Trainer":
        self.parallel.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.parallel.__exit__(*exception)

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or patience is at its end."""
        stopped_early = 0 < self.plan.patience <= self.state["evaluations_since_best"]
        return stopped_early or (self.state["step"] >= self.plan.steps and not self._is_to_evaluate())

    def run(self, progress: Progress = unseen) -> Iterator[dict]:
        """Train to the end, and yield what goes into the log: a record of each step and of each evaluation.

        progress   of an evaluation
        """
        if not run_folder.checkpoints(self.out):
            self.save()                                 # from here on there is something to resume
        saved, patience = time.monotonic(), FIRST_SAVE
        while not self.finished:
            if self._is_to_evaluate():
                record = self._evaluation(progress)
                if self.state["step"] == 0:
                    saved = time.monotonic()            # the first steps begin here
            else:
                record = self._step()
            due = self.state["step"] % (self.plan.save_every or self.plan.eval_every) == 0
            late = time.monotonic() - saved >= patience
            if self.finished or (not self._is_to_evaluate() and (due or late)):
                self.save()
                saved = time.monotonic()
                patience = LATER_SAVES if self.state["step"] else FIRST_SAVE
            yield record

    def save(self) -> None:
        """Write a checkpoint of the last step that has been done."""
        self.doing = CHANGE
        if self.world.rank == 0:
            run_folder.save(self.out, self.task, self.optimizer, self.state, self.plan.keep)
        self.doing = ""

    def _is_to_evaluate(self) -> bool:
        """Whether the last step is one that an evaluation follows, and it has not been made."""
        step, plan = self.state["step"], self.plan
        return self.state["evaluated"] != step and (step % plan.eval_every == 0 or step == plan.steps)

    def _step(self) -> dict:
        """One update.  Weights, moments and state stay as they were where the loss or the gradient is not finite."""
        plan, step, task, began = self.plan, self.state["step"], self.task, time.perf_counter()
        self.doing = GRADIENTS
        task.before_step(step)
        batch = task.batch(step)
        losses, norm = self.parallel.loss_and_gradients(batch, plan.accumulate, [plan.seed, FOR_DROPOUT, step],
                                                        learn=self.learn)
        loss, *of_moved = np.ravel(losses).tolist()
        penalty = task.before_update(step)
        if penalty is not None:
            norm = self.parallel.norm()
        if not all(map(math.isfinite, (loss, norm, penalty or 0.0))):
            where = first_not_finite(task.model, task.inputs(batch))
            raise TrainingError(f"step {step + 1}: expected a finite loss and gradient, got loss {loss} and norm "
                                f"{norm}; what is not finite appeared first {where}: try a lower learning rate or a "
                                f"longer warm-up")
        self.doing, lr = CHANGE, plan.lr_of(step)
        self.optimizer.step(lr, clip_scale(norm, plan.clip), self.parallel.run)
        task.after_update(step)
        self.state["step"] = step + 1
        seconds = time.perf_counter() - began
        return self._log({"step": step + 1, "loss": loss} | dict(zip([MOVED], of_moved))
                         | ({} if penalty is None else {"penalty": penalty})
                         | {"lr": lr, "norm": norm, "tokens_per_second": round(task.tokens(batch) / seconds, 1)})

    def _evaluation(self, progress: Progress) -> dict:
        """Measure, keep the model if it is the best one so far, and let it show what it can do."""
        state, task = self.state, self.task
        self.doing = EVALUATION
        figures = task.evaluate(self.parallel, progress)
        for name in ("val_loss", task.best_by):
            if not math.isfinite(figures[name]):
                where = first_not_finite(task.model, task.inputs(task.batch(state["step"])))
                raise TrainingError(f"after step {state['step']}: expected a finite {in_words(name)}, got "
                                    f"{figures[name]}; what is not finite appeared first {where}: try a lower learning "
                                    f"rate")
        sample = self._sample() if self.world.rank == 0 else None
        self.doing = CHANGE
        new, old = figures[task.best_by], state["best"]
        if best := old is None or (new > old if task.larger_is_better else new < old):
            if self.world.rank == 0:
                run_folder.save_best(self.out, task)
            state |= {"best": new, "best_step": state["step"], "evaluations_since_best": 0}
        else:
            state["evaluations_since_best"] += 1
        state["evaluated"] = state["step"]
        return self._log({"step": state["step"]} | figures | {"best": best}
                         | ({} if sample is None else {"sample": sample}))

    def _sample(self) -> str | None:
        """What the task shows.  Its random numbers are its own: the run is the same without it."""
        rng = np.random.default_rng([self.plan.seed, FOR_SAMPLES, self.state["step"]])
        with threadpool_limits(self.plan.threads, "blas"):
            return self.task.sample(rng)

    def _log(self, record: dict) -> dict:
        if self.world.rank == 0:
            run_folder.append_log(self.out, record)
        self.doing = ""
        return record


def in_words(figure: str) -> str:
    """val_loss is the validation loss."""
    return figure.replace("val_", "validation ").replace("_", " ").replace("bleu", "BLEU").replace("f1", "F1")
