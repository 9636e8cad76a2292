"""S000, the chapter, sections 1 to 4.3: concepts, steps and formulas."""

import numpy as np
import pytest

from gpt2np.blocks.feedforward import MLP
from gpt2np.blocks.multihead import CrossAttention, SelfAttention
from gpt2np.blocks.transformer import DecoderBlock, PostNormBlock, PreNormBlock
from gpt2np.layers.activations import gelu, gelu_erf, relu
from gpt2np.layers.embedding import embedding_backward, embedding_forward
from gpt2np.layers.layernorm import layernorm_forward
from gpt2np.layers.linear import linear_forward
from gpt2np.layers.lm_head import lm_head_backward, lm_head_forward
from gpt2np.layers.positional import sinusoidal_positions
from gpt2np.layers.softmax import softmax_forward
from gpt2np.models.config import GPT2Config

from .arrays import attention, filled, lower, names, of_one, ours, sees, small, softmax, zero
from .reading import calls, listing, says

STEP_1 = "先通过嵌入层（Embedding Layer）将输入序列转换为向量表示"
LINEAR = r"\mathbf{O} = \text{Linear}(\mathbf{H}) + \mathbf{b}_o \in \mathbb{R}^{n \times d}"
GELU = r"\mathbf{O} = \text{GELU}(\mathbf{O}) \in \mathbb{R}^{n \times d}"
W_O = r"\mathbf{O} = \mathbf{W}_o \mathbf{O} + \mathbf{b}_o \in \mathbb{R}^{n \times d}"
H = r"\mathbf{H} = \text{Softmax}(\frac{\mathbf{Q} \mathbf{K}^T}{\sqrt{d_k}}) \mathbf{V} \in \mathbb{R}^{n \times d}"
W_X = r"\mathbf{X} = \mathbf{W}_x \mathbf{X} + \mathbf{b}_x \in \mathbb{R}^{n \times d}"


# ---- 1, 3 concepts and steps


@says("S000 1.2", "使得模型能够更好地处理不同长度的输入序列")
@says("S000 2.1", "使得模型能够更好地处理不同长度的输入序列")
def test_E000_02_no_more_than_n_ctx_tokens(rng):
    """The formula takes any number of rows; a GPT-2 has as many positions as it has learned, and no more."""
    for n in (1, 9, 90):
        assert attention(*rng.standard_normal((3, n, 4))).shape == (n, 4)
    model = small(rng)
    n_ctx = model.config.n_ctx
    for T in range(1, n_ctx + 1):
        assert model.forward(np.zeros((2, T), int))[0].shape == (2, T, 11)
    with pytest.raises(ValueError, match=f"T from 1 to {n_ctx}"):
        model.forward(np.zeros((2, n_ctx + 1), int))
    assert len(model.wpe.value) == n_ctx and GPT2Config().n_ctx == 1024


@says("S000 3.2", "将输入序列分成多个子序列，每个子序列为一个Transformer层。")
def test_E000_03_every_layer_sees_the_whole_sequence(rng):
    """A piece of the text for each layer: then no token sees one of another piece."""
    layers = [filled(PostNormBlock(8, 2, rng, dtype=np.float64), rng) for _ in range(3)]
    x = rng.standard_normal((6, 8))

    def as_in_the_text(x):
        return np.concatenate([of_one(layer.forward)(piece) for layer, piece in zip(layers, np.split(x, 3))])

    def stacked(x):
        for layer in layers:
            x = of_one(layer.forward)(x)
        return x

    np.testing.assert_array_equal(sees(as_in_the_text, x), np.kron(np.eye(3), np.ones((2, 2))))
    assert sees(stacked, x).all()


@says("S000 3.2", STEP_1)
@says("S000 4.1", "每个层由嵌入层、自注意力层和前馈神经网络组成")
def test_E000_04_one_embedding_at_the_bottom(rng):
    """An embedding in every layer: the second would have to look up vectors."""
    table = rng.standard_normal((11, 8))
    layer = filled(PostNormBlock(8, 2, rng, dtype=np.float64), rng)

    def as_in_the_text(x):
        return layer.forward(embedding_forward(x, table)[0])[0]

    first = as_in_the_text(np.array([[1, 2, 3]]))
    with pytest.raises(ValueError, match="expected integers, got float64"):
        as_in_the_text(first)
    tables = [path for path, w in names(small(rng)).items() if len(w) in (11, 8) and w.ndim == 2]
    assert tables == ["wte", "wpe"]


