"""Classification reports, as S002 5.4 and S004 5.4 print one, and what follows from their rows."""

import re
from typing import NamedTuple

import numpy as np

from .reading import listing

HALF = 0.0005                           # a number with three digits may be this much more or less


class Row(NamedTuple):
    precision: float
    recall: float
    f1: float
    support: int


def report(name):
    """A classification report: (the rows of its labels, those of its averages), each as label -> Row."""
    rows = {label: Row(float(p), float(r), float(f1), int(support)) for label, p, r, f1, support in re.findall(
        r"^ *(\S+|\w+ avg) +([\d.]+) +([\d.]+) +([\d.]+) +(\d+)$", listing(name), re.M)}
    averages = {label: rows.pop(label) for label in list(rows) if label.endswith(" avg")}
    return rows, averages


def f1(p, r):
    return 2 * p * r / (p + r)


def averages(rows):
    """(macro, weighted) precision, recall and F1 of the rows."""
    numbers, support = np.array([row[:3] for row in rows.values()]), np.array([row.support for row in rows.values()])
    return numbers.mean(axis=0), support @ numbers / support.sum()


def accuracy(rows):
    """The least and the largest share of right tokens: the recalls, as they may have been rounded, by their support."""
    total = sum(row.support for row in rows.values())
    return tuple(sum(min(1, row.recall + e) * row.support for row in rows.values()) / total for e in (-HALF, HALF))


def predicted(rows):
    """How many tokens were given any label, at least and at most: right ones over precision."""
    return tuple(sum(min(1, row.recall + e) * row.support / min(1, row.precision - e) for row in rows.values())
                 for e in (-HALF, HALF))


def entities(tags):
    """The entities of a tagged sentence, as (kind, first, last)."""
    found = []
    for i, tag in enumerate(tags):
        inside = tag.startswith("I-") and found and found[-1][2] == i - 1 and found[-1][0] == tag[2:]
        if inside:
            found[-1] = (*found[-1][:2], i)
        elif tag != "O":
            found.append((tag[2:], i, i))
    return set(found)


def entity_f1(gold, guessed):
    right = len(entities(gold) & entities(guessed))
    return 2 * right / (len(entities(gold)) + len(entities(guessed)))


def without_o(rows):
    """Micro F1 of all labels but O, from their precisions, recalls and supports."""
    of_entities = [row for label, row in rows.items() if label != "O"]
    right = sum(row.recall * row.support for row in of_entities)
    given = sum(row.recall * row.support / row.precision for row in of_entities)
    return 2 * right / (given + sum(row.support for row in of_entities))
