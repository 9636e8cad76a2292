"""Label new texts with a model that was fine-tuned:  python -m gpt2np.label "..." --model run"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.label")

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from .adapt.replacing import merge_if_possible
from .command import Parser, not_empty, run_command
from .errors import Gpt2npError, sentence
from .interrupts import leave
from .labelling import Labeller, expect_names, label_together, load_labeller, load_together, names_in, read_line
from .memory import keep_freed_memory
from .terminal import texts_given
from .text.labels import entities_of
from .training.findings import bracketed
from .training.labelled import in_json, lines_of, objects_of, text_in, texts_in
from .training.named_entities import NamedEntities, Names
from .training.question_answering import Found, QuestionAnswering
from .training.text_classification import Choice

Thing = TypeVar("Thing")

TOGETHER = 256                  # texts at once


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(run, arguments)


def run(arguments: Sequence[str] | None) -> None:
    """Label what the arguments, a file, a pipe, or a terminal give."""
    options = parse(arguments)
    labeller = load_together(options.model) if len(options.model) > 1 else \
        load_labeller(next(iter(options.model), None), options.adapter)
    task = labeller.task
    for one in labeller.tasks:
        merge_if_possible(one.model)
    keep_freed_memory()
    if options.words:
        if not isinstance(task, NamedEntities):
            raise Gpt2npError(f"--words: expected a model that labels words, got one of {task.name}")
        if options.file and in_json(options.file):
            raise Gpt2npError(f"--words: expected a word in each line of --file, got {options.file}, which has objects "
                              "by its name: without --words, each gets its label")
        label_words(labeller, options)
        return
    expect_names(task)
    if options.file and in_json(options.file) and not isinstance(task, QuestionAnswering):
        label_objects(labeller, options)
    elif options.file:
        *whole_lines, last = lines_of(options.file)     # of which the last one is empty, where the others end in one
        for some in together(whole_lines + [last] * bool(last[1])):
            show(labeller, options, [line for _, line in some], [where for where, _ in some])
    else:
        source = "text" if options.texts else "standard input, line"
        typed, n = not options.texts and sys.stdin is not None and sys.stdin.isatty(), 0
        for lines in texts_given(options.texts, "labelled", TOGETHER):
            try:
                show(labeller, options, lines, [f"{source} {n + i}" for i in range(1, len(lines) + 1)])
            except Gpt2npError as error:                # of a line that is typed: the next one may do
                if not typed:
                    raise
                print(f"error: {sentence(error)}", file=sys.stderr)
            n += len(lines)


def show(labeller: Labeller, options: argparse.Namespace, lines: Sequence[str], places: Sequence[str]) -> None:
    """A line for each line: with its label behind it, or with its names in brackets; an empty one for an empty one."""
    given = [(i, read_line(labeller, line, where)) for i, (line, where) in enumerate(zip(lines, places))
             if line.strip()]
    found = dict(zip((i for i, _ in given), label_together(labeller, [its for _, its in given], options.threads)))
    for i, line in enumerate(lines):
        if i not in found:
            print()
        elif isinstance(found[i], Names):
            print(marked(labeller, line, found[i], options.probability))
        else:
            print("\t".join([line, *said(labeller, found[i], options.probability)]))
    sys.stdout.flush()


def said(labeller: Labeller, found: Any, probability: bool) -> list[str]:
    """What is found as columns: a label, a number or an answer, and, if that is asked for, how likely it is."""
    if isinstance(found, Choice):
        names = labeller.task.labels.names
        return ["|".join(found.labels),
                *["|".join(f"{found.p[names.index(one)]:.4f}" for one in found.labels)] * probability]
    if isinstance(found, Found):
        return [found.answer, *[f"{found.sure:.4f}"] * probability]
    return [f"{found:.4g}"]


def marked(labeller: Labeller, line: str, found: Names, probability: bool) -> str:
    """A line with its names in brackets, and, if that is asked for, how likely the least likely word of each is."""
    pieces, here, sure = list[tuple[str, str]](), 0, iter(sure_of(found))
    for its_type, start, end in names_in(labeller, line, found.tags):
        p = next(sure)
        pieces += [(line[here:start], ""), (line[start:end], its_type + f" {p:.4f}" * probability)]
        here = end
    return bracketed([*pieces, (line[here:], "")])


def sure_of(found: Names) -> list[float]:
    """Of each name how likely its least likely word has its label."""
    return [min(found.sure[first:end]) for _, first, end in entities_of(found.tags)]


def label_words(labeller: Labeller, options: argparse.Namespace) -> None:
    """A word and its label in each line, and an empty line between sentences, for sentences that came so."""
    lines = lines_of(options.file) if options.file else \
        (("", line) for text in texts_given(options.texts, "labelled", TOGETHER) for line in text)
    for some in together(sentences_in(line for _, line in lines)):
        for words, found in zip(some, label_together(labeller, some, options.threads)):
            for word, tag, p in zip(words, found.tags, found.sure):
                print("\t".join([word, *[f"{p:.4f}"] * options.probability, tag]))
            print()
        sys.stdout.flush()


def sentences_in(lines: Iterable[str]) -> Iterator[list[str]]:
    """The words of each sentence: the first column of each line, up to an empty one; other columns are not read."""
    words = list[str]()
    for line in lines:
        if columns := line.split():
            words.append(columns[0])
        elif words:
            yield words
            words = []
    if words:
        yield words


def label_objects(labeller: Labeller, options: argparse.Namespace) -> None:
    """An object in each line, as finetune reads them, with its label in it; names in them are found by characters."""
    named, labeller = isinstance(labeller.task, NamedEntities), labeller._replace(by_characters=True)
    for some in together(objects_of(options.file)):
        texts: list[Any] = [text_in(where, value, "text") if named else texts_in(where, value)
                            for where, value in some]
        given = [read_line(labeller, text, "") for text in texts] if named else texts
        for (_, value), text, found in zip(some, texts, label_together(labeller, given, options.threads)):
            if isinstance(found, Names):
                value["label"] = spans_of(labeller, text, found)
            else:
                its, *p = said(labeller, found, options.probability)
                value["label"] = its if isinstance(found, Choice) else float(its)
                value |= dict(zip(["probability"], p))
            print(json.dumps(value, ensure_ascii=False))
        sys.stdout.flush()


def spans_of(labeller: Labeller, line: str, found: Names) -> dict[str, dict[str, list[list[int]]]]:
    """The names of a line as CLUE's files have them: for each type its names, with their first and last character."""
    spans: dict[str, dict[str, list[list[int]]]] = {}
    for its_type, start, end in names_in(labeller, line, found.tags):
        spans.setdefault(its_type, {}).setdefault(line[start:end], []).append([start, end - 1])
    return spans


