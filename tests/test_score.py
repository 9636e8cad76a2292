"""Questions, templates, published formats, pairs of sentences, and the command that reads them."""

import json
import math
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpt2np
from gpt2np import questions as q
from gpt2np import score as command
from gpt2np import sentence_pairs as p
from gpt2np.errors import Gpt2npError
from gpt2np.questions import Question, Template
from gpt2np.scoring import Score, score
from gpt2np.text.columns import columns_of

GOLDEN = str(Path(__file__).parent / "golden" / "scoring")
MODEL, TOKENIZER = gpt2np.load(GOLDEN, np.float64)
TSV = ("The capital of France is\tParis\tBeijing\tthe mat\n\n床前明月光，\t疑是地上霜。\t黄河入海流。\r\n"
       "To be, or not to\tbe\tsit\n")
JSON_LINES = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in (
    {"context": "The capital of France is", "choices": ["the mat", "Paris", "Beijing"], "answer": 1},
    {"context": "床前明月光，", "choices": ["黄河入海流。", "疑是地上霜。"], "answer": "疑是地上霜。"},
    {"context": "To be, or not to", "choices": ["be", " sit "], "answer": 0, "source": "more is passed over"}))
HELLASWAG = {"ind": 24, "activity_label": "Cat care", "ctx_a": "The cat sat on the mat.", "ctx_b": "the dog",
             "ctx": "The cat sat on the mat. the dog", "split": "val", "split_type": "indomain", "label": 3,
             "endings": ["sat on the log.", "[header] How to [title] Be tired [step] Sit.", "is  Paris.", "was not."],
             "source_id": "made for this test"}


@pytest.fixture(autouse=True)
def no_lasting_settings(monkeypatch):
    monkeypatch.setattr(command, "keep_freed_memory", lambda: None)


@pytest.fixture
def written(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)
    return write


def said(capsys, *arguments, model=GOLDEN):
    assert command.main([*arguments, "--model", model]) == 0
    return capsys.readouterr().out.splitlines()


# ---- questions


def test_questions_are_read_from_lines_of_two_kinds(written):
    table = q.read_questions(written("a.tsv", TSV))
    assert [one.answer for one in table] == [0, 0, 0] and table[1].choices == ["疑是地上霜。", "黄河入海流。"]
    lines = q.read_questions(written("a.jsonl", "\ufeff" + JSON_LINES))
    assert [(one.context, one.choices[one.answer], sorted(one.choices)) for one in lines] == [
        (one.context, one.choices[0], sorted(one.choices)) for one in table]
    assert q.read_questions(written("braces.tsv", "{a\tb\tc\n")) == [Question("{a", ["b", "c"], 0)]


@pytest.mark.parametrize("text, message", [
    ("", "{}: expected a line at least, got none"),
    ("\n\nno tab\n", "{}, line 3: expected a question, a tab and its choices, got no tab in 'no tab'"),
    ("a\tb\n", "{}, line 1: expected two choices or more, got 1"),
    ("a\tb\tc\nd\te\t \n", "{}, line 2: expected choices with something in them, got an empty one"),
    ("a\tb\tc\tb \n", "{}, line 1: expected different choices, got 'b' twice"),
    ("{\n", "{}, line 1: expected an object in JSON, got '{{' (Expecting property name"),
    ('{"context": ' + "[" * 100_000, "{}, line 1: expected an object in JSON, got '{{"),
    ('{"answer": ' + "9" * 5000 + "}", "{}, line 1: expected an object in JSON, got '{{"),
    ('{"context": "\\ud800", "choices": ["a", "b"], "answer": 0}', "{}, line 1: expected an object in JSON, got '{{"),
    ('{"context": "a"}\n', '{}, line 1: expected "choices", got "context"'),
    ("{}\n", '{}, line 1: expected "context", got nothing'),
    ('{"context": 1, "choices": ["b", "c"], "answer": 0}', '{}, line 1: expected "context", a text, got 1'),
    ('{"context": "a", "choices": "bc", "answer": 0}', "{}, line 1: expected a list of texts to choose from, got 'bc'"),
    ('{"context": "a", "choices": ["b", 1], "answer": 0}', "{}, line 1: expected a list of texts to choose from, got"),
    ('{"context": "a", "choices": ["b", "c"], "answer": 2}', "{}, line 1: expected the answer, one of the choices or "
                                                             "its number from 0 to 1, got 2"),
    ('{"context": "a", "choices": ["b", "c"], "answer": true}', "{}, line 1: expected the answer, one of the choices "
                                                                "or its number from 0 to 1, got True"),
    ('{"context": "a", "choices": ["b", "c"], "answer": -1}', "{}, line 1: expected the answer, "),
    (json.dumps(HELLASWAG), '{}, line 1: expected "context", got "ind", "activity_label", "ctx_a", "ctx_b", "ctx", '
                            '"split": it looks like hellaswag, so say --task hellaswag'),
    ('{"text": "a b"}', '{}, line 1: expected "context", got "text": it looks like lambada, so say --task lambada'),
])
def test_a_wrong_line_is_named(written, text, message):
    path = written("questions", text)
    with pytest.raises(Gpt2npError) as caught:
        q.read_questions(path)
    assert str(caught.value).startswith(message.format(path)) and "\n" not in str(caught.value)


