"""S002, the GPT series, sections 1 to 4: concepts and formulas."""

import graphlib
from collections import Counter

import numpy as np
import pytest

from gpt2np.blocks.multihead import SelfAttention
from gpt2np.blocks.transformer import DecoderBlock, PreNormBlock
from gpt2np.layers.attention import attention_forward, merge_heads, split_heads
from gpt2np.models.config import SIZES

from .arrays import attention, filled, matrix_products, names, of_one, ours, sees, small, softmax, zero
from .reading import edges, listing, says

# ---- 1 to 3 concepts


@says("S002 1.2", "使得模型能够在忽略序列顺序的情况下，同时考虑整个输入序列的信息")
@says("S002 3.1", "使得模型能够在忽略序列顺序的情况下，同时考虑整个输入序列的信息")
def test_E002_01_to_ignore_the_order_is_no_virtue(rng):
    """Attention gives the same for "dog bites man" and "man bites dog". That is the problem positions are there for."""
    query, words, order = rng.standard_normal((1, 4)), rng.standard_normal((3, 4)), [2, 1, 0]
    np.testing.assert_allclose(attention(query, words[order], words[order]), attention(query, words, words), rtol=1e-13)
    model = small(rng)
    one, other = (model.forward([[*ids, 7]])[0][0, -1] for ids in ([3, 4, 5], [5, 4, 3]))
    assert np.abs(one - other).max() > 0.1


@says("S002 1.2", "引入自注意力机制，使得模型能够同时关注整个序列的信息，减少计算复杂度。")
@says("S002 2.2.3", "自注意力机制，减少计算复杂度。", "计算复杂度高，需要大量的计算资源。")
@says("S004 2.1", "用于捕捉序列中的关键信息，减少冗余计算")
def test_E002_02_E004_03_attention_makes_more_work_and_less_waiting(rng):
    """A recurrent network multiplies 2 n d^2 numbers, one step after the other. Attention has 4 n d^2 for its four
    matrices and 2 n^2 d on top, in six products whatever n is.
    """
    d = 8
    w_q, w_k, w_v, w_o, w_x, w_h = rng.standard_normal((6, d, d)) / 8

    def recurrent(x):
        h, states = 0 * x[:1], []
        for row in x:
            h = np.tanh(row[None] @ w_x + h @ w_h)
            states.append(h)
        return states

    def attends(x):
        return attention(x @ w_q, x @ w_k, x @ w_v) @ w_o

    for n in (16, 32, 64):
        x = rng.standard_normal((n, d))
        assert matrix_products(recurrent, x) == (2 * n * d * d, 2 * n)
        assert matrix_products(attends, x) == (4 * n * d * d + 2 * n * n * d, 6)
        q = rng.standard_normal((1, 1, n, d))
        assert matrix_products(attention_forward, q, q, q) == (2 * n * n * d, 2)


@says("S002 2.2.2", "GPT系列模型通常采用编码器-解码器的结构")
def test_E002_04_gpt_has_no_encoder(rng):
    """The text's chart leads from an encoder to a decoder. GPT-2 has neither a memory nor weights to read one with."""
    arrows, label = edges(listing("S002-2.2.2"))
    assert list(label.values()).index("编码器") < list(label.values()).index("解码器")
    model, decoder = names(small(rng)), names(DecoderBlock(12, 3, rng))
    assert not [path for path in model if "cross" in path] and [path for path in decoder if "cross" in path]
    C = 12
    of_cross_attention = sum(w.size for path, w in decoder.items() if path.startswith(("cross_attn", "ln_3")))
    assert of_cross_attention == 4 * C * C + 4 * C + 2 * C
    config = SIZES["124M"]                                              # GPT-2's known size leaves no room for it
    C, L = config.n_embd, config.n_layer
    assert (config.n_vocab + config.n_ctx) * C + L * (12 * C * C + 13 * C) + 2 * C == 124_439_808
    assert small(rng).config.n_parameters == sum(w.size for w in model.values())


