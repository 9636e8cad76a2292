"""A Transformer's own layout: it comes back as it was, and whatever is wrong with its files is said."""

import json

import numpy as np
import pytest

import gpt2np
from gpt2np.checkpoints import loading, safetensors
from gpt2np.checkpoints.errors import CheckpointError
from gpt2np.models.config import NORMS, GPT2Config, TransformerConfig
from gpt2np.models.gpt2 import GPT2
from gpt2np.models.transformer import Transformer
from gpt2np.text.bpe import Tokenizer
from tests.checkpoints.tiny import MERGES

TOKENIZER = Tokenizer(MERGES)


def model_of(norms="post", **more):
    config = TransformerConfig(TOKENIZER.n_vocab, 8, 8, 2, 2, 12, norms, **more)
    return Transformer(config, np.random.default_rng(0))


@pytest.fixture
def folder(tmp_path):
    gpt2np.save(tmp_path / "m", model_of(scripts=("CJK", "LATIN")), TOKENIZER)
    return tmp_path / "m"


@pytest.mark.parametrize("norms", NORMS)
@pytest.mark.parametrize("source_end", [False, True])
def test_what_is_saved_is_loaded(tmp_path, norms, source_end):
    model = model_of(norms, source_end=source_end, scripts=("CJK",))
    gpt2np.save(tmp_path / "m", model, TOKENIZER)
    loaded, tokenizer = gpt2np.load(tmp_path / "m")
    assert type(loaded) is Transformer and loaded.config == model.config
    assert tokenizer.fingerprint() == TOKENIZER.fingerprint()
    for (path, p), (other, stored) in zip(model.named_parameters(), loaded.named_parameters(), strict=True):
        assert path == other and np.array_equal(p.value, stored.value)
    batch = [[1, 2, 3]], None, [[4, 5]]
    np.testing.assert_array_equal(model.forward(*batch)[0], loaded.forward(*batch)[0])
    by_file, _ = gpt2np.load(tmp_path / "m" / "model.safetensors")
    assert by_file.config == model.config


def test_half_the_size(tmp_path):
    model = model_of()
    loading.write_model(tmp_path / "m", "transformer", model, TOKENIZER, np.float16)
    stored, _ = safetensors.read(tmp_path / "m" / "model.safetensors")
    assert {array.dtype for array in stored.values()} == {np.dtype(np.float16)}
    loaded, _ = gpt2np.load(tmp_path / "m", np.float64)
    for (_, p), (_, other) in zip(model.named_parameters(), loaded.named_parameters()):
        assert other.value.dtype == np.float64
        np.testing.assert_array_equal(p.value.astype(np.float16), other.value)


def test_a_vocabulary_without_an_end_gets_it_from_the_config(tmp_path, folder):
    said = json.loads((folder / "config.json").read_text())
    assert said["eos_token_id"] == TOKENIZER.end_of_text and said["scripts"] == ["CJK", "LATIN"]


@pytest.mark.parametrize("change, message", [
    ({"n_head": 3}, "n_embd is not a multiple of n_head: found 8 and 3"),
    ({"n_layer": 0}, "n_layer: expected a whole number from 1 to 1000, found 0"),
    ({"n_layer": True}, "n_layer: expected a whole number from 1 to 1000, found True"),
    ({"n_vocab": 1.5}, "n_vocab: expected a whole number from 1 to 2147483647, found 1.5"),
    ({"norms": "none"}, "norms: expected one of 'post', 'pre', 'post, last', found 'none'"),
    ({"norms": "pre"}, "its tensors are not those of a Transformer with these hparams: 4 missing ("),
    ({"n_inner": 13}, "tensor 'encoder.0.mlp.c_fc.w': its shape is wrong: expected (8, 13), found (8, 12)"),
    ({"source_end": 1}, "source_end: expected true or false, found 1"),
    ({"scripts": "CJK"}, "scripts: expected a list of names, found 'CJK'"),
    ({"colour": "red"}, "it holds something that a Transformer does not have: found 'colour'"),
    ({"n_ctx": None}, "n_ctx: expected a whole number from 1 to 2147483647, found None"),
])
def test_a_config_that_cannot_be(folder, change, message):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError) as caught:
        gpt2np.load(folder)
    assert str(folder) in str(caught.value) and message in str(caught.value)


def test_a_config_that_lacks_something(folder):
    path = folder / "config.json"
    said = json.loads(path.read_text())
    del said["n_inner"], said["norms"]
    path.write_text(json.dumps(said))
    with pytest.raises(CheckpointError, match="it lacks n_inner, norms"):
        gpt2np.load(folder)


def test_weights_that_are_no_numbers(folder):
    tensors, _ = safetensors.read(folder / "model.safetensors")
    tensors = {name: np.array(array) for name, array in tensors.items()}
    tensors["wte"][0, 0] = np.nan
    (folder / "model.safetensors").unlink()
    safetensors.write(folder / "model.safetensors", tensors)
    with pytest.raises(CheckpointError, match=r"tensor 'wte': 1 of its .* numbers are not finite"):
        gpt2np.load(folder)


def test_one_kind_is_not_written_in_the_layout_of_the_other(tmp_path):
    with pytest.raises(CheckpointError, match="the layout openai is for a GPT2: found a Transformer"):
        loading.write_model(tmp_path / "m", "openai", model_of(), TOKENIZER)
    gpt2 = GPT2(GPT2Config(TOKENIZER.n_vocab, 8, 8, 2, 1), np.random.default_rng(0))
    with pytest.raises(CheckpointError, match="the layout transformer is for a Transformer: found a GPT2"):
        loading.write_model(tmp_path / "m", "transformer", gpt2, TOKENIZER)
    assert not (tmp_path / "m").exists()


def test_users_of_one_kind_refuse_the_other(folder, tmp_path):
    with pytest.raises(CheckpointError, match=r"expected a model that goes on from a text, found one that translates: "
                                              r"python -m gpt2np\.translate --model .*m uses it"):
        loading.load_with_tokenizer(folder)
    gpt2np.save(tmp_path / "g", GPT2(GPT2Config(TOKENIZER.n_vocab, 8, 8, 2, 1), np.random.default_rng(0)), TOKENIZER)
    with pytest.raises(CheckpointError, match=r"expected a model that translates, found one that goes on from a text"):
        loading.load_with_tokenizer(tmp_path / "g", kind=Transformer)
    assert gpt2np.load(tmp_path / "g")[0].config.n_layer == 1       # model.safetensors or not, each is known