def test_hellaswag_is_put_as_the_harness_puts_it(written):
    """By hand from its process_docs; the label may be a text, as in Hugging Face's copy."""
    path = written("val.jsonl", json.dumps(HELLASWAG) + "\n" + json.dumps(HELLASWAG | {"label": "0", "ctx_b": ""}))
    first, second = q.read_hellaswag(path)
    assert first.context == "Cat care: The cat sat on the mat. The dog" and first.answer == 3
    assert first.choices == ["sat on the log.", " How to. Be tired Sit.", "is Paris.", "was not."]
    assert second.answer == 0 and second.context == "Cat care: The cat sat on the mat."
    context, choices = Template().asked(first)
    assert (context, choices[3]) == (first.context, " was not.")
    scored = score(MODEL, TOKENIZER, "a", choices)[1]           # its own space counts, as it does in the harness
    assert round(scored.sum / scored.per_character) == len(" How to. Be tired Sit.")


@pytest.mark.parametrize("change, message", [
    ({"label": ""}, "line 1: expected the number of the right ending, got none, as in the file for the competition"),
    ({"label": 4}, "line 1: expected the answer, "), ({"endings": "a"}, "line 1: expected a list of texts"),
    ({"ctx_b": None}, 'line 1: expected "ctx_b", a text, got None')])
def test_what_is_not_hellaswag(written, change, message):
    with pytest.raises(Gpt2npError, match=message):
        q.read_hellaswag(written("val.jsonl", json.dumps(HELLASWAG | change)))


def test_lambada_is_read_in_both_forms(written):
    expected = [("The nurse said that she was", " tired"), ("To be , or not to", " be")]
    assert q.read_lambada(written("test.jsonl", '{"text": "The nurse said that she was tired"}\n'
                                                '{"text": "To be , or not to be "}\n')) == expected
    assert q.read_lambada(written("test.txt", "The nurse said that she was tired\nTo be , or not to be\n")) == expected
    for text, message in (("word", "expected a passage of two words or more, got 'word'"),
                          ('{"text": 3}', 'expected "text", a text, got 3'),
                          ('{"a": "b c"}', 'expected "text", got "a"')):
        with pytest.raises(Gpt2npError, match=message):
            q.read_lambada(written("test.jsonl", text))


# ---- prompts


def test_templates():
    one, two = Question("What?", ["This", "that"], 0), Question("中国的首都是", ["北京", "巴黎"], 1)
    assert Template().asked(one) == ("What?", [" This", " that"])
    assert Template().asked(two) == ("中国的首都是", ["北京", "巴黎"])      # Chinese has no spaces
    assert Template().asked(Question("Q:\n", ["a"], 0)) == ("Q:\n", ["a"])
    assert Template().asked(Question("", ["a"], 0)) == ("", ["a"])
    assert q.template_of("question").asked(one, [two, one]) == (
        "Q: 中国的首都是\nA: 巴黎\n\nQ: What?\nA: This\n\nQ: What?\nA:", [" This", " that"])
    assert q.template_of("summary").asked(one)[0] == "What?\nTL;DR:"
    assert q.template_of("translation").asked(one, [two])[0] == "中国的首都是 = 巴黎\n\nWhat? ="
    assert q.template_of("<{context}|{choice}>").asked(one) == ("<What?|", ["This>", "that>"])
    for wrong in ("", "summry", "{choice}{context}", "{context}", "{context}{choice}{choice}",
                  "{context}{context}{choice}"):
        with pytest.raises(Gpt2npError, match=r"^template: expected one of summary, translation, question, or a text"):
            q.template_of(wrong)


