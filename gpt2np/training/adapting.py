"""Training few parameters: what a plan may ask for, how it is put into a model, and what a task does about it.

    AdaptPlan         the options of a command, and their rules
    AdaptableTask     a task with such a plan: what it saves is little, beside a base that stays where it is
    adapt             puts into a model what a plan asks for, before the task is made
    in_words          what it comes to
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from ..adapt.adalora import RankBudget, add_adalora
from ..adapt.adapter import add_adapters
from ..adapt.freezing import thaw, train_biases
from ..adapt.lora import add_lora
from ..adapt.narrow import scheme_of
from ..adapt.prefix import add_prefix
from ..adapt.replacing import AdaptError, added, replacements
from ..checkpoints import loading, safetensors
from ..checkpoints.adapters import read_about, read_adapter, write_adapter
from ..hints import Array
from ..layers.module import Module
from ..layers.paths import chosen
from .errors import TrainingError
from .plan import FOR_ADAPTERS, NAMES, POSITIVE, SHARE, YES_OR_NO, Plan, at_least, one_of
from .tasks import Task

NONE = "none"
METHODS = (NONE, "lora", "adalora", "adapter", "prefix", "bias")
WHOLE = "all"                                           # of --parts
RANKS_FILE = "ranks.safetensors"                        # what AdaLoRA remembers from step to step
MORE = 1.5                                              # times as many ranks as are left does AdaLoRA begin with

# What a plan has for some methods alone.
OF_METHODS = {"at": METHODS[1:5], "rank": METHODS[1:3], "alpha": METHODS[1:3], "rank_stabilised": ("lora",),
              "parts": ("lora",), "adapt_dropout": METHODS[1:3], "adapter_width": ("adapter",),
              "prefix_length": ("prefix",)}

# Where none is given: few parameters, which begin as if they were not there, take larger steps, a prefix the largest.
LEARNING_RATES = {"lora": 1e-3, "adalora": 1e-3, "adapter": 1e-3, "prefix": 1e-2, "bias": 1e-3}

# What those who thought of it say of how little is trained; of their models, not of this one.
CLAIMS = {
    "lora": "the paper has 0.35 of GPT-2 medium's 354.92 million",
    "adalora": "as many as LoRA of 1.5 times the rank at first; what is cut away then counts no longer",
    "adapter": "the paper's abstract says 3.6 %, and the chapter none at all",
    "prefix": "the paper's abstract says 0.1 %",
    "bias": "the paper says less than 0.1 % of BERT"}


@dataclass(frozen=True)
class AdaptPlan(Plan):
    """A run that may train few parameters, beside a base that stays as it is."""

    adapt: Annotated[str, one_of(METHODS), "train few parameters in a model that is frozen: low-rank matrices, small "
                     "MLPs, keys and values before the text, or its biases; where no --lr is given, it is 1e-3, of "
                     "prefix 1e-2"] = NONE
    at: Annotated[tuple[str, ...], NAMES, "where, component by component, as h.*.attn.c_attn, h.*.*.c_proj, h.*.attn; "
                  "may be given several times"] = ()
    rank: Annotated[int, at_least(1), "of lora, and of adalora in the end"] = 8
    alpha: Annotated[float, POSITIVE, "how much lora and adalora count, over the rank"] = 16.0
    rank_stabilised: Annotated[bool, YES_OR_NO, "lora's alpha over the root of the rank, and not over the rank"] = False
    parts: Annotated[str, one_of((WHOLE, "q", "k", "v", "qk", "qv", "kv", "qkv")), "what of c_attn lora is for, each "
                     "part by itself"] = WHOLE
    adapt_dropout: Annotated[float, SHARE, "the rate of dropout before lora and adalora"] = 0.0
    adapter_width: Annotated[int, at_least(1), "of the small MLPs of adapter"] = 64
    prefix_length: Annotated[int, at_least(1), "positions of prefix"] = 20
    thaw_every: Annotated[int, at_least(0), "begin with what is above the blocks, and train one block more, from the "
                          "top, each time after so many steps; 0 for all from the start"] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        chosen = {"adapt": self.adapt != NONE, "train_only": bool(self.train_only), "thaw_every": self.thaw_every > 0}
        if sum(chosen.values()) > 1:
            first, second, *_ = [f"--{name.replace('_', '-')}" for name, is_there in chosen.items() if is_there]
            raise TrainingError(f"{second[2:].replace('-', '_')}: expected only without {first}, which also says what "
                                "is trained, got both")
        if self.at and self.adapt in (NONE, "bias"):
            raise TrainingError("at: expected only with --adapt lora, adalora, adapter or prefix, got it without")
        for name, is_asked_for in (("parts", self.parts != WHOLE), ("rank_stabilised", self.rank_stabilised)):
            if is_asked_for and self.adapt != "lora":
                raise TrainingError(f"{name}: expected only with --adapt lora, got it without")


def usual_of(method: str | None) -> dict[str, float]:
    """What of a command's usual values is another one with --adapt; None: it was not given."""
    return {"lr": LEARNING_RATES[method]} if method in LEARNING_RATES else {}


