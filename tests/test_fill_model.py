"""The BERT in weights/fill: it is what its card says it is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gpt2np
from gpt2np.checkpoints import safetensors
from gpt2np.filling import fill

FOLDER = Path(__file__).parents[1] / "weights" / "fill"
CARD = (FOLDER / "README.md").read_text(encoding="utf-8")
TEST = Path(__file__).parents[2] / "shared" / "data" / "tatoeba" / "test.tsv"


@pytest.fixture(scope="module")
def loaded():
    return gpt2np.load("fill")


def test_its_size(loaded):
    model, tokenizer = loaded
    n = sum(p.value.size for _, p in model.named_parameters())
    assert f"{n:,} parameters" in CARD and (model.config.n_ctx, tokenizer.n_vocab) == (64, 4000)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 6e6
    stored, _ = safetensors.read(FOLDER / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {np.dtype(np.float16)}


def test_the_cards_gaps_are_filled_as_it_says(loaded):
    """The likeliest of each row of the table, with its probability."""
    rows = re.findall(r"^\| (\S*\[MASK\]\S*(?: \S+)*?) \(\d+\) \| \S \| (\S+) (\d+)%", CARD, re.M)
    assert len(rows) == 20
    for text, piece, percent in rows:
        best = fill(*loaded, text, 1)[0][0]
        assert best.piece == piece and abs(100 * best.probability - int(percent)) < 1


@pytest.mark.skipif(not TEST.exists(), reason="needs ../shared/data/tatoeba")
def test_it_knows_hidden_characters_of_sentences_that_it_has_not_read(loaded):
    """One of each of 200 sentences; the commonest, 的, would be right in some 4 %, and the card says more of all."""
    rng, right = np.random.default_rng(0), 0
    sentences = [line.split("\t")[0] for line in TEST.read_text(encoding="utf-8").splitlines()[:200]]
    for sentence in sentences:
        at = rng.choice([i for i, c in enumerate(sentence) if "\u4e00" <= c <= "\u9fff"])
        guess = fill(*loaded, f"{sentence[:at]}[MASK]{sentence[at + 1:]}", 1)[0][0]
        right += guess.piece == sentence[at]
    assert right > 0.22 * len(sentences)


def test_it_fills_where_no_model_is_named(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "GPT2NP_WEIGHTS"}
    done = subprocess.run([sys.executable, "-m", "gpt2np.fill", "他是我的[MASK]友。"], capture_output=True, timeout=60,
                          cwd=tmp_path, env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().startswith("他是我的朋友。\n    朋 ")
