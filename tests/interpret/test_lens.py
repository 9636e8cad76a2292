"""Laws of what is read off a run: rows sum to 1, parts sum to the whole, patching all is the other run."""

import numpy as np
import pytest

from gpt2np.interpret import lens
from gpt2np.interpret.lens import log_probability, logit_difference
from gpt2np.interpret.taps import InterpretError, Patch, tapped
from gpt2np.layers.softmax import softmax_forward
from tests.interpret.test_taps import MODELS, H, T, V, bert, gpt2, ids, transformer

TOKENS, OTHER = ids(1, 1, T), ids(2, 1, T)


def model_of(seed=0, dtype=np.float64):
    """Weights large enough that the layers are far from linear."""
    model = gpt2(dtype=dtype)
    rng = np.random.default_rng(seed)
    for _, p in model.named_parameters():
        p.value = (p.value + 0.3 * rng.standard_normal(p.value.shape)).astype(dtype)
    return model


def test_maps_sum_to_1_and_hold_nothing_of_the_future():
    maps = lens.attention_maps(model_of(), ids(3, 2, T))
    assert list(maps) == ["h.0.attn", "h.1.attn"]
    for p in maps.values():
        assert p.shape == (2, H, T, T)
        np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-14)
        assert (p[..., *np.triu_indices(T, 1)] == 0).all() and (p[..., *np.tril_indices(T)] > 0).all()


def test_maps_of_an_encoder_decoder():
    source, mask, tokens, _ = MODELS["Transformer, pre"][1]
    maps = lens.attention_maps(transformer("pre"), source, mask, tokens)
    assert list(maps) == ["encoder.0.attn", "encoder.1.attn", "decoder.0.attn", "decoder.0.cross_attn",
                          "decoder.1.attn", "decoder.1.cross_attn"]
    assert maps["decoder.0.cross_attn"].shape == (2, H, T, 5)
    assert (maps["decoder.1.cross_attn"][1, :, :, 3:] == 0).all() and (maps["encoder.0.attn"][0] > 0).all()


