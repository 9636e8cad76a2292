"""Questions about a text, in which the answer stands: where it begins and ends.

Chapter: S002 3.4.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from ..hints import Array
from ..layers.softmax import log_softmax_forward
from ..models.heads import END, START, AnswerFinder
from ..text.protocol import AnyTokenizer
from ..text.wordpiece import WordPiece
from .findings import PREDICTED, THE_MODEL, Both, Findings, Line, Mistake, worst
from .finetuning import ChoicePlan, Encoded, FineTuning, Labels
from .label_rows import Row, framed, pieces_of, room_in, windows, words_of
from .labelled import Asked, Warn, read_asked

LONGEST_ANSWER = 30             # words of an answer that is looked for


QUESTION, CONTEXT = Both("question", "问题"), Both("context", "原文")


class Found(NamedTuple):
    """The answer that is found in a context, and how likely its two ends are in the window that it is in."""
    answer: str
    sure: float


class QuestionAnswering(FineTuning):
    """Questions whose answer stands in a context: the head says with which token it begins, and ends.

    A window of the context without the answer points at [CLS], or, of a GPT-2, at what ends the row; an answer is
    scored against that, and the best one of all windows is taken.
    """

    name = "question answering"
    plan_type = ChoicePlan
    kind = Asked
    head = AnswerFinder

    @classmethod
    def read(cls, path: str, plan: Any, warn: Warn, known: Labels | None = None) -> list[Asked]:
        return read_asked(path)

    @classmethod
    def labels_of(cls, examples: Sequence[Any]) -> Labels:
        return Labels(("start", "end"))

    def encoded(self, examples: Sequence[Asked]) -> list[Encoded]:
        room, found = room_in(self.tokenizer, self.plan.context, 2), []
        for number, (context, question, answer, start) in enumerate(examples):
            asked = self.tokenizer.encode(question)[:room // 2]
            words = words_of(context)
            pieces = [its[:room - len(asked)] for its in pieces_of(self.tokenizer, [word for word, _ in words])]
            inside = [i for i, (word, at) in enumerate(words) if at < start + len(answer) and at + len(word) > start]
            for window in windows([len(its) for its in pieces], room - len(asked)):
                inner = pieces[window.first:window.end]
                row = framed(self.tokenizer, asked, list(chain(*inner)))
                ends = np.cumsum([row.second, *map(len, inner)]).tolist()
                places = [(i, ends[i - window.first], ends[i - window.first + 1] - 1)
                          for i in range(window.first, window.end)]
                target = [null_of(self.tokenizer, row)] * 2
                if inside and window.first <= inside[0] and inside[-1] < window.end:
                    target = [places[inside[0] - window.first][1], places[inside[-1] - window.first][2]]
                found.append(Encoded(row, target, number, places))
        return found

    def targets(self, targets: Sequence[Any], T: int) -> Array:
        return np.array(targets)

    def prediction(self, example: Asked, windows: Sequence[tuple[Encoded, Array]]) -> Found:
        words, best = words_of(example.context), (-np.inf, 0, 0, 0.0)
        for one, z in windows:
            z = log_softmax_forward(z)[0]
            null = null_of(self.tokenizer, one.row)
            begins = np.array([z[START, first] for _, first, _ in one.places])
            finishes = np.array([z[END, last] for _, _, last in one.places])
            n = len(one.places)
            fits = np.tri(n, n, LONGEST_ANSWER - 1, dtype=bool) & np.tri(n, n, dtype=bool).T        # i <= j < i + 30
            pairs = np.where(fits, begins[:, None] + finishes - z[START, null] - z[END, null], -np.inf)
            if n:
                i, j = divmod(int(pairs.argmax()), n)
                if pairs[i, j] > best[0]:
                    best = (float(pairs[i, j]), one.places[i][0], one.places[j][0],
                            float(np.exp(begins[i] + finishes[j])))
        if not words:
            return Found("", 0.0)
        _, i, j, sure = best
        return Found(example.context[words[i][1]:words[j][1] + len(words[j][0])], sure)

    def figures(self, examples: Sequence[Asked], predictions: Sequence[Found]) -> dict[str, float]:
        pairs = [(one.answer, found.answer) for one, found in zip(examples, predictions)]
        return {"f1": sum(words_f1(*pair) for pair in pairs) / len(pairs),
                "exact": sum(same(*pair) for pair in pairs) / len(pairs)}

    def shown(self, example: Asked, prediction: Found) -> str:
        right = same(example.answer, prediction.answer)
        return f"{example.question} -> {prediction.answer}" + f" ({example.answer})" * (not right)

    def findings(self, examples: Sequence[Asked], predictions: Sequence[Found], loss: float) -> Findings:
        whole = [Found(one.context, 1.0) for one in examples]
        scores = [(THE_MODEL, [*self.figures(examples, predictions).values(), loss]),
                  (Both("the whole context as the answer", "把全文当作答案"),
                   [*self.figures(examples, whole).values(), np.nan])]
        wrong = [Mistake([Line(QUESTION, [(one.question, "")]), Line(CONTEXT, marked(one, its.answer)),
                          Line(PREDICTED, [(f"{its.answer} ({its.sure:.0%})", "")])],
                         1 - words_f1(one.answer, its.answer) + its.sure)
                 for one, its in zip(examples, predictions) if not same(one.answer, its.answer)]
        return Findings(("F1", "exact", "loss"), scores, len(examples), len(wrong), mistakes=worst(wrong),
                        kinds=["right", "found"])


def marked(example: Asked, found: str) -> list[tuple[str, str]]:
    """The context with the right answer in it, and what was found instead, where the two do not overlap."""
    spans = [(example.start, example.start + len(example.answer), "right")]
    at = example.context.find(found) if found else -1
    if at >= 0 and (at >= spans[0][1] or at + len(found) <= spans[0][0]):
        spans.append((at, at + len(found), "found"))
    pieces, here = list[tuple[str, str]](), 0
    for start, end, kind in sorted(spans):
        pieces += [(example.context[here:start], ""), (example.context[start:end], kind)]
        here = end
    return [piece for piece in [*pieces, (example.context[here:], "")] if piece[0]]


def null_of(tokenizer: AnyTokenizer, row: Row) -> int:
    """Where a window points that has no answer: BERT's [CLS], GPT-2's last token, which has read it all."""
    return 0 if isinstance(tokenizer, WordPiece) else len(row.ids) - 1


def words_that_count(answer: str) -> list[str]:
    """What counts of an answer: its words in small letters, Chinese characters among them, without signs."""
    return [word for word, _ in words_of(answer.lower()) if word.isalnum()]


def words_f1(gold: str, found: str) -> float:
    """F1 of the words that an answer shares with the right one.

    Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1: signs do not count.
    """
    a, b = words_that_count(gold), words_that_count(found)
    shared = sum((Counter(a) & Counter(b)).values())
    return 2 * shared / (len(a) + len(b)) if a or b else float(gold == found)


def same(gold: str, found: str) -> bool:
    """Whether two answers are the same, but for signs, spaces and capitals."""
    return words_that_count(gold) == words_that_count(found)
