"""Translation: what is learned from, what is measured, and python -m gpt2np.train --task translation."""

import json
import math
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest

import gpt2np
from gpt2np import evaluate, train
from gpt2np.decoding import translate
from gpt2np.layers.cross_entropy import IGNORED
from gpt2np.layers.softmax import log_softmax_forward
from gpt2np.models.config import TransformerConfig
from gpt2np.models.transformer import Transformer
from gpt2np.text.bleu import corpus_bleu
from gpt2np.text.bpe import Tokenizer
from gpt2np.training import number_pairs as numbers
from gpt2np.training import translation
from gpt2np.training.errors import TrainingError
from gpt2np.training.mpi import MPIParallel
from gpt2np.training.number_pairs import is_held_out, number_pairs
from gpt2np.training.pairs import PairBatches, padded
from gpt2np.training.parallel import DataParallel
from gpt2np.training.run_folder import checkpoints
from gpt2np.training.translation import (
    TranslationPlan,
    encoded,
    expect_room_to_train,
    fitted,
    learn,
    loss_and_accuracy,
    new_task,
    of_characters,
    split,
    tokenisation_of,
)
from tests.training.test_commands import end, ends_as_if_never_stopped, refused, start, wait_for_lines
from tests.training.test_loop import records
from tests.training.test_mpi import on_ranks
from tests.training.test_parallel import assert_close, gradients

TINY = ["--n-layer", "1", "--n-head", "2", "--n-embd", "8", "--n-vocab", "270", "--context", "24", "--batch-tokens",
        "200", "--warmup", "2", "--eval-every", "1", "--bleu", "4", "--sample", "1", "--threads", "2"]
KILLS = int(os.environ.get("GPT2NP_KILLS", 1))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text("".join(f"{source}\t{target}\tignored\n" for source, target in number_pairs(60, 0)),
                    encoding="utf-8")
    return str(path)


def arguments(pairs, out, steps, *more):
    return ["--task", "translation", pairs, "--out", str(out), "--steps", str(steps), *TINY, *more]


# ---- what is learned from


def test_the_ids_of_pairs_and_what_is_cut():
    tokenizer = Tokenizer([])
    ids, cut = encoded([("abcd", "xyz"), ("abcde", "x"), ("a", "wxyz")], tokenizer, 4)
    assert [tuple(map(tokenizer.decode, pair)) for pair in ids] == [("abcd", "xyz"), ("abcd", "x"), ("a", "wxy")]
    assert cut == 2
    ids, cut = encoded([("abc", "x"), ("abcd", "x")], tokenizer, 4, source_end=True)
    assert [source for source, _ in ids] == [[*tokenizer.encode("abc"), 256]] * 2 and cut == 1


def test_a_token_for_each_character():
    pairs = number_pairs(300, 0)
    tokenizer = of_characters(pairs)
    characters = {c for pair in pairs for text in pair for c in text}
    assert tokenizer.n_vocab <= 257 + 3 * len(characters)
    assert all(len(tokenizer.encode(text)) == len(text) for pair in pairs for text in pair)


def test_held_out_are_all_pairs_of_some_sources():
    pairs = [(f"s{i % 30}", f"t{i}") for i in range(200)]
    train_pairs, val = split(pairs)
    assert sorted(train_pairs + val) == sorted(pairs) and 10 <= len(val) <= 20
    assert not {source for source, _ in train_pairs} & {source for source, _ in val}
    assert split(pairs[::-1])[1] == [pair for pair in pairs[::-1] if pair in val]   # by what they say alone
    assert len(split([(str(i), "t") for i in range(40_000)])[1]) == translation.MOST_HELD_OUT


def test_one_vocabulary_of_both_sides():
    tokenizer = learn([("ababab", "xyxy"), ("abab", "xyxyxy")], 261, False)
    assert {tokenizer.decode([i]) for i in range(256, 260)} >= {"ab", "xy"}
    with pytest.raises(TrainingError, match="n_vocab: expected at most the 259 tokens that the pairs suffice for, got"):
        learn([("abab", "xyxy")], 300, False)
    assert learn([("abab", "xyxy")], 300, True).n_vocab < 300


