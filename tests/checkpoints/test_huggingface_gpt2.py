"""Hugging Face's folder: transformers' own file, the variations that exist, and nothing beyond them."""

import json

import numpy as np
import pytest

from gpt2np.checkpoints import huggingface_gpt2, safetensors
from gpt2np.checkpoints.errors import CheckpointError
from tests.checkpoints.tiny import model_of, parameters, weights
from tests.golden.make_tf_bundles import GOLDEN, TINY

CONFIG = json.loads((GOLDEN / "huggingface" / "config.json").read_text())
NAMES = {path: huggingface_gpt2.tensor_name(path) for path in parameters()}
PLAIN = {NAMES[path]: array for path, array in parameters().items()}
PREFIXED = {"transformer." + name: array for name, array in PLAIN.items()}
MASK = np.tril(np.ones((1, 1, 7, 7), np.float32))


def folder_of(folder, tensors, config=CONFIG):
    folder.mkdir()
    safetensors.write(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "model.safetensors"


def same(read):
    assert list(read) == list(parameters())
    for path, array in parameters().items():
        np.testing.assert_array_equal(read[path], array)
        assert read[path].dtype == np.float32


def test_reads_what_transformers_wrote():
    read, hparams = weights(huggingface_gpt2, GOLDEN / "huggingface" / "model.safetensors")
    same(read)
    assert hparams == TINY


def test_round_trip(tmp_path):
    huggingface_gpt2.write(tmp_path, model_of(parameters()), None)
    read, hparams = weights(huggingface_gpt2, tmp_path / "model.safetensors")
    same(read)
    assert hparams == TINY


def test_names():
    assert NAMES["wte"] == "wte.weight" and NAMES["h.10.attn.c_attn.w"] == "h.10.attn.c_attn.weight"
    assert NAMES["h.3.ln_1.g"] == "h.3.ln_1.weight" and NAMES["ln_f.b"] == "ln_f.bias"


@pytest.mark.parametrize("extra", [
    {}, {"h.0.attn.bias": MASK, "h.10.attn.bias": MASK}, {"h.0.attn.bias": MASK.astype(bool)},
    {"h.0.attn.bias": MASK.astype(np.uint8), "h.0.attn.masked_bias": np.float32(-1e4).reshape(())},
    {"lm_head.weight": PLAIN["wte.weight"]}])
@pytest.mark.parametrize("tensors", [PLAIN, PREFIXED], ids=["plain", "prefixed"])
def test_what_is_no_parameter_is_ignored(tensors, extra, tmp_path):
    prefix = "transformer." if tensors is PREFIXED else ""
    extra = {name if name == "lm_head.weight" else prefix + name: array for name, array in extra.items()}
    same(weights(huggingface_gpt2, folder_of(tmp_path / "x", tensors | extra))[0])


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_precisions_are_converted(dtype, tmp_path):
    same(weights(huggingface_gpt2, folder_of(tmp_path / "x", {n: a.astype(dtype) for n, a in PLAIN.items()}))[0])


BAD = {
    "missing": ({n: a for n, a in PLAIN.items() if n != "wpe.weight"}, ["1 missing ('wpe.weight')"]),
    "unexpected": (PLAIN | {"score.weight": MASK}, ["1 unexpected ('score.weight')"]),
    "empty": ({}, ["136 missing"]),
    "mixed prefixes": (PREFIXED | {"wte.weight": PLAIN["wte.weight"]},
                       ["tensor 'wte.weight'", "some names begin with"]),
    "another head": (PLAIN | {"lm_head.weight": PLAIN["wte.weight"] + 1},
                     ["tensor 'lm_head.weight'", "differs from wte"]),
    "head of another shape": (PLAIN | {"lm_head.weight": MASK}, ["tensor 'lm_head.weight'", "differs from wte"]),
    "mask of another shape": (PLAIN | {"h.0.attn.bias": MASK[0]}, ["tensor 'h.0.attn.bias'", "should be a mask"]),
    "mask of no layer": (PLAIN | {"h.11.attn.bias": MASK}, ["unexpected ('h.11.attn.bias')"]),
    "mask of layer 10^9": (PLAIN | {"h.1000000000.attn.bias": MASK}, ["unexpected"]),
    "transposed": (PLAIN | {"h.0.mlp.c_fc.weight": PLAIN["h.0.mlp.c_fc.weight"].T},
                   ["tensor 'h.0.mlp.c_fc.weight'", "expected (6, 24), found (24, 6)"]),
    "not finite": (PLAIN | {"ln_f.bias": np.full(6, np.nan, np.float32)}, ["tensor 'ln_f.bias'", "6 of its 6"]),
    "integers": (PLAIN | {"ln_f.bias": np.zeros(6, np.int8)}, ["tensor 'ln_f.bias'", "floating"]),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_tensors_are_refused_by_name(case, tmp_path):
    tensors, patterns = BAD[case]
    path = folder_of(tmp_path / "x", tensors)
    with pytest.raises(CheckpointError) as caught:
        weights(huggingface_gpt2, path)
    for pattern in ("model.safetensors", *patterns):
        assert pattern in str(caught.value), str(caught.value)


@pytest.mark.parametrize("changes, problem", [
    ({"model_type": "gptj"}, "model_type is not GPT-2's: expected 'gpt2', found 'gptj'"),
    ({"activation_function": "relu"}, "activation_function"),
    ({"activation_function": ["gelu"]}, "activation_function"),
    ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon"), ({"scale_attn_weights": False}, "scale_attn_weights"),
    ({"scale_attn_by_inverse_layer_idx": True}, "inverse_layer"), ({"add_cross_attention": True}, "cross_attention"),
    ({"tie_word_embeddings": False}, "tie_word_embeddings"), ({"n_inner": 25}, "n_inner contradicts"),
    ({"n_ctx": 8}, "n_ctx contradicts"), ({"n_positions": 8}, "'wpe.weight'"), ({"vocab_size": "29"}, "n_vocab"),
    ({"n_head": 4}, "multiple of n_head"), ({"n_layer": True}, "n_layer")])
def test_a_config_of_another_model_is_refused(changes, problem, tmp_path):
    path = folder_of(tmp_path / "x", PLAIN, CONFIG | changes)
    with pytest.raises(CheckpointError) as caught:
        weights(huggingface_gpt2, path)
    assert problem in str(caught.value)


def test_a_config_may_be_brief_but_not_absent(tmp_path):
    brief = {field: CONFIG[field] for field in huggingface_gpt2.FIELDS.values()}
    path = folder_of(tmp_path / "x", PLAIN, brief | {"n_ctx": 7, "n_inner": 24})
    same(weights(huggingface_gpt2, path)[0])
    del brief["n_head"]
    (path.parent / "config.json").write_text(json.dumps(brief))
    with pytest.raises(CheckpointError, match=r"config.json: it lacks n_head"):
        weights(huggingface_gpt2, path)
    (path.parent / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config.json: there is no such file"):
        weights(huggingface_gpt2, path)


def test_writing_refuses_what_is_not_the_model(tmp_path):
    model = model_of(parameters())
    del model.wpe
    with pytest.raises(CheckpointError, match=r"1 missing \('wpe'\)"):
        huggingface_gpt2.write(tmp_path, model, None)
    assert not list(tmp_path.iterdir())
