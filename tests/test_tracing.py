"""trace: every pair of the real forward pass once, in order, with what it made."""

import sys

import numpy as np
import pytest

import gpt2np
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2

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
    assert by_name["wte"].formula.startswith("y[...] = w[ids[...]]")


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
