"""Language modelling, the task of GPT-2: to predict each token of a text from those before it.

Chapter: S001 3.1.2; S002 2.3.
"""

import math
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np

from ..adapt.trimming import leave_out_heads, taken_out
from ..checkpoints import loading
from ..decoding import generate
from ..errors import Gpt2npError
from ..hints import Array
from ..memory import expect_room
from ..models.config import GPT2Config
from ..models.gpt2 import GPT2
from ..sampling import Sampler
from ..text.bpe import Tokenizer
from ..text.bpe_train import count_pieces, learn_merges, learn_vocabulary
from ..text.protocol import AnyTokenizer, end_of
from ..text.utf8 import expect_readable
from .adapting import NONE, AdaptableTask, AdaptPlan, adapt, base_of, expect_wide
from .batches import ORDERS, Batches, map_tokens, read_texts, windows_in, write_tokens
from .errors import TrainingError
from .evaluation import evaluate
from .mpi import Parallel
from .parallel import Batch
from .plan import SHARE, YES_OR_NO, at_least, one_of
from .schedules import NOAM, noam_peak
from .tasks import Progress

TRAIN, VAL = "train.tokens", "val.tokens"       # in the folder of a run
HELD_OUT = 0.1                  # the part of the text, its end, that is measured by where no other text is
TEMPERATURE = 0.8               # of the texts that a model writes while it is trained


@dataclass(frozen=True)
class LanguagePlan(AdaptPlan):
    """A run on texts."""

    batch: Annotated[int, at_least(1), "windows of text in a step"] = 16
    context: Annotated[int, at_least(1), "tokens in a window"] = 256
    order: Annotated[str, one_of(ORDERS), "windows at random places, or epochs, in which each window of the text comes "
                     "once"] = "windows"
    dropout: Annotated[float, SHARE, "the rate of dropout"] = 0.0
    recompute: Annotated[bool, YES_OR_NO, "need far less memory, and some more time: run each block again in the "
                         "backward pass"] = False
    sample: Annotated[int, at_least(0), "tokens of the text that the model writes at each evaluation, 0 for none"] = 60


class LanguageModelling(AdaptableTask):
    """A GPT-2 that learns texts.

    model, tokenizer   what is trained (with the plan's dropout and recompute), and what it comes with
    train, val         token ids (n,): to learn from, and to measure by
    plan               LanguagePlan

    raises             TrainingError for texts and sizes that do not fit together
    """

    name = "language modelling"
    plan_type = LanguagePlan
    data: ClassVar = (TRAIN, VAL)

    def __init__(self, model: GPT2, tokenizer: AnyTokenizer, train: Array, val: Array, plan: LanguagePlan):
        if plan.context > model.n_ctx:
            raise TrainingError(f"context: expected at most the model's n_ctx, {model.n_ctx}, got "
                                f"{plan.context}")
        if len(val) < 2:
            raise TrainingError(f"validation text: expected at least 2 tokens, got {len(val)}: give more text (--val)")
        self.batches = Batches(train, plan.batch, plan.context, plan.seed, plan.order)
        self.model, self.tokenizer, self.val, self.plan = model, tokenizer, val, plan
        model.unused = list(tokenizer.unused)           # its samples have none of them

    @classmethod
    def load(cls, folder: Path, out: Path, plan: LanguagePlan) -> "LanguageModelling":
        model, tokenizer = load_to_train(base_of(folder, plan), plan)
        task = cls(model, tokenizer, *tokens_of(out, tokenizer), plan)
        task.go_on_adapting(folder)
        return task

    @classmethod
    def expect_shares(cls, plan: LanguagePlan, processes: int) -> None:
        if plan.batch < processes:
            raise TrainingError(f"--batch: expected a window for each of the {processes} processes at least, got "
                                f"{plan.batch}")

    def batch(self, step: int) -> Batch:
        return self.batches.batch(step)

    def inputs(self, batch: Batch) -> Batch:
        return batch[:1]

    def evaluate(self, parallel: Parallel, progress: Progress) -> dict[str, float]:
        """The mean loss of all tokens of the text to measure by, in windows side by side."""
        return {"val_loss": evaluate(parallel, self.val, self.plan.context, self.plan.context, progress)}

    def sample(self, rng: np.random.Generator) -> str | None:
        """A text that the model writes."""
        if self.plan.sample == 0:
            return None
        try:
            end = end_of(self.tokenizer)
            tokens = list(generate(self.model, [end], self.plan.sample, Sampler(TEMPERATURE, end_of_text=end), rng))
        except Gpt2npError as error:                    # numbers that are finite on the validation text, but not here
            return f"({error})"
        return self.tokenizer.decode([token for token in tokens if token != end])


def load_to_train(name_or_path: str | Path, plan: LanguagePlan) -> tuple[GPT2, AnyTokenizer]:
    """A model and its tokenizer for training: with the plan's options, and in memory of its own: the files may go."""
    loaded, tokenizer = loading.load_with_tokenizer(name_or_path)
    expect_wide(name_or_path, loaded)
    model = GPT2(loaded.config, dropout=plan.dropout, recompute=plan.recompute)
    leave_out_heads(model, taken_out(loaded))
    for (_, p), (_, stored) in zip(model.named_parameters(), loaded.named_parameters()):
        p.value = np.array(stored.value, order="C")
    return model, tokenizer


