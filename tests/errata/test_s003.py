"""S003, residuals, layer normalisation and GPT-2: concepts, formulas, the listing of 5.2, and the numbers of 5.4."""

from types import SimpleNamespace

import numpy as np
import pytest

from gpt2np.blocks.multihead import SelfAttention
from gpt2np.blocks.transformer import PreNormBlock
from gpt2np.layers.activations import gelu
from gpt2np.layers.attention import attention_forward
from gpt2np.layers.embedding import Embedding
from gpt2np.layers.layernorm import LayerNorm, layernorm_forward
from gpt2np.layers.linear import linear_forward
from gpt2np.layers.positional import sinusoidal_positions
from gpt2np.layers.softmax import softmax_forward
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2

from .arrays import attention, filled, lower, matrix_products, names, of_one, ours, sees, small, softmax, zero
from .reading import calls, edges, functions, listing, run, says

# ---- 1 to 3 concepts and steps


@says("S003 1.1", "在传统的NLP模型中，RNN和CNN等架构普遍存在训练速度慢、长序列建模困难等问题。它们无法并行处理序列数据")
def test_E003_01_convolutions_run_in_parallel(rng):
    """A convolution gives its positions in any order, or as one product. Only a recurrent network waits for itself."""
    n, d, width = 9, 4, 3
    x, kernel, w = rng.standard_normal((n, d)), rng.standard_normal((width * d, d)), rng.standard_normal((d, d)) / 4

    def convolve(order):
        y = np.zeros((n - width + 1, d))
        for t in order:
            y[t] = x[t:t + width].reshape(-1) @ kernel
        return y

    def recur(order):
        h = np.zeros((n + 1, d))
        for t in order:
            h[t + 1] = np.tanh(x[t] + h[t] @ w)
        return h[1:]

    windows = np.lib.stride_tricks.sliding_window_view(x, (width, d))[:, 0].reshape(-1, width * d)
    forwards = convolve(range(n - width + 1))
    np.testing.assert_array_equal(convolve(rng.permutation(n - width + 1)), forwards)
    np.testing.assert_allclose(windows @ kernel, forwards, rtol=0, atol=1e-13)
    assert np.abs(recur(range(n)[::-1]) - recur(range(n))).max() > 0.01
    q = rng.standard_normal((1, 1, n, d))                               # attention's positions are one product, too
    one_at_a_time = np.zeros_like(q)
    for t in rng.permutation(n):
        one_at_a_time[:, :, t:t + 1] = attention_forward(q[:, :, t:t + 1], q, q)[0]
    np.testing.assert_allclose(attention_forward(q, q, q)[0], one_at_a_time, rtol=0, atol=1e-14)


@says("S003 2.1", "在自注意力模块后添加一个残差连接，使输入与输出之差通过前面几层进行层间传递")
def test_E003_02_a_residual_around_each_sub_layer(rng):
    """One around attention alone: an MLP that gives 0 loses the token. And what is passed on is x + F(x), not F(x)."""
    x = rng.standard_normal((1, 5, 8))
    block = filled(PreNormBlock(8, 2, rng, dtype=np.float64), rng)
    zero(block.mlp.c_proj)
    a = x + block.attn.forward(block.ln_1.forward(x)[0])[0]
    as_in_the_text = block.mlp.forward(block.ln_2.forward(a)[0])[0]
    assert not as_in_the_text.any()
    np.testing.assert_allclose(block.forward(x)[0], a, rtol=0, atol=1e-14)
    zero(block.attn.c_proj)
    difference = block.forward(x)[0] - x                                # of output and input
    assert not difference.any() and block.forward(x)[0].any()


@says("S003 2.2", "D --> E[Positional Encoding]", "经过残差连接后，再次通过位置编码，进入前馈神经网络模块")
def test_E003_03_positions_are_added_once(rng):
    """The chart has them before attention and again before the MLP, in every layer; GPT-2 before the first block."""
    arrows, label = edges(listing("S003-2.2"))
    assert [label[node] for node, _ in arrows].count("Positional Encoding") == 2
    model, ids = small(rng), np.array([[3, 1, 4]])
    for block in model.h:
        zero(block.attn.c_proj, block.mlp.c_proj)
    word, place = model.wte.value[ids], model.wpe.value[:3]

    def normed(x):
        return layernorm_forward(x, model.ln_f.g.value, model.ln_f.b.value)[0]

    x, _ = model.hidden(ids)                                            # of blocks that add nothing: what went in
    np.testing.assert_allclose(x, normed(word + place), rtol=0, atol=1e-14)
    as_in_the_text = word + place
    for _ in model.h:
        as_in_the_text = as_in_the_text + place
    assert np.abs(normed(as_in_the_text) - x).max() > 0.1


