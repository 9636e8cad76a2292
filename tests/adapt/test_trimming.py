"""Blocks, heads and tokens of a GPT-2 or a BERT that go: what stays computes what it did, and what goes is told."""

from contextlib import ExitStack
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2np.adapt.lora import add_lora
from gpt2np.adapt.prefix import add_prefix
from gpt2np.adapt.replacing import AdaptError
from gpt2np.adapt.trimming import (
    body_of,
    drop_blocks,
    gate_gradients,
    heads_of,
    importances,
    keep_tokens,
    least,
    leave_out_heads,
    magnitudes,
    take_out_heads,
    taken_out,
    zero_heads,
)
from gpt2np.blocks.multihead import SelfAttention
from gpt2np.interpret.taps import Patch, tapped
from gpt2np.layers.attention import attention_forward, merge_heads, split_heads
from gpt2np.layers.softmax import log_softmax_forward
from gpt2np.models.bert import BERT, BertForPreTraining, Logits
from gpt2np.models.config import BertConfig, GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.models.heads import Classifier, TokenClassifier
from gpt2np.training.adamw import AdamW

V, H, L, D = 11, 3, 4, 2
HEADS = [{0: [1], 2: [0, 2]}, {3: [2]}, {0: [0, 1], 1: [1], 2: [0, 2], 3: [1, 2]}]
rng = np.random.default_rng(3)
TOKENS, TARGETS = rng.integers(0, V, (2, 3, 7))


def gpt2(dtype=np.float64, seed=0, **options):
    """One in which every number says something."""
    model, numbers = GPT2(GPT2Config(V, 8, H * D, H, L), dtype=dtype, **options), np.random.default_rng(seed)
    for path, p in model.named_parameters():
        p.value = (numbers.standard_normal(p.shape) * 0.5 + path.endswith(".g")).astype(dtype)
    return model


def logits_of(model):
    return model.forward(TOKENS, keep_cache=False)[0]


def same_bits(one, other):
    assert one.dtype == other.dtype
    np.testing.assert_array_equal(one, other)


def gated(model, heads):
    """The logits with these heads' outputs at zero in every pass: what trimming should come to, by another way."""
    zeros = np.zeros((*TOKENS.shape, H * D), model.wte.value.dtype)
    taps = [Patch({f"h.{i}.attn.z": zeros}, np.s_[..., h * D:(h + 1) * D]) for i, which in heads.items() for h in which]

    def through(taps):
        if not taps:
            return logits_of(model)
        with tapped(model, taps[0]):
            return through(taps[1:])
    return through(taps)


# ---- blocks


@settings(max_examples=20)
@given(st.sets(st.integers(0, L - 1), max_size=L - 1))
def test_without_blocks_the_others_follow_in_their_order(gone):
    whole, model = gpt2(), gpt2()
    drop_blocks(model, gone)
    x, _ = whole.wte.forward(TOKENS)
    x = x + whole.wpe.value[:TOKENS.shape[1]]
    for i in range(L):
        if i not in gone:
            x, _ = whole.h[i].forward(x)
    same_bits(logits_of(model), whole.lm_head.forward(whole.ln_f.forward(x)[0])[0])
    assert model.config.n_layer == len(model.h) == L - len(gone)
    assert sum(p.value.size for _, p in model.named_parameters()) == model.config.n_parameters


def test_nothing_cut_away_is_the_whole():
    whole = gpt2(np.float32)
    for cut in (partial(drop_blocks, blocks=[]), partial(zero_heads, heads={}), partial(zero_heads, heads={1: []}),
                partial(take_out_heads, heads={}), partial(take_out_heads, heads={1: []}),
                partial(keep_tokens, ids=range(V))):
        model = whole.replica()
        cut(model)
        same_bits(logits_of(model), logits_of(whole))
        assert model.config == whole.config and taken_out(model) == {}


def test_the_model_stays_as_it_is():
    """Arrays are shared, and none is written into."""
    whole = gpt2()
    for _, p in whole.named_parameters():
        p.value.setflags(write=False)
    before = logits_of(whole)
    model = whole.replica()
    zero_heads(model, {0: [1]})
    take_out_heads(model, {0: [1], 1: [0, 2]})
    drop_blocks(model, [2])
    keep_tokens(model, [*range(V)][::-1])
    same_bits(logits_of(whole), before)
    assert len(whole.h) == L and taken_out(whole) == {} and whole.config.n_layer == L


# ---- heads


