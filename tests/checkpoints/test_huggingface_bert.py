"""BERT's folders: what transformers writes (tests/golden/bert), what older files have, and what is refused."""

import json
import random
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

import gpt2np
from gpt2np.checkpoints import loading, safetensors
from gpt2np.checkpoints.errors import CheckpointError
from gpt2np.errors import Gpt2npWarning
from gpt2np.models.bert import BERT, BertForPreTraining
from gpt2np.text.wordpiece import WordPiece, learn_characters
from tests.checkpoints.fuzz import damage

GOLDEN = Path(__file__).parents[1] / "golden" / "bert"
KINDS = ("pre_training", "masked", "body")
TOKENIZER = learn_characters(["the cat sat, 床前明月光低"], 19)


@pytest.fixture
def folder(tmp_path):
    """A folder that may be changed: folder("masked")."""
    def copied(kind):
        return shutil.copytree(GOLDEN / kind, tmp_path / kind)
    return copied


def change(folder, rename=None, drop=(), add=None, **fields):
    """Change a folder's tensors, and the fields of its config.json; None takes one away."""
    tensors, metadata = safetensors.read(folder / "model.safetensors")
    tensors = {(rename or str)(name): np.array(a) for name, a in tensors.items() if name not in drop} | (add or {})
    (folder / "model.safetensors").unlink()
    safetensors.write(folder / "model.safetensors", tensors, metadata)
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps({name: a for name, a in config.items() if a is not None}))
    return folder


def values(model):
    return {path: p.value for path, p in model.named_parameters()}


def same(model, other):
    assert type(model) is type(other) and model.config == other.config
    mine, theirs = values(model), values(other)
    assert mine.keys() == theirs.keys()
    assert all(np.array_equal(mine[path], theirs[path]) for path in mine)


def refused(folder, *words):
    with pytest.raises(CheckpointError) as error:
        loading.load(folder)
    assert all(word in str(error.value) for word in words), error.value


# ---- what is read


def test_its_tensors_say_which_model_it_is():
    both, masked, body = (loading.load(GOLDEN / kind)[0] for kind in KINDS)
    assert type(both) is type(masked) is BertForPreTraining and type(body) is BERT
    assert both.nsp is not None and both.bert.pooler is not None
    assert masked.nsp is None and masked.bert.pooler is None
    assert body.pooler is not None and body.config.eps == 1e-3
    assert {block.ln_1.eps for block in body.h} == {body.ln.eps} == {both.mlm.ln.eps} == {1e-3}


def test_names_of_older_files(folder):
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    for kind in KINDS:
        def older(name):
            return next((name.removesuffix(new) + was for new, was in old.items() if name.endswith(new)), name)
        path = folder(kind)
        prefix = "" if kind == "body" else "bert."
        change(path, older, add={f"{prefix}embeddings.position_ids": np.arange(9)[None]})
        same(loading.load(path)[0], loading.load(GOLDEN / kind)[0])


def test_with_and_without_bert_before_the_names(folder):
    same(loading.load(change(folder("body"), lambda name: f"bert.{name}"))[0], loading.load(GOLDEN / "body")[0])
    path = change(folder("masked"), lambda name: name.removeprefix("bert."))
    same(loading.load(path)[0], loading.load(GOLDEN / "masked")[0])
    refused(change(folder("pre_training"), lambda name: name.replace("bert.pooler", "pooler")), "pooler.dense.",
            "some names begin with 'bert.' and some do not")


def test_what_is_there_twice_must_be_the_same(folder):
    path = folder("masked")
    model = loading.load(path)[0]
    again = {"cls.predictions.decoder.weight": model.bert.wte.value.copy(),
             "cls.predictions.decoder.bias": model.mlm.decoder.b.value.copy()}
    same(loading.load(change(path, add=again))[0], model)
    same(loading.load(change(path, drop=["cls.predictions.bias"]))[0], model)
    again["cls.predictions.decoder.bias"] += 1
    refused(change(path, add=again | {"cls.predictions.bias": model.mlm.decoder.b.value}), "decoder.bias",
            "it differs from cls.predictions.bias, but BERT has one array for both")


