"""S000, sections 4.4 to 7: the listings run as they are printed, on as much of PyTorch as they call, in NumPy."""

import ast
import inspect

import numpy as np
import pytest

from gpt2np.blocks.multihead import SelfAttention
from gpt2np.blocks.transformer import PostNormBlock, PreNormBlock
from gpt2np.layers.attention import attention_forward
from gpt2np.layers.dropout import dropout_forward
from gpt2np.layers.layernorm import layernorm_forward
from gpt2np.layers.linear import Linear
from gpt2np.layers.softmax import log_softmax_backward, log_softmax_forward, softmax_forward
from gpt2np.models import gpt2
from gpt2np.models.config import SIZES, GPT2Config
from gpt2np.models.gpt2 import GPT2

from .arrays import filled, lower, names, of_one, sees, small, zero
from .reading import (
    calls,
    definitions,
    free_names,
    functions,
    listing,
    never_read,
    run,
    says,
    whole_listing_of_s000_5_2,
)
from .torch_like import LayerNorm, tensor, torch_like


@pytest.fixture
def text(rng):
    """What the listing of 4.4 defines."""
    return run(definitions(listing("S000-4.4")), torch_like(rng))


@pytest.fixture
def gpt2_of_the_text(text, rng):
    """The class GPT2 of 5.2, with the SelfAttention of 4.4, which 5.2 lacks."""
    code = definitions(whole_listing_of_s000_5_2())
    return run(code, torch_like(rng), SelfAttention=text["SelfAttention"])["GPT2"]


OURS = inspect.getsource(gpt2)


def one(f):
    """A listing's function of a batch as one of a single sequence."""
    return lambda x: np.asarray(f(tensor(x[None])))[0]


def adds_nothing(block):
    """A block of the text whose two sub-layers give 0."""
    for linear in (block.encoder_self_attn.out, block.encoder_ffn.layers[2]):
        linear.weight[...] = linear.bias[...] = 0
    return block


# ---- 4.4 SelfAttention


@pytest.mark.parametrize("T, H", [(6, 6), (6, 3), (10, 8), (1, 3), (6, 1)])
@says("S000 4.4", "attention = attention.permute(0, 2, 1, 3).contiguous()", "context = torch.matmul(attention, value)")
def test_E000_21_weights_with_heads_in_the_wrong_place(text, rng, T, H):
    """The weights (B, H, T, T) become (B, T, H, T) before they meet the values (B, H, T, D).

    That is an error, unless T = H: then the numbers are wrong, and nothing says so. One head hides it.
    """
    module = text["SelfAttention"](4 * H, H)
    right = SelfAttention(4 * H, H, None, causal=False, dtype=np.float64)
    projections = (module.query, module.key, module.value)
    names(right)["c_attn.w"][...] = np.concatenate([p.weight.T for p in projections], axis=1)
    names(right)["c_attn.b"][...] = np.concatenate([p.bias for p in projections])
    names(right)["c_proj.w"][...], names(right)["c_proj.b"][...] = module.out.weight.T, module.out.bias
    x = rng.standard_normal((2, T, 4 * H))
    if H in (1, T):
        difference = np.abs(np.asarray(module(tensor(x))) - right.forward(x)[0]).max()
        assert difference < 1e-14 if H == 1 else difference > 0.01
    else:
        with pytest.raises(ValueError):
            module(tensor(x))


@says("S000 4.4", "attention = F.softmax(score, dim=-1)")
def test_E000_22_no_mask_and_no_dropout_of_weights(text, rng):
    """Every token sees all others, also in what is to be GPT-2; and no layer in SelfAttention drops anything."""
    x = rng.standard_normal((5, 8))
    module = text["SelfAttention"](8, 1)
    assert sees(one(module), x).all()
    assert not [child for child in module.modules() if type(child).__name__ == "Dropout"]
    right = filled(SelfAttention(8, 1, rng, causal=True, dropout=0.5, dtype=np.float64), rng)
    np.testing.assert_array_equal(sees(of_one(right.forward), x), lower(5))
    q, k, one_hot = rng.standard_normal((1, 1, 20, 20)), rng.standard_normal((1, 1, 20, 20)), np.eye(20)[None, None]
    weights, _ = attention_forward(q, k, one_hot, dropout=0.5, rng=rng)
    assert 0.4 < (weights == 0).mean() < 0.6


