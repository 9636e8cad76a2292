"""What a training command shows while a run goes on, and how Ctrl-C ends it: the same for every task."""

import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .terminal import folded, wrapped
from .training import run_folder
from .training.curve import write_curve
from .training.loop import Trainer, in_words

CURVE = "curve.html"


def follow(trainer: Trainer, command: str, remark: Callable[[dict], str | None]) -> int:
    """Train, and show how it goes; returns 0, or 130 where Ctrl-C ended it.

    command   the name of the command that goes on with the run
    remark    a warning by the record of the evaluation before the first step, or None
    """
    plan, state, world, task = trainer.plan, trainer.state, trainer.world, trainer.task
    with (trainer, Interrupt() as interrupt,
          tqdm(total=plan.steps, initial=state["step"], unit="step", disable=None) as bar):
        for record in trainer.run():
            show(record, bar)
            if "val_loss" in record:
                draw(trainer)
                if record["step"] == 0 and (warning := remark(record)):
                    bar.write(wrapped(f"warning: {warning}"))
            if any(world.gather(interrupt.asked)):      # all stop at the same record
                break
        trainer.save()
    draw(trainer)                                       # Ctrl-C may have come before the evaluation of the last step
    if not trainer.finished:
        launch = f"mpiexec -n {world.size} " * (world.size > 1)
        print(f"stopped after step {state['step']:,}, and saved. To go on:\n"
              f"    {launch}python -m gpt2np.{command} --resume {shlex.quote(str(trainer.out))}")
        return 130
    early = f", after {plan.patience} evaluations without a better one" if state["step"] < plan.steps else ""
    extreme = "highest" if task.larger_is_better else "lowest"
    print(wrapped(f"done after step {state['step']:,}{early}: the {extreme} {in_words(task.best_by)}, "
                  f"{state['best']:.4f}, came after step {state['best_step']:,}; that model is in "
                  f"{Path(trainer.out, run_folder.BEST)}"))
    return 0


def draw(trainer: Trainer) -> None:
    """The curve of the log so far, into the run's folder."""
    if trainer.world.rank == 0 and (records := run_folder.read_log(trainer.out)):
        write_curve(Path(trainer.out, CURVE), f"Loss of {trainer.out}", records)


def show(record: dict, bar: tqdm) -> None:
    """A record of the log as a line, if it is an evaluation, or at the end of the progress bar."""
    if "val_loss" in record:
        figures = ", ".join(f"{in_words(name)} {value:.4f}" for name, value in record.items() if type(value) is float)
        bar.write(f"step {record['step']:,}: {figures}{' (best)' * record['best']}")
        if record.get("sample"):
            bar.write(indented(record["sample"]))
        sys.stdout.flush()
    else:
        bar.set_postfix_str(f"loss {record['loss']:.3f}, lr {record['lr']:.2e}, gradient {record['norm']:.2f}, "
                            f"{record['tokens_per_second']:,.0f} tokens/s", refresh=False)
        bar.update()


def indented(text: str) -> str:
    """A text as lines of the terminal's width; what moves the cursor, or cannot be seen, as a dot."""
    width = shutil.get_terminal_size().columns
    lines = ["".join(c if c.isprintable() else "·" for c in line.expandtabs()) for line in text.splitlines()]
    return "\n".join(folded(line, width, "    ") if line else "" for line in lines)


class Interrupt:
    """In its context, Ctrl-C (and SIGTERM) sets `asked`, for the step to be finished; a second one acts as always."""

    def __enter__(self) -> "Interrupt":
        self.asked = False
        self.before: dict[int, Any] = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            self.before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        self.asked = True
        signal.signal(number, self.before[number])
