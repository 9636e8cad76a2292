"""What all classes share: the parameters by name, their initial values, messages for ids and shapes."""

import math
import tracemalloc

import numpy as np
import pytest

from gpt2np import device
from gpt2np.layers.checks import check_heads, check_ids, check_padding_mask, check_shape
from gpt2np.layers.embedding import Embedding
from gpt2np.layers.layernorm import LayerNorm
from gpt2np.layers.linear import Linear
from gpt2np.layers.module import Constant, Module, Parameter
from gpt2np.layers.tiles import sum_rows, tiles
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2


def test_gradients_add_and_the_first_is_kept_as_it_is():
    parameter, first = Parameter(np.zeros(3)), np.ones(3)
    parameter.accumulate(first)
    assert parameter.grad is first
    parameter.accumulate(np.full(3, 2.0))
    assert parameter.grad is first and first.tolist() == [3, 3, 3]


def test_freeze_and_back():
    layer = Linear(2, 3, np.random.default_rng(0))
    layer.freeze()
    y, cache = layer.forward(np.ones((4, 2), "f"))
    layer.backward(y, cache)
    assert [p.grad for _, p in layer.named_parameters()] == [None, None]
    layer.unfreeze()
    layer.backward(y, cache)                            # what was kept for a backward was decided by then
    assert layer.w.grad is None
    y, cache = layer.forward(np.ones((4, 2), "f"))
    layer.backward(y, cache)
    assert layer.w.grad.shape == (2, 3)
    layer.zero_grad()
    assert layer.w.grad is None


class Shelf(Module):
    def __init__(self):
        self.table = Constant(np.arange(3))
        self.wte = Embedding(5, 2, None)
        self.layers = (Linear(2, 3, None), Linear(3, 2, None))      # a tuple is as good as a list
        self.size = 7
        self.again = self.layers[0]
        self.tied = self.wte


def test_what_is_below_a_module_by_name():
    """children: directly; named_...: at any depth, what is shared once, under its first path."""
    shelf, whole = Shelf(), Module()
    whole.shelf = shelf
    assert [name for name, _ in shelf.children()] == ["table", "wte", "layers.0", "layers.1", "again", "tied"]
    assert [path for path, _ in whole.named_modules()] == ["shelf", "shelf.wte", "shelf.layers.0", "shelf.layers.1"]
    assert [path for path, _ in whole.named_parameters()] == [
        "shelf.wte", "shelf.layers.0.w", "shelf.layers.0.b", "shelf.layers.1.w", "shelf.layers.1.b"]
    assert dict(whole.named_constants()) == {"shelf.table": shelf.table}


def test_a_constant_is_shared_by_replicas_and_moves_with_the_parameters():
    shelf = Shelf()
    assert shelf.replica().table.value is shelf.table.value
    moved = device._move(shelf, lambda array: array + 1)
    assert moved is shelf and shelf.table.value.tolist() == [1, 2, 3] and (shelf.wte.value == 1).all()


def test_initial_values():
    layer = Linear(300, 400, np.random.default_rng(0))
    assert layer.w.value.dtype == np.float32
    assert abs(layer.w.value.std() - 0.02) < 1e-4 and abs(layer.w.value.mean()) < 1e-4
    assert not layer.b.value.any()
    assert not Linear(3, 4, None).w.value.any()
    xavier = Linear(300, 400, np.random.default_rng(0), std=None)
    assert xavier.w.value.std() == pytest.approx(math.sqrt(2 / 700), rel=0.01)


def test_a_model_takes_no_memory_until_it_is_asked_for():
    """So the shapes of a file's model are known before there is room for it, or where there cannot be: 4 (2^31 - 1)^2
    numbers are beyond what NumPy can address, on any machine.
    """
    huge = GPT2Config(2**31 - 1, 2**31 - 1, 2**31 - 1, 1, 1000)
    tracemalloc.start()
    shapes = {path: p.shape for path, p in GPT2(huge).named_parameters()}
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    assert shapes["h.999.mlp.c_fc.w"] == (2**31 - 1, 4 * (2**31 - 1)) and len(shapes) == 12004


def test_a_blank_becomes_an_array_once():
    layer = LayerNorm(3, dtype=np.float64)
    g = layer.g.value
    assert g.tolist() == [1, 1, 1] and g.dtype == np.float64 and layer.g.value is g and layer.g.shape == (3,)
    layer.b.value += 1
    assert layer.b.value.tolist() == [1, 1, 1]
    replica = LayerNorm(3)
    assert replica.replica().g.value is replica.g.value     # shared, also where neither was asked for before


def test_tiles_cover_every_row_once(monkeypatch):
    monkeypatch.setattr("gpt2np.layers.tiles.TILE", 10)
    x, y = np.arange(36.0).reshape(3, 4, 3), np.zeros((3, 4, 1))
    seen = [(len(a), a.sum()) for a, _ in tiles(x, y)]
    assert [n for n, _ in seen] == [3, 3, 3, 3]
    assert sum(total for _, total in seen) == x.sum()
    for _, b in tiles(x, y):
        b += 1
    assert (y == 1).all()
    assert sum_rows(x).tolist() == x.sum(axis=(0, 1)).tolist()


def test_messages_say_what_was_expected_and_what_came():
    with pytest.raises(ValueError, match=r"^b: expected shape \(3,\), got \(1, 3\)$"):
        check_shape("b", np.zeros((1, 3)), (3,))
    with pytest.raises(ValueError, match=r"^ids: expected ids from 0 to 4, got 7 at index \(1, 0\)$"):
        check_ids("ids", np.array([[1], [7]]), 5)
    with pytest.raises(ValueError, match=r"^ids: expected integers, got float64$"):
        check_ids("ids", np.array([1.0]), 5)
    with pytest.raises(ValueError, match=r"^padding_mask: expected an array of bool, True for a real token, got list$"):
        check_padding_mask([[True]], (1, 1))
    with pytest.raises(ValueError, match=r"^padding_mask: expected shape \(1, 2\), got \(1, 1\)$"):
        check_padding_mask(np.array([[True]]), (1, 2))
    with pytest.raises(ValueError, match=r"^n_embd: expected a multiple of n_head 4, got 6$"):
        check_heads(6, 4)
    check_ids("targets", np.array([4, -100]), 5, ignored=-100)
    check_ids("ids", np.array([], int), 5)


def test_ids_are_looked_at_in_a_memmap_too(tmp_path):
    """A file of tokens that is mapped into memory is on the host, whatever its class."""
    ids = np.memmap(tmp_path / "ids", np.int64, "w+", shape=(3,))
    ids[2] = -1
    with pytest.raises(ValueError, match=r"^ids: expected ids from 0 to 4, got -1 at index \(2,\)$"):
        check_ids("ids", ids, 5)

