"""Questions with given choices, of which one is right: read from files, put into words, and counted.

    question   "The capital of France is"   Paris | London | Rome           its answer: 0
    prompt     examples, each with its right choice, an empty line between them; then the question itself
    answer     the choice with the best score (scoring.py): with the largest sum, or the largest for each character, ...

How the prompt is worded is a template, as "Q: {context}\\nA: {choice}": the model has never been told what to do, and
sees from the words, and from the examples where there are some, what is wanted.  Without examples it is called
zero-shot, with some few-shot.

Radford et al. 2019, Language Models are Unsupervised Multitask Learners, section 3; Brown et al. 2020,
arXiv:2005.14165, section 2.4.

Chapter: S000 3.4, 8.2; S002 2.3.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .bytes_in import parse_json
from .errors import Gpt2npError
from .scoring import Score
from .text.utf8 import lines_in

# GPT-2's paper has the first and the second so, 3.6 and 3.7; its questions, 3.8, stand behind other questions with
# their answers, in no form that it tells.
TEMPLATES = {"summary": "{context}\nTL;DR: {choice}", "translation": "{context} = {choice}",
             "question": "Q: {context}\nA: {choice}"}
NORMS: dict[str, tuple[Callable[[Score], float], str]] = {      # lm-evaluation-harness's names; the last is ours
    "acc": (lambda one: one.sum, "by the sum of log p"),
    "acc_norm": (lambda one: one.per_character, "by its mean for each character"),
    "acc_bytes": (lambda one: one.per_byte, "by its mean for each byte"),
    "acc_tokens": (lambda one: one.per_token, "by its mean for each token"),
}
OTHER_KEYS = {"endings": "hellaswag", "text": "lambada"}        # of files in another format -> its name


class Question(NamedTuple):
    """What is asked, what may be answered, and which of it is right."""

    context: str
    choices: list[str]
    answer: int


# ---- prompts


class Template(NamedTuple):
    """What stands around a context and a choice; `between` is None where their own characters decide: see space_after.
    """

    before: str = ""
    between: str | None = None
    after: str = ""

    def asked(self, question: Question, examples: Sequence[Question] = ()) -> tuple[str, list[str]]:
        """The context and the continuations that are scored."""
        shots = "".join(self._until(one.context) + one.choices[one.answer] + self.after + "\n\n" for one in examples)
        context = shots + self._until(question.context)
        space = " " * context.endswith(" ")             # it belongs to the choices
        return context.removesuffix(" "), [space + choice + self.after for choice in question.choices]

    def _until(self, context: str) -> str:
        """All that stands before a choice."""
        return self.before + context + (space_after(context) if self.between is None else self.between)


def template_of(text: str) -> Template:
    """A template by its name, or as it is written; Gpt2npError for one that has not {context} and then {choice}."""
    found = re.fullmatch(r"(.*)\{context\}(.*)\{choice\}(.*)", TEMPLATES.get(text, text), re.S)
    if not found or re.search(r"\{(context|choice)\}", "".join(found.groups())):
        raise Gpt2npError(f"template: expected one of {', '.join(TEMPLATES)}, or a text with {{context}} and behind "
                          f"it {{choice}}, once each, got {text!r:.60}")
    return Template(*found.groups())


def examples_for(question: Question, examples: Sequence[Question], n: int | None = None) -> list[Question]:
    """The first n of the examples, or all, without the question itself: it would be asked what it has been told."""
    others = [one for one in examples if one != question]
    if n is not None and len(others) < n:
        raise Gpt2npError(f"examples: expected at least {n:,} beside the question itself, got {len(others):,}: "
                          "ask for fewer --shots")
    return others[:n]


def space_after(context: str) -> str:
    """A space between a context and what goes on from it; none behind white space, or in Chinese."""
    last = context[-1:]
    return "" if not last or last.isspace() or unicodedata.east_asian_width(last) in "WF" else " "


# ---- files


def read_questions(path: str | Path) -> list[Question]:
    """The questions of a file: in each line

        a question, a tab, the right choice, a tab, a wrong one, and more of these if there are more
        {"context": "...", "choices": ["...", "..."], "answer": 0}          or "answer": one of the choices

    White space around a choice is not a part of it.  Gpt2npError, with file and line, for a line that is not so.
    """
    def from_line(line: str) -> Question:
        if is_json(path, line):
            document = keys_of(line, ("context", "choices", "answer"))
            one = checked(document["context"], document["choices"], document["answer"])
        else:
            context, *choices = line.split("\t")
            expect(bool(choices), f"expected a question, a tab and its choices, got no tab in {line!r:.40}")
            one = checked(context, choices, 0)
        choices = [choice.strip() for choice in one.choices]
        expect(len(choices) > 1, f"expected two choices or more, got {len(choices)}")
        expect(all(choices), "expected choices with something in them, got an empty one")
        twice = next((choice for i, choice in enumerate(choices) if choice in choices[:i]), None)
        expect(twice is None, f"expected different choices, got {twice!r:.40} twice")
        return one._replace(choices=choices)

    return read_lines(path, from_line)


def read_hellaswag(path: str | Path) -> list[Question]:
    """The questions of HellaSwag's own files, as hellaswag_val.jsonl, put into words as lm-evaluation-harness does.

    Zellers et al. 2019, arXiv:1905.07830.
    """
    def from_line(line: str) -> Question:
        document = keys_of(line, ("activity_label", "ctx_a", "ctx_b", "endings", "label"))
        for key in ("activity_label", "ctx_a", "ctx_b"):
            expect(isinstance(document[key], str), f'expected "{key}", a text, got {document[key]!r:.40}')
        expect(document["label"] != "", "expected the number of the right ending, got none, as in the file for the "
                                        "competition: take hellaswag_val.jsonl")
        label = document["label"]
        one = checked(f"{document['activity_label']}: {document['ctx_a']} {document['ctx_b'].capitalize()}",
                      document["endings"], int(label) if isinstance(label, str) and label.isdecimal() else label)
        return Question(without_brackets(one.context), [*map(without_brackets, one.choices)], one.answer)

    return read_lines(path, from_line)


def without_brackets(text: str) -> str:
    """The text without the marks that WikiHow's pages left in HellaSwag."""
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")


