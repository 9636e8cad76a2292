"""Texts, or pairs of them, with labels, or with numbers.

Chapter: S002 3.4.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np

from ..hints import Array, Rng
from ..layers.softmax import log_softmax_forward
from ..models.heads import SIGMOID, SOFTMAX, SQUARED, Objective
from ..text.label_reports import label_report, report, table
from ..text.protocol import AnyTokenizer
from .augmenting import Synonyms, read_synonyms, with_deletions, with_synonyms
from .errors import TrainingError
from .findings import PREDICTED, RIGHT, THE_MODEL, Both, Findings, Line, Mistake, confused, worst
from .finetuning import ChoicePlan, Encoded, FineTuning, FineTuningPlan, Labels
from .label_rows import Row, framed, room_in, windows
from .labelled import Classified, Valued, Warn, read_classified, read_valued
from .made_up import SYNONYMS, made_opinions
from .parallel import Batch
from .plan import FOR_CHANGES, SHARE

SYNONYMS_FILE = "synonyms.tsv"          # in the folder of a run
TINY = 1e-300                           # in place of a probability that is rounded to 0
TEXT = Both("text", "文本")
OF_LABELS = Both("Labels", "标签")


@dataclass(frozen=True)
class LabelsPlan(ChoicePlan):
    """A run on texts with labels."""

    label_smoothing: Annotated[float, SHARE, "how much of each target is spread over all labels, where one is right"
                               ] = 0.0
    replace_words: Annotated[float, SHARE, "the chance of each word that has synonyms to be replaced by one, each time "
                             "it is learned; see --synonyms"] = 0.0
    delete_words: Annotated[float, SHARE, "the chance of each word to be left out, each time it is learned"] = 0.0


class Choice(NamedTuple):
    """The labels that are predicted for a text, and how likely each label is."""
    labels: list[str]
    p: list[float]


class TextClassification(FineTuning):
    """Texts, or pairs of them, with a label, or with several.  Of a text in windows, their logits' mean decides."""

    name = "text classification"
    plan_type: ClassVar[type[FineTuningPlan]] = LabelsPlan
    kind: ClassVar[Callable[..., Any]] = Classified
    data: ClassVar[tuple[str, ...]] = (*FineTuning.data, SYNONYMS_FILE)

    def __init__(self, model: Any, tokenizer: AnyTokenizer, labels: Labels, train: Sequence[Any], val: Sequence[Any],
                 plan: Any, test: Sequence[Any] = ()):
        super().__init__(model, tokenizer, labels, train, val, plan, test)
        self.synonyms: Synonyms = {}
        if isinstance(plan, LabelsPlan):
            if plan.label_smoothing and labels.several:
                raise TrainingError("--label-smoothing: expected only where one label is right, got it for texts with "
                                    "several labels")
            model.label_smoothing = plan.label_smoothing

    @classmethod
    def load(cls, folder: Path, out: Path, plan: Any) -> Any:
        task = super().load(folder, out, plan)
        if (out / SYNONYMS_FILE).exists():
            task.synonyms = read_synonyms(out / SYNONYMS_FILE)
        return task

    @classmethod
    def synonyms_for(cls, plan: Any, path: str | None, made: bool) -> Synonyms:
        if path is not None:
            return read_synonyms(path)
        return SYNONYMS if made and isinstance(plan, LabelsPlan) and plan.replace_words else {}

    def batch(self, step: int) -> Batch:
        """As that of every task, of texts that are changed by [seed, step], where the plan asks for that."""
        plan = self.plan
        if not (isinstance(plan, LabelsPlan) and (plan.replace_words or plan.delete_words)):
            return super().batch(step)
        rng = np.random.default_rng([plan.seed, FOR_CHANGES, step])
        return self.batch_of([self.changed(int(i), rng) for i in self.batches.rows(step)])

    def changed(self, i: int, rng: Rng) -> Encoded:
        """Row i of those to learn from, made of a changed text; of one in windows, the same window, or its last."""
        one = self.rows[i]
        example, window = self.train[one.example], i
        while window and self.rows[window - 1].example == one.example:
            window -= 1
        first, second = (text and with_deletions(with_synonyms(text, self.synonyms, self.plan.replace_words, rng),
                                                 self.plan.delete_words, rng) for text in example[:2])
        rows = text_rows(self.tokenizer, first, second, self.plan.context)
        return one._replace(row=rows[min(i - window, len(rows) - 1)])

    @classmethod
    def read(cls, path: str, plan: Any, warn: Warn, known: Labels | None = None) -> list[Any]:
        return list(read_classified(path, known and known.names, known and known.several))

    @classmethod
    def labels_in(cls, example: Any) -> Sequence[str]:
        return list(example.labels)

    @classmethod
    def made(cls, n: int, seed: int, language: str, part: str) -> list[Any]:
        return list(made_opinions(n, seed, language, part))

    @classmethod
    def labels_of(cls, examples: Sequence[Any]) -> Labels:
        several = any(len(example.labels) != 1 for example in examples)
        names = sorted({label for example in examples for label in example.labels})
        if len(names) < 2 and not (several and names):
            got = " ".join(map(repr, names)) or "none"
            raise TrainingError(f"labels: expected at least two to tell apart, got {got} alone")
        return Labels(tuple(names), several)

    def encoded(self, examples: Sequence[Any]) -> list[Encoded]:
        found = []
        for number, example in enumerate(examples):
            target = self.target(example)
            found += [Encoded(row, target, number) for row in
                      text_rows(self.tokenizer, example.first, example.second, self.plan.context)]
        return found

    def target(self, example: Any) -> Any:
        """What the row of an example is to learn."""
        names = list(self.labels.names)
        return [float(name in example.labels) for name in names] if self.labels.several else \
            names.index(example.labels[0])

    def targets(self, targets: Sequence[Any], T: int) -> Array:
        return np.array(targets)

    def prediction(self, example: Any, windows: Sequence[tuple[Encoded, Array]]) -> Choice:
        z = np.mean([its for _, its in windows], axis=0)
        return chosen(self.labels, 1 / (1 + np.exp(-z)) if self.labels.several else np.exp(log_softmax_forward(z)[0]))

    @classmethod
    def together(cls, labels: Sequence[Labels], predictions: Sequence[Sequence[Any]]) -> list[Any]:
        """The mean of the probabilities, label by label, and what follows from it: see ensemble.py."""
        first = labels[0]
        order = [[its.names.index(name) for name in first.names] for its in labels]
        p = np.mean([[np.array(one.p)[its] for one in of_model] for its, of_model in zip(order, predictions)], axis=0)
        return [chosen(first, its) for its in p]

    def loss_of(self, examples: Sequence[Any], predictions: Sequence[Any], of_rows: float) -> float:
        """The mean of -log of how likely what is right is: of the label, or of the truth about each of several."""
        p = np.array([one.p for one in predictions])
        right = np.array([[name in one.labels for name in self.labels.names] for one in examples])
        return -float(np.log(np.maximum(np.where(right, p, 1 - p) if self.labels.several else p[right], TINY)).mean())

    def figures(self, examples: Sequence[Any], predictions: Sequence[Choice]) -> dict[str, float]:
        exact = sum(set(a.labels) == set(b.labels) for a, b in zip(examples, predictions)) / len(examples)
        its = report_of(self.labels, examples, predictions)
        return {"f1": (its.micro if self.labels.several else its.macro).f1, "accuracy": exact}

    def shown(self, example: Any, prediction: Choice) -> str:
        right, found = "|".join(example.labels), "|".join(prediction.labels)
        return f"{text_of(example)} -> {found}" + f" ({right})" * (found != right)

    def findings(self, examples: Sequence[Any], predictions: Sequence[Any], loss: float) -> Findings:
        names = list(self.labels.names)
        commonest = Counter(tuple(one.labels) for one in self.train).most_common(1)[0][0]
        always = [Choice(list(commonest), []) for _ in examples]
        scores = [(THE_MODEL, [*self.figures(examples, predictions).values(), loss]),
                  (Both(f"who always says {'|'.join(commonest) or 'nothing'}",
                        f"总说 {'|'.join(commonest) or '没有'}"), [*self.figures(examples, always).values(), np.nan])]
        wrong = []
        for example, its in zip(examples, predictions):
            if set(example.labels) != set(its.labels):
                p = [its.p[names.index(name)] for name in example.labels] or [0.0]
                sure = ", ".join(f"{name} {its.p[names.index(name)]:.0%}" for name in its.labels)
                wrong.append(Mistake([Line(TEXT, [(text_of(example), "")]),
                                      Line(RIGHT, [("|".join(example.labels), "")]), Line(PREDICTED, [(sure, "")])],
                                     -float(np.log(max(min(p), TINY)))))
        confusion = None if self.labels.several else confused(
            names, (one.labels[0] for one in examples), (one.labels[0] for one in predictions))
        of_labels = table({"": report_of(self.labels, examples, predictions)}).lstrip("\n")
        return Findings(("micro F1" if self.labels.several else "macro F1", "accuracy", "loss"), scores, len(examples),
                        len(wrong), [(OF_LABELS, of_labels)], names, confusion, worst(wrong))

    @classmethod
    def objective(cls, labels: Labels) -> Objective:
        return SIGMOID if labels.several else SOFTMAX


