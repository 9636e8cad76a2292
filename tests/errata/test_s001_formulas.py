"""S001, GPT-2 taken apart, sections 1 to 4: concepts and formulas; and question 4 of section 9."""

import graphlib

import numpy as np
import pytest

from gpt2np.blocks.multihead import SelfAttention
from gpt2np.blocks.transformer import PostNormBlock, PreNormBlock
from gpt2np.layers.activations import gelu, relu
from gpt2np.layers.attention import attention_forward, merge_heads, split_heads
from gpt2np.layers.cross_entropy import cross_entropy_forward
from gpt2np.layers.linear import linear_forward
from gpt2np.layers.softmax import log_softmax_forward, softmax_forward

from .arrays import attention, filled, lower, names, of_one, ours, sees, small, zero
from .conftest import PERIOD, periodic
from .reading import says


def logits(model):
    """A GPT-2 as a function of one text: ids (T,) -> logits (T, V)."""
    return lambda ids: model.forward(ids[None])[0][0]


# ---- 1 to 3 concepts


@says("S001 1.1", "使得模型能够在输入序列的任意位置建立关联，不再局限于因果连接")
def test_E001_01_gpt_2_is_causal(rng):
    """Attention alone reaches everywhere. GPT-2's logits know the tokens up to their place, and nothing of the rest."""
    assert sees(lambda x: attention(x, x, x), rng.standard_normal((8, 4))).all()
    np.testing.assert_array_equal(sees(logits(small(rng)), rng.integers(0, 11, 8)), lower(8))


@says("S001 2.1", "**自回归（Self-Regressive）**：一种训练方式")
def test_E001_02_autoregressive_is_a_factorisation(rng):
    """p(x) = prod p(x_t | x_<t): no way of training, since it holds for a model that was never trained."""
    model = small(rng, n_vocab=3)
    pairs = np.array([[0, i, j] for i in range(3) for j in range(3)])   # after a first token, 0
    log_p = log_softmax_forward(model.forward(pairs[:, :-1])[0])[0]
    chosen = np.take_along_axis(log_p, pairs[:, 1:, None], axis=-1)[..., 0]
    np.testing.assert_allclose(np.exp(chosen.sum(axis=1)), np.exp(chosen).prod(axis=1), rtol=1e-14)
    np.testing.assert_allclose(np.exp(chosen.sum(axis=1)).sum(), 1, rtol=1e-14)
    np.testing.assert_allclose(model.loss(pairs[:, :-1], pairs[:, 1:]), -chosen.mean(), rtol=1e-13)


@says("S001 2.1", "下一个词或下一个字符")
@says("S001 3.1.1", "在给定前文的情况下，预测下一个词或字符的概率")
def test_E001_03_neither_words_nor_characters_but_tokens(tokenizer):
    """A word with the space before it may be one token; four characters are nine, of which none is a character."""
    assert len(tokenizer.encode(" pen")) == 1 < len(" pen")
    text = "自注意力"
    ids = tokenizer.encode(text)
    assert (len(text), len(ids), len(text.encode())) == (4, 9, 12)
    assert not set(text) & {tokenizer.decode([i]) for i in ids} and tokenizer.decode(ids) == text


@says("S001 3.1.1", "通过伪造任务（如掩码语言模型、下一句预测等）来学习模型的语义表示和上下文理解能力")
def test_E001_04_masked_words_and_next_sentences_are_not_gpt_2s(rng):
    """Behind a causal mask, a hidden word is guessed from its left alone, and the first place knows no sentence.

    Both tasks need a model that sees both sides. What GPT-2 is trained on, the next token, is in every place at once.
    """
    hidden, n = 3, 8
    block = filled(PostNormBlock(12, 3, rng, dtype=np.float64), rng)    # BERT's kind
    bert, gpt2 = sees(of_one(block.forward), rng.standard_normal((n, 12))), sees(logits(small(rng)), np.arange(n))
    assert bert[hidden, hidden + 1:].all() and not gpt2[hidden, hidden + 1:].any()
    assert bert[0].all() and list(np.flatnonzero(gpt2[0])) == [0]
    model, text = small(rng), rng.integers(0, 11, (1, 9))
    of_each = [cross_entropy_forward(logits(model)(text[0, :t])[-1], text[0, t])[0] for t in range(1, 9)]
    np.testing.assert_allclose(model.loss(text[:, :-1], text[:, 1:]), np.mean(of_each), rtol=1e-12)