def together(things: Iterable[Thing]) -> Iterator[list[Thing]]:
    """The same in lists of as many as go together."""
    things = iter(things)
    while some := list(islice(things, TOGETHER)):
        yield some


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments by their names."""
    parser = Parser(
        "label", usage="%(prog)s [TEXT ...] --model MODEL [OPTIONS]",
        description="Label texts with a model that finetune has trained: each text with its label, its number or the "
                    "answer behind a tab, or with its names in brackets. A text, or two with a tab between; for "
                    "answers a context, a tab and its question. In brackets: what holds where nothing is said.",
        known_as={"-m": "--model", "--input": "--file", "--scores": "--probability", "--probabilities": "--probability",
                  "--text": 'the text stands for itself, as in: label "..." --model run',
                  "--task": "the model knows what it has learned"},
        examples=('python -m gpt2np.label "这家店真不错" --model run',
                  "python -m gpt2np.label --file new.txt --model run --probability",
                  "python -m gpt2np.label --file new.txt --model run-1 --model run-2",
                  "python -m gpt2np.label --words < new.conll --model run"))
    parser.add_argument("texts", nargs="*", metavar="TEXT",
                        help="texts, in quotes; without them, the lines of standard input are read")
    parser.add_argument("--file", type=not_empty, metavar="FILE",
                        help="a text in each line, in UTF-8; or, where its name ends in .json or .jsonl, an object, "
                             "which gets its label")
    parser.add_argument("--model", type=not_empty, metavar="MODEL", action="append", default=[],
                        help="the folder of a run of finetune, or of a model with a head; given several times, labels "
                             "are by the mean of the models' probabilities, and numbers are the mean")
    parser.add_argument("--adapter", type=not_empty, metavar="DIR",
                        help="what was trained beside a model: the folder of finetune --adapt; without --model, the "
                             "model is the one that it names")
    parser.add_argument("--words", action="store_true",
                        help="for names: a word in each line and an empty line between sentences, in and out; what "
                             "stands behind a word is not read")
    parser.add_argument("--probability", action="store_true", help="how likely it is, too; a number has none")
    parser.add_threads("how many work at once (all cores)")
    options = parser.parse_args(arguments)
    if not options.model and options.adapter is None:
        parser.error("expected --model, the folder of a run of finetune, or --adapter")
    if options.adapter and len(options.model) > 1:
        parser.error("--adapter: expected one --model with it, the one that it was trained beside")
    if options.texts and options.file:
        parser.error("expected either TEXT or --file, got both")
    if options.words and options.texts:
        parser.error("--words: expected --file FILE or a pipe with it, got TEXT")
    return options


if __name__ == "__main__":
    leave(main())
