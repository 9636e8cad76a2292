"""The Chinese demo in weights/demo-zh: it is what its card says it is."""

import re
from pathlib import Path

import numpy as np
import pytest

import gpt2np
from gpt2np.checkpoints import tf_bundle
from gpt2np.training.evaluation import evaluate
from gpt2np.training.parallel import DataParallel

FOLDER = Path(__file__).parents[1] / "weights" / "demo-zh"
CARD = (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def loaded():
    return gpt2np.load("demo-zh")


def test_its_size(loaded):
    model, tokenizer = loaded
    assert f"{model.config.n_parameters:,} parameters" in CARD
    assert (model.config.n_ctx, tokenizer.n_vocab) == (128, 4096)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 8e6
    assert {tensor.dtype for tensor in tf_bundle.read(FOLDER / "model.ckpt").values()} == {np.dtype(np.float16)}


def test_its_loss_on_the_cards_poem_is_the_cards(loaded):
    """The poem is one that the model has never read."""
    model, tokenizer = loaded
    text = re.findall(r"```text\n(.*?)```", CARD, re.DOTALL)[-1]
    expected, = re.findall(r"its loss is \*\*([0-9.]+)\*\*", CARD)
    with DataParallel(model, 1) as parallel:
        loss = evaluate(parallel, np.array(tokenizer.encode(text)), 128, 64)
    assert abs(loss - float(expected)) < 1e-3


def test_it_writes_chinese_and_comes_to_an_end():
    """Whole characters, marks where a sentence or a verse ends, and no Latin letters."""
    texts = [gpt2np.generate("明月", model="demo-zh", max_new_tokens=80, seed=seed) for seed in range(6)]
    chinese = re.compile(r"明月[\u4e00-\u9fff，。？！、；：“”…《》\n]+")
    assert all(chinese.fullmatch(text) for text in texts)
    assert sum(text.rstrip().endswith(("。", "？", "！")) for text in texts) >= 4