@says("S000 3.2", "**编码器（Encoder）：**", "**解码器（Decoder）：**")
def test_E000_05_a_decoder_is_no_second_encoder(rng):
    """The decoder's first five steps are the encoder's, word for word: it reads no source, and sees its own answer."""
    encoder, decoder = listing("S000-3.2").split("**解码器（Decoder）：**\n")
    assert decoder.splitlines()[:5] == encoder.splitlines()[1:6]

    target, memory = rng.standard_normal((2, 5, 8))
    as_in_the_text = filled(PostNormBlock(8, 2, rng, dtype=np.float64), rng)
    assert sees(of_one(as_in_the_text.forward), target).all()
    block = filled(DecoderBlock(8, 2, rng, dtype=np.float64), rng)
    np.testing.assert_array_equal(sees(of_one(block.forward, memory[None]), target), lower(5))
    assert sees(lambda memory: block.forward(target[None], memory[None])[0][0], memory).all()


@says("S000 4.2", H)
def test_E000_06_without_positions_attention_sees_a_set(rng):
    """Embedding, attention, MLP and no position: shuffled tokens give shuffled outputs. With positions they do not."""
    x, shuffle = rng.standard_normal((6, 8)), rng.permutation(6)
    w_q, w_k, w_v = rng.standard_normal((3, 8, 8))

    def as_in_the_text(x):
        return gelu(attention(x @ w_q, x @ w_k, x @ w_v))

    block = filled(PostNormBlock(8, 2, rng, dtype=np.float64), rng)
    for f in (as_in_the_text, of_one(block.forward)):
        np.testing.assert_allclose(f(x[shuffle]), f(x)[shuffle], rtol=0, atol=1e-12)
        for positions in (small(rng, n_embd=8, n_head=2).wpe.value[:6], sinusoidal_positions(6, 8, np.float64)):
            assert np.abs(f(x[shuffle] + positions) - f(x + positions)[shuffle]).max() > 0.1


@says("S000 3.2", "将新的向量表示输入到前馈神经网络（Feed-Forward Network），得到最终的输出向量。")
def test_E000_07_the_residual_carries_what_the_layers_leave_alone(rng):
    """Attention, then the MLP, and nothing around them: where these give 0, the token is lost. Ours passes it on."""
    x = rng.standard_normal((1, 5, 8))
    block = filled(PreNormBlock(8, 2, rng, dtype=np.float64), rng)
    zero(block.attn.c_proj, block.mlp.c_proj)
    as_in_the_text = block.mlp.forward(block.attn.forward(x)[0])[0]
    assert not as_in_the_text.any()
    np.testing.assert_array_equal(block.forward(x)[0], x)


@says("S000 3.3", "需要大量标注数据：Transformer和GPT-2模型通常需要大量标注数据进行训练，否则容易过拟合。")
def test_E000_08_pre_training_needs_no_labels(rng):
    """The targets are the text itself, one place on: that is all the loss is given, and it falls."""
    text = np.frombuffer(b"to be, or not to be, that is the question", np.uint8)[None].astype(int)
    tokens, targets = text[:, :-1], text[:, 1:]
    np.testing.assert_array_equal(tokens[:, 1:], targets[:, :-1])
    model = small(rng, n_vocab=128, n_ctx=64)
    losses = []
    for _ in range(3):
        losses.append(model.loss_and_gradients(tokens, targets))
        for _, p in model.named_parameters():
            p.value -= 0.01 * p.grad
        model.zero_grad()
    assert losses[0] > losses[1] > losses[2]


# ---- 4.1, 4.2 formulas


@says("S000 4.1", r"输入序列为 $\mathbf{X}=[x_1, x_2, ..., x_n]$，输出序列为 $\mathbf{Y}=[y_1, y_2, ..., y_n]$")
@says("S000 4.3", r"\mathbf{Y} = \text{Softmax}(\frac{\mathbf{H} \mathbf{K}^T}{\sqrt{d_k}}) \mathbf{V}")
def test_E000_09_a_translation_has_its_own_length(rng):
    """By the text's formula the output is as long as the source; cross-attention gives a row for each target token."""
    source, target = rng.standard_normal((7, 8)), rng.standard_normal((5, 8))
    h = attention(source, source, source)
    assert attention(h, source, source).shape == source.shape
    block = filled(DecoderBlock(8, 2, rng, dtype=np.float64), rng)
    assert block.forward(target[None], source[None])[0][0].shape == target.shape


