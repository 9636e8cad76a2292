"""Any model and any task by the same machinery: a second model, tests/toy.py, is trained, killed, resumed, frozen."""

import dataclasses
import json
import multiprocessing
import random
import time
from contextlib import ExitStack
from functools import partial

import numpy as np
import pytest

from gpt2np.training import run, run_folder
from gpt2np.training.clipping import gradient_norm
from gpt2np.training.curve import write_curve
from gpt2np.training.errors import TrainingError
from gpt2np.training.language_modelling import LanguageModelling
from gpt2np.training.loop import Trainer
from gpt2np.training.mpi import MPIParallel, World
from gpt2np.training.parallel import DataParallel
from tests.toy import Penalised, Thawing, Toy, ToyPlan, ToyTask, loss_of_guessing, masked
from tests.training.test_loop import contents, records
from tests.training.test_mpi import on_ranks
from tests.training.test_parallel import assert_close, gradients

PLAN = ToyPlan(steps=10, lr=1e-2, warmup=2, eval_every=4, threads=2)


def begin(out, plan=PLAN, kind=ToyTask, world=None):
    return run.begin(partial(kind.new, out, plan), kind, plan, out, {}, world or World(), ExitStack())


def finish(out, kind=ToyTask):
    """Go on with a run to its end."""
    trainer, changes = run.resume([kind], out, World(), ExitStack())
    assert changes == []
    with trainer:
        list(trainer.run())
    return trainer


def values(trainer):
    return {path: p.value.copy() for path, p in trainer.task.model.named_parameters()}


# ---- losses with two terms


def toy_and_batch(rows, seed=0):
    rng = np.random.default_rng(seed)
    batch = masked(rng, (rng.integers(0, 10, (rows, 1)) + np.arange(8)) % 10)
    return Toy(rng, dtype=np.float64), batch


@pytest.mark.parametrize("rows", [1, 2, 5, 8])
@pytest.mark.parametrize("ranks, threads, pieces", [(None, 1, 3), (None, 2, 1), (None, 3, 2), (None, 7, 1), (1, 2, 2),
                                                    (2, 1, 1), (2, 2, 2), (3, 1, 2), (5, 2, 1)])
def test_two_means_over_two_numbers_are_exact_however_the_rows_are_dealt_out(rows, ranks, threads, pieces):
    model, batch = toy_and_batch(rows)
    expected_loss = model.loss_and_gradients(*batch)
    expected, expected_norm = gradients(model), gradient_norm(model)
    assert all(g is not None for g in expected.values())

    def work(comm):
        mine, _ = toy_and_batch(rows)
        with DataParallel(mine, threads) if comm is None else MPIParallel(comm, mine, threads) as parallel:
            for _ in range(2):
                loss, norm = parallel.loss_and_gradients(batch, pieces)
            assert parallel.norm() == norm
            return loss, norm, parallel.loss(batch), gradients(mine)

    for loss, norm, alone, got in [work(None)] if ranks is None else on_ranks(ranks, work):
        assert loss == pytest.approx(expected_loss, rel=1e-13) == alone
        assert norm == pytest.approx(expected_norm, rel=1e-13)
        assert_close(got, expected, 1e-13)


def test_a_term_of_which_a_part_has_nothing():
    model, (tokens, targets, pairs) = toy_and_batch(6)
    pairs[:3] = targets[3:] = -100                      # pairs in the one half of the rows, masks in the other
    expected_loss = model.loss_and_gradients(tokens, targets, pairs)
    expected = gradients(model)
    for threads in (1, 2, 6):
        with DataParallel(model, threads) as parallel:
            assert parallel.loss_and_gradients((tokens, targets, pairs))[0] == pytest.approx(expected_loss, rel=1e-13)
            assert_close(gradients(model), expected, 1e-13)


