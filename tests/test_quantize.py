"""python -m gpt2np.quantize: its table is the page's, and what it writes is a model."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import gpt2np
from gpt2np import quantize, train
from gpt2np.adapt.narrow import SCHEMES, scheme_of
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.text.bpe import Tokenizer
from gpt2np.training.evaluation import evaluate
from gpt2np.training.parallel import DataParallel

ROOT = Path(__file__).parents[1]
TEXT = "To be, or not to be, that is the question:\n" * 3


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(quantize, "WRITTEN", 1)
    monkeypatch.setattr(quantize, "ROUNDS", 1)
    for command in (quantize, train):
        monkeypatch.setattr(command, "keep_freed_memory", lambda: None)


@pytest.fixture
def small(tmp_path):
    gpt2np.save(tmp_path / "model", GPT2(GPT2Config(257, 16, 8, 2, 2), np.random.default_rng(0)), Tokenizer([]))
    (tmp_path / "text").write_text(TEXT, "utf-8")
    return tmp_path


def test_the_table_is_the_pages():
    """But for how fast it is; KL is a difference of nearly equal numbers, where the last digits are rounding."""
    text, = re.findall(r"```text\n(.*?)```", (ROOT / "weights/demo/README.md").read_text("utf-8"), re.DOTALL)
    table, *_ = re.findall(r"```text\n.*\n([^`]*)```", (ROOT / "docs/smaller.md").read_text("utf-8"))
    model, tokenizer = gpt2np.load("demo")
    with threadpool_limits(1, "blas"):
        found = quantize.measured(model, np.array(tokenizer.encode(text)))
    assert [line[:25].strip() for line in table.splitlines()] == [row.label for row in found]
    for line, row in zip(table.splitlines(), found):
        size, perplexity, kl = map(float, line[25:].split())
        assert f"{row.bytes / 1e6:.1f}" == f"{size:.1f}"
        assert math.exp(row.loss) == pytest.approx(perplexity, rel=2e-4)
        assert row.kl == pytest.approx(kl, rel=0.1, abs=1e-7)


def test_a_row_is_what_evaluate_says(small):
    model, tokenizer = gpt2np.load(small / "model")
    tokens = np.array(tokenizer.encode(TEXT))
    rows = quantize.measured(model, tokens)
    with DataParallel(model, 1) as parallel:
        loss = evaluate(parallel, tokens, 16, 8)
    assert rows[0].loss == pytest.approx(loss, rel=1e-5) and rows[0].kl == 0
    assert all(row.kl >= 0 for row in rows) and rows[0].bytes == 4 * model.config.n_parameters
    assert scheme_of(model) is None                                         # it is left as it was


@pytest.mark.parametrize("columns", [40, 80])
def test_the_table_fits(small, capsys, monkeypatch, columns):
    monkeypatch.setattr("gpt2np.terminal.width", lambda: columns)
    monkeypatch.chdir(small)
    assert quantize.main(["text", "--model", "model"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= columns
    assert all(f"\n{scheme}" in out for scheme in ("float32", *SCHEMES, "int8-activations, outlier"))


@pytest.mark.parametrize("scheme", [None, "bfloat16"])
def test_what_it_writes_is_a_model(small, capsys, scheme):
    out = small / "out"
    chosen = [] if scheme is None else ["--scheme", scheme]
    assert quantize.main(["--model", str(small / "model"), "--out", str(out), *chosen]) == 0
    assert f"in {scheme or 'int8'} is in" in capsys.readouterr().out.replace("\n    ", " ")
    assert scheme_of(gpt2np.load(out)[0]) == (scheme or "int8")
    assert train.main([str(small / "text"), "--out", str(small / "run"), "--init-from", str(out), "--steps", "1"]) == 1
    assert f"in {scheme or 'int8'}, which no gradient moves: name the model" in capsys.readouterr().err
    assert quantize.main(["--model", str(out), "--out", str(small / "again")]) == 1
    assert "already: name the model that it was made from" in capsys.readouterr().err
