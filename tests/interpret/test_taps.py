"""Taps see and change what the parts of a model take and give, and leave nothing behind."""

import copy

import numpy as np
import pytest

from gpt2np.interpret.taps import InterpretError, Patch, Recording, Tap, activations, tapped
from gpt2np.models.bert import BertForPreTraining
from gpt2np.models.config import BertConfig, GPT2Config, TransformerConfig
from gpt2np.models.gpt2 import GPT2
from gpt2np.models.transformer import Transformer
from gpt2np.training.parallel import DataParallel
from tests.fake_device import DeviceArray
from tests.toy import Toy, masked

V, C, H, T = 30, 12, 3, 7


def gpt2(**options):
    return GPT2(GPT2Config(V, 16, C, H, 2), np.random.default_rng(0), **{"dtype": np.float64} | options)


def transformer(norms):
    return Transformer(TransformerConfig(V, 16, C, H, 2, 20, norms), np.random.default_rng(0), dtype=np.float64)


def bert():
    """Words and pairs; the norms' eps is BERT's."""
    return BertForPreTraining(BertConfig(V, 16, C, H, 2, 20), np.random.default_rng(0), dtype=np.float64, std=0.3)


def ids(seed, *shape):
    return np.random.default_rng(seed).integers(0, V, shape)


MODELS = {
    "GPT2": (gpt2, (ids(1, 2, T), ids(2, 2, T))),
    **{f"Transformer, {norms}": (lambda norms=norms: transformer(norms), (
        ids(1, 2, 5), np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], bool), ids(2, 2, T), ids(3, 2, T)))
        for norms in ("post", "pre", "post, last")},
    "BERT": (bert, (ids(1, 2, T), ids(2, 2, T) % 2, np.arange(T) < np.array([[T], [5]]),
                    np.where(ids(3, 2, T) % 3 == 0, ids(4, 2, T), -100), np.array([0, 1]))),
    "a toy of the tests": (lambda: Toy(np.random.default_rng(0), dtype=np.float64),
                           masked(np.random.default_rng(1), np.repeat(np.arange(3), 8).reshape(3, 8))),
}


@pytest.fixture(params=MODELS)
def model_and_batch(request):
    make, batch = MODELS[request.param]
    return make(), batch


def gradients(model):
    found = {path: None if p.grad is None else p.grad.copy() for path, p in model.named_parameters()}
    model.zero_grad()
    return found


def assert_same(a, b):
    assert a.keys() == b.keys()
    for path in a:
        np.testing.assert_array_equal(a[path], b[path], path)


def state(model):
    return {path: set(vars(part)) for path, part in [("", model), *model.named_modules()]}


def test_looking_changes_nothing_and_leaves_nothing(model_and_batch):
    model, batch = model_and_batch
    before = state(model)
    loss = model.loss_and_gradients(*batch)
    plain = gradients(model)
    with tapped(model, Recording()) as seen:
        assert model.loss_and_gradients(*batch) == loss
    assert_same(gradients(model), plain)
    assert seen.y and state(model) == before
    with pytest.raises(ZeroDivisionError), tapped(model, Tap()):
        raise ZeroDivisionError
    assert state(model) == before


def test_each_gradient_is_the_slope_of_the_loss(model_and_batch):
    """Of every named array: the loss after a small step of two of its numbers, put in by a patch."""
    model, batch = model_and_batch
    with tapped(model, Recording()) as seen:
        model.loss_and_gradients(*batch)
    named, checked = activations(model, seen), 0
    rng, h = np.random.default_rng(0), 1e-5
    for name in [name for name in named if f"{name}.grad" in named and ":" not in name]:
        short = name.removesuffix(".out")
        if name.endswith(("mid", "mid_2")):             # a step of the sum is a step of what was added to it
            short = name.removesuffix("mid_2") + "cross_attn" if name.endswith("_2") else name[:-3] + "attn"
        if short in ("wte", "wpe") and not isinstance(model, GPT2):
            continue                                    # a table that is used twice, patched in both places
        value = named[short] if short in named else named[name]
        for _ in range(2):
            at = tuple(rng.integers(0, n) for n in named[name].shape)
            losses = []
            for step in (h, -h):
                moved = value.copy()
                moved[at] += step
                with tapped(model, Patch({short: moved})):
                    losses.append(float(model.loss(*batch)))
            slope = (losses[0] - losses[1]) / (2 * h)
            assert named[f"{name}.grad"][at] == pytest.approx(slope, rel=1e-6, abs=1e-9), (name, at)
        checked += 1
    assert checked > 15