def test_no_question_is_its_own_example():
    some = [Question(text, ["a", "b"], 0) for text in "xyz"]
    assert q.examples_for(some[1], some) == [some[0], some[2]] and q.examples_for(some[1], some, 1) == some[:1]
    with pytest.raises(Gpt2npError, match=r"^examples: expected at least 3 beside the question itself, got 2: "):
        q.examples_for(some[1], some, 3)


# ---- figures


def scored(*sums):
    return [Score("x" * i, [7] * i, [value / i] * i, [False] * i, False, 0) for i, value in enumerate(sums, 1)]


def test_accuracies_by_each_norm():
    """A long choice loses by its sum, and wins by its mean."""
    questions = [Question("", ["x", "xx"], 0), Question("", ["x", "xx"], 1)]
    found = {name: k for name, k, _ in q.accuracies(questions, [scored(-2, -3), scored(-2, -3)],
                                                    [scored(-1, -1), scored(-3, -9)])}
    assert found == {"acc": 1, "acc_norm": 1, "acc_bytes": 1, "acc_tokens": 1, "acc_mutual_info": 2, "greedy": 0}
    assert {name: k for name, k, _ in q.accuracies(questions[1:], [scored(-2, -3)])} == {
        "acc": 0, "acc_norm": 1, "acc_bytes": 1, "acc_tokens": 1, "greedy": 0}


def test_a_tie_is_no_right_answer_wherever_the_answer_stands():
    for answer in (0, 1, 2):
        assert not q.is_best([1.0, 1.0, 1.0], answer)
    assert q.is_best([0.0, 1.0], 1) and not q.is_best([0.0, 1.0], 0) and not q.is_best([math.nan, 0.0], 0)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_s_interval_has_the_rates_that_are_1_96_deviations_away(numbers):
    """By its definition: at each end r, |k / n - r| = z sqrt(r (1 - r) / n)."""
    k, n = numbers
    for end in q.wilson(k, n):
        if 1e-12 < end < 1 - 1e-12:
            assert abs(k / n - end) == pytest.approx(1.959963984540054 * math.sqrt(end * (1 - end) / n), rel=1e-9)
    low, high = q.wilson(k, n)
    assert 0 <= low <= k / n + 1e-15 and k / n <= high + 1e-15 <= 1 + 1e-15
    assert (k == 0) == (low < 1e-12) and (k == n) == (high > 1 - 1e-12)


# ---- sentences


def test_the_word_in_which_two_differ():
    for first, second, expected in (
            ("The nurse said that he was tired.", "The nurse said that she was tired.",
             "The nurse said that [he|she] was tired."),
            ("He is.", "She is.", "[He|She] is."), ("他是医生。", "她是医生。", "[他|她]是医生。"),
            ("It is not so.", "It is so.", "It is [not |]so."), ("a b c d", "a x c y", "a [b c d|x c y]"),
            ("so", "so so", "so[| so]"), ("one", "two", "[one|two]")):
        assert p.marked(p.Pair(first, second)) == expected
        (_, end), (_, other) = p.word_of(first, second)
        assert first[end:] == second[other:]


@settings(max_examples=25)
@given(*[st.text(st.sampled_from("ab 月明."), min_size=1, max_size=9)] * 2)
def test_a_difference_has_two_parts(first, second):
    scores = score(MODEL, TOKENIZER, "", [first, second])
    one = p.difference(TOKENIZER, *scores)
    other = p.difference(TOKENIZER, *scores[::-1])
    assert one.word + one.rest == pytest.approx(one.total, abs=1e-11) == pytest.approx(-other.total, abs=1e-11)
    assert one.word == pytest.approx(-other.word, abs=1e-11)
    if first == second:
        assert one == pytest.approx((0, 0, 0), abs=1e-12)


def test_the_parts_are_those_of_the_words():
    """What stands before the word cancels, and what stands behind it is the rest."""
    first, second = score(MODEL, TOKENIZER, "", ["The dog said that he sat", "The dog said that she sat"])
    one = p.difference(TOKENIZER, first, second)
    whole, start = (score(MODEL, TOKENIZER, "", [f"The dog said that {who}{end}" for who in ("he", "she")])
                    for end in (" sat", ""))
    assert one.rest == pytest.approx((whole[0].sum - start[0].sum) - (whole[1].sum - start[1].sum), abs=1e-11)
    assert one.word == pytest.approx(start[0].sum - start[1].sum, abs=1e-11)


