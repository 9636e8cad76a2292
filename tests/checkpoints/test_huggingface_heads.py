"""Folders of a model with a head: what transformers writes (tests/golden/heads), what is kept, and what is refused."""

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
from gpt2np.checkpoints.huggingface_heads import ARCHITECTURES
from gpt2np.errors import Gpt2npWarning
from gpt2np.models.bert import BERT
from gpt2np.models.config import BertConfig, GPT2Config, TransformerConfig
from gpt2np.models.gpt2 import GPT2
from gpt2np.models.heads import SIGMOID, SQUARED, Classifier, TokenClassifier
from gpt2np.models.transformer import Transformer
from gpt2np.text.wordpiece import learn_characters
from tests.checkpoints.fuzz import damage

GOLDEN = Path(__file__).parents[1] / "golden" / "heads"
LABELS = ("O", "B-PER", "地名")
TOKENIZER = learn_characters(["the cat sat, 床前明月光低"], 19)
SEQUENCE, TOKENS, ANSWERS = "BertForSequenceClassification", "BertForTokenClassification", "BertForQuestionAnswering"
GPT2_SEQUENCE, GPT2_TOKENS = "GPT2ForSequenceClassification", "GPT2ForTokenClassification"


@pytest.fixture
def changed(tmp_path):
    """A folder that is changed: its tensors, and fields of its config.json; None takes one away."""
    def change(name, drop=(), add=None, **fields):
        folder = shutil.copytree(GOLDEN / name, tmp_path / name)
        tensors, metadata = safetensors.read(folder / "model.safetensors")
        tensors = {n: np.array(a) for n, a in tensors.items() if n not in drop} | (add or {})
        (folder / "model.safetensors").unlink()
        safetensors.write(folder / "model.safetensors", tensors, metadata)
        config = json.loads((folder / "config.json").read_text()) | fields
        (folder / "config.json").write_text(json.dumps({n: a for n, a in config.items() if a is not None}))
        return folder
    return change


def refused(folder, *words):
    with pytest.raises(CheckpointError) as error:
        loading.load(folder)
    assert all(word in str(error.value) for word in words), error.value


def tensors_of(folder):
    return safetensors.read(folder / "model.safetensors")[0]


# ---- what is read and written


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_saved_and_loaded(name, tmp_path):
    model, none = gpt2np.load(GOLDEN / name)
    assert none is None and model.labels == (("start", "end") if "Question" in name else LABELS)
    gpt2np.save(tmp_path / "copy", model, None)
    mine, theirs = tensors_of(tmp_path / "copy"), tensors_of(GOLDEN / name)
    assert mine.keys() == theirs.keys() and all(np.array_equal(mine[n], theirs[n]) for n in mine)
    again, _ = gpt2np.load(tmp_path / "copy")
    assert type(again) is type(model) and (again.config, again.labels, again.objective, again.dropout) == (
        model.config, model.labels, model.objective, model.dropout)
    theirs, mine = (json.loads((place / "config.json").read_text(encoding="utf-8"))
                    for place in (GOLDEN / name, tmp_path / "copy"))
    assert mine["architectures"] == [name]
    for field in {"id2label", "label2id"} & theirs.keys():
        assert mine[field] == theirs[field]
    tokens = np.arange(8).reshape(2, 4)
    assert np.array_equal(again.forward(tokens)[0], model.forward(tokens)[0])


@pytest.mark.parametrize("objective", [SIGMOID, SQUARED])
def test_the_objective_the_rate_and_the_vocabulary_are_kept(objective, tmp_path):
    model = Classifier(BERT(BertConfig(19, 6, 8, 2, 1, 10), np.random.default_rng(0)), ["不", "是"],
                       np.random.default_rng(0), objective=objective, dropout=0.25)
    gpt2np.save(tmp_path / "model", model, TOKENIZER)
    again, tokenizer = gpt2np.load(tmp_path / "model")
    assert (again.objective, again.dropout, again.labels) == (objective, 0.25, ("不", "是"))
    assert tokenizer.fingerprint() == TOKENIZER.fingerprint()
    fields = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert fields["problem_type"] == objective.name and fields["classifier_dropout"] == 0.25


def test_what_config_json_does_not_say_is_what_transformers_takes(changed):
    rates = {name: gpt2np.load(GOLDEN / name)[0].dropout for name in ARCHITECTURES}
    assert rates == {SEQUENCE: 0.3, TOKENS: 0.3, ANSWERS: 0.0, GPT2_SEQUENCE: 0.0, GPT2_TOKENS: 0.1,
                     "GPT2ForQuestionAnswering": 0.0}
    assert gpt2np.load(changed(SEQUENCE, classifier_dropout=None, hidden_dropout_prob=0.2))[0].dropout == 0.2
    assert gpt2np.load(GOLDEN / SEQUENCE)[0].objective.name == "single_label_classification"
    weight = {"classifier.weight": np.ones((2, 8), np.float32), "classifier.bias": np.ones(2, np.float32)}
    two = gpt2np.load(changed(TOKENS, add=weight, id2label=None, label2id=None))[0]
    assert two.labels == ("LABEL_0", "LABEL_1")


