"""S001, section 5: the listings parsed, and their functions run on as much of Keras as they call, in NumPy."""

import ast
import builtins
import inspect
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from gpt2np.blocks.multihead import SelfAttention
from gpt2np.blocks.transformer import PreNormBlock
from gpt2np.layers.cross_entropy import cross_entropy_backward, cross_entropy_forward
from gpt2np.models import gpt2
from gpt2np.models.gpt2 import GPT2
from gpt2np.training import adamw

from .arrays import filled, names, ours, small, zero
from .conftest import PERIOD, periodic
from .reading import calls, free_names, function, functions, listing, never_read, run, says

MODEL, STEP, TRAINING = (listing(f"S001-5.2-{part}") for part in ("model", "step", "training"))
COMMA = ("self.encoder_layer(input)])\n             layers.Activation",
         "self.encoder_layer(input)]),\n             layers.Activation")
BRACKET = ("layers.Dense(vocab_size)\n", "layers.Dense(vocab_size)]\n")
MENDED = MODEL.replace(*COMMA).replace(*BRACKET)        # what the other tests parse


def part(name, **taken_for_granted):
    """One of the functions within encoder_layer."""
    return run(function(MENDED, name), {}, **taken_for_granted)[name]


# Layers that Keras does not have do what their names say: Split and Mean of an axis, Transpose of the last two.
LAYERS = SimpleNamespace(
    Sequential=list, Dense=lambda n: lambda x: x @ np.ones((x.shape[-1], n)),
    Split=lambda n, axis: lambda x: np.split(x, n, axis), Transpose=lambda: lambda x: x.swapaxes(-1, -2),
    Mean=lambda axis: lambda x: x.mean(axis=axis),
    Softmax=lambda axis: lambda x: np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True))
TF_MATH = SimpleNamespace(math=np, cast=lambda x, dtype: dtype(x), float32=np.float32)


# ---- the model


@says("S001 5.2", "给出使用TensorFlow和Keras进行文本生成任务的PyTorch代码实现")
def test_E001_17_the_pytorch_code_is_tensorflow():
    """By what the three listings import, and by what they call."""
    imported = {name.split(".")[0] for node in ast.walk(ast.parse(MENDED + STEP + TRAINING))
                for name in ([node.module] if isinstance(node, ast.ImportFrom) else
                             [a.name for a in node.names] if isinstance(node, ast.Import) else [])}
    assert imported == {"tensorflow"}
    used = {n.id for n in ast.walk(ast.parse(MENDED + STEP + TRAINING)) if isinstance(n, ast.Name)}
    assert "tf" in used and not used & {"torch", "nn", "F"}


@says("S001 5.2", "layers.Add()([self.encoder_layer(input), self.encoder_layer(input)])\n",
      "layers.Dense(vocab_size)\n")
def test_E001_18_it_does_not_parse():
    """A comma and a bracket are missing, and either alone is not enough."""
    for code in (MODEL, MODEL.replace(*COMMA), MODEL.replace(*BRACKET)):
        with pytest.raises(SyntaxError):
            compile(code, "listing", "exec")
    compile(MENDED, "listing", "exec")
    compile(inspect.getsource(gpt2), "ours", "exec")


@says("S001 5.2", "attn = K * V", "attn = layers.Mean(axis=-2)(attn)")
def test_E001_19_attention_without_queries(rng):
    """Keys times values element by element, a softmax of that, and the mean over the sequence: Q is never used.

    It runs where the length is the width (or one of them is 1), and divides by the root of the length.
    """
    attend = part("multi_head_attention", layers=LAYERS, tf=TF_MATH)
    n = 6
    k, v = rng.standard_normal((2, n, n))
    results = [attend(q, k, v) for q in rng.standard_normal((3, n, n))]
    assert all((result == results[0]).all() for result in results)
    assert results[0].shape == (n,)                                     # a row, of a sequence of n
    with pytest.raises(ValueError):
        attend(*rng.standard_normal((3, n, n + 1)))
    scores = []
    layers = SimpleNamespace(**vars(LAYERS) | {"Softmax": lambda axis: lambda x: scores.append(x) or x})
    k, v = rng.standard_normal((2, n, 1))                               # width 1: its root would be 1
    part("multi_head_attention", layers=layers, tf=TF_MATH)(v, k, v)
    np.testing.assert_allclose(scores[0], k.T * v / np.sqrt(n), rtol=1e-6)

    q, k, v = rng.standard_normal((3, n, n + 1))
    assert ours(q, k, v).shape == v.shape and np.abs(ours(q, k, v) - ours(q + 1, k, v)).max() > 0.01


