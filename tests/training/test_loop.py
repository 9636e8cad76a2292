"""A run: it learns, it stops when it should, and a run that was stopped goes on as if it never had been."""

import dataclasses
import errno
import json
import os
import pathlib
import shutil

import numpy as np
import pytest

import gpt2np
from gpt2np.checkpoints.errors import CheckpointError
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.sampling import GenerationError
from gpt2np.text.bpe import Tokenizer
from gpt2np.training import language_modelling, loop, run_folder
from gpt2np.training.errors import TrainingError
from gpt2np.training.language_modelling import LanguageModelling, LanguagePlan, load_to_train
from gpt2np.training.loop import Trainer
from tests.checkpoints.tiny import MERGES

PLAN = LanguagePlan(steps=6, batch=4, context=8, lr=1e-2, warmup=2, eval_every=2, sample=5, threads=2)
TEXT = np.random.default_rng(5).integers(0, 9, 300)     # nine of the tokens: that much can be learned at once
VAL = TEXT[:60]


def new_run(out, plan=PLAN, val=VAL):
    run_folder.write_run(out, {})
    model = GPT2(GPT2Config(259, 8, 12, 3, 2), np.random.default_rng(0), plan.dropout, recompute=plan.recompute)
    return Trainer(LanguageModelling(model, Tokenizer(MERGES), TEXT, val, plan), plan, out)


def resumed(out, plan=PLAN):
    checkpoint = run_folder.load(out)
    task = LanguageModelling(*load_to_train(checkpoint.folder, plan), TEXT, VAL, plan)
    return Trainer.resume(task, checkpoint, plan, out)


