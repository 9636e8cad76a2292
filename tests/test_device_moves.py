"""to_device and to_host: what moves, what stays, and what is said where there is no GPU."""

import sys
import types

import numpy as np
import pytest

from gpt2np.device import NoDeviceError, to_device, to_host
from tests import fake_device
from tests.fake_device import DeviceArray


@pytest.fixture
def cupy(monkeypatch):
    """The stand-in in the place of CuPy."""
    monkeypatch.setitem(sys.modules, "cupy", fake_device.cupy)


class Pair:
    """As much of a module as the move sees."""

    def __init__(self):
        self.w = types.SimpleNamespace(value=np.ones((2, 3)), grad=np.zeros((2, 3)))
        self.b = types.SimpleNamespace(value=np.ones(3), grad=None)
        self.table = types.SimpleNamespace(value=np.arange(3))

    def named_parameters(self):
        yield "w", self.w
        yield "b", self.b

    def named_constants(self):
        yield "table", self.table


def test_an_array_goes_there_and_back(cupy):
    x = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    there = to_device(x)
    assert isinstance(there, DeviceArray) and to_device(there) is there
    back = to_host(there)
    assert type(back) is np.ndarray and back.dtype == x.dtype and np.array_equal(back, x)


def test_to_host_leaves_the_hosts_arrays_alone():
    x = np.ones(3)
    assert to_host(x) is x                              # and it needs no CuPy


def test_a_tree_keeps_its_shape_and_what_is_no_array(cupy):
    tree = {"cache": (np.ones(2), [np.arange(3), None]), "loss": 1.5, "name": "layernorm", "n": np.int64(3)}
    there = to_device(tree)
    assert isinstance(there["cache"][0], DeviceArray) and isinstance(there["cache"][1][0], DeviceArray)
    assert there["cache"][1][1] is None and (there["loss"], there["name"], there["n"]) == (1.5, "layernorm", 3)
    back = to_host(there)
    assert type(back["cache"]) is tuple and np.array_equal(back["cache"][1][0], np.arange(3))


def test_a_modules_parameters_move_in_place(cupy):
    pair = Pair()
    w = pair.w
    assert to_device(pair) is pair and pair.w is w
    assert isinstance(w.value, DeviceArray) and isinstance(w.grad, DeviceArray) and pair.b.grad is None
    assert isinstance(pair.table.value, DeviceArray)
    to_host(pair)
    assert type(w.value) is np.ndarray and type(w.grad) is np.ndarray and type(pair.b.value) is np.ndarray


@pytest.mark.parametrize("move", [to_device, to_host])
def test_what_cannot_move_is_named(cupy, move):
    with pytest.raises(TypeError, match=r"expected arrays.* but got object"):
        move([np.ones(2), object()])


def test_without_cupy_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)      # import cupy then raises ImportError
    with pytest.raises(NoDeviceError, match=r"expected CuPy.*pip install 'gpt2np\[gpu\]'"):
        to_device(np.ones(3))


def test_without_a_gpu_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(is_available=lambda: False))
    with pytest.raises(NoDeviceError, match=r"expected an NVIDIA GPU.*finds none"):
        to_device(np.ones(3))


def test_the_real_cupy_without_a_gpu_is_told_apart():
    cupy = pytest.importorskip("cupy")
    if cupy.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(NoDeviceError, match="finds none"):
        to_device(np.ones(3))
