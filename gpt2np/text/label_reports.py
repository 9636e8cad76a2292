"""Reports of labels: how many names, words or texts a model labelled as they should be.

    precision = right / predicted     recall = right / support     F1 = 2 right / (predicted + support)

for each type of name and for each label, where `support` is how many there are in truth, and what would be divided by
0 is 0. F1 is the harmonic mean of precision and recall. Of all types or labels together

    micro       the same from the sums
    macro       the mean
    weighted    the mean, weighted by support

A name is right if its type and both ends are: that is the F1 of named entities (entity_report). Counted by words
instead, nearly all labels are O, and who always says O is mostly right: token_reports shows the words with O and
without it, side by side. All numbers are those of seqeval, for names, and of scikit-learn, for labels.

Tjong Kim Sang, De Meulder 2003, the shared task of CoNLL-2003, cs/0306050, section 2.

Chapter: S000 6.2; S002 5.4; S004 5.4.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .columns import columns_of, fitted
from .labels import OUTSIDE, Entity, LabelError, Sentences, check_tags, entities_of, strict_entities_of

COLUMNS, BLOCK = 80, 32         # of a table, at most; of the scores of one report in it


class Scores(NamedTuple):
    """How well one type or label was found, or all of them."""
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Report:
    """The scores of each type or label, in alphabetical order, and of all of them."""
    rows: dict[str, Scores]
    micro: Scores
    macro: Scores
    weighted: Scores


def entity_report(gold: Sentences, predicted: Sentences, scheme: str = "BIO", strict: bool = False) -> Report:
    """How many names were found, by their types.

    gold, predicted   the tags of each sentence, true and predicted, in `scheme`: see labels.py
    strict            names with a fault in their spelling do not count, whether they are true or predicted

    LabelError for other numbers of tags, and for a tag that is malformed.
    """
    check_pairs(gold, predicted)
    true, found = (names(sentences, scheme, strict) for sentences in (gold, predicted))
    return report(*(Counter(entity.type for _, entity in those) for those in (true & found, found, true)))


def names(sentences: Sentences, scheme: str, strict: bool) -> set[tuple[int, Entity]]:
    """The names of all sentences, each with the number of its sentence."""
    check_tags(sentences, scheme)
    return {(i, entity) for i, tags in enumerate(sentences)
            for entity in (strict_entities_of(tags, scheme) if strict else entities_of(tags))}


def token_reports(gold: Sentences, predicted: Sentences) -> dict[str, Report]:
    """Two reports of the labels of all words, under the titles "with O" and "without O".

    The rows are the same, but for O. Its words are many and easy, so the averages with O come near 1 where hardly a
    name is found. Neither report says how many names are right from end to end.
    """
    check_pairs(gold, predicted)
    true, found = ([label for labels in sentences for label in labels] for sentences in (gold, predicted))
    return {"with O": label_report(true, found), "without O": label_report(true, found, without=[OUTSIDE])}


def label_report(gold: Sequence[str], predicted: Sequence[str], without: Iterable[str] = ()) -> Report:
    """How many labels were found: of words, or of texts that are put into classes.

    without   labels that get no row and are left out of the averages

    The micro average over all labels is the accuracy. LabelError for other numbers of labels, or none.
    """
    if len(predicted) != len(gold) or not gold:
        raise LabelError(f"expected a predicted label for each of one or more true ones, got {len(predicted)} for "
                         f"{len(gold)}")
    counts = (Counter(a for a, b in zip(gold, predicted) if a == b), Counter(predicted), Counter(gold))
    for label in without:
        for counter in counts:
            del counter[label]
    return report(*counts)


def accuracy(gold: Sentences, predicted: Sentences) -> float:
    """The part of all words whose label is right."""
    check_pairs(gold, predicted)
    pairs = [a == b for true, found in zip(gold, predicted) for a, b in zip(true, found)]
    return sum(pairs) / len(pairs)


# ---- from counts to scores

def report(right: Mapping[str, int], predicted: Mapping[str, int], support: Mapping[str, int]) -> Report:
    """What follows from counts alone: of each label, how many are right, were predicted, and are there in truth.

    A label that is missing has 0 of them. Without any label, everything is 0.
    """
    rows = {label: scores(right.get(label, 0), predicted.get(label, 0), support.get(label, 0))
            for label in sorted(predicted.keys() | support.keys())}
    return Report(rows, scores(sum(right.values()), sum(predicted.values()), sum(support.values())),
                  mean(rows.values(), [1] * len(rows)), mean(rows.values(), [row.support for row in rows.values()]))


def scores(right: int, predicted: int, support: int) -> Scores:
    """Precision, recall and F1 by the equations above."""
    return Scores(divided(right, predicted), divided(right, support), divided(2 * right, predicted + support), support)


def mean(rows: Collection[Scores], weights: Sequence[int]) -> Scores:
    """The weighted mean of each score, over the sum of the support."""
    precision, recall, f1 = (divided(sum(w * row[i] for w, row in zip(weights, rows)), sum(weights)) for i in range(3))
    return Scores(precision, recall, f1, sum(row.support for row in rows))


def divided(a: float, b: float) -> float:
    """a / b, and 0 for b = 0."""
    return a / b if b else 0.0


def check_pairs(gold: Sentences, predicted: Sentences) -> None:
    """LabelError unless each sentence has as many predicted labels as true ones, and there is one at all."""
    if len(predicted) != len(gold):
        raise LabelError(f"expected predictions for each of {len(gold)} sentences, got them for {len(predicted)}")
    for i, (true, found) in enumerate(zip(gold, predicted), 1):
        if isinstance(true, str) or isinstance(found, str):
            raise LabelError(f"sentence {i}: expected a list with the label of each word, got one text")
        if len(found) != len(true):
            raise LabelError(f"sentence {i}: expected {len(true)} predicted labels, one for each word, got "
                             f"{len(found)}")
    if not any(map(len, gold)):
        raise LabelError("expected at least one word to score, got none")


# ---- in print

def table(reports: Mapping[str, Report]) -> str:
    """One report, or two side by side, under their titles, in at most 80 columns; without a newline at the end.

    A row that one of two reports has not is left blank there, and a name that is too long is cut. LabelError for three.
    """
    if not 1 <= len(reports) <= 2:
        raise LabelError(f"expected one report, or two side by side, got {len(reports)}")
    labels = sorted({label for each in reports.values() for label in each.rows})
    width = min(COLUMNS - BLOCK * len(reports), max(map(columns_of, [*labels, "weighted avg"])))
    lines = [" " * width + "".join("    " + fitted(title, BLOCK - 4) for title in reports),
             " " * width + (4 * "{:>8}").format("prec.", "recall", "F1", "support") * len(reports), ""]
    lines += [fitted(label, width) + "".join(block(each.rows.get(label)) for each in reports.values())
              for label in labels]
    lines += [""] * bool(labels)
    lines += [fitted(f"{name} avg", width) + "".join(block(getattr(each, name)) for each in reports.values())
              for name in ("micro", "macro", "weighted")]
    return "\n".join(line.rstrip() for line in lines)


def block(row: Scores | None) -> str:
    """The scores of one row in BLOCK columns."""
    return " " * BLOCK if row is None else "".join(f"{score:8.3f}" for score in row[:3]) + f"{row.support:8d}"