def records(out):
    """The log without what the clock says."""
    lines = (out / "log.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "tokens_per_second"} for line in lines]


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    with new_run(out) as trainer:
        list(trainer.run())
    return out


def test_it_learns_and_says_so(finished):
    log = records(finished)
    assert [(r["step"], "val_loss" in r) for r in log] == [
        (0, True), (1, False), (2, False), (2, True), (3, False), (4, False), (4, True), (5, False), (6, False),
        (6, True)]
    losses = [r["val_loss"] for r in log if "val_loss" in r]
    assert abs(losses[0] - np.log(259)) < 0.1 and losses[-1] < losses[0] - 0.5
    assert [r["lr"] for r in log if "lr" in r] == [PLAN.lr_of(step) for step in range(6)]


def test_what_it_leaves_behind(finished):
    assert sorted(path.name for path in finished.iterdir()) == ["best", "log.jsonl", "run.json", "step-00000006"]
    best, _ = gpt2np.load(finished / "best")
    last, tokenizer = gpt2np.load(finished / "step-00000006")
    assert tokenizer.merges == MERGES
    for (_, a), (_, b) in zip(best.named_parameters(), last.named_parameters()):
        np.testing.assert_array_equal(a.value, b.value)


@pytest.mark.parametrize("changes", [{}, {"order": "epochs", "dropout": 0.1, "accumulate": 2, "threads": 1,
                                          "recompute": True}])
def test_resumed_is_uninterrupted_bit_for_bit(tmp_path, finished, changes):
    plan = dataclasses.replace(PLAN, **changes)
    if changes:
        finished = tmp_path / "uninterrupted"
        with new_run(finished, plan) as trainer:
            list(trainer.run())
    out = tmp_path / "resumed"
    with new_run(out, plan) as trainer:                 # saved at step 3, between two evaluations
        for record in trainer.run():
            if record["step"] == 3:
                break
        trainer.save()
    with resumed(out, plan) as trainer:
        next(trainer.run())                             # step 4 with its evaluation, and a checkpoint of it
    with resumed(out, plan) as trainer:
        list(trainer.run())
        assert trainer.finished
    for name in ("step-00000006", "best"):
        assert contents(out / name) == contents(finished / name)
    assert records(out) == records(finished)
    with resumed(out, plan) as trainer:
        assert list(trainer.run()) == []                # nothing is left to do


def test_a_run_that_was_killed_does_its_last_steps_again(tmp_path, finished):
    out = tmp_path / "run"
    with new_run(out) as trainer:
        for record in trainer.run():
            if record["step"] == 5:
                break                                   # not saved: the last checkpoint is that of step 4
    with open(out / "log.jsonl", "a") as log:
        log.write('{"step": 6, "lo')                    # a line that was being written
    with resumed(out) as trainer:
        assert trainer.state["step"] == 4
        list(trainer.run())
    assert contents(out / "step-00000006") == contents(finished / "step-00000006")
    assert records(out) == records(finished)


def test_a_run_that_was_killed_before_its_first_evaluation(tmp_path, finished):
    out = tmp_path / "run"
    with new_run(out) as trainer:
        next(trainer.run())
    with resumed(out) as trainer:
        list(trainer.run())
    assert contents(out / "best") == contents(finished / "best")
    assert records(out) == records(finished)


def test_what_it_writes_is_shown_and_changes_nothing(tmp_path, finished):
    texts = [r["sample"] for r in records(finished) if "val_loss" in r]
    assert len(set(texts)) == 4 and all(isinstance(text, str) for text in texts)
    out = tmp_path / "silent"
    with new_run(out, dataclasses.replace(PLAN, sample=0)) as trainer:
        list(trainer.run())
    for name in ("step-00000006", "best"):
        assert contents(out / name) == contents(finished / name)
    assert records(out) == [{k: v for k, v in r.items() if k != "sample"} for r in records(finished)]


def test_a_model_that_cannot_write_is_trained_all_the_same(tmp_path, monkeypatch):
    def broken(*_):
        raise GenerationError("logits: expected finite numbers, got NaN")

    monkeypatch.setattr(language_modelling, "generate", broken)
    with new_run(tmp_path / "run") as trainer:
        assert next(trainer.run())["sample"] == "(logits: expected finite numbers, got NaN)"


@pytest.mark.parametrize("save_every, saved", [(0, [0, 2, 4, 6]), (1, [0, 1, 2, 3, 4, 5, 6]), (3, [0, 3, 6]),
                                               (4, [0, 4, 6])])
def test_checkpoints_and_evaluations_each_at_their_own_steps(tmp_path, finished, monkeypatch, save_every, saved):
    steps, save = [], run_folder.save

    def watched(out, task, optimizer, state, keep):
        steps.append(state["step"])
        save(out, task, optimizer, state, keep)

    monkeypatch.setattr(run_folder, "save", watched)
    out = tmp_path / "run"
    plan = dataclasses.replace(PLAN, save_every=save_every)
    with new_run(out, plan) as trainer:
        for record in trainer.run():
            if record["step"] == 5:
                break                                   # killed: an evaluation may come after the last checkpoint
    with resumed(out, plan) as trainer:
        list(trainer.run())
    assert sorted(set(steps)) == saved
    assert records(out) == records(finished) and contents(out / "best") == contents(finished / "best")


@pytest.mark.parametrize("first, later, saved", [(0, 0, [0, 1, 2, 3, 4, 5, 6]), (0, 1e9, [0, 1, 6]), (1e9, 0, [0, 6])])
def test_a_checkpoint_is_never_long_in_coming(tmp_path, finished, monkeypatch, first, later, saved):
    steps, save = [], run_folder.save
    monkeypatch.setattr(loop, "FIRST_SAVE", first)
    monkeypatch.setattr(loop, "LATER_SAVES", later)
    monkeypatch.setattr(run_folder, "save", lambda *arguments: [steps.append(arguments[3]["step"]), save(*arguments)])
    plan = dataclasses.replace(PLAN, save_every=100)
    with new_run(tmp_path / "run", plan) as trainer:
        list(trainer.run())
    assert sorted(set(steps)) == saved
    assert records(tmp_path / "run") == records(finished)
    for name in ("step-00000006", "best"):
        assert contents(tmp_path / "run" / name) == contents(finished / name)


class Killed(BaseException):
    pass


@pytest.mark.slow
def test_killed_at_any_moment_of_a_save_nothing_is_lost(tmp_path, finished, monkeypatch):
    """After the k-th call to the file system, every further one fails: what a process that is gone can do."""
    calls = {"left": 0}

    def counted(function):
        def call(*arguments, **options):
            calls["left"] -= 1
            if calls["left"] < 0:
                raise Killed
            return function(*arguments, **options)
        return call

    first, steps, k = tmp_path / "run", set(), 0
    shutil.copytree(finished, first)
    with resumed(first, dataclasses.replace(PLAN, steps=8)) as trainer:
        trainer._step()
    while True:
        out = trainer.out = tmp_path / f"run{k}"
        shutil.copytree(finished, out)
        calls["left"] = k
        with monkeypatch.context() as patch:
            for owner, name in ((os, "fsync"), (shutil, "rmtree"), (pathlib.Path, "rename"), (os, "rename"),
                                (pathlib.Path, "mkdir")):
                patch.setattr(owner, name, counted(getattr(owner, name)))
            try:
                run_folder.save_best(out, trainer.task)
                trainer.save()
            except Killed:
                pass
        gone = calls["left"] < 0
        folder, moments, updates, state = run_folder.load(out)
        model, _ = load_to_train(folder, PLAN)
        steps.add(state["step"])
        gpt2np.load(out / "best")
        assert set(updates.values()) == {state["step"]}
        if state["step"] == 7:                          # the new one, whole
            for (path, p), (_, expected) in zip(model.named_parameters(), trainer.task.model.named_parameters()):
                np.testing.assert_array_equal(p.value, expected.value)
                np.testing.assert_array_equal(moments["v"][path], trainer.optimizer.moments["v"][path])
        else:
            assert contents(out / "step-00000006") == contents(finished / "step-00000006")
        assert not [path for path in out.iterdir() if path.name.startswith(".")]
        if not gone:
            break
        shutil.rmtree(out)
        k += 1
    assert k > 10 and steps == {6, 7}


def test_the_log_is_on_the_disk_before_the_checkpoint(tmp_path, monkeypatch):
    events, sync, rename = [], run_folder.sync_file, pathlib.Path.rename

    def watched(path):
        if path.name == "log.jsonl":
            events.append(path.read_text().count("\n"))
        sync(path)

    monkeypatch.setattr(run_folder, "sync_file", watched)
    monkeypatch.setattr(pathlib.Path, "rename", lambda path, name: [events.append(name.name), rename(path, name)])
    with new_run(tmp_path / "run", dataclasses.replace(PLAN, steps=2, save_every=1, eval_every=2)) as trainer:
        list(trainer.run())
    events = [event for event in events if "best" not in str(event) and ".old" not in str(event)]
    assert events == ["step-00000000", 1, 2, "step-00000001", 4, "step-00000002"]       # so many lines, and then


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, finished, monkeypatch):
    out = tmp_path / "run"
    shutil.copytree(finished, out)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with resumed(out, dataclasses.replace(PLAN, steps=8)) as trainer:
        trainer._step()
        monkeypatch.setattr(run_folder.safetensors, "write", full)
        with pytest.raises(OSError, match="No space"):
            trainer.save()
    assert sorted(path.name for path in out.iterdir()) == ["best", "log.jsonl", "run.json", "step-00000006"]
    assert contents(out / "step-00000006") == contents(finished / "step-00000006")


