"""finetune --adapt: a little is trained beside a base, and a head, which is saved with it."""

import json

import numpy as np
import pytest

import gpt2np
from gpt2np import finetune, generate
from gpt2np.adapt.replacing import added
from gpt2np.checkpoints import safetensors
from gpt2np.checkpoints.adapters import ADAPTER_FILE, ARRAYS_FILE
from gpt2np.checkpoints.errors import CheckpointError
from gpt2np.checkpoints.loading import save
from gpt2np.models.bert import BERT
from gpt2np.models.config import BertConfig, GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.models.heads import Classifier, TokenClassifier
from gpt2np.text.bpe import Tokenizer
from gpt2np.text.wordpiece import learn_characters
from gpt2np.training import run_folder
from gpt2np.training.heads import put_head_on
from gpt2np.training.text_classification import TextClassification

TEXTS = {"classify": "好极了\tpos\n差极了\tneg\n真好\tpos\n真差\tneg\n" * 2,
         "ner": "王 B-PER\n明 I-PER\n在 O\n京 B-LOC\n\n李 B-PER\n去 O\n京 B-LOC\n州 I-LOC\n\n" * 2,
         "answer": "三\t3\n五\t5\none\t1\ntwo\t2\n" * 2}
OPTIONS = {"lora": ["--rank", "2", "--adapt-dropout", "0.2"], "adalora": ["--rank", "1"],
           "adapter": ["--adapter-width", "2"], "prefix": ["--prefix-length", "3"], "bias": []}
