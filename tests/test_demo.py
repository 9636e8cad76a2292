"""The demo model in weights/demo: it is what its card says it is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gpt2np
from gpt2np.checkpoints import tf_bundle
from gpt2np.training.evaluation import evaluate
from gpt2np.training.parallel import DataParallel

DEMO = Path(__file__).parents[1] / "weights" / "demo"
CARD = (DEMO / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def demo():
    return gpt2np.load(DEMO)


def test_its_size(demo):
    model, tokenizer = demo
    assert 5e6 <= model.config.n_parameters <= 10e6
    assert f"{model.config.n_parameters:,} parameters" in CARD
    assert (model.config.n_ctx, tokenizer.n_vocab) == (256, 4096)
    assert sum(path.stat().st_size for path in DEMO.iterdir()) <= 16e6
    assert {tensor.dtype for tensor in tf_bundle.read(DEMO / "model.ckpt").values()} == {np.dtype(np.float16)}


def test_its_loss_on_the_cards_text_is_the_cards(demo):
    """The text is from a play that the model has never read."""
    model, tokenizer = demo
    text, = re.findall(r"```text\n(.*?)```", CARD, re.DOTALL)
    expected, = re.findall(r"its loss is \*\*([0-9.]+)\*\*", CARD)
    with DataParallel(model, 1) as parallel:
        loss = evaluate(parallel, np.array(tokenizer.encode(text)), 256, 128)
    assert abs(loss - float(expected)) < 1e-3


def test_it_speaks_where_no_model_is_named(tmp_path):
    """Speakers in capitals, as in the plays; lines; and of its words most are those that the plays have."""
    environment = {name: value for name, value in os.environ.items() if name != "GPT2NP_WEIGHTS"}
    command = [sys.executable, "-m", "gpt2np.generate", "ROMEO.\n", "--seed", "1", "--max-new-tokens", "200"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path,
                          env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^[A-Z]{3,}[A-Z ]*\.$", done.stdout, re.MULTILINE)) >= 2
    words = re.findall(r"[a-z]+", done.stdout.lower())
    assert len(set(words) & set("the and of to you my is that not me it in with be your this have thou he his for"
                                .split())) >= 8