@says("S001 5.2", "[splitting(self.encoder_layer(input)),", "attention_heads = self.dff // num_heads")
def test_E001_20_encoder_layer_calls_itself(rng):
    """It takes no argument and is given one: `input`, Python's own. Before that, num_heads is not known to it.

    Given all that, it would call itself without end.
    """
    assert {"num_heads", "vocab_size", "dff", "positional_encoding"} == free_names(MENDED)
    assert hasattr(builtins, "input")
    build = run(function(MENDED, "encoder_layer"), {}, layers=LAYERS)["encoder_layer"]
    model = SimpleNamespace(dff=48)
    model.encoder_layer = lambda *arguments: build(model, *arguments)
    with pytest.raises(NameError, match="num_heads"):
        model.encoder_layer()
    known = {"num_heads": 3, "vocab_size": 11, "dff": 48, "layers": LAYERS}
    build = run(function(MENDED, "encoder_layer"), {}, **known)["encoder_layer"]
    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
        model.encoder_layer()
    mended = function(MENDED, "encoder_layer").replace("(self)", "(self, input=None)", 1)
    build = run(mended, {}, **known)["encoder_layer"]
    with pytest.raises(RecursionError):
        model.encoder_layer()
    assert not free_names(inspect.getsource(gpt2)) and len(small(rng, n_layer=5).h) == 5


@says("S001 5.2", "attention_heads = self.dff // num_heads", "dff_inner = self.dff * 2")
def test_E001_23_the_widths_come_from_the_wrong_sizes(rng):
    """Of C = 12, 3 heads and dff = 4 C: a head is C / H wide, and the MLP 4 C. The first of the two is never used."""
    lines = [ast.unparse(line) for line in ast.parse(function(MENDED, "encoder_layer")).body[0].body[:2]]
    widths = run("\n".join(lines), {}, self=SimpleNamespace(dff=48), num_heads=3)
    assert "attention_heads" in never_read(MENDED, "is_assigned")
    block = PreNormBlock(12, 3, rng)
    q = np.split(block.attn.c_attn.forward(np.zeros((1, 1, 12), np.float32))[0], 3, axis=-1)[0]
    head, inner = q.shape[-1] // block.attn.n_head, len(names(block)["mlp.c_fc.b"])
    assert (head, inner) == (4, 48)
    assert (widths["attention_heads"], widths["dff_inner"]) == (4 * head, 2 * inner)


@says("S001 5.2", "for l in layers.Split(2, axis=-1)(input)", "def multi_head_attention(Q, K, V):")
def test_E001_24_two_parts_for_three_arguments(rng):
    """Queries, keys and values are three; what splits the input makes two."""
    x = rng.standard_normal((1, 5, 12))
    parts = part("splitting", layers=LAYERS, dff_inner=24)(x)
    assert len(parts) == 2
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'V'"):
        part("multi_head_attention", layers=LAYERS, tf=TF_MATH)(*parts)
    qkv, _ = SelfAttention(12, 3, rng, causal=True, dtype=np.float64).c_attn.forward(x)
    assert [a.shape for a in np.split(qkv, 3, axis=-1)] == 3 * [x.shape]