def read_lambada(path: str | Path) -> list[tuple[str, str]]:
    """The passages of LAMBADA, each as (all but the last word, a space and that word).

    In each line is a passage, or {"text": "..."} as in OpenAI's file, lambada_test.jsonl, which GPT-2 was measured on.

    Paperno et al. 2016, arXiv:1606.06031.
    """
    def from_line(line: str) -> tuple[str, str]:
        text = keys_of(line, ("text",))["text"] if is_json(path, line) else line
        expect(isinstance(text, str), f'expected "text", a text, got {text!r:.40}')
        context, _, word = text.rstrip().rpartition(" ")
        expect(bool(context.strip()), f"expected a passage of two words or more, got {text!r:.40}")
        return context, f" {word}"

    return read_lines(path, from_line)


def read_lines(path: str | Path, from_line: Callable[[str], Any]) -> list[Any]:
    """What a function makes of each line of a file that is not empty; of its errors, with the place."""
    found = []
    for number, line in enumerate(lines_in(path), 1):
        if line:
            try:
                found.append(from_line(line))
            except Gpt2npError as error:
                raise Gpt2npError(f"{path}, line {number}: {error}") from None
    if not found:
        raise Gpt2npError(f"{path}: expected a line at least, got none")
    return found


def is_json(path: str | Path, line: str) -> bool:
    """Whether a line is JSON; in a file that is called .tsv, none is."""
    return line.lstrip().startswith("{") and Path(path).suffix != ".tsv"