def test_plans_are_fitted():
    plan = TranslationPlan(steps=10, warmup=400, schedule="noam", lr=7.0)
    assert fitted(plan, ["warmup"], 3, 64, None).lr == pytest.approx((64 * 5) ** -0.5)
    assert fitted(plan, [], 3, 64, 2.5).steps == 8 and fitted(plan, [], 3, 64, 0.001).steps == 1
    assert fitted(TranslationPlan(steps=10, lr=7.0), [], 3, 64, None).lr == 7.0


def test_generated_pairs_to_measure_by_are_not_learned_from(tmp_path, monkeypatch):
    monkeypatch.setattr(translation, "NUMBERS", 50)
    monkeypatch.setattr(translation, "MOST_HELD_OUT", 20)
    config = TransformerConfig(300, 8, 8, 2, 1, 8)
    task = new_task(tmp_path, TranslationPlan(steps=1), [], config=config, fit=["n_vocab"])
    assert len(task.batches.pairs) == 50 and len(task.val) == 20 and all(map(is_held_out, task.val))
    assert task.model.config.scripts == ("CJK",) and task.model.config.n_ctx == 128
    assert all(len(ids) == len(text) + task.model.config.source_end for (ids, _), (text, _) in zip(
        task.batches.pairs, number_pairs(50, 0)))
    assert not any(map(is_held_out, number_pairs(50, 0))) and numbers.ONE_OF == 20


# ---- what is measured


def model_and_batches(dtype=np.float64, n=17):
    tokenizer = Tokenizer([])
    ids, _ = encoded(number_pairs(n, 3), tokenizer, 24)
    model = Transformer(TransformerConfig(257, 24, 8, 2, 1, 12), np.random.default_rng(0), dtype=dtype,
                        label_smoothing=0.1)
    return model, PairBatches(ids, 150, 256, 0)


def test_loss_and_accuracy_are_those_of_each_token():
    model, batches = model_and_batches()
    losses, right = [], []
    for source, target in batches.pairs:
        logits, _ = model.forward([source], None, [[256, *target]])
        log_p, _ = log_softmax_forward(logits[0])
        losses += [-row[i] for row, i in zip(log_p, [*target, 256])]
        right += [int(row.argmax()) == i for row, i in zip(log_p, [*target, 256])]
    for threads in (1, 2):
        told = []
        with DataParallel(model, threads) as parallel:
            figures = loss_and_accuracy(parallel, batches, told.append)
        assert figures["val_loss"] == pytest.approx(np.mean(losses), rel=1e-12)
        assert figures["val_accuracy"] == pytest.approx(np.mean(right)) and told == list(range(1, len(batches) + 1))

    def rank(comm):
        return loss_and_accuracy(MPIParallel(comm, model, 1), batches, told.append)

    assert all(f["val_loss"] == pytest.approx(np.mean(losses), rel=1e-12) for f in on_ranks(2, rank))


@pytest.mark.parametrize("threads, pieces", [(1, 3), (2, 2), (3, 1)])
def test_pieces_of_unequal_lengths_are_one_batch(threads, pieces):
    """Rows with more and with fewer targets: accumulated loss and gradients are the whole batch's."""
    model, batches = model_and_batches()
    batch = tuple(padded(batches.pairs[:11], 256))
    expected = model.loss_and_gradients(*batch)
    whole = gradients(model)
    with DataParallel(model, threads) as parallel:
        loss, _ = parallel.loss_and_gradients(batch, pieces)
    assert loss == pytest.approx(float(expected), rel=1e-13)
    assert_close(gradients(model), whole, 1e-13)
    assert len({int(n) for n in (batch[3] != IGNORED).sum(axis=1)}) > 3


