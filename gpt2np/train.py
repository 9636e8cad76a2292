"""Train a GPT-2 on text files:  python -m gpt2np.train FILE... --out DIR

Without FILE it trains a small model for a few minutes on this package's own source, so that the command can be tried
on a machine without a network.  Ctrl-C saves; python -m gpt2np.train --resume DIR goes on as if nothing had happened.
With mpiexec -n 4 before it, four processes share each batch, on one machine or several: see training/mpi.py.
"""

import argparse
import math
import os
import shlex
import shutil
import signal
import sys
import textwrap
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .checkpoints import loading
from .command import MAX_THREADS, Parser, not_empty, option, real, run_command, whole
from .hints import Array
from .memory import expect_room, keep_freed_memory
from .models.config import GPT2Config
from .models.gpt2 import GPT2
from .terminal import wrapped
from .text.bpe import Tokenizer
from .text.bpe_train import learn_vocabulary
from .text.protocol import AnyTokenizer
from .training import run_folder
from .training.batches import ORDERS, map_tokens, read_texts, write_tokens
from .training.curve import write_curve
from .training.diagnosis import initial_loss_warning
from .training.errors import TrainingError
from .training.loop import Plan, Trainer
from .training.mpi import World, join_world
from .training.schedules import SCHEDULES

CURVE = "curve.html"
HELD_OUT = 0.1                  # the part of the text, its end, that is measured by where no --val is given

# What an option is that is not given: with FILE; without, a model that learns something in a few minutes; fine-tuning.
USUAL = {"steps": 2000, "n_layer": 6, "n_head": 8, "n_embd": 256, "n_vocab": 4096}
TRYING = {"steps": 300, "n_layer": 4, "n_head": 4, "n_embd": 128, "n_vocab": 1024, "context": 128, "eval_every": 50,
          "warmup": 100, "lr": 3e-3}
FINE_TUNING = {"steps": 500, "lr": 5e-5, "warmup": 20, "eval_every": 50}
SIZES = {"n_layer": "blocks", "n_head": "attention heads in a block", "n_embd": "width"}

