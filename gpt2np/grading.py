"""How good the answers of fine-tuned models are: on labelled examples, of each model, and of several together.

    p = (p_1 + ... + p_K) / K           of each label, by its name; of numbers, their mean

Each model reads a text in its own way, with its own vocabulary and its own windows: only what they say is put together.
So a BERT and a GPT-2 can answer as one, and their labels may be in any order.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from tqdm import tqdm

from .checkpoints.errors import some
from .labelling import expect_one_task, expect_together
from .terminal import show_progress, table, wrapped
from .training.errors import TrainingError
from .training.finetuning import FineTuning
from .training.named_entities import NamedEntities
from .training.new_finetuning import some_of
from .training.parallel import DataParallel
from .training.text_classification import TextClassification, TextRegression

SHARES = ("f1", "accuracy", "exact")                    # figures that are shown in %


class Grades(NamedTuple):
    """What was found out about a model's answers.

    label     of what, on what
    examples  how many
    figures   what they are worth, by name, and the loss
    """

    label: str
    examples: int
    figures: dict[str, float]


def grade(names: Sequence[str], tasks: Sequence[FineTuning], files: Sequence[str], together: bool,
          threads: int) -> list[Grades]:
    """A row for each file and model, and, if that is asked for, for all models together, the last one of each file.

    TrainingError for models that cannot be compared, or not answer together, and for files that are not as they must be
    """
    expect_one_task(names, tasks)
    if together:
        expect_together(names, tasks)
    first = tasks[0]
    read = [some_of(path, first.read(path, first.plan, lambda words: print(wrapped(f"note: {words}")), first.labels))
            for path in files]
    for path, examples in zip(files, read):
        expect_known(names, tasks, path, examples)
    found = []
    for path, examples in zip(files, read):
        told = []
        for name, task in zip(names, tasks):
            loss, predictions = predicted(f"{name} on {path}", task, examples, threads)
            told.append(predictions)
            found.append(graded(f"{name} on {path}", task, examples, predictions, loss))
        if together:
            predictions = first.together([task.labels for task in tasks], told)
            found.append(graded(f"the mean of {len(tasks)} on {path}", first, examples, predictions))
    return found


def expect_known(names: Sequence[str], tasks: Sequence[FineTuning], path: str, examples: Sequence[Any]) -> None:
    """TrainingError for labels of a file that one of the models does not know: the first one's reader knows its own."""
    for name, task in zip(names, tasks):
        if unknown := {label for one in examples for label in task.labels_in(one)} - {*task.labels.names}:
            raise TrainingError(f"{path}: expected labels that {name} knows, {some(task.labels.names)}, got "
                                f"{some(sorted(unknown))}")


def predicted(label: str, task: FineTuning, examples: Sequence[Any], threads: int) -> tuple[float, list[Any]]:
    """What a model says of examples, watched, and the loss of its rows."""
    with DataParallel(task.model, threads) as parallel, \
            tqdm(desc=f"measuring {label}", unit=" batches", delay=1, leave=False, disable=None) as bar:
        return task.predicted(parallel, examples, task.encoded(examples), partial(show_progress, bar))


def graded(label: str, task: FineTuning, examples: Sequence[Any], predictions: Sequence[Any],
           of_rows: float = math.nan) -> Grades:
    """What predictions are worth."""
    figures = task.figures(examples, predictions) | {"loss": task.loss_of(examples, predictions, of_rows)}
    return Grades(label, len(examples), figures)


def show_grades(found: Sequence[Grades], task: FineTuning) -> None:
    """The table, and what its numbers are, of models that have learned this task."""
    rows = [(one.label, f"{one.examples:>9,}" + "".join(map(shown, one.figures, one.figures.values())))
            for one in found]
    print(table(f"{'examples':>9}" + "".join(f"{name:>10}" for name in found[0].figures), rows))
    print(wrapped(meant_by(task)))


def meant_by(task: FineTuning) -> str:
    """What F1 is of, and what the loss is."""
    if isinstance(task, TextRegression):
        return "loss: the squared error"
    if isinstance(task, TextClassification):
        of_what = "of all labels together" if task.labels.several else "the mean of the labels' own"
    elif isinstance(task, NamedEntities):
        of_what = "of names, whole and of the right type"
    else:
        of_what = "of the words of each answer, on average"
    return f"f1: {of_what}. loss: in nats"


def shown(name: str, x: float) -> str:
    """A figure in ten columns."""
    return f"{x:>10.1%}" if name in SHARES else f"{x:>10.4g}"