@says("S001 3.3", "自注意力机制能够并行处理序列数据，大大提高了训练和推理效率")
@says("S004 1.2", "而且能够并行化处理大规模文本数据")
def test_E001_06_E004_02_training_is_parallel_and_writing_is_not(learned):
    """One forward gives the logits of every place of a text that is there. One that is written has to wait for itself.

    To ask for all places at once, with anything in those that are not known yet, gives the first one and no other.
    """
    past, written = learned.new_past(1, 16), []
    logits = learned.next_logits([[2, 3]], past)
    while len(written) < 4:
        written.append(int(logits[0, -1].argmax()))
        logits = learned.next_logits([written[-1:]], past)              # which takes the token that it has just given
    at_once = learned.forward([[2, 3, 0, 0, 0]])[0][0, 1:].argmax(axis=-1)
    assert written == [4, 5, 6, 0] and list(at_once == written) == [True, False, False, False]

    text = periodic(1, 16)
    together, past = learned.forward(text)[0], learned.new_past(1, 16)
    one_by_one = np.concatenate([learned.next_logits(text[:, t:t + 1], past) for t in range(16)], axis=1)
    np.testing.assert_allclose(together, one_by_one, rtol=0, atol=1e-4)


# ---- 4.1, 4.2 formulas


@says("S001 4.1", r"y_i = \text{Attention}(x_1, x_2, \dots, x_n, y_1, y_2, \dots, y_{i-1})")
def test_E001_09_attention_is_not_the_model(rng):
    """It gives a vector and knows x_n at every place; a language model gives probabilities, after x_1 ... x_i-1."""
    n, d, i = 5, 4, 3
    x, y = rng.standard_normal((2, n, d))

    def as_in_the_text(x):
        rows = np.concatenate([x, y[:i]])
        return attention(x[i:i + 1], rows, rows)

    assert sees(as_in_the_text, x)[0].all()
    value = as_in_the_text(x)
    assert value.shape == (1, d) and (value < 0).any() and abs(value.sum() - 1) > 0.1
    model, ids = small(rng), rng.integers(0, 11, n)
    p = softmax_forward(logits(model)(ids))[0]
    assert (p > 0).all() and p.shape == (n, 11)
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-14)
    np.testing.assert_array_equal(sees(logits(model), ids)[i - 1], np.arange(n) < i)


@says("S001 4.2", r"y_i = \text{Attention}(x_{i-2}, x_{i-1}, x_i, y_{i-2}, y_{i-1}, y_i)")
def test_E001_10_no_window_of_three_and_no_circle(rng):
    """y_i needs y_i, so nothing can be computed first; and what it sees of the text ends two places back."""
    n = 8
    needs = {f"y{i}": [f"{name}{j}" for name in "xy" for j in range(max(0, i - 2), i + 1)] for i in range(n)}
    with pytest.raises(graphlib.CycleError):
        list(graphlib.TopologicalSorter(needs).static_order())

    def windows(x):
        return np.concatenate([attention(x[i:i + 1], x[max(0, i - 2):i + 1], x[max(0, i - 2):i + 1]) for i in range(n)])

    np.testing.assert_array_equal(sees(windows, rng.standard_normal((n, 4))), lower(n) & ~np.tri(n, k=-3, dtype=bool))
    model = small(rng)
    assert model.config.n_ctx == n
    np.testing.assert_array_equal(sees(logits(model), rng.integers(0, 11, n)), lower(n))


@says("S001 4.2", r"x_i = x_i + \text{Positional Encoding}(i)",
      "2. **多头注意力机制（Multi-Head Attention）**", "3. **位置编码（Positional Encoding）**")
