"""trace: every array of the real forward pass once, in order, by the names of the taps, and what it cost."""

import math

import numpy as np
import pytest

import gpt2np
from gpt2np.adapt.lora import add_lora
from gpt2np.interpret.taps import InterpretError, Patch, Recording, activations, tapped
from gpt2np.models.bert import BertForPreTraining
from gpt2np.models.config import BertConfig, GPT2Config, TransformerConfig
from gpt2np.models.gpt2 import GPT2
from gpt2np.models.transformer import Transformer
from gpt2np.tracing import HEADER, Step, steps_of
from tests.fake_device import DeviceArray

BLOCK = ["ln_1", "attn.c_attn", "attn.p", "attn.z", "attn.c_proj", "mid", "ln_2", "mlp.c_fc", "mlp.activation",
         "mlp.c_proj", "out"]
GPT2_STEPS = ["wte", "wpe", "h.0.in", *("h.0." + name for name in BLOCK), *("h.1." + name for name in BLOCK), "ln_f",
              "lm_head"]


@pytest.fixture(scope="module")
def model():
    return GPT2(GPT2Config(n_vocab=50, n_ctx=8, n_embd=12, n_head=3, n_layer=2), np.random.default_rng(0))


def bert():
    return BertForPreTraining(BertConfig(50, 8, 12, 3, 2, 20), np.random.default_rng(0))


def translator(norms, dropout=0.0):
    return Transformer(TransformerConfig(50, 8, 12, 3, 2, 20, norms), np.random.default_rng(0), dropout)


def test_every_array_in_its_order(model):
    steps = gpt2np.trace(model, [[1, 2, 3, 4, 5]])
    assert [step.name for step in steps] == GPT2_STEPS
    by_name = {step.name: step for step in steps}
    assert by_name["h.0.attn.c_attn"].shape == (1, 5, 36) and by_name["h.1.attn.p"].shape == (1, 3, 5, 5)
    assert by_name["h.0.attn.c_attn"].formula == "y = x w + b" and by_name["ln_f"].dtype == np.float32
    assert by_name["wte"].formula.startswith("y[...] = scale w[ids[...]]")
    assert by_name["h.0.in"].formula == "wte + wpe" and by_name["h.1.out"].formula == "h.1.mid + h.1.mlp"
    assert by_name["h.1.mlp.activation"].formula.startswith("gelu(x) = x/2 (1 + tanh(u/2))")


@pytest.mark.parametrize("make, inputs", [
    (lambda: GPT2(GPT2Config(50, 8, 12, 3, 2), np.random.default_rng(0)), ([[1, 2, 3]],)), (bert, ([[1, 2, 3]],)),
    (lambda: translator("pre"), ([[1, 2, 3]], None, [[4, 5]])),
    (lambda: translator("post"), ([[1, 2, 3]], None, [[4, 5]])),
    (lambda: translator("post, last"), ([[1, 2, 3]], None, [[4, 5]]))])
def test_sums_are_sums_and_numbers_those_of_the_run(make, inputs):
    """Of each sum that is told, the arrays of these names sum to it; and of each step, the array is the run's."""
    model = make()
    with tapped(model, Recording()) as seen:
        model.forward(*inputs)
    arrays, sums = activations(model, seen), 0
    arrays["positions"] = np.zeros(1)
    if isinstance(model, Transformer):
        arrays["positions"] = model.positions.value
    for step in steps_of(model, seen):
        y = arrays[step.name]
        assert (step.shape, step.dtype, step.min, step.max) == (y.shape, y.dtype, float(y.min()), float(y.max()))
        assert step.formula and step.formula != "of the model's own", step
        terms = step.formula.split(" + ")
        if all(term in arrays for term in terms):
            total = arrays[terms[0]]
            for term in terms[1:]:
                total = total + arrays[term][..., :y.shape[-2], :]
            np.testing.assert_array_equal(total, y)
            assert step.flops == y.size * (len(terms) - 1)
            sums += 1
    blocks = 4 if isinstance(model, Transformer) else 2
    assert sums == 2 * blocks + (4 if isinstance(model, Transformer) else 1)        # embeddings, and cross-attention