def keys_of(line: str, keys: Sequence[str]) -> dict[str, Any]:
    """The object in a line of JSON, which has these keys; Gpt2npError otherwise."""
    try:
        document = parse_json(line)
    except ValueError as error:
        raise Gpt2npError(f"expected an object in JSON, got {line!r:.40} ({error})") from None
    if not isinstance(document, dict):
        raise Gpt2npError(f"expected an object in JSON, got {line!r:.40}")
    if missing := [key for key in keys if key not in document]:
        other = next((task for key, task in OTHER_KEYS.items() if key in document and key not in keys), None)
        has = ", ".join(f'"{key}"' for key in list(document)[:6])
        raise Gpt2npError(f'expected "{missing[0]}", got {has or "nothing"}'
                          + (f": it looks like {other}, so say --task {other}" if other else ""))
    return document


def checked(context: Any, choices: Any, answer: Any) -> Question:
    """A question of what a file says; Gpt2npError for what cannot be one."""
    expect(isinstance(context, str), f'expected "context", a text, got {context!r:.40}')
    expect(isinstance(choices, list) and all(isinstance(choice, str) for choice in choices),
           f"expected a list of texts to choose from, got {choices!r:.40}")
    if isinstance(answer, str) and answer in choices:
        answer = choices.index(answer)
    expect(isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices),
           f"expected the answer, one of the choices or its number from 0 to {len(choices) - 1}, got {answer!r:.40}")
    return Question(context, choices, answer)


def expect(good: bool, message: str) -> None:
    """Gpt2npError with this message, if something is not good."""
    if not good:
        raise Gpt2npError(message)


# ---- figures


def is_best(values: Sequence[float], answer: int) -> bool:
    """Whether the answer's value is above all others: of a tie nobody knows which it is, so it is no right answer."""
    return all(values[answer] > value for i, value in enumerate(values) if i != answer)


def accuracies(questions: Sequence[Question], scores: Sequence[Sequence[Score]],
               without: Sequence[Sequence[Score]] | None = None) -> Iterator[tuple[str, int, str]]:
    """(name, how many are right, what it goes by) for each norm.

    without   the scores of the same choices behind no context: with them, how much the context adds to each,
              log p(choice | context) - log p(choice), is a norm too
    """
    for name, (norm, by) in NORMS.items():
        yield name, sum(is_best([*map(norm, some)], one.answer) for one, some in zip(questions, scores)), by
    if without is not None:
        added = [[a.sum - b.sum for a, b in zip(*both)] for both in zip(scores, without)]
        yield ("acc_mutual_info", sum(is_best(some, one.answer) for one, some in zip(questions, added)),
               "by the sum less that without the context")
    yield "greedy", sum(some[one.answer].greedy for one, some in zip(questions, scores)), "is what the model writes"


class LastWords(NamedTuple):
    """Of how many passages, how many last words were told: all tokens of the word are the likeliest; how many of the
    words' last tokens, given those before them; and the perplexity of a word.
    """

    n: int
    words: int
    tokens: int
    perplexity: float


def last_words(scores: Sequence[Score]) -> LastWords:
    """What the scores of LAMBADA's words come to."""
    n = len(scores)
    loss = -math.fsum(one.sum for one in scores) / n
    return LastWords(n, sum(one.greedy for one in scores), sum(one.likeliest[-1] for one in scores),
                     math.exp(loss) if loss < 700 else math.inf)


def rounded(perplexity: float) -> str:
    """A perplexity as it is shown: 40.06, and 5.1e+34 where a word is all but impossible."""
    return f"{perplexity:.2f}" if perplexity < 1e6 else f"{perplexity:.2g}"


def wilson(k: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """From where to where the rate may be that gave k of n, with 95 of 100 such intervals holding it.

    Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference.
    """
    rate, half = k / n, z * z / (2 * n)
    spread = z * math.sqrt(rate * (1 - rate) / n + half / (2 * n))
    return max(0.0, (rate + half - spread) / (1 + 2 * half)), min(1.0, (rate + half + spread) / (1 + 2 * half))