def test_a_pooler_without_a_head_is_left_out_and_said(folder):
    pooler = {f"bert.pooler.dense.{name}": np.zeros(shape, np.float32) for name, shape in
              (("weight", (12, 12)), ("bias", 12))}
    path = change(folder("masked"), add=pooler)
    with pytest.warns(Gpt2npWarning, match=r"pooler\.dense is left out: no head stands on it"):
        same(loading.load(path)[0], loading.load(GOLDEN / "masked")[0])


# ---- what is written


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded(kind, tmp_path):
    model, none = loading.load(GOLDEN / kind)
    assert none is None
    gpt2np.save(tmp_path / "copy", model, TOKENIZER)
    again, tokenizer = gpt2np.load(tmp_path / "copy")
    same(again, model)
    assert type(tokenizer) is WordPiece and tokenizer.fingerprint() == TOKENIZER.fingerprint()
    mine, theirs = (safetensors.read(place / "model.safetensors")[0] for place in (tmp_path / "copy", GOLDEN / kind))
    assert mine.keys() == theirs.keys()
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
    loading.write_model(tmp_path / "half", "bert", model, None, np.float16)
    half, none = loading.load(tmp_path / "half")
    assert none is None and np.array_equal(half.config, model.config)
    assert all(np.allclose(a, values(model)[path], atol=2e-3) for path, a in values(half).items())


def test_a_tokenizer_of_transformers_5_is_read_without_vocab_txt(tmp_path):
    gpt2np.save(tmp_path / "model", loading.load(GOLDEN / "body")[0], TOKENIZER)
    (tmp_path / "model" / "vocab.txt").unlink()
    tokenizer = {"model": {"type": "WordPiece", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                           "vocab": {piece: i for i, piece in enumerate(TOKENIZER.pieces)}},
                 "normalizer": {"type": "BertNormalizer", "clean_text": True, "lowercase": False,
                                "strip_accents": None, "handle_chinese_chars": True},
                 "pre_tokenizer": {"type": "BertPreTokenizer"}}
    file = tmp_path / "model" / "tokenizer.json"
    file.write_text(json.dumps(tokenizer))
    assert gpt2np.load(tmp_path / "model")[1].fingerprint() == TOKENIZER.fingerprint()      # its config says uncased
    (tmp_path / "model" / "tokenizer_config.json").unlink()
    assert gpt2np.load(tmp_path / "model")[1].options["do_lower_case"] is False
    for part, field, wrong in (("model", "type", "BPE"), ("normalizer", "clean_text", False),
                               ("pre_tokenizer", "type", "Whitespace"), ("model", "max_input_chars_per_word", 50)):
        file.write_text(json.dumps(tokenizer | {part: tokenizer[part] | {field: wrong}}))
        refused(tmp_path / "model", f"tokenizer.json: {part}: expected {field}", json.dumps(wrong))
    tokenizer["model"]["vocab"] |= {"[PAD]": 30}
    file.write_text(json.dumps(tokenizer))
    refused(tmp_path / "model", "tokenizer.json: expected the ids from 0 to 18")


# ---- what is refused


@pytest.mark.parametrize("fields, words", [
    ({"model_type": "roberta"}, ["the model is a roberta", "model_type 'bert'"]),
    ({"model_type": "distilbert"}, ["the model is a distilbert", "is not supported"]),
    ({"hidden_act": "gelu_new"}, ["hidden_act is not BERT's", "'gelu'", "'gelu_new'"]),
    ({"position_embedding_type": "relative_key"}, ["position_embedding_type is not BERT's"]),
    ({"is_decoder": True}, ["is_decoder is not BERT's"]),
    ({"tie_word_embeddings": False}, ["tie_word_embeddings is not BERT's"]),
    ({"hidden_size": None}, ["it lacks hidden_size"]),
    ({"vocab_size": "19"}, ["vocab_size: expected a whole number from 1"]),
    ({"num_hidden_layers": 10**9}, ["num_hidden_layers: expected a whole number from 1 to 1000"]),
    ({"num_attention_heads": 5}, ["hidden_size is not a multiple of num_attention_heads: found 12 and 5"]),
    ({"layer_norm_eps": 1}, ["layer_norm_eps: expected a number from 0 to less than 1, found 1"]),
    ({"layer_norm_eps": float("nan")}, ["NaN is not JSON"]),
    ({"architectures": ["BertForSequenceClassification"]}, ["'classifier.weight'", "it is not there, though"]),
    ({"architectures": ["BertForMultipleChoice"]}, ["architectures: expected BertModel or"]),
    ({"architectures": "BertModel"}, ["architectures: expected BertModel or"]),
    ({"architectures": ["BertForPreTraining"]}, ["it says BertForPreTraining", "'cls.seq_relationship.'"]),
    ({"vocab_size": 20}, ["word_embeddings.weight", "its shape is wrong: expected (20, 12), found (19, 12)"]),
    ({"num_hidden_layers": 3}, ["BERT with these hparams", "encoder.layer.2.attention.self.query.weight"]),
    ({"num_hidden_layers": 1}, ["unexpected ('encoder.layer.1."]),
])
def test_config_json(folder, fields, words):
    refused(change(folder("masked"), **fields), *words)


