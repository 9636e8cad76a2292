"""Threads: the same loss and gradients as one pass over the whole batch, however it is shared."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from gpt2np.layers import tiles
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.training.adamw import AdamW
from gpt2np.training.clipping import gradient_norm
from gpt2np.training.errors import TrainingError
from gpt2np.training.parallel import DataParallel

CONFIG = GPT2Config(n_vocab=50, n_ctx=8, n_embd=12, n_head=3, n_layer=2)


def model_and_batch(B, T=7, dtype=np.float64, dropout=0.0):
    rng = np.random.default_rng(0)
    model = GPT2(CONFIG, rng, dropout, dtype)
    return model, rng.integers(0, 50, (B, T)), rng.integers(0, 50, (B, T))


def gradients(model):
    return {path: p.grad for path, p in model.named_parameters()}


def assert_close(got, expected, limit):
    for path in expected:
        error = np.abs(got[path] - expected[path]).max()
        assert error <= limit * max(1e-3, np.abs(expected[path]).max()), path


@pytest.mark.parametrize("B", [1, 2, 5, 8])
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("pieces", [1, 3])
def test_threads_and_pieces_are_the_whole_batch(B, threads, pieces):
    model, tokens, targets = model_and_batch(B)
    targets[0, 2:] = -100                               # parts that count for more than others
    targets[B // 2, 5:] = -100
    model.zero_grad()
    expected_loss, expected = model.loss_and_gradients(tokens, targets), gradients(model)
    expected_norm = gradient_norm(model)
    with DataParallel(model, threads) as parallel:
        for _ in range(2):                              # the first one's gradients are not in the second one's
            loss, norm = parallel.loss_and_gradients((tokens, targets), pieces)
            assert loss == pytest.approx(expected_loss, rel=1e-13)
            assert norm == pytest.approx(expected_norm, rel=1e-13)
            assert_close(gradients(model), expected, 1e-13)
        assert parallel.loss((tokens, targets)) == pytest.approx(expected_loss, rel=1e-13)


def test_parts_without_a_target_count_nothing():
    model, tokens, targets = model_and_batch(4)
    targets[2:] = -100
    expected_loss, expected = model.loss_and_gradients(tokens[:2], targets[:2]), gradients(model)
    with DataParallel(model, 2) as parallel:
        assert parallel.loss_and_gradients((tokens, targets))[0] == pytest.approx(expected_loss, rel=1e-13)
        assert_close(gradients(model), expected, 1e-13)
        targets[:] = -100
        assert parallel.loss_and_gradients((tokens, targets)) == (0, 0)
        assert parallel.loss((tokens, targets)) == 0


def test_in_float32_to_rounding_and_the_same_bits_each_time():
    model, tokens, targets = model_and_batch(6, dtype=np.float32)
    loss, expected = model.loss_and_gradients(tokens, targets), gradients(model)
    with DataParallel(model, 2) as parallel:
        assert parallel.loss_and_gradients((tokens, targets))[0] == pytest.approx(loss, rel=1e-6)
        first = gradients(model)
        assert_close(first, expected, 1e-5)
        parallel.loss_and_gradients((tokens, targets))
        for path, grad in gradients(model).items():
            np.testing.assert_array_equal(grad, first[path])
            assert grad.dtype == np.float32


def test_ten_steps_on_threads_are_ten_steps_alone(monkeypatch):
    monkeypatch.setattr(tiles, "TILE", 50)              # several tiles for each parameter
    values = []
    for threads in (1, 3):
        model, tokens, targets = model_and_batch(5)
        optimizer = AdamW(model)
        with DataParallel(model, threads) as parallel:
            for _ in range(10):
                parallel.loss_and_gradients((tokens, targets))
                optimizer.step(1e-2, run=parallel.run)
        values.append({path: p.value for path, p in model.named_parameters()})
    assert_close(values[1], values[0], 1e-8)


def test_dropout_follows_from_the_seed():
    model, tokens, targets = model_and_batch(4, dropout=0.5)
    with DataParallel(model, 2) as parallel:
        losses = [parallel.loss_and_gradients((tokens, targets), 2, seed)[0] for seed in ([0, 1], [0, 1], [0, 2], None)]
        assert losses[3] == pytest.approx(parallel.loss((tokens, targets)), rel=1e-13)
    assert losses[0] == losses[1] != losses[2] and losses[3] not in losses[:3]


def test_no_two_workers_or_pieces_share_a_mask():
    model, tokens, _ = model_and_batch(4, dropout=0.5)
    tokens[:] = tokens[0]
    with DataParallel(model, 2) as parallel:
        one = [parallel.loss_and_gradients((tokens, np.where(np.arange(4)[:, None] == row, tokens, -100)), 2, [0])[0]
               for row in range(4)]
    assert len(set(one)) == 4


def test_blas_has_one_thread_in_a_worker_and_as_many_as_before_afterwards(monkeypatch):
    model, tokens, targets = model_and_batch(4)
    seen = []
    inner = GPT2.loss_and_gradients

    def watched(self, *arguments, **options):
        seen.extend(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
        return inner(self, *arguments, **options)

    monkeypatch.setattr(GPT2, "loss_and_gradients", watched)
    before = threadpool_info()
    with DataParallel(model, 2) as parallel:
        parallel.loss_and_gradients((tokens, targets))
    assert len(seen) >= 2 and set(seen) == {1}
    assert threadpool_info() == before


def test_frozen_parameters_have_no_gradient():
    model, tokens, targets = model_and_batch(4)
    model.h[0].freeze()
    with DataParallel(model, 2) as parallel:
        parallel.loss_and_gradients((tokens, targets))
    assert all((p.grad is None) == path.startswith("h.0.") for path, p in model.named_parameters())


def test_what_is_not_finite_comes_out_without_a_warning():
    model, tokens, targets = model_and_batch(4)
    model.h[1].mlp.c_fc.w.value[0, 0] = np.inf
    with DataParallel(model, 2) as parallel:
        assert not np.isfinite(parallel.loss_and_gradients((tokens, targets))).any()
        assert not np.isfinite(parallel.loss((tokens, targets)))


def test_an_error_in_a_worker_comes_out():
    model, tokens, targets = model_and_batch(4)
    tokens[3, 0] = 50
    with DataParallel(model, 2) as parallel, pytest.raises(ValueError, match="expected ids from 0 to 49, got 50"):
        parallel.loss_and_gradients((tokens, targets))


@pytest.mark.parametrize("n", [0, 1, 2, 3, 10])
def test_results_are_in_the_order_of_the_items(n):
    with DataParallel(model_and_batch(1)[0], 3) as parallel:
        assert parallel.run(str, iter(range(n))) == [str(i) for i in range(n)]


def test_arrays_of_other_lengths_are_no_batch():
    model, tokens, targets = model_and_batch(4)
    with DataParallel(model, 2) as parallel, pytest.raises(
            TrainingError, match=r"batch: expected arrays with one first axis, got shapes \[\(4, 7\), \(3, 7\)\]"):
        parallel.loss_and_gradients((tokens, targets[:3]))


def test_no_threads_are_refused():
    with pytest.raises(ValueError, match="threads: expected a positive integer, got 0"):
        DataParallel(model_and_batch(1)[0], 0)