def test_names_of_other_models():
    names = [step.name for step in gpt2np.trace(translator("post"), [[1, 2, 3]], None, [[4, 5]])]
    block = ["attn.c_attn", "attn.p", "attn.z", "attn.c_proj", "ln_1.in", "ln_1", "cross_attn.c_q", "cross_attn.c_kv",
             "cross_attn.p", "cross_attn.z", "cross_attn.c_proj", "ln_2.in", "ln_2", "mlp.c_fc", "mlp.activation",
             "mlp.c_proj", "ln_3.in", "ln_3"]
    assert [n for n in names if n.startswith("decoder.1.")] == [f"decoder.1.{n}" for n in block]
    assert names[0] == "wte" and "wte:2" in names and names[-1] == "lm_head"
    steps = gpt2np.trace(bert(), [[1, 2, 3]])
    assert [step.name for step in steps][:5] == ["bert.wte", "bert.wpe", "bert.wse", "bert.ln.in", "bert.ln"]
    assert [step.name for step in steps][-7:] == ["mlm.dense", "mlm.ln.in", "mlm.ln", "mlm.decoder",
                                                  "bert.pooler.dense", "bert.pooler", "nsp"]
    assert next(s for s in steps if s.name == "mlm.ln.in").formula.startswith("gelu(x) = x Phi(x)")
    assert next(s for s in steps if s.name == "bert.pooler").formula == "The hyperbolic tangent: y = tanh(x)."


# ---- what it costs

class Counted(np.ndarray):
    """An array that counts what is done with it."""

    n = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        plain = [np.asarray(x).view(np.ndarray) for x in inputs]
        options |= {"out": tuple(x.view(np.ndarray) for x in options["out"])} if "out" in options else {}
        y = np.asarray(getattr(ufunc, method)(*plain, **options))
        Counted.n += 2 * y.size * plain[0].shape[-1] if ufunc is np.matmul else \
            plain[0].size if method == "reduce" else y.size
        return y.view(Counted)


def normed(x, g, b):
    x0 = x - x.mean(axis=-1, keepdims=True)
    return x0 / np.sqrt((x0 * x0).mean(axis=-1, keepdims=True) + 1e-5) * g + b


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def heads(x):
    return x.reshape(2, -1, 3, 4).swapaxes(1, 2)


erf = np.frompyfunc(math.erf, 1, 1)


def tanh_gelu(x):
    a = 2 * math.sqrt(2 / math.pi)
    return x * (1 / (1 + np.exp(-(a * x + 0.044715 * a * x * x * x))))


# The equations word for word: what each operation of theirs is, NumPy counts.
EQUATIONS = {
    "h.0.in": lambda a: a["wte"] + a["wpe"], "h.0.mid": lambda a: a["h.0.in"] + a["h.0.attn"],
    "h.0.ln_1": lambda a: normed(a["h.0.in"], a["parameter.h.0.ln_1.g"], a["parameter.h.0.ln_1.b"]),
    "h.0.attn.c_attn": lambda a: a["h.0.ln_1"] @ a["parameter.h.0.attn.c_attn.w"] + a["parameter.h.0.attn.c_attn.b"],
    "h.0.attn.p": lambda a: softmax(heads(a["h.0.attn.c_attn"][..., :12]) @ heads(
        a["h.0.attn.c_attn"][..., 12:24]).swapaxes(2, 3) / 2 + np.triu(np.full((3, 3), -np.inf), 1)),
    "h.0.attn.z": lambda a: (a["h.0.attn.p"] @ heads(a["h.0.attn.c_attn"][..., 24:])).swapaxes(1, 2).reshape(2, 3, 12),
    "h.0.mlp.activation": lambda a: tanh_gelu(a["h.0.mlp.c_fc"]),
    "lm_head": lambda a: a["ln_f"] @ a["parameter.wte"].T,
    "bert.h.0.mlp.activation": lambda a: a["bert.h.0.mlp.c_fc"] * (
        (1 + erf(a["bert.h.0.mlp.c_fc"] / math.sqrt(2)).astype(float)) / 2),
    "bert.pooler": lambda a: np.tanh(a["bert.pooler.dense"]),
    "mlm.decoder": lambda a: a["mlm.ln"] @ a["parameter.bert.wte"].T + a["parameter.mlm.decoder.b"],
    "encoder.0.mlp.activation": lambda a: np.maximum(a["encoder.0.mlp.c_fc"], 0),
}