@pytest.mark.parametrize("heads", HEADS)
def test_a_head_at_zero_is_a_gate_at_zero(heads):
    for dtype in (np.float64, np.float32):
        model = gpt2(dtype)
        expected = gated(model, heads)
        assert np.abs(expected - logits_of(model)).max() > 1e-2             # they had something to say
        zero_heads(model, heads)
        same_bits(logits_of(model), expected)
        assert taken_out(model) == {} and len(heads_of(model)) == L * H


@pytest.mark.parametrize("heads", HEADS)
def test_a_head_taken_out_is_a_gate_at_zero(heads):
    model, zeroed = gpt2(), gpt2()
    expected = gated(model, heads)
    before = {path: p.value for path, p in model.named_parameters()}
    take_out_heads(model, heads)
    np.testing.assert_allclose(logits_of(model), expected, rtol=0, atol=1e-12)
    assert taken_out(model) == heads
    assert set(heads_of(model)) == {(i, h) for i in range(L) for h in range(H) if h not in heads.get(i, ())}
    n = sum(map(len, heads.values()))
    C = H * D
    assert sum(p.value.size for _, p in model.named_parameters()) == \
        sum(value.size for value in before.values()) - n * D * (4 * C + 3)
    zero_heads(zeroed, heads)                           # what is zero can be taken out, and nothing changes
    take_out_heads(zeroed, heads)
    same_bits(logits_of(zeroed), logits_of(model))


def test_heads_go_by_the_numbers_that_they_had():
    once, twice = gpt2(), gpt2()
    take_out_heads(once, {1: [0, 1]})
    take_out_heads(twice, {1: [0]})
    assert heads_of(twice)[3:5] == [(1, 1), (1, 2)]
    take_out_heads(twice, {1: [1]})
    same_bits(logits_of(once), logits_of(twice))
    assert taken_out(once) == taken_out(twice) == {1: [0, 1]}
    after = gpt2()
    take_out_heads(after, {1: [1]})
    zero_heads(after, {1: [0]})
    np.testing.assert_allclose(logits_of(after), logits_of(once), rtol=0, atol=1e-12)


def test_text_by_text_it_writes_what_it_computes():
    model = gpt2()
    take_out_heads(model, HEADS[0])
    past = model.new_past(3, 7)
    for t in range(TOKENS.shape[1]):
        logits = model.next_logits(TOKENS[:, t:t + 1], past)
        np.testing.assert_allclose(logits[:, 0], logits_of(model)[:, t], atol=1e-12)


def test_what_is_left_is_trained_as_with_the_gate():
    """The gradients of what stays are those of the zeroed model; and the rest, which is zero, has none."""
    zeroed, smaller = gpt2(), gpt2()
    zero_heads(zeroed, HEADS[2])
    take_out_heads(smaller, HEADS[2])
    for model in (zeroed, smaller):
        model.loss_and_gradients(TOKENS, TARGETS)
    take_out_gradients(zeroed, HEADS[2])
    for (path, p), (_, q) in zip(zeroed.named_parameters(), smaller.named_parameters(), strict=True):
        np.testing.assert_allclose(q.grad, p.grad, rtol=0, atol=1e-12, err_msg=path)


def take_out_gradients(model, heads):
    """Let gradients be the values, and take the same heads out: those of what goes are seen to be zero."""
    for _, p in model.named_parameters():
        p.value = p.grad
    whole = logits_of(model)
    zero_heads(model, heads)
    same_bits(logits_of(model), whole)
    for i, which in heads.items():
        attn = model.h[i].attn
        for h in which:
            own = slice(h * D, (h + 1) * D)
            for part in np.split(attn.c_attn.w.value, 3, axis=1):
                assert not part[:, own].any()
            assert not attn.c_proj.w.value[own].any()
    take_out_heads(model, heads)
    for _, p in model.named_parameters():
        p.grad = p.value


def test_a_head_at_zero_stays_there_in_training():
    model = gpt2()
    zero_heads(model, HEADS[2])
    before = logits_of(model)
    optimizer = AdamW(model, weight_decay=0.1)
    for _ in range(3):
        model.zero_grad()
        model.loss_and_gradients(TOKENS, TARGETS)
        optimizer.step(1e-2)
    trained = logits_of(model)
    assert np.abs(trained - before).max() > 1e-2
    zero_heads(model, HEADS[2])
    same_bits(logits_of(model), trained)


# ---- how much a head matters


class Gated(SelfAttention):
    """Self-attention with a number at each head's output."""

    def forward(self, x, **options):
        qkv, _ = self.c_attn.forward(x)
        q, k, v = (split_heads(a, self.n_head) for a in np.split(qkv, 3, axis=-1))
        y, _ = attention_forward(q, k, v, True)
        return self.c_proj.forward(merge_heads(y * self.xi[:, None, None]))[0], None


