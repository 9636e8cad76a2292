"""The oracle's numbers are a run's, its gradients are slopes, and a fault of a port is found where it begins."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gpt2np
from gpt2np import oracle as oracle_command
from gpt2np.adapt.narrow import quantize
from gpt2np.blocks import multihead
from gpt2np.checkpoints import safetensors
from gpt2np.interpret import oracle
from gpt2np.interpret.oracle import Difference, arrays_of, compare, equation, export
from gpt2np.interpret.taps import InterpretError, Patch, tapped
from gpt2np.layers import attention
from gpt2np.layers.activations import GELU_ERF, RELU
from gpt2np.layers.cross_entropy import cross_entropy_forward
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from tests.interpret.test_taps import transformer as encoder_decoder

V, T, C, H = 40, 9, 12, 3
TOKENS = np.random.default_rng(5).integers(0, V, (2, T + 1))
TOKENS[0, 3] = TOKENS[0, 5]
BATCH = TOKENS[:, :-1], TOKENS[:, 1:]


def model_of(dtype=np.float32):
    model = GPT2(GPT2Config(V, 16, C, H, 3), np.random.default_rng(0), dtype=dtype)
    rng = np.random.default_rng(1)
    for _, p in model.named_parameters():
        p.value = (p.value + 0.2 * rng.standard_normal(p.value.shape)).astype(dtype)
    return model


@pytest.fixture
def file(tmp_path):
    path, *_ = export(tmp_path / "oracle.safetensors", model_of(), *BATCH)
    return path


def test_three_files_with_the_same_arrays(tmp_path):
    model = model_of()
    paths = export(tmp_path / "o.safetensors", model, *BATCH)
    assert [path.name for path in paths] == ["o.safetensors", "o.npz", "o.json"]
    stored, metadata = safetensors.read(paths[0])
    index = json.loads(paths[2].read_text(encoding="utf-8"))
    arrays = arrays_of(model, *BATCH)
    with np.load(paths[1]) as npz:
        assert list(npz) == list(arrays) == [line["name"] for line in index] == json.loads(metadata["order"])
        for line in index:
            name = line["name"]
            np.testing.assert_array_equal(npz[name], arrays[name])
            np.testing.assert_array_equal(stored[name], arrays[name])
            assert list(arrays[name].shape) == line["shape"] and str(arrays[name].dtype) == line["dtype"]
            assert line["equation"]
    assert all(p.grad is None for _, p in model.named_parameters())
    assert compare(*paths[:2]) == len(arrays) and compare(paths[1], paths[0]) == len(arrays)
    with pytest.raises(InterpretError, match="it is there already: name a new file"):
        export(paths[0], model, *BATCH)


def test_half_a_file_is_none(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        export(tmp_path / "o.safetensors", model_of(), *BATCH)
    assert not list(tmp_path.iterdir())


def test_the_numbers_are_those_of_training():
    model = model_of(np.float64)
    arrays = arrays_of(model, *BATCH)
    assert arrays["loss"] == pytest.approx(float(model.loss_and_gradients(*BATCH)), rel=1e-13)
    for path, p in model.named_parameters():
        np.testing.assert_allclose(arrays[f"parameter.{path}.grad"], p.grad, rtol=1e-9, atol=1e-14)


def test_its_gradients_are_slopes():
    """At twenty places drawn from all arrays."""
    model, rng, h = model_of(np.float64), np.random.default_rng(0), 1e-6
    arrays = arrays_of(model, *BATCH)
    names = [name for name in arrays if f"{name}.grad" in arrays and not name.endswith("mid")]
    parameters = dict(model.named_parameters())
    for name in rng.choice(names, 20, replace=False):
        at = tuple(rng.integers(0, n) for n in arrays[name].shape)
        losses = []
        for step in (h, -h):
            value = arrays[name].copy()
            value[at] += step
            if name.startswith("parameter."):
                p = parameters[name.removeprefix("parameter.")]
                before, p.value = p.value, value
                losses.append(float(model.loss(*BATCH)))
                p.value = before
            else:
                with tapped(model, Patch({name.removesuffix(".out"): value})):
                    losses.append(float(cross_entropy_forward(model.forward(BATCH[0])[0], BATCH[1])[0]))
        assert arrays[f"{name}.grad"][at] == pytest.approx((losses[0] - losses[1]) / (2 * h), rel=1e-5, abs=1e-9), name


def test_the_equations_give_the_numbers():
    """Those that are NumPy's own expressions, with the names of arrays, are worked out."""
    arrays, done = arrays_of(model_of(np.float64), *BATCH), 0
    for name in arrays:
        text = equation(name, 3).split(";")[0]
        if re.fullmatch(r"[a-z][\w.]*( [@+] [a-z][\w.]*'?)+", text):
            text = re.sub(r"[a-z][\w.]*", lambda found: f"A['{found[0]}']", text).replace("]'", "].T")
            np.testing.assert_allclose(eval(text, {"A": arrays}), arrays[name], rtol=1e-9, atol=1e-12)
            done += 1
    assert done == 3 * 4 + 1 + 3 * 2 + 1