def test_E001_11_positions_come_before_attention(rng):
    """Step 3 after step 2: attention has seen a set by then. Added before the first block, they matter to it."""
    x, positions, shuffle = *rng.standard_normal((2, 6, 4)), rng.permutation(6)

    def as_in_the_text(x):
        return attention(x, x, x) + positions

    def before(x):
        return ours(x + positions, x + positions, x + positions)

    for f, blind in ((as_in_the_text, True), (before, False)):
        moved = np.abs((f(x[shuffle]) - positions) - (f(x) - positions)[shuffle]).max()
        assert moved < 1e-14 if blind else moved > 0.1

    model, ids = small(rng), rng.integers(0, 11, (1, 6))
    word, place = model.wte.value[ids], model.wpe.value[:6]
    for late, same in ((False, True), (True, False)):
        h = word + (0 if late else place)
        for i, block in enumerate(model.h):
            h = block.forward(h)[0] + (place if late and i == 0 else 0)
        difference = np.abs(model.ln_f.forward(h)[0] - model.hidden(ids)[0]).max()
        assert difference == 0 if same else difference > 0.1


@says("S001 4.2", r"\text{Multi-Head Attention}(Q, K, V) = \text{Concat}(\text{Attention}(Q_k, K_k, V_k))W^O")
def test_E001_12_each_head_needs_projections(rng):
    """Heads cut from Q = K = V = x: as much as i looks at j, j looks at i, and no place scores above the two itself.

    The projections, 3 C^2 numbers, are what makes a query something else than a key.
    """
    T, C, H = 5, 12, 3
    x = rng.standard_normal((1, T, C))
    heads = split_heads(x, H)
    scores = heads @ heads.swapaxes(2, 3)
    np.testing.assert_allclose(scores, scores.swapaxes(2, 3), rtol=0, atol=1e-14)
    own = np.diagonal(scores, axis1=2, axis2=3)
    assert (scores <= np.maximum(own[..., None], own[..., None, :]) + 1e-14).all()
    joined = np.concatenate([attention(head, head, head) for head in heads[0]], axis=-1)
    np.testing.assert_allclose(merge_heads(attention_forward(heads, heads, heads)[0])[0], joined, rtol=0, atol=1e-14)

    module = filled(SelfAttention(C, H, rng, causal=False, dtype=np.float64), rng)
    assert names(module)["c_attn.w"].shape == (C, 3 * C)
    q, k, v = np.split(linear_forward(x, *(names(module)[f"c_attn.{p}"] for p in "wb"))[0], 3, axis=-1)
    scores = split_heads(q, H) @ split_heads(k, H).swapaxes(2, 3)
    assert np.abs(scores - scores.swapaxes(2, 3)).max() > 1
    expected = merge_heads(attention_forward(*(split_heads(a, H) for a in (q, k, v)))[0])
    expected = linear_forward(expected, names(module)["c_proj.w"], names(module)["c_proj.b"])[0]
    np.testing.assert_allclose(module.forward(x)[0], expected, rtol=0, atol=1e-12)


@says("S001 4.2", r"y_i = \text{FeedForward}(\text{Multi-Head Attention}(Q, K, V)) + \text{Attention}(Q, K, V)")
@says("S001 4.3", r"y_i = \text{FeedForward}(\text{Multi-Head Attention}(Q, K, V)) + \text{Attention}(Q, K, V)")
def test_E001_13_a_residual_adds_the_input_of_the_sub_layer(rng):
    """What is added here is attention once more, a mean over the tokens: the token itself is not passed on."""
    x = rng.standard_normal((5, 8))
    block = filled(PreNormBlock(8, 2, rng, dtype=np.float64), rng)
    zero(block.attn.c_proj, block.mlp.c_proj)

    def as_in_the_text(x):
        return block.mlp.forward(block.attn.forward(x[None])[0])[0][0] + attention(x, x, x)

    assert np.abs(as_in_the_text(x) - x).max() > 0.1
    np.testing.assert_array_equal(of_one(block.forward)(x), x)
    block = filled(block, rng)                                          # a = x + MHA(LN x), y = a + FFN(LN a)
    a = x + of_one(block.attn.forward)(block.ln_1.forward(x)[0])
    y = a + of_one(block.mlp.forward)(block.ln_2.forward(a)[0])
    np.testing.assert_allclose(of_one(block.forward)(x), y, rtol=0, atol=1e-12)


