"""Patterns of paths: component by component, with all that is below; and what is said of one that fits nothing."""

import re

import pytest

from gpt2np.errors import Gpt2npError
from gpt2np.layers.paths import SHOWN, chosen, fits, freeze_all_but, near
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2

MODEL = GPT2(GPT2Config(5, 4, 4, 2, 12))
PATHS = [path for path, _ in MODEL.named_parameters()]


@pytest.mark.parametrize("pattern, path, expected", [
    ("ln_f", "ln_f.g", True), ("ln_f.g", "ln_f.g", True), ("ln_f.g.x", "ln_f.g", False), ("h.1", "h.1.ln_1.g", True),
    ("h.1", "h.11.ln_1.g", False), ("h.11", "h.1.ln_1.g", False), ("h", "h.1.ln_1.g", True), ("h.*", "h.1", True),
    ("*", "wte", True), ("*.*", "wte", False), ("h.*.attn.c_attn", "h.3.attn.c_attn.w", True), ("", "wte", False),
    ("h.*.attn.c_attn", "h.3.attn.c_proj.w", False), ("attn", "h.3.attn.c_attn.w", False), ("h.*.w", "h.3.w", True),
    ("*.attn", "h.3.attn", False), ("h.1*", "h.11", False), ("h.[0-9]", "h.1", False), ("wt", "wte", False),
    ("h..attn", "h.3.attn", False), ("h.*.*.*.w", "h.3.attn.c_attn.w", True)])
def test_a_pattern_goes_component_by_component(pattern, path, expected):
    assert fits(pattern, path) is expected


def test_several_patterns_keep_the_order_of_the_paths():
    assert chosen(["ln_f.b", "wpe", "h.11.ln_1"], PATHS) == ["wpe", "h.11.ln_1.g", "h.11.ln_1.b", "ln_f.b"]
    assert chosen(["*"], PATHS) == PATHS and chosen([], PATHS) == []


@pytest.mark.parametrize("pattern, first", [
    ("h.12", ["h.2", "h.1", "h.11"]), ("ln_g", ["ln_f.g", "ln_f"]), ("h.*.atn.c_attn", ["h.*.attn.c_attn"]),
    ("H.3", ["h.3"]), ("attn", ["h.*.attn"]), ("nothing.like.it", ["wte", "wpe", "h.*", "h.*.ln_1"])])
def test_what_fits_nothing_is_told_what_there_is(pattern, first):
    with pytest.raises(Gpt2npError, match=rf"got {re.escape(repr(pattern))}; there are (.*)") as caught:
        chosen(["wte", pattern], PATHS)
    there = str(caught.value).split("there are ")[1].split(", ")
    assert there[:len(first)] == first and len(there) <= SHOWN + 1
    assert {"wte", "wpe", "h.*.attn.c_attn", "h.*.mlp.c_proj"} <= set(there)
    assert all(any(fits(name, path) for path in PATHS) for name in there if name != "...")


def test_many_names_are_cut_short():
    assert near("x", (f"part_{i}.w" for i in range(99))).endswith("part_15, ...")


def test_freezing_all_but_what_is_named():
    freeze_all_but(MODEL, ["h.*.attn.c_attn.b", "ln_f"])
    trained = [path for path, p in MODEL.named_parameters() if p.trainable]
    assert trained == [*(f"h.{i}.attn.c_attn.b" for i in range(12)), "ln_f.g", "ln_f.b"]
    with pytest.raises(Gpt2npError):
        freeze_all_but(MODEL, ["wte", "wqe"])
    assert [path for path, p in MODEL.named_parameters() if p.trainable] == trained     # nothing was changed
    freeze_all_but(MODEL, ["wte"])
    assert [path for path, p in MODEL.named_parameters() if p.trainable] == ["wte"]
