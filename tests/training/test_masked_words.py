"""The task of BERT: it learns, is measured, stops and goes on, and says what it cannot do; and gpt2np.fill."""

import json
from dataclasses import replace

import numpy as np
import pytest

import gpt2np
from gpt2np import fill as command
from gpt2np import train
from gpt2np.checkpoints import loading
from gpt2np.errors import Gpt2npError
from gpt2np.filling import fill
from gpt2np.layers.softmax import softmax_forward
from gpt2np.models.bert import BERT, BertForPreTraining
from gpt2np.models.config import BertConfig
from gpt2np.text.columns import columns_of
from gpt2np.text.wordpiece import SPECIAL, WordPiece, learn_characters
from gpt2np.training import masked_words, run_folder
from gpt2np.training.errors import TrainingError
from gpt2np.training.loop import Trainer
from gpt2np.training.masked_words import MaskedPlan, MaskedWords
from gpt2np.training.parallel import DataParallel

# In each line the same character comes twice, so that one tells the other; and lines of a document are of one half of
# them.
ALPHABET = "天地玄黄宇宙洪荒日月盈昃"
LINES = [[" ".join(ALPHABET[6 * (d % 2) + (i + d + k) % 6] * 2 for k in range(3)) for i in range(4)] for d in range(30)]
SMALL = BertConfig(99, 16, 16, 2, 1, 32)


@pytest.fixture
def files(tmp_path):
    text = "\n\n".join("\n".join(document) for document in LINES)
    (tmp_path / "text").write_text(text, encoding="utf-8")
    (tmp_path / "run").mkdir()
    return tmp_path


@pytest.fixture(autouse=True)
def no_lasting_settings(monkeypatch, tmp_path):
    for module in (train, command):
        monkeypatch.setattr(module, "keep_freed_memory", lambda: None)
    monkeypatch.setenv("GPT2NP_WEIGHTS", str(tmp_path / "weights"))


def new(files, config=SMALL, **options):
    said = []
    plan = options.pop("plan", MaskedPlan(steps=8, batch=8, context=16, warmup=2, eval_every=4, dropout=0.1))
    task = masked_words.new_task(files / "run", plan, [str(files / "text")], config=config, fit=("n_vocab",),
                                 warn=said.append, **options)
    return task, said


# ---- the task


def test_a_new_task(files):
    task, said = new(files)
    assert said == [] and task.model.nsp is not None and task.batches.pairs
    assert task.model.config.n_vocab == task.tokenizer.n_vocab == len(SPECIAL) + len(ALPHABET)
    assert len(task.val) == 3 and len(task.batches.documents) == 27
    batch = task.batch(0)
    assert task.model.counted(*batch)[1] == 8 and task.tokens(batch) == batch[2].sum()
    logits, _ = task.model.forward(*task.inputs(batch))
    assert logits.words.shape == (*batch[0].shape, 17)
    targets = np.concatenate([row[row != -100] for batch in task._val_batches() for row in batch[3]])
    counts = np.bincount([i for d in task.batches.documents for text in d for i, _ in text])
    assert task.guessing() == (targets == counts.argmax()).mean()


def test_figures_are_those_of_the_logits(files):
    task, _ = new(files)
    for threads in (1, 3):
        with DataParallel(task.model, threads) as parallel:
            figures = task.evaluate(parallel, lambda done, of: None)
        words, pairs = [], []
        for tokens, segments, mask, targets, not_next in task._val_batches():
            logits, _ = task.model.forward(tokens, segments, mask)
            for found, z, t in ((words, logits.words, targets), (pairs, logits.pairs, not_next)):
                p, _ = softmax_forward(z[t != -100])
                t = t[t != -100]
                found += [(-np.log(row[i]), row.argmax() == i) for row, i in zip(p, t)]
        means = [np.mean([a for a, _ in found]) for found in (words, pairs)]
        assert figures["val_masked_loss"] == pytest.approx(means[0], abs=1e-5)
        assert figures["val_pair_loss"] == pytest.approx(means[1], abs=1e-5)
        assert figures["val_loss"] == pytest.approx(sum(means), abs=1e-5)
        assert figures["val_masked_accuracy"] == np.mean([right for _, right in words])
        assert figures["val_pair_accuracy"] == np.mean([right for _, right in pairs])


def test_without_pairs_there_is_one_loss_and_it_is_said(files):
    (files / "text").write_text("\n\n".join(sentence for document in LINES for sentence in document))
    task, said = new(files)
    assert task.model.nsp is None and task.model.bert.pooler is None
    assert len(said) == 1 and said[0].startswith("no two sentences of a document are in a row, or there is")
    with DataParallel(task.model, 1) as parallel:
        assert task.evaluate(parallel, lambda done, of: None).keys() == {"val_loss", "val_masked_accuracy"}
    task.save(files / "run")
    again = MaskedWords.load(files / "run", files / "run", task.plan)
    assert again.model.nsp is None and not again.batches.pairs


