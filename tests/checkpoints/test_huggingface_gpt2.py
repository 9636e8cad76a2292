"""Hugging Face's folder: transformers' own file, the variations that exist, and nothing beyond them."""

import json

import numpy as np
import pytest

from gpt2np.checkpoints import huggingface_gpt2, safetensors
from gpt2np.checkpoints.errors import CheckpointError
from gpt2np.checkpoints.layout import Source
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
    "unexpected": (PLAIN | {"scores.weight": MASK}, ["1 unexpected ('scores.weight')"]),
    "a classifier": (PREFIXED | {"score.weight": MASK}, ["'score.weight'", "head of GPT2ForSequenceClassification"]),
    "a tagger": (PREFIXED | {"classifier.bias": MASK}, ["tensor 'classifier.bias'", "GPT2ForTokenClassification"]),
    "answers": (PREFIXED | {"qa_outputs.weight": MASK}, ["GPT2ForQuestionAnswering"]),
    "two heads": (PREFIXED | {"lm_head.weight": PLAIN["wte.weight"], "multiple_choice_head.summary.weight": MASK},
                  ["GPT2DoubleHeadsModel"]),
    "values": (PREFIXED | {"v_head.summary.weight": MASK}, ["value head (trl)"]),
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
    ({"tie_word_embeddings": False}, "'lm_head.weight': it is not there, though tie_word_embeddings in config.json is"),
    ({"tie_word_embeddings": "no"}, "tie_word_embeddings is not GPT-2's: expected True or False"),
    ({"n_inner": 25}, "n_inner contradicts"),
    ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, "found 'llama' ('LlamaForCausalLM')"),
    ({"model_type": "gpt_neo", "architectures": ["GPTNeoForCausalLM"]}, "found 'gpt_neo' ('GPTNeoForCausalLM')"),
    ({"n_positions": 8}, "'wpe.weight'"), ({"vocab_size": "29"}, "n_vocab"),
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


def test_n_positions_counts_and_not_n_ctx(tmp_path):
    """As in transformers, where n_ctx has no meaning."""
    same(weights(huggingface_gpt2, folder_of(tmp_path / "x", PLAIN, CONFIG | {"n_ctx": 1024}))[0])


@pytest.mark.parametrize("tensors", [PLAIN, PREFIXED], ids=["plain", "prefixed"])
def test_the_one_matrix_under_the_heads_name(tensors, tmp_path):
    """So does safetensors.torch.save_model save a matrix that has two names."""
    head = {"lm_head.weight": PLAIN["wte.weight"]}
    alone = {name: array for name, array in tensors.items() if not name.endswith("wte.weight")} | head
    same(weights(huggingface_gpt2, folder_of(tmp_path / "x", alone))[0])
    untied = CONFIG | {"tie_word_embeddings": False}
    same(weights(huggingface_gpt2, folder_of(tmp_path / "y", tensors | head, untied))[0])
    path = folder_of(tmp_path / "z", alone, untied)
    with pytest.raises(CheckpointError, match=r"1 missing \('wte.weight'\)"):
        weights(huggingface_gpt2, path)


# ---- where a text ends

@pytest.mark.parametrize("config, generation, expected", [
    ({"eos_token_id": 28}, None, 28), ({"eos_token_id": [3]}, None, 3), ({"eos_token_id": [3, 3]}, None, 3),
    ({"eos_token_id": 28}, {"eos_token_id": 5}, 5), ({"eos_token_id": 28}, {"eos_token_id": None}, 28),
    ({"eos_token_id": 28}, {"bos_token_id": 5}, 28), ({"eos_token_id": None}, None, None),
    ({"eos_token_id": 50256}, None, None), ({"eos_token_id": 0}, None, 0)])
def test_the_end_of_text_is_that_of_generation(config, generation, expected, tmp_path):
    path = folder_of(tmp_path / "x", PLAIN, {n: v for n, v in CONFIG.items() if n != "eos_token_id"} | config)
    if generation is not None:
        (path.parent / "generation_config.json").write_text(json.dumps(generation))
    source = Source(path)
    assert huggingface_gpt2.read_end_of_text(source, huggingface_gpt2.read_config(source)) == expected


@pytest.mark.parametrize("ids, problem", [
    ([3, 5], "several tokens that end a text, which is not supported: leave one there: found [3, 5]"),
    (-1, "found [-1]"), ("3", "expected a token's id, found ['3']"), (True, "found [True]"), (3.0, "found [3.0]"),
    ([], "found []"), ({}, "{}")])
