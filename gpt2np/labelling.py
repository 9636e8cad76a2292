"""What a fine-tuned model says of new texts: their labels, numbers, names, or answers.

    Classifier        a text, or two, with a tab between     its label, or several as a|b; or its number
                      a text and two names in it, likewise   which relation they have
    TokenClassifier   a sentence                             the tag of each of its words
    AnswerFinder      a context, a tab, a question           the answer, which stands in the context

A text is read as it was in training: in windows, where it is longer than the model sees.

Chapter: S002 3.4.
"""

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from .checkpoints.errors import CheckpointError, some
from .errors import Gpt2npError
from .layers.module import Module
from .model_names import BEST, RUN, adapted, base_of, find_adapter, load_with_tokenizer
from .models.config import GPT2Config
from .models.heads import SIGMOID, SQUARED, AnswerFinder, Classifier, TokenClassifier
from .text.labels import SCHEMES, entities_of
from .text.protocol import AnyTokenizer
from .training import run_folder
from .training.errors import TrainingError
from .training.finetuning import TRAIN, FineTuning, Labels
from .training.label_rows import FIRST, LAST, words_of
from .training.labelled import Asked, Classified, Tagged, Valued, read_examples, with_marks
from .training.named_entities import NamedEntities
from .training.parallel import DataParallel
from .training.question_answering import QuestionAnswering
from .training.text_classification import TextClassification, TextRegression

LEARNED = ("context", "label_on", "scheme")             # of the plan of a run, what its model is used by
LOOKED_AT = 100                 # sentences that a model has learned from, to see what its words are


class Labeller(NamedTuple):
    """A fine-tuned model, as the task that it has learned.

    task            without examples
    by_characters   whether each character of a sentence is a word, as in Chinese, letters and digits too
    others          more of them, that have learned the same: what is said is the mean of what all say
    """
    task: FineTuning
    by_characters: bool = False
    others: tuple[FineTuning, ...] = ()

    @property
    def tasks(self) -> tuple[FineTuning, ...]:
        """All of them, the first one in front."""
        return self.task, *self.others


def load_labeller(model: str | None, adapter: str | None = None) -> Labeller:
    """A fine-tuned model, for `label`.

    model    the name or path of one with a head, or of a run that has trained it; None: the one that the adapter names
    adapter  the folder of what was trained beside a model, with its head

    CheckpointError where there is no such model, none with a head, or one without its vocabulary.
    """
    if adapter is None:
        loaded, tokenizer = load_with_tokenizer(model or "", kind=Classifier)
    else:
        loaded, tokenizer = load_with_tokenizer(model or base_of(adapter), kind=Module)
        loaded = adapted(loaded, adapter)
        if not isinstance(loaded, Classifier):
            raise CheckpointError(find_adapter(adapter), "expected an adapter with a head, of finetune --task ner, "
                                  "classify, regress or qa, found one without: it is for generate --adapter")
    return as_learned(Path(adapter or model or ""), loaded, tokenizer)


def load_together(models: Sequence[str]) -> Labeller:
    """Several fine-tuned models as one; TrainingError where they cannot answer together."""
    first, *others = map(load_labeller, models)
    together = first._replace(others=tuple(one.task for one in others))
    expect_together(models, together.tasks)
    return together


def as_learned(path: Path, loaded: Classifier, tokenizer: AnyTokenizer) -> Labeller:
    """A model with a head, with what the folder of its run knows of how it was trained, if that is where it is from."""
    run = path.parent if path.name in (BEST, RUN) else path
    if not os.path.isfile(run / RUN):
        return Labeller(labeller(loaded, tokenizer))
    plan = run_folder.read_run(run).get("plan", {})
    task = labeller(loaded, tokenizer, **{name: plan[name] for name in LEARNED if name in plan})
    words = [word for one in islice(read_examples(run / TRAIN, task.kind), LOOKED_AT) for word in one.words] \
        if isinstance(task, NamedEntities) else []
    return Labeller(task, bool(words) and max(map(len, words)) == 1)


def labeller(model: Classifier, tokenizer: AnyTokenizer, **learned: Any) -> FineTuning:
    """A model with a head as the task that it has learned.

    learned  what is known of the plan that it was trained by: its context, where words had their labels, and how tags
             were spelled.  Else a text may be as long as the model sees, tags are BIO, and a word has its label where
             finetune puts it: on its first piece, or, of a GPT-2, on its last
    """
    kind: type[FineTuning] = QuestionAnswering if isinstance(model, AnswerFinder) else \
        NamedEntities if isinstance(model, TokenClassifier) else \
        TextRegression if model.objective == SQUARED else TextClassification
    if kind is TextRegression and len(model.labels) > 1:
        raise Gpt2npError(f"model: expected one that gives one number, got one that gives {len(model.labels)}")
    usual: dict[str, Any] = {"context": model.n_ctx}
    if kind is NamedEntities:
        usual["label_on"] = LAST if isinstance(model.config, GPT2Config) else FIRST
    plan: Any = kind.plan_type(steps=1, **(usual | learned))
    return kind.for_use(model, tokenizer, Labels(model.labels, model.objective == SIGMOID), plan)


