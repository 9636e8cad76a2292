"""What the table of cases does not say of the blocks: their defaults and options."""

import math

import numpy as np
import pytest

from gpt2np.blocks.feedforward import MLP
from gpt2np.blocks.multihead import SelfAttention
from gpt2np.blocks.transformer import DecoderBlock, PostNormBlock, PreNormBlock
from gpt2np.gradcheck.cases.drawn import filled
from gpt2np.gradcheck.references import blocks as slow
from gpt2np.gradcheck.references.layers import relu
from gpt2np.layers.activations import TANH
from gpt2np.layers.layernorm import LayerNorm
from gpt2np.layers.linear import Linear


def parameters(module):
    return {path: p.value for path, p in module.named_parameters()}


def test_the_original_transformer_has_relu():
    rng = np.random.default_rng(0)
    x, memory = rng.standard_normal((2, 3, 6)), rng.standard_normal((2, 4, 6))
    block = filled(PostNormBlock(6, 3, rng, dtype=np.float64), rng)
    expected = slow.post_norm_block(x, 3, parameters(block), relu)
    np.testing.assert_allclose(block.forward(x)[0], expected, rtol=0, atol=1e-13)
    block = filled(DecoderBlock(6, 3, rng, dtype=np.float64), rng)
    expected = slow.decoder_block(x, memory, 3, parameters(block), relu)
    np.testing.assert_allclose(block.forward(x, memory)[0], expected, rtol=0, atol=1e-13)


def test_names_are_those_of_the_checkpoint():
    block = PreNormBlock(6, 3, np.random.default_rng(0))
    assert [path for path, _ in block.named_parameters()] == [
        "ln_1.g", "ln_1.b", "attn.c_attn.w", "attn.c_attn.b", "attn.c_proj.w", "attn.c_proj.b",
        "ln_2.g", "ln_2.b", "mlp.c_fc.w", "mlp.c_fc.b", "mlp.c_proj.w", "mlp.c_proj.b"]


def test_dropout_does_nothing_without_a_generator():
    rng = np.random.default_rng(0)
    block = filled(PreNormBlock(6, 3, rng, dropout=0.5, dtype=np.float64), rng)
    x = rng.standard_normal((2, 3, 6))
    assert block.forward(x)[0].tobytes() == block.forward(x)[0].tobytes()
    assert block.forward(x)[0].tobytes() != block.forward(x, rng=np.random.default_rng(1))[0].tobytes()


def test_a_wrong_dropout_rate_is_refused():
    rng = np.random.default_rng(0)
    for rate in (1.0, -0.1):
        with pytest.raises(ValueError, match="rate from 0 to less than 1"):
            SelfAttention(6, 3, rng, causal=True, dropout=rate)
        with pytest.raises(ValueError, match="rate from 0 to less than 1"):
            MLP(6, rng, dropout=rate)


@pytest.mark.parametrize("Block", [PreNormBlock, PostNormBlock, DecoderBlock])
def test_every_option_reaches_all_that_it_is_for(Block):
    block = Block(60, 3, np.random.default_rng(0), activation=TANH, eps=1e-12, n_inner=90, std=None)
    below = dict(block.named_modules())
    assert {m.eps for m in below.values() if isinstance(m, LayerNorm)} == {1e-12}
    assert below["mlp"].activation is TANH and below["mlp.c_fc"].w.value.shape == (60, 90)
    for path, module in below.items():
        if isinstance(module, Linear):
            n_in, n_out = module.w.value.shape
            fused = {"attn.c_attn": 3, "cross_attn.c_kv": 2}.get(path, 1)       # each of q, k and v by itself
            assert module.w.value.std() == pytest.approx(math.sqrt(2 / (n_in + n_out / fused)), rel=0.05), path


@pytest.mark.parametrize("Block, causal", [(PreNormBlock, False), (PostNormBlock, True)])
def test_each_block_may_look_ahead_or_not(Block, causal):
    rng = np.random.default_rng(0)
    block, x = Block(6, 3, rng, causal=causal, dtype=np.float64), rng.standard_normal((1, 3, 6))
    changed = x.copy()
    changed[:, 2] += rng.standard_normal(6)
    same = np.array_equal(block.forward(x)[0][:, :2], block.forward(changed)[0][:, :2])
    assert same is causal


def test_the_past_belongs_to_the_block_that_made_it():
    past = PreNormBlock(12, 3, np.random.default_rng(0), dtype=np.float64).new_past(5, 7)
    assert past.k.shape == past.v.shape == (5, 3, 7, 4) and past.k.dtype == np.float64 and past.length == 0