@says("S000 4.2", W_X)
def test_E000_10_an_embedding_is_a_row_of_a_table(rng):
    """As an equation for X, X = W X + b has one solution, the same for every text; and W, on the left, mixes tokens."""
    n, V, d = 4, 9, 6
    w_x, b_x = rng.standard_normal((n, n)), rng.standard_normal(d)
    X = np.linalg.solve(np.eye(n) - w_x, np.tile(b_x, (n, 1)))          # no token in it
    np.testing.assert_allclose(w_x @ X + b_x, X, rtol=0, atol=1e-12)
    ids = np.array([3, 0, 3, 8])
    onehot = np.eye(V)[ids]
    assert (w_x @ onehot).shape == (n, V) != (n, d)
    assert sees(lambda x: w_x @ x, rng.standard_normal((n, V))).all()

    w_e, dy = rng.standard_normal((V, d)), rng.standard_normal((n, d))
    y, cache = embedding_forward(ids, w_e)
    np.testing.assert_array_equal(y, onehot @ w_e)
    np.testing.assert_allclose(embedding_backward(dy, cache), onehot.T @ dy, rtol=0, atol=1e-15)


@says("S000 4.2", r"\mathbf{Q} = \mathbf{X} \mathbf{W}_q \in \mathbb{R}^{n \times d_q}",
      r"\mathbf{K} = \mathbf{X} \mathbf{W}_k \in \mathbb{R}^{n \times d_k}", H)
def test_E000_11_widths_of_attention(rng):
    """The product needs d_q = d_k; the result is as wide as V, not d; the matrix that would make it d is missing."""
    n, d, d_v = 5, 8, 3
    x = rng.standard_normal((n, d))
    q, k, v = x @ rng.standard_normal((d, 4)), x @ rng.standard_normal((d, 6)), x @ rng.standard_normal((d, d_v))
    with pytest.raises(ValueError):
        attention(q, k, v)
    with pytest.raises(ValueError, match="k: expected shape"):
        ours(q, k, v)
    assert attention(q, q, v).shape == (n, d_v) != (n, d)
    module = SelfAttention(d, 2, rng, causal=True, dtype=np.float64)
    assert module.forward(x[None])[0].shape == (1, n, d)
    assert names(module)["c_proj.w"].shape == (d, d)


@says("S000 4.2", H)
def test_E000_12_a_causal_mask_is_missing(rng):
    """What is called GPT-2 sees the words that it is to predict."""
    x = rng.standard_normal((5, 8))
    w_q, w_k, w_v = rng.standard_normal((3, 8, 8))
    assert sees(lambda x: attention(x @ w_q, x @ w_k, x @ w_v), x).all()
    np.testing.assert_array_equal(sees(lambda x: ours(x @ w_q, x @ w_k, x @ w_v, causal=True), x), lower(5))
    M = np.where(lower(5), 0, -np.inf)
    expected = softmax(x @ w_q @ (x @ w_k).T / np.sqrt(8) + M) @ (x @ w_v)
    np.testing.assert_allclose(ours(x @ w_q, x @ w_k, x @ w_v, causal=True), expected, rtol=0, atol=1e-12)


@says("S000 4.2", LINEAR, GELU, W_O)
def test_E000_13_a_feed_forward_network_acts_on_each_token(rng):
    """One bias too many, one b_o for two widths; and W_o, on the left, mixes tokens instead of features."""
    n, d = 4, 6
    h, w, b, b_o = (rng.standard_normal(s) for s in ((n, d), (d, d), d, d))
    linear = linear_forward(h, w, b)[0]
    np.testing.assert_allclose(linear + b_o, linear_forward(h, w, b + b_o)[0], rtol=0, atol=1e-14)
    wide = linear_forward(h, rng.standard_normal((d, 4 * d)), rng.standard_normal(4 * d))[0]
    with pytest.raises(ValueError):
        wide + b_o                                                      # the b_o of the second layer has d numbers
    with pytest.raises(ValueError):
        rng.standard_normal((d, d)) @ gelu(linear)                      # (d, d) (n, d)
    w_left = rng.standard_normal((n, n))
    assert sees(lambda h: w_left @ gelu(linear_forward(h, w, b)[0] + b_o) + b_o, h).all()
    mlp = filled(MLP(d, rng, dtype=np.float64), rng)
    np.testing.assert_array_equal(sees(of_one(mlp.forward), h), np.eye(n))
    assert {path: a.shape for path, a in names(mlp).items()} == {
        "c_fc.w": (d, 4 * d), "c_fc.b": (4 * d,), "c_proj.w": (4 * d, d), "c_proj.b": (d,)}