def expect_wide(name_or_path: str | Path, model: Module) -> None:
    """TrainingError for a model whose matrices are narrow."""
    if scheme := scheme_of(model):
        raise TrainingError(f"--init-from {name_or_path}: expected a model to train, got one whose matrices are in "
                            f"{scheme}, which no gradient moves: name the model that it was made from")


def adapt(model: Module, plan: AdaptPlan, tokens: Array | None = None, besides: Sequence[str] = ()) -> None:
    """Add to a model what the plan asks for, and freeze the rest.  TrainingError for what cannot be.

    tokens    of the text that is learned from, for a GPT2: a prefix begins as that of its first ones
    besides   patterns of what is trained too, a new head: the file of what was trained holds it, for the base does not
    """
    if plan.adapt == NONE:
        return
    rng = np.random.default_rng([plan.seed, FOR_ADAPTERS])
    at: dict[str, Any] = {"paths": plan.at} if plan.at else {}
    try:
        if plan.adapt == "lora":
            parts = "" if plan.parts == WHOLE else plan.parts
            add_lora(model, r=plan.rank, alpha=plan.alpha, dropout=plan.adapt_dropout, parts=parts,
                     rank_stabilised=plan.rank_stabilised, rng=rng, **at)
        elif plan.adapt == "adalora":
            add_adalora(model, r=first_rank(plan), alpha=plan.alpha, dropout=plan.adapt_dropout, rng=rng, **at)
        elif plan.adapt == "adapter":
            add_adapters(model, width=plan.adapter_width, rng=rng, **at)
        elif plan.adapt == "prefix":
            first = None if tokens is None or len(tokens) < plan.prefix_length else tokens[:plan.prefix_length].tolist()
            add_prefix(model, length=plan.prefix_length, tokens=first, rng=rng, **at)
        elif plan.adapt == "bias":
            train_biases(model)
    except AdaptError as error:
        raise TrainingError(f"--adapt {plan.adapt}: {error}") from None
    parameters = dict(model.named_parameters())
    for path in chosen(besides, parameters):
        parameters[path].trainable = True


def first_rank(plan: AdaptPlan) -> int:
    """How many ranks a layer of AdaLoRA begins with."""
    return int(MORE * plan.rank) + 1 if plan.rank == 1 else int(MORE * plan.rank)