# Every option that is a field of Plan; what has to be a number above 0, Plan refuses.
HELP = {
    "steps": "updates of the weights", "batch": "windows of text in a step", "context": "tokens in a window",
    "accumulate": "pieces that each thread makes of its share of a batch, to need less memory",
    "order": "windows at random places, or epochs, in which each window of the text comes once",
    "lr": "the highest learning rate", "warmup": "steps until it is reached", "schedule": "what follows",
    "min_lr": "the learning rate at the end", "beta1": "how much of the mean of gradients AdamW keeps in a step",
    "beta2": "the same for the mean of their squares",
    "weight_decay": "how much of a weight AdamW takes away in a step, times the learning rate",
    "clip": "the highest norm of a gradient, 0 for no limit", "dropout": "the rate of dropout",
    "recompute": "need far less memory, and some more time: run each block again in the backward pass",
    "eval_every": "steps from one evaluation to the next",
    "save_every": "steps from one checkpoint to the next, 0 for one with each evaluation",
    "sample": "tokens of the text that the model writes at each evaluation, 0 for none",
    "patience": "end after this many evaluations without a better loss, 0 for never",
    "seed": "the number from which all random numbers follow", "threads": "how many share each batch, in each process",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(train, arguments)


def train(arguments: Sequence[str] | None) -> int:
    """Begin or resume the run that the arguments ask for, and train; on many processes, if mpiexec has started them."""
    with join_world() as world, ExitStack() as held:
        options = parse(arguments, world.cores())
        keep_freed_memory()
        return follow(world.together(prepare, options, world, held))


def prepare(options: argparse.Namespace, world: World, held: ExitStack) -> Trainer:
    """The run where it goes on; rank 0 comes here first, and makes or changes what the others read.

    held   gets the lock of the folder: no other process trains there until it is closed
    """
    return begin(options, world, held) if options.resume is None else resume(options, world, held)


def begin(options: argparse.Namespace, world: World, held: ExitStack) -> Trainer:
    """A new run, at its first checkpoint, the one before the first step."""
    expect_a_window_for_each(options.plan, world)
    out = options.out
    if world.rank == 0:
        expect_texts(options)
        if not options.init_from:
            expect_room_to_train(options.config, options.plan)
        run_folder.make(out)
        held.enter_context(run_folder.locked(out))
        make_run(options, world.size)
    plan = plan_of(out)
    checkpoint = run_folder.load(out, plan.dropout, plan.recompute)
    return Trainer.resume(checkpoint, *tokens_of(out, checkpoint.tokenizer), plan, out, world)


def resume(options: argparse.Namespace, world: World, held: ExitStack) -> Trainer:
    """A run at its last checkpoint, with what the options change."""
    out = options.resume
    if world.rank == 0:
        run_folder.read_run(out)                        # no lock is left in a folder that is not a run's
        held.enter_context(run_folder.locked(out))
    plan = plan_of(out)
    expect_a_window_for_each(plan, world)
    checkpoint = run_folder.load(out, plan.dropout, plan.recompute)
    tokens = tokens_of(out, checkpoint.tokenizer)
    if world.rank > 0:
        return Trainer.resume(checkpoint, *tokens, plan, out, world)
    new = changed(plan, options, checkpoint.state)
    trainer = Trainer.resume(checkpoint, *tokens, new, out, world)
    note_changes(out, plan, new, world.size, checkpoint.state["step"])
    return trainer


def expect_a_window_for_each(plan: Plan, world: World) -> None:
    """TrainingError where processes would have no share of a batch."""
    if plan.batch < world.size:
        raise TrainingError(f"--batch: expected a window for each of the {world.size} processes at least, got "
                            f"{plan.batch}")


def parse(arguments: Sequence[str] | None, threads: int) -> argparse.Namespace:
    """The arguments by their names, checked as far as they can be without reading a file; see settle for the rest."""
    parser = Parser(
        "train", usage="%(prog)s [FILE ...] --out DIR [OPTIONS]\n       %(prog)s --resume DIR [--steps N]",
        description="Train a GPT-2 on text files. In brackets: what holds where nothing is said.",
        epilog="Without FILE, a small model learns from this package's own source for a few minutes. "
               "With mpiexec -n N before it, N processes share each batch; that needs pip install 'gpt2np[mpi]'.",
        examples=("python -m gpt2np.train --out run", "python -m gpt2np.train --resume run --steps 600",
                  "python -m gpt2np.train plays.txt --out run --init-from demo"))
    parser.add_argument("files", nargs="*", type=not_empty, metavar="FILE",
                        help="text in UTF-8; <|endoftext|> in it ends a document")
    parser.add_argument("--out", type=not_empty, metavar="DIR",
                        help="a new folder for the run: checkpoints, the best model, the log")
    parser.add_argument("--resume", type=not_empty, metavar="DIR",
                        help="go on with the run in this folder; of the other options, only more --steps and --threads")
    parser.add_argument("--val", type=not_empty, metavar="FILE",
                        help="text to measure by (the last tenth of the text, which a vocabulary is learned from too)")
    parser.add_argument("--init-from", type=not_empty, metavar="MODEL",
                        help=f"fine-tune one of {', '.join(loading.NAMES)}, or the model in a folder")
    parser.add_argument("--vocabulary", type=not_empty, metavar="NAME",
                        help="gpt2, demo, or a folder with encoder.json and vocab.bpe (learned from the text)")
    parser.add_argument("--n-vocab", type=whole(257), metavar="N",
                        help=f"learn a vocabulary of this many tokens from the text ({USUAL['n_vocab']})")
    for name, what in SIZES.items():
        parser.add_argument(option(name), type=whole(1), metavar="N", help=f"{what} of a new model ({USUAL[name]})")
    at_least = {"steps": whole(1), "threads": whole(1, MAX_THREADS)}
    for field in fields(Plan):
        default = USUAL.get(field.name, field.default)
        kind, shown = type(default), "all cores" if field.name == "threads" else default
        choices = {"order": ORDERS, "schedule": SCHEDULES}.get(field.name)
        if kind is bool:
            parser.add_argument(option(field.name), action="store_true", default=None, help=HELP[field.name])
        elif choices:
            parser.add_argument(option(field.name), choices=choices, help=f"{HELP[field.name]} ({shown})")
        else:
            parser.add_argument(option(field.name), metavar="N" if kind is int else "X",
                                type=at_least.get(field.name, whole(0)) if kind is int else real,
                                help=f"{HELP[field.name]} ({shown})")
    options = parser.parse_args(arguments)
    given = {name: value for name, value in vars(options).items() if value not in (None, [])}
    if options.resume is not None:
        if others := ["FILE" if name == "files" else option(name) for name in given
                      if name not in ("resume", "steps", "threads")]:
            parser.error(f"beside --resume, expected no option but --steps and --threads, for a run goes on as it "
                         f"began; got {', '.join(others)}")
        return options
    if options.out is None:
        parser.error("expected --out DIR, a new folder for the run (or --resume DIR)")
    for first, others in ("init_from", ["vocabulary", "n_vocab", *SIZES]), ("vocabulary", ["n_vocab"]):
        for other in others:
            if first in given and other in given:
                parser.error(f"expected either {option(first)} or {option(other)}, got both")
    try:
        settle(options, {"threads": threads} | given)
    except ValueError as error:
        name, _, problem = str(error).partition(":")
        parser.error(f"{option(name)}:{problem}")
    return options


def settle(options: argparse.Namespace, given: dict) -> None:
    """Put defaults where nothing is given, and add options.plan, and options.config for a new model.

    ValueError for numbers that cannot be.
    """
    given = (FINE_TUNING if options.init_from else USUAL if options.files else TRYING) | given
    options.plan = Plan(**{field.name: given[field.name] for field in fields(Plan) if field.name in given})
    options.n_vocab = given.get("n_vocab")
    if not options.init_from:
        options.config = GPT2Config(given["n_vocab"], options.plan.context, given["n_embd"], given["n_head"],
                                    given["n_layer"])


def texts(options: argparse.Namespace) -> Sequence[str]:
    """The files to learn from."""
    return options.files or sorted(map(str, Path(__file__).parent.rglob("*.py")))


def expect_texts(options: argparse.Namespace) -> None:
    """TrainingError or OSError for texts of which it can be seen before they are read that they do not do."""
    for name, paths, least in (("text", texts(options), options.plan.context + 1),
                               ("validation text", [options.val] if options.val else [], 2)):
        if (size := size_of(paths)) is not None and size < least:
            raise TrainingError(f"{name}: expected at least {least:,} bytes, one or more for a token, got {size:,}: "
                                "give more text" + ", or train with a shorter context" * (name == "text"))
    if not (options.init_from or options.vocabulary):
        for path in texts(options):
            if not os.path.isfile(path):
                raise TrainingError(f"{path}: expected a file, for the text is read twice, to learn a vocabulary and "
                                    "to encode it; got a pipe: save it to a file, or name a --vocabulary")


def make_run(options: argparse.Namespace, processes: int) -> None:
    """Fill the folder of a new run: the text, and its first checkpoint. It is removed again if it comes to nothing."""
    plan, files = options.plan, texts(options)
    run_folder.write_run(options.out, {"plan": asdict(plan), "processes": processes, "files": options.files,
                                       "val": options.val, "init_from": options.init_from})
    try:
        if options.init_from:
            model, tokenizer = run_folder.load_to_train(options.init_from, plan.dropout, plan.recompute)
            expect_room_to_train(model.config, plan)
        else:
            tokenizer = vocabulary(options, files)
            config = GPT2Config(**asdict(options.config) | {"n_vocab": tokenizer.n_vocab})
            model = GPT2(config, np.random.default_rng(plan.seed), plan.dropout, recompute=plan.recompute)
        write_tokens(Path(options.out, run_folder.TRAIN), read_texts(files), tokenizer)
        if options.val:
            write_tokens(Path(options.out, run_folder.VAL), read_texts([options.val]), tokenizer)
        Trainer(model, tokenizer, *tokens_of(options.out, tokenizer), plan, options.out).save()
    except BaseException:
        shutil.rmtree(options.out, ignore_errors=True)
        raise


def expect_room_to_train(config: GPT2Config, plan: Plan) -> None:
    """MemoryError where weights, gradients and activations cannot all be there, whatever is done to save memory.

    Two moments beside each weight, and a gradient for each thread; and of the tokens that are worked on at once, logits
    and what the blocks keep, 16 C each (docs/memory.md), or C where they are run again.
    """
    tokens = -(-plan.batch // plan.accumulate) * plan.context
    kept = config.n_vocab + (1 if plan.recompute else 16) * config.n_layer * config.n_embd
    expect_room(4 * ((3 + min(plan.threads, plan.batch)) * config.n_parameters + tokens * kept),
                f"training {config.n_parameters:,} parameters on {tokens:,} tokens at once")


def size_of(paths: Iterable[str]) -> int | None:
    """How many bytes are in files; None where that is not known before they are read, as of a pipe, or for no files.

    OSError for what cannot be opened: it is said now, not after minutes of learning.
    """
    sizes = []
    for path in paths:
        if not Path(path).is_fifo():                    # whoever writes into a pipe ends when it is closed
            open(path, "rb").close()
        sizes.append(os.path.getsize(path) if os.path.isfile(path) else None)
    known = [size for size in sizes if size is not None]
    return sum(known) if sizes and len(known) == len(sizes) else None


def vocabulary(options: argparse.Namespace, files: Sequence[str]) -> Tokenizer:
    """The vocabulary that the options name, or one learned from the text."""
    if options.vocabulary is None:
        return learn_vocabulary(files, options.n_vocab, progress=True)
    if options.vocabulary == "gpt2":
        return Tokenizer.gpt2()
    return Tokenizer.load(loading.find(options.vocabulary))


def plan_of(out: str) -> Plan:
    """The plan of the run in a folder."""
    try:
        return Plan(**run_folder.read_run(out)["plan"])
    except (KeyError, TypeError) as error:
        raise TrainingError(f"{Path(out, run_folder.RUN)}: expected the plan of a run of this version, got something "
                            f"else ({error}): begin a new run; --init-from {Path(out, run_folder.BEST)} takes this "
                            "one's model") from None


def changed(plan: Plan, options: argparse.Namespace, state: dict) -> Plan:
    """The plan with what the options of a resumed run change; TrainingError for what cannot be."""
    given = {name: getattr(options, name) for name in ("steps", "threads")}
    new = replace(plan, **{name: value for name, value in given.items() if value is not None})
    if options.steps is not None:
        if new.steps <= plan.steps:
            raise TrainingError(f"--steps: expected more than the {plan.steps:,} that the run has, got {new.steps:,}")
        if 0 < plan.patience <= state["evaluations_since_best"]:
            raise TrainingError(f"--steps: the run ended at step {state['step']:,} because {plan.patience} evaluations "
                                "in a row brought no better loss; more steps do not change that")
    return new


def note_changes(out: str, plan: Plan, new: Plan, processes: int, step: int) -> None:
    """Say what a resumed run does differently after a step, and write it into run.json; nothing where nothing is."""
    run = run_folder.read_run(out)
    before = {"steps": plan.steps, "threads": plan.threads, "processes": run.get("processes", 1)}
    after = {"steps": new.steps, "threads": new.threads, "processes": processes}
    entry = {name: [before[name], after[name]] for name in before if before[name] != after[name]}
    if "steps" in entry:
        last = f", after {plan.lr_of(step - 1):.2e} in the last one" if step else ""
        print(wrapped(f"{new.steps:,} steps instead of {plan.steps:,}: the learning rate ({plan.schedule}) is from "
                      f"here on that of a run of {new.steps:,}: {new.lr_of(step):.2e} in the next step{last}"))
    if "threads" in entry or "processes" in entry:
        print(wrapped(f"{workers(processes, new.threads)} instead of {workers(before['processes'], plan.threads)}: "
                      "sums are taken in another order, and dropout draws other numbers, so from here on the run is no "
                      "longer, bit for bit, what it would have been"))
    if entry:
        changes = [*run.get("changes", []), {"after_step": step} | entry]
        run_folder.rewrite_run(out, run | {"plan": asdict(new), "processes": processes, "changes": changes})


def workers(processes: int, threads: int) -> str:
    """Who shares a batch, in words."""
    each = f"{threads} thread{'s' * (threads > 1)}"
    return each if processes == 1 else f"{processes} processes with {each} each"


def tokens_of(out: str, tokenizer: AnyTokenizer) -> tuple[Array, Array]:
    """The token ids of a run: to learn from, and to measure by."""
    train = map_tokens(Path(out, run_folder.TRAIN), tokenizer)
    if Path(out, run_folder.VAL).exists():
        return train, map_tokens(Path(out, run_folder.VAL), tokenizer)
    held_out = math.ceil(HELD_OUT * len(train))
    return train[:len(train) - held_out], train[len(train) - held_out:]


def follow(trainer: Trainer) -> int:
    """Train, and show how it goes; returns 0, or 130 where Ctrl-C ended it."""
    plan, state, config, world = trainer.plan, trainer.state, trainer.model.config, trainer.world
    print(wrapped(f"{config.n_parameters:,} parameters, {len(trainer.batches.tokens):,} tokens to learn from, "
                  f"{len(trainer.val):,} to measure by (in windows side by side: those of gpt2np.evaluate overlap, and "
                  f"give a lower loss); a step sees {plan.batch * plan.context:,} tokens, "
                  f"{'on' if world.size > 1 else 'with'} {workers(world.size, plan.threads)}"), flush=True)
    with (trainer, Interrupt() as interrupt,
          tqdm(total=plan.steps, initial=state["step"], unit="step", disable=None) as bar):
        for record in trainer.run():
            show(record, bar)
            if "val_loss" in record:
                draw(trainer)
            if record["step"] == 0 and is_new(trainer.out) and (
                    warning := initial_loss_warning(record["val_loss"], config.n_vocab)):
                bar.write(wrapped(f"warning: {warning}"))
            if any(world.gather(interrupt.asked)):      # all stop at the same record
                break
        trainer.save()
    draw(trainer)                                       # Ctrl-C may have come before the evaluation of the last step
    if not trainer.finished:
        launch = f"mpiexec -n {world.size} " * (world.size > 1)
        print(f"stopped after step {state['step']:,}, and saved. To go on:\n"
              f"    {launch}python -m gpt2np.train --resume {shlex.quote(str(trainer.out))}")
        return 130
    early = f", after {plan.patience} evaluations without a better one" if state["step"] < plan.steps else ""
    print(wrapped(f"done after step {state['step']:,}{early}: the lowest validation loss, {state['best_loss']:.4f}, "
                  f"came after step {state['best_step']:,}; that model is in {Path(trainer.out, run_folder.BEST)}"))
    return 0


def draw(trainer: Trainer) -> None:
    """The curve of the log so far, into the run's folder."""
    if trainer.world.rank == 0 and (records := run_folder.read_log(trainer.out)):
        write_curve(Path(trainer.out, CURVE), f"Loss of {trainer.out}", records)


def show(record: dict, bar: tqdm) -> None:
    """A record of the log as a line, if it is an evaluation, or at the end of the progress bar."""
    if "val_loss" in record:
        bar.write(f"step {record['step']:,}: validation loss {record['val_loss']:.4f}{' (best)' * record['best']}")
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
    return "\n".join(textwrap.fill(line, width, initial_indent="    ", subsequent_indent="    ") for line in lines)


def is_new(out: str | Path) -> bool:
    """Whether a run began with random weights."""
    return run_folder.read_run(out).get("init_from") is None


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


if __name__ == "__main__":
    sys.exit(main())
