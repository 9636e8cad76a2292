"""What the tests of text share: GPT-2's tokenizer, and the files that lie beside the repository."""

from pathlib import Path

import pytest
from hypothesis import settings

from gpt2np.text.bpe import Tokenizer

SHARED = Path(__file__).parents[3] / "shared" / "data"

settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.load_profile("ci")


@pytest.fixture(scope="session")
def gpt2():
    return Tokenizer.gpt2()


@pytest.fixture(scope="session")
def gpt2_folder():
    return existing(SHARED / "gpt2")


@pytest.fixture(scope="session")
def shakespeare():
    return existing(SHARED / "shakespeare") / "val.txt"


def existing(folder):
    if not folder.is_dir():
        pytest.skip(f"needs {folder}, which is not here")
    return folder