def test_every_step_is_clipped_and_has_masks_of_its_own(tmp_path, monkeypatch):
    seeds, scales = [], []
    with new_run(tmp_path / "run", dataclasses.replace(PLAN, clip=0.01)) as trainer:
        gradients, update = trainer.parallel.loss_and_gradients, trainer.optimizer.step

        def watched_gradients(batch, pieces, seed, learn):
            seeds.append(tuple(seed))
            return gradients(batch, pieces, seed, learn=learn)

        def watched_update(lr, scale, run):
            scales.append(scale)
            update(lr, scale, run)

        monkeypatch.setattr(trainer.parallel, "loss_and_gradients", watched_gradients)
        monkeypatch.setattr(trainer.optimizer, "step", watched_update)
        norms = [record["norm"] for record in trainer.run() if "norm" in record]
    assert len(set(seeds)) == 6
    assert scales == [0.01 / norm for norm in norms] and max(scales) < 0.1


def test_it_stops_early_and_keeps_the_best(tmp_path):
    plan = dataclasses.replace(PLAN, steps=100, eval_every=1, patience=2, lr=5.0, warmup=0, clip=0.0)
    out = tmp_path / "run"
    with new_run(out, plan) as trainer:
        list(trainer.run())
        assert trainer.finished and trainer.state["step"] == trainer.state["best_step"] + 2 < 100
    losses = [r["val_loss"] for r in records(out) if "val_loss" in r]
    assert trainer.state["best"] == min(losses) == losses[trainer.state["best_step"]]
    with resumed(out, plan) as trainer:
        assert trainer.finished


def test_what_is_not_finite_stops_the_run_and_is_named(tmp_path):
    out = tmp_path / "run"
    with new_run(out) as trainer:
        run = trainer.run()
        while next(run)["step"] < 3:
            pass
        trainer.task.model.h[1].ln_2.g.value[:] = 1e38
        trainer.task.model.h[1].mlp.c_fc.w.value *= 1e10
        with pytest.raises(TrainingError, match=r"step 4: expected a finite loss and gradient, got loss nan and "
                                                r"norm nan; what is not finite appeared first in the output of "
                                                r"h\.1\.mlp\.c_fc: "):
            next(run)
        assert set(trainer.optimizer.t.values()) == {trainer.state["step"]} == {3}
    with resumed(out) as trainer:
        assert trainer.state["step"] == 2