@pytest.mark.parametrize("name", EQUATIONS)
def test_work_is_what_the_equation_does(model, name):
    subject, inputs = (bert(), ([[1, 2, 3], [4, 5, 6]],)) if name.startswith(("bert", "mlm")) else \
        (translator("post"), ([[1, 2, 3], [4, 5, 6]], None, [[4, 5], [6, 7]])) if name.startswith("encoder") else \
        (model, ([[1, 2, 3], [4, 5, 6]],))
    with tapped(subject, Recording()) as seen:
        subject.forward(*inputs)
    arrays = activations(subject, seen) | {f"parameter.{path}": p.value for path, p in subject.named_parameters()}
    Counted.n = 0
    y = EQUATIONS[name]({key: a.view(Counted) for key, a in arrays.items() if isinstance(a, np.ndarray)})
    step = next(step for step in steps_of(subject, seen) if step.name == name)
    np.testing.assert_allclose(np.asarray(y), arrays[name], atol=1e-5)
    assert step.flops == Counted.n


def test_bytes(model):
    by_name = {step.name: step for step in gpt2np.trace(model, [[1, 2, 3], [4, 5, 6]])}
    assert by_name["h.0.mlp.c_fc"].bytes == 4 * (6 * 12 + 12 * 48 + 48 + 6 * 48)
    assert by_name["wte"].bytes == 6 * 8 + 2 * 4 * 6 * 12 and by_name["wte"].flops == 0
    assert by_name["lm_head"].bytes == 4 * (6 * 12 + 50 * 12 + 6 * 50)
    assert by_name["h.0.mid"].bytes == 4 * 3 * 6 * 12
    assert by_name["h.0.attn.p"].bytes == 4 * (2 * 2 * 3 * 3 * 4 + 2 * 3 * 3 * 3)       # q and k, p
    assert by_name["h.0.attn.z"].bytes == 4 * (2 * 3 * 3 * 3 + 2 * 2 * 3 * 12)          # p, v and z


def test_a_table_with_a_scale_costs_a_product_for_each_number():
    step = gpt2np.trace(translator("post"), [[1, 2, 3]], None, [[4, 5]])[0]
    assert step.flops == 3 * 12


# ---- lines, other runs

def test_a_line_has_76_columns(model):
    for step in gpt2np.trace(model, [[1, 2, 3]]):
        assert len(step.line()) == len(HEADER) == 76 and "\n" not in str(step) and str(step).endswith(step.formula)
    huge = Step("h.47.mlp.activation", "", (1, 1024, 6400), np.dtype("float32"), 10**14, 10**12, -1.234e9, 1.0, 4e5)
    assert len(huge.line()) == 76 and huge.line().endswith("-1.2e+09    1.000  4.0e+05")
    assert [line.strip() for line in (HEADER[-8:], huge.line()[-8:])] == ["max", "4.0e+05"]


