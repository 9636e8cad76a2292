"""The model in weights/translation: it is what its card says it is."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gpt2np
from gpt2np.checkpoints import safetensors
from gpt2np.decoding import translate
from gpt2np.text.bleu import corpus_bleu
from gpt2np.training.pairs import read_pairs

FOLDER = Path(__file__).parents[1] / "weights" / "translation"
CARD = (FOLDER / "README.md").read_text(encoding="utf-8")
TEST = Path(__file__).parents[2] / "shared" / "data" / "tatoeba" / "test.tsv"
pytestmark = pytest.mark.skipif(not (FOLDER / "model.safetensors").exists(), reason="its weights are not here yet")


@pytest.fixture(scope="module")
def loaded():
    return gpt2np.load(FOLDER)


def test_its_size(loaded):
    model, tokenizer = loaded
    assert f"{model.config.n_parameters:,} parameters" in CARD and model.config.n_parameters <= 6_800_000
    assert (model.config.n_ctx, tokenizer.n_vocab, model.config.scripts[:1]) == (64, 4096, ("CJK",))
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 14e6
    stored, _ = safetensors.read(FOLDER / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {np.dtype(np.float16)}
    assert all(p.value.dtype == np.float32 for _, p in model.named_parameters())


def test_it_translates_where_no_model_is_named(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "GPT2NP_WEIGHTS"}
    done = subprocess.run([sys.executable, "-m", "gpt2np.translate", "我喜欢读书。", "他是我的朋友。"],
                          capture_output=True, timeout=60, cwd=tmp_path,
                          env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.decode().splitlines()
    assert first.startswith("I ") and "read" in first and "friend" in second


@pytest.mark.skipif(not TEST.exists(), reason="needs ../shared/data/tatoeba")
def test_its_bleu(loaded):
    """Of the first 200 lines of test.tsv, greedily; the card has that of all."""
    pairs = list(read_pairs([TEST]))[:200]
    texts = translate(*loaded, [source for source, _ in pairs])
    assert corpus_bleu(texts, [target for _, target in pairs]).score > 20