def test_from_an_encoder_alone_the_heads_are_new_and_said(files):
    tokenizer = learn_characters([ALPHABET], 99)
    bert = BERT(BertConfig(tokenizer.n_vocab, 12, 8, 2, 1, 9), np.random.default_rng(0))
    gpt2np.save(files / "bert", bert, tokenizer)
    plan = MaskedPlan(steps=1, batch=2, context=16)
    with pytest.raises(TrainingError, match="context: expected at most the model's n_ctx, 12, got 16"):
        new(files, None, init_from=files / "bert", plan=plan)
    said = []
    task = masked_words.new_task(files / "run", plan, [str(files / "text")], init_from=files / "bert",
                                 fit=("context",), warn=said.append)
    assert task.plan.context == 12
    assert said == [f"{files / 'bert'} has no mlm.dense.w and no mlm.dense.b and no mlm.ln.g and no mlm.ln.b and no "
                    "mlm.decoder.b and no nsp.w and no nsp.b: they begin with random weights"]
    for path, p in bert.named_parameters():
        assert np.array_equal(dict(task.model.bert.named_parameters())[path].value, p.value)
    with pytest.raises(TrainingError, match="--init-from: expected a BERT, got a GPT2: demo"):
        masked_words.load_to_train("demo", plan)


def test_units_words_and_an_epoch(files):
    task, _ = new(files, epochs=2, plan=MaskedPlan(steps=1, batch=8, context=16, unit="spaces"))
    assert task.plan.steps == 2 * len(task.batches)
    _, _, _, targets, _ = task.batch(0)
    hidden = targets != -100
    assert hidden.sum(axis=1).max() == 2 and all(np.diff(np.flatnonzero(row))[:1].tolist() in ([], [1])
                                                 for row in hidden)


@pytest.mark.parametrize("text, message", [
    ("", "text: expected at least one sentence to learn from"),
    ("one", "text: expected at least one sentence to learn from"),
])
def test_too_little_text(files, text, message):
    (files / "text").write_text(text)
    with pytest.raises(TrainingError, match=message):
        new(files)


def test_vocabularies(files):
    with pytest.raises(TrainingError, match=r"--vocab: expected a folder with vocab\.txt"):
        new(files, vocabulary=loading.load("demo")[1])
    task, said = new(files, vocabulary=WordPiece([*SPECIAL, "天"]))
    assert said[0].endswith("of the pieces to learn from are [UNK], which the vocabulary cannot spell")
    with pytest.raises(TrainingError, match="n_vocab: expected at most the 17 pieces that the texts have characters "):
        masked_words.learn(LINES, 18, at_most=False)
    assert masked_words.learn(LINES, 17, at_most=False).n_vocab == 17


def test_the_sample_shows_a_gap_and_what_was_there(files):
    task, _ = new(files)
    lines = task.sample(np.random.default_rng(0)).splitlines()
    assert len(lines) == 3
    for line in lines:
        text, guesses, missing = line.split("   ")
        assert "[MASK]" in text and len(guesses.split(", ")) == 3 and missing[1:-1] in ALPHABET


# ---- the commands


def run(files, *arguments):
    return train.main([*map(str, arguments), "--threads", "2"])


SIZES = ("--n-layer", 1, "--n-embd", 16, "--n-head", 2, "--context", 16, "--batch", 8, "--warmup", 2)


def test_a_run_that_was_stopped_goes_on_as_if_nothing_had_happened(files, capsys):
    begin = ["--task", "masked", files / "text", *SIZES, "--eval-every", 4]
    assert run(files, *begin, "--out", files / "whole", "--steps", 8) == 0
    said = capsys.readouterr().out
    assert "documents to learn hidden words, and what follows what, from" in said.replace("\n    ", " ")
    assert "python -m gpt2np.fill" in said and "validation pair accuracy" in said and "warning" not in said
    assert run(files, *begin, "--out", files / "a", "--steps", 8, "--schedule", "constant") == 0
    assert run(files, *begin, "--out", files / "b", "--steps", 4, "--schedule", "constant") == 0
    assert run(files, "--resume", files / "b", "--steps", 8) == 0
    logs = [run_folder.read_log(files / name) for name in "ab"]
    for log in logs:
        for record in log:
            record.pop("tokens_per_second", None)
    assert logs[0] == logs[1]
    models = [loading.load(files / name / "step-00000008")[0] for name in "ab"]
    for (path, p), (_, q) in zip(*(model.named_parameters() for model in models)):
        assert np.array_equal(p.value, q.value), path
    log = json.loads((files / "a" / "log.jsonl").read_text().splitlines()[0])
    assert {"val_masked_loss", "val_masked_accuracy", "val_pair_loss", "val_pair_accuracy"} <= log.keys()
    curve = (files / "a" / "curve.html").read_text()
    assert "masked loss" in curve and "pair loss" in curve and "masked accuracy" in curve


