"""What the tests of the commands share: a text, a vocabulary, and no settings that outlast a test."""

import pytest

from gpt2np import evaluate, train
from gpt2np.text.bpe import Tokenizer
from tests.checkpoints.tiny import MERGES

TEXT = "the cat sat on the mat, and then the other cat, the thé.\n" * 40


@pytest.fixture(autouse=True)
def no_lasting_settings(monkeypatch):
    for command in (train, evaluate):
        monkeypatch.setattr(command, "keep_freed_memory", lambda: None)


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    Tokenizer(MERGES).save(tmp_path / "vocabulary")
    return str(tmp_path / "text.txt")
