"""What a training command shows while a run goes on, and how Ctrl-C ends it: the same for every task."""

import contextlib
import errno
import os
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tqdm import tqdm

from .interrupts import Signals
from .terminal import folded, terminal_width, wrapped
from .training import run_folder
from .training.curve import write_curve
from .training.loop import CHANGE, EVALUATION, Trainer, in_words

CURVE = "curve.html"
BAR = "{desc}{percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"   # what is wanted first, first


def follow(trainer: Trainer, command: str, afterwards: str, remark: Callable[[dict], str | None]) -> int:
    """Train, and show how it goes; returns 0, or 130 where Ctrl-C has ended it, 143 where SIGTERM has.

    command     the name of the command that goes on with the run
    afterwards  the line by which the best model is used when it is done
    remark      a warning by the record of the evaluation before the first step, or None

    OSError for a full disk says what is safe.
    """
    try:
        return _follow(trainer, command, afterwards, remark)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        kept = run_folder.checkpoints(trainer.out)
        safe = f"{kept[-1].name} in it is whole: make room, and go on by: {resuming(trainer, command)}" if kept else \
            "nothing was kept: make room, and begin anew"
        raise OSError(error.errno, f"{error.strerror}; {safe}", str(trainer.out)) from None


def resuming(trainer: Trainer, command: str) -> str:
    """The line by which the run goes on."""
    launch = f"mpiexec -n {trainer.world.size} " * (trainer.world.size > 1)
    return f"{launch}python -m gpt2np.{command} --resume {shlex.quote(str(trainer.out))}"


def _follow(trainer: Trainer, command: str, afterwards: str, remark: Callable[[dict], str | None]) -> int:
    plan, state, world, task = trainer.plan, trainer.state, trainer.world, trainer.task
    with Interrupt(trainer) as interrupt:
        try:
            with trainer, tqdm(total=plan.steps, initial=state["step"], unit="step", disable=None,
                               bar_format=BAR) as bar:
                for record in trainer.run(partial(show_progress, interrupt, bar)):
                    show(record, bar)
                    if "val_loss" in record:
                        draw(trainer)
                        if record["step"] == 0 and (warning := remark(record)):
                            bar.write(wrapped(f"warning: {warning}"))
                    if interrupt.anywhere():            # all ranks stop at the same record
                        break
        except Stopped:
            pass
        except KeyboardInterrupt:
            if world.size > 1:                          # the other ranks are elsewhere
                trainer.save()
                raise
        trainer.save()
        interrupt.over = True
        draw(trainer)                                   # Ctrl-C may have come before the evaluation of the last step
        if not trainer.finished:
            print(f"stopped after step {state['step']:,}, and saved. To go on:\n    {resuming(trainer, command)}",
                  flush=True)
            return 128 + interrupt.number
    early = f", after {plan.patience} evaluations without a better one" if state["step"] < plan.steps else ""
    extreme = "highest" if task.larger_is_better else "lowest"
    print(wrapped(f"done after step {state['step']:,}{early}: the {extreme} {in_words(task.best_by)}, "
                  f"{state['best']:.4f}, came after step {state['best_step']:,}; that model is in "
                  f"{Path(trainer.out, run_folder.BEST)}"))
    print(f"How it went, as a picture:\n    {Path(trainer.out, CURVE)}\nTo use it:\n    {afterwards}")
    return 0


def show_progress(interrupt: "Interrupt", bar: tqdm, done: int, of: int) -> None:
    """How far an evaluation is, on the progress bar; it is left here where Ctrl-C was pressed."""
    bar.set_postfix_str(f"measuring, {done:,} of {of:,}")
    if interrupt.anywhere():
        raise Stopped


def draw(trainer: Trainer) -> None:
    """The curve of the log so far, into the run's folder."""
    if trainer.world.rank == 0 and (records := run_folder.read_log(trainer.out)):
        write_curve(Path(trainer.out, CURVE), f"Loss of {trainer.out}", records)


def show(record: dict, bar: tqdm) -> None:
    """A record of the log as a line, if it is an evaluation, or at the end of the progress bar."""
    if "val_loss" in record:
        figures = ", ".join(f"{in_words(name)} {value:.4f}" for name, value in record.items() if type(value) is float)
        untrained = ", before anything is learned here" if record["step"] == 0 else ""
        bar.write(wrapped(f"step {record['step']:,}: {figures}{' (best)' * record['best']}{untrained}"))
        if record.get("sample"):
            bar.write(indented(record["sample"]))
        sys.stdout.flush()
    else:
        bar.set_description_str(f"loss {record['loss']:.3f} ", refresh=False)
        bar.set_postfix_str(f"lr {record['lr']:.1e}, gradient {record['norm']:.2f}, "
                            f"{record['tokens_per_second']:,.0f} tokens/s", refresh=False)
        bar.update()


def indented(text: str) -> str:
    """A text as lines of the terminal's width; what moves the cursor, or cannot be seen, as a dot."""
    width = terminal_width()
    lines = ["".join(c if c.isprintable() else "·" for c in line.expandtabs()) for line in text.splitlines()]
    return "\n".join(folded(line, width, "    ") if line else "" for line in lines)


class Stopped(Exception):
    """All ranks leave an evaluation, at the same place."""


class Interrupt(Signals):
    """In its context, Ctrl-C and SIGTERM stop a run without the loss of a step that was done.

    The first one lets a step be finished, and says so at once; an evaluation is left, for it is made when the run is
    resumed.  A second one leaves the step, too.  What changes weights or files is always finished.

    number   of the signal that has come, on any rank; 0 while there is none
    over     True: whatever comes now comes too late, and changes nothing
    """

    def __init__(self, trainer: Trainer):
        self.trainer, self.number, self.asked, self.over = trainer, 0, 0, False

    def anywhere(self) -> bool:
        """Whether it is to stop here, since a signal has come to any of the ranks, which all ask at the same place."""
        self.number = max(self.trainer.world.gather(self.asked))
        return self.number > 0

    def came(self, number: int) -> None:
        if self.over:
            return
        doing, alone, again = self.trainer.doing, self.trainer.world.size == 1, self.asked > 0
        self.number = self.asked = number
        if doing != CHANGE and (again or (alone and doing == EVALUATION)):
            raise KeyboardInterrupt
        if not again:
            say_now("stopping after this step, which will be saved; once more: at once, with the step before it")


def say_now(sentence: str) -> None:
    """Write to standard error from within a signal, where print could meet itself."""
    with contextlib.suppress(OSError, ValueError, AttributeError):      # a notebook's has no descriptor
        os.write(sys.stderr.fileno(), f"{chr(10) * sys.stderr.isatty()}{sentence}\n".encode())