@says("S003 2.2", "F --> G[Layer Normalization]", "C --> D[Residual Connection]")
def test_E003_04_two_norms_and_two_residuals(rng):
    """The chart has one of each, the norm at the end. There an MLP that gives 0 leaves a norm of nothing: its bias."""
    _, label = edges(listing("S003-2.2"))
    steps = list(label.values())
    assert steps.count("Residual Connection") == steps.count("Layer Normalization") == 1
    assert not {"Embedding", "Linear", "Softmax"} & set(steps)
    x = rng.standard_normal((1, 5, 8))
    block = filled(PreNormBlock(8, 2, rng, dtype=np.float64), rng)
    zero(block.mlp.c_proj)
    h = x + block.attn.forward(x)[0]
    as_in_the_text = block.ln_2.forward(block.mlp.forward(h)[0])[0]
    np.testing.assert_array_equal(as_in_the_text, np.broadcast_to(block.ln_2.b.value, x.shape))
    assert sees(of_one(block.forward), x[0]).diagonal().all()
    L = 3
    model = names(small(rng, n_layer=L))
    assert [path for path in model if path.endswith(".g")] == [
        *(f"h.{i}.ln_{j}.g" for i in range(L) for j in (1, 2)), "ln_f.g"]
    assert "wte" in model


@says("S003 3.2", "**前馈神经网络计算**：对自注意力矩阵进行前馈神经网络处理，得到最终输出。")
def test_E003_05_after_three_steps_there_is_no_word(rng):
    """Positions, attention, MLP: n x C numbers. The words come of an embedding, L blocks, a last norm and the head."""
    model, ids = small(rng), np.array([[3, 1, 4]])
    block = model.h[0]
    x = model.wte.value[ids] + model.wpe.value[:3]
    three_steps = block.mlp.forward(block.attn.forward(x)[0])[0]
    assert three_steps.shape == (1, 3, model.config.n_embd)
    for block in model.h:
        x = block.forward(x)[0]
    x = model.ln_f.forward(x)[0] @ model.wte.value.T
    np.testing.assert_allclose(model.forward(ids)[0], x, rtol=0, atol=1e-12)
    assert x.shape == (1, 3, model.config.n_vocab)


@says("S003 3.3", "位置编码需要手动指定，且无法处理动态长度的序列。")
@says("S003 9", "位置编码需要手动指定，且无法处理动态长度的序列。")
def test_E003_06_lengths_may_change(rng):
    """One model takes every length up to n_ctx, and a text that grows keeps its logits; the fixed table has no end."""
    model = small(rng)
    ids = rng.integers(0, 11, (1, model.config.n_ctx))
    longest = model.forward(ids)[0]
    for T in range(1, model.config.n_ctx):
        np.testing.assert_allclose(model.forward(ids[:, :T])[0], longest[:, :T], rtol=0, atol=1e-12)
    np.testing.assert_allclose(sinusoidal_positions(5000, 8, np.float64)[:50], sinusoidal_positions(50, 8, np.float64),
                               rtol=0, atol=1e-15)


# ---- 4 formulas


@says("S003 4.1", "位置编码为 $P(x_i)$，则经过位置编码后的输入序列为 $P(x)$")
def test_E003_08_a_position_is_not_the_tokens(rng):
    """A function of x_i gives the same token the same vector at every place; x_i + p_i does not."""
    ids, table, p = np.array([3, 1, 3, 1]), rng.standard_normal((2, 11, 8)), Embedding(4, 8, rng, dtype=np.float64)
    as_in_the_text = table[0][ids] + table[1][ids]
    np.testing.assert_array_equal(as_in_the_text[:2], as_in_the_text[2:])
    right = table[0][ids] + p.forward(np.arange(4))[0]
    assert np.abs(right[:2] - right[2:]).max(axis=-1).min() > 1e-3
    model = small(rng)
    for block in model.h:
        zero(block.attn.c_proj, block.mlp.c_proj)
    x = model.hidden([ids])[0][0]
    assert np.abs(x[:2] - x[2:]).max(axis=-1).min() > 0.1


