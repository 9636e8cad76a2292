"""python -m gpt2np.evaluate: what a text is counted in, several models in a table, LAMBADA and HellaSwag as rows."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

import gpt2np
from gpt2np import evaluate
from gpt2np.models.bert import BERT
from gpt2np.models.config import BertConfig
from gpt2np.text.columns import columns_of
from gpt2np.text.wordpiece import learn_characters
from tests.test_score import HELLASWAG

GOLDEN = str(Path(__file__).parent / "golden" / "scoring")
_, TOKENIZER = gpt2np.load(GOLDEN)
TEXT = "The cat sat on the mat, and the dog sat on the log. The nurse said that she was tired.\n" * 4
LAMBADA = json.dumps({"text": "The cat sat on the mat"})


@pytest.fixture(autouse=True)
def no_lasting_settings(monkeypatch):
    monkeypatch.setattr(evaluate, "keep_freed_memory", lambda: None)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").symlink_to(GOLDEN)
    for name, text in (("en", TEXT), ("zh", "床前明月光，疑是地上霜。\n" * 3), ("lambada", LAMBADA),
                       ("hellaswag", json.dumps(HELLASWAG))):
        (tmp_path / name).write_text(text, encoding="utf-8")


def said(capsys, *arguments):
    assert evaluate.main(list(arguments)) == 0
    return capsys.readouterr().out


def test_perplexity_in_three_units(capsys, files):
    """Each is exp of the same nats, shared out among tokens, words or bytes; with the rest of what is said."""
    printed = said(capsys, "en", "--model", "m", "--calibration")
    counts = re.search(r"(\d+) tokens, (\d+) bytes of text, (\d+) words between", printed)
    tokens, n_bytes, words = map(int, counts.groups())
    scored = TOKENIZER.decode(TOKENIZER.encode(TEXT)[1:])
    assert (n_bytes, words) == (len(scored.encode()), len(scored.split()))
    interval = re.search(r"token +([\d.]+) nats, ([\d.]+) to ([\d.]+) with", printed)
    loss, low, high = map(float, interval.groups())
    assert low < loss < high
    for name, n in (("perplexity", tokens), ("by words", words), ("by bytes", n_bytes)):
        assert math.log(float(re.search(rf"{name} +([\d.e+]+)", printed)[1])) == pytest.approx(
            loss * tokens / n, rel=1e-4)
    assert re.search(r"\nlikeliest +\d+\.\d% of the tokens", printed) and re.search(r"\nECE +\d+\.\d% between", printed)
    bars = re.findall(r"^ *(\d+)% to +(\d+)% +[\d.]+% +([\d,]+) +[# ]*\|[# ]*$", printed, re.M)
    assert sum(int(n.replace(",", "")) for _, _, n in bars) == tokens


def test_several_models_and_files_are_a_table(capsys, files):
    printed = said(capsys, "en", "zh", "--model", "m", "--model", "m/", "--lambada", "lambada",
                   "--hellaswag", "hellaswag")
    rows = re.findall(r"^(m/? on (?:\w+|all 2 files)) +(\S+) +(\S+) +([\d.]+)(?:±[\d.]+)? +(\d+\.\d%) +(\d+%)$",
                      printed, re.M)
    assert [row[0] for row in rows] == ["m on en", "m on zh", "m on all 2 files", "m/ on en", "m/ on zh",
                                        "m/ on all 2 files"]
    assert [row[1:] for row in rows[:3]] == [row[1:] for row in rows[3:]]       # the same model by two names
    alone = said(capsys, "en", "--model", "m")
    assert float(rows[0][1]) == pytest.approx(float(re.search(r"perplexity +([\d.]+)", alone)[1]), rel=1e-3)
    assert rows[0][4] == re.search(r"likeliest +(\S+)", alone)[1]
    assert printed.count("on lambada: last word 0.0% (0.0% to 79.3%), last token ") == 2
    assert printed.count("on hellaswag: acc ") == 2 and "acc_norm" in printed and "greedy" not in printed


def test_the_data_sets_alone(capsys, files):
    assert said(capsys, "--lambada", "lambada", "--model", "m").startswith("m on lambada: last word ")


@pytest.mark.parametrize("columns", [40, 80])
def test_what_is_shown_fits_the_terminal(monkeypatch, capsys, files, columns):
    for name in ("gpt2np.terminal.width", "gpt2np.evaluate.width"):
        monkeypatch.setattr(name, lambda: columns)
    for arguments in (["en", "--model", "m", "--calibration"], ["en", "zh", "--model", "m", "--model", "m/"],
                      ["--model", "m", "--lambada", "lambada", "--hellaswag", "hellaswag"]):
        assert max(map(columns_of, said(capsys, *arguments).splitlines())) <= columns


def test_nothing_is_measured_where_a_later_model_cannot_be(capsys, files, tmp_path):
    pieces = learn_characters(["the cat sat"], 20)
    gpt2np.save(tmp_path / "bert", BERT(BertConfig(pieces.n_vocab, 8, 8, 2, 1, 8), np.random.default_rng(0)), pieces)
    assert evaluate.main(["en", "--model", "m", "--model", "bert"]) == 1
    assert capsys.readouterr() == ("", "error: --model: expected a model that goes on from a text, or translates, or "
                                       "fills gaps, or has learned from labelled examples, got a BERT, which has no "
                                       "head to do any of that\n")


def test_numbers_are_short():
    assert [evaluate.short(x) for x in (1.23456, 9999.4, 46080.2, 123456.0, 1e270, math.inf)] == [
        "1.235", "9999", "46080", "1e+05", "1e+270", "inf"]


@pytest.mark.parametrize("arguments, status, message", [
    (["--model", "m"], 2, "expected FILE, or --lambada or --hellaswag with one"),
    (["en", "--model", "m", "--lambada", "zh"], 1, "zh, line 1: expected a passage of two words or more, got "),
    (["en", "--model", "m", "--hellaswag", "lambada"], 1, 'lambada, line 1: expected "activity_label", got "text": it'),
    (["en", "--model", "m", "--hellaswag", "none"], 1, "none: No such file or directory"),
    (["en", "--model", "m", "--num-beams", "2"], 2, "--num-beams: expected with another model, one that translates"),
    (["en", "--model", "m", "--model", "m/", "--adapter", "a"], 2, "--adapter: expected one --model with it, the one"),
    (["en", "--model", "m", "--model", "none"], 1, "'none': neither a model's name"),
    (["en", "--model", "translation", "--model", "m"], 2, "--model: expected translation, which translates, alone"),
    (["en", "--model", "translation", "--calibration"], 2, "--calibration: expected with another model, one that"),
])
def test_wrong_input_is_one_sentence(capsys, files, arguments, status, message):
    try:
        got = evaluate.main(arguments)
    except SystemExit as exit_:
        got = exit_.code
    assert got == status and capsys.readouterr().err.startswith(f"error: {message}")