def test_pairs_of_a_file_and_those_that_come_with_it(written):
    assert p.read_sentence_pairs(written("a", "他来了。\t她来了。\tzh\nHe came.\tShe came.\n")) == [
        ("他来了。", "她来了。", "zh"), ("He came.", "She came.", "")]
    for text, message in (("a", "expected a sentence, a tab and another one"), ("a\tb\tc\td", "expected a sentence"),
                          ("a\t", "expected a sentence"), ("a\ta ", "expected two different sentences, got 'a' twice")):
        with pytest.raises(Gpt2npError, match=f"a, line 1: {message}"):
            p.read_sentence_pairs(written("a", text))
    assert {p.marked(pair) for pair in p.profession_pairs()} == {
        f"The {one} said that [he|she] was tired." for one in p.PROFESSIONS}


# ---- the command


def test_questions(capsys, written):
    path = written("a.tsv", TSV)
    lines = said(capsys, path)
    assert lines[0] == (f"{GOLDEN} on {path}: 3 questions of 2 to 3 choices; who guesses has 44.4% right")
    found = {line.split()[0]: line.split()[1] for line in lines[1:]}
    assert list(found) == ["acc", "acc_norm", "acc_bytes", "acc_tokens", "greedy"]
    model, tokenizer = gpt2np.load(GOLDEN)
    for name, of in (("acc", "sum"), ("acc_norm", "per_character"), ("acc_bytes", "per_byte"),
                     ("acc_tokens", "per_token")):
        right = 0
        for one in q.read_questions(path):
            values = [getattr(found, of) for found in score(model, tokenizer, *Template().asked(one))]
            right += max(values) == values[0]
        assert found[name] == f"{right / 3:.1%}"
    assert said(capsys, written("a.jsonl", JSON_LINES))[1:] == lines[1:]       # in another order
    assert said(capsys, path, "--limit", "1")[0].endswith("1 questions of 3 choices; who guesses has 33.3% right")


def test_examples_and_json(capsys, written):
    path = written("a.tsv", TSV)
    *lines, last = map(json.loads, said(capsys, path, "--json", "--examples", path, "--shots", "1", "--template",
                                        "{context}:\\n{choice}", "--mutual-info"))
    assert last.keys() == {"questions", "examples", "acc", "acc_norm", "acc_bytes", "acc_tokens", "acc_mutual_info",
                           "greedy"} and (last["questions"], last["examples"]) == (3, 1)
    model, tokenizer = gpt2np.load(GOLDEN)
    prompt = "床前明月光，:\n疑是地上霜。\n\nThe capital of France is:\n"
    for got, one in zip(lines[0]["scores"], score(model, tokenizer, prompt, ["Paris", "Beijing", "the mat"])):
        assert got["choice"] == one.text and got["sum"] == pytest.approx(one.sum, rel=1e-6)
        assert got["per_character"] == pytest.approx(one.per_character, rel=1e-6)


def test_typed_choices(capsys):
    head, first, second = said(capsys, "--context", "床前明月光，", "--choice", "疑是", "--choice", "低头")
    model, tokenizer = gpt2np.load(GOLDEN)
    one = score(model, tokenizer, "床前明月光，", ["疑是"])[0]
    assert head.split() == ["sum", "token", "char", "byte", "greedy"]
    assert first.split() == [f"{x:.3f}" for x in (one.sum, one.per_token, one.per_character, one.per_byte)] + [
        "no", "疑是"] and second.endswith("低头")
    (line,) = said(capsys, "--context", "The dog", "--choice", "R", "--json", "--template", "{context}{choice}")
    assert json.loads(line)["scores"][0]["greedy"] is True


def test_lambada(capsys, written):
    path = written("test.jsonl", '{"text": "The dog R"}\n{"text": "The cat sat on the mat"}\n')
    lines = said(capsys, path, "--task", "lambada")
    *passages, last = map(json.loads, said(capsys, path, "--task", "lambada", "--json"))
    assert len(passages) == 2 and last["perplexity"] == pytest.approx(
        math.exp(-(passages[0]["sum"] + passages[1]["sum"]) / 2))
    assert lines[0].endswith(": 2 passages, of which the last word is to be told")
    assert re.match(r"last word +0.0%", lines[1]) and re.match(r"last token +\d+.0%", lines[2])
    assert lines[3].split()[:2] == ["perplexity", f"{last['perplexity']:.2f}"]