def test_what_bleu_takes_for_a_token():
    assert tokenisation_of(["我喜欢 Tom。", "好"]) == "zh" and tokenisation_of(["a book", "3"]) == "13a"


def test_more_than_the_machine_holds():
    config = TransformerConfig(300, 8, 8, 2, 10**9, 8)
    with pytest.raises(MemoryError, match=r"training .* parameters on 2,500 positions at once needs at least"):
        expect_room_to_train(config, TranslationPlan(steps=1))


# ---- the command


def test_a_run_on_pairs_and_its_measure(pairs, tmp_path, capsys):
    out = tmp_path / "run"
    assert train.main(arguments(pairs, out, 3, "--schedule", "noam")) == 0
    printed = capsys.readouterr().out
    assert re.search(r"a vocabulary of 270 tokens; 57 pairs to learn from, 3 to measure by; a step sees \d pairs of "
                     r"like lengths, 200 positions at most, of which \d+\.\d% are padding; \d+ steps go through all, "
                     r"with 2 threads\n", printed)
    assert re.search(r"step 3: validation loss \d\.\d{4}, validation accuracy 0\.\d{4}, validation BLEU \d+\.\d{4}, "
                     r"validation exact 0\.\d{4}", printed)
    model, tokenizer = gpt2np.load(out / "best")
    val = [tuple(line.split("\t")) for line in (out / "val.tsv").read_text(encoding="utf-8").splitlines()]
    assert f"    python -m gpt2np.translate {val[0][0]} --model {out / 'best'}\n" in printed.replace("'", "")
    assert sorted(path.name for path in out.iterdir()) == [".lock", "best", "curve.html", "log.jsonl", "run.json",
                                                           "step-00000003", "train.tsv", "val.tsv"]
    assert [r["lr"] for r in records(out) if "lr" in r] == pytest.approx(
        [8 ** -0.5 * min((s + 1) ** -0.5, (s + 1) * 2 ** -1.5) for s in range(3)])      # equation 3 of the paper
    last = records(out)[-1]
    texts, references = translate(model, tokenizer, [source for source, _ in val]), [target for _, target in val]
    best = max((r for r in records(out) if r.get("best")), key=lambda r: r["step"])
    assert best["val_bleu"] == pytest.approx(corpus_bleu(texts, references, tokenisation_of(references)).score)
    assert last["sample"].split(" -> ")[0] in dict(val)
    assert evaluate.main([str(out / "val.tsv"), "--model", str(out), "--threads", "1"]) == 0
    measured = capsys.readouterr().out
    assert "3 pairs, " in measured and re.search(r"\nBLEU \d+\.\d\d \(.*tok:(zh|13a)\|smooth:exp\)\n", measured)
    loss, ppl = (float(re.search(rf"{name} +([\d.]+)", measured)[1]) for name in ("loss per token", "perplexity"))
    assert loss == pytest.approx(best["val_loss"], abs=1e-4) and ppl == pytest.approx(math.exp(loss), rel=1e-3)
    assert f"likeliest {best['val_accuracy']:15.1%} of the tokens" in measured


@pytest.mark.slow
def test_a_run_on_pairs_that_was_killed_is_resumed_bit_for_bit(pairs, tmp_path):
    """Killed at any moment, as a run on texts is: tests/training/test_commands.py."""
    ends_as_if_never_stopped(tmp_path, KILLS, lambda out, steps: arguments(
        pairs, out, steps, "--dropout", "0.2", "--accumulate", "2"))


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGINT for another process")
def test_an_interrupted_run_on_pairs_says_how_to_go_on(pairs, tmp_path):
    out, output = tmp_path / "run", tmp_path / "output"
    process = start(output, *arguments(pairs, out, 100000))
    wait_for_lines(out / "log.jsonl", 3)
    os.kill(process.pid, signal.SIGINT)
    assert end(process) == 130
    assert output.read_text().endswith(f"and saved. To go on:\n    python -m gpt2np.train --resume {out}\n")
    state = json.loads((checkpoints(out)[-1] / "state.json").read_text())
    assert state["step"] == records(out)[-1]["step"]