def chosen(labels: Labels, p: Array) -> Choice:
    """What follows from how likely each label is (K,): the likeliest one; where a text may have several, all above 1/2.
    """
    names = [name for name, its in zip(labels.names, p) if its > 0.5] if labels.several else \
        [labels.names[int(p.argmax())]]
    return Choice(names, p.tolist())


def report_of(labels: Labels, examples: Sequence[Any], predictions: Sequence[Choice]) -> Any:
    """The report of labels, one or several of each text."""
    gold, found = [one.labels for one in examples], [one.labels for one in predictions]
    if not labels.several:
        return label_report([its[0] for its in gold], [its[0] for its in found])
    return report(Counter(name for a, b in zip(gold, found) for name in set(a) & set(b)), Counter(chain(*found)),
                  Counter(chain(*gold)))


def text_of(example: Any) -> str:
    """The text of an example, or both."""
    return example.first if example.second is None else f"{example.first} / {example.second}"


def text_rows(tokenizer: AnyTokenizer, first: str, second: str | None, context: int) -> list[Row]:
    """A text as rows, in windows that share a half where it is too long; of two texts the longer one is cut."""
    ids = tokenizer.encode(first)
    if second is None:
        room = room_in(tokenizer, context)
        return [framed(tokenizer, ids[w.first:w.end]) for w in windows([1] * len(ids), room)]
    others, room = tokenizer.encode(second), room_in(tokenizer, context, 2)
    too_many = len(ids) + len(others) - room
    if too_many > 0:
        shorter = min(len(ids), len(others), room // 2)
        ids, others = (ids[:shorter], others[:room - shorter]) if len(ids) <= len(others) else \
            (ids[:room - shorter], others[:shorter])
    return [framed(tokenizer, ids, others)]


# ---- texts with numbers


class TextRegression(TextClassification):
    """Texts, or pairs of them, with a number: the squared error is what is learned by."""

    name = "text regression"
    plan_type: ClassVar[type[FineTuningPlan]] = FineTuningPlan
    kind: ClassVar[Callable[..., Any]] = Valued

    @classmethod
    def read(cls, path: str, plan: Any, warn: Warn, known: Labels | None = None) -> list[Any]:
        return list(read_valued(path))

    @classmethod
    def labels_in(cls, example: Any) -> Sequence[str]:
        return ()

    @classmethod
    def made(cls, n: int, seed: int, language: str, part: str) -> list[Any]:
        return FineTuning.made(n, seed, language, part)

    @classmethod
    def labels_of(cls, examples: Sequence[Any]) -> Labels:
        return Labels(("value",))

    def target(self, example: Valued) -> Any:
        return [example.value]

    def prediction(self, example: Any, windows: Sequence[tuple[Encoded, Array]]) -> Any:
        return float(np.mean([its for _, its in windows]))

    @classmethod
    def together(cls, labels: Sequence[Labels], predictions: Sequence[Sequence[Any]]) -> list[Any]:
        """The mean of the numbers."""
        return np.mean(predictions, axis=0).tolist()

    def loss_of(self, examples: Sequence[Any], predictions: Sequence[Any], of_rows: float) -> float:
        """The mean squared error."""
        return float(np.mean((np.array([one.value for one in examples]) - predictions) ** 2))

    def figures(self, examples: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
        gold, found = np.array([one.value for one in examples]), np.array(predictions)
        return {"pearson": correlation(gold, found), "spearman": correlation(ranks(gold), ranks(found))}

    def shown(self, example: Any, prediction: Any) -> str:
        return f"{text_of(example)} -> {prediction:.2f} ({example.value:g})"

    def findings(self, examples: Sequence[Any], predictions: Sequence[Any], loss: float) -> Findings:
        mean = float(np.mean([one.value for one in self.train]))
        gold, found = np.array([one.value for one in examples]), np.array(predictions)
        scores = [(THE_MODEL, [loss, *self.figures(examples, predictions).values()]),
                  (Both(f"who always says {mean:.3g}, the mean", f"总说平均值 {mean:.3g}"),
                   [float(((gold - mean) ** 2).mean()), np.nan, np.nan])]
        off = [Mistake([Line(TEXT, [(text_of(one), "")]), Line(RIGHT, [(f"{one.value:g}", "")]),
                        Line(PREDICTED, [(f"{its:.3f}", "")])], abs(one.value - its))
               for one, its in zip(examples, predictions)]
        far = int((abs(gold - found) > gold.std()).sum())
        findings = Findings(("loss", "Pearson", "Spearman"), scores, len(examples), far, mistakes=worst(off))
        findings.notes.append(Both("A number has a mistake if it is farther off than the right ones spread (their "
                                   "standard deviation).", "偏离超过一个标准差，就算出错。"))
        return findings

    @classmethod
    def objective(cls, labels: Labels) -> Objective:
        return SQUARED


def correlation(a: Array, b: Array) -> float:
    """Pearson's correlation; 0 where one of the two is constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale else 0.0


def ranks(values: Array) -> Array:
    """The rank of each value, from 0; equal ones share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse.reshape(-1)]
