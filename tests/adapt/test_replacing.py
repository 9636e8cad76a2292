"""Layers in others' places: whole paths, shared ones once, all or none, and back."""

import numpy as np
import pytest

from gpt2np.adapt.adapter import add_adapters
from gpt2np.adapt.lora import LoRALinear, add_lora
from gpt2np.adapt.prefix import add_prefix
from gpt2np.adapt.replacing import AdaptError, Replacement, added, places, replace, replacements, restore
from gpt2np.layers.linear import Linear
from gpt2np.layers.module import Module

from .models import gpt2, transformer


class Tree(Module):
    """Two names of one layer, and a tuple."""

    def __init__(self):
        self.first = Linear(3, 4, np.random.default_rng(0))
        self.second, self.several = self.first, (Linear(3, 4, None), self.first)


def lora(layer):
    return LoRALinear(layer, 2, 4.0, rng=np.random.default_rng(0))


def test_a_pattern_names_whole_paths():
    """attn is not c_attn, one component is not two, and what stands below a path is not meant."""
    model = gpt2()
    assert list(replace(model, "h.*.attn.c_attn", lora)) == ["h.0.attn.c_attn", "h.1.attn.c_attn"]
    model = gpt2()
    assert list(replace(model, ["h.1.mlp.c_fc", "*.0.*.c_proj"], lora)) == \
        ["h.0.attn.c_proj", "h.0.mlp.c_proj", "h.1.mlp.c_fc"]
    model = gpt2()
    for pattern in ("attn.c_attn", "c_attn", "h.attn.c_attn", "h.*.c_attn", "h.*.attn.c_att", "h.2.attn.c_attn", ""):
        with pytest.raises(AdaptError, match=r"expected a pattern that names layers.* there are .*h\.\*\.attn\.c_attn"):
            replace(model, pattern, lora)


def test_paths_and_parameters_stay():
    base = gpt2()
    before = dict(base.named_parameters())
    add_lora(base, ["h.*.attn.*", "h.*.mlp.*"], 2, 4)
    add_prefix(base, length=2)
    after = dict(base.named_parameters())
    assert [path for path in after if path in before] == list(before)
    assert all(after[path] is p for path, p in before.items())
    assert set(after) - set(before) == set(added(base))
    assert {path for path, p in after.items() if p.trainable} == set(added(base))


def test_what_is_shared_is_replaced_once_and_everywhere():
    tree = Tree()
    layer, made = tree.first, []
    old = replace(tree, "second", lambda base: made.append(base) or lora(base))
    assert (made == [layer] and old == {"second": layer}) or old == {"first": layer}
    assert tree.first is tree.second is tree.several[1] and isinstance(tree.first, LoRALinear)
    assert not isinstance(tree.several[0], LoRALinear)
    restore(tree, old)
    assert tree.first is tree.second is tree.several[1] is layer
    old = replace(tree, ["several.*", "first"], lora)
    assert isinstance(tree.several[0], LoRALinear) and tree.several[1] is tree.first and len(replacements(tree)) == 2


def test_all_or_none():
    """Where one is refused, nothing is replaced: here the second is no matrix."""
    model = gpt2()
    loss = model.loss([[1, 2]], [[2, 3]])
    for paths, said in ((["h.0.attn.c_attn", "h.1.attn"], "h.1.attn: expected a linear layer.*got SelfAttention"),
                        (["h.0.attn.c_attn", "ln_f"], "ln_f: expected a linear layer.*got LayerNorm"),
                        ("lm_head", "lm_head: expected a linear layer.*got LMHead"),
                        ("wte", "wte: expected a layer, got a table, which the model also uses elsewhere"),
                        ("lm_head.wte", "expected a layer, got a table, which the model also uses elsewhere"),
                        ("wpe", "wpe: expected a layer, got a table; name the matrices")):
        with pytest.raises(AdaptError, match=said):
            add_lora(model, paths)
    assert not replacements(model) and model.loss([[1, 2]], [[2, 3]]) == loss
    assert all(p.trainable for _, p in model.named_parameters())


def test_nothing_is_added_twice():
    for add, again in ((add_lora, "h.0.attn.c_attn: expected one as the model has it, got one with lora"),
                       (lambda m, **o: add_prefix(m, length=2, **o), "h.0.attn: expected one .* got one with prefix"),
                       (lambda m, **o: add_adapters(m, "h.*", 2, **o), "h.0: expected a block, .* got AdapterPreN")):
        model = gpt2()
        add(model)
        with pytest.raises(AdaptError, match=again):
            add(model)
    with pytest.raises(AdaptError, match=r"ln_f: expected a block, such as h.0, got LayerNorm"):
        add_adapters(gpt2(), ["h.*.*.c_proj", "ln_f"])


def test_one_after_the_other_and_back():
    """A prefix around LoRA, taken out again in the reverse order."""
    model = gpt2()
    loss = model.loss([[1, 2]], [[2, 3]])
    first, second = add_lora(model), add_prefix(model, length=2)
    assert {layer.kind for layer in replacements(model).values()} == {"lora", "prefix"}
    assert isinstance(model.h[0].attn.c_attn, LoRALinear)
    assert all(p.trainable for p in added(model).values())
    restore(model, second)
    restore(model, first)
    assert model.loss([[1, 2]], [[2, 3]]) == loss and not replacements(model)
    with pytest.raises(AdaptError, match="restore: expected the model that layers were taken out of"):
        restore(model, {"h.7.attn": model.h[0].attn})


def test_a_replacement_says_its_options():
    with pytest.raises(NotImplementedError):
        Replacement().options()
    assert len({place.path for place in places(transformer())}) == len(list(places(transformer())))
