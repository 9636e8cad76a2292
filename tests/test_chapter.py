"""What docs/chapter.md says of the texts, worked out: their formulas as they stand, beside what is right."""

import numpy as np
import pytest

from gpt2np.layers.activations import gelu, relu
from gpt2np.layers.attention import attention_forward, merge_heads, split_heads
from gpt2np.layers.cross_entropy import cross_entropy_backward, cross_entropy_forward
from gpt2np.layers.linear import linear_forward
from gpt2np.layers.softmax import log_softmax_backward, log_softmax_forward, softmax_forward
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def softmax(x):
    return softmax_forward(x)[0]


def test_without_positions_attention_sees_a_set(rng):
    """Shuffled tokens give shuffled outputs; with positions they do not."""
    x, positions = rng.standard_normal((2, 1, 1, 6, 4))
    shuffle = rng.permutation(6)

    def attention(x):
        return attention_forward(x, x, x)[0]

    np.testing.assert_allclose(attention(x[:, :, shuffle]), attention(x)[:, :, shuffle], rtol=0, atol=1e-14)
    moved = np.abs(attention(x[:, :, shuffle] + positions) - attention(x + positions)[:, :, shuffle])
    assert moved.max() > 0.1


def test_relu_and_gelu_are_not_the_same():
    x = np.linspace(-5, 5, 100001)
    assert round(np.abs(gelu(x[None]) - relu(x[None])).max(), 2) == 0.17


@pytest.mark.parametrize("T, H", [(6, 6), (6, 3), (1, 3), (6, 1)])
def test_weights_with_heads_in_the_wrong_place(rng, T, H):
    """S000 4.4 permutes the weights (B, H, T, T) to (B, T, H, T) before the product with the values (B, H, T, D)."""
    q, k, v = rng.standard_normal((3, 2, H, T, 5))
    p = softmax(q @ k.swapaxes(2, 3) / np.sqrt(5))
    right = merge_heads(attention_forward(q, k, v)[0])

    def as_in_the_text():
        return (p.swapaxes(1, 2) @ v).swapaxes(1, 2).reshape(2, T, H * 5)

    if H not in (1, T):
        with pytest.raises(ValueError):
            as_in_the_text()
    else:
        assert (np.abs(as_in_the_text() - right).max() < 1e-14) == (H == 1)


def test_log_softmax_over_one_number_learns_nothing(rng):
    """S000 5.2: the head has one output, and a log-softmax follows."""
    y, cache = log_softmax_forward(rng.standard_normal((2, 3, 1)))
    assert not y.any() and not log_softmax_backward(rng.standard_normal(y.shape), cache).any()


def test_heads_are_joined_not_added(rng):
    """Joined heads times W_O are the sum of each head times its rows of W_O, but not the sum of the heads."""
    y, w_o = rng.standard_normal((1, 3, 5, 4)), rng.standard_normal((12, 12))
    joined = merge_heads(y) @ w_o
    np.testing.assert_allclose(sum(y[:, i] @ w_o[4 * i:4 * i + 4] for i in range(3)), joined, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(split_heads(merge_heads(y), 3), y)
    assert y.sum(axis=1).shape == (1, 5, 4) != merge_heads(y).shape


def test_one_matrix_for_q_k_v_makes_the_scores_symmetric(rng):
    """S002 4.2 multiplies queries and keys by the same W_i."""
    x, w, w_k = rng.standard_normal((5, 4)), *rng.standard_normal((2, 4, 4))
    same, own = (x @ w) @ (x @ w).T, (x @ w) @ (x @ w_k).T
    np.testing.assert_allclose(same, same.T, rtol=0, atol=1e-14)
    assert np.linalg.eigvalsh(same).min() > -1e-13 and np.abs(own - own.T).max() > 1


def test_an_activation_before_both_layers_leaves_one_layer(rng):
    """S003 4.2: W_2 (W_1 G(x) + b_1) + b_2 is one linear layer of G(x)."""
    x, w_1, w_2 = rng.standard_normal((7, 4)), rng.standard_normal((4, 16)), rng.standard_normal((16, 4))
    b_1, b_2 = rng.standard_normal(16), rng.standard_normal(4)
    as_in_the_text = linear_forward(linear_forward(gelu(x), w_1, b_1)[0], w_2, b_2)[0]
    one_layer = linear_forward(gelu(x), w_1 @ w_2, b_1 @ w_2 + b_2)[0]
    np.testing.assert_allclose(as_in_the_text, one_layer, rtol=0, atol=1e-12)
    between = linear_forward(gelu(linear_forward(x, w_1, b_1)[0]), w_2, b_2)[0]
    assert np.abs(between - one_layer).max() > 1


def test_two_tokens_make_the_binary_cross_entropy(rng):
    """S004 4.2: with V = 2 the loss is that of a sigmoid of the difference of the logits, and so is its gradient."""
    logits, targets = rng.standard_normal((9, 2)), rng.integers(0, 2, 9)
    p = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    expected = -np.mean(targets * np.log(p) + (1 - targets) * np.log(1 - p))
    loss, cache = cross_entropy_forward(logits, targets)
    np.testing.assert_allclose(loss, expected, rtol=1e-14)
    np.testing.assert_allclose(cross_entropy_backward(1.0, cache)[:, 1], (p - targets) / 9, rtol=0, atol=1e-15)


def test_the_three_steps_of_training(rng):
    """Forwards to the loss, backwards to the gradients, and a step against them makes the loss smaller."""
    model = GPT2(GPT2Config(11, 8, 12, 3, 1), rng, dtype=np.float64)
    tokens = rng.integers(0, 11, (2, 9))
    tokens, targets = tokens[:, :-1], tokens[:, 1:]
    logits, cache = model.forward(tokens)
    before, c_loss = cross_entropy_forward(logits, targets)
    model.backward(cross_entropy_backward(1.0, c_loss), cache)
    for _, parameter in model.named_parameters():
        parameter.value -= 0.1 * parameter.grad
    after, _ = cross_entropy_forward(model.forward(tokens)[0], targets)
    assert after < before
