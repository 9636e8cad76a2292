"""An adapter in a folder: what was trained, no more, no less; with its own base, whole, or not at all."""

import json
import os

import numpy as np
import pytest

import gpt2np
from gpt2np.adapt.lora import add_lora
from gpt2np.adapt.prefix import add_prefix
from gpt2np.adapt.replacing import added, replacements
from gpt2np.checkpoints import safetensors
from gpt2np.checkpoints.adapters import ADAPTER_FILE, ARRAYS_FILE, fingerprint, read_adapter, save_adapter
from gpt2np.checkpoints.errors import CheckpointError
from gpt2np.decoding import lay_out_for_decoding
from gpt2np.text.bpe import Tokenizer
from tests.checkpoints.tiny import MERGES, SMALL, model_of, parameters

from .models import METHODS, MODELS, adapted, batch_for, gpt2, transformer

FULL = [(name, method) for name in MODELS for method in METHODS]


@pytest.mark.parametrize("name, method", FULL)
def test_saved_is_trained_and_loads_again(name, method, tmp_path):
    model, _ = adapted(name, method)
    save_adapter(tmp_path / "a", model, "base")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [ADAPTER_FILE, ARRAYS_FILE]
    stored, _ = safetensors.read(tmp_path / "a" / ARRAYS_FILE)
    assert set(stored) == {path for path, p in model.named_parameters() if p.trainable}
    again = MODELS[name]()
    read_adapter(tmp_path / "a", again)
    assert again.loss(*batch_for(again)) == model.loss(*batch_for(model))
    assert [(path, p.trainable) for path, p in again.named_parameters()] == \
        [(path, p.trainable) for path, p in model.named_parameters()]
    save_adapter(tmp_path / "a", again, "base")                             # over it
    assert safetensors.read(tmp_path / "a" / ARRAYS_FILE)[0].keys() == stored.keys()


def test_what_else_is_trained_is_saved_too(tmp_path):
    """And what was added and is frozen: without it, nothing could be done with the rest."""
    model, _ = adapted("GPT2", "lora")
    model.ln_f.unfreeze()
    model.ln_f.g.value = model.ln_f.g.value * 2
    model.h[0].attn.c_attn.lora[0].a.trainable = False
    save_adapter(tmp_path / "a", model, "base")
    again = gpt2()
    read_adapter(tmp_path / "a", again)
    assert again.loss(*batch_for(again)) == model.loss(*batch_for(model)) and again.ln_f.g.trainable


@pytest.mark.parametrize("method", ["lora", "prefix", "bias"])
def test_another_base_is_refused(method, tmp_path):
    """Even where a single matrix differs a little: the adapter was not made for it."""
    model, _ = adapted("GPT2", method)
    save_adapter(tmp_path, model, "base")
    for change in (lambda m: m.h[1].mlp.c_fc.w, lambda m: m.wte, lambda m: m.ln_f.g):
        other = gpt2()
        change(other).value = change(other).value * 1.001
        loss = other.loss(*batch_for(other))
        with pytest.raises(CheckpointError, match="trained on another model than this one"):
            read_adapter(tmp_path, other)
        assert other.loss(*batch_for(other)) == loss and not replacements(other)
        assert all(p.trainable for _, p in other.named_parameters())
    with pytest.raises(CheckpointError, match="for another model: expected a Transformer, found one for a GPT2"):
        read_adapter(tmp_path, transformer())


def test_a_fingerprint_is_of_the_numbers_and_not_of_how_they_lie():
    model = gpt2(np.float32)
    before = fingerprint(model, ())
    lay_out_for_decoding(model)
    assert fingerprint(model, ()) == before == fingerprint(gpt2(np.float32), ())
    for _, p in model.named_parameters():
        p.value = p.value.astype(np.float64)
    assert fingerprint(model, ()) == before != fingerprint(model, ("wte",))
    add_lora(model)
    assert fingerprint(model, ()) == before


def changed(folder, **about):
    (folder / ADAPTER_FILE).write_text(json.dumps(json.loads((folder / ADAPTER_FILE).read_text()) | about))


def rewritten(folder, change):
    tensors = {name: np.array(a) for name, a in safetensors.read(folder / ARRAYS_FILE)[0].items()}
    change(tensors)
    (folder / ARRAYS_FILE).unlink()
    safetensors.write(folder / ARRAYS_FILE, tensors)


FIRST = "h.0.attn.c_attn.lora.0.a"
def one_layer(path="h.0.attn.c_attn", **options):
    """adapter.json with a single layer in it."""
    return lambda folder: changed(folder, layers={path: options})


