"""Every pair, every module and GPT-2 on a strict stand-in for a GPU array: NumPy's bits, and no copy in between."""

import sys

import numpy as np
import pytest

from gpt2np.device import to_device, to_host
from gpt2np.gradcheck.cases import CASES
from gpt2np.gradcheck.checks import Seed, calls_of, cast, upstream
from gpt2np.layers.dropout import draw_keep
from gpt2np.training.parallel import share_loss
from tests import fake_device
from tests.fake_device import watching

every_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_device.cupy)


def made(case, dtype):
    """The case's subject in this dtype, y, a dy for it, and the gradients."""
    subject = case.make(np.random.default_rng(0))
    arguments = subject.arguments = cast(subject.arguments, dtype)
    y, cache = subject.forward(arguments)
    dy = upstream(y, np.random.default_rng(1))
    with subject.holding(arguments):
        return subject, y, dy, subject.backward(dy, cache)


def on_device(subject):
    """The arguments moved, but for those that forward checks on the host, and moves itself."""
    return {n: a if n in subject.on_host or isinstance(a, Seed) else to_device(a) for n, a in subject.arguments.items()}


@dtypes
@every_case
def test_stand_in_gives_the_same_bits(case, dtype, stand_in):
    with calls_of(draw_keep) as drawn:
        subject, y, dy, gradients = made(case, dtype)
    arguments, dy = on_device(subject), to_device(dy)
    with watching() as seen, subject.holding(arguments):
        y_device, cache = subject.forward(arguments)
        gradients_device = subject.backward(dy, cache)
    # What moves: each array that stayed on the host, once, and each mask of dropout; nothing else, and nothing back.
    assert all(e.startswith("to_device: asarray") for e in seen.events)
    assert len(seen.events) == len(subject.on_host) + len(drawn)
    assert to_host(y_device).tobytes() == np.asarray(y).tobytes()
    for name, gradient in gradients.items():
        assert to_host(gradients_device[name]).tobytes() == gradient.tobytes(), name


@dtypes
@pytest.mark.parametrize("frozen", [False, True], ids=["", "frozen"])
def test_loss_and_gradients_on_the_stand_in(dtype, frozen, stand_in):
    case = next(c for c in CASES if c.name == "GPT2")
    model = case.make(np.random.default_rng(0)).module
    tokens = np.array([[1, 2, 1], [0, 6, 6]])
    targets = np.array([[2, 1, -100], [6, 6, 0]])
    for path, parameter in model.named_parameters():
        parameter.value = parameter.value.astype(dtype)
        parameter.trainable = not frozen or path.endswith("ln_1.g")
    loss = model.loss_and_gradients(tokens, targets)
    expected = {path: p.grad for path, p in model.named_parameters()}
    model.zero_grad()
    to_device(model)
    with watching() as seen:
        loss_device = model.loss_and_gradients(tokens, targets)
    assert [e.split(" (")[0] for e in seen.events] == ["to_device: asarray of an array of the host"] * 2
    assert to_host(loss_device) == loss
    with watching() as seen:
        logits, cache = model.forward(tokens)
        model.backward(logits, cache)
    assert [e.split(" (")[0] for e in seen.events] == ["to_device: asarray of an array of the host"]
    model.zero_grad()
    assert share_loss(model, model.counted(tokens, targets), (tokens, targets)) == float(loss)
    model.loss_and_gradients(tokens, targets)
    for path, parameter in to_host(model).named_parameters():
        if parameter.trainable:
            assert parameter.grad.tobytes() == expected[path].tobytes(), path
        else:
            assert parameter.grad is None


@dtypes
def test_a_padded_past_on_the_stand_in(dtype, stand_in):
    model = next(c for c in CASES if c.name == "GPT2").make(np.random.default_rng(0)).module
    for _, parameter in model.named_parameters():
        parameter.value = parameter.value.astype(dtype)
    tokens, mask = np.array([[1, 2, 3], [0, 4, 5]]), np.array([[True] * 3, [False, True, True]])
    expected = model.next_logits(tokens, model.new_past(2, 4), mask)
    past = to_device(model).new_past(2, 4)
    with watching() as seen:
        logits = model.next_logits(tokens, past, mask)
    assert [e.split(" (")[0] for e in seen.events] == ["to_device: asarray of an array of the host"] * 3
    assert to_host(logits).tobytes() == expected.tobytes()


def test_real_cupy_takes_every_call():
    """CuPy itself, without a GPU: each call of the whole model reaches the device, none is refused on the way."""
    pytest.importorskip("cupy", reason="cupy is not installed: pip install 'gpt2np[gpu]'")
    from tests.replay_cupy import replaying
    for case in CASES:
        subject, _, dy, _ = made(case, np.float32)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "cupy", fake_device.cupy)
            arguments, dy = on_device(subject), to_device(dy)
        with replaying() as replay, subject.holding(arguments):
            _, cache = subject.forward(arguments)
            subject.backward(dy, cache)
        assert replay.refused == [], case.name


def gpu():
    cupy = pytest.importorskip("cupy", reason="cupy is not installed: pip install 'gpt2np[gpu]'")
    if not cupy.is_available():
        pytest.skip("cupy finds no GPU on this machine")


@dtypes
@every_case
def test_on_a_gpu(case, dtype):
    """The same on a real GPU, where there is one: sums in another order, so equal to rounding only."""
    gpu()
    subject, y, dy, gradients = made(case, dtype)
    limit = 1e-5 if dtype == np.float32 else 1e-12
    arguments = on_device(subject)
    with subject.holding(arguments):
        y_device, cache = subject.forward(arguments)
        gradients_device = subject.backward(to_device(dy), cache)
    for name, got, expected in [("y", y_device, y)] + [(n, gradients_device[n], g) for n, g in gradients.items()]:
        got, expected = to_host(got), np.asarray(expected)
        assert got.dtype == expected.dtype
        scale = max(1.0, np.abs(expected).max(initial=0))
        np.testing.assert_allclose(got / scale, expected / scale, rtol=0, atol=limit, err_msg=name)


def test_next_logits_on_the_stand_in(stand_in):
    """Decoding with a past, padded on the left: the tokens, positions and mask move, and nothing else."""
    model = next(c for c in CASES if c.name == "GPT2").make(np.random.default_rng(0)).module
    tokens, mask = np.array([[0, 2, 1], [5, 6, 6]]), np.array([[False, True, True], [True, True, True]])
    past = model.new_past(2, 4)
    expected = [model.next_logits(tokens, past, mask, last=2), model.next_logits(tokens[:, :1], past)]
    to_device(model)
    past = model.new_past(2, 4)
    with watching() as seen:
        got = [model.next_logits(tokens, past, mask, last=2), model.next_logits(tokens[:, :1], past)]
    assert [e.split(" (")[0] for e in seen.events] == ["to_device: asarray of an array of the host"] * 4
    assert all(to_host(a).tobytes() == b.tobytes() for a, b in zip(got, expected))
    to_host(past[0].select([1, 0]).k)