@says("S000 4.4", "self.depth = d_model // n_heads", "torch.sqrt(torch.tensor(self.depth))")
@says("S000 5.2", "model = TransformerModel(", "model = GPT2(")
def test_E000_32_heads_that_do_not_divide_the_width(text, rng):
    """Nothing checks it: the constructor is content, and an input fails. And the first model is lost to the second."""
    module = text["SelfAttention"](10, 4)
    with pytest.raises(ValueError, match="reshape"):
        module(tensor(rng.standard_normal((2, 4, 10))))
    for ours in (lambda: SelfAttention(10, 4, rng, causal=True), lambda: GPT2Config(n_embd=10, n_head=4)):
        with pytest.raises(ValueError, match="n_embd: expected a multiple of n_head 4, got 10"):
            ours()
    assert module.depth == 2 and type(module.depth) is int              # whose root is taken anew in each forward
    made = [t.id for node in ast.parse(whole_listing_of_s000_5_2()).body if isinstance(node, ast.Assign)
            for t in node.targets]
    assert made == ["model", "model"]


# ---- 4.4 TransformerBlock


@says("S000 4.4", "self.layer_norm = nn.LayerNorm(d_model)", "x = self.layer_norm(x)")
def test_E000_23_each_sub_layer_has_a_norm_of_its_own(text, rng):
    """One norm serves both in the text, and none comes last: 2L + 1 in GPT-2, L there."""
    L = 3
    model = text["TransformerModel"](L, 8, 1, 0.0)
    assert sum(isinstance(m, LayerNorm) for m in model.modules()) == L
    assert sum(path.endswith(".g") for path in names(small(rng, n_layer=L))) == 2 * L + 1
    assert {"ln_f.g", "h.0.ln_1.g", "h.0.ln_2.g"} <= set(names(small(rng)))
    block = adds_nothing(text["TransformerBlock"](8, 1, 0.0))           # what is learned for one is done to both:
    inputs = []
    block.encoder_self_attn.forward = block.encoder_ffn.forward = lambda x: inputs.append(x) or 0 * x
    block.layer_norm.weight[...] = rng.standard_normal(8)
    block(tensor(rng.standard_normal((1, 5, 8))))
    np.testing.assert_array_equal(*inputs)


@says("S000 4.4", "x = self.encoder_final(x)")
def test_E000_24_nothing_stands_in_the_way_of_the_residual(text, rng):
    """A linear layer after the sum: a block that adds nothing is no identity, and a gradient fades on its way down."""
    x = rng.standard_normal((4, 32))
    f, ours = x, x
    for _ in range(12):
        f = one(adds_nothing(text["TransformerBlock"](32, 1, 0.0)))(f)
        block = PreNormBlock(32, 2, rng, dtype=np.float64)
        zero(block.attn.c_proj, block.mlp.c_proj)
        ours = of_one(block.forward)(ours)
    np.testing.assert_array_equal(ours, x)
    assert np.abs(f - x).max() > 1

    dy = dx = rng.standard_normal((1, 4, 32))
    for _ in range(12):                                                 # the text's blocks are linear here: dx = dy W
        dx = dx @ np.asarray(adds_nothing(text["TransformerBlock"](32, 1, 0.0)).encoder_final.weight)
    assert np.linalg.norm(dx) < np.linalg.norm(dy) / 100
    y, cache = block.forward(x[None])
    np.testing.assert_array_equal(block.backward(dy, cache), dy)