def test_what_adds_is_added_over_threads_and_ranks():
    def work(comm):
        with DataParallel(Toy(), 3) if comm is None else MPIParallel(comm, Toy(), 2) as parallel:
            return parallel.total(lambda share: np.array([share[0].sum(), len(share[0])]), (np.arange(7), np.ones(7)))

    for sums in [work(None), *on_ranks(3, work)]:
        np.testing.assert_array_equal(sums, [21, 7])


# ---- a run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("toy") / "run"
    with begin(out) as trainer:
        list(trainer.run())
    return out


def test_it_learns_and_the_figure_of_its_choice_says_which_is_the_best(tmp_path):
    plan = dataclasses.replace(PLAN, steps=300, eval_every=50, optimizer="adam", weight_decay=0.0)
    with begin(tmp_path / "run", plan) as trainer:
        log = [record for record in trainer.run() if "val_loss" in record]
    assert abs(log[0]["val_loss"] - loss_of_guessing()) < 1.5
    accuracies = [record["val_accuracy"] for record in log]
    assert accuracies[0] < 0.3 and max(accuracies) > 0.6
    assert [record["best"] for record in log] == [a > max(accuracies[:i], default=-1) for i, a in enumerate(accuracies)]
    assert trainer.state["best"] == max(accuracies)
    assert trainer.state["best_step"] == 50 * accuracies.index(max(accuracies))
    best = ToyTask.load(tmp_path / "run" / "best", tmp_path / "run", plan)
    with DataParallel(best.model, 2) as parallel:
        assert best.evaluate(parallel, lambda done, of: None)["val_accuracy"] == max(accuracies)


def test_what_it_leaves_behind(finished):
    assert sorted(path.name for path in finished.iterdir()) == [
        ".lock", "best", "log.jsonl", "rows.npy", "run.json", "step-00000010"]
    assert json.loads((finished / "run.json").read_text())["task"] == "toy"
    assert set(contents(finished / "step-00000010")) == {"toy.safetensors", "moments.safetensors", "state.json"}
    assert set(contents(finished / "best")) == {"toy.safetensors"}
    write_curve(finished.parent / "curve.html", "a toy", run_folder.read_log(finished))
    page = (finished.parent / "curve.html").read_text()
    assert 'aria-label="accuracy by step"' in page and page.count("<svg") == 2


@pytest.mark.parametrize("kind, changes", [(ToyTask, {}), (ToyTask, {"optimizer": "sgd", "lr": 0.1, "accumulate": 2}),
                                           (ToyTask, {"train_only": ("pair", "h.1.mlp"), "optimizer": "adam"}),
                                           (Penalised, {}), (Thawing, {"save_every": 1, "threads": 3})])
def test_resumed_is_uninterrupted_bit_for_bit(tmp_path, kind, changes):
    plan, whole, parts = dataclasses.replace(PLAN, **changes), tmp_path / "whole", tmp_path / "parts"
    with begin(whole, plan, kind) as trainer:
        for _ in trainer.run():
            pass
    with begin(parts, plan, kind):
        pass                                            # killed before anything was done
    for stop in (0, 1, 4, 4, 5, 7):                     # once between a step and its evaluation
        trainer, _ = run.resume([kind], parts, World(), ExitStack())
        with trainer:
            for record in trainer.run():
                if record["step"] >= stop:
                    break
            trainer.save()
    finish(parts, kind)
    for name in ("step-00000010", "best"):
        assert contents(parts / name) == contents(whole / name)
    assert records(parts) == records(whole)


# Processes that are forked from one in which everything is imported already, where the system can do that.
METHODS = multiprocessing.get_all_start_methods()
PROCESSES = multiprocessing.get_context("forkserver" if "forkserver" in METHODS else "spawn")
PROCESSES.set_forkserver_preload([__name__])


def test_killed_again_and_again_it_ends_as_if_never_stopped(tmp_path, finished):
    rng, out = random.Random(0), tmp_path / "run"
    plan = dataclasses.replace(PLAN, save_every=1)
    with begin(out, plan):
        pass
    for _ in range(3):
        seen = len(run_folder.read_log(out))
        process = PROCESSES.Process(target=finish, args=(out,))
        process.start()
        while process.is_alive() and len(run_folder.read_log(out)) < seen + 2:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.02))
        process.kill()
        process.join(60)
    finish(out)
    assert records(out) == records(finished)
    for name in ("step-00000010", "best"):
        assert contents(out / name) == contents(finished / name)