def test_one_number_is_a_regression(changed):
    head = {"score.weight": np.ones((1, 8), np.float32)}
    model, _ = gpt2np.load(changed(GPT2_SEQUENCE, add=head, id2label={"0": "LABEL_0"}, label2id={"LABEL_0": 0}))
    assert model.objective == SQUARED and model.labels == ("LABEL_0",) and model.head.b is None


def test_labels_by_their_number_alone(changed):
    assert gpt2np.load(changed(TOKENS, id2label=None, label2id=None, num_labels=3))[0].labels == (
        "LABEL_0", "LABEL_1", "LABEL_2")


def test_a_pooler_on_which_the_head_does_not_stand_is_left_out_and_said(changed, tmp_path):
    pooler = {f"bert.pooler.dense.{name}": np.zeros(shape, np.float32) for name, shape in
              (("weight", (8, 8)), ("bias", 8))}
    with pytest.warns(Gpt2npWarning, match=r"pooler\.dense is left out: no head stands on it"):
        model, _ = gpt2np.load(changed(TOKENS, add=pooler))
    assert model.body.pooler is None
    model = TokenClassifier(BERT(BertConfig(19, 6, 8, 2, 1, 10), np.random.default_rng(0)), LABELS)
    with pytest.warns(Gpt2npWarning, match="the pooler is left out"):
        gpt2np.save(tmp_path / "model", model, None)
    assert model.body.pooler is not None
    assert gpt2np.load(tmp_path / "model")[0].body.pooler is None


def test_half_precision(tmp_path):
    model, _ = gpt2np.load(GOLDEN / GPT2_SEQUENCE)
    loading.write_model(tmp_path / "half", "heads", model, None, np.float16)
    half, _ = gpt2np.load(tmp_path / "half")
    assert np.allclose(half.head.wte.value, model.head.wte.value, atol=2e-3)
    assert tensors_of(tmp_path / "half")["score.weight"].dtype == np.float16


# ---- what is refused


@pytest.mark.parametrize("name, change, words", [
    (SEQUENCE, {"drop": ["classifier.weight"]}, ["'classifier.weight'", "it is not there, though config.json says"]),
    (SEQUENCE, {"drop": ["classifier.bias"]}, ["'classifier.bias'", "it is not there, though config.json says"]),
    (SEQUENCE, {"drop": ["bert.pooler.dense.bias"]}, ["1 missing ('pooler.dense.bias')"]),
    (GPT2_SEQUENCE, {"drop": ["transformer.ln_f.bias"]}, ["1 missing ('ln_f.bias')"]),
    (GPT2_SEQUENCE, {"add": {"score.bias": np.zeros(3, np.float32)}},
     ["'score.bias'", "a GPT2ForSequenceClassification has no such tensor"]),
    (TOKENS, {"add": {"cls.predictions.bias": np.zeros(17, np.float32)}}, ["1 unexpected ('cls.predictions.bias')"]),
    (TOKENS, {"add": {"classifier.bias": np.zeros(2, np.float32)}},
     ["'classifier.bias'", "its shape is wrong: expected (3,), found (2,)"]),
    (TOKENS, {"add": {"classifier.weight": np.zeros((3, 9), np.float32)}},
     ["its shape is wrong: expected (3, 8), found (3, 9)"]),
    (TOKENS, {"add": {"classifier.weight": np.zeros(3, np.float32)}}, ["another number of labels", "shape (3,)"]),
    (TOKENS, {"id2label": {"0": "O", "1": "B"}}, ["config.json", "another number of labels: expected 2, found 3"]),
    (TOKENS, {"id2label": None, "num_labels": 10**12}, ["another number of labels: expected 1000000000000, found 3"]),
    (TOKENS, {"id2label": {"0": "O", "1": "B", "3": "I"}}, ["id2label: expected a name for each of 0 to 2"]),
    (TOKENS, {"id2label": {"0": "O", "1": "B", "2": "B"}}, ["id2label: expected a name for each of 0 to 2"]),
    (TOKENS, {"id2label": {"0": "O", "1": "B", "2": 2}}, ["id2label: expected a name for each of 0 to 2"]),
    (TOKENS, {"id2label": ["O", "B", "I"]}, ["another number of labels: expected None, found 3"]),
    (SEQUENCE, {"problem_type": "ranking"}, ["problem_type: expected single_label_classification or", "'ranking'"]),
    (SEQUENCE, {"problem_type": 3}, ["problem_type: expected single_label_classification or"]),
    (SEQUENCE, {"classifier_dropout": 1.0}, ["classifier_dropout: expected a rate from 0 to less than 1, found 1.0"]),
    (SEQUENCE, {"classifier_dropout": True}, ["classifier_dropout: expected a rate"]),
    (SEQUENCE, {"hidden_act": "relu"}, ["hidden_act is not BERT's"]),
    (GPT2_SEQUENCE, {"activation_function": "relu"}, ["activation_function is not GPT-2's"]),
    (SEQUENCE, {"architectures": None}, ["'classifier.", "it belongs to the head of", "does not say which"]),
    (GPT2_TOKENS, {"architectures": None}, ["'classifier.", "GPT2ForTokenClassification", "does not name"]),
    (ANSWERS, {"architectures": [TOKENS], "num_labels": 2}, ["'classifier.weight'", "says BertForTokenClassification"]),
])
def test_what_is_refused(changed, name, change, words):
    refused(changed(name, **change), *words)