@says("S000 4.4", "nn.Dropout(dropout)", "x = self.encoder_ffn(x)", "x = self.dropout(x)")
def test_E000_25_the_feed_forward_network_is_dropped_twice(text, rng):
    """Its own dropout, then the block's: 0.9 * 0.9 = 81 % is kept where 90 % is meant."""
    block = adds_nothing(text["TransformerBlock"](16, 1, 0.1))
    block.encoder_ffn.layers[2].bias[...] = 1                           # so that a 0 is one that was dropped
    block.encoder_final = lambda x: x
    kept = (np.asarray(block(tensor(np.zeros((50, 50, 16))))) != 0).mean()
    assert abs(kept - 0.9 * 0.9) < 0.01
    right = PreNormBlock(16, 1, None, dropout=0.1, dtype=np.float64)
    right.mlp.c_proj.b.value[...] = 1
    kept = (right.forward(np.zeros((50, 50, 16)), rng=rng)[0] != 0).mean()
    assert abs(kept - 0.9) < 0.01


@says("S000 5.3", "最后通过线性变换和归一化层得到输出")
def test_E000_34_the_norm_comes_first(text, rng):
    """"At last a linear layer and a norm": the listing ends with the linear layer, and its norms come before."""
    order = []
    block = text["TransformerBlock"](8, 1, 0.0)
    for name in ("layer_norm", "encoder_self_attn", "encoder_ffn", "encoder_final"):
        layer = getattr(block, name)
        layer.forward = (lambda x, name=name, forward=layer.forward: order.append(name) or forward(x))
    x = rng.standard_normal((1, 5, 8))
    y = np.asarray(block(tensor(x)))
    assert order == ["layer_norm", "encoder_self_attn", "layer_norm", "encoder_ffn", "encoder_final"]
    assert np.abs(y.mean(axis=-1)).max() > 0.01
    last, first = PostNormBlock(8, 2, rng, dtype=np.float64), PreNormBlock(8, 2, rng, dtype=np.float64)
    np.testing.assert_allclose(last.forward(x)[0].mean(axis=-1), 0, atol=1e-14)
    assert np.abs(first.forward(x)[0].mean(axis=-1)).max() > 0.01


@says("S000 5.3", "通过`nn.LayerNorm`和`nn.Dropout`等层对输入进行归一化和降维")
def test_E000_33_neither_norm_nor_dropout_reduces_the_dimension(text, rng):
    """归一化 is right for the one; but 降维, to reduce the dimension, is what neither does, there or here."""
    x = rng.standard_normal((3, 5, 8))
    block = text["TransformerBlock"](8, 1, 0.5)
    for y in (block.layer_norm(tensor(x)), block.dropout(tensor(x)), dropout_forward(x, 0.5, rng)[0],
              layernorm_forward(x, np.ones(8), np.zeros(8))[0]):
        assert y.shape == x.shape


# ---- 4.4 TransformerModel, 5.2 GPT2


@says("S000 4.4", "self.decoder = nn.Linear(d_model, 1)")
def test_E000_26_a_head_with_one_output(text, rng):
    """One number for each token, where V are wanted."""
    model = text["TransformerModel"](2, 12, 1, 0.0)
    assert model(tensor(rng.standard_normal((2, 5, 12)))).shape == (2, 5, 1)
    right = small(rng)
    assert right.forward(rng.integers(0, 11, (2, 5)))[0].shape == (2, 5, right.config.n_vocab)


