"""Names in sentences: a label for each word.

Chapter: S002 3.4, 5.2.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, NamedTuple

import numpy as np

from ..hints import Array
from ..layers.cross_entropy import IGNORED
from ..layers.softmax import log_softmax_forward
from ..models.heads import TokenClassifier
from ..text.label_reports import accuracy, entity_report, table, token_reports
from ..text.labels import SCHEMES, Entity, Sentences, entities_of, tags_of
from .errors import TrainingError
from .findings import PREDICTED, RIGHT, THE_MODEL, Both, Findings, Line, Mistake, bracketed, confused, worst
from .finetuning import BEST_BY, F1, Encoded, FineTuning, FineTuningPlan, Labels
from .label_rows import FIRST, LAST, NO_SPACE, ON, framed, labelled, pieces_of, room_in, windows
from .labelled import Tagged, Warn, read_tagged
from .made_up import made_names
from .plan import one_of


@dataclass(frozen=True)
class NamesPlan(FineTuningPlan):
    """A run on sentences with names."""

    best_by: Annotated[str, one_of(BEST_BY), "what says which model is the best, and when patience is at its end"
                       ] = F1
    scheme: Annotated[str, one_of(SCHEMES), "how the tags of FILE spell names; the model learns BIO"] = "BIO"
    label_on: Annotated[str, one_of(ON), "pieces of a word that have its label: the others have none; a GPT-2, which "
                        "has not read the rest of the word at its first one, begins with last"] = FIRST


ALWAYS_O = Both("who always says O", "总说 O")
LOOKED_UP = Both("known names looked up", "查已知的名字")
ENTITIES = Both("Names, whole and of the right type (seqeval)", "按实体计分：首尾和类型都对（seqeval）")
WORDS = Both("Words, as scikit-learn counts them: with O nearly all is right in any case",
             "按词计分（scikit-learn）：计入 O 时总是几乎全对")


class Names(NamedTuple):
    """The tags of a sentence as the model predicts them; of each word how likely that is, and the right one."""
    tags: list[str]
    sure: list[float]
    right: list[float]


class NamedEntities(FineTuning):
    """Names in sentences: a label for each word, in BIO.

    A word's label is that of its first piece, or of its last one, where a word has its label there.
    """

    name = "named entities"
    plan_type = NamesPlan
    kind = Tagged
    head = TokenClassifier
    in_order = True
    lower_case = False                                  # capitals tell names

    @classmethod
    def read(cls, path: str, plan: NamesPlan, warn: Warn, known: Labels | None = None) -> list[Tagged]:
        return read_tagged(path, plan.scheme, warn, None if known is None else types_in(known.names))

    @classmethod
    def made(cls, n: int, seed: int, language: str, part: str) -> list[Tagged]:
        return made_names(n, seed, language, part)

    @classmethod
    def labels_of(cls, examples: Sequence[Tagged]) -> Labels:
        types = types_in({tag for example in examples for tag in example.tags})
        if not types:
            raise TrainingError("labels: expected names to learn, got none: every tag is O")
        return Labels(("O", *(f"{letter}-{its}" for its in types for letter in "BI")))

    @classmethod
    def labels_in(cls, example: Tagged) -> Sequence[str]:
        return example.tags

    @classmethod
    def texts_of(cls, example: Tagged) -> list[str]:
        return [joined(example.words)]

    def encoded(self, examples: Sequence[Tagged]) -> list[Encoded]:
        room, ids = room_in(self.tokenizer, self.plan.context), {name: i for i, name in enumerate(self.labels.names)}
        found = []
        for number, (words, tags) in enumerate(examples):
            pieces = [its[:room] for its in pieces_of(self.tokenizer, words)]
            for window in windows([len(its) for its in pieces], room):
                inner = pieces[window.first:window.end]
                row = framed(self.tokenizer, list(chain(*inner)))
                labels = [ids[tag] if window.own <= i < window.own_end else IGNORED
                          for i, tag in enumerate(tags[window.first:window.end], window.first)]
                target = labelled(inner, labels, self.plan.label_on)
                ends = np.cumsum([row.first, *map(len, inner)]).tolist()
                places = [(i, ends[i - window.first], ends[i - window.first + 1] - 1)
                          for i in range(window.own, window.own_end)]
                found.append(Encoded(row, [IGNORED] * row.first + target, number, places))
        return found

    def targets(self, targets: Sequence[Any], T: int) -> Array:
        return in_a_row(targets, T)

    def prediction(self, example: Tagged, windows: Sequence[tuple[Encoded, Array]]) -> Names:
        names, n = self.labels.names, len(example.words)
        found = Names(["O"] * n, [1.0] * n, [1.0] * n)
        for one, z in windows:
            p = np.exp(log_softmax_forward(z)[0])
            for word, first, last in one.places:
                its = p[last if self.plan.label_on == LAST else first]
                best = int(its.argmax())
                found.tags[word], found.sure[word] = names[best], float(its[best])
                found.right[word] = float(its[names.index(example.tags[word])])
        return found

    def figures(self, examples: Sequence[Tagged], predictions: Sequence[Names]) -> dict[str, float]:
        gold, found = [list(one.tags) for one in examples], [one.tags for one in predictions]
        return {"f1": entity_report(gold, found).micro.f1, "accuracy": accuracy(gold, found)}

    def shown(self, example: Tagged, prediction: Names) -> str:
        return bracketed(pieces(example.words, prediction.tags))

    def findings(self, examples: Sequence[Tagged], predictions: Sequence[Names], loss: float) -> Findings:
        gold, found = [list(one.tags) for one in examples], [one.tags for one in predictions]
        known = known_names(self.train)
        others = [(ALWAYS_O, [["O"] * len(tags) for tags in gold]),
                  (LOOKED_UP, [looked_up(known, example.words) for example in examples])]
        scores = [(THE_MODEL, [*scores_of(gold, found), loss])]
        scores += [(name, [*scores_of(gold, tags), np.nan]) for name, tags in others]
        tables = [(ENTITIES, table({"default": entity_report(gold, found),
                                    "strict": entity_report(gold, found, strict=True)})),
                  (WORDS, table(token_reports(gold, found)))]
        types = types_in(self.labels.names)
        kinds = [[tag.partition("-")[2] or "O" for tags in those for tag in tags] for those in (gold, found)]
        wrong = [Mistake([Line(RIGHT, pieces(words, tags)), Line(PREDICTED, pieces(words, its.tags))],
                         -float(np.log(np.maximum(its.right, 1e-300)).sum()))
                 for (words, tags), its in zip(examples, predictions) if entities_of(tags) != entities_of(its.tags)]
        labels = ["O", *types]
        return Findings(("F1", "strict F1", "words", "loss"), scores, len(examples), len(wrong), tables, labels,
                        confused(labels, *kinds), worst(wrong), types)


def in_a_row(targets: Sequence[Sequence[int]], T: int) -> Array:
    """Targets of T positions at most as one array (B, T), filled up with -100."""
    array = np.full((len(targets), T), IGNORED)
    for row, target in zip(array, targets):
        row[:len(target)] = target
    return array


def types_in(tags: Iterable[str]) -> list[str]:
    """The types of names among tags."""
    return sorted({tag.partition("-")[2] for tag in tags} - {""})


def scores_of(gold: Sentences, found: Sentences) -> list[float]:
    """F1 of names, by seqeval's default and strictly, and the part of words whose label is right."""
    return [entity_report(gold, found).micro.f1, entity_report(gold, found, strict=True).micro.f1,
            accuracy(gold, found)]