def test_maps_of_a_bert():
    tokens, segments, mask, *_ = MODELS["BERT"][1]
    maps = lens.attention_maps(bert(), tokens, segments, mask)
    assert list(maps) == ["bert.h.0.attn", "bert.h.1.attn"]
    for p in maps.values():
        np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-14)
        assert p.shape == (2, H, T, T) and (p[0] > 0).all()
        assert (p[1, :, :, 5:] == 0).all() and (p[1, ..., :5] > 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_last_row_of_the_lens_is_what_the_model_says(dtype):
    model, tokens = model_of(dtype=dtype), ids(3, 2, T)
    rows, (logits, _) = lens.logit_lens(model, tokens), model.forward(tokens)
    assert rows.shape == (3, 2, T, V)
    np.testing.assert_array_equal(rows[-1], logits)
    assert np.abs(rows[0] - logits).max() > 0.1


def test_norms():
    model = model_of()
    norms = lens.residual_norms(model, TOKENS)
    assert list(norms) == ["h.0.in", *(f"h.{i}.{n}" for i in range(2) for n in ("attn", "mid", "mlp", "out"))]
    x = model.wte.value[TOKENS] + model.wpe.value[:T]
    np.testing.assert_allclose(norms["h.0.in"], np.linalg.norm(x, axis=-1), rtol=1e-14)


@pytest.mark.parametrize("against", [None, 3])
@pytest.mark.parametrize("dtype, limit", [(np.float64, 1e-12), (np.float32, 1e-4)])
@pytest.mark.parametrize("position", [0, 4, -1])
def test_contributions_sum_to_the_logit(against, dtype, limit, position):
    model = model_of(dtype=dtype)
    parts = lens.direct_attribution(model, TOKENS, position, 7, against)
    logits, _ = model.forward(TOKENS)
    whole = logits[0, position, 7] - (0 if against is None else logits[0, position, against])
    assert abs(sum(parts.values()) - whole) <= limit * max(1, abs(whole))
    assert list(parts) == ["wte", "wpe", *(f"h.{i}.{n}" for i in range(2) for n in (
        "attn.0", "attn.1", "attn.2", "attn.b", "mlp")), "ln_f.b"]


def test_a_head_that_is_off_contributes_nothing():
    model = model_of()
    model.h[1].attn.c_proj.w.value[4:8] = 0
    parts = lens.direct_attribution(model, TOKENS, -1, 7)
    assert parts["h.1.attn.1"] == 0 and parts["h.1.attn.0"] != 0


@pytest.mark.parametrize("metric", [logit_difference(5, 7), logit_difference(-1, 7, 2), log_probability(3, 1)])
def test_a_metric_and_its_gradient(metric):
    logits = np.random.default_rng(0).standard_normal((1, T, V))
    value, dlogits = metric(logits)
    direction = np.random.default_rng(1).standard_normal(logits.shape)
    slope = (metric(logits + 1e-6 * direction)[0] - metric(logits - 1e-6 * direction)[0]) / 2e-6
    assert (dlogits * direction).sum() == pytest.approx(slope, rel=1e-8)
    if metric is log_probability:
        assert value == pytest.approx(np.log(softmax_forward(logits)[0][0, 3, 1]))


def test_gradient_times_input_is_the_slope_of_a_scale():
    """Of all tokens together, it is how the number changes where x grows by a factor."""
    model, metric = model_of(), logit_difference(-1, 7)
    x = model.wte.value[TOKENS] + model.wpe.value[:T]

    def at(scale):
        with tapped(model, Patch({"h.0.in": scale * x})):
            return metric(model.forward(TOKENS)[0])[0]
    parts = lens.gradient_times_input(model, TOKENS, metric)
    assert parts.shape == (T,) and parts.sum() == pytest.approx((at(1 + 1e-6) - at(1 - 1e-6)) / 2e-6, rel=1e-7)


def test_completeness_and_the_order_of_midpoints():
    """The norms have a pole at x^2 = -eps, which is far from the way from 0 to x where x is short."""
    model, metric = model_of(), log_probability(-1, 7)
    model.wte.value, model.wpe.value = model.wte.value * 0.01, model.wpe.value * 0.01
    parts, gap = lens.integrated_gradients(model, TOKENS, metric, 48)
    assert parts.shape == (T,) and abs(gap) < 1e-12
    errors = [abs(lens.integrated_gradients(model, TOKENS, metric, n, lens.midpoints)[1]) for n in (40, 80)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.05)


def test_what_is_read_leaves_no_gradient():
    model = model_of()
    lens.gradient_times_input(model, TOKENS, logit_difference(-1, 7))
    assert all(p.grad is None for _, p in model.named_parameters())


def test_patching_everything_is_the_other_run_and_the_last_block_moves_its_own_position_alone():
    model, metric = model_of(), logit_difference(-1, 7, 2)
    clean, dirty = (metric(model.forward(t)[0])[0] for t in (TOKENS, OTHER))
    grid = lens.patching(model, TOKENS, OTHER, metric, ["h.0.in", "h.0", "h.1", "h.0.attn", "h.1.mlp"])
    assert grid.shape == (5, T) and (grid[2, :-1] == dirty).all() and (grid[4, :-1] == dirty).all()
    assert grid[2, -1] == pytest.approx(clean, abs=1e-12) and grid[4, -1] != dirty
    assert (grid[0, :-1] != dirty).all()
    same = lens.patching(model, TOKENS, TOKENS, metric, ["h.0", "h.1.mlp"])
    np.testing.assert_array_equal(same, clean)
    patch = Patch({"h.0.in": model.wte.value[TOKENS] + model.wpe.value[:T]})
    with tapped(model, patch):
        assert metric(model.forward(OTHER)[0])[0] == clean


def test_without_heads():
    model, metric = model_of(), logit_difference(-1, 7)
    found = lens.without_heads(model, TOKENS, metric)
    model.h[1].attn.c_proj.w.value[4:8] = 0
    assert found.shape == (2, H) and found[1, 1] == pytest.approx(metric(model.forward(TOKENS)[0])[0], rel=1e-12)
    assert len(set(found.ravel())) == 2 * H


@pytest.mark.parametrize("call, message", [
    (lambda m: lens.logit_lens(transformer("pre"), TOKENS), "expected a GPT2, .* got a Transformer"),
    (lambda m: lens.direct_attribution(m, ids(1, 2, T), 0, 1), r"expected one text, .* got shape \(2, 7\)"),
    (lambda m: lens.direct_attribution(m, TOKENS, T, 1), "position: expected from -7 to 6, got 7"),
    (lambda m: lens.direct_attribution(m, TOKENS, 0, V), "token: expected from 0 to 29, got 30"),
    (lambda m: lens.integrated_gradients(m, TOKENS, logit_difference(0, 1), 0), "nodes: expected at least 1, got 0"),
    (lambda m: lens.patching(m, TOKENS, TOKENS[:, 1:], logit_difference(0, 1), ["h.0"]), "as many tokens .* 7, got 6"),
    (lambda m: lens.patching(m, TOKENS, OTHER, logit_difference(0, 1), ["h.7"]), r"got h\.7; there are h\."),
])
def test_what_cannot_be(call, message):
    with pytest.raises(InterpretError, match=message):
        call(gpt2())


