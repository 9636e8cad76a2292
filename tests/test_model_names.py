"""What people call a model: other names, a slash too many, the folder of a run."""

import json

import numpy as np
import pytest

import gpt2np
from gpt2np import model_names
from gpt2np.checkpoints import loading
from gpt2np.checkpoints.errors import CheckpointError
from gpt2np.model_names import find_model, load, vocabulary
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.text.bpe import Tokenizer
from gpt2np.text.vocabulary import TokenizerError
from gpt2np.training import run_folder

TINY = GPT2Config(n_vocab=257, n_ctx=4, n_embd=4, n_head=2, n_layer=1)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, in which a model may be saved."""
    monkeypatch.chdir(tmp_path)
    return lambda name: gpt2np.save(name, GPT2(TINY, np.random.default_rng(0)), Tokenizer([]))


@pytest.mark.parametrize("typed, name", [
    ("demo", "demo"), ("demo/", "demo"), ("demo_zh", "demo-zh"), ("fill/", "fill"), ("124M", "124M"),
    ("355M//", "355M"), ("gpt2", "124M"), ("gpt2/", "124M"), ("gpt2-medium", "355M"), ("gpt2-large", "774M"),
    ("gpt2-xl", "1558M"), ("openai-community/gpt2-xl", "1558M")])
def test_names(here, typed, name):
    assert find_model(typed) == name


def test_a_folder_comes_before_another_name(here):
    for name in ("gpt2", "gpt2-xl"):
        here(name)
        assert str(find_model(name)) == name and load(name)[0].config == TINY
    here("demo")                                        # as loading says: the path of this one is ./demo
    assert find_model("demo") == "demo" and load("./demo")[0].config == TINY and load("demo/")[0].config == TINY


def test_the_folder_of_a_run_is_its_best_model(here, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / model_names.RUN).write_text(json.dumps({}))
    for typed in ("run", "run/", "run/run.json", tmp_path / "run"):
        with pytest.raises(CheckpointError, match="run: the folder of a run that has kept no model yet; go on with it"):
            find_model(typed)
    here("run/best")
    for typed in ("run", "run/", "run/run.json", tmp_path / "run", "run/best"):
        assert load(typed)[0].config == TINY
    assert (model_names.RUN, model_names.BEST) == (run_folder.RUN, run_folder.BEST)


@pytest.mark.parametrize("typed, near", [
    ("dmeo", "; did you mean demo?"), ("124m", "; did you mean 124M?"), ("runs/bets", "; did you mean runs/best?"),
    ("plays-2", "; did you mean plays-1?"), ("gpt2xl", "; did you mean gpt2-xl or gpt2?"), ("elephant", ""),
    ("a\0b", ""), ("nowhere/best", ""), ("pl", "; did you mean plays-1?")])
def test_what_is_near(here, tmp_path, typed, near):
    for folder in ("runs/best", "plays-1", ".plays-3"):
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(CheckpointError) as caught:
        find_model(typed)
    assert str(caught.value).endswith(f"neither a model's name ({', '.join(loading.NAMES)}) nor the path of one{near}")


def test_a_vocabulary_by_a_name_or_a_folder(here, tmp_path):
    for name in ("gpt2", "gpt2-xl", "124M", "1558M"):   # without a model of that name
        assert vocabulary(name).n_vocab == 50257
    assert vocabulary("demo").n_vocab == vocabulary("demo/").n_vocab == load("demo")[0].n_vocab
    Tokenizer([(b"a", b"b")]).save(tmp_path / "ours")
    Tokenizer([(b"a", b"b"), (b"c", b"d")]).save(tmp_path / "theirs")
    for old, new in (("encoder.json", "vocab.json"), ("vocab.bpe", "merges.txt")):
        (tmp_path / "theirs" / old).rename(tmp_path / "theirs" / new)
    assert [vocabulary(name).n_vocab for name in ("ours", tmp_path / "ours", "theirs")] == [258, 258, 259]
    (tmp_path / "empty").mkdir()
    with pytest.raises(TokenizerError, match=r"the vocabulary in empty cannot be used: encoder\.json cannot be read"):
        vocabulary("empty")
    with pytest.raises(CheckpointError, match=r"did you mean ours\?"):
        vocabulary("our")


def test_a_file_of_a_model_names_its_folder(here, tmp_path):
    here("model")
    for name in ("hparams.json", "encoder.json"):
        with pytest.raises(CheckpointError, match=f"model/{name}: not a .safetensors file; name its folder, model"):
            load(f"model/{name}")
    (tmp_path / "README.md").write_text("a text")
    with pytest.raises(CheckpointError, match=r"README.md: not a .safetensors file; expected the folder of a model"):
        load("README.md")