# ---- faults, planted in a copy of the model: where they begin, and what is said

def edited(name, change):
    """A port whose array `name` is changed on its way: all that comes after it follows from that."""
    def make(model):
        arrays = arrays_of(model, *BATCH)
        with tapped(model, Patch({name: change(arrays)})):
            return arrays_of(model, *BATCH)
    return make


def with_option(module, name, value):
    def make(model):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, name, value)
            return arrays_of(model, *BATCH)
    return make


def with_weights(path, change):
    def make(model):
        arrays = arrays_of(model, *BATCH)
        p = dict(model.named_parameters())[path]
        p.value = np.ascontiguousarray(change(p.value))
        return arrays | arrays_of(model, *BATCH) if p.value.shape == arrays[f"parameter.{path}"].shape else \
            arrays | {f"parameter.{path}": p.value}
    return make


def without_parameters(make):
    return lambda model: {name: a for name, a in make(model).items() if not name.startswith("parameter.")}


def other_activation(activation):
    def make(model):
        for block in model.h:
            block.mlp.activation = activation
        return arrays_of(model, *BATCH)
    return make


def other_eps(model):
    for part in [*(norm for block in model.h for norm in (block.ln_1, block.ln_2)), model.ln_f]:
        part.eps = 1e-12
    for p in (model.wte, model.wpe):
        p.value = p.value * np.float32(0.02)
    return arrays_of(model, *BATCH)


def scaled_attention(scale):
    def forward(q, *arguments, real=attention.attention_forward, **options):
        return real(q * np.asarray(scale, q.dtype), *arguments, **options)
    return with_option(multihead, "attention_forward", forward)


def no_mask(q, k, v, causal, *arguments, real=attention.attention_forward, **options):
    return real(q, k, v, False, *arguments, **options)


