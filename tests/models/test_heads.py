"""Heads on both bodies: what they are made of, what they take, and what they refuse."""

import numpy as np
import pytest

from gpt2np.models.bert import BERT
from gpt2np.models.config import BertConfig, GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.models.heads import SIGMOID, SOFTMAX, SQUARED, AnswerFinder, Classifier, TokenClassifier
from gpt2np.training.parallel import DataParallel

B, T, V, K = 4, 6, 11, 3
LABELS = ("O", "B-PER", "B-LOC")


def body_of(name, rng, dropout=0.0, dtype=np.float64):
    if name == "bert":
        return BERT(BertConfig(V, T + 2, 8, 2, 2, 10), rng, dropout, dtype)
    return GPT2(GPT2Config(V, T + 2, 8, 2, 2), rng, dropout, dtype)


def model_of(name, kind, rng, dropout=0.0, dtype=np.float64):
    body = body_of(name, rng, dropout, dtype)
    if kind in OBJECTIVES:
        return Classifier(body, LABELS, rng, objective=OBJECTIVES[kind], dropout=dropout, dtype=dtype)
    if kind == "tokens":
        return TokenClassifier(body, LABELS, rng, dropout=dropout, dtype=dtype)
    return AnswerFinder(body, rng, dropout=dropout, dtype=dtype)


OBJECTIVES = {"one": SOFTMAX, "several": SIGMOID, "numbers": SQUARED}
KINDS = (*OBJECTIVES, "tokens", "answer")
every_head = pytest.mark.parametrize("name, kind", [(name, kind) for name in ("bert", "gpt2") for kind in KINDS])


def batch_of(kind, rng):
    lengths = np.array([T, 2, 4, 3])
    mask = np.arange(T) < lengths[:, None]
    tokens = np.where(mask, rng.integers(1, V, (B, T)), 0)
    targets = {"one": rng.integers(0, K, B), "several": rng.integers(0, 2, (B, K)) * 1.0,
               "numbers": rng.standard_normal((B, K)), "tokens": np.where(mask, rng.integers(0, K, (B, T)), -100),
               "answer": np.stack([lengths // 2, lengths - 1], axis=1)}[kind]
    if kind in ("one", "several", "answer"):
        targets[1] = -100
    return tokens, np.zeros_like(tokens), mask, targets


@every_head
def test_data_parallel_runs_it_in_any_number_of_threads(name, kind):
    rng = np.random.default_rng(0)
    model, batch, found = model_of(name, kind, rng), batch_of(kind, rng), []
    for threads, pieces in ((1, 1), (2, 1), (3, 2)):
        with DataParallel(model, threads) as parallel:
            loss, norm = parallel.loss_and_gradients(batch, pieces)
            assert abs(parallel.loss(batch) - loss) < 1e-13
            found.append([loss, norm, *(p.grad.copy() for _, p in model.named_parameters() if p.grad is not None)])
    for other in found[1:]:
        assert all(np.abs(a - b).max() < 1e-13 for a, b in zip(found[0], other, strict=True))


@every_head
def test_a_frozen_body_keeps_nothing_and_its_backward_is_not_called(name, kind, monkeypatch):
    rng = np.random.default_rng(0)
    model, batch = model_of(name, kind, rng), batch_of(kind, rng)
    model.loss_and_gradients(*batch)
    expected = {path: p.grad for path, p in model.head.named_parameters()}
    model.zero_grad()
    model.body.freeze()
    monkeypatch.setattr(type(model.body), "hidden_backward", None)
    model.loss_and_gradients(*batch)
    got = {path: p.grad for path, p in model.named_parameters() if p.grad is not None}
    assert got.keys() == {f"head.{path}" for path in expected}
    assert all(np.abs(got[f"head.{path}"] - a).max() < 1e-14 for path, a in expected.items())


@every_head
def test_float32_stays_float32(name, kind):
    rng = np.random.default_rng(0)
    model = model_of(name, kind, rng, 0.1, np.float32)
    loss = model.loss_and_gradients(*batch_of(kind, rng), rng=rng)
    assert loss.dtype == np.float32
    assert {p.grad.dtype for _, p in model.named_parameters() if p.grad is not None} == {np.dtype(np.float32)}