@says("S002 2.1", "残差连接是深度神经网络中常用的技术，通过将输入和输出相加，使得模型能够更好地学习长距离依赖关系。")
def test_E002_05_residuals_reach_down_and_attention_reaches_far(rng):
    """A block without attention has residuals, and no token sees another. What they keep is the gradient, in depth."""
    x = rng.standard_normal((5, 8))
    block = filled(PreNormBlock(8, 2, rng, dtype=np.float64), rng)
    zero(block.attn.c_proj)
    np.testing.assert_array_equal(sees(of_one(block.forward), x), np.eye(5))
    attention_alone = filled(SelfAttention(8, 2, rng, causal=False, dtype=np.float64), rng)
    assert sees(of_one(attention_alone.forward), x).all()

    blocks = [PreNormBlock(8, 2, rng, dtype=np.float64) for _ in range(12)]
    down = {"with": rng.standard_normal((1, 5, 8)), "without": rng.standard_normal((1, 5, 8))}
    before = {name: np.linalg.norm(dy) for name, dy in down.items()}
    for block in blocks:
        _, cache = block.forward(x[None])
        down["with"] = block.backward(down["with"], cache)
        h, c_ln = block.ln_2.forward(x[None])
        _, c_mlp = block.mlp.forward(h)
        down["without"] = block.ln_2.backward(block.mlp.backward(down["without"], c_mlp), c_ln)
    assert np.linalg.norm(down["with"]) > before["with"] / 2
    assert np.linalg.norm(down["without"]) < before["without"] * 1e-9


@says("S002 2.1", "XX --> AA", "YY --> BB", "ZZ --> CC")
def test_E002_06_a_chart_that_goes_in_circles():
    """46 nodes with one name, 多头头 ("multi-head head"), and 26 of them in a ring: nothing could be computed first."""
    arrows, label = edges(listing("S002-2.1"))
    assert Counter(label.values()).most_common(1) == [("多头头", 46)]
    sorter = graphlib.TopologicalSorter()
    for a, b in arrows:
        sorter.add(b, a)
    with pytest.raises(graphlib.CycleError) as error:
        sorter.prepare()
    ring = error.value.args[1]
    assert len(set(ring)) == 26 and {label[node] for node in ring} == {"多头头"}


@says("S002 2.2.1", "由多个自注意力层和残差连接构成")
def test_E002_11_the_feed_forward_network_is_missing(rng):
    """No step of the chart is an MLP, and none reads the source in the decoder. It is two thirds of every block."""
    _, label = edges(listing("S002-2.2.1"))
    assert not [word for word in label.values() if "前馈" in word or "交叉" in word]
    weights = {path: w.size for path, w in names(PreNormBlock(12, 3, rng)).items() if path.endswith(".w")}
    assert sum(n for path, n in weights.items() if path.startswith("mlp")) * 3 == sum(weights.values()) * 2
    block = filled(DecoderBlock(8, 2, rng, dtype=np.float64), rng)
    x, memory = rng.standard_normal((2, 1, 5, 8))
    whole = block.forward(x, memory)[0]
    for child in (block.mlp, block.cross_attn):
        zero(child.c_proj)
        assert np.abs(block.forward(x, memory)[0] - whole).max() > 0.1


# ---- 4 formulas


@says("S002 4.2", r"\text{Multi-Head Attention}(Q, K, V) = \sum_{i=1}^{m}\text{Attention}(QW_i, KW_i, VW_i)",
      "生成多个注意力结果，并将它们拼接在一起")
