"""python -m gpt2np.trim: its tables, and that what it writes is a model which the other commands take."""

import re
from pathlib import Path

import numpy as np
import pytest

import gpt2np
from gpt2np import quantize, train, trim
from gpt2np.adapt.trimming import taken_out
from gpt2np.models.bert import BERT, BertForPreTraining
from gpt2np.models.config import BertConfig, GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.models.heads import Classifier
from gpt2np.terminal import columns_of
from gpt2np.text.bpe import Tokenizer
from gpt2np.text.vocab_txt import SPECIAL
from gpt2np.text.wordpiece import learn_characters
from gpt2np.training import gaps
from gpt2np.training.evaluation import evaluate, perplexity
from gpt2np.training.parallel import DataParallel

MERGES = "t h\nth e\n_ t\nt o\n_t o\n_ b\n_b e\na n\no r\n_ q\n_q u\nan o\nz z"
ROOT = Path(__file__).parents[1]
TEXT = "To be, or not to be, that is the question:\nWhether 'tis nobler in the mind to suffer\n" * 2


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for command in (trim, train, quantize):
        monkeypatch.setattr(command, "keep_freed_memory", lambda: None)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder to be in, with a model of 3 blocks of 4 heads in it, and two texts."""
    merges = [line.encode().split() for line in MERGES.splitlines()]
    tokenizer = Tokenizer([(left.replace(b"_", b" "), right) for left, right in merges])
    model = GPT2(GPT2Config(tokenizer.n_vocab, 16, 16, 4, 3), np.random.default_rng(0))
    for _, p in model.named_parameters():
        p.value *= 5
    gpt2np.save(tmp_path / "model", model, tokenizer)
    (tmp_path / "text").write_text(TEXT, "utf-8")
    (tmp_path / "other").write_text("another thing, that", "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *arguments):
    assert trim.main(["--model", "model", *arguments]) == 0
    return capsys.readouterr().out


def loss_of(name, text=TEXT):
    model, tokenizer = gpt2np.load(name)
    with DataParallel(model, 1) as parallel:
        return evaluate(parallel, np.array(tokenizer.encode(text)), 16, 8)


def test_each_cut_has_a_row_and_the_last_one_is_the_model_that_is_written(small, capsys):
    out = run(capsys, "text", "--layers", "1", "--heads", "3", "--vocab", "text", "--out", "out")
    model, tokenizer = gpt2np.load("out")
    n = tokenizer.n_vocab
    rows = re.findall(r"^(as it is|without block 1|without 3 heads|with \d+ tokens) +([\d.]+) +([\d.]+) +([\d.]+)$",
                      out, re.MULTILINE)
    assert [row[0] for row in rows] == ["as it is", "without block 1", "without 3 heads", f"with {n} tokens"]
    assert float(rows[0][2]) == pytest.approx(perplexity(loss_of("model")), rel=1e-4)
    assert float(rows[-1][2]) == pytest.approx(perplexity(loss_of("out")), rel=1e-4)
    loss, ids = loss_of("out"), tokenizer.encode(TEXT)
    assert float(rows[-1][3]) == pytest.approx(loss * (len(ids) - 1) / np.log(2) / len(tokenizer.decode_bytes(ids[1:])),
                                               abs=1e-3)
    assert f"model, trimmed, is in out: 2 blocks, 8 heads, {n} tokens" in out
    assert model.config == GPT2Config(n, 16, 16, 4, 2) and (small / "out" / "hparams.json").exists()
    whole, before = gpt2np.load("model")
    assert [tokenizer.decode_bytes([i]) for i in ids] == [before.decode_bytes([i]) for i in before.encode(TEXT)]


def test_the_table_is_the_pages(tmp_path, capsys):
    text, = re.findall(r"```text\n(.*?)```", (ROOT / "weights/demo/README.md").read_text("utf-8"), re.DOTALL)
    table = re.findall(r"```text\n([^`]*)```", (ROOT / "docs/smaller.md").read_text("utf-8"))[1].splitlines()
    (tmp_path / "text").write_text(text, "utf-8")
    path = str(tmp_path / "text")
    assert trim.main([path, "--model", "demo", "--layers", "3", "--heads", "8", "--take-out", "--vocab", path]) == 0
    found = capsys.readouterr().out.splitlines()[2:-1]
    assert [line[:22].strip() for line in found] == [line[:22].strip() for line in table]
    for line, expected in zip(found[1:], table[1:]):
        numbers, its = ([float(number) for number in one[17:].split()] for one in (line, expected))
        assert numbers[0] == its[0] and numbers[1:] == pytest.approx(its[1:], rel=5e-4)


@pytest.mark.slow
def test_the_table_of_a_bert_is_the_pages(tmp_path, capsys):
    card = (ROOT / "weights/fill/README.md").read_text("utf-8")
    found = re.findall(r"^\| (.*?) \(\d+\) \| (.) \|", card, re.MULTILINE)
    (tmp_path / "text").write_text("".join(s.replace("[MASK]", word) + "\n\n" for s, word in found), "utf-8")
    path = str(tmp_path / "text")
    assert trim.main([path, "--model", "fill", "--heads", "8", "--take-out", "--vocab", path]) == 0
    out = capsys.readouterr().out
    for page in ("smaller.md", "smaller.zh.md"):
        table = re.findall(r"```text\n([^`]*)```", (ROOT / "docs" / page).read_text("utf-8"))[2]
        assert len(found) == 20 and table.splitlines()[0] in out
        for label, its in numbers_of(table):
            assert dict(numbers_of(out))[label] == pytest.approx(its, rel=5e-3)


def test_nothing_cut_is_the_whole_to_the_bit(small, capsys):
    out = run(capsys, "text", "--heads", "0", "--out", "out")
    assert "block.head: none\n" in out and "without 0 heads" in out
    for (path, p), (_, q) in zip(*(gpt2np.load(name)[0].named_parameters() for name in ("model", "out")), strict=True):
        np.testing.assert_array_equal(p.value, q.value, err_msg=path)


@pytest.mark.parametrize("by", [[], ["--by", "magnitude"]])
def test_taken_out_or_at_zero_it_is_the_same_model(small, capsys, by):
    run(capsys, "text", "--heads", "5", "--out", "zero", *by)
    out = run(capsys, "text", "--heads", "5", "--out", "gone", "--take-out", *by)
    zero, gone = (gpt2np.load(name)[0] for name in ("zero", "gone"))
    assert sum(map(len, taken_out(gone).values())) == 5 and taken_out(zero) == {}
    ids = gpt2np.load("model")[1].encode(TEXT)[:16]
    np.testing.assert_allclose(zero.forward([ids])[0], gone.forward([ids])[0], atol=1e-4)
    assert "3 blocks, 7 heads of 12" in out


def test_heads_are_named_by_the_numbers_of_the_whole_model(small, capsys):
    out = run(capsys, "--layers", "0", "--heads", "1.1-2,2.0", "--take-out", "--out", "out")
    assert taken_out(gpt2np.load("out")[0]) == {0: [1, 2], 1: [0]}
    assert "block.head: 1.1-2, 2.0\n" in out and "perplexity" not in out
    out = run(capsys, "text", "--layers", "0", "--heads", "6", "--take-out")
    assert not re.search(r"block.head: .*\b0\.", out)


def test_a_text_is_measured_with_the_tokens_that_it_has_then(small, capsys):
    out = run(capsys, "text", "--vocab", "other")
    kept = int(re.search(r"with (\d+) tokens", out)[1])
    model, tokenizer = gpt2np.load("model")
    assert 256 < kept < tokenizer.n_vocab and "their logits are what they were" in out.replace("\n    ", " ")
    assert "model on text\n" in out and not (small / "out").exists()
    assert "model on other\n" in run(capsys, "--vocab", "other")            # measured on what there is


def test_what_is_trimmed_is_trained_on(small, capsys):
    for way in ([], ["--take-out"]):
        out = "-".join(["out", *way])
        run(capsys, "text", "--layers", "1", "--heads", "4", "--vocab", "text", "--out", out, *way)
        assert train.main(["text", "--init-from", out, "--out", f"run{out}", "--steps", "3", "--context", "8",
                           "--batch", "2", "--eval-every", "3", "--sample", "0", "--threads", "1"]) == 0
        trained, before = (gpt2np.load(name)[0] for name in (f"run{out}/best", out))
        assert taken_out(trained) == taken_out(before) and trained.config == before.config
        assert loss_of(f"run{out}/best") < loss_of(out)
        if not way:                                     # what was zero is zero
            zero = before.h[0].attn.c_proj.w.value == 0
            assert zero.any() and (trained.h[0].attn.c_proj.w.value[zero] == 0).all()
    capsys.readouterr()


@pytest.mark.parametrize("columns", [40, 80])
def test_the_table_fits(small, capsys, monkeypatch, columns):
    monkeypatch.setattr("gpt2np.terminal.width", lambda: columns)
    out = run(capsys, "text", "--layers", "0-1", "--heads", "2", "--vocab", "text")
    assert max(map(len, out.splitlines())) <= columns
    assert "\nwithout blocks 0-1" in out


@pytest.mark.parametrize("arguments, status, message", [
    (["text", "--layers", "3"], 1, "blocks: expected from 0 to 2, got 3"),
    (["text", "--layers", "0-2"], 1, "blocks: expected one at least to stay, got all 3 of them to drop"),
    (["text", "--layers", "2-1"], 2, "--layers: expected blocks by their numbers from 0 on, as in 1,3-5, got 2-1"),
    (["text", "--heads", "10"], 1, "heads: expected from 0 to 9 of 12 to go, since each of the 3 blocks keeps one"),
    (["text", "--heads", "1.0-3"], 1, "heads: expected one at least to stay in each block, got all 4 of block"),
    (["text", "--heads", "1.4"], 1, "heads: expected of block 1 those from 0, 1, 2, 3, got 4"),
    (["text", "--heads", "7.0"], 1, "heads: expected blocks from 0 to 2, got 7"),
    (["text", "--heads", "1.0,1.x"], 2, "--heads: expected how many heads, as 12, or which, by block and number"),
    (["text", "--layers", "1", "--heads", "1.0"], 1, "--heads: expected heads of blocks that stay, got some of"),
    (["--heads", "2", "--out", "out"], 2, "--heads 2: expected FILE, on which it is found out which heads"),
    (["text", "--heads", "0.1", "--by", "magnitude"], 2, "--by: expected --heads with it, and how many"),
    (["text", "--layers", "1", "--take-out"], 2, "--take-out: expected --heads with it"),
    (["text"], 2, "expected --layers, --heads or --vocab, for what is to be cut"),
    (["--layers", "1"], 2, "expected FILE, for a table, or --out, for a model, or both"),
    (["--vocab", "empty", "--out", "out"], 1, "text: expected at least 2 tokens"),
    (["text", "--vocab", "empty", "--out", "out"], 1, "--vocab empty: expected a text, whose tokens stay, got"),
    (["text", "--layers", "1", "--out", "model"], 1, "model: it is there already: name a new folder"),
    (["nothere", "--layers", "1"], 1, "nothere: No such file or directory"),
    (["text", "--vocab", "nothere"], 1, "nothere: No such file or directory")])
def test_what_cannot_be_is_one_sentence(small, capsys, arguments, status, message):
    (small / "empty").write_bytes(b"")
    before = sorted(small.rglob("*"))
    try:
        found = trim.main(["--model", "model", *arguments])
    except SystemExit as error:
        found = error.code
    err = capsys.readouterr().err
    assert found == status and err.startswith(f"error: {message}") and "Traceback" not in err
    assert sorted(small.rglob("*")) == before


@pytest.mark.parametrize("arguments", [["--layers", "3"], ["--heads", "10"], ["--heads", "7.0"],
                                       ["--layers", "0", "--heads", "3.0"], ["--layers", "1", "--heads", "1.0"]])
def test_what_cannot_go_is_said_before_anything_is_measured(small, capsys, monkeypatch, arguments):
    monkeypatch.setattr(trim, "measured", lambda *more: pytest.fail("measured first"))
    assert trim.main(["--model", "model", "text", *arguments]) == 1
    err = capsys.readouterr().err
    assert "heads: expected" in err or "blocks: expected from 0 to 2, got 3" in err
    assert "got 3" in err or "3.0" not in arguments     # by the number that was typed


def test_models_that_are_no_gpt2_or_narrow_are_refused(small, capsys):
    assert quantize.main(["--model", "model", "--out", "narrow"]) == 0
    assert trim.main(["--model", "narrow", "--layers", "1", "--out", "out"]) == 1
    assert "its matrices are in int8 already: trim the model that it was made from" in capsys.readouterr().err
    assert trim.main(["--model", "translation", "--layers", "1", "--out", "out"]) == 1
    assert capsys.readouterr().err == ("error: translation: expected a GPT-2 or a BERT, found a Transformer, of which "
                                       "nothing is cut\n")


# ---- vocab.txt, and BERT


POEM = "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。\n\n白日依山尽，黄河入海流。\n" * 2
PART = "床前明月光，疑是地上霜。\n"


def pieces():
    return learn_characters([POEM, "unable 春眠不觉晓"], 99)


@pytest.fixture
def berts(tmp_path, monkeypatch):
    """A folder to be in, with models of one vocab.txt: a BERT, an encoder alone, a head on one, a GPT-2; and texts."""
    tokenizer, rng = pieces(), np.random.default_rng(0)
    config = BertConfig(tokenizer.n_vocab, 24, 16, 4, 3, 20)
    for name, model in (("bert", BertForPreTraining(config, rng)), ("body", BERT(config, rng)),
                        ("head", Classifier(BERT(config, rng), ("neg", "pos"), rng)),
                        ("gpt2", GPT2(GPT2Config(tokenizer.n_vocab, 24, 16, 4, 3), rng))):
        for _, p in model.named_parameters():
            p.value = p.value * 5
        gpt2np.save(tmp_path / name, model, tokenizer)
    for name, text in (("poem", POEM), ("part", PART), ("other", "春眠不觉晓，月 un。\n"), ("empty", "")):
        (tmp_path / name).write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trimmed(capsys, *arguments):
    assert trim.main(list(arguments)) == 0
    return capsys.readouterr().out


def numbers_of(out):
    """(label, numbers) of each row of a table."""
    return [(label, [float(n.rstrip("%")) for n in numbers.split()])
            for label, numbers in re.findall(r"^(as it is|with.*?\S) {2,}([\d.% ]+)$", out, re.MULTILINE)]


def told_of(name, path="poem"):
    model, tokenizer = gpt2np.load(name)
    with DataParallel(model, 1) as parallel:
        return gaps.measure(parallel, gaps.rows_of(path, tokenizer, model.n_ctx), tokenizer)


def test_a_bert_is_cut_and_measured_by_what_is_hidden(berts, capsys):
    out = trimmed(capsys, "poem", "--model", "bert", "--layers", "1", "--heads", "3", "--vocab", "poem", "--out", "out")
    rows, (_, tokenizer) = numbers_of(out), gpt2np.load("out")
    n = tokenizer.n_vocab
    assert [label for label, _ in rows] == ["as it is", "without block 1", "without 3 heads", f"with {n} tokens"]
    for row, name in ((rows[0], "bert"), (rows[-1], "out")):
        told = told_of(name)
        assert row[1][1] == pytest.approx(perplexity(told.loss), rel=1e-4)
        assert row[1][2] == pytest.approx(100 * told.right, abs=0.051)
    assert [row[1][0] for row in rows] == sorted([row[1][0] for row in rows], reverse=True)
    assert f"bert, trimmed, is in out: 2 blocks, 8 heads, {n} tokens" in out and "[UNK]" not in out
    assert tokenizer.pieces[:5] == [*SPECIAL] and set(tokenizer.pieces[5:]) == set(POEM) - set("\n")
    assert (berts / "out" / "vocab.txt").read_text("utf-8").split() == tokenizer.pieces


@pytest.mark.parametrize("name", ["bert", "body", "head", "gpt2"])
def test_a_text_of_what_stays_has_the_same_pieces_and_answers(berts, capsys, name):
    """To the bit: all but the words' logits, whose product is another one, and which are those that they were."""
    out = trimmed(capsys, "--model", name, "--vocab", "poem", "--out", "out")
    (whole, before), (model, tokenizer) = gpt2np.load(name), gpt2np.load("out")
    assert type(model) is type(whole) and model.config.n_vocab == tokenizer.n_vocab < before.n_vocab
    assert ("perplexity" in out) == (name in ("bert", "gpt2"))
    old, new = before.encode(PART), tokenizer.encode(PART)
    assert [before.pieces[i] for i in old] == [tokenizer.pieces[i] for i in new]
    ids = [before.pieces.index(piece) for piece in tokenizer.pieces]
    found, expected = (one.forward([of_it], keep_cache=False)[0] for one, of_it in ((model, new), (whole, old)))
    if name == "head":
        np.testing.assert_array_equal(found, expected)
    elif name == "gpt2":
        np.testing.assert_allclose(found, expected[..., ids], atol=1e-4)
    elif name == "bert":
        np.testing.assert_allclose(found.words, expected.words[..., ids], atol=1e-4)
        np.testing.assert_array_equal(found.pairs, expected.pairs)
    if name != "head":
        (x, _), (y, _) = ((getattr(one, "bert", one)).hidden([of_it]) for one, of_it in ((model, new), (whole, old)))
        np.testing.assert_array_equal(x, y)


