"""Train a GPT-2 on text files:  python -m gpt2np.train FILE... --out DIR

Without FILE it trains a small model for a few minutes on this package's own source, so that the command can be tried
on a machine without a network.  Ctrl-C saves; python -m gpt2np.train --resume DIR goes on as if nothing had happened.
With mpiexec -n 4 before it, four processes share each batch, on one machine or several: see training/mpi.py.

Chapter: S000 1.3.
"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.train")

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from .checkpoints import loading
from .command import MAX_THREADS, Parser, not_empty, option, real, run_command, whole
from .follow import follow
from .interrupts import leave
from .memory import keep_freed_memory
from .models.config import GPT2Config
from .ranks import as_one, join_world
from .terminal import wrapped
from .training import run, run_folder
from .training.diagnosis import initial_loss_warning
from .training.errors import TrainingError
from .training.language_modelling import (
    LanguageModelling,
    LanguagePlan,
    expect_room_to_train,
    expect_texts,
    new_task,
)
from .training.loop import Trainer
from .training.mpi import World
from .training.optimizers import OPTIMIZERS
from .training.plan import Plan, Setting, settings

# What an option is that is not given: with FILE; without, a model that learns something in a few minutes; fine-tuning.
USUAL = {"steps": 2000, "n_layer": 6, "n_head": 8, "n_embd": 256, "n_vocab": 4096}
TRYING = {"steps": 300, "n_layer": 4, "n_head": 4, "n_embd": 128, "n_vocab": 1024, "context": 128, "eval_every": 50,
          "warmup": 100, "lr": 3e-3}
FINE_TUNING = {"steps": 500, "lr": 5e-5, "warmup": 20, "eval_every": 50}
FINE_TUNING_BY_SGD = {"lr": 0.01}
SIZES = {"n_layer": "blocks", "n_head": "attention heads in a block", "n_embd": "width"}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(train, arguments)


def train(arguments: Sequence[str] | None) -> int:
    """Begin or resume the run that the arguments ask for, and train; on many processes, if mpiexec has started them."""
    with as_one(join_world()) as world, ExitStack() as held:
        options = parse(arguments, world.cores())
        keep_freed_memory()
        trainer, changes = world.together(prepare, options, world, held)
        say(trainer, changes)
        return follow(trainer, "train", partial(warning, trainer))


def prepare(options: argparse.Namespace, world: World, held: ExitStack) -> tuple[Trainer, list[str]]:
    """The run where it goes on, and what is to be said of it; rank 0 comes here first.

    held   gets the lock of the folder: no other process trains there until it is closed
    """
    if options.resume is not None:
        return run.resume(LanguageModelling, options.resume, world, held, options.steps, options.threads)
    files = options.files or sorted(map(str, Path(__file__).parent.rglob("*.py")))
    if world.rank == 0:
        expect_texts(files, options.val, options.plan, not (options.init_from or options.vocabulary))
        if not options.init_from:
            expect_room_to_train(options.config, options.plan)
    make = partial(new_task, options.out, options.plan, files, val=options.val, init_from=options.init_from,
                   config=options.config, vocabulary=options.vocabulary)
    about = {"files": options.files, "val": options.val, "init_from": options.init_from}
    return run.begin(make, LanguageModelling, options.plan, options.out, about, world, held), []


def say(trainer: Trainer, changes: list[str]) -> None:
    """What is trained on what, and what has changed."""
    for change in changes:
        print(wrapped(change))
    plan: Any = trainer.plan
    task: Any = trainer.task
    world = trainer.world
    n = task.model.config.n_parameters
    trained = sum(p.value.size for _, p in task.model.named_parameters() if p.trainable)
    which = f"{n:,} parameters" if trained == n else f"{trained:,} of {n:,} parameters to train"
    print(wrapped(f"{which}, {len(task.batches.tokens):,} tokens to learn from, {len(task.val):,} to measure by (in "
                  "windows side by side: those of gpt2np.evaluate overlap, and give a lower loss); a step sees "
                  f"{plan.batch * plan.context:,} tokens, {'on' if world.size > 1 else 'with'} "
                  f"{run.workers(world.size, plan.threads)}"), flush=True)


def warning(trainer: Trainer, record: dict) -> str | None:
    """Of the loss of a model with random weights."""
    if run_folder.read_run(trainer.out).get("init_from") is not None:
        return None
    return initial_loss_warning(record["val_loss"], trainer.task.model.config.n_vocab)


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
    of_run = parser.add_argument_group("how it is trained")
    for setting in settings(LanguagePlan):
        group = of_run if setting.name in {s.name for s in settings(Plan)} else parser
        group.add_argument(option(setting.name), help=help_of(setting), **kind_of(setting))
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
    optimizer = given.get("optimizer", LanguagePlan.optimizer)
    for name in given:
        whose = [o for o, choice in OPTIMIZERS.items() if name in choice.options]
        if whose and optimizer not in whose:
            parser.error(f"{option(name)}: expected only with --optimizer {' or '.join(whose)}, got it with "
                         f"{optimizer}")
    try:
        settle(options, {"threads": threads} | given)
    except ValueError as error:
        name, _, problem = str(error).partition(":")
        parser.error(f"{option(name)}:{problem}")
    return options


def help_of(setting: Setting) -> str:
    """What --help says of a field of the plan, with what holds where nothing is said."""
    if setting.kind is bool or setting.name == "train_only":
        return setting.meaning
    usual = "all cores" if setting.name == "threads" else USUAL.get(setting.name, setting.default)
    others = [f"; {name}: {choice.usual[setting.name]}" for name, choice in OPTIMIZERS.items()
              if setting.name in choice.usual]
    return f"{setting.meaning} ({usual}{''.join(others)})"


def kind_of(setting: Setting) -> dict[str, Any]:
    """The option of a field of the plan, as argparse asks for it; for numbers with a point, the plan has the rule."""
    if setting.kind is bool:
        return {"action": "store_true", "default": None}
    if setting.kind is int:
        most = MAX_THREADS if setting.name == "threads" else None
        return {"metavar": "N", "type": whole(setting.rule.least or 0, most)}
    if setting.kind is float:
        return {"metavar": "X", "type": real}
    if setting.rule.choices:
        return {"choices": setting.rule.choices}
    return {"metavar": "PATTERN", "action": "append", "type": not_empty}


def settle(options: argparse.Namespace, given: dict) -> None:
    """Put defaults where nothing is given, and add options.plan, and options.config: None where none is new.

    ValueError for numbers that cannot be.
    """
    optimizer = given.get("optimizer", LanguagePlan.optimizer)
    if optimizer == "sgd" and given.get("clip") == 0 and "lr" not in given:
        raise TrainingError("lr: expected one with --optimizer sgd and --clip 0, for its steps are then as long as the "
                            "gradients, and no default fits those of every model")
    usual = FINE_TUNING if options.init_from else USUAL if options.files else TRYING
    usual = usual | OPTIMIZERS[optimizer].usual
    if options.init_from and optimizer == "sgd":
        usual |= FINE_TUNING_BY_SGD
    given = usual | given
    given["train_only"] = tuple(given.get("train_only", ()))
    options.plan = LanguagePlan(**{s.name: given[s.name] for s in settings(LanguagePlan) if s.name in given})
    options.config = None
    if not options.init_from:
        options.config = GPT2Config(given["n_vocab"], options.plan.context, given["n_embd"], given["n_head"],
                                    given["n_layer"])


if __name__ == "__main__":
    leave(main())
