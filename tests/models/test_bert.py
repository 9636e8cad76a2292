"""BERT against transformers: outputs, both losses, and every gradient of small models (tests/golden/make_bert.py)."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from gpt2np.checkpoints import huggingface_bert, loading
from gpt2np.models.bert import BERT, IS_NEXT, NOT_NEXT, BertForPreTraining
from gpt2np.models.config import BertConfig

FOLDER = Path(__file__).parents[1] / "golden" / "bert"
DTYPES = pytest.mark.parametrize("dtype, limit", [(np.float64, 1e-11), (np.float32, 2e-4)])


@pytest.fixture(scope="module")
def golden():
    with np.load(FOLDER.with_suffix(".npz"), allow_pickle=False) as arrays:
        return dict(arrays)


def batch_of(golden, pairs=True):
    names = ("tokens", "segments", "padding_mask", "targets", "not_next")
    tokens, segments, mask, targets, not_next = (golden[name] for name in names)
    return tokens, segments, mask, targets, not_next if pairs else not_next * 0 - 100


def close(got, expected, limit):
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < limit * max(1.0, np.abs(expected).max())


def gradients(model):
    """By transformers' names."""
    values = {path: p.grad for path, p in model.named_parameters()}
    prefix = "bert." if isinstance(model, BertForPreTraining) else ""
    return {("" if name.startswith("cls.") else prefix) + name: array
            for name, array in huggingface_bert.as_stored(model, values).items()}


def same_gradients(golden, kind, model, limit):
    got = gradients(model)
    names = {name.removeprefix(f"{kind}: grad ") for name in golden if name.startswith(f"{kind}: grad ")}
    assert got.keys() == names
    for name, gradient in got.items():
        assert gradient.dtype == model.bert.wte.value.dtype if kind != "body" else True
        close(gradient, golden[f"{kind}: grad {name}"], limit)


@DTYPES
@pytest.mark.parametrize("kind", ["pre_training", "masked"])
def test_logits_loss_and_every_gradient(golden, kind, dtype, limit):
    model, _ = loading.load(FOLDER / kind, dtype)
    batch = batch_of(golden, pairs := kind == "pre_training")
    logits, _ = model.forward(*batch[:3])
    close(logits.words, golden[f"{kind}: words"], limit)
    assert logits.words.dtype == dtype and (logits.pairs is not None) is pairs
    if pairs:
        close(logits.pairs, golden[f"{kind}: pairs"], limit)
    close(model.loss(*batch), golden[f"{kind}: loss"], limit)
    close(model.loss_and_gradients(*batch), golden[f"{kind}: loss"], limit)
    same_gradients(golden, kind, model, limit)


@DTYPES
def test_the_encoder_and_its_pooler(golden, dtype, limit):
    model, _ = loading.load(FOLDER / "body", dtype)
    tokens, segments, mask = batch_of(golden)[:3]
    x, cache = model.forward(tokens, segments, mask)
    pooled, c_pooler = model.pooler.forward(x)
    close(x[mask], golden["body: x"][mask], limit)
    close(pooled, golden["body: pooled"], limit)
    weights = golden["weights"].astype(dtype)
    dx = np.where(mask[..., None], weights, 0) + model.pooler.backward(weights[:, 0], c_pooler)
    model.backward(dx, cache)
    same_gradients(golden, "body", model, limit)


def test_recompute_gives_the_same_gradients():
    """With dropout; but for rounding, for the exact GELU has another form where it keeps nothing."""
    config = BertConfig(11, 6, 8, 2, 3, 12)
    tokens, found = np.arange(10).reshape(2, 5), []
    for recompute in (False, True):
        model = BertForPreTraining(config, np.random.default_rng(0), 0.2, np.float64, recompute)
        batch = (tokens, None, None, np.where(tokens % 3, -100, tokens), np.array([IS_NEXT, NOT_NEXT]))
        loss = model.loss_and_gradients(*batch, rng=np.random.default_rng(1))
        found.append({"loss": loss} | {path: p.grad for path, p in model.named_parameters()})
    for name, expected in found[0].items():
        close(found[1][name], expected, 1e-13)


@pytest.mark.parametrize("pairs", [False, True])
def test_the_first_loss_is_that_of_guessing_and_the_sizes_are_the_models(pairs):
    config = BertConfig(50, 9, 12, 3, 2, 10)
    model = BertForPreTraining(config, np.random.default_rng(0), next_sentence=pairs)
    size = sum(p.value.size for _, p in model.named_parameters())
    head = 12 * 12 + 12 + 2 * 12 + 2
    assert size == config.n_parameters - (0 if pairs else head)
    tokens = np.random.default_rng(1).integers(0, 50, (4, 9))
    loss = model.loss(tokens, None, None, tokens, np.full(4, IS_NEXT if pairs else -100))
    assert abs(loss - np.log(50) - pairs * np.log(2)) < 0.2


def test_what_is_no_config():
    with pytest.raises(ValueError, match="config: expected a BertConfig, got 3"):
        BERT(3)
    for eps in (-1.0, 1.0, 1, "x"):
        with pytest.raises(ValueError, match="eps: expected a number from 0 to less than 1, got"):
            BertConfig(9, eps=eps)
    with pytest.raises(ValueError, match="n_embd: expected a multiple of n_head 12, got 7"):
        BertConfig(9, n_embd=7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert BERT(BertConfig(9)).config.eps == 1e-12