def woven(x, H):
    B, T, C = x.shape
    return x.reshape(B, T, C // H, H).transpose(0, 3, 1, 2)


def not_merged(x):
    B, H, T, D = x.shape
    return x.reshape(B, T, H * D)


def changed(name, change):
    """A port with one array changed and nothing behind it."""
    return lambda model: (arrays := arrays_of(model, *BATCH)) | {name: change(arrays)}


FAULTS = {
    "transposed weight in the file": (changed("parameter.h.1.mlp.c_fc.w", lambda a: a["parameter.h.1.mlp.c_fc.w"].T),
                                      "parameter.h.1.mlp.c_fc.w", "it is transposed: a matrix here is"),
    "transposed weight, square": (without_parameters(with_weights("h.1.attn.c_proj.w", np.transpose)),
                                  "h.1.attn.c_proj", "the matrix is transposed"),
    "bias left out": (without_parameters(with_weights("h.0.mlp.c_fc.b", np.zeros_like)), "h.0.mlp.c_fc",
                      "the bias is missing"),
    "no scale": (scaled_attention(math.sqrt(C / H)), "h.0.attn.p", r"1 / sqrt\(D\) is missing"),
    "another scale": (scaled_attention(1 / math.sqrt(H)), "h.0.attn.p", r"divided by sqrt\(C\)"),
    "no mask": (with_option(multihead, "attention_forward", no_mask), "h.0.attn.p", "the causal mask is missing"),
    "heads woven": (with_option(multihead, "split_heads", woven), "h.0.attn.p", "head h has each H-th column"),
    "heads not merged": (with_option(multihead, "merge_heads", not_merged), "h.0.attn.z",
                         "put together without an exchange of axes"),
    "erf": (other_activation(GELU_ERF), "h.0.mlp.activation", "GELU in its exact form, by erf"),
    "ReLU": (other_activation(RELU), "h.0.mlp.activation", "ReLU in the place of GELU"),
    "no positions": (edited("wpe", lambda a: 0 * a["wpe"]), "wpe", "all of it is 0"),
    "positions from 1": (changed("h.0.in", lambda a: a["wte"] + a["parameter.wpe"][1:T + 1]), "h.0.in",
                         "positions begin at 1"),
    "embeddings scaled": (changed("h.0.in", lambda a: a["wte"] * math.sqrt(C) + a["wpe"]), "h.0.in",
                          r"multiplied by sqrt\(C\)"),
    "no residual": (edited("h.1", lambda a: a["h.1.mlp"]), "h.1.out", "the residual, .*, is missing"),
    "residual behind the norm": (edited("h.1", lambda a: a["h.1.ln_2"] + a["h.1.mlp"]), "h.1.out",
                                 "the residual begins behind the norm"),
    "variance over C - 1": (edited("h.2.ln_1", lambda a: norm(a, C - 1)), "h.2.ln_1", "divided by C - 1"),
    "no ln_f": (changed("lm_head", lambda a: a["h.2.out"] @ a["parameter.wte"].T), "lm_head", "ln_f, is missing"),
    "sum of losses": (changed("loss", lambda a: a["loss"] * 2 * T), "loss", "a sum in the place of the mean"),
    "targets": (changed("loss", lambda a: cross_entropy_forward(a["lm_head"], a["tokens"])[0][None][0]), "loss",
                "the targets are the tokens themselves"),
    "no way around": (changed("h.1.mid.grad", lambda a: a["h.1.mid.grad"] - a["h.1.out.grad"]), "h.1.mid.grad",
                      "by the residual, is missing"),
    "head alone": (changed("parameter.wte.grad", lambda a: a["lm_head.grad"].reshape(-1, V).T
                           @ a["ln_f"].reshape(-1, C)), "parameter.wte.grad", "only the head's part"),
    "repeated token": (changed("parameter.wte.grad", lambda a: last_wins(a)), "parameter.wte.grad", "comes twice"),
    "a sign": (changed("h.2.attn.z.grad", lambda a: -a["h.2.attn.z.grad"]), "h.2.attn.z.grad", "-1 times .*, a sign"),
    "float16": (changed("h.2.mlp", lambda a: a["h.2.mlp"].astype(np.float16).astype(np.float32)), "h.2.mlp",
                "rounded to float16"),
    "overflow": (changed("h.1.attn.p", lambda a: a["h.1.attn.p"] * np.nan), "h.1.attn.p", "an exp of a large number"),
    "unknown": (changed("h.1.ln_2", lambda a: a["h.1.ln_2"]**2), "h.1.ln_2", "^$"),
}


def norm(a, n):
    x = a["h.1.out"]
    x = x - x.mean(axis=-1, keepdims=True)
    y = x / np.sqrt((x * x).sum(axis=-1, keepdims=True) / n + 1e-5)
    return y * a["parameter.h.2.ln_1.g"] + a["parameter.h.2.ln_1.b"]


def last_wins(a):
    found = a["lm_head.grad"].reshape(-1, V).T @ a["ln_f"].reshape(-1, C)
    found[a["tokens"]] += a["wte.grad"]
    return found


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_at_its_place(name, file, tmp_path):
    make, place, cause = FAULTS[name]
    np.savez(tmp_path / "port.npz", **make(model_of()))
    found = compare(file, tmp_path / "port.npz")
    assert isinstance(found, Difference) and found.name == place
    assert re.search(cause, found.cause), found


def test_eps(tmp_path):
    """Only where the stream is short does eps make a difference."""
    model = model_of()
    for p in (model.wte, model.wpe):
        p.value = p.value * np.float32(0.02)
    path, *_ = export(tmp_path / "o.safetensors", model, *BATCH)
    np.savez(tmp_path / "port.npz", **other_eps(model_of()))
    found = compare(path, tmp_path / "port.npz")
    assert found.name == "h.0.ln_1" and found.cause == "eps is 1e-12: GPT-2's is 1e-5"


def test_some_of_the_arrays_are_enough(file, tmp_path):
    arrays = arrays_of(model_of(), *BATCH)
    some = {name: arrays[name].astype(np.float64) for name in ("h.0.attn.p", "loss", "h.1.out")}
    safetensors.write(tmp_path / "port.safetensors", some)
    assert compare(file, tmp_path / "port.safetensors") == 3
    some["loss"] = some["loss"] + 0.01
    np.savez(tmp_path / "port.npz", **some)
    found = compare(file, tmp_path / "port.npz")
    assert found.name == "loss" and found.agree == 2 and len(found.missing) == len(arrays) - 3
    assert str(found).startswith("2 arrays agree; the first that does not is\n    loss = mean of -log")


@pytest.mark.parametrize("port, message", [
    ({"x": np.ones(3)}, r"expected arrays with the names of the oracle, such as .*; there are x"),
    ({"tokens": BATCH[0] + 1, "loss": np.ones(())}, "expected the oracle's tokens, "),
    ({f"parameter.{path}": 0 * p.value for path, p in model_of().named_parameters()}, "another model: .* of 40 param"),
    ({"tokens": BATCH[0][:, 1:], "loss": np.ones(())}, r"of shape \(2, 9\), got .* of shape \(2, 8\)"),
])
def test_what_cannot_be_compared(port, message, file, tmp_path):
    np.savez(tmp_path / "port.npz", **port)
    with pytest.raises(InterpretError, match=message):
        compare(file, tmp_path / "port.npz")


def test_what_is_no_file(file, tmp_path):
    (tmp_path / "port.npz").write_bytes(b"PK nothing")
    with pytest.raises(InterpretError, match=r"expected an \.npz file of arrays"):
        compare(file, tmp_path / "port.npz")
    with pytest.raises(InterpretError, match=r"expected a name that ends in \.safetensors"):
        oracle.files_of("x.bin")
    with pytest.raises(InterpretError, match="expected a GPT2, got a Transformer"):
        arrays_of(encoder_decoder("pre"), *BATCH)


# ---- the page, and the command

PAGE = Path(__file__).parents[2] / "docs" / "oracle.md"


def command(folder, *arguments):
    return subprocess.run([sys.executable, "-m", "gpt2np.oracle", *map(str, arguments)], cwd=folder, text=True,
                          capture_output=True, timeout=120, env=os.environ | {"PYTHONPATH": str(PAGE.parents[1])})


@pytest.mark.slow
def test_the_program_of_the_page(tmp_path):
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler, cc")
    done = command(tmp_path, "To be, or not to be", "--out", "oracle.safetensors")
    assert done.returncode == 0 and done.stdout.startswith("315 arrays of one step on 6 tokens, loss 3.43"), done
    text = PAGE.read_text(encoding="utf-8")
    for line in re.findall(r'^{"name".*', text, re.M):
        assert line in (tmp_path / "oracle.json").read_text(encoding="utf-8")
    (tmp_path / "layernorm.c").write_text(text.split("```c\n")[1].split("```")[0], encoding="utf-8")
    subprocess.run("cc -Wall -Werror layernorm.c -o layernorm -lm".split(), cwd=tmp_path, check=True)
    subprocess.run("./layernorm", cwd=tmp_path, check=True)
    done = command(tmp_path, "--out", "oracle.safetensors", "--compare", "mine.safetensors")
    assert done.returncode == 0 and done.stdout.startswith("mine.safetensors: all 1 arrays agree")
    source = (tmp_path / "layernorm.c").read_text(encoding="utf-8")
    (tmp_path / "layernorm.c").write_text(source.replace("* g[i] + b[i]", "* g[i]"), encoding="utf-8")
    subprocess.run("cc layernorm.c -o layernorm -lm".split(), cwd=tmp_path, check=True)
    subprocess.run("./layernorm", cwd=tmp_path, check=True)
    done = command(tmp_path, "--out", "oracle.safetensors", "--compare", "mine.safetensors")
    assert done.returncode == 1 and "likely cause: the bias b is missing" in done.stdout


def test_the_example_of_a_comparison(tmp_path, monkeypatch, capsys):
    """What the page shows of it, but for the numbers."""
    model, tokenizer = gpt2np.load("demo")
    for block in model.h:
        block.mlp.activation = GELU_ERF
    tokens = np.array([tokenizer.encode("To be, or not to be")])
    arrays = arrays_of(model, tokens[:, :-1], tokens[:, 1:])
    np.savez(tmp_path / "mine.npz", **arrays)
    monkeypatch.setenv("COLUMNS", "200")
    assert oracle_command.main(["To be, or not to be", "--compare", str(tmp_path / "mine.npz")]) == 1
    said = capsys.readouterr().out
    block = re.search(r"```text\n(\d+ arrays agree.*?)```", PAGE.read_text(encoding="utf-8"), re.S)[1]
    for line in block.splitlines():
        assert line.removesuffix("...") in said, said


@pytest.mark.parametrize("arguments, message", [
    (["To", "--out", "x.safetensors"], "the text: expected from 2 to 257 tokens"),
    (["To be " * 300, "--out", "x.safetensors"], r"from 2 to 257 tokens, .*, got 6\d\d"),
    (["To be", "--out", "x.npz"], "x.npz: expected a name that ends in .safetensors"),
    (["To be", "--compare", "nothing.npz"], "nothing.npz: No such file or directory"),
    (["To be"], "expected --out FILE, to write, or --compare OTHER, or both"),
    (["--out", "x.safetensors"], "expected a text in quotes; without one, --out FILE and --compare OTHER"),
    (["To be", "--out", "x.safetensors", "--model", "dmeo"], r"did you mean demo\?"),
    (["To be", "-o", "x.safetensors", "--model", "no/where"], "no/where"),
])
def test_what_cannot_be_written(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        assert oracle_command.main(arguments) == 1
    except SystemExit as end:
        assert end.code == 2
    said = capsys.readouterr().err
    assert re.search(message, said) and said.startswith("error: ") and not list(tmp_path.iterdir())


def test_whole_numbers_are_no_parameters(tmp_path, capsys):
    model, tokenizer = gpt2np.load("demo")
    quantize(model, "int8")
    gpt2np.save(tmp_path / "narrow", model, tokenizer)
    assert oracle_command.main(["To be", "--out", str(tmp_path / "x.safetensors"), "--model",
                                str(tmp_path / "narrow")]) == 1
    assert "expected a model whose matrices are parameters, got one in int8" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["narrow"]