@says("S001 4.2", r"其中 $\text{FeedForward}$ 表示前向传播网络，通常为两个线性变换和ReLU激活函数。")
def test_E001_14_gpt_2s_feed_forward_network_has_gelu(rng):
    """前馈网络, a layer, and not 前向传播, the forward pass. With ReLU, the same weights give something else."""
    x = rng.standard_normal((5, 8))
    mlp = filled(PreNormBlock(8, 2, rng, dtype=np.float64).mlp, rng)
    w = names(mlp)
    as_in_the_text, right = (
        activation(x @ w["c_fc.w"] + w["c_fc.b"]) @ w["c_proj.w"] + w["c_proj.b"] for activation in (relu, gelu))
    np.testing.assert_allclose(of_one(mlp.forward)(x), right, rtol=0, atol=1e-12)
    assert np.abs(as_in_the_text - right).max() > 0.1


@says("S001 4.3", r"x_i = [\text{Embedding}(I), \text{Embedding}(have), \text{Embedding}(a)], "
                  r"\quad y_i = [\text{Embedding}(I), \text{Embedding}(have), \text{Embedding}(pen)]",
      r'通过上述计算，模型预测出 "I have a pen."')
def test_E001_15_the_targets_are_the_text_one_place_on(tokenizer):
    """"a" and "." are lost from y, and two of its three places ask for a copy of x, not for what comes next."""
    x, y = ["I", "have", "a"], ["I", "have", "pen"]
    ids = tokenizer.encode("I have a pen.")
    words = [tokenizer.decode([i]) for i in ids]
    assert set(word.strip() for word in words) - set(y) == {"a", "."}
    assert [a == b for a, b in zip(x, y)] == [True, True, False]
    assert words == ["I", " have", " a", " pen", "."] and ids == [40, 423, 257, 3112, 13]
    tokens, targets = words[:-1], words[1:]
    assert dict(zip(tokens, targets)) == {"I": " have", " have": " a", " a": " pen", " pen": "."}


# ---- 9 questions


@says("S001 9", "**分布式训练**：使用多台机器并行训练，加速模型收敛。")
def test_E001_34_more_machines_do_not_converge_in_fewer_steps(rng):
    """Two machines with half the batch each take, step for step, the way of one with the whole: only sooner."""
    alone = small(rng)
    replicas = [alone.replica(), alone.replica()]
    for replica in replicas:
        for _, p in replica.named_parameters():
            p.value = p.value.copy()
    for _ in range(3):
        tokens, targets = rng.integers(0, 11, (2, 4, 8))
        alone.loss_and_gradients(tokens, targets)
        for i, replica in enumerate(replicas):
            half = slice(2 * i, 2 * i + 2)
            replica.loss_and_gradients(tokens[half], targets[half])
        for (path, p), *both in zip(alone.named_parameters(), *(r.named_parameters() for r in replicas)):
            mean = sum(q.grad for _, q in both) / 2
            np.testing.assert_allclose(mean, p.grad, rtol=0, atol=1e-11, err_msg=path)
            p.value -= 0.01 * p.grad
            for _, q in both:
                q.value -= 0.01 * mean
                np.testing.assert_allclose(q.value, p.value, rtol=0, atol=1e-11, err_msg=path)
        for model in (alone, *replicas):
            model.zero_grad()


def test_the_learned_text_is_known_by_heart(learned):
    """What several of these tests stand on."""
    text = periodic(PERIOD, 16)
    assert (learned.forward(text[:, :-1])[0].argmax(axis=-1) == text[:, 1:]).all()