def test_the_order_is_that_of_the_computation():
    model = gpt2()
    with tapped(model, Recording()) as seen:
        model.loss_and_gradients(*MODELS["GPT2"][1])
    names = [name for name in activations(model, seen) if not name.endswith(".grad")]
    block = ["ln_1", "attn.c_attn", "attn.p", "attn.z", "attn.c_proj", "attn", "mid", "ln_2", "mlp.c_fc",
             "mlp.activation", "mlp.c_proj", "mlp", "out"]
    assert names == ["wte.in", "wte", "wpe.in", "wpe", "h.0.in", *[f"h.{i}.{n}" for i in range(2) for n in block],
                     "ln_f", "loss"]


def test_the_named_arrays_are_what_the_equations_say():
    model, (tokens, _) = gpt2(), MODELS["GPT2"][1]
    with tapped(model, Recording()) as seen:
        logits, _ = model.forward(tokens)
    a = activations(model, seen)
    np.testing.assert_array_equal(a["h.0.in"], model.wte.value[tokens] + model.wpe.value[:T])
    for i, x in enumerate((a["h.0.in"], a["h.0.out"])):
        np.testing.assert_array_equal(a[f"h.{i}.mid"], x + a[f"h.{i}.attn"])
        np.testing.assert_array_equal(a[f"h.{i}.out"], a[f"h.{i}.mid"] + a[f"h.{i}.mlp"])
        v = a[f"h.{i}.attn.c_attn"][..., 2 * C:].reshape(2, T, H, C // H).swapaxes(1, 2)
        z = (a[f"h.{i}.attn.p"] @ v).swapaxes(1, 2).reshape(2, T, C)
        np.testing.assert_allclose(a[f"h.{i}.attn.z"], z, atol=1e-15)
    np.testing.assert_array_equal(a["lm_head"], logits)


def test_a_part_that_runs_twice_has_two_names():
    model, batch = transformer("pre"), MODELS["Transformer, pre"][1]
    with tapped(model, Recording()) as seen:
        model.loss_and_gradients(*batch)
    a = activations(model, seen)
    np.testing.assert_array_equal(a["wte.in"], batch[0])
    np.testing.assert_array_equal(a["wte:2.in"], batch[2])
    both = np.zeros((V, C))
    for name in ("wte", "wte:2"):
        np.add.at(both, a[f"{name}.in"], a[f"{name}.grad"] * model.wte.scale)
    head = a["ln_decoder"].reshape(-1, C)
    assert np.abs(both).max() > 0 and head.shape == (2 * T, C)


def test_a_patch_with_what_is_there_is_no_patch(model_and_batch):
    model, batch = model_and_batch
    with tapped(model, Recording()) as seen:
        loss = model.loss_and_gradients(*batch)
    plain = gradients(model)
    for name, y in seen.y.items():
        if ":" in name or name == "wte" or np.ndim(y) == 0:
            continue
        with tapped(model, Patch({name: y})):
            assert model.loss_and_gradients(*batch) == loss
        assert_same(gradients(model), plain)


def test_a_patch_of_one_head_or_position_leaves_the_others():
    model, (tokens, _) = gpt2(), MODELS["GPT2"][1]
    with tapped(model, Recording()) as seen, tapped(model, Patch({"h.1.attn.z": np.zeros((2, T, C))}, np.s_[..., 4:8])):
        model.forward(tokens)
    z = seen.x["h.1.attn.c_proj"]
    assert (z[..., 4:8] == 0).all() and (z[..., :4] != 0).all() and (z[..., 8:] != 0).all()
    plain, _ = model.forward(tokens)
    with tapped(model, Patch({"h.0": np.ones((2, T, C))}, np.s_[:, 3])):
        patched, _ = model.forward(tokens)
    assert (plain[:, :3] == patched[:, :3]).all() and (plain[:, 3:] != patched[:, 3:]).any(-1).all()


def test_taps_on_one_another():
    """The last one is asked first before a part runs, and last after it: it sees what the others have changed."""
    model, (tokens, _) = gpt2(), MODELS["GPT2"][1]
    before = state(model)
    with tapped(model, Patch({"h.0.mlp": np.ones((2, T, C))})), tapped(model, Recording()) as seen:
        model.forward(tokens)
    assert (seen.y["h.0.mlp"] == 1).all()
    with tapped(model, Recording()) as seen, tapped(model, Patch({"h.0.mlp": np.ones((2, T, C))})):
        model.forward(tokens)
    assert (seen.y["h.0.mlp"] != 1).any() and (seen.x["h.0.mlp"] != 1).any()
    assert state(model) == before


class Halved(Tap):
    """Another gradient on the way down."""

    def before_backward(self, path, dy, cache):
        return dy / 2 if path == "h.1" else dy

    def after_backward(self, path, dx):
        return dx * 2 if path == "h.0" else dx


def test_gradients_may_be_changed_on_their_way():
    model, batch = gpt2(), MODELS["GPT2"][1]
    model.loss_and_gradients(*batch)
    plain = gradients(model)
    with tapped(model, Halved()):
        model.loss_and_gradients(*batch)
    changed = gradients(model)
    for path, by in (("ln_f.g", 1), ("h.1.mlp.c_fc.w", 0.5), ("h.0.attn.c_attn.w", 0.5), ("wpe", 1)):
        np.testing.assert_allclose(changed[path], by * plain[path], rtol=1e-12)


@pytest.mark.parametrize("make, stack", [
    (gpt2, lambda model: model.h), (lambda: transformer("pre"), lambda model: model.encoder),
    (lambda: transformer("post"), lambda model: model.decoder), (bert, lambda model: model.bert.h)])
def test_a_model_that_recomputes_is_refused(make, stack):
    model = make()
    stack(model).recompute = True
    before = state(model)
    with pytest.raises(InterpretError, match="runs each block twice; build it with recompute=False"):
        with tapped(model, Tap()):
            pass
    assert state(model) == before


def test_what_cannot_be_seen_rightly_is_refused():
    model, batch = gpt2(), MODELS["GPT2"][1]
    with tapped(model, Tap()):
        with pytest.raises(InterpretError, match="cannot be copied"):
            copy.deepcopy(model)
        with pytest.raises(InterpretError, match="cannot be copied"), DataParallel(model, 2) as parallel:
            parallel.loss_and_gradients(batch)


@pytest.mark.parametrize("name, message", [
    ("h.0.atn", r"got h\.0\.atn; there are h\.0\.attn"),
    ("h.2.mlp", r"got h\.2\.mlp; there are h\.\d\.mlp"),
    ("h.0.mid", r"expected the path of a part of the model, with \.in behind it for what it takes, got h\.0\.mid"),
    ("wte.value", r"got wte\.value"),
])
def test_a_patch_of_no_part(name, message):
    model = gpt2()
    before = state(model)
    with pytest.raises(InterpretError, match=message), tapped(model, Patch({name: np.ones(1)})):
        pass
    assert state(model) == before


def test_a_patch_of_another_shape():
    model = gpt2()
    with pytest.raises(InterpretError, match=r"h\.0\.ln_1: expected shape \(2, 7, 12\), got \(7, 12\)"), \
            tapped(model, Patch({"h.0.ln_1": np.ones((T, C))})):
        model.forward(ids(1, 2, T))


def test_what_is_frozen_has_no_gradient():
    model, batch = gpt2(), MODELS["GPT2"][1]
    model.freeze()
    model.h[1].mlp.unfreeze()
    with tapped(model, Recording()) as seen:
        model.loss_and_gradients(*batch)
    named = activations(model, seen)
    assert "h.1.ln_2.grad" in named and "h.1.in.grad" not in named and "h.0.out" in named
    assert not [name for name in named if name.startswith("h.0.") and name.endswith(".grad")]


def test_inference_is_seen_too():
    model = gpt2()
    past = model.new_past(1, 4)
    with tapped(model, Recording()) as seen:
        model.next_logits([[1, 2]], past)
    named = activations(model, seen)
    assert named["h.0.out"].shape == (1, 2, C) and named["h.1.out"].shape == (1, 1, C) and "h.0.attn.p" not in named


def floating(named):
    """Without tokens, which are given on the host."""
    return {name: array for name, array in named.items() if array.dtype.kind == "f"}


@pytest.mark.parametrize("name", [name for name in MODELS if name != "a toy of the tests"])
def test_on_the_stand_in_for_a_device(name):
    make, batch = MODELS[name]
    model = make()
    with tapped(model, Recording()) as seen:
        model.loss_and_gradients(*batch)
    on_host = floating(activations(model, seen))
    for _, p in model.named_parameters():
        p.value, p.grad = DeviceArray(p.value), None
    for _, constant in model.named_constants():
        constant.value = DeviceArray(constant.value)
    with tapped(model, Recording()) as seen:
        model.loss_and_gradients(*batch)
    there = floating(activations(model, seen))
    assert list(there) == list(on_host)
    for name, array in there.items():
        assert isinstance(array, DeviceArray), name
        np.testing.assert_allclose(array.get(), on_host[name], rtol=1e-12, atol=1e-14, err_msg=name)