def test_an_end_of_text_that_is_no_token_is_refused(ids, problem, tmp_path):
    source = Source(folder_of(tmp_path / "x", PLAIN, CONFIG | {"eos_token_id": ids}))
    with pytest.raises(CheckpointError) as caught:
        huggingface_gpt2.read_end_of_text(source, huggingface_gpt2.read_config(source))
    assert "config.json: eos_token_id" in str(caught.value) and problem in str(caught.value)


# ---- shards

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def sharded(folder, tensors=PLAIN, index=True):
    """A folder with the tensors in two files; returns their weight_map."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    names = list(tensors)
    place = dict.fromkeys(names[:5], FIRST) | dict.fromkeys(names[5:], SECOND)
    for file in (FIRST, SECOND):
        safetensors.write(folder / file, {name: tensors[name] for name in names if place[name] == file})
    if index:
        write_index(folder, place)
    return place


def write_index(folder, place):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": place}))


@pytest.mark.parametrize("tensors", [PLAIN, PREFIXED], ids=["plain", "prefixed"])
def test_shards_are_read(tensors, tmp_path):
    sharded(tmp_path / "x", tensors)
    assert huggingface_gpt2.is_mine(Source(tmp_path / "x"))
    same(weights(huggingface_gpt2, tmp_path / "x")[0])


def test_a_single_file_beside_an_index_is_the_model(tmp_path):
    """As in transformers: the index is one that was left there."""
    place = sharded(tmp_path / "x")
    write_index(tmp_path / "x", dict.fromkeys(place, "absent.safetensors"))
    safetensors.write(tmp_path / "x" / "model.safetensors", PLAIN)
    same(weights(huggingface_gpt2, tmp_path / "x")[0])


@pytest.mark.parametrize("change, problem", [
    (lambda place: place | {"wte.weight": SECOND}, f"it is not the index of {FIRST}: the two differ in 'wte.weight'"),
    (lambda place: place | {"wte.bias": SECOND}, f"it is not the index of {SECOND}: the two differ in 'wte.bias'"),
    (lambda place: {n: f for n, f in place.items() if n != "wpe.weight"}, "the two differ in 'wpe.weight'"),
    (lambda place: {n: f for n, f in place.items() if f == FIRST}, "131 missing"),
    (lambda place: place | {"wte.weight": "model-00003-of-00003.safetensors"}, "no such file, which model.safetensors"),
    (lambda place: place | {"wte.weight": "../x.safetensors"}, "in the same folder: found '../x.safetensors'"),
    (lambda place: place | {"wte.weight": "/x.safetensors"}, "in the same folder: found '/x.safetensors'"),
    (lambda place: place | {"wte.weight": "..\\x.safetensors"}, "in the same folder"),
    (lambda place: place | {"wte.weight": "C:x.safetensors"}, "in the same folder"),
    (lambda place: place | {"wte.weight": "x\0.safetensors"}, "in the same folder"),
    (lambda place: place | {"wte.weight": "config.json"}, "in the same folder: found 'config.json'"),
    (lambda place: place | {"wte.weight": 1}, "weight_map does not map"), (lambda place: list(place), "does not map"),
    (lambda place: {}, "weight_map does not map tensors to files")])
def test_an_index_that_is_not_that_of_the_shards_is_refused(change, problem, tmp_path):
    write_index(tmp_path / "x", change(sharded(tmp_path / "x")))
    with pytest.raises(CheckpointError) as caught:
        weights(huggingface_gpt2, tmp_path / "x")
    assert problem in str(caught.value), str(caught.value)


def test_a_shard_that_is_missing_or_damaged_is_named(tmp_path):
    sharded(tmp_path / "x")
    (tmp_path / "x" / SECOND).write_bytes(b"")
    with pytest.raises(CheckpointError, match=f"{SECOND}: not a safetensors file"):
        weights(huggingface_gpt2, tmp_path / "x")
    (tmp_path / "x" / SECOND).unlink()
    with pytest.raises(CheckpointError, match=f"{SECOND}: there is no such file, which model.safetensors.index.json"):
        weights(huggingface_gpt2, tmp_path / "x")


def test_writing_refuses_what_is_not_the_model(tmp_path):
    model = model_of(parameters())
    del model.wpe
    with pytest.raises(CheckpointError, match=r"1 missing \('wpe'\)"):
        huggingface_gpt2.write(tmp_path, model, None)
    assert not list(tmp_path.iterdir())
