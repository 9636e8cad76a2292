"""A model with what was added can be looked at like any other: the parts of its base, and the new ones."""

import numpy as np
import pytest

from gpt2np.adapt.replacing import replacements
from gpt2np.interpret.taps import Patch, Recording, activations, tapped

from .models import METHODS, MODELS, adapted, batch_for

# The parts that each method adds below a layer that it takes the place of.
NEW = {"lora": {"lora.0"}, "lora, q and v": {"lora.0", "lora.1"}, "adalora": set(), "prefix": set(), "bias": set(),
       "adapter": {"adapter", "adapter.down", "adapter.up"}, "block adapter": {"adapter", "adapter.down", "adapter.up"}}


def recorded(model):
    with tapped(model, Recording()) as seen:
        loss = model.loss_and_gradients(*batch_for(model))
    return loss, seen


def attributes(model):
    return {path: set(vars(part)) for path, part in model.named_modules()}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", METHODS)
def test_a_recording_has_the_parts_of_the_base_and_the_new_ones(name, method):
    """What is recorded is what the model computes, and of the tap nothing is left."""
    _, base = recorded(MODELS[name]())
    model, _ = adapted(name, method)
    before, expected = attributes(model), model.loss(*batch_for(model))
    loss, seen = recorded(model)
    assert abs(loss - expected) < 1e-13 and attributes(model) == before
    new = {f"{path}.{part}" for path in replacements(model) for part in NEW[method]}
    assert set(seen.y) == set(base.y) | new and new <= set(seen.dy)
    assert abs(model.loss(*batch_for(model)) - expected) == 0


def test_what_lora_adds_stands_beside_what_its_layer_gives():
    """y = x w + b + what LoRA gives, and each has its gradient."""
    model, _ = adapted("GPT2", "lora")
    _, seen = recorded(model)
    path = "h.1.mlp.c_fc"
    w, b = (dict(model.named_parameters())[f"{path}.{name}"].value for name in "wb")
    np.testing.assert_allclose(seen.x[path] @ w + b + seen.y[f"{path}.lora.0"], seen.y[path], rtol=0, atol=1e-14)
    assert (seen.dy[path] == seen.dy[f"{path}.lora.0"]).all()


def test_the_weights_of_attention_have_the_prefix_first():
    model, _ = adapted("GPT2", "prefix")
    _, seen = recorded(model)
    named = activations(model, seen)
    assert named["h.0.attn.p"].shape == (3, 3, 5, 2 + 5)
    np.testing.assert_allclose(named["h.0.attn.p"].sum(axis=-1), 1, rtol=0, atol=1e-14)


def test_a_patch_of_an_adapter_with_what_it_took_is_the_base():
    """An adapter that gives what it takes is none: in all blocks at once, the loss is that of the base."""
    base = MODELS["GPT2"]()
    _, plain = recorded(base)
    model, _ = adapted("GPT2", "block adapter")
    values = {f"h.{i}.adapter": plain.y[f"h.{i}"] for i in range(2)}
    with tapped(model, Patch(values)):
        assert model.loss(*batch_for(model)) == base.loss(*batch_for(base))
    assert model.loss(*batch_for(model)) != base.loss(*batch_for(base))
