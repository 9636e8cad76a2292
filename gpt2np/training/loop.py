"""The training loop: batch, gradients, update; and now and then an evaluation and a checkpoint."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from ..decoding import generate
from ..hints import Array
from ..models.gpt2 import GPT2
from ..sampling import Sampler
from ..text.protocol import AnyTokenizer, end_of
from . import run_folder
from .adamw import AdamW
from .batches import FOR_DROPOUT, FOR_SAMPLES, ORDERS, Batches
from .clipping import clip_scale
from .diagnosis import first_not_finite
from .errors import TrainingError
from .evaluation import evaluate
from .mpi import World
from .schedules import SCHEDULES

TEMPERATURE = 0.8               # of the texts that a model writes while it is trained


@dataclass(frozen=True)
class Plan:
    """What a run does.  With the first weights, the text and the number of processes, everything follows from it.

    To the bit on machines of one kind; another BLAS rounds otherwise.

    steps, batch, context      how many updates; windows in a batch, and tokens in a window
    accumulate                 pieces that each thread makes of its share of a batch, for less memory
    order                      of the windows: see Batches
    lr, warmup, schedule, min_lr   peak learning rate, steps of warm-up, shape, rate at the end: see schedules.py
    beta1, beta2, weight_decay    AdamW's
    clip                       longest norm of the gradient; 0 for no limit
    dropout, recompute         see GPT2
    eval_every                 steps from one evaluation to the next
    save_every                 steps from one checkpoint to the next; 0: one with each evaluation
    sample                     tokens of a text that the model writes at each evaluation; 0 for none
    patience                   evaluations without a better loss after which the run ends; 0 for never
    seed, threads              which random numbers, how many workers

    raises                     TrainingError for numbers that cannot be
    """

    steps: int
    batch: int = 16
    context: int = 256
    accumulate: int = 1
    order: str = "windows"
    lr: float = 1e-3
    warmup: int = 100
    schedule: str = "cosine"
    min_lr: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.1
    clip: float = 1.0
    dropout: float = 0.0
    recompute: bool = False
    eval_every: int = 250
    save_every: int = 0
    sample: int = 60
    patience: int = 0
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("context", 1), ("accumulate", 1), ("eval_every", 1),
                            ("threads", 1), ("warmup", 0), ("save_every", 0), ("sample", 0), ("patience", 0),
                            ("seed", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise TrainingError(f"{name}: expected a whole number of {least} or more, got {value!r}")
        for name in ("min_lr", "weight_decay", "clip"):
            _check(self, name, "a number of 0 or more", lambda value: value >= 0)
        for name in ("beta1", "beta2", "dropout"):
            _check(self, name, "a number from 0 to less than 1", lambda value: 0 <= value < 1)
        _check(self, "lr", "a number above 0", lambda value: value > 0)
        if type(self.recompute) is not bool:
            raise TrainingError(f"recompute: expected true or false, got {self.recompute!r}")
        for name, known in (("order", ORDERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise TrainingError(f"{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}")

    def lr_of(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return SCHEDULES[self.schedule](step, self.lr, self.warmup, self.steps, self.min_lr)


def _check(plan: Plan, name: str, expected: str, allowed: Callable[[float], bool]) -> None:
    value = getattr(plan, name)
    if type(value) not in (int, float) or not math.isfinite(value) or not allowed(value):
        raise TrainingError(f"{name}: expected {expected}, got {value!r}")


class Trainer:
    """A run: a model, a text, a plan, and the folder that everything goes to; for use in a with statement.

    model, tokenizer   what is trained (in place; with the plan's dropout and recompute), and what it comes with
    train, val         token ids (n,): to learn from, and to measure by
    plan               Plan
    out                the folder, begun by run_folder.write_run
    world              World: the processes that share the run; each has a Trainer, and the first one writes

    for record in trainer.run(): ... trains, and may be left at any record; save() then keeps what has been done.
    """

    def __init__(self, model: GPT2, tokenizer: AnyTokenizer, train: Array, val: Array, plan: Plan, out: str | Path,
                 world: World | None = None):
        if plan.context > model.config.n_ctx:
            raise TrainingError(f"context: expected at most the model's n_ctx, {model.config.n_ctx}, got "
                                f"{plan.context}")
        if len(val) < 2:
            raise TrainingError(f"validation text: expected at least 2 tokens, got {len(val)}: give more text")
        self.batches = Batches(train, plan.batch, plan.context, plan.seed, plan.order)
        self.model, self.tokenizer, self.val, self.plan, self.out = model, tokenizer, val, plan, out
        self.optimizer = AdamW(model, plan.beta1, plan.beta2, weight_decay=plan.weight_decay)
        self.world = world or World()
        self.parallel = self.world.parallel(model, plan.threads)
        # What, beside weights and moments, the rest of the run depends on.
        self.state: dict = {"step": 0, "best_loss": None, "best_step": None, "evaluations_since_best": 0}

    @classmethod
    def resume(cls, checkpoint: run_folder.Checkpoint, train: Array, val: Array, plan: Plan, out: str | Path,
               world: World | None = None) -> "Trainer":
        """The run as it was when its last checkpoint was written."""
        trainer = cls(checkpoint.model, checkpoint.tokenizer, train, val, plan, out, world)
        trainer.state = checkpoint.state
        run_folder.restore(trainer.optimizer, checkpoint.moments, trainer.state["step"], out)
        if trainer.world.rank == 0:
            run_folder.cut_log(out, trainer.state["step"])
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
        return stopped_early or self.state["step"] >= self.plan.steps

    def run(self) -> Iterator[dict]:
        """Train to the end, and yield what goes into the log: a record of each step and of each evaluation."""
        if self.state["step"] == 0:
            if not run_folder.checkpoints(self.out):
                self.save()                             # from here on there is something to resume
            yield self._evaluation()
        while not self.finished:
            records = [self._step()]
            step = self.state["step"]
            if step % self.plan.eval_every == 0 or step == self.plan.steps:
                records.append(self._evaluation())      # before the step's record is out: nobody stops in between
            if step % (self.plan.save_every or self.plan.eval_every) == 0 or self.finished:
                self.save()
            yield from records

    def save(self) -> None:
        """Write a checkpoint of the last step that has been done."""
        if self.world.rank == 0:
            run_folder.save(self.out, self.model, self.tokenizer, self.optimizer, self.state)

    def _step(self) -> dict:
        """One update.  Weights, moments and state stay as they were where the loss or the gradient is not finite."""
        plan, step, began = self.plan, self.state["step"], time.perf_counter()
        tokens, targets = self.batches.batch(step)
        loss, norm = self.parallel.loss_and_gradients((tokens, targets), plan.accumulate,
                                                      [plan.seed, FOR_DROPOUT, step])
        if not (math.isfinite(loss) and math.isfinite(norm)):
            where = first_not_finite(self.model, tokens)
            raise TrainingError(f"step {step + 1}: expected a finite loss and gradient, got loss {loss} and norm "
                                f"{norm}; what is not finite appeared first {where}: try a lower learning rate or a "
                                f"longer warm-up")
        lr = plan.lr_of(step)
        self.optimizer.step(lr, clip_scale(norm, plan.clip), self.parallel.run)
        self.state["step"] = step + 1
        seconds = time.perf_counter() - began
        return self._log({"step": step + 1, "loss": loss, "lr": lr, "norm": norm,
                          "tokens_per_second": round(tokens.size / seconds, 1)})

    def _evaluation(self) -> dict:
        """Measure, keep the model if it is the best one so far, and let it write."""
        state = self.state
        loss = evaluate(self.parallel, self.val, self.plan.context, self.plan.context)
        if not math.isfinite(loss):
            where = first_not_finite(self.model, np.array(self.val[None, :self.plan.context], np.int64))
            raise TrainingError(f"after step {state['step']}: expected a finite validation loss, got {loss}; what is "
                                f"not finite appeared first {where}: try a lower learning rate")
        if best := state["best_loss"] is None or loss < state["best_loss"]:
            if self.world.rank == 0:
                run_folder.save_best(self.out, self.model, self.tokenizer)
            state |= {"best_loss": loss, "best_step": state["step"], "evaluations_since_best": 0}
        else:
            state["evaluations_since_best"] += 1
        sample = {"sample": self._sample()} if self.plan.sample and self.world.rank == 0 else {}
        return self._log({"step": state["step"], "val_loss": loss, "best": best} | sample)

    def _sample(self) -> str:
        """A text that the model writes.  Its random numbers are its own: the run is the same without it."""
        rng = np.random.default_rng([self.plan.seed, FOR_SAMPLES, self.state["step"]])
        try:
            end = end_of(self.tokenizer)
            with threadpool_limits(self.plan.threads, "blas"):
                tokens = list(generate(self.model, [end], self.plan.sample, Sampler(TEMPERATURE, end_of_text=end), rng))
        except ValueError as error:                     # numbers that are finite on the validation text, but not here
            return f"({error})"
        return self.tokenizer.decode([token for token in tokens if token != end])

    def _log(self, record: dict) -> dict:
        if self.world.rank == 0:
            run_folder.append_log(self.out, record)
        return record