def test_one_label_to_choose_from(changed):
    head = {"classifier.weight": np.ones((1, 8), np.float32), "classifier.bias": np.ones(1, np.float32)}
    refused(changed(TOKENS, add=head, id2label={"0": "O"}, label2id={"O": 0}), "config.json", "two at least")


def test_other_names_the_other_way_round_are_said(changed):
    with pytest.warns(Gpt2npWarning, match="label2id is not the reverse of id2label, and is left out"):
        assert gpt2np.load(changed(TOKENS, label2id={"O": 1}))[0].labels == LABELS


def test_models_without_a_class_of_transformers_and_names_that_are_too_long(tmp_path):
    class Other(GPT2):
        pass

    body = GPT2(GPT2Config(9, 6, 8, 2, 1), np.random.default_rng(0))
    many = Classifier(body, [f"label {i:0100}" for i in range(400)])
    with pytest.raises(CheckpointError, match="the names of its 400 labels are too long: expected at most 65,536"):
        gpt2np.save(tmp_path / "many", many, None)
    assert not (tmp_path / "many").exists()
    with pytest.raises(CheckpointError, match="the layout heads is for a Classifier: found a GPT2"):
        loading.write_model(tmp_path / "body", "heads", body, None)
    with pytest.raises(CheckpointError, match="the tokenizer is not the model's: expected 9 tokens, found 19"):
        gpt2np.save(tmp_path / "other", Classifier(body, LABELS), TOKENIZER)
    translator = Transformer(TransformerConfig(9, 6, 8, 2, 1, 10))
    with pytest.raises(ValueError, match="expected a head on a BERT or a GPT-2, got a TokenClassifier on a Transf"):
        model = TokenClassifier(body, LABELS)
        model.body = translator
        gpt2np.save(tmp_path / "other", model, None)


def test_a_head_is_used_by_its_own_command():
    with pytest.raises(CheckpointError, match="expected a model that goes on from a text, found one that labels "
                       r"words: python -m gpt2np\.label --model .* uses it"):
        loading.load_with_tokenizer(GOLDEN / TOKENS)


def test_a_body_of_transformers_takes_a_head(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        body, _ = gpt2np.load(Path(__file__).parents[1] / "golden" / "bert" / "body")
    model = Classifier(body, LABELS, np.random.default_rng(0))
    gpt2np.save(tmp_path / "model", model, None)
    assert np.array_equal(gpt2np.load(tmp_path / "model")[0].head.wte.value, model.head.wte.value)


@pytest.mark.parametrize("name", [SEQUENCE, GPT2_TOKENS])
def test_damaged_files_are_refused_in_a_sentence_or_make_no_difference_to_sizes(name, tmp_path):
    folder, counts = shutil.copytree(GOLDEN / name, tmp_path / name), [0, 0]
    pristine = {path: path.read_bytes() for path in sorted(folder.iterdir())}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Gpt2npWarning)
        for seed in range(80):
            rng = random.Random(seed)
            path = rng.choice(list(pristine))
            path.write_bytes(damage(rng, pristine[path]))
            try:
                model, _ = loading.load(folder)
            except CheckpointError as error:
                assert str(tmp_path) in str(error)
                counts[0] += 1
            else:
                assert len(model.labels) == len(model.head.wte.value) == 3
                assert all(np.isfinite(p.value).all() for _, p in model.named_parameters())
                counts[1] += 1
            path.write_bytes(pristine[path])
    assert min(counts) > 5
