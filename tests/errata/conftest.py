"""What several of the tests take: numbers, GPT-2's vocabulary, and a small model that has learned a text by heart."""

import numpy as np
import pytest

from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.text.bpe import Tokenizer
from gpt2np.training.adamw import AdamW

PERIOD = 7                      # the text is 0 1 2 3 4 5 6 0 1 2 ...: each token says which one follows


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def tokenizer():
    return Tokenizer.gpt2()


@pytest.fixture(scope="session")
def learned():
    """Pre-trained and nothing else: after each token of the text it knows the next. Not to be changed."""
    model = GPT2(GPT2Config(PERIOD, 16, 16, 2, 1), np.random.default_rng(0))
    optimizer, text = AdamW(model, weight_decay=0.0), periodic(8, 17)
    for _ in range(60):
        model.loss_and_gradients(text[:, :-1], text[:, 1:])
        optimizer.step(1e-2)
    return model


def periodic(B, T):
    """(B, T) tokens of the text, each row from another place on."""
    return (np.arange(B)[:, None] + np.arange(T)) % PERIOD