@says("S000 5.2", "self.softmax = nn.LogSoftmax(dim=-1)")
def test_E000_27_log_softmax_over_one_number_learns_nothing(gpt2_of_the_text, rng):
    """Its logarithm of a probability is log 1, whatever the weights and the input; so every gradient is 0."""
    x = tensor(rng.standard_normal((2, 5, 12)))
    for _ in range(3):
        assert not np.asarray(gpt2_of_the_text(12, 1, 0.0, 2)(x)).any()
    y, cache = log_softmax_forward(rng.standard_normal((2, 5, 1)))
    assert not y.any() and not log_softmax_backward(rng.standard_normal(y.shape), cache).any()
    model, ids = small(rng), rng.integers(0, 11, (2, 5))
    model.loss_and_gradients(ids, ids)
    assert all(p.grad.any() for path, p in model.named_parameters())


@says("S000 5.3", "最后通过线性变换和softmax函数得到输出")
def test_E000_35_log_softmax_is_not_softmax(gpt2_of_the_text, rng):
    """The rows of the one sum to 1; it is the exponentials of the other that do."""
    y = np.asarray(gpt2_of_the_text(12, 1, 0.0, 1)(tensor(rng.standard_normal((2, 5, 12)))))
    assert (y.sum(axis=-1) == 0).all() and (np.exp(y).sum(axis=-1) == 1).all()
    logits = rng.standard_normal((2, 11))
    assert log_softmax_forward(logits)[0].max() < 0 < softmax_forward(logits)[0].min()
    np.testing.assert_allclose(np.exp(log_softmax_forward(logits)[0]), softmax_forward(logits)[0], rtol=1e-13)


@says("S000 5.2", "def forward(self, x):")
@says("S000 5.3", "自回归生成器")
def test_E000_28_tokens_in_logits_out(text, gpt2_of_the_text, rng):
    """The text's models want vectors: no embedding, no position, no vocabulary, no loss, and nothing that generates."""
    ids = rng.integers(0, 11, (2, 5))
    for model in (text["TransformerModel"](2, 12, 1, 0.0), gpt2_of_the_text(12, 1, 0.0, 2)):
        with pytest.raises(ValueError):
            model(tensor(ids))
    code = whole_listing_of_s000_5_2()
    assert {f.name for f in functions(code)} == {"__init__", "forward"}
    assert not calls(code, "Embedding") and not calls(code, "CrossEntropyLoss")
    model = small(rng)
    logits = model.forward(ids)[0]
    assert logits.shape == (2, 5, 11) and model.loss(ids, ids).shape == ()
    assert model.next_logits(ids, model.new_past(2, 8)).shape == (2, 1, 11)


@says("S000 5.2", "# 定义GPT-2模型")
@says("S000 4.4", "以下给出Transformer和GPT-2模型的PyTorch代码实现")
def test_E000_29_gpt_2_is_not_the_first_model_with_a_softmax(rng):
    """Without their names and the softmax, the two classes are one; neither is an encoder and decoder, or a GPT-2."""
    def body(code, name):
        node = next(n for n in ast.parse(code).body if isinstance(n, ast.ClassDef) and n.name == name)
        lines = [line for f in node.body for line in f.body]
        kept = [ast.unparse(line) for line in lines if "softmax" not in ast.unparse(line)]
        return [line.replace(name, "Model") for line in kept]

    code = whole_listing_of_s000_5_2()
    assert body(code, "TransformerModel") == [
        *body(code, "GPT2")[:-2], body(code, "GPT2")[-2].replace("x = ", "return ")]
    assert body(code, "GPT2")[-1] == "return x"
    assert [n.name for n in ast.parse(listing("S000-4.4")).body if isinstance(n, ast.ClassDef)] == [
        "SelfAttention", "TransformerBlock", "TransformerModel"]
    x = rng.standard_normal((5, 8))                                     # what sets the two apart: here, the mask
    sees_all, sees_before = PostNormBlock(8, 2, rng, dtype=np.float64), PreNormBlock(8, 2, rng, dtype=np.float64)
    assert sees(of_one(filled(sees_all, rng).forward), x).all()
    np.testing.assert_array_equal(sees(of_one(filled(sees_before, rng).forward), x), lower(5))