def test_a_loss_with_dropout():
    model = GPT2(GPT2Config(n_vocab=50, n_ctx=8, n_embd=12, n_head=3, n_layer=1), np.random.default_rng(0), dropout=0.3)
    tokens = np.array([[1, 2, 3]])
    with tapped(model, Recording()) as seen:
        model.loss_and_gradients(tokens, tokens, rng=np.random.default_rng(0))
    steps = steps_of(model, seen)
    names = [step.name for step in steps]
    assert names == ["wte", "wpe", "h.0.in", *(f"h.0.{n}" for n in [*BLOCK[:5], "attn", *BLOCK[5:-1], "mlp", "out"]),
                     "ln_f", "loss"]
    by_name = {step.name: step for step in steps}
    assert by_name["h.0.in"].formula == "wte + wpe, with dropout" and by_name["h.0.mid"].formula == "h.0.in + h.0.attn"
    assert by_name["h.0.attn"].formula.startswith("y = x keep / (1 - rate)") and by_name["h.0.attn"].flops == 2 * 36
    assert by_name["loss"].shape == () and by_name["loss"].flops == 3 * 50 * (2 * 12 + 4) + 3 * 3


def test_a_run_without_caches_is_refused(model):
    past = model.new_past(1, 4)
    with tapped(model, Recording()) as seen:
        model.next_logits([[1, 2, 3]], past)
    with pytest.raises(InterpretError, match=r"h\.0\.attn: expected a run that keeps its caches, as forward does"):
        steps_of(model, seen)


def test_a_patched_run_is_told_behind_the_patch_too(model):
    ones = np.ones((1, 3, 12), np.float32)
    with tapped(model, Patch({"h.0": ones})), tapped(model, Recording()) as seen:
        model.forward([[1, 2, 3]])
    by_name = {step.name: step for step in steps_of(model, seen)}
    assert by_name["h.0.out"].formula.startswith("x = x + attn(ln_1(x))") and by_name["h.0.out"].flops == 0
    assert by_name["h.1.mid"].formula == "h.0.out + h.1.attn" and by_name["h.1.out"].formula == "h.1.mid + h.1.mlp"


def test_what_a_model_does_by_itself_is_a_step_too(model):
    """A norm of another model that takes no sum: its input is told to be the model's own."""
    class Doubled(GPT2):
        def hidden(self, *arguments, **options):
            x, cache = super().hidden(*arguments, **options)
            return 2 * x, cache
    doubled = Doubled(model.config, np.random.default_rng(0))
    step = gpt2np.trace(doubled, [[1, 2, 3]])[-2]
    assert (step.name, step.formula, step.flops) == ("lm_head.in", "of the model's own", 0)


def test_it_leaves_nothing_behind(model):
    before = {path: set(vars(part)) for path, part in model.named_modules()}
    with pytest.raises(ValueError, match="tokens: expected"):
        gpt2np.trace(model, [[99]])
    assert {path: set(vars(part)) for path, part in model.named_modules()} == before


def test_on_the_stand_in_for_a_device(model):
    there = model.replica()
    for _, p in there.named_parameters():
        p.value = DeviceArray(p.value)
    for a, b in zip(gpt2np.trace(model, [[1, 2, 3]]), gpt2np.trace(there, [[1, 2, 3]]), strict=True):
        assert (a.name, a.formula, a.shape, a.flops, a.bytes) == (b.name, b.formula, b.shape, b.flops, b.bytes)
        assert a.max == pytest.approx(b.max, rel=1e-5)


def test_what_lora_adds_is_a_step(model):
    """Of the layer that it stands in, the work without it; and the run is the same, of a fresh one."""
    adapted = model.replica()
    add_lora(adapted, "h.*.attn.c_attn", r=2)
    before, after = gpt2np.trace(model, [[1, 2]]), gpt2np.trace(adapted, [[1, 2]])
    names = [name for step in before for name in
             ([f"{step.name}.lora.0.out"] if step.name.endswith("c_attn") else []) + [step.name]]
    assert [step.name for step in after] == names
    at = names.index("h.0.attn.c_attn.lora.0.out")
    added, layer = after[at], after[at + 1]
    C = model.config.n_embd
    assert added.formula == "y = scale (x a) u" and added.flops == 2 * 2 * (2 * C + 1 + 2 * 3 * C)
    assert layer.formula.startswith("y = x w + b; y[columns] += alpha / r (x a) u")
    assert (layer.flops, layer.bytes) == (before[at].flops, before[at].bytes)