def test_fine_tuning_a_translator_begins_with_what_it_has_learned(pairs, tmp_path, capsys):
    assert train.main(arguments(pairs, tmp_path / "first", 2)) == 0
    first = [r for r in records(tmp_path / "first") if "val_loss" in r]
    best = min(r["val_loss"] for r in first)
    again = ["--task", "translation", pairs, "--init-from", str(tmp_path / "first"), "--steps", "1", "--batch-tokens",
             "200", "--bleu", "0", "--sample", "0"]
    assert train.main([*again, "--out", str(tmp_path / "second")]) == 0
    record = records(tmp_path / "second")[0]
    assert record["val_loss"] == pytest.approx(best, rel=1e-6) and record.keys() == {"step", "val_loss", "val_accuracy",
                                                                                    "best"}
    plan = json.loads((tmp_path / "second" / "run.json").read_text())["plan"]
    assert (plan["context"], plan["optimizer"], plan["beta2"], plan["eps"]) == (24, "adam", 0.98, 1e-9)
    capsys.readouterr()
    refused(capsys, [*again, "--out", str(tmp_path / "third"), "--context", "99"],
            "context: expected at most the model's n_ctx, 24, got 99")
    refused(capsys, [*again[:3], "--init-from", "demo", "--out", str(tmp_path / "third")],
            "expected a model that translates, found one that goes on from a text: python -m gpt2np.generate --model d")
    refused(capsys, [pairs, "--init-from", str(tmp_path / "first"), "--out", str(tmp_path / "third")],
            "expected a model that goes on from a text, found one that translates: python -m gpt2np.translate --model ")
    assert not (tmp_path / "third").exists()


def test_norms_vocabulary_and_pairs_to_measure_by(pairs, tmp_path, capsys):
    Tokenizer([]).save(tmp_path / "vocabulary")
    (tmp_path / "val.tsv").write_text("三\t3\n四\t4\n", encoding="utf-8")
    options = [option for option in TINY if option not in ("--n-vocab", "270")]
    assert train.main(["--task=translation", pairs, "--out", str(tmp_path / "run"), "--val", str(tmp_path / "val.tsv"),
                       "--vocab", str(tmp_path / "vocabulary"), "--norms", "post, last", "--n-inner", "20", "--epochs",
                       "0.1", *options]) == 0
    model, tokenizer = gpt2np.load(tmp_path / "run")
    assert (model.config.n_vocab, model.config.norms, model.config.n_inner) == (257, "post, last", 20)
    assert (tmp_path / "run" / "val.tsv").read_text(encoding="utf-8") == "三\t3\n四\t4\n"
    assert "60 pairs to learn from, 2 to measure by" in capsys.readouterr().out