def test_words_outside_are_unknown_and_that_is_said(berts, capsys):
    out = trimmed(capsys, "other", "--model", "bert", "--vocab", "part", "--out", "out").replace("\n    ", " ")
    share, = re.findall(r"note: ([\d.]+)% of the text's pieces are \[UNK\] now, .*; before, 0.0% were\n", out)
    tokenizer = gpt2np.load("out")[1]
    ids = tokenizer.encode((berts / "other").read_text("utf-8"))
    assert float(share) == pytest.approx(100 * ids.count(tokenizer.unk) / len(ids), abs=0.051)
    assert [tokenizer.pieces[i] for i in ids] == ["[UNK]"] * 5 + ["，", "月", "[UNK]", "。"]


@pytest.mark.parametrize("by", [["--by", "magnitude"], []])
def test_a_berts_heads_taken_out_or_at_zero_are_the_same(berts, capsys, by):
    trimmed(capsys, "poem", "--model", "bert", "--heads", "5", "--out", "zero", *by)
    out = trimmed(capsys, "poem", "--model", "bert", "--heads", "5", "--out", "gone", "--take-out", *by)
    zero, gone = (gpt2np.load(name)[0] for name in ("zero", "gone"))
    assert sum(map(len, taken_out(gone).values())) == 5 and taken_out(zero) == {}
    ids = pieces().encode(PART)
    np.testing.assert_allclose(zero.forward([ids])[0].words, gone.forward([ids])[0].words, atol=1e-4)
    assert "3 blocks, 7 heads of 12" in out