def test_the_last_word_and_its_last_token_are_two_things(monkeypatch, capsys, written):
    some = [Score(" word", [1, 2], [-1.0, -1.0], likeliest, False, 0)
            for likeliest in ([True, True], [False, True], [True, False])]
    monkeypatch.setattr(command, "score_all", lambda *asked: ([one] for one in some))
    lines = said(capsys, written("test.txt", "a word\nb word\nc word\n"), "--task", "lambada")
    assert [line.split("(")[0].split()[1:] for line in lines[1:3]] == [["word", "33.3%"], ["token", "66.7%"]]
    assert lines[3].split()[1] == f"{math.exp(2):.2f}"


def test_hellaswag(capsys, written):
    lines = said(capsys, written("val.jsonl", json.dumps(HELLASWAG)), "--task", "hellaswag")
    assert lines[0].endswith("1 questions of 4 choices; who guesses has 25.0% right")


def test_pairs(capsys, written):
    path = written("pairs", "他来了。\t她来了。\tzh\nHe came.\tShe came.\ten\n")
    head, first, second, _, *last = said(capsys, path, "--task", "pairs")
    assert head.split() == ["total", "word", "rest"] and first.endswith("  [他|她]来了。")
    assert second.endswith("  [He|She] came.")
    assert [line.split(":")[0] for line in last] == ["all pairs", "zh", "en"]
    *pairs, all_of_them = map(json.loads, said(capsys, path, "--task", "pairs", "--json"))
    assert pairs[0]["total"] == pytest.approx(pairs[0]["word"] + pairs[0]["rest"])
    assert all_of_them["total"] == pytest.approx((pairs[0]["total"] + pairs[1]["total"]) / 2)
    assert all_of_them["groups"]["en"]["total"] == pytest.approx(pairs[1]["total"])
    assert len(said(capsys, "--task", "pairs", "--limit", "3")) == 6


def test_what_was_left_out_is_said(capsys, written):
    path = written("a.tsv", "The cat sat on the mat. " * 9 + "\ta\tb\n中国的首都是\t北京\t故乡\nTo\tbe\tsit\n")
    lines = said(capsys, path)
    assert lines[:2] == [
        "note: 1 of 3 are longer than the 48 tokens that the model sees: the beginning of the context is left out",
        "note: in 1 of 3, a token holds the end of the context and the beginning of a choice: it counts as the "
        "choice's"]
    for line in said(capsys, path, "--json"):
        json.loads(line)


def test_a_choice_that_cannot_be_scored_is_a_sentence(capsys, written):
    assert command.main([written("a.tsv", "a\tb\t" + "x" * 99 + "\n"), "--model", GOLDEN]) == 1
    out, err = capsys.readouterr()
    assert not out and err.startswith("error: continuation: expected at most the 48 tokens that the model sees, got ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("arguments", [["a.tsv", "--mutual-info"], ["--task", "pairs"], ["l.txt", "--task", "lambada"],
                                       ["--context", "To be, or not", "--choice", "to be", "--choice", "床前明月光"]])
def test_what_is_shown_fits_the_terminal(monkeypatch, capsys, written, tmp_path, columns, arguments):
    written("a.tsv", TSV)
    written("l.txt", "The cat sat\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gpt2np.terminal.width", lambda: columns)
    lines = said(capsys, *arguments)
    assert max(columns_of(line) for line in lines if GOLDEN not in line) <= columns


def test_ctrl_c_ends_it_at_once(written):
    path = written("a.tsv", "".join(f"Question {i}: " + "word " * 200 + "\tyes\tno\n" for i in range(3000)))
    child = subprocess.Popen([sys.executable, "-m", "gpt2np.score", path, "--model", "demo"], stderr=subprocess.PIPE,
                             stdout=subprocess.DEVNULL, text=True)
    time.sleep(1.2)
    child.send_signal(signal.SIGINT)
    begun = time.monotonic()
    _, err = child.communicate(timeout=30)
    assert child.returncode == 130 and err.endswith("interrupted\n") and "Traceback" not in err
    assert time.monotonic() - begun < 10