def test_other_heads_and_what_is_missing(folder):
    weight = np.zeros((2, 12), np.float32)
    refused(change(folder("body"), add={"classifier.weight": weight}),
            "it belongs to the head of BertForSequenceClassification or BertForTokenClassification")
    refused(change(folder("masked"), add={"qa_outputs.weight": weight}), "BertForQuestionAnswering")
    path = folder("pre_training")
    refused(change(path, drop=["cls.seq_relationship.bias"]), "1 missing ('cls.seq_relationship.bias')")
    names = [name for name in safetensors.read(path / "model.safetensors")[0] if name.startswith("cls.predictions")]
    change(path, drop=names, add={"cls.seq_relationship.bias": weight[:, 0]}, architectures=None)
    refused(path, "a head for pairs", "none for hidden words")


def test_a_bert_neither_writes_nor_does_a_gpt2_fill(tmp_path):
    model = loading.load(GOLDEN / "body")[0]
    gpt2np.save(tmp_path / "body", model, TOKENIZER)
    with pytest.raises(CheckpointError, match=r"expected a model that goes on from a text, found one that compares "
                       r"texts: python -m gpt2np\.similar --model .*body uses it"):
        loading.load_with_tokenizer(tmp_path / "body")
    with pytest.raises(CheckpointError, match="expected a model that fills gaps, found one that goes on from a text"):
        loading.load_with_tokenizer("demo", kind=BertForPreTraining)
    with pytest.raises(CheckpointError, match="the layout openai is for a GPT2: found a BERT"):
        loading.write_model(tmp_path / "new", "openai", model, None)
    with pytest.raises(CheckpointError, match="the layout bert is for a BERT or BertForPreTraining: found a GPT2"):
        loading.write_model(tmp_path / "new", "bert", loading.load("demo")[0], None)
    assert not (tmp_path / "new").exists()
    with pytest.raises(CheckpointError, match="the tokenizer is not the model's: expected 19 tokens, found 8"):
        gpt2np.save(tmp_path / "new", model, learn_characters(["abc"], 10))


def test_a_vocabulary_of_another_size_or_none_of_berts(tmp_path):
    gpt2np.save(tmp_path / "body", loading.load(GOLDEN / "body")[0], TOKENIZER)
    lines = (tmp_path / "body" / "vocab.txt").read_text(encoding="utf-8").splitlines()
    (tmp_path / "body" / "vocab.txt").write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    refused(tmp_path / "body", "its vocabulary is not the model's: expected 19 pieces, found 18")
    (tmp_path / "body" / "vocab.txt").write_text("\n".join(line for line in lines if line != "[CLS]"), encoding="utf-8")
    refused(tmp_path / "body", "none of its 18 lines is [CLS], which begins a text")


def test_damaged_files_are_refused_in_a_sentence_or_make_no_difference_to_sizes(tmp_path):
    model = loading.load(GOLDEN / "pre_training")[0]
    gpt2np.save(tmp_path / "model", model, TOKENIZER)
    pristine, counts = {path: path.read_bytes() for path in (tmp_path / "model").iterdir()}, [0, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Gpt2npWarning)              # a head's name that is damaged: left out, and said
        for seed in range(400):
            rng = random.Random(seed)
            path = rng.choice(list(pristine))
            path.write_bytes(damage(rng, pristine[path]))
            try:
                read, tokenizer = loading.load(tmp_path / "model")
            except CheckpointError as error:
                assert str(tmp_path) in str(error)
                counts[0] += 1
            else:
                assert tokenizer.n_vocab == read.config.n_vocab == 19
                assert all(np.isfinite(array).all() for array in values(read).values())
                counts[1] += 1
            path.write_bytes(pristine[path])
    assert min(counts) > 20
