"""Heads against transformers: logits, losses, and every gradient of small models (tests/golden/make_heads.py)."""

from pathlib import Path

import numpy as np
import pytest

from gpt2np.checkpoints import huggingface_bert, huggingface_gpt2, loading
from gpt2np.checkpoints.huggingface_heads import ARCHITECTURES, OBJECTIVES
from gpt2np.models.bert import BERT

FOLDER = Path(__file__).parents[1] / "golden" / "heads"
DTYPES = pytest.mark.parametrize("dtype, limit", [(np.float64, 1e-11), (np.float32, 2e-4)])
SEQUENCES = [name for name in ARCHITECTURES if "Sequence" in name]
CASES = [*((name, objective) for name in SEQUENCES for objective in OBJECTIVES),
         *((name, None) for name in ARCHITECTURES if name not in SEQUENCES)]


@pytest.fixture(scope="module")
def golden():
    with np.load(FOLDER.with_suffix(".npz"), allow_pickle=False) as arrays:
        return dict(arrays)


def close(got, expected, limit):
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < limit * max(1.0, np.abs(expected).max())


def batch_of(golden, name, objective):
    """tokens, segments, padding_mask, targets"""
    tokens, segments, mask = golden["tokens"], golden["segments"], golden["padding_mask"]
    segments = segments if name.startswith("Bert") else segments * 0
    if name.endswith("QuestionAnswering"):              # where transformers' padding is an answer like any other
        answers = golden["targets answers"]
        return tokens, segments, np.ones_like(mask), np.where(answers == tokens.shape[1], -100, answers)
    return tokens * mask, segments, mask, golden[f"targets {objective or 'tokens'}"]


def gradients(model, stem):
    """By transformers' names."""
    values = {path: p.grad for path, p in model.body.named_parameters()}
    if isinstance(model.body, BERT):
        of_body = {f"bert.{n}": a for n, a in huggingface_bert.as_stored(model.body, values).items()}
    else:
        of_body = {f"transformer.{huggingface_gpt2.tensor_name(path)}": a for path, a in values.items()}
    bias = {} if model.head.b is None else {f"{stem}.bias": model.head.b.grad}
    return of_body | {f"{stem}.weight": model.head.wte.grad} | bias


@DTYPES
@pytest.mark.parametrize("name, objective", CASES)
def test_logits_loss_and_every_gradient_of_each_head(golden, name, objective, dtype, limit):
    model, _ = loading.load(FOLDER / name, dtype)
    assert type(model) is ARCHITECTURES[name].kind and type(model.body) is ARCHITECTURES[name].body
    if objective is not None:
        model.objective = OBJECTIVES[objective]
    kind, batch = name if objective is None else f"{name}, {objective}", batch_of(golden, name, objective)
    logits, _ = model.forward(*batch[:3])
    expected, seen = golden[f"{kind}: logits"], ...
    if name.endswith("TokenClassification"):
        seen = batch[2]
    close(logits[seen], expected[seen], limit)
    close(model.loss(*batch), golden[f"{kind}: loss"], limit)
    loss = model.loss_and_gradients(*batch)
    assert logits.dtype == loss.dtype == dtype
    close(loss, golden[f"{kind}: loss"], limit)
    got = gradients(model, ARCHITECTURES[name].head)
    assert got.keys() == {n.removeprefix(f"{kind}: grad ") for n in golden if n.startswith(f"{kind}: grad ")}
    for path, gradient in got.items():
        assert gradient.dtype == dtype
        close(gradient, golden[f"{kind}: grad {path}"], limit)


@DTYPES
def test_a_gpt2_padded_on_the_left(golden, dtype, limit):
    model, _ = loading.load(FOLDER / "GPT2ForSequenceClassification", dtype)
    logits, _ = model.forward(golden["left tokens"], None, golden["left mask"])
    close(logits, golden["GPT2ForSequenceClassification, left: logits"], limit)
    close(logits, golden["GPT2ForSequenceClassification, single_label_classification: logits"], limit)
