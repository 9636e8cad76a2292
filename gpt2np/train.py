"""Train a GPT-2 on text files:  python -m gpt2np.train FILE... --out DIR

Without FILE it trains a small model for a few minutes on this package's own source, so that the command can be tried
on a machine without a network.  Ctrl-C saves; python -m gpt2np.train --resume DIR goes on as if nothing had happened.
With mpiexec -n 4 before it, four processes share each batch, on one machine or several: see training/mpi.py.

Chapter: S000 1.3.
"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.train")

import argparse
import math
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from . import model_names
from .checkpoints import loading
from .command import Parser, not_empty, option, real, run_command, whole
from .follow import follow
from .interrupts import leave
from .memory import keep_freed_memory
from .models.config import GPT2Config
from .plan_options import add_plan_options, make_plan
from .ranks import as_one, join_world
from .terminal import wrapped
from .training import adapting, run, run_folder
from .training.adapting import NONE
from .training.batches import EPOCHS
from .training.diagnosis import initial_loss_warning
from .training.language_modelling import (
    LanguageModelling,
    LanguagePlan,
    expect_room_to_train,
    expect_texts,
    new_task,
)
from .training.loop import Trainer
from .training.mpi import World

# What an option is that is not given: with FILE; without, a model that learns something in a few minutes; fine-tuning.
USUAL = {"steps": 2000, "n_layer": 6, "n_head": 8, "n_embd": 256, "n_vocab": 4096}
TRYING = {"steps": 300, "n_layer": 4, "n_head": 4, "n_embd": 128, "n_vocab": 1024, "context": 128, "eval_every": 50,
          "warmup": 100, "lr": 3e-3}
FINE_TUNING = {"steps": 500, "lr": 5e-5, "warmup": 20, "eval_every": 50, "sgd": {"lr": 0.01}}
ADAPTING_LR = 1e-3              # of few parameters, which begin as if they were not there
FITTED = ("n_vocab", "context", "warmup")       # what of it becomes less where text, model or run are small
LARGE = 10                      # parameters for each token to learn from, beyond which a model learns them by heart
NAMELESS = "files of text stand for themselves, as in: train plays.txt --out run"
KNOWN_AS = {"--vocabulary": "--vocab", "--vocab-size": "--n-vocab", "--batch-size": "--batch",
            "--learning-rate": "--lr", "--num-train-epochs": "--epochs", "--max-steps": "--steps",
            "--warmup-steps": "--warmup", "--eval-steps": "--eval-every", "--save-steps": "--save-every",
            "--block-size": "--context", "--gradient-accumulation-steps": "--accumulate", "--max-grad-norm": "--clip",
            "--lora-r": "--rank", "--lora-rank": "--rank", "--lora-alpha": "--alpha",
            "--lora-dropout": "--adapt-dropout", "--target-modules": "--at", "--num-virtual-tokens": "--prefix-length",
            "--output-dir": "--out", "--output": "--out", "-o": "--out", "--model": "--init-from", "-m": "--init-from",
            "--model-name-or-path": "--init-from", "--resume-from-checkpoint": "--resume", "--num-epochs": "--epochs",
            "--per-device-train-batch-size": "--batch", "--lr-scheduler-type": "--schedule", "--n-ctx": "--context",
            "--max-length": "--context", "--max-seq-length": "--context", "--validation-file": "--val",
            "--d-model": "--n-embd", "--hidden-size": "--n-embd", "--num-layers": "--n-layer",
            "--n-layers": "--n-layer", "--num-heads": "--n-head", "--n-heads": "--n-head",
            "--logging-steps": "each step is logged, in log.jsonl", "--train-file": NAMELESS, "--data": NAMELESS,
            "--input": NAMELESS, "--fp16": "expected none of that: in float32 a CPU is fast"}
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
        best = shlex.quote(str(Path(trainer.out, run_folder.BEST)))
        how = "--model" if trainer.plan.adapt == NONE else "--adapter"          # type: ignore[attr-defined]
        return follow(trainer, "train", f"python -m gpt2np.generate {how} {best}", partial(warning, trainer))


def prepare(options: argparse.Namespace, world: World, held: ExitStack) -> tuple[Trainer, list[str]]:
    """The run where it goes on, and what is to be said of it; rank 0 comes here first.

    held   gets the lock of the folder: no other process trains there until it is closed
    """
    if options.resume is not None:
        return run.resume(LanguageModelling, options.resume, world, held, options.steps, options.threads)
    files = options.files or sorted(map(str, Path(__file__).parent.rglob("*.py")))
    if world.rank == 0:
        context = None if "context" in options.fit else options.plan.context
        expect_texts(files, options.val, context, not (options.init_from or options.vocab))
        if not options.init_from:
            expect_room_to_train(options.config, options.plan)
    about = {"files": options.files, "val": options.val, "init_from": options.init_from}
    return run.begin(partial(make, options, files), LanguageModelling, options.plan, options.out, about, world,
                     held), []


def make(options: argparse.Namespace, files: Sequence[str]) -> LanguageModelling:
    """The task of a new run."""
    return new_task(options.out, options.plan, files, val=options.val,
                    init_from=model_names.find_model(options.init_from or "demo"), config=options.config,
                    vocabulary=model_names.vocabulary(options.vocab) if options.vocab else None, fit=options.fit,
                    epochs=options.epochs, warn=lambda words: print(wrapped(f"warning: {words}")))


def say(trainer: Trainer, changes: list[str]) -> None:
    """What is trained on what, and what has changed."""
    for change in changes:
        print(wrapped(change))
    plan: Any = trainer.plan
    task: Any = trainer.task
    config, size, world = task.model.config, len(task.batches.tokens), trainer.world
    n, trained = config.n_parameters, sum(p.value.size for _, p in task.model.named_parameters() if p.trainable)
    if plan.adapt != NONE:
        print(wrapped(adapting.in_words(task.model, plan)))
    which = f"{n:,} parameters" if trained == n else f"{trained:,} of {n:,} parameters to train"
    print(wrapped(f"{which}, and a vocabulary of {config.n_vocab:,} tokens; {size:,} tokens to learn from, "
                  f"{len(task.val):,} to measure by; a step sees {plan.batch:,} windows of {plan.context:,} tokens, "
                  f"{'on' if world.size > 1 else 'with'} {run.workers(world.size, plan.threads)}"), flush=True)
    if trainer.state["step"] == 0 and is_new(trainer) and n > LARGE * size:
        print(wrapped(f"warning: {n / size:,.0f} parameters for each token to learn from: such a model learns its text "
                      "by heart, and little of the language; more text helps, or a smaller model (--n-layer, --n-embd, "
                      "--n-vocab)"), flush=True)


def warning(trainer: Trainer, record: dict) -> str | None:
    """Of the loss before the first step."""
    return initial_loss_warning(record["val_loss"], trainer.task.model.config.n_vocab, is_new(trainer))


def is_new(trainer: Trainer) -> bool:
    """Whether a run began with random weights."""
    return run_folder.read_run(trainer.out).get("init_from") is None


def parse(arguments: Sequence[str] | None, threads: int) -> argparse.Namespace:
    """The arguments by their names, checked as far as they can be without reading a file; see settle for the rest."""
    parser = Parser(
        "train", usage="%(prog)s [FILE ...] --out DIR [OPTIONS]\n       %(prog)s --resume DIR [--steps N]",
        description="Train a GPT-2 on text files. In brackets: what holds where nothing is said.",
        epilog="Without FILE, a small model learns from this package's own source for a few minutes. "
               "With mpiexec -n N before it, N processes share each batch; that needs pip install 'gpt2np[mpi]'.",
        known_as=KNOWN_AS,
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
    parser.add_argument("--vocab", type=not_empty, metavar="NAME",
                        help="gpt2, demo, or a folder with encoder.json and vocab.bpe (learned from the text)")
    parser.add_argument("--n-vocab", type=whole(257), metavar="N",
                        help=f"learn a vocabulary of this many tokens from the text ({USUAL['n_vocab']}, or what the "
                             "text suffices for)")
    for name, what in SIZES.items():
        parser.add_argument(option(name), type=whole(1), metavar="N", help=f"{what} of a new model ({USUAL[name]})")
    of_any = add_plan_options(parser, LanguagePlan, USUAL)
    of_any.add_argument("--epochs", type=real, metavar="X",
                        help="in place of --steps: go through the text so often, with --order epochs")
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
    for first, others in (("init_from", ["vocab", "n_vocab", *SIZES]), ("vocab", ["n_vocab"]), ("steps", ["epochs"])):
        for other in others:
            if first in given and other in given:
                parser.error(f"expected either {option(first)} or {option(other)}, got both")
    if options.adapt not in (None, NONE) and not options.init_from:
        parser.error(f"--adapt {options.adapt}: expected --init-from with it, a model that has learned something, for "
                     "a new one's weights are random, and would stay so")
    if options.epochs is not None and not (math.isfinite(options.epochs) and options.epochs > 0):
        parser.error(f"--epochs: expected a number above 0, got {options.epochs}")
    try:
        settle(options, {"threads": threads} | given)
    except ValueError as error:
        name, _, problem = str(error).partition(":")
        parser.error(f"{option(name)}:{problem}")
    return options


def settle(options: argparse.Namespace, given: dict) -> None:
    """Put defaults where nothing is given, and add options.plan, options.config (None where no model is new), and
    options.fit: which of the defaults may become less.

    ValueError for numbers that cannot be.
    """
    usual: dict[str, Any] = FINE_TUNING if options.init_from else USUAL if options.files else TRYING
    if options.epochs is not None:
        usual = usual | {"order": EPOCHS}
    if options.adapt not in (None, NONE):
        usual = usual | {"lr": ADAPTING_LR}
    options.plan = make_plan(LanguagePlan, usual, given)
    options.fit = [name for name in FITTED if name not in given]
    sizes = usual | given
    options.config = None if options.init_from else GPT2Config(
        sizes["n_vocab"], options.plan.context, sizes["n_embd"], sizes["n_head"], sizes["n_layer"])


if __name__ == "__main__":
    leave(main())