def test_E002_07_heads_are_joined_not_added(rng):
    """The sum is what W^O would be with identities in it, one for each head: the one matrix that mixes nothing.

    The words say "joined", the formula adds. Joined heads times W^O are the sum of each head times its own rows.
    """
    T, D, m = 5, 4, 3
    Q, K, V = rng.standard_normal((3, T, m * D))
    W, w_o = rng.standard_normal((m, m * D, D)), rng.standard_normal((m * D, m * D))
    heads = np.array([attention(Q @ w, K @ w, V @ w) for w in W])
    as_in_the_formula, joined = heads.sum(axis=0), np.concatenate(list(heads), axis=1)
    assert as_in_the_formula.shape == (T, D) != joined.shape
    np.testing.assert_allclose(as_in_the_formula, joined @ np.tile(np.eye(D), (m, 1)), rtol=0, atol=1e-14)
    np.testing.assert_array_equal(merge_heads(heads[None])[0], joined)
    np.testing.assert_array_equal(split_heads(joined[None], m)[0], heads)
    by_rows = sum(head @ rows for head, rows in zip(heads, np.split(w_o, m)))
    np.testing.assert_allclose(joined @ w_o, by_rows, rtol=0, atol=1e-13)
    assert np.abs(np.tile(as_in_the_formula, m) - joined @ w_o).max() > 1


@says("S002 4.2", r"\text{Attention}(QW_i, KW_i, VW_i)", "其中 $W_i$ 表示第 $i$ 个头的权重矩阵")
def test_E002_08_one_matrix_for_q_k_v_makes_the_scores_symmetric(rng):
    """In self-attention, where Q = K = V = X, i would look at j as j does at i, before the softmax.

    If Q and K were projections already, each by a matrix of its own, one more W_i for both would do no harm.
    """
    x, w, w_k = rng.standard_normal((5, 4)), *rng.standard_normal((2, 4, 4))
    same, own = (x @ w) @ (x @ w).T, (x @ w) @ (x @ w_k).T
    projected = (x @ w @ w_k) @ (x @ w_k @ w_k).T
    assert np.abs(projected - projected.T).max() > 1
    np.testing.assert_allclose(same, same.T, rtol=0, atol=1e-14)
    assert np.linalg.eigvalsh(same).min() > -1e-13 and np.abs(own - own.T).max() > 1
    module = filled(SelfAttention(4, 1, rng, causal=False, dtype=np.float64), rng)
    w_q, w_k, w_v = np.split(names(module)["c_attn.w"], 3, axis=1)      # three in ours
    assert np.abs(w_q - w_k).max() > 0.1 and np.abs(w_k - w_v).max() > 0.1


@says("S002 4.1", "生成注意力权重 $Q$、$K$ 和 $V$")
def test_E002_09_q_k_and_v_are_no_weights(rng):
    """Weights are n x n, positive, and sum to 1 in every row: softmax(Q K' / sqrt(d)). Q, K and V are none of that."""
    x, w = rng.standard_normal((5, 8)), rng.standard_normal((3, 8, 8))
    q, k, v = x @ w
    for a in (q, k, v):
        assert a.shape != (5, 5) and (a < 0).any() and np.abs(a.sum(axis=-1) - 1).min() > 0.01
    p = softmax(q @ k.T / np.sqrt(8))
    assert p.shape == (5, 5) and (p > 0).all()
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-14)
    np.testing.assert_allclose(ours(q, k, np.eye(5, 8))[:, :5], p, rtol=0, atol=1e-14)   # V = 1 shows the weights


@says("S002 4.3", "将输入向量 $X$ 分别乘以权重矩阵 $Q$、$K$ 和 $V$，生成查询向量 $Q$、键向量 $K$ 和值向量 $V$。",
      "将注意力权重与值向量 $V$ 进行线性变换")
def test_E002_10_a_weighted_mean_over_the_positions(rng):
    """Q = X Q has one Q at most if the matrix and the vectors are the same thing. And V is not transformed: each column
    of the result lies between the least and the largest number of that column, as a mean does.
    """
    X, Q = rng.standard_normal((5, 8)), rng.standard_normal((8, 8))
    assert (X @ Q).shape != Q.shape
    q, k, v = rng.standard_normal((3, 5, 8))
    y = ours(q, k, v)
    assert (v.min(axis=0) < y).all() and (y < v.max(axis=0)).all()
    transformed = v @ rng.standard_normal((8, 8))
    assert (transformed > v.max(axis=0)).any() or (transformed < v.min(axis=0)).any()
    np.testing.assert_allclose(ours(q, k, v + 3), y + 3, rtol=0, atol=1e-13)             # so is a mean moved