STEPS = 2


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A folder with a small BERT, a small GPT-2, a classifier of other labels, and examples."""
    folder, rng = tmp_path_factory.mktemp("bases"), np.random.default_rng(0)
    for name, text in TEXTS.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    pieces = learn_characters(list("好极了差真王明在京李去州"), 99)
    bert = BERT(BertConfig(pieces.n_vocab, 16, 8, 2, 1, 9), rng, pooler=False)
    save(folder / "bert", bert, pieces)
    save(folder / "labelled", put_head_on(bert, Classifier, ["a", "b"], rng)[0], pieces)
    save(folder / "gpt2", GPT2(GPT2Config(257, 32, 8, 2, 1), rng), Tokenizer([]))
    return folder


@pytest.fixture(autouse=True)
def no_lasting_settings(monkeypatch):
    monkeypatch.setattr(finetune, "keep_freed_memory", lambda: None)


def command(bases, task, base, method, out, *more):
    path = str(bases / f"{task}.txt")
    return ["--task", task, path, "--val", path, "--init-from", str(bases / base), "--out", str(out), "--adapt", method,
            *OPTIONS[method], "--steps", str(STEPS), "--batch", "4", "--warmup", "1", "--eval-every", "1", "--sample",
            "1", "--threads", "2", *more]


def stored(folder):
    return safetensors.read(folder / ARRAYS_FILE)[0]


def last(out):
    return stored(run_folder.checkpoints(out)[-1])


@pytest.mark.parametrize("base, method", [("bert", method) for method in OPTIONS] +
                         [("gpt2", method) for method in OPTIONS])
def test_a_classifier(bases, base, method, tmp_path, capsys, stop_after):
    """What was added and the head are trained, said, saved and loaded; and a run goes on to the bit."""
    assert finetune.main(command(bases, "classify", base, method, tmp_path / "whole")) == 0
    said, best = " ".join(capsys.readouterr().out.split()), tmp_path / "whole" / "best"
    assert f"{method}: " in said and (" of its head parameters" in said) is (method != "bias")
    assert (tmp_path / "whole" / "report.txt").is_file()
    model, tokenizer = gpt2np.load(bases / base, adapter=best)
    assert f"python -m gpt2np.label --adapter {best}" in said and tokenizer is not None
    assert type(model) is Classifier and model.labels == ("neg", "pos")
    trained = {path for path, p in model.named_parameters() if p.trainable}
    head = {path for path, _ in model.named_parameters() if path.startswith(("head.", "body.pooler."))}
    biases = {path for path, _ in model.named_parameters() if path.endswith(".b")}
    own = biases if method == "bias" else set(added(model))
    assert set(stored(best)) == trained == own | head
    old = dict(gpt2np.load(bases / base)[0].named_parameters())
    parameters = dict(model.named_parameters())
    assert all((parameters[f"body.{path}"].value == p.value).all() for path, p in old.items()
               if f"body.{path}" not in trained)
    task = TextClassification.load(best, tmp_path / "whole", run_plan(tmp_path / "whole"))
    tokens = [[5, 6, 7]]
    assert (task.model.forward(tokens)[0] == model.forward(tokens)[0]).all()
    stop_after(1)
    assert finetune.main(command(bases, "classify", base, method, tmp_path / "parts")) == 1
    assert finetune.main(["--resume", str(tmp_path / "parts")]) == 0
    one, other = last(tmp_path / "whole"), last(tmp_path / "parts")
    assert one.keys() == other.keys() and all((one[path] == other[path]).all() for path in one)


def run_plan(out):
    plan = run_folder.read_run(out)["plan"]
    return TextClassification.plan_type(**{name: tuple(value) if isinstance(value, list) else value
                                           for name, value in plan.items()})


def test_names(bases, tmp_path, capsys):
    assert finetune.main(command(bases, "ner", "bert", "lora", tmp_path / "run")) == 0
    assert "lora: 109 = 1 x 2 (8 + 24) + 45 of its head parameters to train" in " ".join(
        capsys.readouterr().out.split())
    model, _ = gpt2np.load(bases / "bert", adapter=tmp_path / "run")
    assert type(model) is TokenClassifier and model.labels[0] == "O" and len(model.labels) == 5
    assert run_folder.read_run(tmp_path / "run")["plan"]["lr"] == 1e-3


def test_answers(bases, tmp_path, capsys):
    """A GPT-2 with what was added to it, and no head."""
    assert finetune.main(command(bases, "answer", "gpt2", "lora", tmp_path / "run", "--answers", "1")) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "lora: 64 = 1 x 2 (8 + 24) parameters to train" in said
    assert f"python -m gpt2np.generate --adapter {tmp_path / 'run' / 'best'}" in said
    assert generate.main(["one", "--adapter", str(tmp_path / "run"), "--max-new-tokens", "2"]) == 0


def test_a_prefix_begins_as_that_of_the_examples(bases, tmp_path):
    """And takes positions: the model sees fewer."""
    assert finetune.main(command(bases, "answer", "gpt2", "prefix", tmp_path / "run", "--answers", "0", "--lr", "1e-30",
                                 "--clip", "0")) == 0
    model, tokenizer = gpt2np.load(bases / "gpt2", adapter=tmp_path / "run")
    assert run_folder.read_run(tmp_path / "run")["plan"]["context"] == model.n_ctx == 29
    ids, base = tokenizer.encode("三")[:3], gpt2np.load(bases / "gpt2")[0]
    assert model.forward([tokenizer.encode("3")])[0][0, -1] == pytest.approx(
        base.forward([ids + tokenizer.encode("3")])[0][0, -1], abs=1e-5)


def test_another_head_takes_the_place_of_the_base_s(bases, tmp_path, capsys):
    """Its labels are those that were learned, though the base has as many of its own."""
    assert finetune.main(command(bases, "classify", "labelled", "lora", tmp_path / "none")) == 1
    assert "--new-head begins with a new head" in " ".join(capsys.readouterr().err.split())
    assert finetune.main(command(bases, "classify", "labelled", "lora", tmp_path / "run", "--new-head")) == 0
    assert "body.pooler.w" not in stored(tmp_path / "run" / "best")         # which the base has
    assert gpt2np.load(bases / "labelled", adapter=tmp_path / "run")[0].labels == ("neg", "pos")


def test_what_cannot_be_is_one_sentence(bases, tmp_path, capsys):
    path = str(bases / "classify.txt")
    with pytest.raises(SystemExit):
        finetune.main(["--task", "classify", path, "--out", str(tmp_path / "run"), "--adapt", "lora"])
    assert "--adapt lora: expected --init-from with it, a model that has learned something" in " ".join(
        capsys.readouterr().err.split())
    assert finetune.main(command(bases, "classify", "bert", "prefix", tmp_path / "run", "--context", "14")) == 1
    assert "context: expected at most the model's n_ctx, 13, got 14" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("head", [None, {}, {"labels": ["a", "a"], "objective": "regression"},
                                  {"labels": ["a", "b"], "objective": []}, {"labels": ["a"], "objective": "none"}])
def test_a_head_that_cannot_be(bases, tmp_path, head):
    assert finetune.main(command(bases, "classify", "bert", "lora", tmp_path / "run")) == 0
    path = tmp_path / "run" / "best" / ADAPTER_FILE
    about = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(about | {"head": head}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="head is not what it should be"):
        gpt2np.load(bases / "bert", adapter=tmp_path / "run")