@pytest.mark.parametrize("kind", [ToyTask, Penalised, Thawing])
def test_ranks_are_one_run(tmp_path, kind):
    """Of float64, so that another order of sums does not show."""
    def work(out, comm):
        plan, world = dataclasses.replace(PLAN, threads=1), World(comm)
        trainer = world.together(run.begin, partial(kind.new, out, plan, np.float64), kind, plan, out, {}, world,
                                 ExitStack())
        with trainer:
            log = [{k: v for k, v in record.items() if k != "tokens_per_second"} for record in trainer.run()]
            return log, values(trainer)

    alone, expected = work(tmp_path / "alone", None)
    ranks = on_ranks(2, partial(work, tmp_path / "ranks"))
    for log, got in ranks:
        for record, other in zip(log, alone, strict=True):
            assert record == pytest.approx(other, rel=1e-9)
        for path, value in got.items():
            np.testing.assert_allclose(value, expected[path], rtol=1e-7, atol=1e-9)
            np.testing.assert_array_equal(value, ranks[0][1][path])


def test_a_figure_that_gets_no_better_ends_the_run(tmp_path):
    plan = dataclasses.replace(PLAN, steps=200, eval_every=1, patience=2, lr=3.0, warmup=0)
    with begin(tmp_path / "run", plan) as trainer:
        figures = [r["val_accuracy"] for r in trainer.run() if "val_loss" in r]
    assert trainer.finished and trainer.state["step"] == trainer.state["best_step"] + 2 < 200
    assert trainer.state["best"] == max(figures) == figures[trainer.state["best_step"]]


def test_another_task_goes_on_with_another_run(tmp_path, finished):
    before = contents(finished / "step-00000010")
    with pytest.raises(TrainingError, match=r"run\.json: expected a run of language modelling, got one of toy: anoth"):
        run.resume([LanguageModelling], finished, World(), ExitStack())
    assert contents(finished / "step-00000010") == before


def test_a_run_that_comes_to_nothing_leaves_no_folder(tmp_path):
    def broken():
        raise TrainingError("no rows")

    with pytest.raises(TrainingError, match="no rows"):
        run.begin(broken, ToyTask, PLAN, tmp_path / "run", {}, World(), ExitStack())
    assert not (tmp_path / "run").exists()


def test_the_best_is_not_replaced_where_it_would_take_something_with_it(tmp_path):
    with begin(tmp_path / "run") as trainer:
        next(trainer.run())
        (tmp_path / "run" / "best" / "notes.txt").write_text("mine")
        with pytest.raises(ValueError, match=r"best: it holds something that is not part of a model.*found 'notes\.tx"):
            run_folder.save_best(trainer.out, trainer.task)
    assert {path.name for path in (tmp_path / "run" / "best").iterdir()} == {"notes.txt", "toy.safetensors"}
    assert not (tmp_path / "run" / ".best.new").exists()


# ---- what is frozen


def test_what_is_frozen_stays_bit_for_bit_and_the_loss_is_that_of_the_full_model(tmp_path):
    plan, out = dataclasses.replace(PLAN, train_only=("pair", "h.1.mlp")), tmp_path / "run"
    with begin(out, plan) as trainer:
        before = values(trainer)
        first = next(record for record in trainer.run() if "loss" in record)
        trainer.save()
    fresh = ToyTask.load(out / "best", out, plan)       # of step 0
    assert first["loss"] == pytest.approx(float(fresh.model.loss(*fresh.batch(0))), rel=1e-6)
    trainer = finish(out)
    trained = {path for path in before if path.startswith(("pair.", "h.1.mlp."))}
    for path, value in values(trainer).items():
        assert np.array_equal(value, before[path]) == (path not in trained), path
    assert all(set(arrays) == trained for arrays in trainer.optimizer.moments.values())
    assert json.loads((out / "run.json").read_text())["plan"]["train_only"] == ["pair", "h.1.mlp"]