def known_names(examples: Iterable[Tagged]) -> dict[tuple[str, ...], str]:
    """The names in some sentences, and of what type each is most often."""
    counts = Counter((tuple(words[start:end]), its_type) for words, tags in examples
                     for its_type, start, end in entities_of(tags))
    known: dict[tuple[str, ...], str] = {}
    for (name, its_type), _ in counts.most_common():
        known.setdefault(name, its_type)
    return known


def looked_up(known: Mapping[tuple[str, ...], str], words: Sequence[str]) -> list[str]:
    """The tags of a sentence of one who knows these names, and nothing else: the longest that begins at each word."""
    lengths = dict[str, set[int]]()                     # of the names that begin with a word
    for name in known:
        lengths.setdefault(name[0], set()).add(len(name))
    found, at = list[Entity](), 0
    while at < len(words):
        candidates = (tuple(words[at:at + n]) for n in sorted(lengths.get(words[at], ()), reverse=True))
        name = next((name for name in candidates if name in known), ())
        if name:
            found.append(Entity(known[name], at, at + len(name)))
        at += len(name) or 1
    return tags_of(found, len(words))


def pieces(words: Sequence[str], tags: Sequence[str]) -> list[tuple[str, str]]:
    """A sentence as texts with the types of the names that they are: New York, LOC; is large, none."""
    groups, at = list[tuple[Sequence[str], str]](), 0
    for its_type, start, end in entities_of(tags):
        groups += [(words[at:start], ""), (words[start:end], its_type)]
        at = end
    groups.append((words[at:], ""))
    found, before = list[tuple[str, str]](), ""
    for group, its_type in groups:
        if group:
            space = joined([before, group[0]])[len(before):-len(group[0])] if before else ""
            text, before = joined(group), group[-1]
            found += [(space, ""), (text, its_type)] if space else [(text, its_type)]
    return found


def joined(words: Sequence[str]) -> str:
    """Words as a text: with spaces, but for Chinese."""
    text = ""
    for word in words:
        apart = text and word and not (NO_SPACE.match(text[-1]) or NO_SPACE.match(word[0]))
        text += " " * bool(apart) + word
    return text