def loss_by_gates(model, xi):
    """The loss with gates xi (L, H)."""
    model = model.replica()
    for i, block in enumerate(model.h):
        gate = Gated.__new__(Gated)
        vars(gate).update(vars(block.attn))
        gate.xi, block.attn = xi[i], gate
    return float(model.loss(TOKENS, TARGETS))


def test_gradients_of_gates_are_those_of_differences():
    model, h = gpt2(), 1e-5
    assert loss_by_gates(model, np.ones((L, H))) == pytest.approx(float(model.loss(TOKENS, TARGETS)), rel=1e-14)
    model.loss_and_gradients(TOKENS, TARGETS)
    found = gate_gradients(model)
    assert list(found) == [(i, j) for i in range(L) for j in range(H)]
    for (i, j), gradient in found.items():
        up, down = np.ones((2, L, H))
        up[i, j], down[i, j] = 1 + h, 1 - h
        assert gradient == pytest.approx((loss_by_gates(model, up) - loss_by_gates(model, down)) / (2 * h), rel=1e-6,
                                         abs=1e-9)


def test_importance_is_the_mean_of_what_each_window_says():
    model = gpt2()
    windows = [(TOKENS[:1], TARGETS[:1]), (TOKENS[1:], TARGETS[1:])]
    found = importances(model, iter(windows))
    each = []
    for batch in windows:
        other = model.replica()
        other.loss_and_gradients(*batch)
        each.append(gate_gradients(other))
    for i in range(L):
        by_hand = np.array([np.mean([abs(one[i, h]) for one in each]) for h in range(H)])
        np.testing.assert_allclose([found[i, h] for h in range(H)], by_hand / np.linalg.norm(by_hand), rtol=1e-12)
    assert all(p.grad is None and p.trainable for _, p in model.named_parameters())     # it is left as it was


def test_a_head_that_does_nothing_matters_least():
    model = gpt2()
    zero_heads(model, HEADS[0])
    for scores in (importances(model, [(TOKENS, TARGETS)]), magnitudes(model)):
        assert [head for head in scores if scores[head] == 0] == [(0, 1), (2, 0), (2, 2)]
        assert least(scores, 3) == HEADS[0]
    without = gpt2()
    take_out_heads(without, HEADS[0])
    scores, zeroed = (importances(one, [(TOKENS, TARGETS)]) for one in (without, model))
    assert list(scores) == heads_of(without)
    for head in scores:
        assert scores[head] == pytest.approx(zeroed[head], rel=1e-9)


def test_magnitudes():
    model = gpt2()
    take_out_heads(model, {1: [0]})
    found = magnitudes(model)
    attn = gpt2().h[1].attn
    w = np.split(attn.c_attn.w.value, 3, axis=1)
    for h in (1, 2):
        own = slice(h * D, (h + 1) * D)
        parts = [part[:, own] for part in w] + [attn.c_proj.w.value[own].T]
        assert found[1, h] == pytest.approx(np.linalg.norm(np.concatenate(parts, axis=1)), rel=1e-14)


def test_those_that_matter_least_go_and_each_block_keeps_one():
    scores = {(0, 0): 1.0, (0, 1): 2.0, (1, 0): 5.0, (1, 1): 3.0, (1, 2): 3.0, (2, 0): 0.0}
    assert least(scores, 0) == {}
    assert least(scores, 1) == {0: [0]}                     # (2, 0) is the only one there
    assert least(scores, 2) == {0: [0], 1: [1]}             # of equals, the first
    assert least(scores, 3) == {0: [0], 1: [1, 2]}
    for n in (-1, 4):
        with pytest.raises(AdaptError, match=f"expected from 0 to 3 of 6 to go, .* the 3 blocks keeps one, got {n}"):
            least(scores, n)


# ---- tokens


