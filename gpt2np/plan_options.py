"""The options of a command that trains, as they follow from the fields of a task's plan."""

import argparse
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from .command import MAX_THREADS, not_empty, option, real, whole
from .training.adapting import NONE, OF_METHODS
from .training.errors import TrainingError
from .training.optimizers import OPTIMIZERS
from .training.plan import NAMES, Plan, Setting, settings
from .training.schedules import NOAM, WITH_AN_END

SIZES = {"n_layer": "blocks", "n_head": "attention heads in a block", "n_embd": "width"}           # of a new model
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
            "--adam-beta1": "--beta1", "--adam-beta2": "--beta2", "--adam-epsilon": "--eps", "--optim": "--optimizer",
            "--save-total-limit": "--keep", "--early-stopping-patience": "--patience",
            "--warmup-ratio": "expected --warmup, in steps",
            "--bf16": "expected none of that: in float32 a CPU is fast",
            "--logging-steps": "each step is logged, in log.jsonl", "--train-file": NAMELESS, "--data": NAMELESS,
            "--input": NAMELESS, "--fp16": "expected none of that: in float32 a CPU is fast"}


def task_of(arguments: Sequence[str] | None, tasks: Collection[str]) -> str:
    """Which of the tasks --task names, which decides what other options there are; "" where it is none: the parser will
    say so.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--task", nargs="?")
    return known if (known := first.parse_known_args(arguments)[0].task) in tasks else ""


def add_plan_options(parser: argparse.ArgumentParser, plan_type: type[Plan],
                     usual: Mapping[str, Any]) -> argparse._ArgumentGroup:
    """An option for each field of a plan: those of the task's own, and those of any run in a group, which is returned.

    usual   defaults of the command, which --help shows in place of the plan's
    """
    of_any = parser.add_argument_group("how it is trained")
    names = {setting.name for setting in settings(Plan)}
    for setting in settings(plan_type):
        group = of_any if setting.name in names else parser
        group.add_argument(option(setting.name), help=help_of(setting, usual), **kind_of(setting))
    return of_any


def other_usual(plan_type: type[Plan], usual: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The options that have another default than --help shows of them, as they could be typed: "--steps 300".

    usual   what --help shows
    other   what holds, and under the name of an optimizer what holds with that
    """
    shown = {setting.name: setting.default for setting in settings(plan_type)} | dict(usual)
    found = [f"{option(name)} {value}" for name, value in other.items()
             if name in shown and value not in (None, shown[name])]
    return " ".join(found) + "".join(f" (with --optimizer {name} {other_usual(plan_type, usual, its)})"
                                     for name, its in other.items() if isinstance(its, dict))


def help_of(setting: Setting, usual: Mapping[str, Any]) -> str:
    """What --help says of a field of the plan, with what holds where nothing is said."""
    if setting.kind is bool or setting.rule is NAMES:
        return setting.meaning
    value = "all cores" if setting.name == "threads" else usual.get(setting.name, setting.default)
    others = [f"; {name}: {choice.usual[setting.name]}" for name, choice in OPTIMIZERS.items()
              if setting.name in choice.usual]
    return f"{setting.meaning} ({value}{''.join(others)})"


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


def make_plan(plan_type: type[Plan], usual: Mapping[str, Any], given: Mapping[str, Any]) -> Plan:
    """The plan of a new run, by what is given, and otherwise by the optimizer's and the command's defaults.

    TrainingError, which begins with the name of the field, for what cannot be, or does not go together.
    """
    optimizer = given.get("optimizer", usual.get("optimizer", plan_type.optimizer))
    for name in given:
        whose = [o for o, choice in OPTIMIZERS.items() if name in choice.options]
        if whose and optimizer in OPTIMIZERS and optimizer not in whose:
            raise TrainingError(f"{name}: expected only with --optimizer {' or '.join(whose)}, got it with {optimizer}")
    adapt = given.get("adapt", NONE)
    for name in given:
        if adapt not in (methods := OF_METHODS.get(name, (adapt,))):
            *others, last = methods
            raise TrainingError(f"{name}: expected only with --adapt {', '.join(others)}{' or ' * bool(others)}{last}, "
                                f"got it {'without' if adapt == NONE else f'with {adapt}'}")
    schedule = given.get("schedule", usual.get("schedule", plan_type.schedule))
    if "min_lr" in given and schedule not in WITH_AN_END:
        raise TrainingError(f"min_lr: expected only with --schedule {' or '.join(WITH_AN_END)}, which have an end, got "
                            f"it with {schedule}")
    if optimizer == "sgd" and given.get("clip") == 0 and "lr" not in given:
        raise TrainingError("lr: expected one with --optimizer sgd and --clip 0, for its steps are then as long as the "
                            "gradients, and no default fits those of every model")
    if given.get("schedule") == NOAM and "lr" in given:
        raise TrainingError("lr: expected none with --schedule noam, whose peak follows from width and warm-up, got "
                            f"{given['lr']}")
    values = {**usual, **OPTIMIZERS[optimizer].usual, **usual.get(optimizer, {}), **given}
    values |= {setting.name: tuple(values.get(setting.name, ())) for setting in settings(plan_type)
               if setting.rule is NAMES}
    return plan_type(**{setting.name: values[setting.name] for setting in settings(plan_type)
                        if setting.name in values})


# ---- what does not go together


def given_in(options: argparse.Namespace) -> dict[str, Any]:
    """The options that were given, by their names."""
    return {name: value for name, value in vars(options).items() if value not in (None, [])}


def expect_alone(parser: argparse.ArgumentParser, given: Mapping[str, Any], allowed: Sequence[str]) -> None:
    """End with a sentence where more is given beside --resume than may be changed of a run."""
    if others := ["FILE" if name == "files" else option(name) for name in given if name not in ("resume", *allowed)]:
        parser.error(f"beside --resume, expected no option but --steps and --threads, for a run goes on as it "
                     f"began; got {', '.join(others)}")


def expect_either(parser: argparse.ArgumentParser, given: Mapping[str, Any],
                  *pairs: tuple[str, Sequence[str]]) -> None:
    """End with a sentence where one option is given and another that does not go with it."""
    for first, rest in pairs:
        for other in rest:
            if first in given and other in given:
                parser.error(f"expected either {option(first)} or {option(other)}, got both")


def expect_sense(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End with a sentence where --epochs is no number above 0, or --adapt has no model to adapt."""
    if options.epochs is not None and not (math.isfinite(options.epochs) and options.epochs > 0):
        parser.error(f"--epochs: expected a number above 0, got {options.epochs}")
    if options.adapt not in (None, NONE) and not options.init_from:
        parser.error(f"--adapt {options.adapt}: expected --init-from with it, a model that has learned something, for "
                     "a new one's weights are random, and would stay so")
