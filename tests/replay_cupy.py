"""Repeat on the real CuPy what the stand-in for it accepts: does CuPy take each of those calls too?

No GPU is needed. Every call of a DeviceArray is asked of a cupy.ndarray over host memory as well, which runs CuPy's own
Python side and stops at CUDA. Where CuPy is not installed, the test that uses this is skipped.

    with replaying() as replay:
        model.loss_and_gradients(DeviceArray(tokens), DeviceArray(targets))
    assert replay.refused == []
"""

import contextlib
import operator
from dataclasses import dataclass, field
from unittest import mock

import numpy as np

from tests import fake_device
from tests.golden.snapshot_cupy import over_host_memory, refusal


@dataclass
class Replay:
    """How many calls were repeated, of how many kinds, and what CuPy said to those that it does not take."""

    calls: int = 0
    kinds: set = field(default_factory=set)
    refused: list = field(default_factory=list)


def real(thing):
    """The same arguments, with a real CuPy array in the place of each DeviceArray."""
    if isinstance(thing, fake_device.DeviceArray):
        return over_host_memory(np.array(thing._host))
    if isinstance(thing, (tuple, list)):
        return type(thing)(real(item) for item in thing)
    return {key: real(value) for key, value in thing.items()} if isinstance(thing, dict) else thing


def first_array(thing):
    """Any one of the arrays in arguments made by `real`, to ask through."""
    if isinstance(thing, (tuple, list)):
        return next((found for found in map(first_array, thing) if found is not None), None)
    return thing if type(thing).__module__.startswith("cupy") else None


def ask(name, function, args, keywords):
    """Make the call that fake_device.run is about to make, but of CuPy, in the way NumPy would hand it over."""
    args, keywords = real(args), real(keywords)
    array = first_array([*args, *keywords.values()])
    if array is None:                                   # np.zeros(3, like=x): no array is among the arguments
        array = over_host_memory(np.zeros(3))
    owner = getattr(function, "__self__", np.power if function is operator.pow else None)
    if isinstance(owner, np.ufunc):
        method = "__call__" if function is operator.pow else function.__name__
        return array.__array_ufunc__(owner, method, *args, **keywords)
    if getattr(np.ndarray, name, None) is function:
        return getattr(array, name)(*args[1:], **keywords)
    return array.__array_function__(function, (type(array),), args, keywords)


@contextlib.contextmanager
def replaying():
    """Inside the `with`, every call of a DeviceArray is repeated on CuPy; what CuPy refuses is in .refused."""
    replay, run = Replay(), fake_device.run

    def run_twice(name, function, args, keywords, host_allowed=False):
        asked = keywords if name in fake_device.API["functions"] else {**keywords}
        asked = {k: v for k, v in asked.items() if not (name in fake_device.COPYING and k == "copy")}
        reason = refusal(lambda: ask(name, function, args, asked))
        replay.calls, replay.kinds = replay.calls + 1, replay.kinds | {name}
        if reason:
            replay.refused.append(f"{name}: {reason}")
        return run(name, function, args, keywords, host_allowed)

    with mock.patch.object(fake_device, "run", run_twice):
        yield replay
