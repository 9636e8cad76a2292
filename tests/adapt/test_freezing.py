"""Which parameters are trained, by one sentence each; and that a run thaws one block after the other."""

import numpy as np
import pytest

from gpt2np.adapt.freezing import freeze_all_but, stacks, thaw, train_biases, train_top
from gpt2np.adapt.replacing import AdaptError
from gpt2np.blocks.transformer import PreNormBlock
from gpt2np.layers.linear import Linear

from .models import batch_for, gpt2, toy, transformer


def trained(model):
    return [path for path, p in model.named_parameters() if p.trainable]


def test_the_top_blocks_and_what_stands_above():
    model = gpt2()
    train_top(model, 1)
    assert {path.split(".")[0] for path in trained(model)} == {"h", "ln_f"}
    assert all(path.startswith(("h.1.", "ln_f.")) for path in trained(model))
    train_top(model, 0)
    assert trained(model) == ["ln_f.g", "ln_f.b"]
    train_top(model, 2)
    assert all(path.startswith(("h.", "ln_f.")) for path in trained(model)) and len(trained(model)) == 26
    other = toy()
    train_top(other, 0)
    assert trained(other) == ["lm_head.b", "pair.w", "pair.b"]              # its table is the embedding's
    both = transformer(norms="pre")
    train_top(both, 1)
    assert {path.rpartition(".")[0].split(".")[0] for path in trained(both)} == {"decoder", "ln_decoder"}
    for k in (-1, 3, 1.0):
        with pytest.raises(AdaptError, match="blocks: expected from 0 to 2 of them"):
            train_top(model, k)
    with pytest.raises(AdaptError, match="expected a model with a stack of blocks, got Linear"):
        train_top(Linear(2, 2, None), 0)


def test_biases_alone():
    for model in (gpt2(), transformer(), toy()):
        train_biases(model)
        assert trained(model) == [path for path, _ in model.named_parameters() if path.endswith(".b")] != []
        assert all(p.value.ndim == 1 for _, p in model.named_parameters() if p.trainable)


def test_by_patterns():
    model = gpt2()
    freeze_all_but(model, ["h.*.mlp.c_fc", "ln_f"])
    assert len(trained(model)) == 6


def test_more_and_more_is_trained():
    """From the top, a block more each three steps; then all."""
    model, counts = gpt2(), []
    for step in range(11):
        thaw(model, step, 3)
        counts.append(len(trained(model)))
    assert counts == [2] * 3 + [14] * 3 + [26] * 3 + [28] * 2


def test_what_is_frozen_below_has_no_backward(monkeypatch):
    """The rule of the stack does the rest: of the blocks below nothing is run backwards."""
    seen, backward = [], PreNormBlock.backward
    monkeypatch.setattr(PreNormBlock, "backward", lambda block, *a: seen.append(block) or backward(block, *a))
    model = gpt2()
    for k in (2, 1, 0):
        train_top(model, k)
        seen.clear()
        model.loss_and_gradients(*batch_for(model))
        assert seen == list(reversed(model.h[2 - k:]))
    assert [path for path, _ in stacks(transformer())] == ["encoder", "decoder"]
    assert np.isfinite(model.ln_f.g.grad).all()
