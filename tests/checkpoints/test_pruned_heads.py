"""Models without some of their heads in files: transformers' are read as it computes them, and ours are read again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import gpt2np
from gpt2np import convert
from gpt2np.adapt.narrow import quantize, scheme_of
from gpt2np.adapt.trimming import take_out_heads, taken_out
from gpt2np.checkpoints import loading, safetensors
from gpt2np.checkpoints.errors import CheckpointError
from gpt2np.interpret.lens import without_heads
from gpt2np.interpret.report import look
from gpt2np.interpret.taps import InterpretError
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.models.heads import Classifier
from gpt2np.text.bpe import Tokenizer
from gpt2np.training.heads import put_head_on

THEIRS = [[3, 1, 4, 1, 5, 9, 2], [16, 5, 3, 5, 8, 9, 7]]         # TOKENS of make_pruned.py

GOLDEN, PRUNED_BERT = (Path(__file__).parents[1] / "golden" / name for name in ("pruned", "pruned_bert"))
HEADS = {0: [1], 2: [0, 2]}


def without(dtype=np.float32):
    model = GPT2(GPT2Config(257, 8, 12, 3, 3), np.random.default_rng(0), dtype=dtype)
    take_out_heads(model, HEADS)
    return model


def logits_of(model):
    return model.forward(np.arange(12).reshape(2, 6), keep_cache=False)[0]


def test_it_is_what_transformers_computes(tmp_path):
    model, _ = gpt2np.load(GOLDEN, np.float64)
    assert taken_out(model) == {0: [1], 2: [0, 2, 3]} and model.config.n_head == 4
    expected = np.load(GOLDEN / "logits.npy")
    np.testing.assert_allclose(model.forward(THEIRS)[0], expected, rtol=0, atol=1e-12)
    gpt2np.save(tmp_path / "a", gpt2np.load(GOLDEN)[0], None)
    ours, theirs = (json.loads((folder / "config.json").read_text("utf-8")) for folder in (tmp_path / "a", GOLDEN))
    assert ours["pruned_heads"] == theirs["pruned_heads"] and ours["n_head"] == theirs["n_head"]
    mine, _ = safetensors.read(tmp_path / "a" / "model.safetensors")
    for name, tensor in safetensors.read(GOLDEN / "model.safetensors")[0].items():
        if name != "lm_head.weight":
            np.testing.assert_array_equal(mine[name.removeprefix("transformer.")], tensor)


def test_what_is_read_computes_the_same_to_the_bit(tmp_path):
    model = without()
    gpt2np.save(tmp_path / "a", model, Tokenizer([]))
    read, tokenizer = gpt2np.load(tmp_path / "a")
    assert taken_out(read) == HEADS
    np.testing.assert_array_equal(logits_of(read), logits_of(model))
    gpt2np.save(tmp_path / "b", read, tokenizer)
    assert all((tmp_path / "b" / p.name).read_bytes() == p.read_bytes() for p in (tmp_path / "a").iterdir())


def test_with_a_head_on_it_or_in_few_bits_it_is_read_too(tmp_path):
    model = Classifier(without(), ("no", "yes"), np.random.default_rng(1))
    gpt2np.save(tmp_path / "head", model, Tokenizer([]))
    read, _ = gpt2np.load(tmp_path / "head")
    assert taken_out(read.body) == HEADS
    for (path, p), (_, q) in zip(model.named_parameters(), read.named_parameters(), strict=True):
        np.testing.assert_array_equal(p.value, q.value, err_msg=path)
    narrow = without()
    quantize(narrow, "int8")
    gpt2np.save(tmp_path / "narrow", narrow, None)
    read, _ = gpt2np.load(tmp_path / "narrow")
    assert taken_out(read) == HEADS and scheme_of(read) == "int8"
    np.testing.assert_array_equal(logits_of(read), logits_of(narrow))


@pytest.mark.parametrize("pruned, message", [
    ([1], "does not say which heads of which blocks were taken out: expected numbers by block"),
    ({"x": [1]}, "does not say which heads"), ({"0": 1}, "does not say which heads"),
    ({"0": [1.0]}, "does not say which heads"), ({"0": [True]}, "does not say which heads"),
    ({"3": [0]}, "does not fit the other numbers: heads: expected blocks from 0 to 2, got 3"),
    ({"0": [3]}, "does not fit the other numbers: heads: expected of block 0 those from 0, 1, 2, got 3"),
    ({"0": [0, 1, 2]}, "expected one at least to stay in each block, got all 3 of block 0"),
    ({"0": [1]}, r"shape is wrong"), ({}, "shape is wrong"), (None, "shape is wrong")])
def test_wrong_files_are_refused(tmp_path, pruned, message):
    gpt2np.save(tmp_path, without(), None)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"pruned_heads": pruned}), "utf-8")
    with pytest.raises(CheckpointError, match=message):
        gpt2np.load(tmp_path)


def test_empty_lists_take_nothing_out(tmp_path):
    gpt2np.save(tmp_path / "a", without(), None)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    path = tmp_path / "b" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"pruned_heads": {
        "0": [1], "1": [], "2": [2, 0]}}), "utf-8")
    np.testing.assert_array_equal(logits_of(gpt2np.load(tmp_path / "b")[0]), logits_of(without()))


def test_other_layouts_cannot_say_it(tmp_path, capsys):
    with pytest.raises(CheckpointError, match=r"3 heads were taken out of the model, of blocks '0', '2', which Op"):
        loading.write_model(tmp_path / "a", "openai", without(), None)
    assert not list(tmp_path.iterdir())
    gpt2np.save(tmp_path / "a", without(), None)
    assert convert.main([str(tmp_path / "a"), str(tmp_path / "b"), "--to", "openai"]) == 1
    assert "safetensors can" in capsys.readouterr().err
    assert convert.main([str(tmp_path / "a"), str(tmp_path / "c"), "--to", "safetensors"]) == 0
    assert taken_out(gpt2np.load(tmp_path / "c")[0]) == HEADS


def test_a_bert_is_what_transformers_computes(tmp_path):
    model, _ = gpt2np.load(PRUNED_BERT, np.float64)
    assert taken_out(model) == {0: [1], 2: [0, 2, 3]} and model.config.n_head == 4
    segments, mask = [[0, 0, 0, 1, 1, 1, 1], [0] * 7], np.array([[True] * 7, [True] * 4 + [False] * 3])
    found, _ = model.forward(THEIRS, segments, mask)
    with np.load(PRUNED_BERT / "logits.npz") as expected:
        np.testing.assert_allclose(found.words[mask], expected["words"][mask], rtol=0, atol=1e-12)
        np.testing.assert_allclose(found.pairs, expected["pairs"], rtol=0, atol=1e-12)
    gpt2np.save(tmp_path / "a", gpt2np.load(PRUNED_BERT)[0], None)
    ours, theirs = (json.loads((folder / "config.json").read_text("utf-8")) for folder in (tmp_path / "a", PRUNED_BERT))
    assert ours["pruned_heads"] == theirs["pruned_heads"]
    assert ours["num_attention_heads"] == theirs["num_attention_heads"]
    mine, _ = safetensors.read(tmp_path / "a" / "model.safetensors")
    for name, tensor in safetensors.read(PRUNED_BERT / "model.safetensors")[0].items():
        if "decoder" not in name:
            np.testing.assert_array_equal(mine[name], tensor)


@pytest.mark.parametrize("kind", ["BertModel", "BertForPreTraining", "BertForSequenceClassification",
                                  "BertForTokenClassification"])
def test_berts_are_read_again_and_trained_on(tmp_path, kind):
    golden = PRUNED_BERT.parent / ("heads/" + kind if "ification" in kind else
                                   f"bert/{'body' if kind == 'BertModel' else 'pre_training'}")
    model, _ = gpt2np.load(golden)
    take_out_heads(model, {1: [0]})
    gpt2np.save(tmp_path / "a", model, None)
    read, _ = gpt2np.load(tmp_path / "a")
    assert taken_out(read) == {1: [0]} and type(read) is type(model)
    trained, new, _ = put_head_on(read.body if "ification" in kind else read, Classifier, ("no", "yes"),
                                  np.random.default_rng(0))
    assert taken_out(trained) == {1: [0]} and not [path for path in new if "h.1" in path]
    for (path, p), (_, q) in zip(model.named_parameters(), read.named_parameters(), strict=True):
        np.testing.assert_array_equal(p.value, q.value, err_msg=path)


def test_a_bert_that_lacks_other_heads_than_it_says_is_refused(tmp_path):
    shutil.copytree(PRUNED_BERT, tmp_path / "bert")
    path = tmp_path / "bert" / "config.json"
    for pruned, message in (({"0": [1]}, "shape is wrong"), ({"7": [0]}, "expected blocks from 0 to 2, got 7")):
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"pruned_heads": pruned}), "utf-8")
        with pytest.raises(CheckpointError, match=message):
            gpt2np.load(path.parent)


def test_what_counts_heads_by_the_config_refuses_it():
    for ask in (lambda: without_heads(without(), [1, 2], lambda logits: (0.0, None)),
                lambda: look(without(), Tokenizer([]), "a text")):
        with pytest.raises(InterpretError, match="expected a model with all its heads, got one without some"):
            ask()
