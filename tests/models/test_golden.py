"""GPT-2 against PyTorch: logits, loss and every gradient of a small odd-shaped model (tests/golden/make_gpt2.py)."""

from pathlib import Path

import numpy as np
import pytest

from gpt2np.layers.cross_entropy import cross_entropy_backward, cross_entropy_forward
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parents[1] / "golden" / "gpt2.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def model_of(golden, dtype):
    (V, C), n_ctx = golden["value wte"].shape, len(golden["value wpe"])
    n_layer = sum(name.endswith("ln_1.g") for name in golden) // 2
    model = GPT2(GPT2Config(V, n_ctx, C, int(golden["n_head"]), n_layer), dtype=dtype)
    names = {name.removeprefix("value ") for name in golden if name.startswith("value ")}
    assert {path for path, _ in model.named_parameters()} == names
    for path, parameter in model.named_parameters():
        assert parameter.value.shape == golden["value " + path].shape
        parameter.value = golden["value " + path].astype(dtype)
    return model


def relative(got, expected):
    assert got.shape == expected.shape
    return np.abs(got - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("dtype, limit", [(np.float64, 1e-11), (np.float32, 1e-4)])
def test_logits_loss_and_gradients(golden, dtype, limit):
    model = model_of(golden, dtype)
    logits, cache = model.forward(golden["tokens"])
    loss, c_loss = cross_entropy_forward(logits, golden["targets"])
    model.backward(cross_entropy_backward(1.0, c_loss), cache)
    assert logits.dtype == loss.dtype == dtype
    assert relative(logits, golden["logits"]) < limit
    assert relative(loss, golden["loss"]) < limit
    for path, parameter in model.named_parameters():
        assert parameter.grad.dtype == dtype
        assert relative(parameter.grad, golden["grad " + path]) < limit, path


@pytest.mark.parametrize("dtype, limit", [(np.float64, 1e-11), (np.float32, 1e-4)])
def test_head_and_loss_as_one(golden, dtype, limit):
    model = model_of(golden, dtype)
    assert relative(model.loss_and_gradients(golden["tokens"], golden["targets"]), golden["loss"]) < limit
    for path, parameter in model.named_parameters():
        assert parameter.grad.dtype == dtype
        assert relative(parameter.grad, golden["grad " + path]) < limit, path