@settings(max_examples=20)
@given(st.lists(st.integers(0, V - 1), min_size=1, unique=True))
def test_fewer_tokens_have_the_logits_that_they_had(ids):
    """Logits are the same ones; a loss is less by -log of what the tokens that stay had together."""
    whole, model = gpt2(), gpt2()
    keep_tokens(model, ids)
    tokens = np.random.default_rng(0).integers(0, len(ids), (2, 6))
    logits, _ = whole.forward(np.array(ids)[tokens], keep_cache=False)
    fewer, _ = model.forward(tokens, keep_cache=False)
    np.testing.assert_allclose(fewer, logits[..., ids], rtol=0, atol=1e-12)
    log_p, _ = log_softmax_forward(logits)
    together = np.log(np.exp(log_p[..., ids]).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(log_softmax_forward(fewer)[0], log_p[..., ids] - together, rtol=0, atol=1e-12)
    targets = np.random.default_rng(1).integers(0, len(ids), (2, 6))
    assert float(model.loss(tokens, targets)) == pytest.approx(
        float(whole.loss(np.array(ids)[tokens], np.array(ids)[targets])) + together.mean(), abs=1e-12)
    assert model.config.n_vocab == model.n_vocab == len(ids) and model.lm_head.wte is model.wte


def test_rows_that_no_token_has_go_too():
    model = gpt2()
    model.unused = [3, 9]
    keep_tokens(model, [4, 9, 0])
    assert model.unused == [1]


# ---- of a BERT, and below a head


def bert(seed=0, kind=BertForPreTraining, dtype=np.float64):
    config, numbers = BertConfig(V, 8, H * D, H, L, 10), np.random.default_rng(seed)
    model = kind(config, dtype=dtype) if kind in (BERT, BertForPreTraining) else \
        kind(BERT(config, dtype=dtype), ("a", "b", "c"), dtype=dtype)
    for path, p in model.named_parameters():
        p.value = (numbers.standard_normal(p.shape) * 0.5 + path.endswith(".g")).astype(dtype)
    return model


SEGMENTS, MASK = np.array([[0, 0, 0, 1, 1, 1, 1]] * 3), np.arange(7) < np.array([[7], [5], [2]])
MASKED = TOKENS, SEGMENTS, MASK, np.where(MASK & (np.arange(7) % 3 == 1), TARGETS, -100), np.array([0, 1, -100])
BERTS = pytest.mark.parametrize("kind", [BERT, BertForPreTraining, Classifier, TokenClassifier])


def answers(model, tokens=TOKENS):
    """All that a model answers, as a list."""
    found, _ = model.forward(tokens, SEGMENTS, MASK, keep_cache=False)
    return list(found) if isinstance(found, Logits) else [found]


@BERTS
def test_a_berts_blocks_go(kind):
    whole, model = bert(kind=kind), bert(kind=kind)
    drop_blocks(model, [0, 2])
    body = body_of(whole)
    body.h[:] = [body.h[1], body.h[3]]
    for one, other in zip(answers(model), answers(whole), strict=True):
        same_bits(one, other)
    assert model.config.n_layer == 2 and body.config.n_layer == L


@BERTS
@pytest.mark.parametrize("heads", HEADS)
def test_a_berts_heads_go(kind, heads):
    """At zero: to the bit as with a gate of 0; taken out: but for rounding."""
    model, without = bert(kind=kind), bert(kind=kind)
    zeros = np.zeros((*TOKENS.shape, H * D))
    taps = [Patch({f"h.{i}.attn.z": zeros}, np.s_[..., h * D:(h + 1) * D]) for i, which in heads.items() for h in which]
    with ExitStack() as held:
        for tap in taps:
            held.enter_context(tapped(body_of(model), tap))
        expected = answers(model)
    before = answers(model)
    zero_heads(model, heads)
    take_out_heads(without, heads)
    assert taken_out(without) == heads and taken_out(model) == {}
    for one, other, gate, whole in zip(answers(model), answers(without), expected, before, strict=True):
        same_bits(one, gate)
        np.testing.assert_allclose(other, gate, rtol=0, atol=1e-12)
        assert np.abs(gate - whole).max() > 1e-3


def test_what_a_berts_heads_matter_is_asked_of_gates():
    model, h = bert(), 1e-5
    model.loss_and_gradients(*MASKED)
    found = gate_gradients(model)

    def loss(i, j, gate):
        other = model.replica()
        w = other.bert.h[i].attn.c_proj.w
        w.value = w.value.copy()
        w.value[j * D:(j + 1) * D] *= gate
        return float(other.loss(*MASKED))

    for (i, j), gradient in found.items():
        assert gradient == pytest.approx((loss(i, j, 1 + h) - loss(i, j, 1 - h)) / (2 * h), rel=1e-6, abs=1e-9)
    by_hand = np.abs([[found[i, j] for j in range(H)] for i in range(L)])
    expected = by_hand / np.linalg.norm(by_hand, axis=1, keepdims=True)
    np.testing.assert_allclose([*importances(model, [MASKED]).values()], expected.ravel(), rtol=1e-9)


@settings(max_examples=20)
@given(st.lists(st.integers(0, V - 1), min_size=1, unique=True), st.sampled_from([np.float32, np.float64]))
def test_fewer_pieces_have_the_answers_that_they_had(ids, dtype):
    """To the bit in all but the words' logits, whose product is another one; and these are less than all there were."""
    tokens = np.random.default_rng(0).integers(0, len(ids), TOKENS.shape)
    for kind in (BERT, BertForPreTraining, Classifier, TokenClassifier):
        whole, model = bert(kind=kind, dtype=dtype), bert(kind=kind, dtype=dtype)
        keep_tokens(model, ids)
        expected, found = answers(whole, np.array(ids)[tokens]), answers(model, tokens)
        if kind is BertForPreTraining:
            np.testing.assert_allclose(found.pop(0), expected.pop(0)[..., ids], rtol=0,
                                       atol=1e-12 if dtype is np.float64 else 1e-4)
        for one, other in zip(found, expected, strict=True):
            same_bits(one, other)
        assert model.config.n_vocab == len(ids) == len(body_of(model).wte.value)


def test_the_words_loss_falls_by_what_the_others_had():
    whole, model, ids = bert(), bert(), [9, 3, 4, 0, 7]
    keep_tokens(model, ids)
    assert model.mlm.decoder.wte is model.bert.wte and model.mlm.decoder.b.shape == (5,)
    tokens = np.random.default_rng(0).integers(0, 5, TOKENS.shape)
    old, asked = np.array(ids)[tokens], MASKED[3] != -100
    losses = [float(one.loss(of_it, SEGMENTS, MASK, np.where(asked, of_it, -100), MASKED[4]))
              for one, of_it in ((whole, old), (model, tokens))]
    log_p, _ = log_softmax_forward(answers(whole, old)[0])
    together = np.log(np.exp(log_p[..., ids]).sum(axis=-1))[asked].mean()
    assert losses[1] == pytest.approx(losses[0] + together, abs=1e-12)


# ---- what is refused


@pytest.mark.parametrize("cut, message", [
    (partial(drop_blocks, blocks=[1, 4]), "blocks: expected from 0 to 3, got 4"),
    (partial(drop_blocks, blocks=[-1]), "blocks: expected from 0 to 3, got -1"),
    (partial(drop_blocks, blocks=[0, 1, 2, 3]), "one at least to stay, got all 4 of them to drop"),
    (partial(zero_heads, heads={4: [0]}), "heads: expected blocks from 0 to 3, got 4"),
    (partial(zero_heads, heads={-1: [0]}), "heads: expected blocks from 0 to 3, got -1"),
    (partial(zero_heads, heads={1: [0, 3]}), "heads: expected of block 1 those from 0, 1, 2, got 3"),
    (partial(take_out_heads, heads={0: [0], 1: [0, 1, 2]}), "got all 3 of block 1 to go; a block can be dropped"),
    (partial(leave_out_heads, heads={1: [-1]}), "heads: expected of block 1 those from 0, 1, 2, got -1"),
    (partial(keep_tokens, ids=[]), "tokens: expected one at least to stay, got none"),
    (partial(keep_tokens, ids=[1, 2, 1]), "tokens: expected ids from 0 to 10, each once, got 1"),
    (partial(keep_tokens, ids=[11]), "tokens: expected ids from 0 to 10, each once, got 11")])
def test_what_cannot_be_cut_is_refused_and_all_stays(cut, message):
    model, whole = gpt2(), gpt2()
    with pytest.raises(AdaptError, match=message):
        cut(model)
    same_bits(logits_of(model), logits_of(whole))
    assert taken_out(model) == {}


def test_what_was_added_is_in_the_way():
    model = gpt2()
    add_lora(model, r=2)
    with pytest.raises(AdaptError, match="heads: expected a model as it was made, got one with lora"):
        zero_heads(model, {0: [0]})
    model = gpt2()
    take_out_heads(model, {0: [0]})
    with pytest.raises(AdaptError, match="expected attention with all its heads, got one without"):
        add_prefix(model, length=2)
    with pytest.raises(AdaptError, match="parts: expected a model with all its heads"):
        add_lora(model, r=2, parts="qv")
    add_lora(model, r=2)                                # beside a smaller matrix there is room
    np.testing.assert_allclose(logits_of(model), logits_of(gpt2_without()), atol=1e-12)


def gpt2_without():
    model = gpt2()
    take_out_heads(model, {0: [0]})
    return model


def test_a_model_without_numbers_needs_no_memory_for_it():
    model = GPT2(GPT2Config(V, 8, 1 << 20, 4, 2))       # c_attn alone would have 12 TB
    leave_out_heads(model, {1: [0, 1, 2]})
    assert model.h[1].attn.c_attn.w.shape == (1 << 20, 3 << 18) and taken_out(model) == {1: [0, 1, 2]}
