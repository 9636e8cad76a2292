"""What the table of cases does not say of the blocks: their defaults."""

import numpy as np
import pytest

from gpt2np.blocks.feedforward import MLP
from gpt2np.blocks.multihead import SelfAttention
from gpt2np.blocks.transformer import DecoderBlock, PostNormBlock, PreNormBlock
from gpt2np.gradcheck import references as slow
from gpt2np.gradcheck.cases import filled


def parameters(module):
    return {path: p.value for path, p in module.named_parameters()}


def test_the_original_transformer_has_relu():
    rng = np.random.default_rng(0)
    x, memory = rng.standard_normal((2, 3, 6)), rng.standard_normal((2, 4, 6))
    block = filled(PostNormBlock(6, 3, rng, dtype=np.float64), rng)
    expected = slow.post_norm_block(x, 3, parameters(block), slow.relu)
    np.testing.assert_allclose(block.forward(x)[0], expected, rtol=0, atol=1e-13)
    block = filled(DecoderBlock(6, 3, rng, dtype=np.float64), rng)
    expected = slow.decoder_block(x, memory, 3, parameters(block), slow.relu)
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