def budget_of(model: Module, plan: AdaptPlan) -> RankBudget | None:
    """AdaLoRA's, for the whole run: nothing is cut away in its first tenth, and all that is to be at its half.

    TrainingError for a run that is too short for it.
    """
    if plan.adapt != "adalora":
        return None
    try:
        return RankBudget(model, plan.rank, plan.steps, plan.steps // 10, plan.steps // 2, max(1, plan.steps // 100))
    except AdaptError as error:
        raise TrainingError(f"--adapt adalora: {error}") from None


class AdaptableTask(Task):
    """A task whose plan is an AdaptPlan: what stands here calls budget and thaw at their places, saves and loads.

    base     the name or path of the model that few parameters were added to
    budget   AdaLoRA's

    A new task: adapt, then the class, then begin_adapting as soon as its plan is settled.  One that goes on: a model
    loaded from base_of, then the class, then go_on_adapting.
    """

    tokenizer: Any
    base: str = ""
    budget: RankBudget | None = None

    def begin_adapting(self, init_from: str | Path | None) -> None:
        """Know the base, None for a model that is new; TrainingError where there is none, or for a run too short."""
        if self.plan.adapt == NONE:
            return
        if init_from is None:
            raise TrainingError(f"--adapt {self.plan.adapt}: expected --init-from with it, a model that has learned "
                                "something, for a new one's weights are random, and would stay so")
        is_name = init_from in loading.NAMES or not os.path.lexists(init_from)
        self.base = str(init_from) if is_name else os.path.abspath(init_from)
        self.budget = budget_of(self.model, self.plan)

    def go_on_adapting(self, folder: Path) -> None:
        """Add to the base what a checkpoint has.  The base may have been moved, but not changed: CheckpointError."""
        if self.plan.adapt == NONE:
            return
        self.base = base_of(folder, self.plan)
        read_adapter(folder, self.model)
        self.budget = budget_of(self.model, self.plan)
        if self.budget is not None:
            self.budget.restore(safetensors.read(folder / RANKS_FILE)[0])

    def save(self, folder: Path) -> None:
        """The model; or what is trained of it, and what AdaLoRA remembers."""
        if self.plan.adapt == NONE:
            loading.write_files(folder, loading.layout_of(self.model), self.model, self.tokenizer)
            return
        write_adapter(folder, self.model, self.base)
        if self.budget is not None:
            safetensors.write(folder / RANKS_FILE, self.budget.state())

    def before_step(self, step: int) -> None:
        if self.plan.thaw_every:
            thaw(self.model, step, self.plan.thaw_every)

    def before_update(self, step: int) -> float | None:
        return None if self.budget is None else self.budget.before_update()

    def after_update(self, step: int) -> None:
        if self.budget is not None:
            self.budget.after_update(step + 1)


def base_of(folder: Path, plan: AdaptPlan) -> str:
    """The model that a checkpoint in a folder goes on with: its own, or the one which its adapter names."""
    return str(folder) if plan.adapt == NONE else read_about(folder)["base"]


def in_words(model: Module, plan: AdaptPlan) -> str:
    """How many parameters are trained, of how many, by which formula; and what is said of it elsewhere."""
    new = added(model)
    trained = sum(p.value.size for _, p in model.named_parameters() if p.trainable)
    base = sum(p.value.size for path, p in model.named_parameters() if path not in new)
    formulas = Counter(map(formula_of, replacements(model).values()))
    terms = [f"{n} x {formula}" for formula, n in formulas.items()]
    besides = trained - sum(p.value.size for p in new.values())
    by = f" = {' + '.join(terms + [f'{besides:,} of its head'] * (besides > 0))}" if terms else ""
    return (f"{plan.adapt}: {trained:,}{by} parameters to train, {100 * trained / base:.2f} % of the model's {base:,}; "
            f"{CLAIMS[plan.adapt]}")


def formula_of(layer: Any) -> str:
    """How many parameters a layer adds, as a formula with its numbers."""
    if layer.kind == "lora":
        return " + ".join(f"{layer.r} ({layer.w.shape[0]:,} + {end - first:,})" for first, end in layer.columns)
    if layer.kind == "adalora":
        return f"{layer.r} ({layer.w.shape[0]:,} + {layer.w.shape[1]:,} + 1)"
    if layer.kind == "prefix":
        return f"2 x {layer.P} x {layer.prefix_k.shape[1]:,}"
    C = layer.adapter.up.w.shape[1]
    return f"(2 x {C:,} x {layer.width} + {layer.width} + {C:,})"
