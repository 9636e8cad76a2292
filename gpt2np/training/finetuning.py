"""Fine-tuning: a model that has read texts, or a new small one, learns to give labels, numbers or answers.

A task is here what its examples are as rows of ids, what a prediction is, and how predictions are measured; the loop,
the folder of a run and the rest are those of every run.  What is predicted for an example whose text is longer than the
model sees comes from all the windows that it was cut into.

Chapter: S002 3.2.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np

from ..checkpoints import loading
from ..checkpoints.files import read_json
from ..hints import Array, Rng
from ..layers.module import Module
from ..models.bert import BERT
from ..models.config import BertConfig, GPT2Config
from ..models.gpt2 import GPT2
from ..models.heads import SOFTMAX, Classifier, Objective
from ..text.protocol import AnyTokenizer
from ..text.wordpiece import WordPiece
from .adapting import NONE, AdaptableTask, AdaptPlan, base_of, expect_wide
from .augmenting import Synonyms
from .by_length import ByLength
from .errors import TrainingError
from .findings import Findings
from .heads import put_head_on, what_is_new
from .label_rows import Row, padded
from .labelled import Repaired, Warn, read_examples
from .mpi import Parallel
from .parallel import Batch, DataParallel
from .plan import SHARE, YES_OR_NO, Plan, at_least, one_of
from .tasks import Progress, unseen

TRAIN, VAL, TEST, LABELS = "train.jsonl", "val.jsonl", "test.jsonl", "labels.json"     # in the folder of a run
NARROW = 512                    # widths below begin with Linear's own weights, and learn at higher rates
MAX_LABELS_BYTES = 1 << 20      # of the file that names them
F1, LOSS = BEST_BY = ("f1", "loss")


@dataclass(frozen=True)
class FineTuningPlan(AdaptPlan):
    """A run on labelled examples."""

    batch: Annotated[int, at_least(1), "rows in a step"] = 32
    context: Annotated[int, at_least(3), "positions of the longest row; a longer text is read in windows"] = 128
    best_by: Annotated[str, one_of(BEST_BY), "what says which model is the best, and when patience is at its end"
                       ] = LOSS
    dropout: Annotated[float, SHARE, "the rate of dropout, below the head too"] = 0.1
    recompute: Annotated[bool, YES_OR_NO, "need far less memory, and some more time: run each block again in the "
                         "backward pass"] = False
    sample: Annotated[int, at_least(0), "examples that are shown at each evaluation"] = 3


@dataclass(frozen=True)
class ChoicePlan(FineTuningPlan):
    """A run on texts with labels, or on questions."""

    best_by: Annotated[str, one_of(BEST_BY), "what says which model is the best, and when patience is at its end"
                       ] = F1


class Labels(NamedTuple):
    """The names of what a head answers, and whether each is true or not for itself."""
    names: Sequence[str]
    several: bool = False


class Encoded(NamedTuple):
    """One row of a batch, before padding: a window of an example.

    target    what it is to learn: a label for each id, or for the row
    example   whose window it is, by its number
    places    of words that count here: the number of the word, and where its first and its last piece stand in the row
    """
    row: Row
    target: Any
    example: int
    places: Sequence[tuple[int, int, int]] = ()


class FineTuning(AdaptableTask):
    """A model with a head that learns examples.

    model, tokenizer   what is trained (with the plan's dropout and recompute), and what it comes with
    labels             Labels: those of the head
    train, val         examples: to learn from, and to measure by; test, to be measured once, may be empty
    repaired           what was broken in their files, and was repaired
    plan               FineTuningPlan, or what a subclass has

    raises             TrainingError for examples and sizes that do not fit together

    A subclass says what its examples are as rows, what follows from logits, and how that is measured.
    """

    plan_type: ClassVar[type[Plan]] = FineTuningPlan
    data: ClassVar[tuple[str, ...]] = (TRAIN, VAL, TEST, LABELS)
    kind: ClassVar[Callable[..., Any]]                  # of examples
    head: ClassVar[type[Classifier]] = Classifier
    in_order: ClassVar[bool] = False                    # whether examples beside each other are of one text
    lower_case: ClassVar[bool] = True                   # whether a new vocabulary makes small letters of capitals
    repaired: Sequence[Repaired] = ()

    def __init__(self, model: Any, tokenizer: AnyTokenizer, labels: Labels, train: Sequence[Any], val: Sequence[Any],
                 plan: Any, test: Sequence[Any] = ()):
        if plan.context > model.n_ctx:
            raise TrainingError(f"context: expected at most the model's n_ctx, {model.n_ctx}, got {plan.context}")
        for name, examples in (("text", train), ("validation text", val)):
            if not examples:
                raise TrainingError(f"{name}: expected at least one example, got none: give more text"
                                    + " (--val)" * (name != "text"))
        self.model, self.tokenizer, self.labels, self.plan = model, tokenizer, labels, plan
        self.train, self.val, self.test = train, val, test
        self.best_by = "val_" + plan.best_by
        self.larger_is_better = plan.best_by == F1
        self.rows = self.encoded(train)
        self.batches = ByLength([len(one.row.ids) for one in self.rows], plan.batch, plan.seed)
        self.val_rows = self.encoded(val)

    @classmethod
    def for_use(cls, model: Any, tokenizer: AnyTokenizer, labels: Labels, plan: Any) -> Any:
        """A task without examples, whose model is not trained any more: `encoded` and `predicted` work."""
        task = cls.__new__(cls)
        task.model, task.tokenizer, task.labels, task.plan = model, tokenizer, labels, plan
        return task

    @classmethod
    def load(cls, folder: Path, out: Path, plan: Any) -> Any:
        stored = read_json(out / LABELS, MAX_LABELS_BYTES)
        labels = Labels(tuple(stored["names"]), stored["several"])
        with_its_own = plan.adapt != NONE       # what was trained has a head, so that of the base does not matter
        model, tokenizer, _ = cls.model_to_train(base_of(folder, plan), plan, labels, new_head=with_its_own)
        train, val, test = (read_examples(out / name, cls.kind) for name in (TRAIN, VAL, TEST))
        task = cls(model, tokenizer, labels, train, val, plan, test)
        task.repaired = [Repaired(*one) for one in stored.get("repaired", [])]
        task.go_on_adapting(folder)
        return task

    @classmethod
    def expect_shares(cls, plan: Any, processes: int) -> None:
        if plan.batch < processes:
            raise TrainingError(f"--batch: expected a row for each of the {processes} processes at least, got "
                                f"{plan.batch}")

    def batch(self, step: int) -> Batch:
        return self.batch_of([self.rows[i] for i in self.batches.rows(step)])

    def batch_of(self, rows: Sequence[Encoded]) -> Batch:
        """Rows as the model's loss takes them."""
        tokens, segments, mask = padded([one.row for one in rows], pad_of(self.tokenizer))
        return tokens, segments, mask, self.targets([one.target for one in rows], tokens.shape[1])

    def inputs(self, batch: Batch) -> Batch:
        return batch[:3]

    def tokens(self, batch: Batch) -> int:
        return int(batch[2].sum())

    def evaluate(self, parallel: Parallel, progress: Progress) -> dict[str, float]:
        """The mean loss of the examples to measure by, and what the predictions for them are worth."""
        loss, predictions = self.predicted(parallel, self.val, self.val_rows, progress)
        figures = self.figures(self.val, predictions)
        return {"val_loss": loss} | {f"val_{name}": value for name, value in figures.items()}

    def predicted(self, parallel: Parallel, examples: Sequence[Any], rows: Sequence[Encoded],
                  progress: Progress = unseen) -> tuple[float, list[Any]]:
        """The mean loss of some examples, and what the model predicts for each."""
        logits, loss, n = list[Any]([None]) * len(rows), 0.0, 0
        by_length = ByLength([len(one.row.ids) for one in rows], self.plan.batch, 0).each()
        for done, chosen in enumerate(by_length, 1):
            batch = self.batch_of([rows[i] for i in chosen])
            inputs, targets = batch[:3], batch[3]
            z = parallel.total(partial(logits_in_place, parallel.replicas[0], len(chosen)),
                               (*inputs, np.arange(len(chosen))))
            objective = self.model.objective
            with np.errstate(over="ignore", invalid="ignore"):      # found afterwards, in the loss
                loss += float(objective.forward(z, targets, counted=1)[0])
            n += objective.count(targets)
            for i, its in zip(chosen, z):
                logits[i] = its
            progress(done, len(by_length))
        groups: list[list[tuple[Encoded, Array]]] = [[] for _ in examples]
        for one, its in zip(rows, logits):
            groups[one.example].append((one, its))
        return loss / max(n, 1), [self.prediction(example, group) for example, group in zip(examples, groups)]

    def sample(self, rng: Rng) -> str | None:
        """Some examples to measure by, with what is predicted for them."""
        if self.plan.sample == 0:
            return None
        chosen = rng.choice(len(self.val), min(self.plan.sample, len(self.val)), replace=False)
        some = [self.val[i] for i in sorted(chosen)]
        with DataParallel(self.model, 1) as alone:
            _, predictions = self.predicted(alone, some, self.encoded(some))
        return "\n".join(self.shown(example, found) for example, found in zip(some, predictions))

    # ---- what a subclass says of its examples

    @classmethod
    def read(cls, path: str, plan: Any, warn: Warn, known: Labels | None = None) -> list[Any]:
        """The examples of a file; where labels are known, TrainingError for others, with file and line."""
        raise NotImplementedError

    @classmethod
    def made(cls, n: int, seed: int, language: str, part: str) -> list[Any]:
        """n examples that need no file, of a part: see made_up.py.  TrainingError where there are none of this kind."""
        raise TrainingError("FILE: expected one or more, got none: for this task no examples are made up")

    @classmethod
    def labels_of(cls, examples: Sequence[Any]) -> Labels:
        """The labels of examples, in alphabetical order; TrainingError where there is nothing to tell apart."""
        raise NotImplementedError

    @classmethod
    def labels_in(cls, example: Any) -> Sequence[str]:
        """The labels of one example."""
        return ()

    @classmethod
    def texts_of(cls, example: Any) -> list[str]:
        """The texts of an example: what a vocabulary is learned from."""
        return [text for text in example if isinstance(text, str)]

    @classmethod
    def first_tokens(cls, tokenizer: AnyTokenizer, examples: Sequence[Any], n: int) -> Array | None:
        """n tokens that a prefix begins with, of the examples; None where they are for a model with a head."""
        return None

    @classmethod
    def synonyms_for(cls, plan: Any, path: str | None, made: bool) -> Synonyms:
        """The synonyms that a run on examples needs, of a file, or, where the examples are made, of what they are made
        of; see augmenting.py.
        """
        return {}

    # ---- what a subclass says of its predictions

    def encoded(self, examples: Sequence[Any]) -> list[Encoded]:
        """Examples as rows: one or more of each."""
        raise NotImplementedError

    def targets(self, targets: Sequence[Any], T: int) -> Array:
        """What rows of T positions are to learn, as one array."""
        raise NotImplementedError

    def prediction(self, example: Any, windows: Sequence[tuple[Encoded, Array]]) -> Any:
        """What follows for an example from the logits of its windows."""
        raise NotImplementedError

    @classmethod
    def together(cls, labels: Sequence[Labels], predictions: Sequence[Sequence[Any]]) -> list[Any]:
        """What several models of this task say together of some examples, each of whose predictions are for its labels;
        the names are those of the first one.
        """
        raise NotImplementedError

    def loss_of(self, examples: Sequence[Any], predictions: Sequence[Any], of_rows: float) -> float:
        """The mean loss of examples as it follows from what is predicted; that of their rows, where it does not."""
        return of_rows

    def figures(self, examples: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
        """What predictions are worth, by name; "f1" among them where the best can be found by it."""
        raise NotImplementedError

    def shown(self, example: Any, prediction: Any) -> str:
        """A line about a prediction."""
        raise NotImplementedError

    def findings(self, examples: Sequence[Any], predictions: Sequence[Any], loss: float) -> Findings:
        """What there is to report of predictions."""
        raise NotImplementedError

    @classmethod
    def objective(cls, labels: Labels) -> Objective:
        """What the head is trained for."""
        return SOFTMAX

    @classmethod
    def new_model(cls, config: BertConfig | GPT2Config, labels: Labels, plan: Any) -> Any:
        """A model with random weights."""
        rng = np.random.default_rng(plan.seed)
        body: Any = GPT2(config, rng, plan.dropout, recompute=plan.recompute) if isinstance(config, GPT2Config) else \
            BERT(config, rng, plan.dropout, recompute=plan.recompute, std=None if config.n_embd < NARROW else 0.02,
                 pooler=False)
        return put_head_on(body, cls.head, labels.names, rng, objective=cls.objective(labels), dropout=plan.dropout,
                           recompute=plan.recompute)[0]

    @classmethod
    def model_to_train(cls, name_or_path: str | Path, plan: Any, labels: Labels, new_head: bool = False,
                       warn: Warn | None = None) -> tuple[Any, AnyTokenizer, list[str]]:
        """A model and its tokenizer for training: with the plan's options, and in memory of its own: the files may go;
        and the paths of what is made anew.

        new_head   True: a head that is there is not taken
        warn       is told what is made anew, and what is left out
        """
        loaded, tokenizer = loading.load_with_tokenizer(name_or_path, kind=Module)
        expect_wide(name_or_path, loaded)
        below: Any = loaded.body if new_head and isinstance(loaded, Classifier) else loaded
        try:
            model, new, left_out = put_head_on(
                below, cls.head, labels.names, np.random.default_rng(plan.seed), objective=cls.objective(labels),
                dropout=plan.dropout, recompute=plan.recompute)
        except TrainingError as error:
            hint = "; --new-head begins with a new head" if isinstance(below, Classifier) else ""
            raise TrainingError(f"--init-from {name_or_path}: {error}{hint}") from None
        if warn is not None and (said := what_is_new(str(name_or_path), new, left_out)):
            warn(said)
        return model, tokenizer, new


def logits_in_place(model: Any, B: int, share: Batch) -> Array:
    """(B, ...) float64: the logits of some rows of a batch, each in its place, and 0 for all others: they add."""
    *inputs, places = share
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):     # found afterwards, in the loss
        logits, _ = model.forward(*inputs, keep_cache=False)
    whole = np.zeros((B, *logits.shape[1:]))
    whole[places] = logits
    return whole


def pad_of(tokenizer: AnyTokenizer) -> int:
    """What a row is filled up with; nothing sees it."""
    return tokenizer.pad if isinstance(tokenizer, WordPiece) else 0