@says("S001 5.2", "layers.Dense(vocab_size)", 'layers.Activation("relu"),', "self.dff),")
def test_E001_25_what_else_is_wrong_with_the_layer(rng):
    """No norm, a head in every layer, a ReLU behind the residual; and half of what is defined is never called."""
    assert not calls(MENDED, "LayerNormalization") and not calls(MENDED, "call")
    assert "feedforward" in never_read(MENDED, "is_assigned") and "positional_encoding" in free_names(MENDED)
    methods = next(n for n in ast.parse(MENDED).body if isinstance(n, ast.ClassDef)).body
    assert [f.name for f in methods] == ["__init__", "encoder_layer"]
    read = {n.attr for n in ast.walk(ast.parse(MENDED)) if isinstance(n, ast.Attribute)
            and isinstance(n.ctx, ast.Load) and getattr(n.value, "id", "") == "self"}
    assert not read & {"embedding", "pos_encoding", "layers"}
    assert [ast.unparse(c.args[0]) for c in calls(function(MENDED, "encoder_layer"), "Dense")] == [
        "dff_inner", "dff_inner", "dff", "vocab_size"]
    adds = [node for node in ast.walk(ast.parse(MENDED)) if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Call) and node.func.func.attr == "Add"]
    assert [len(node.args) for node in adds] == [2, 1, 1]               # a layer takes one list

    x = rng.standard_normal((1, 5, 8))
    block = filled(PreNormBlock(8, 2, rng, dtype=np.float64), rng)
    zero(block.attn.c_proj, block.mlp.c_proj)
    as_in_the_text = np.maximum(x + 0, 0)                               # ReLU of a sum with sub-layers that add nothing
    assert np.abs(as_in_the_text - x).max() > 0.1
    np.testing.assert_array_equal(block.forward(x)[0], x)
    model = names(small(rng, n_layer=5))
    assert [path for path, w in model.items() if 11 in w.shape] == ["wte"]
    assert sum(".ln_" in path for path in model) == 5 * 2 * 2


# ---- training


@pytest.fixture
def keras():
    """tf, as the listing of train_step calls it; log has the names of what was called, in order."""
    log = []

    def crossentropy(y, logits, from_logits):
        log.append("loss")
        p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        flat = p.reshape(-1, p.shape[-1])                               # as Keras does where the shapes do not fit
        return -np.log(flat[np.arange(len(flat)), y.reshape(-1)]).reshape(logits.shape[:-1]).view(Loss)

    class Loss(np.ndarray):
        def numpy(self):
            return np.asarray(self)

    def gradient(loss, variables):
        log.append("gradient")
        return [0 for _ in variables]

    tape = SimpleNamespace(gradient=gradient)
    losses = SimpleNamespace(sparse_categorical_crossentropy=crossentropy)
    tf = SimpleNamespace(GradientTape=lambda: nullcontext(tape), expand_dims=np.expand_dims, reshape=np.reshape,
                         keras=SimpleNamespace(losses=losses))
    optimizer = SimpleNamespace(apply_gradients=lambda pairs: log.append("step"))
    return SimpleNamespace(tf=tf, optimizer=optimizer, log=log)


class Uniform:
    """A model as the listing takes one: ids (...) -> logits (..., V), here all 0."""

    trainable_variables = (0,)

    def __init__(self):
        self.seen = []

    def __call__(self, x):
        self.seen.append(x.shape)
        return np.zeros((*x.shape, PERIOD))


@says("S001 5.2", "x = tf.expand_dims(x, 1)", "y = tf.reshape(y, (1, -1))",
      'print(f"Epoch {epoch+1}, train loss: {total_loss/len(train_dataset):.3f}")')
def test_E001_26_shapes_and_the_loss(keras, rng):
    """(B, T) tokens become (B, 1, T), their targets (1, B T); and the loss, an array, cannot be printed as a number."""
    text, model = periodic(3, 6), Uniform()
    x, y = text[:, :-1], text[:, 1:]
    step = run(STEP, {}, tf=keras.tf, optimizer=keras.optimizer)
    loss = step["train_step"](model, x, y)
    assert model.seen == [(3, 1, 5)] and np.reshape(y, (1, -1)).shape == (1, 15)
    assert loss.shape == (3, 1, 5)
    with pytest.raises(TypeError, match="unsupported format string"):
        run(TRAINING, {}, train_step=step["train_step"], evaluate=None, model=model, train_dataset=[(x, y)])
    model = small(rng, n_vocab=PERIOD)
    assert model.loss_and_gradients(x, y).shape == () and model.forward(x)[0].shape == (3, 5, PERIOD)


