"""LoRA, AdaLoRA and a prefix against huggingface/peft: numbers and folders of tests/golden/make_peft.py."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from gpt2np.adapt.adalora import RankBudget, add_adalora
from gpt2np.adapt.lora import add_lora
from gpt2np.adapt.prefix import add_prefix
from gpt2np.adapt.replacing import added, merge, replacements
from gpt2np.checkpoints import safetensors
from gpt2np.checkpoints.errors import CheckpointError
from gpt2np.checkpoints.peft import CONFIG_FILE, MODEL_FILE, read_peft, write_peft
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.training.adamw import AdamW

GOLDEN = Path(__file__).parents[1] / "golden"
AT = ["h.*.attn.c_attn", "h.*.mlp.c_fc"]
METHODS = ("lora", "rslora", "adalora", "prefix")
LIMIT = 1e-12


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "peft.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def base_of(golden, dtype=np.float64):
    (V, C), n_ctx = golden["base/transformer.wte.weight"].shape, len(golden["base/transformer.wpe.weight"])
    model = GPT2(GPT2Config(V, n_ctx, C, 2, 2), dtype=dtype)
    for path, p in model.named_parameters():
        name = path if path in ("wte", "wpe") else path.rpartition(".")[0]
        p.value = golden[f"base/transformer.{name}.{'bias' if path.endswith('.b') else 'weight'}"].astype(dtype)
    return model


def ours(golden, kind, method):
    """Arrays of the golden file by our paths: of a prefix, two for each block; of a matrix, transposed."""
    found = {}
    for name, a in golden.items():
        key = name.removeprefix(f"{method}/{kind}/")
        if key == name:
            continue
        if method == "prefix":
            P, n = a.shape
            both = a.reshape(P, 2, 2, n // 4)
            return {f"h.{i}.attn.prefix_{'kv'[j]}": both[:, i, j] for i in range(2) for j in range(2)}
        path, _, letter = key.removeprefix("base_model.model.transformer.").partition(".lora_")
        own = {"A": "p", "E": "e", "B": "q"} if method == "adalora" else {"A": "lora.0.a", "B": "lora.0.u"}
        found[f"{path}.{own[letter[0]]}"] = a[:, 0] if letter[0] == "E" else a.T
    return found


def adapted(golden, method):
    """The base with what peft had at first."""
    model, first = base_of(golden), ours(golden, "first", method)
    if method == "prefix":
        add_prefix(model, length=3)
    elif method == "adalora":
        add_adalora(model, AT, r=4, alpha=5)
    else:
        stabilised = method == "rslora"
        add_lora(model, "h.1.attn.c_attn", 2 if stabilised else 3, 5, rank_stabilised=stabilised)
        add_lora(model, ["h.0.attn.c_attn", "h.*.mlp.c_fc"], 4 if stabilised else 3, 5, rank_stabilised=stabilised)
    new = added(model)
    assert set(new) == set(first)
    for path, p in new.items():
        assert p.shape == first[path].shape, path
        p.value = np.ascontiguousarray(first[path])
    return model


def error(got, expected):
    return np.abs(np.asarray(got) - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("method", METHODS)
def test_logits_loss_and_gradients(golden, method):
    model = adapted(golden, method)
    logits, _ = model.forward(golden["tokens"])
    assert error(logits, golden[f"{method}/logits"]) < LIMIT
    loss = model.loss_and_gradients(golden["tokens"], golden["targets"])
    assert error(loss, golden[f"{method}/loss"]) < LIMIT
    gradients = ours(golden, "grad", method)
    for path, p in model.named_parameters():
        if path in gradients:
            assert error(p.grad, gradients[path]) < LIMIT, path
        else:
            assert p.grad is None, path


@pytest.mark.parametrize("method", ["lora", "rslora", "prefix"])
def test_five_steps_of_adamw(golden, method):
    model = adapted(golden, method)
    optimizer, losses = AdamW(model, beta2=0.999, weight_decay=0.0), []
    for _ in range(5):
        losses.append(model.loss_and_gradients(golden["tokens"], golden["targets"]))
        optimizer.step(1e-2)
    losses.append(model.loss(golden["tokens"], golden["targets"]))
    assert error(losses, golden[f"{method}/losses"]) < 1e-10
    assert error(model.forward(golden["tokens"])[0], golden[f"{method}/last"]) < 1e-10
    if method != "prefix":
        merge(model)
        for path, layer in model.named_modules():
            if f"{method}/merged/transformer.{path}.weight" in golden:
                assert error(layer.w.value, golden[f"{method}/merged/transformer.{path}.weight"]) < 1e-10, path


def test_the_budget_at_every_step(golden):
    model = adapted(golden, "adalora")
    budget = RankBudget(model, 2, steps=5, warmup=1, final=1, gamma=0.0)
    assert [budget.budget(step) for step in range(1, 6)] == golden["adalora/budgets"].tolist()
    optimizer, ranks = AdamW(model, beta2=0.999, weight_decay=0.0), []
    for step in range(1, 6):
        model.loss_and_gradients(golden["tokens"], golden["targets"])
        budget.before_update()
        optimizer.step(1e-2)
        budget.after_update(step)
        ranks.append(sum(np.count_nonzero(layer.e.value) for layer in replacements(model).values()))
    assert ranks == golden["adalora/ranks"].tolist()


@pytest.mark.parametrize("method", METHODS)
def test_a_folder_of_peft(golden, method, tmp_path):
    """What peft saved after five steps gives its logits; AdaLoRA's without the ranks cut away."""
    model = base_of(golden)
    read_peft(GOLDEN / "peft" / method, model)
    assert error(model.forward(golden["tokens"])[0], golden[f"{method}/last"]) < 1e-6       # saved in float32
    if method == "adalora":
        assert sorted(layer.r for layer in replacements(model).values()) == [1, 2, 2, 3]
    if method != "prefix":
        logits, _ = model.forward(golden["tokens"])
        write_peft(tmp_path, model, "base")
        merge(model)
        assert error(model.forward(golden["tokens"])[0], logits) < LIMIT
        for path, layer in model.named_modules():
            if f"{method}/merged/transformer.{path}.weight" in golden:
                assert error(layer.w.value, golden[f"{method}/merged/transformer.{path}.weight"]) < 1e-6, path
    else:
        write_peft(tmp_path, model, "base")
    written, _ = safetensors.read(tmp_path / MODEL_FILE)
    theirs, _ = safetensors.read(GOLDEN / "peft" / method / MODEL_FILE)
    assert {n: a.tobytes() for n, a in written.items()} == {n: a.astype(float).tobytes() for n, a in theirs.items()}
    config, expected = (json.loads((f / CONFIG_FILE).read_text()) for f in (tmp_path, GOLDEN / "peft" / method))
    for field in config.keys() & expected.keys() - {"target_modules", "base_model_name_or_path", "rank_pattern", "r",
                                                     "target_r", "total_step", "init_lora_weights"}:
        assert config[field] == expected[field], field
    again = base_of(golden)
    read_peft(tmp_path, again)
    assert error(again.forward(golden["tokens"])[0], golden[f"{method}/last"]) < 1e-6


