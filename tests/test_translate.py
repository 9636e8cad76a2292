"""python -m gpt2np.translate: lines into lines, scores, what looked at which, and what it says to wrong input."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gpt2np
from gpt2np import terminal
from gpt2np import translate as command
from gpt2np.decoding import BeamRules, Translated, best_translations, translate
from gpt2np.models.config import TransformerConfig
from gpt2np.models.transformer import Transformer
from gpt2np.sampling import Sampler
from gpt2np.text.bpe import Tokenizer
from gpt2np.text.bpe_train import learn_merges
from gpt2np.text.protocol import characters_of

TEXTS = ["我喜欢读书。", "他来了。", "三"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "translator"
    tokenizer = Tokenizer(learn_merges({"我": 9, "喜": 8, "欢": 7}, 6))
    config = TransformerConfig(263, 20, 12, 3, 2, 24, "pre", scripts=("CJK", "LATIN"))
    model = Transformer(config, np.random.default_rng(2))
    model.wte.value[65:91] *= 3                         # letters, for the most part
    gpt2np.save(folder, model, tokenizer)
    return str(folder)


@pytest.fixture(autouse=True)
def nothing_outside(monkeypatch):
    monkeypatch.setattr(command, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(sys, "stdin", None)


def printed(capsys, folder, *arguments, status=0):
    assert command.main([*arguments, "--model", folder]) == status
    return capsys.readouterr()


def lines_of(text):
    return text.split("\n")[:-1]


def test_each_argument_is_a_text_and_becomes_a_line(capsys, folder):
    model, tokenizer = gpt2np.load(folder)
    found = best_translations(model, tokenizer, [*TEXTS, ""], BeamRules(4))
    out, err = printed(capsys, folder, *TEXTS, "")
    assert lines_of(out) == [command.one_line(beams[0].text) if beams else "" for beams in found] and err == ""
    greedy, _ = printed(capsys, folder, *TEXTS, "--num-beams", "1")
    assert lines_of(greedy) == list(map(command.one_line, translate(model, tokenizer, TEXTS)))


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_a_pipe_of_lines_gives_lines(capsys, folder, monkeypatch, end):
    """Empty ones too; the last one need not end, and a byte order mark is none of it."""
    lines = [TEXTS[0], "", TEXTS[1], "  ", TEXTS[2]]
    data = ("\ufeff" + (end or "\n").join(lines) + end).encode()
    expected = [lines_of(printed(capsys, folder, text).out)[0] for text in lines]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert lines_of(printed(capsys, folder).out) == expected and expected[1] == expected[3] == ""


def test_more_lines_than_go_together(capsys, folder, monkeypatch):
    lines = [TEXTS[i % 3] + chr(97 + i % 26) for i in range(75)]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode())))
    model, tokenizer = gpt2np.load(folder)
    found = lines_of(printed(capsys, folder, "--num-beams", "1").out)
    assert found == list(map(command.one_line, translate(model, tokenizer, lines)))


@pytest.mark.slow
def test_a_line_of_a_pipe_comes_back_at_once(folder):
    """Before the pipe is closed: another program may wait for it."""
    process = subprocess.Popen([sys.executable, "-m", "gpt2np.translate", "--model", folder, "--num-beams", "1"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=os.environ | {"PYTHONPATH": str(Path(gpt2np.__file__).parents[1])})
    for text in TEXTS[:2]:
        process.stdin.write(text.encode() + b"\n")
        process.stdin.flush()
        assert process.stdout.readline().endswith(b"\n")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, b"", b"")


def test_n_best_with_scores(capsys, folder):
    model, tokenizer = gpt2np.load(folder)
    rules = BeamRules(3, 0.6, "wu")
    found = best_translations(model, tokenizer, TEXTS[:2], rules, 0.2)
    out, _ = printed(capsys, folder, *TEXTS[:2], "", "--num-beams", "3", "--n-best", "2", "--scores",
                     "--length-penalty", "0.6", "--penalty", "wu", "--coverage-penalty", "0.2")
    expected = [f"{i}\t{b.score:.4f}\t{b.total:.4f}\t{len(b.written)}\t{command.one_line(b.text)}"
                for i, beams in enumerate(found, 1) for b in beams[:2]]
    assert lines_of(out) == [*expected, "3\t"]
    n_best = lines_of(printed(capsys, folder, TEXTS[0], "--n-best", "5").out)       # five beams, then
    assert [line.split("\t")[0] for line in n_best] == ["1"] * 5


def test_what_is_drawn(capsys, folder):
    model, tokenizer = gpt2np.load(folder)
    expected = translate(model, tokenizer, TEXTS, Sampler(2.0, 50, 0.9), np.random.default_rng(3))
    arguments = *TEXTS, "--temperature", "2", "--top-k", "50", "--top-p", "0.9", "--seed", "3"
    assert lines_of(printed(capsys, folder, *arguments).out) == list(map(command.one_line, expected))
    several = lines_of(printed(capsys, folder, *arguments, "--n-best", "2").out)
    assert several[::2] == [f"{i}\t{command.one_line(text)}" for i, text in enumerate(expected, 1)]
    assert len({line.split("\t")[1] for line in several}) > 3


# ---- which word looked at which


def test_a_table_of_shades():
    p = np.array([[0.04, 0.06, 0.9], [0.2, 0.31, 0.59]])
    assert command.table(["I", "like"], ["我", "喜欢", "x"], p, 4) == ("      我 喜欢 x\n"
                                                                      "I        ░░░░ █\n"
                                                                      "like  ▒▒ ▓▓▓▓ ▓")


def test_tokens_that_are_one_character_stand_together():
    tokenizer = Tokenizer(learn_merges({"我": 9}, 2))
    ids = tokenizer.encode("a我 书\n")

    def shown(ids):
        return [(terminal.printable(data), places) for data, places in characters_of(tokenizer, ids)]
    assert shown(ids) == [("a", [0]), ("我", [1]), ("␣", [2]), ("书", [3, 4, 5]), ("\\n", [6])]
    cut = tokenizer.encode("书")[:2]
    assert shown(cut) == [("<e4><b9>", [0, 1])]


@pytest.mark.parametrize("columns", [12, 30, 80])
def test_the_table_keeps_to_the_width_and_shows_all_that_was_looked_at(folder, monkeypatch, columns):
    model, tokenizer = gpt2np.load(folder)
    monkeypatch.setattr(terminal, "width", lambda: columns)
    monkeypatch.setattr(command, "width", lambda: columns)
    best = best_translations(model, tokenizer, [TEXTS[0]], BeamRules(2))[0][0]
    tables = command.attention_table(model, tokenizer, TEXTS[0], best).split("\n\n")
    assert all(terminal.columns_of(line) <= columns for table in tables for line in table.split("\n"))
    assert "".join(table.split("\n")[0] for table in tables).replace(" ", "") == TEXTS[0]
    assert len({len(table.split("\n")) for table in tables}) == 1 and (len(tables) > 1) == (columns < 30)


def test_shades_are_the_weights(capsys, folder, monkeypatch):
    """Of a model that looks where it is told."""
    model, tokenizer = gpt2np.load(folder)
    monkeypatch.setattr(type(model), "looked_at", lambda *_: np.array([[[1.0, 0, 0, 0], [0, 0.5, 0.1, 0.4]]]))
    end = tokenizer.end_of_text
    found = Translated("I", [tokenizer.encode("I")[0], end], 0.0, 0.0)
    assert command.attention_table(model, tokenizer, "我三", found) == "       我 三\nI      ██\n(end)     ██"
    monkeypatch.undo()
    out = lines_of(printed(capsys, folder, TEXTS[2], "--attention").out)
    best, = best_translations(model, tokenizer, [TEXTS[2]], BeamRules(4))
    assert out[1:] == command.attention_table(model, tokenizer, TEXTS[2], best[0]).split("\n")


# ---- what is said


def test_what_the_model_cannot_read_is_said_and_translated(capsys, folder):
    out, err = printed(capsys, folder, "Привет")
    assert err == ("note: it is in letters that the model has not learned to read, CYRILLIC; it has learned CJK, "
                   "LATIN: its best\n") and out.count("\n") == 1
    out, err = printed(capsys, folder, "我", "a" * 25)
    assert err == "note: text 2: it has 25 tokens, and the model sees 20: the rest is left out\n"
    assert out == printed(capsys, folder, "我", "a" * 20).out


def test_a_line_that_is_no_text(capsys, folder, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("我\n".encode() + b"caf\xe9\n")))
    assert printed(capsys, folder, status=1).err == ("error: standard input, line 2: expected text in UTF-8, got the "
                                                     "byte 0xe9 at byte 3: convert it to UTF-8\n")


@pytest.mark.parametrize("arguments, message", [
    (["--num-beams", "0"], "--num-beams: expected a whole number of 1 or more, got 0"),
    (["--num-beams", "2", "--n-best", "3"], "--n-best: expected at most the 2 of --num-beams, got 3"),
    (["--length-penalty", "99"], "--length-penalty: expected a number from -10 to 10, got 99.0"),
    (["--coverage-penalty", "-1"], "--coverage-penalty: expected a number from 0 to 100, got -1.0"),
    (["--top-p", "0"], "--top-p: expected a number above 0 and up to 1, got 0.0"),
    (["--seed", "1", "--scores"], "--scores and --seed exclude each other: what is drawn is not ranked"),
    (["--temperature", "1", "--num-beams", "2"], "--num-beams and --temperature exclude each other"),
    (["--temperature", "0", "--n-best", "2"], "--n-best: expected 1 at --temperature 0, where all would be the same"),
    (["--beem", "3"], "unrecognized arguments: --beem\n"),
    (["--num-bems", "3"], "unrecognized arguments: --num-bems; did you mean --num-beams or --n-best?"),
    (["--text", "a"], "unrecognized arguments: --text; the text stands for itself, as in: translate"),
])
def test_wrong_usage(capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2 and capsys.readouterr().err.startswith(f"error: {message}")


def test_names_that_others_have(capsys, folder):
    assert command.main(["三", "-m", folder, "--beam-size", "3", "--nbest", "3", "--lenpen=2"]) == 0
    assert capsys.readouterr().out.count("\n") == 3


@pytest.mark.parametrize("arguments, message", [
    (["--num-beams", "1000000000000"], "not enough memory (--num-beams 1,000,000,000,000 needs at least "),
    (["--top-k", "999"], "top_k: expected at most the 263 tokens of the vocabulary, got 999"),
    (["--model", "demo"], "demo: expected a model that translates, found one that goes on from a text: python -m "
                          "gpt2np.generate --model demo uses it\n"),
])
def test_what_cannot_be_done(capsys, folder, arguments, message):
    assert command.main(["三", "--model", folder, *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: {message}") and err.count("\n") == 1


def test_a_folder_without_a_vocabulary(capsys, folder, tmp_path):
    model, _ = gpt2np.load(folder)
    gpt2np.save(tmp_path / "mute", model, None)
    assert command.main(["三", "--model", str(tmp_path / "mute")]) == 1
    assert "it lacks its vocabulary, so it can neither read nor write text" in capsys.readouterr().err