@pytest.mark.parametrize("changes, message", [
    ({"steps": 0}, "steps: expected a whole number of 1 or more, got 0"), ({"batch": 2.0}, "batch: expected a whole"),
    ({"threads": True}, "threads: expected a whole"), ({"seed": -1}, "seed: expected a whole number of 0 or more"),
    ({"lr": 0}, "lr: expected a number above 0, got 0"), ({"lr": float("nan")}, "lr: expected a number above 0, got n"),
    ({"clip": -1.0}, "clip: expected a number of 0 or more"), ({"beta2": 1.0}, "beta2: expected a number from 0 to l"),
    ({"dropout": 1}, "dropout: expected a number from 0 to less than 1"), ({"weight_decay": "0"}, "weight_decay: exp"),
    ({"recompute": 1}, "recompute: expected true or false, got 1"),
    ({"schedule": "step"}, "schedule: expected one of constant, linear, cosine, inverse-sqrt, noam, got 'step'"),
    ({"order": "sorted"}, "order: expected one of windows, epochs, got 'sorted'")])
def test_an_impossible_plan_is_refused(changes, message):
    with pytest.raises(TrainingError, match=message):
        dataclasses.replace(PLAN, **changes)


def test_sizes_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(TrainingError, match="context: expected at most the model's n_ctx, 8, got 9"):
        new_run(tmp_path / "a", dataclasses.replace(PLAN, context=9))
    with pytest.raises(TrainingError, match="validation text: expected at least 2 tokens, got 1"):
        new_run(tmp_path / "b", val=TEXT[:1])


def test_a_folder_that_holds_something_is_left_alone(tmp_path, finished):
    before = sorted(finished.iterdir())
    with pytest.raises(TrainingError, match="expected a new or empty folder for the run, got one that holds something"):
        run_folder.write_run(finished, {})
    assert sorted(finished.iterdir()) == before
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="expected a new or empty folder"):
        run_folder.write_run(tmp_path / "file", {})
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(TrainingError, match=r"expected a folder step-\.\.\., the checkpoint of a run, got none"):
            run_folder.load(folder)
        with pytest.raises(TrainingError, match=r"expected the folder of a run, with run\.json in it, got one without"):
            run_folder.read_run(folder)


def begun(out, name="run.json", text='{"plan": {}, "data": ["train.tokens"]}'):
    (out / ".step-00000000.new").mkdir(parents=True)
    (out / ".step-00000000.new" / "checkpoint").touch()
    (out / "train.tokens").touch()
    (out / name).write_text(text)


def test_what_is_left_of_a_run_that_was_killed_as_it_began_is_begun_again(tmp_path):
    out = tmp_path / "run"
    begun(out)
    with pytest.raises(TrainingError, match="the run was stopped before its first one; begin it again, with --out, wh"):
        run_folder.load(out)
    begun(out / "other")                                # whatever else is there is somebody's
    with pytest.raises(TrainingError, match="expected a new or empty folder"):
        run_folder.write_run(out, {})
    shutil.rmtree(out / "other")
    run_folder.write_run(out, {"plan": {}})
    assert [path.name for path in out.iterdir()] == ["run.json"]


@pytest.mark.parametrize("name, text", [("run.json", "[1]"), ("run.json", '{"pace": 2}'), ("run.json", '{"plan"'),
                                        ("step-00000001", ""), ("log.jsonl", "")])
def test_what_is_not_surely_the_beginning_of_a_run_is_left_alone(tmp_path, name, text):
    out = tmp_path / "run"
    begun(out, name, text)
    before = sorted(out.rglob("*"))
    with pytest.raises(TrainingError, match="expected a new or empty folder"):
        run_folder.write_run(out, {})
    assert sorted(out.rglob("*")) == before


def test_moments_of_another_model_are_refused(tmp_path, finished):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    step = out / "step-00000006"
    tensors, _ = run_folder.safetensors.read(step / "moments.safetensors")
    del tensors["v.h.0.ln_1.g"]
    (step / "moments.safetensors").unlink()
    run_folder.safetensors.write(step / "moments.safetensors", tensors)
    with pytest.raises(CheckpointError, match="the optimizer's v is not that of the model's parameters"):
        resumed(out)