BAD_CONFIGS = {
    "use_dora": True, "bias": "all", "modules_to_save": ["lm_head"], "alpha_pattern": {"c_attn": 3},
    "init_lora_weights": "pissa", "peft_type": "IA3", "lora_alpha": "16", "lora_bias": True,
}


@pytest.mark.parametrize("field", BAD_CONFIGS)
def test_what_is_not_supported_is_refused_by_its_name(golden, field, tmp_path):
    folder = shutil.copytree(GOLDEN / "peft" / "lora", tmp_path / "peft")
    config = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(config | {field: BAD_CONFIGS[field]}))
    model = base_of(golden)
    before = list(model.named_parameters())
    with pytest.raises(CheckpointError, match=field.removeprefix("lora_")):
        read_peft(folder, model)
    assert list(model.named_parameters()) == before


def of_another_shape(tensors, name):
    tensors[name] = tensors[name][:, :-1]


@pytest.mark.parametrize("change, said", [
    (lambda t, name: t.pop(name), "lacks 'lora_A'"),
    (of_another_shape, "its shape is wrong"),
    (lambda t, name: t.update({name.replace("h.0", "h.7"): t.pop(name)}), "lacks 'lora_"),
    (lambda t, name: t.update({f"{name}.more": t[name]}), "what it is, is not known"),
    (lambda t, name: t.update({name: t[name] * np.float32("nan")}), "not finite"),
    (lambda t, name: t.update({name: np.zeros((2, 8), np.float32)}), "the ranks of h.0.attn.c_attn differ"),
    (lambda t, name: t.clear(), "no arrays"),
])
def test_arrays_that_are_not_right_are_refused(golden, change, said, tmp_path):
    folder = shutil.copytree(GOLDEN / "peft" / "lora", tmp_path / "peft")
    tensors = {name: np.array(a) for name, a in safetensors.read(folder / MODEL_FILE)[0].items()}
    change(tensors, "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight")
    (folder / MODEL_FILE).unlink()
    safetensors.write(folder / MODEL_FILE, tensors)
    model = base_of(golden)
    with pytest.raises(CheckpointError, match=said):
        read_peft(folder, model)
    assert not replacements(model) and all(p.trainable for _, p in model.named_parameters())


def test_what_peft_has_no_file_for(golden, tmp_path):
    from gpt2np.adapt.adapter import add_adapters
    for add, said in ((lambda m: add_adapters(m, width=2), "one of them at a time"),
                      (lambda m: add_lora(m, parts="qv", r=2), "parts of a matrix"),
                      (lambda m: (add_lora(m, r=2), m.ln_f.unfreeze()), "the model's own parameters"),
                      (lambda m: add_prefix(m, "h.0.attn", length=2), "in all 2 blocks"),
                      (lambda m: None, "found nothing of a GPT2")):
        model = base_of(golden)
        add(model)
        with pytest.raises(CheckpointError, match=said):
            write_peft(tmp_path, model, "base")
    assert not list(tmp_path.iterdir())