def test_without_pairs_it_learns_numbers_and_says_how_many_it_knows(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(translation, "NUMBERS", 50)
    monkeypatch.setattr(translation, "MOST_HELD_OUT", 20)
    options = [option for option in TINY if option not in ("--n-vocab", "270")]
    assert train.main(["--task", "translation", "--out", str(tmp_path / "run"), "--steps", "1", *options]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"--model .*\nOf 20 numbers and dates that it has not learned from, it writes 0 without a mistake "
                     r"\(0\.0%\)\.\n$", printed)


def test_a_sentence_that_is_too_long_is_cut_and_said(pairs, tmp_path, capsys):
    long = tmp_path / "long.tsv"
    long.write_text(Path(pairs).read_text(encoding="utf-8") + "我" * 30 + "\t1\n", encoding="utf-8")
    assert train.main(arguments(str(long), tmp_path / "run", 1)) == 0
    said = re.search(r"warning: (\d) of 5\d pairs have a side of more than 24 tokens: what", capsys.readouterr().out)
    ids, cut = encoded([("我" * 30, "1")], Tokenizer([]), 24)
    assert said and int(said[1]) >= cut == 1 and [len(side) for side in ids[0]] == [24, 1]


@pytest.mark.parametrize("text, more, message, status", [
    ("a\tb\nno tab\n", [], r"pairs\.tsv, line 2: expected a source, a tab and its target, got no tab in 'no tab'", 1),
    ("a\tb\n\tb\n", [], "line 2: expected a source, a tab and its target, got nothing on one side of the tab", 1),
    ("", [], "pairs: expected at least one to learn from, beside those to measure by, got none: give more", 1),
    ("a\tb\n", [], "pairs: expected at least one to learn from, beside those to measure by, got none: give more", 1),
    ("abcdefgh\tb\nabcdefgi\tb\n", ["--batch-tokens", "5"], "batch_tokens: expected at least the 11 of the long", 1),
    ("a\tb\n", ["--lr", "1", "--schedule", "noam"], "^error: --lr: expected none with --schedule noam, whose peak", 2),
    ("a\tb\n", ["--norms", "none"], "--norms: invalid choice: 'none'", 2),
    ("a\tb\n", ["--batch", "5"], "unrecognized arguments: --batch", 2),
    ("a\tb\n", ["--n-vocab", "999"], "n_vocab: expected at most the 257 tokens that the pairs suffice for, got 999", 1),
    ("a\tb\n", ["--task", "poetry"], "--task: invalid choice: 'poetry'", 2),
    ("a\tb\n", ["--n-head", "3"], "--n-embd: expected a multiple of n_head 3, got 256", 2),
])
def test_what_cannot_be_learned_from(tmp_path, capsys, text, more, message, status):
    (tmp_path / "pairs.tsv").write_text(text)
    refused(capsys, ["--task", "translation", str(tmp_path / "pairs.tsv"), "--out", str(tmp_path / "run"), *more],
            message, status)
    assert not (tmp_path / "run").exists()


def test_files_that_are_not_there(tmp_path, capsys):
    refused(capsys, ["--task", "translation", str(tmp_path / "x"), "--out", str(tmp_path / "run")], "x: No such file")
    refused(capsys, ["--task", "translation", "--val", "x", "--out", "run"], "--val: expected with FILE; gener", 2)
    assert not (tmp_path / "run").exists()


def test_what_evaluate_is_asked_of_the_other_kind(pairs, tmp_path, capsys):
    gpt2np.save(tmp_path / "m", Transformer(TransformerConfig(257, 24, 8, 2, 1, 8), np.random.default_rng(0)),
                Tokenizer([]))
    model = ["--model", str(tmp_path / "m")]
    refused(capsys, [pairs, *model, "--window", "4"], "--window: expected with another model, one that goes on", 2,
            evaluate)
    refused(capsys, [pairs, "--model", "demo", "--num-beams", "4"], "--num-beams: expected with another model, one tha",
            2, evaluate)
    refused(capsys, [pairs, *model, "--length-penalty", "2"], "--length-penalty: expected only with --num-beams of", 2,
            evaluate)
    refused(capsys, [pairs, *model, "--num-beams", "2", "--length-penalty", "99"], "from -10 to 10, got 99", 2,
            evaluate)
    (tmp_path / "one").write_text("only one side\n")
    refused(capsys, [str(tmp_path / "one"), *model], "line 1: expected a source, a tab and its target", 1, evaluate)
    (tmp_path / "none").write_text("\n")
    refused(capsys, [str(tmp_path / "none"), *model], "pairs: expected at least one, got none", 1, evaluate)
    (tmp_path / "long").write_text("a" * 30 + "\tb\n")
    assert evaluate.main([str(tmp_path / "long"), *model, "--num-beams", "2", "--tokenise", "char"]) == 0
    out = capsys.readouterr().out
    assert "note: 1 of 1 pairs have a side of more than the 24 tokens" in out and "the best of 2 beams" in out
    assert "tok:char" in out