@says("S001 5.2", "optimizer.apply_gradients(zip(grads, model.trainable_variables))", "learning_rate = 2e-5")
@says("S001 5.3", "并使用Adam优化器更新模型参数")
def test_E001_27_there_is_no_optimizer(keras):
    """It is made nowhere, whichever one 5.3 and 3.1.2 say it is; the learning rate and the batch size are not used."""
    assert "optimizer" in free_names(STEP + TRAINING)
    assert never_read(STEP + TRAINING, "is_assigned") == {"learning_rate", "batch_size"}
    with pytest.raises(NameError, match="optimizer"):
        run(STEP, {}, tf=keras.tf)["train_step"](Uniform(), periodic(2, 4), periodic(2, 4))
    assert not free_names(inspect.getsource(adamw))
    assert "lr" in inspect.signature(adamw.AdamW.step).parameters


@says("S001 5.2", "evaluate(model, dev_dataset, dev_dataset)")
@says("S001 5.3", "在验证集上评估，输出分类指标")
def test_E001_28_the_text_is_its_own_target(keras, capsys, learned):
    """evaluate gets one thing as input and as target, so the best model is one that repeats; and nothing is printed."""
    uses = calls(TRAINING, "evaluate")
    assert [ast.unparse(use) for use in uses] == [f"evaluate(model, {d}, {d})" for d in ("dev_dataset", "test_dataset")]
    statements = [n.value for n in ast.walk(ast.parse(TRAINING)) if isinstance(n, ast.Expr)]
    assert all(any(use.lineno == s.lineno for s in statements) for use in uses)          # what comes back is dropped

    text = periodic(2, 8)
    evaluate = run(STEP, {}, tf=keras.tf)["evaluate"]
    repeats = evaluate(lambda x: 20 * np.eye(PERIOD)[x], text, text).mean()
    knows = evaluate(lambda x: learned.forward(x)[0].astype(float), text, text).mean()
    assert repeats < 1e-6 and knows > 3 and capsys.readouterr().out == ""
    assert learned.loss(text[:, :-1], text[:, 1:]) < 0.02


@says("S001 5.3", "`train_step`和`evaluate`方法：定义训练和评估函数", "**GPT2类**：")
def test_E001_29_two_functions_are_no_methods():
    """train_step and evaluate stand beside the class, in a listing of their own."""
    methods = {f.name for n in ast.parse(MENDED).body if isinstance(n, ast.ClassDef) for f in n.body}
    assert methods == {"__init__", "encoder_layer"}
    assert [f.name for f in ast.parse(STEP).body] == ["train_step", "evaluate"] == [f.name for f in functions(STEP)]
    assert callable(GPT2.loss_and_gradients)                            # here the first is one


@says("S001 5.3", "通过梯度回传计算损失函数")
def test_E001_30_the_loss_is_computed_forwards(keras, rng):
    """What goes backwards are gradients; and a step against them makes the loss smaller."""
    step = run(STEP, {}, tf=keras.tf, optimizer=keras.optimizer)["train_step"]
    step(Uniform(), periodic(1, 4)[0], periodic(1, 4)[0])
    assert keras.log == ["loss", "gradient", "step"]

    model = small(rng)
    tokens, targets = rng.integers(0, 11, (2, 2, 8))
    logits, cache = model.forward(tokens)
    before, c_loss = cross_entropy_forward(logits, targets)
    assert all(p.grad is None for _, p in model.named_parameters())     # the loss is known, and nothing went back
    model.backward(cross_entropy_backward(1.0, c_loss), cache)
    for _, p in model.named_parameters():
        p.value -= 0.001 * p.grad
    after, _ = cross_entropy_forward(model.forward(tokens)[0], targets)
    assert after < before