def test_patterns_that_name_nothing(tmp_path):
    with pytest.raises(TrainingError, match=r"--train-only: expected a pattern that names something of the model, got "
                                            r"'h\.2'; there are h\.1, h\.0, wte, wpe, h\.\*, h\.\*\.attn, "):
        begin(tmp_path / "run", dataclasses.replace(PLAN, train_only=("pair", "h.2")))
    assert not (tmp_path / "run").exists()


def test_a_model_in_which_nothing_is_to_be_trained(tmp_path):
    task = ToyTask.new(tmp_path, PLAN)
    task.model.freeze()
    with pytest.raises(TrainingError, match="expected a parameter to train, got a model in which all are frozen"):
        Trainer(task, PLAN, tmp_path / "run")


def test_what_is_thawed_during_a_run_begins_with_moments_of_its_own(tmp_path):
    with begin(tmp_path / "run", dataclasses.replace(PLAN, eval_every=100, threads=3), Thawing) as trainer:
        before, first = values(trainer), {}
        for record in trainer.run():
            for path, value in values(trainer).items():
                if path not in first and not np.array_equal(value, before[path]):
                    first[path] = record["step"]
    parts = {path.rsplit(".", 1)[0]: step for path, step in first.items()}
    assert parts["pair"] == 1 and parts["h.1.mlp.c_fc"] == 4 and parts["h.0.attn.c_attn"] == 7 and "wte" not in first
    assert trainer.optimizer.t == {path: 11 - step for path, step in first.items()}
    assert set(trainer.optimizer.moments["m"]) == set(first)


# ---- what comes from no data


@pytest.mark.parametrize("threads", [1, 3])
def test_a_penalty_enters_once_a_step_before_the_norm_is_taken(tmp_path, threads):
    plan = dataclasses.replace(PLAN, threads=threads, clip=0.0)
    with begin(tmp_path / "run", plan, Penalised) as trainer:
        model = trainer.task.model
        w, half = model.wte.value.copy(), model.pair.w.value.copy()
        records = trainer.run()
        next(records)
        record = next(records)
        after = model.pair.w.value
    loss = Toy(np.random.default_rng(0))
    for (_, p), (_, stored) in zip(loss.named_parameters(), ToyTask.load(tmp_path / "run" / "best", tmp_path / "run",
                                                                         plan).model.named_parameters()):
        p.value[...] = stored.value
    expected = loss.loss_and_gradients(*trainer.task.batch(0))
    loss.wte.grad += 0.1 * w
    assert record["loss"] == pytest.approx(float(expected), rel=1e-6)
    assert record["penalty"] == pytest.approx(0.05 * (w ** 2).sum(), rel=1e-6)
    assert record["norm"] == pytest.approx(gradient_norm(loss), rel=1e-5)
    np.testing.assert_allclose(after, 0.5 * half, atol=0.5 * plan.lr)       # Adam's first step is of lr at most


def test_what_is_not_finite_is_named(tmp_path):
    with begin(tmp_path / "run") as trainer:
        records = trainer.run()
        next(records)
        trainer.task.model.h[1].mlp.c_fc.w.value[:6] = 3e38
        with pytest.raises(TrainingError, match=r"step 1: expected a finite loss.* in the output of h\.1\.mlp\.c_fc: "):
            next(records)


def test_a_figure_that_is_no_number_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(ToyTask, "evaluate", lambda *_: {"val_loss": 1.0, "val_accuracy": float("nan")})
    with begin(tmp_path / "run") as trainer, pytest.raises(
            TrainingError, match="after step 0: expected a finite validation accuracy, got nan; what is not finite app"
                                 "eared first on other data than this step's, on which all is finite: try"):
        next(trainer.run())


