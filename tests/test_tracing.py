"""trace: every pair of the real forward pass once, in order, with what it made."""

import sys

import numpy as np
import pytest

import gpt2np
from gpt2np.blocks.stack import Stack
from gpt2np.blocks.transformer import DecoderBlock
from gpt2np.layers.linear import Linear, linear_forward
from gpt2np.layers.module import Module, Parameter
from gpt2np.layers.softmax import softmax_forward
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.tracing import trace_run

BLOCK = ["ln_1", "attn.c_attn", "attn.attention", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.gelu", "mlp.c_proj"]


@pytest.fixture(scope="module")
def model():
    return GPT2(GPT2Config(n_vocab=50, n_ctx=8, n_embd=12, n_head=3, n_layer=2), np.random.default_rng(0))


def test_every_pair_in_its_order(model):
    steps = gpt2np.trace(model, [[1, 2, 3, 4, 5]])
    assert [step.name for step in steps] == ["wte", "wpe", *("h.0." + name for name in BLOCK),
                                             *("h.1." + name for name in BLOCK), "ln_f", "lm_head"]
    by_name = {step.name: step for step in steps}
    assert by_name["h.0.attn.c_attn"].shape == (1, 5, 36) and by_name["h.1.attn.attention"].shape == (1, 3, 5, 4)
    assert by_name["h.0.attn.c_attn"].formula == "y = x w + b" and by_name["ln_f"].dtype == np.float32
    assert by_name["wte"].formula.startswith("y[...] = scale w[ids[...]]")


def test_numbers_are_those_of_the_forward_pass(model):
    logits, _ = model.forward([[1, 2, 3]])
    head = gpt2np.trace(model, [[1, 2, 3]])[-1]
    assert (head.shape, head.min, head.max) == (logits.shape, float(logits.min()), float(logits.max()))
    assert head.flops == 2 * 3 * 12 * 50 and head.bytes == 4 * (3 * 12 + 50 * 12 + 3 * 50)


def test_flops_and_bytes(model):
    by_name = {step.name: step for step in gpt2np.trace(model, [[1, 2, 3], [4, 5, 6]])}
    assert by_name["h.0.mlp.c_fc"].flops == 2 * 6 * 12 * 48
    assert by_name["h.0.mlp.c_fc"].bytes == 4 * (6 * 12 + 12 * 48 + 48 + 6 * 48)
    assert by_name["h.0.attn.attention"].flops == 4 * 2 * 3 * 3 * 3 * 4
    assert by_name["h.0.ln_1"].flops == 0
    assert by_name["wte"].bytes == 6 * 8 + 2 * 4 * 6 * 12


def test_a_step_is_a_line(model):
    lines = [str(step) for step in gpt2np.trace(model, [[1, 2, 3]])]
    assert not any("\n" in line for line in lines)
    assert lines[3].startswith("h.0.attn.c_attn    1x3x36") and "2.59 kFLOP" in lines[3] and "y = x w + b" in lines[3]


def test_it_leaves_nothing_behind(model):
    hook = sys.getprofile()
    with pytest.raises(ValueError, match="tokens: expected"):
        gpt2np.trace(model, [[99]])
    assert sys.getprofile() is hook


# ---- other calls, other models


def test_a_token_with_a_past(model):
    """The activation has a form without a cache there, and attention sees the keys of the past."""
    past = model.new_past(1, 4)
    model.next_logits([[1, 2, 3]], past)
    steps = trace_run(model, lambda: model.next_logits([[4]], past))
    assert [step.name for step in steps] == [step.name for step in gpt2np.trace(model, [[1]])]
    by_name = {step.name: step for step in steps}
    assert by_name["h.1.mlp.gelu"].formula.startswith("gelu(x) = x/2 (1 + tanh(u/2))")
    assert by_name["h.0.attn.attention"].flops == 4 * 3 * 1 * 4 * 4 and by_name["lm_head"].shape == (1, 1, 50)


def test_a_loss_with_dropout():
    """Dropout is a step where it drops something; the head and its loss are one pair."""
    model = GPT2(GPT2Config(n_vocab=50, n_ctx=8, n_embd=12, n_head=3, n_layer=1), np.random.default_rng(0), dropout=0.1)
    tokens = np.array([[1, 2, 3]])
    names = [step.name for step in trace_run(model, lambda: model.loss(tokens, tokens))]
    assert names == ["wte", "wpe", *("h.0." + name for name in BLOCK), "ln_f", "lm_head"]
    steps = trace_run(model, lambda: model.loss_and_gradients(tokens, tokens, rng=np.random.default_rng(0)))
    assert [step.name for step in steps] == ["wte", "wpe", "dropout", *("h.0." + name for name in BLOCK[:4]),
                                             "h.0.attn.dropout", *("h.0." + name for name in BLOCK[4:]),
                                             "h.0.mlp.dropout", "ln_f", "lm_head"]
    assert (steps[-1].shape, steps[-1].flops) == ((), 2 * 3 * 12 * 50)
    model.next_logits(tokens, past := model.new_past(1, 8))
    last = trace_run(model, lambda: model.next_logits([[1]], past, last=0))[-1]
    assert last.shape == (1, 0, 50) and np.isnan(last.mean)     # an array of no numbers has no mean


class Decoder(Module):
    """A stack of the original Transformer's decoder layers."""

    def __init__(self, rng):
        self.h = Stack(DecoderBlock(12, 3, rng) for _ in range(2))

    def forward(self, x, memory):
        return self.h.forward(x, memory=memory, keep_cache=False)


def test_another_model():
    rng = np.random.default_rng(0)
    x, memory = rng.standard_normal((2, 1, 4, 12))
    steps = gpt2np.trace(Decoder(rng), x, memory=memory)
    block = ["attn.c_attn", "attn.attention", "attn.c_proj", "ln_1", "cross_attn.c_q", "cross_attn.c_kv",
             "cross_attn.attention", "cross_attn.c_proj", "ln_2", "mlp.c_fc", "mlp.relu", "mlp.c_proj", "ln_3"]
    assert [step.name for step in steps] == [f"h.{i}.{name}" for i in range(2) for name in block]
    assert {step.formula for step in steps if step.name.endswith("relu")} == {"The rectifier: y = max(x, 0)."}


def scores_forward(x, w):
    """A pair of a reader's own, outside the package."""
    return softmax_forward(x @ w)


class LoRALinear(Linear):
    """A Linear that learns a product of two narrow matrices beside its frozen one."""

    def __init__(self, base, r):
        vars(self).update(vars(base))
        I, O = base.w.value.shape
        self.a, self.u = Parameter(np.ones((I, r), np.float32)), Parameter(np.zeros((r, O), np.float32))

    def forward(self, x, *, rng=None):
        y, cache = super().forward(x)
        xa, update = [linear_forward(x, w, np.zeros(w.shape[1], np.float32))[0]
                      for w in (self.a.value, self.a.value @ self.u.value)]         # from within a comprehension
        return y + update, cache


def test_a_class_made_from_a_layer_has_its_path(model):
    """Whatever it calls, from wherever: the nearest self that is a module gives the name."""
    changed = model.replica()
    block = changed.h[1].attn
    block.c_attn = LoRALinear(block.c_attn, 2)
    names = [step.name for step in gpt2np.trace(changed, [[1, 2]])]
    plain = [step.name for step in gpt2np.trace(model, [[1, 2]])]
    at = plain.index("h.1.attn.c_attn")
    assert names == plain[:at] + ["h.1.attn.c_attn"] * 3 + plain[at + 1:]


def test_what_a_function_calls_belongs_to_nobody(model):
    steps = trace_run(model, lambda: scores_forward(np.ones((2, 3)), np.ones((3, 4))))
    assert [(step.name, step.shape) for step in steps] == [("softmax", (2, 4))]


ROOM = '''
from ..layers.softmax import softmax_forward

def mixture_forward(x, y):
    """The mean of two distributions.

        p = softmax(x) / 2 + softmax(y) / 2

    x, y     (..., C)
    """
    return softmax_forward(x)[0] / 2 + softmax_forward(y)[0] / 2, None
'''


def test_a_pair_of_any_folder_is_one_step_whatever_it_calls(model):
    room = {"__name__": "gpt2np.adapt.mixture", "__package__": "gpt2np.adapt"}
    exec(ROOM, room)
    step, = trace_run(model, lambda: room["mixture_forward"](np.ones((2, 3)), np.ones((2, 3))))
    assert (step.name, step.formula) == ("mixture", "p = softmax(x) / 2 + softmax(y) / 2")