def test_it_learns_what_there_is_to_learn(files):
    config = BertConfig(99, 16, 32, 4, 2, 64)
    plan = MaskedPlan(steps=1, batch=16, context=16, unit="pieces", dropout=0.0)
    task, _ = new(files, config, plan=plan)
    plan = replace(task.plan, steps=100, lr=4e-3, warmup=10, eval_every=100, schedule="linear",
                                weight_decay=0.0, beta2=0.98)
    task.plan = plan
    run_folder.write_run(files / "out", {"plan": {}, "task": task.name})
    with Trainer(task, plan, files / "out") as trainer:
        records = [record for record in trainer.run() if "val_loss" in record]
    assert records[-1]["val_masked_accuracy"] > 3 * task.guessing()
    assert records[-1]["val_masked_loss"] < 0.6 * records[0]["val_masked_loss"]
    assert records[-1]["val_pair_accuracy"] > 0.75


@pytest.fixture
def folder(tmp_path):
    tokenizer = learn_characters([ALPHABET + " the cat"], 99)
    config = BertConfig(tokenizer.n_vocab, 9, 8, 2, 1, 9)
    gpt2np.save(tmp_path / "model", BertForPreTraining(config, np.random.default_rng(0)), tokenizer)
    return str(tmp_path / "model")


def test_the_likeliest_words_for_each_gap(folder, capsys, monkeypatch):
    model, tokenizer = gpt2np.load(folder)
    gaps = fill(model, tokenizer, "天[MASK]玄 [MASK]", 4)
    ids = [tokenizer.cls, *tokenizer.encode("天[MASK]玄[MASK]", allowed_special=["[MASK]"]), tokenizer.sep]
    p, _ = softmax_forward(model.forward([ids])[0].words[0])
    for guesses, at in zip(gaps, (2, 4), strict=True):
        order = [i for i in np.argsort(-p[at]) if tokenizer.pieces[i] not in SPECIAL][:4]
        assert [guess.piece for guess in guesses] == [tokenizer.pieces[i] for i in order]
        assert [guess.probability for guess in guesses] == pytest.approx(p[at][order], rel=1e-4)
    assert command.main(["天[MASK]玄 [MASK]", "--model", folder, "--top-k", "2"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"天{gaps[0][0].piece}玄{gaps[1][0].piece}".replace("##", "")
    assert lines[0] == "gap 1:" and lines[3] == "gap 2:" and len(lines) == 6
    assert lines[1].split() == [gaps[0][0].piece, f"{gaps[0][0].probability:.1%}"]
    monkeypatch.setattr(command, "width", lambda: 4)
    assert command.main(["天[MASK]玄", "--model", folder, "--top-k", "1"]) == 0
    assert [*map(columns_of, capsys.readouterr().out.splitlines()[:2])] == [4, 2]
    assert len(fill(model, tokenizer, "[MASK]", 10 ** 6)[0]) == tokenizer.n_vocab - len(SPECIAL)


@pytest.mark.parametrize("arguments, status, message", [
    (["天地"], 1, "expected a text with [MASK] where a word is missing, got '天地'"),
    (["天地玄黄宇宙洪[MASK]"], 1,
     "expected a text of at most 9 pieces, [CLS] and [SEP] among them, got 10: --cut leaves out the end"),
    (["天地玄黄宇宙洪[MASK]", "--cut"], 1,
     "expected a text with [MASK] where a word is missing, got '天地玄黄宇宙洪[MASK]', of which the end was cut"),
    (["a", "b"], 1, "expected a text with [MASK]"),
    (["[MASK]", "--model", "demo"], 1, "demo: expected a model that fills gaps, found one that goes on from a text: "),
    (["[MASK]", "--model", "124M"], 1, "124M: this model is in none of "),
    (["[MASK]", "--top-k", "0"], 2, "--top-k: expected a whole number of 1 or more, got 0"),
])
def test_what_cannot_be_filled(folder, capsys, arguments, status, message):
    arguments = arguments if "--model" in arguments else [*arguments, "--model", folder]
    try:
        got = command.main(arguments)
    except SystemExit as exit_:
        got = exit_.code
    out, err = capsys.readouterr()
    assert got == status and not out and err.startswith(f"error: {message}")


def test_a_model_without_its_head_does_not_fill(tmp_path, folder):
    model, tokenizer = gpt2np.load(folder)
    gpt2np.save(tmp_path / "body", model.bert, tokenizer)
    with pytest.raises(Gpt2npError, match="expected a model that fills gaps, found one that compares texts"):
        loading.load_with_tokenizer(tmp_path / "body", kind=BertForPreTraining)