def tokens_of(out: str | Path, tokenizer: AnyTokenizer) -> tuple[Array, Array]:
    """The token ids of a run: to learn from, and to measure by."""
    train = map_tokens(Path(out, TRAIN), tokenizer)
    if Path(out, VAL).exists():
        return train, map_tokens(Path(out, VAL), tokenizer)
    held_out = max(2, math.ceil(HELD_OUT * len(train)))
    return train[:len(train) - held_out], train[len(train) - held_out:]


# ---- how a run on texts begins


def new_task(out: str | Path, plan: LanguagePlan, files: Sequence[str], *, val: str | None = None,
             init_from: str | Path = "demo", config: GPT2Config | None = None,
             vocabulary: AnyTokenizer | None = None,
             fit: Collection[str] = (), epochs: float | None = None,
             warn: Callable[[str], None] | None = None) -> LanguageModelling:
    """The task of a new run, with its texts as tokens in the run's folder `out`, and its plan settled.

    files        to learn from; and val, to measure by: None for the end of those
    init_from    the model to go on from, a name or a path
    config       GPT2Config of a new model, which begins with random weights instead
    vocabulary   the new model's; None to learn config.n_vocab tokens from the texts
    fit          which of n_vocab, context and warmup may become less, where texts, model or steps are small
    epochs       how often the text is gone through; None for the plan's number of steps
    warn         is told what is to be said of the texts
    """
    tokenizer: AnyTokenizer
    if config is None:
        model, tokenizer = load_to_train(init_from, plan)
        expect_room_to_train(model.config, plan)
    else:
        tokenizer = vocabulary or learn(files, config.n_vocab, "n_vocab" in fit)
    write_tokens(Path(out, TRAIN), read_texts(files, warn, progress=True), tokenizer)
    if val is not None:
        write_tokens(Path(out, VAL), read_texts([val], warn, progress=True), tokenizer)
    tokens = tokens_of(out, tokenizer)
    if config is None:
        adapt(model, plan, tokens[0])
    width = (config or model.config).n_embd
    plan = fitted(plan, fit, len(tokens[0]), plan.context if config else model.n_ctx, width, epochs)
    if config is not None:
        config = replace(config, n_vocab=tokenizer.n_vocab, n_ctx=plan.context)
        model = GPT2(config, np.random.default_rng(plan.seed), plan.dropout, recompute=plan.recompute)
    task = LanguageModelling(model, tokenizer, *tokens, plan)
    task.begin_adapting(init_from if config is None else None)
    return task


def fitted(plan: LanguagePlan, fit: Collection[str], n: int, n_ctx: int, n_embd: int,
           epochs: float | None) -> LanguagePlan:
    """The plan for n tokens to learn from and a model of this width that sees n_ctx: see new_task."""
    if "context" in fit:
        plan = replace(plan, context=max(1, min(plan.context, n_ctx, n - 1)))
    if epochs is not None:
        plan = replace(plan, steps=max(1, math.ceil(epochs * windows_in(n, plan.context) / plan.batch)))
    if "warmup" in fit:
        plan = replace(plan, warmup=min(plan.warmup, plan.steps // 2))
    return replace(plan, lr=noam_peak(n_embd, plan.warmup)) if plan.schedule == NOAM else plan


def learn(files: Sequence[str], n_vocab: int, at_most: bool) -> Tokenizer:
    """A vocabulary of so many tokens, or, if that is allowed, of as many as the texts suffice for."""
    if at_most:
        return Tokenizer(learn_merges(count_pieces(files, progress=True), n_vocab - 257, progress=True))
    return learn_vocabulary(files, n_vocab, progress=True)


def expect_texts(files: Sequence[str], val: str | None, context: int | None, learn: bool) -> None:
    """TrainingError or OSError for texts of which it can be seen before they are read that they do not do.

    context  what the texts have to suffice for; None where it follows from them
    learn    whether a vocabulary is to be learned from them
    """
    some = (2 if val else 4, "") if context is None else (context + 1, ", or train with a shorter --context")
    for name, paths, least, other in ("text", files, *some), ("validation text", [val] if val else [], 2, " (--val)"):
        expect_readable(paths)
        there = paths and all(map(os.path.isfile, paths))           # what comes through a pipe, nobody knows yet
        if there and (size := sum(map(os.path.getsize, paths))) < least:
            raise TrainingError(f"{name}: expected at least {least:,} bytes, one or more for a token, got {size:,}: "
                                f"give more text{other}")
    for path in files if learn else []:
        if not os.path.isfile(path):
            raise TrainingError(f"{path}: expected a file, for the text is read twice, to learn a vocabulary and to "
                                "encode it; got a pipe: save it to a file, or name a --vocab")


def expect_room_to_train(config: GPT2Config, plan: LanguagePlan) -> None:
    """MemoryError where weights, gradients and activations cannot all be there, whatever is done to save memory.

    Two moments beside each weight, and a gradient for each thread; and of the tokens that are worked on at once, logits
    and what the blocks keep, 16 C each (docs/memory.md), or C where they are run again.  Where most is frozen, weights
    and logits alone.
    """
    most_is_frozen = bool(plan.train_only) or plan.adapt != NONE
    each = 1 if most_is_frozen else 3 + min(plan.threads, plan.batch)
    tokens = -(-plan.batch // plan.accumulate) * plan.context
    kept = config.n_vocab + (0 if most_is_frozen else 1 if plan.recompute else 16) * config.n_layer * config.n_embd
    expect_room(4 * (each * config.n_parameters + tokens * kept),
                f"training {config.n_parameters:,} parameters on {tokens:,} tokens at once")