def expect_one_task(names: Sequence[str], tasks: Sequence[FineTuning]) -> None:
    """TrainingError unless all models have learned the same."""
    for name, task in zip(names, tasks):
        if type(task) is not type(tasks[0]):
            raise TrainingError(f"--model: expected models that have learned the same, got {names[0]}, one of "
                                f"{tasks[0].name}, and {name}, one of {task.name}")


def expect_together(names: Sequence[str], tasks: Sequence[FineTuning]) -> None:
    """TrainingError unless all models can answer together: texts or numbers alone, of the same labels in any order."""
    expect_one_task(names, tasks)
    if not isinstance(first := tasks[0], TextClassification):
        raise TrainingError("--model: expected several together only where texts get labels or numbers, got models of "
                            f"{first.name}")
    for name, task in zip(names, tasks):
        if set(task.labels.names) != set(first.labels.names):
            raise TrainingError(f"--model: expected models of the same labels, in any order, got {names[0]} with "
                                f"{some(first.labels.names)}, and {name} with {some(task.labels.names)}")
        if task.labels.several != first.labels.several:
            one, other = (names[0], name) if task.labels.several else (name, names[0])
            raise TrainingError("--model: expected models that give one label alike, or several, got "
                                f"{one}, which gives one, and {other}, which gives several")


def label(task: FineTuning, texts: Sequence[Any], threads: int = 1) -> list[Any]:
    """What a model says of some texts, of each for itself.

    texts    (text, None) or (text, second text) for labels and numbers, (context, question) for answers, and the words
             of a sentence for names
    returns  of each: Choice (text_classification.py), a float, Found (question_answering.py), or Names
             (named_entities.py)
    """
    examples = [unlabelled(task, text) for text in texts]
    if not examples:
        return []
    with DataParallel(task.model, threads) as parallel:
        return task.predicted(parallel, examples, task.encoded(examples))[1]


def label_together(labeller: Labeller, texts: Sequence[Any], threads: int = 1) -> list[Any]:
    """`label`, by all of a labeller's models: the mean of their probabilities, or of their numbers."""
    found = [label(one, texts, threads) for one in labeller.tasks]
    if not labeller.others:
        return found[0]
    return labeller.task.together([one.labels for one in labeller.tasks], found)


def unlabelled(task: FineTuning, text: Any) -> Any:
    """A text as an example whose label says nothing: no prediction depends on it."""
    if isinstance(task, NamedEntities):
        return Tagged(text, [task.labels.names[0]] * len(text))
    first, second = text
    if isinstance(task, QuestionAnswering):
        return Asked(first, second, "", 0)
    if isinstance(task, TextRegression):
        return Valued(first, second, 0.0)
    return Classified(first, second, [] if task.labels.several else [task.labels.names[0]])


# ---- lines, and what is said of them


def read_line(labeller: Labeller, line: str, where: str) -> Any:
    """A line as what `label` takes; Gpt2npError, with its place, for one that is none.

    where   the line is: "standard input, line 3"
    """
    task = labeller.task
    if isinstance(task, NamedEntities):
        return [word for word, _ in words_in(labeller, line)]
    columns, least, most = line.split("\t"), 1, 2
    expected = "a text, or two with a tab between them"
    if isinstance(task, QuestionAnswering):
        least, expected = 2, "a context, a tab and its question"
    elif not isinstance(task, TextRegression):
        most, expected = 3, f"{expected}, or a text and two names in it"
    if not least <= len(columns) <= most:
        raise Gpt2npError(f"{where}: expected {expected}, got {len(columns)} column{'s' * (len(columns) > 1)} in "
                          f"{line[:40]!r}")
    if not all(column.strip() for column in columns):
        raise Gpt2npError(f"{where}: expected a text in each column, got {line[:40]!r}")
    if len(columns) == 3:
        return with_marks(where, *columns), None
    return columns[0], columns[1] if len(columns) == 2 else None


def words_in(labeller: Labeller, line: str) -> list[tuple[str, int]]:
    """The words of a sentence, and where each begins."""
    if labeller.by_characters:
        return [(character, at) for at, character in enumerate(line) if not character.isspace()]
    return words_of(line)


def expect_names(task: FineTuning) -> None:
    """Gpt2npError where the labels of words are no tags of names, so that none can be marked in a text."""
    letters = {letter for scheme in SCHEMES.values() for letter in scheme}
    for tag in task.labels.names if isinstance(task, NamedEntities) else ():
        letter, _, its_type = tag.partition("-")
        if tag != "O" and not (letter in letters and its_type):
            raise Gpt2npError(f"model: expected one whose labels are tags of names, such as B-PER, got {tag!r:.40}: "
                              "--words shows the label of each word")


def names_in(labeller: Labeller, line: str, tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """The names in a line: the type of each, and from where to where in the line it stands."""
    words = words_in(labeller, line)
    return [(its_type, words[first][1], words[end - 1][1] + len(words[end - 1][0]))
            for its_type, first, end in entities_of(tags)]