@says("S003 4.2", r"A = \frac{QK^T}{\sqrt{d_k}} = \frac{XW_Q(XW_K)^T}{\sqrt{d_k}}")
def test_E003_09_scores_are_not_attention_yet(rng):
    """n x n numbers of any sign. The softmax makes weights of them, and V what comes out; then there is W^O."""
    x, (w_q, w_k, w_v) = rng.standard_normal((5, 8)), rng.standard_normal((3, 8, 8))
    A = x @ w_q @ (x @ w_k).T / np.sqrt(8)
    assert A.shape == (5, 5) and (A < 0).any() and np.abs(A.sum(axis=-1) - 1).min() > 0.01
    p = softmax_forward(A)[0]
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-14)
    np.testing.assert_allclose(ours(x @ w_q, x @ w_k, x @ w_v), p @ (x @ w_v), rtol=0, atol=1e-13)
    module = filled(SelfAttention(8, 1, rng, causal=True, dtype=np.float64), rng)
    w = names(module)
    q, k, v = np.split(x @ w["c_attn.w"] + w["c_attn.b"], 3, axis=1)
    expected = ours(q, k, v, causal=True) @ w["c_proj.w"] + w["c_proj.b"]
    np.testing.assert_allclose(of_one(module.forward)(x), expected, rtol=0, atol=1e-12)


@says("S003 4.2", "F(x) = W_1G(x) + b_1", "O(x) = W_2F(x) + b_2")
def test_E003_10_an_activation_before_both_layers_leaves_one_layer(rng):
    """W_2 (W_1 G(x) + b_1) + b_2 is one linear layer of G(x), however wide it is within."""
    x, w_1, w_2 = rng.standard_normal((7, 4)), rng.standard_normal((4, 16)), rng.standard_normal((16, 4))
    b_1, b_2 = rng.standard_normal(16), rng.standard_normal(4)
    as_in_the_text = (gelu(x) @ w_1 + b_1) @ w_2 + b_2
    one_layer = linear_forward(gelu(x), w_1 @ w_2, b_1 @ w_2 + b_2)[0]
    np.testing.assert_allclose(as_in_the_text, one_layer, rtol=0, atol=1e-12)
    mlp = PreNormBlock(4, 1, rng, dtype=np.float64).mlp
    for path, value in (("c_fc.w", w_1), ("c_fc.b", b_1), ("c_proj.w", w_2), ("c_proj.b", b_2)):
        names(mlp)[path][...] = value
    np.testing.assert_allclose(of_one(mlp.forward)(x), gelu(x @ w_1 + b_1) @ w_2 + b_2, rtol=0, atol=1e-12)
    assert np.abs(of_one(mlp.forward)(x) - one_layer).max() > 1


@says("S003 4.2", r"\bar{x} = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}",
      r"其中，$\mu, \sigma, \gamma, \beta$为归一化参数。")