@says("S000 4.2", r"\mathbf{X} = \mathbf{X} \oplus \mathbf{O} \in \mathbb{R}^{n \times d}",
      r"\mathbf{X} = \text{LayerNorm}(\mathbf{X}) \in \mathbb{R}^{n \times d}",
      r"\mathbf{X} = \mathbf{X} \mathbf{W}_l + \mathbf{b}_l \in \mathbb{R}^{n \times d}")
def test_E000_14_attention_has_a_residual_of_its_own(rng):
    """O is added to the layer's input: where the MLP gives 0, attention is lost. And nobody has a W_l there.

    Read as a direct sum, X + O would have 2d columns; it is taken for a sum here.
    """
    n, d = 5, 8
    x = rng.standard_normal((n, d))
    block = filled(PreNormBlock(d, 2, rng, dtype=np.float64), rng)
    zero(block.mlp.c_proj)
    w_l, b_l = rng.standard_normal((d, d)), rng.standard_normal(d)

    def as_in_the_text(x):
        h = block.attn.forward(x[None])[0]
        o = block.mlp.forward(h)[0][0]
        return linear_forward(layernorm_forward(x + o, np.ones(d), np.zeros(d))[0], w_l, b_l)[0]

    np.testing.assert_array_equal(sees(as_in_the_text, x), np.eye(n))
    np.testing.assert_array_equal(sees(of_one(block.forward), x), lower(n))
    assert np.concatenate([x, x], axis=1).shape == (n, 2 * d)
    square = [path for path, w in names(block).items() if w.shape == (d, d)]
    assert square == ["attn.c_proj.w"]                                  # W^O, inside the sub-layer


@says("S000 4.2", "**Transformer模型：**", "**GPT-2模型：**")
def test_E000_15_what_gpt_2_does_otherwise(rng):
    """In the text the formulas of both are the same, but for what comes last. In truth nearly every one differs."""
    original, gpt_2 = (listing(f"S000-4.2-{model}").splitlines() for model in ("Transformer", "GPT-2"))
    assert original[:-3] == gpt_2[:-1]

    x = rng.standard_normal((5, 8))
    encoder = filled(PostNormBlock(8, 2, rng, dtype=np.float64), rng)
    decoder = filled(DecoderBlock(8, 2, rng, dtype=np.float64), rng)
    block, model = filled(PreNormBlock(8, 2, rng, dtype=np.float64), rng), small(rng)
    assert sees(of_one(encoder.forward), x).all() and not sees(of_one(block.forward), x).all()          # the mask
    assert any("cross_attn" in path for path in names(decoder))                                         # what it reads
    assert not any("cross_attn" in path for path in names(model))
    for module in (encoder, block):                                                                     # the norm
        zero(module.attn.c_proj, module.mlp.c_proj)
    for path, w in names(encoder).items():
        if path.startswith("ln"):
            w[...] = path.endswith("g")
    after, before = of_one(encoder.forward)(x), of_one(block.forward)(x)
    np.testing.assert_allclose(after.mean(axis=-1), 0, atol=1e-14)
    assert np.abs(before.mean(axis=-1)).max() > 0.1
    assert [path for path in names(model) if "." in path and not path.startswith("h.")] == ["ln_f.g", "ln_f.b"]
    for module, activation in ((encoder, relu), (block, gelu)):                                         # the activation
        mlp = filled(module.mlp, rng)
        w = names(mlp)
        expected = activation(x @ w["c_fc.w"] + w["c_fc.b"]) @ w["c_proj.w"] + w["c_proj.b"]
        np.testing.assert_allclose(of_one(mlp.forward)(x), expected, rtol=0, atol=1e-12)
    assert "wpe" in names(model)                                        # positions are learned; the original's are not


@says("S000 4.2", GELU)
@says("S000 4.4", "nn.ReLU(),")
def test_E000_16_gelu_and_relu_have_changed_places(rng):
    """The formulas of the original Transformer have GELU, the code that is to be GPT-2 has ReLU: it is the reverse."""
    assert GELU in listing("S000-4.2-Transformer").splitlines() and len(calls(listing("S000-4.4"), "ReLU")) == 1
    x = np.linspace(-6, 6, 100001)[None]
    assert round(np.abs(gelu(x) - relu(x)).max(), 3) == 0.170
    assert 4.73e-4 < np.abs(gelu(x) - gelu_erf(x)).max() < 4.74e-4      # GPT-2's is the tanh form
    exact = x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    for block, expected in ((PreNormBlock, exact), (PostNormBlock, np.maximum(x, 0)), (DecoderBlock, np.maximum(x, 0))):
        activation = block(8, 2, rng).mlp.activation
        np.testing.assert_allclose(activation.inference(x), expected, rtol=0, atol=1e-14)