@says("S000 5.2", "from transformers import BertTokenizer, BertForSequenceClassification, AdamW",
      "以下是使用PyTorch和Transformers库实现Transformer和GPT-2模型的代码")
def test_E000_30_what_is_imported_is_not_used():
    """"With the library transformers": none of it. (And AdamW is no longer there: see facts.py.)"""
    code = whole_listing_of_s000_5_2()
    assert {"BertTokenizer", "BertForSequenceClassification", "AdamW"} < never_read(code, "is_imported")
    module, = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom))
    assert module.module == "transformers" and {a.name for a in module.names} < never_read(code, "is_imported")
    assert not never_read(OURS, "is_imported")


@says("S000 5.2", "self.encoder_self_attn = SelfAttention(d_model, n_heads)")
def test_E000_31_self_attention_is_not_defined(rng):
    """The listing of 5.2 alone stops at its first model."""
    assert free_names(whole_listing_of_s000_5_2()) == {"SelfAttention"} and not free_names(listing("S000-4.4"))
    with pytest.raises(NameError, match="SelfAttention"):
        run(whole_listing_of_s000_5_2(), torch_like(rng))
    assert not free_names(OURS)


@says("S000 4.4", "self.query = nn.Linear(d_model, d_model)")
def test_E000_36_initial_weights(text, rng):
    """Left to PyTorch, weights are uniform in +-1/sqrt(inputs) and biases too; GPT-2's are normal, of one spread."""
    def deviation(arrays):
        return {path: np.asarray(a).std() for path, a in arrays.items()}

    theirs = deviation(text["TransformerModel"](1, 96, 4, 0.0).parameters())
    assert abs(theirs["encoder.0.encoder_ffn.layers.0.weight"] * np.sqrt(3 * 96) - 1) < 0.02
    assert abs(theirs["encoder.0.encoder_ffn.layers.2.weight"] * np.sqrt(3 * 4 * 96) - 1) < 0.02     # half as large
    assert theirs["encoder.0.encoder_self_attn.query.bias"] > 0.01
    ours = deviation(names(GPT2(GPT2Config(96, 96, 96, 4, 1), rng)))
    for path, std in ours.items():
        expected = 0.01 if path == "wpe" else 0.02 if path == "wte" or path.endswith(".w") else 0
        assert abs(std - expected) <= expected / 50, path


# ---- 7.3 adapters


@says("S000 7.3", "提出Adapter等参数高效微调方法，在不增加模型参数量的情况下，也能取得不错的微调效果。")
@says("S003 7.3", "提出Adapter等参数高效微调方法，在不增加模型参数量的情况下，也能取得不错的微调效果。")
@says("S004 7.3", "提出Adapter等参数高效微调方法，在不增加模型参数量的情况下，也能取得不错的微调效果。")
def test_E000_37_E003_17_E004_20_adapters_add_parameters(rng):
    """An adapter is two layers, down to r and up again: 2 C r + r + C numbers more, at two places in every block.

    So has LoRA, r (inputs + outputs) for a matrix, until it is merged into it.
    """
    config, shares = SIZES["124M"], []
    C, whole = config.n_embd, config.n_parameters
    for r in (8, 64, 256):
        down, up = Linear(C, r, None), Linear(r, C, None)
        added = sum(w.size for module in (down, up) for w in names(module).values())
        assert added == 2 * C * r + r + C
        shares.append(2 * config.n_layer * added / whole)
    assert 0 < shares[0] < 0.005 < 0.01 < shares[1] < 0.036 < shares[2] < 0.08

    C, r = 16, 2
    x, w, a, b = (rng.standard_normal(shape) for shape in ((5, C), (C, 3 * C), (C, r), (r, 3 * C)))
    assert a.size + b.size == r * (C + 3 * C)
    np.testing.assert_allclose(x @ w + x @ a @ b, x @ (w + a @ b), rtol=0, atol=1e-12)
    assert (w + a @ b).size == w.size
