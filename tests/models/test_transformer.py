"""The encoder-decoder: against torch.nn.Transformer in its three forms, and what it says to input it cannot take."""

from pathlib import Path

import numpy as np
import pytest

from gpt2np.layers.cross_entropy import cross_entropy_backward, cross_entropy_forward
from gpt2np.models.config import NORMS, TransformerConfig
from gpt2np.models.transformer import Transformer

TINY = TransformerConfig(n_vocab=11, n_ctx=8, n_embd=12, n_head=3, n_layer=2, n_inner=10)


@pytest.fixture(scope="module")
def golden():
    """tests/golden/make_transformer.py"""
    with np.load(Path(__file__).parents[1] / "golden" / "transformer.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def model_of(golden, form, dtype):
    V, C, H, L, F = map(int, golden["sizes"])
    model = Transformer(TransformerConfig(V, 9, C, H, L, F, form), dtype=dtype,
                        label_smoothing=float(golden["smoothing"]))
    start = f"{form}: value "
    assert {p for p, _ in model.named_parameters()} == {n[len(start):] for n in golden if n.startswith(start)}
    for path, parameter in model.named_parameters():
        assert parameter.value.shape == golden[start + path].shape
        parameter.value = golden[start + path].astype(dtype)
    return model, [golden[name] for name in ("source", "source_mask", "tokens", "targets")]


def relative(got, expected):
    assert got.shape == expected.shape
    return np.abs(got - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("dtype, limit", [(np.float64, 1e-11), (np.float32, 1e-4)])
@pytest.mark.parametrize("form", NORMS)
def test_logits_loss_and_gradients_are_those_of_pytorch(golden, form, dtype, limit):
    model, (source, mask, tokens, targets) = model_of(golden, form, dtype)
    logits, cache = model.forward(source, mask, tokens)
    loss, c_loss = cross_entropy_forward(logits, targets, model.label_smoothing)
    model.backward(cross_entropy_backward(1.0, c_loss), cache)
    assert logits.dtype == dtype and relative(logits, golden[f"{form}: logits"]) < limit
    assert relative(loss, golden[f"{form}: smoothed"]) < limit
    assert relative(model.loss(source, mask, tokens, targets), golden[f"{form}: loss"]) < limit
    for path, parameter in model.named_parameters():
        grad = golden[f"{form}: grad {path}"]
        if path.endswith(("c_attn.b", "c_kv.b")):           # of the keys' bias it is 0 but for rounding
            grad, got = grad, parameter.grad
            assert np.abs(got - grad).max() < limit * max(1, np.abs(grad).max()), path
        else:
            assert relative(parameter.grad, grad) < limit, path
    before = {path: p.grad for path, p in model.named_parameters()}
    model.zero_grad()
    assert relative(model.loss_and_gradients(source, mask, tokens, targets), golden[f"{form}: smoothed"]) < limit
    for path, parameter in model.named_parameters():
        assert relative(parameter.grad, before[path]) < 10 * limit or "b" in path[-1:], path


@pytest.mark.parametrize("form", NORMS)
def test_the_number_of_parameters_is_that_of_the_model(form):
    config = TransformerConfig(11, 8, 12, 3, 2, 10, form)
    assert sum(p.value.size for _, p in Transformer(config).named_parameters()) == config.n_parameters