BAD = {
    "a layer that is not there": (one_layer("h.9.attn", kind="prefix", length=2),
                                  "has no layer 'h.9.attn'"),
    "another kind": (one_layer("h.0", kind="quantum"), "not known: expected a kind of lora"),
    "no options": (lambda f: changed(f, layers={"h.0.attn.c_attn": 7}), "not known"),
    "a rank of 0": (one_layer(kind="lora", r=0, alpha=1), "rank: expected a whole number from 1 to 12"),
    "an alpha that is a word": (one_layer(kind="lora", r=1, alpha="a"), "alpha: expected a number above 0, got 'a'"),
    "an option too many": (one_layer(kind="lora", r=1, alpha=1, x=2), "cannot be"),
    "a prefix as long as n_ctx": (one_layer("h.0.attn", kind="prefix", length=12), "fewer than the 12 positions"),
    "another version": (lambda f: changed(f, format=2), "of another version: expected format 1, found 2"),
    "no base": (lambda f: changed(f, base=None), "base is not what it should be: expected str"),
    "no JSON": (lambda f: (f / ADAPTER_FILE).write_text("{"), "not valid JSON"),
    "no arrays": (lambda f: (f / ARRAYS_FILE).unlink(), "there is no such file"),
    "one array less": (lambda f: rewritten(f, lambda t: t.pop(FIRST)), f"lacks '{FIRST}'"),
    "one array more": (lambda f: rewritten(f, lambda t: t.update({"h.0.x": t[FIRST]})),
                       "no parameter of the model, 'h.0.x'"),
    "a shape of another": (lambda f: rewritten(f, lambda t: t.update({FIRST: t[FIRST].T})), "its shape is wrong"),
    "what is not finite": (lambda f: rewritten(f, lambda t: t.update({FIRST: t[FIRST] / 0})), "not finite"),
}


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("what", BAD)
def test_files_that_are_not_right_are_refused(what, tmp_path):
    damage, said = BAD[what]
    model, _ = adapted("GPT2", "lora")
    save_adapter(tmp_path, model, "base")
    damage(tmp_path)
    base = gpt2()
    before = [(path, id(p), p.trainable) for path, p in base.named_parameters()]
    with pytest.raises(CheckpointError, match=said):
        read_adapter(tmp_path, base)
    assert [(path, id(p), p.trainable) for path, p in base.named_parameters()] == before and not replacements(base)


def test_nothing_is_lost_by_saving(tmp_path):
    model, _ = adapted("GPT2", "lora")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"holds something that is not part of an adapter.*'notes.txt'"):
        save_adapter(tmp_path, model, "base")
    with pytest.raises(CheckpointError, match="a file of this name"):
        save_adapter(tmp_path / "notes.txt", model, "base")
    save_adapter(tmp_path / "a", model, "base")
    before = (tmp_path / "a" / ARRAYS_FILE).read_bytes()
    added(model)[FIRST].value[0] = np.nan
    with pytest.raises(CheckpointError, match="not finite") as error:
        save_adapter(tmp_path / "a", model, "base")
    assert error.value.file == tmp_path / "a"           # and not the one beside it that had been begun
    assert (tmp_path / "a" / ARRAYS_FILE).read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["a", "notes.txt"]
    frozen = gpt2()
    with pytest.raises(CheckpointError, match="all parameters of the model are trained"):
        save_adapter(tmp_path / "b", frozen, "base")
    frozen.freeze()
    with pytest.raises(CheckpointError, match="nothing to save"):
        save_adapter(tmp_path / "b", frozen, "base")
    add_prefix(frozen, length=2, hidden=3)
    with pytest.raises(ValueError, match=r"call flattened\(model\)"):
        save_adapter(tmp_path / "b", frozen, "base")
    assert sorted(os.listdir(tmp_path)) == ["a", "notes.txt"]


def test_load_with_an_adapter(tmp_path):
    """gpt2np.load(base, adapter=DIR): the folder of ours, of a run, or a sentence."""
    model, tokenizer = model_of(parameters(SMALL), SMALL), Tokenizer(MERGES)
    gpt2np.save(tmp_path / "base", model, tokenizer)
    add_lora(model, r=2)
    for p in added(model).values():
        p.value = np.random.default_rng(0).standard_normal(p.shape).astype(np.float32)
    save_adapter(tmp_path / "run" / "best", model, str(tmp_path / "base"))
    (tmp_path / "run" / "run.json").write_text("{}")
    expected = model.forward([[1, 2, 3]])[0]
    for folder in (tmp_path / "run" / "best", str(tmp_path / "run")):
        loaded, _ = gpt2np.load(tmp_path / "base", adapter=folder)
        assert (loaded.forward([[1, 2, 3]])[0] == expected).all()
    for folder, said in ((tmp_path / "nowhere", "there is no such folder"),
                         (tmp_path / "base", "it is not the folder of an adapter: expected one with adapter.json")):
        with pytest.raises(CheckpointError, match=said):
            gpt2np.load(tmp_path / "base", adapter=folder)
    with pytest.raises(CheckpointError, match=r"adapter.json is an adapter's.*--adapter"):
        gpt2np.load(tmp_path / "run" / "best")