def test_E003_11_mean_and_deviation_are_not_learned(rng):
    """They are each token's own, the deviation with division by C: so the result does not mind a shift or a scale.

    As parameters, fixed like gain and bias, they would let both through.
    """
    x, mu, sigma = rng.standard_normal((5, 8)), 0.3, 1.2
    norm = filled(LayerNorm(8, dtype=np.float64), rng)
    assert set(names(norm)) == {"g", "b"}
    y = of_one(norm.forward)(x)
    own = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)     # var divides by C
    np.testing.assert_allclose(y, own * names(norm)["g"] + names(norm)["b"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(of_one(norm.forward)(100 * x + 7), y, rtol=0, atol=1e-4)
    as_parameters = (x - mu) / np.sqrt(sigma**2 + 1e-5)
    assert np.abs((100 * x + 7 - mu) / np.sqrt(sigma**2 + 1e-5) - as_parameters).max() > 10


@says("S003 4.3", "在每个层中捕捉序列中任意位置的依赖关系")
def test_E003_14_a_layer_of_gpt_2_looks_back_only(rng):
    """By the gradients: what comes out at t moves with the tokens up to t of every layer, and with no later one."""
    model, n = small(rng), 5
    x = rng.standard_normal((1, n, 12))
    for block in model.h:
        for t in range(n):
            dy = np.zeros_like(x)
            dy[0, t] = rng.standard_normal(12)
            dx = np.abs(block.backward(dy, block.forward(x)[1])[0]).max(axis=-1)
            assert (dx[:t + 1] > 0).all() and not dx[t + 1:].any()
    assert sees(lambda x: attention(x, x, x), x[0]).all()
    np.testing.assert_array_equal(sees(of_one(model.h[0].forward), x[0]), lower(n))


@says("S003 9", "采用掩码自注意力机制、全局注意力机制等优化方法，减少计算量。",
      "采用绝对位置编码、相对位置编码等改进方法")
def test_E003_15_a_mask_alone_saves_nothing(rng):
    """Masked scores are computed like others. Only who leaves them out saves work, nearly half of a long text's.

    Nor is an absolute position an improvement on GPT-2: it is what GPT-2 has.
    """
    n, d = 768, 4
    x = rng.standard_normal((n, d))

    def masked(x):
        scores = x @ x.T / np.sqrt(d)
        scores[~lower(n)] = -np.inf
        return softmax(scores) @ x

    dense, _ = matrix_products(lambda x: attention(x, x, x), x)
    assert matrix_products(masked, x)[0] == dense == 2 * n * n * d
    q = x[None, None]
    left, _ = matrix_products(lambda q: attention_forward(q, q, q, causal=True), q)
    assert 0.5 < left / dense < 0.6
    np.testing.assert_allclose(ours(x, x, x, causal=True), masked(x), rtol=0, atol=1e-13)
    assert names(small(rng))["wpe"].shape == (8, 12)                    # one vector for each place


# ---- 5 the listing and its numbers


@says("S003 5.2", "input_ids = tf.convert_to_tensor([1, 2, 3], dtype=tf.int32)", "print(output_ids.numpy())",
      "以下是使用TensorFlow实现GPT-2模型的代码实现")
def test_E003_12_logits_are_not_ids(tokenizer, rng):
    """What the model returns is an object with logits in it, and nothing of it is an id. Nor is anything implemented:
    the whole model is one call.
    """
    model = GPT2(GPT2Config(n_embd=4, n_head=1, n_layer=1), rng)

    class Output(SimpleNamespace):
        """As transformers' ModelOutput: fields, and no numpy()."""

    loader = SimpleNamespace(from_pretrained=lambda name: lambda ids: Output(logits=model.forward([ids])[0]))
    modules = {"tensorflow": SimpleNamespace(convert_to_tensor=lambda a, dtype: np.array(a, dtype), int32=np.int32),
               "transformers": SimpleNamespace(TFAutoModelForCausalLM=loader)}
    code = listing("S003-5.2")
    with pytest.raises(AttributeError, match="numpy"):
        run(code, modules)
    made = run(code.replace("print(output_ids.numpy())", ""), modules)
    assert made["output_ids"].logits.shape == (1, 3, tokenizer.n_vocab) and made["output_ids"].logits.dtype.kind == "f"
    assert tokenizer.decode(made["input_ids"].tolist()) == '"#$'
    assert not functions(code) and len(calls(code, "from_pretrained")) == 1


@says("S003 5.4", "[[0.9922 0.0343 0.0038]", "输出结果为模型计算的下一个词的概率分布，概率最大的词即为模型的预测输出。")
def test_E003_13_three_probabilities_that_sum_to_more_than_1(tokenizer, rng):
    """1.030, 1.034 and 1.036, for three words, where there are 50257. No softmax gives that, and there is none."""
    rows = np.array([line.strip(" []").split() for line in listing("S003-5.4").splitlines()], float)
    assert rows.shape == (3, 3) and (rows.sum(axis=-1) > 1 + 3 * 0.00005).all()
    np.testing.assert_allclose(rows.sum(axis=-1), [1.0303, 1.0340, 1.0362], rtol=0, atol=1e-12)
    assert "softmax" not in listing("S003-5.2")
    model = GPT2(GPT2Config(n_embd=4, n_head=1, n_layer=1), rng)
    p = softmax_forward(model.forward([[1, 2, 3]])[0])[0][0]
    assert p.shape == (3, tokenizer.n_vocab)
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-5)