@says("S000 4.2", r"\mathbf{Y} = \mathbf{O} \mathbf{W}_y + \mathbf{b}_y \in \mathbb{R}^{n \times d}")
def test_E000_17_the_head_scores_the_vocabulary(rng):
    """n x d numbers name no word. The logits are n x V, by the embedding once more: its gradient has two parts."""
    model, ids = small(rng), np.array([[3, 1, 4, 1, 5]])
    V, d = model.wte.value.shape
    o, w_y, b_y = rng.standard_normal((5, d)), rng.standard_normal((d, d)), rng.standard_normal(d)
    assert (o @ w_y + b_y).shape == (5, d) != (5, V)
    logits, cache = model.forward(ids)
    assert logits.shape == (1, 5, V)
    np.testing.assert_allclose(softmax_forward(logits)[0].sum(axis=-1), 1, rtol=1e-14)

    x, c_hidden = model.hidden(ids)
    np.testing.assert_allclose(logits, x @ model.wte.value.T, rtol=0, atol=1e-12)                       # no bias
    dlogits = rng.standard_normal(logits.shape)
    model.backward(dlogits, cache)
    both = model.wte.grad
    model.zero_grad()
    dx, of_the_head = lm_head_backward(dlogits, lm_head_forward(x, model.wte.value)[1])
    model.hidden_backward(dx, c_hidden)
    of_the_embedding = model.wte.grad
    np.testing.assert_allclose(both, of_the_head + of_the_embedding, rtol=0, atol=1e-12)
    assert np.abs(of_the_head).max() > 0.1 and np.abs(of_the_embedding).max() > 0.1


# ---- 4.3 translation


@says("S000 4.3", r"\mathbf{Y} = \text{Softmax}(\frac{\mathbf{H} \mathbf{K}^T}{\sqrt{d_k}}) \mathbf{V}")
def test_E000_18_the_target_never_enters(rng):
    """Y is overwritten by a formula without Y in it: the words translated so far change nothing."""
    source, target = rng.standard_normal((2, 5, 8))
    w_q, w_k, w_v, w_y = rng.standard_normal((4, 8, 8))

    def as_in_the_text(target):
        Y = target @ w_y                                                # embedded, and never read again
        k, v = source @ w_k, source @ w_v
        h = attention(source @ w_q, k, v)
        Y = attention(h, k, v)
        return Y

    assert not sees(as_in_the_text, target).any()
    block = filled(DecoderBlock(8, 2, rng, dtype=np.float64), rng)
    np.testing.assert_array_equal(sees(of_one(block.forward, source[None]), target), lower(5))
    assert set(names(CrossAttention(8, 2, rng))) == {f"{c}.{p}" for c in ("c_q", "c_kv", "c_proj") for p in "wb"}


@says("S000 4.2", r"\mathbf{Y} = \mathbf{O} \mathbf{W}_y + \mathbf{b}_y \in \mathbb{R}^{n \times d}")
@says("S000 4.3", r"\mathbf{Y} = \mathbf{W}_y \mathbf{Y} + \mathbf{b}_y \in \mathbb{R}^{n \times d}")
def test_E000_19_one_W_y_for_two_things(rng):
    """On the right of O it has d rows, on the left of Y it has n columns: one matrix fits both only if n = d."""
    n, d, V = 5, 8, 11
    o, y, w_y = rng.standard_normal((n, d)), rng.standard_normal((n, V)), rng.standard_normal((d, d))
    assert (o @ w_y).shape == (n, d)
    with pytest.raises(ValueError):
        w_y @ y
    model = small(rng)                                                  # here the two are one, and it is said where
    x, _ = model.hidden([[1, 2, 3]])
    embedded = model.wte.forward(np.array([[1, 2, 3]]))[0]
    np.testing.assert_array_equal(embedded, model.wte.value[[[1, 2, 3]]])
    np.testing.assert_allclose(model.forward([[1, 2, 3]])[0], x @ model.wte.value.T, rtol=0, atol=1e-12)


def test_the_attention_of_the_texts_is_right(rng):
    """No erratum: the formula that S000, S001 and S002 share is what this package computes."""
    q, k, v = rng.standard_normal((3, 6, 4))
    np.testing.assert_allclose(attention(q, k, v), ours(q, k, v), rtol=0, atol=1e-14)