def test_what_is_trimmed_of_a_bert_is_trained_on(berts, capsys):
    trimmed(capsys, "poem", "--model", "bert", "--layers", "2", "--heads", "3", "--take-out", "--vocab", "poem",
            "--out", "out")
    assert train.main(["--task", "masked", "poem", "--init-from", "out", "--out", "run", "--steps", "2", "--batch", "2",
                       "--eval-every", "2", "--sample", "0", "--threads", "1"]) == 0
    trained, before = (gpt2np.load(name)[0] for name in ("run/best", "out"))
    assert taken_out(trained) == taken_out(before) != {} and trained.config == before.config
    capsys.readouterr()


@pytest.mark.parametrize("arguments, message", [
    (["part", "--model", "head", "--layers", "1"], "FILE: expected a model that predicts a text, or what is hidden in "
     "it, got a Classifier, which cannot be measured on it: leave FILE out; evaluate measures what is written"),
    (["--model", "body", "--heads", "2", "--vocab", "part", "--out", "out"], "--heads 2: expected a model that "
     "predicts a text, or what is hidden in it, got a BERT: take --by magnitude"),
    (["--model", "head", "--vocab", "empty", "--out", "out"], "--vocab empty: expected a text, whose tokens stay"),
    (["empty", "--model", "bert", "--layers", "1"], "text: expected at least one"),
    (["--model", "head", "--layers", "3", "--out", "out"], "blocks: expected from 0 to 2, got 3")])
def test_what_cannot_be_of_a_bert_is_one_sentence(berts, capsys, arguments, message):
    before = sorted(berts.rglob("*"))
    assert trim.main(arguments) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: {message}") and err.count("\n") == 1
    assert sorted(berts.rglob("*")) == before


@pytest.mark.parametrize("columns", [40, 80])
def test_the_table_of_a_bert_fits(berts, capsys, monkeypatch, columns):
    monkeypatch.setattr("gpt2np.terminal.width", lambda: columns)
    out = trimmed(capsys, "other", "--model", "bert", "--layers", "0-1", "--vocab", "part")
    assert max(map(columns_of, out.splitlines())) <= columns
