"""The stand-in for a GPU array is itself checked: what it must refuse, write down, and let pass."""

import copy
import math

import numpy as np
import pytest

from tests.fake_device import API, DeviceArray, accepts, watching

rng = np.random.default_rng(0)
X = rng.standard_normal((4, 3)).astype(np.float32)      # float32, as in use: a widening shows
IDS = np.array([2, 0, 2, 1])                            # an index that repeats


def causal_mask_of_the_host(x):
    """Positions are born on the host when nobody says like=x."""
    return np.where(np.arange(4)[:, None] >= np.arange(3), x, -1e10)


def fill_host_buffer(x):
    """Attention into a buffer that was made on the host."""
    buffer = np.zeros(x.shape, x.dtype)
    buffer[:] = x


def fill_float64_buffer(x):
    """The same on the device, but np.zeros gives float64 unless told."""
    buffer = np.zeros(x.shape, like=x)
    buffer[:] = x


def add_by_fancy_index(x, ids):
    """The embedding's gradient: where a token repeats, all but one of its rows are lost."""
    dwte = np.zeros_like(x)
    dwte[ids] += x


def loop_over_targets(x, ids):
    """The cross-entropy, a row at a time."""
    return sum(x[row, int(target)] for row, target in enumerate(ids))


def matmul_in_place(x):
    """On the device x would be bound to a new array, and its owner would not see the product."""
    x @= np.identity(3, x.dtype, like=x)


# Each line is a mistake, and plain NumPy runs nearly all of them: (what, the code, what the stand-in makes of it).
MISTAKES = [
    ("causal mask from a host arange", lambda x, i: causal_mask_of_the_host(x), TypeError),
    ("buffer from host zeros", lambda x, i: fill_host_buffer(x), TypeError),
    ("ones with like", lambda x, i: np.ones(3, like=x), TypeError),
    ("full with like", lambda x, i: np.full(3, 1.0, like=x), TypeError),
    ("eye with like", lambda x, i: np.eye(3, like=x), TypeError),
    ("max with initial", lambda x, i: np.max(x, axis=-1, initial=-np.inf), TypeError),
    ("the method max with initial", lambda x, i: x.max(initial=0.0), TypeError),
    ("sum with where", lambda x, i: np.sum(x, where=x > 0), TypeError),
    ("var with correction", lambda x, i: np.var(x, axis=-1, correction=1), TypeError),
    ("maximum.reduce", lambda x, i: np.maximum.reduce(x, axis=-1), TypeError),
    ("logaddexp.reduce", lambda x, i: np.logaddexp.reduce(x, axis=-1), TypeError),
    ("maximum.accumulate", lambda x, i: np.maximum.accumulate(x), TypeError),
    ("library code that converts", lambda x, i: np.random.default_rng(0).choice(3, p=x[0]), TypeError),
    ("unstack", lambda x, i: getattr(np, "unstack", np.block)(x), TypeError),
    ("block", lambda x, i: np.block([x, x]), TypeError),
    ("insert", lambda x, i: np.insert(x, 0, 1.0, axis=0), TypeError),
    ("asarray on entry", lambda x, i: np.asarray(x), TypeError),
    ("ascontiguousarray", lambda x, i: np.ascontiguousarray(x), TypeError),
    ("float32 of an array", lambda x, i: np.float32(x[0, 0]), TypeError),
    ("+= with an index that repeats", lambda x, i: add_by_fancy_index(x, i), ValueError),
    ("multiply.at", lambda x, i: np.multiply.at(x, i, 2.0), TypeError),
    ("subtract.at on floats", lambda x, i: np.subtract.at(x, i, 1.0), TypeError),
    ("add.at on complex", lambda x, i: np.add.at(x.astype(np.complex64), i, 1.0), TypeError),
    ("add.at with a tuple", lambda x, i: np.add.at(x, (i, i % 3), 1.0), TypeError),
    ("add.at with a slice", lambda x, i: np.add.at(x, slice(2), 1.0), TypeError),
    ("float of the loss", lambda x, i: float(x.sum()), "sync"),
    ("if on the device", lambda x, i: 1 if (x > 0).all() else 0, "sync"),
    ("a loop over targets", lambda x, i: loop_over_targets(x, i), "sync"),
    ("math.sqrt of a device scalar", lambda x, i: math.sqrt(x.var()), "sync"),
    ("printing", lambda x, i: f"{x[0, 0]}", "sync"),
    ("a boolean mask as index", lambda x, i: x[x > 0], "sync"),
    ("writing by a boolean mask", lambda x, i: x.__setitem__(x > 0, 0.0), "sync"),
    ("nonzero", lambda x, i: np.nonzero(x), "sync"),
    ("membership", lambda x, i: 3 in i[:1], "sync"),
    ("a mask drawn on the host", lambda x, i: x * (rng.random(x.shape) < 0.9), TypeError),
    ("a host scalar array", lambda x, i: x * np.array(2.0, np.float32), TypeError),
    ("a host index array", lambda x, i: x[IDS], "to_device"),
    ("a list as index", lambda x, i: x[[0, 1]], "to_device"),
    ("add.at with a host index", lambda x, i: np.add.at(x, IDS, 1.0), "to_device"),
    ("scattered host values", lambda x, i: x.__setitem__(i[:1], X[:1]), "to_device"),
    ("an explicit copy", lambda x, i: np.asarray(X, like=x), "to_device"),
    ("get", lambda x, i: x.get(), "to_host"),
    ("a list operand", lambda x, i: x + [1.0, 2.0, 3.0], TypeError),
    ("a host operand at the left", lambda x, i: X + x, TypeError),
    ("a host operand at the right", lambda x, i: x @ X.T, TypeError),
    ("a host array changed in place", lambda x, i: X.copy().__iadd__(x), TypeError),
    ("a host array indexed from the device", lambda x, i: X[i], TypeError),
    ("one host array in a list", lambda x, i: np.concatenate([x, X]), TypeError),
    ("a slice filled from the host", lambda x, i: x.__setitem__(slice(None), X), ValueError),
    ("a slice filled from a list", lambda x, i: x.__setitem__(0, [1.0, 2.0, 3.0]), ValueError),
    ("host out", lambda x, i: np.exp(x, out=np.empty((4, 3), np.float32)), TypeError),
    ("host out of matmul", lambda x, i: np.matmul(x, x.T, out=np.empty((4, 4), np.float32)), TypeError),
    ("host out of a method", lambda x, i: x.sum(axis=0, out=np.empty(3, np.float32)), TypeError),
    ("a NumPy float64 as constant", lambda x, i: x * np.sqrt(2 / np.pi), "widened"),
    ("a product with positions", lambda x, i: x[:, 0] * i, "widened"),
    ("a buffer of float64", lambda x, i: fill_float64_buffer(x), "widened"),
    ("flags.writeable", lambda x, i: x.flags.writeable, AttributeError),
    ("setflags", lambda x, i: x.setflags(write=False), AttributeError),
    ("vector_norm", lambda x, i: np.linalg.vector_norm(x), TypeError),
    ("vecdot", lambda x, i: np.vecdot(x, x), TypeError),
    ("vectorize", lambda x, i: np.vectorize(math.erf)(x), TypeError),
    ("order of a ufunc", lambda x, i: np.add(x, x, order="C"), TypeError),
    ("where=True", lambda x, i: np.add(x, x, where=True), TypeError),
    ("casting of astype", lambda x, i: x.astype(np.float64, casting="safe"), TypeError),
    ("subok", lambda x, i: np.empty_like(x, subok=False), TypeError),
    ("matmul in place", lambda x, i: matmul_in_place(x), TypeError),
    ("range over a device number", lambda x, i: range(i[0]), TypeError),
    ("einsum with out", lambda x, i: np.einsum("ij->i", x, out=x[0]), TypeError),
    ("take with mode", lambda x, i: np.take(x, i, axis=0, mode="clip"), TypeError),
    ("outer with a number", lambda x, i: np.outer(x[0], 2.0), TypeError),
    ("split by the device", lambda x, i: np.split(x, i[1:2]), TypeError),
    ("quicksort", lambda x, i: np.argsort(x, kind="quicksort"), ValueError),
    ("clip by NumPy's newer names", lambda x, i: np.clip(x, min=0.0), TypeError),
]


@pytest.mark.parametrize(("mistake", "outcome"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_a_mistake_is_refused_or_written_down(mistake, outcome):
    x, ids = DeviceArray(X), DeviceArray(IDS)
    with watching() as seen:
        if isinstance(outcome, str):
            mistake(x, ids)
            assert seen.count(outcome) and "test_fake_device.py:" in seen.events[0], seen.events
        else:
            with pytest.raises(outcome):
                mistake(x, ids)


def in_place(x, i):
    """A scratch through which an in-place chain runs, on views of the output."""
    y = np.empty_like(x, order="C")
    for x_t, y_t in zip(np.split(x, 2), np.split(y, 2)):
        np.multiply(x_t, x_t, out=y_t)
        y_t += 1.0
        np.sqrt(y_t, out=y_t)
        y_t *= x_t
    return y


def causal_softmax(x, i):
    """A mask born on the device, and the softmax of what it leaves."""
    scores = x @ x.T
    t = np.arange(len(x), like=x)
    scores = np.where(t[:, None] >= t, scores, -np.inf)
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


def scatter(x, i):
    """The embedding's gradient: added by np.add.at, and by sorting the tokens."""
    dwte = np.zeros_like(x)
    np.add.at(dwte, i, x)
    order = np.argsort(i)
    starts = np.asarray([0, 1, 2], like=x)
    return dwte, np.add.reduceat(x[order], starts, axis=0)


def through_views(x, i):
    """Writes into views of every kind show in the array."""
    y = x.copy()
    y.reshape(2, 2, 3).swapaxes(0, 1)[0, 1, ...] = 7.0
    y.T[0] += 1.0
    y[1:3, None, ::2][:, 0] *= 2.0
    y[0, 0] = -1.0
    y[2] **= 2
    y.ravel()[5:6] = x[0, 0]
    y[i[:1], i[1:2]] = 3.0
    return y


# Code that must pass: with NumPy's bits, and nothing written down.
IDIOMS = {
    "in place": in_place,
    "causal softmax": causal_softmax,
    "views": through_views,
    "layernorm": lambda x, i: (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5),
    "gelu": lambda x, i: 0.5 * x * (1.0 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))),
    "powers": lambda x, i: (x**2, np.abs(x)**0.5, np.power(x, 2), np.float32(2) ** x, 2.0**x),
    "reductions": lambda x, i: (x.sum(), x.sum(0), np.mean(x), x.max(-1), np.argmax(x, 1), x.sum(dtype=np.float64)),
    "one row": lambda x, i: (x[0], x[0, 0] + x[1, 1], x[-1].sum() * 2.0),
    "rows by index": lambda x, i: (x[i], x[np.arange(4, like=x), i], np.take(x, i, axis=0), x[..., None, 1:]),
    "along an axis": lambda x, i: (np.take_along_axis(x, i[:, None], axis=1), np.argsort(x, axis=-1), np.sort(x)),
    "split and join": lambda x, i: (np.split(x, 3, axis=-1), np.concatenate([x, x], axis=1), np.stack([x, x])),
    "products": lambda x, i: (x @ x.T, np.einsum("ij,kj->ik", x, x), np.matmul(x.T, x), np.add.outer(x[0], x[1])),
    "matmul into out": lambda x, i: np.matmul(x, x.T, out=np.empty((4, 4), x.dtype, like=x)),
    "born on the device": lambda x, i: (np.zeros((2, 2), x.dtype, like=x), np.arange(3, like=x), np.identity(2, like=x),
                                        np.tri(3, 4, 1, dtype=bool, like=x), np.array(2.0, x.dtype, like=x)),
    "born like another": lambda x, i: (np.ones_like(x), np.zeros_like(x, shape=(2, 3), order="F"), np.full_like(x, 2.0),
                                       np.full_like(x, 1, shape=(5,), dtype=np.int64)),
    "masks": lambda x, i: (np.where(x > 0, x, 0.0), np.tril(x), np.triu(x, 1), np.isfinite(x), x != 0.0,
                           np.maximum(x, 0.0, where=x > 0, out=x.copy()), ~(x > 0) & (x < 1)),
    "shapes": lambda x, i: (x.reshape(2, -1), x.T, np.swapaxes(x, 0, 1), np.expand_dims(x, 1), np.moveaxis(x, 0, 1),
                            np.broadcast_to(x, (2, 4, 3)), x.ravel(), x.transpose(1, 0), x[:, None], np.squeeze(x[:1])),
    "types": lambda x, i: (x.astype(np.float64), x.astype(np.float16, copy=False), i.astype(np.int32)),
    "copies": lambda x, i: (x.copy(), copy.copy(x), copy.deepcopy(x), np.copy(x), np.array(x, like=x)),
    "sums": lambda x, i: (np.cumsum(x, axis=0), np.add.reduce(x, axis=1), np.multiply.accumulate(x), np.ptp(x)),
    "answers on the host": lambda x, i: (np.shape(x), np.ndim(x), x.dtype.name, len(x), np.iscomplexobj(x), x.strides,
                                         np.shares_memory(x, x[0]), np.result_type(x, i).name, x.flags.c_contiguous),
}


def plain(thing):
    """The results as NumPy arrays, dtypes and all."""
    if isinstance(thing, (tuple, list)):
        return [plain(item) for item in thing]
    return thing.get() if isinstance(thing, DeviceArray) else thing


def assert_same_bits(got, expected):
    if isinstance(expected, list):
        assert len(got) == len(expected)
        for g, e in zip(got, expected):
            assert_same_bits(g, e)
    elif isinstance(expected, (np.ndarray, np.generic)):
        assert isinstance(got, np.ndarray) and (got.dtype, got.shape) == (expected.dtype, expected.shape)
        assert got.tobytes() == np.asarray(expected).tobytes()
    else:
        assert got == expected


@pytest.mark.parametrize("idiom", IDIOMS.values(), ids=IDIOMS.keys())
def test_what_cupy_offers_passes_with_numpys_bits(idiom):
    x, ids = DeviceArray(X), DeviceArray(IDS)
    with watching() as seen:
        result = idiom(x, ids)
    assert seen.events == [] and seen.calls >= 0
    assert_same_bits(plain(result), plain(idiom(X.copy(), IDS.copy())))


def test_scatter_adds_up_repeated_rows():
    x, ids = DeviceArray(X), DeviceArray(IDS)
    with watching() as seen:
        result = scatter(x, ids)
    assert [event.split(" (")[0] for event in seen.events] == ["to_device: asarray of a list"]
    assert_same_bits(plain(result), plain(scatter(X, IDS)))


def test_the_device_has_memory_of_its_own():
    host = X.copy()
    x = DeviceArray(host)
    x += 1.0
    back = x.get()
    back[:] = 0.0
    assert np.array_equal(host, X) and np.array_equal(x.get(), X + 1.0)
    assert DeviceArray(np.asfortranarray(X)).flags.f_contiguous


def test_watching_ends_with_its_block():
    x = DeviceArray(X)
    with watching() as outer:
        with watching() as inner:
            x.item if x.size == 1 else x.sum().item()
        x.sum()
    assert (inner.count("sync"), inner.calls, outer.count("sync"), outer.calls) == (1, 1, 0, 1)


@pytest.mark.parametrize("signature", sorted({*API["functions"].values(), *API["methods"].values()}))
def test_every_signature_of_the_snapshot_can_be_checked(signature):
    assert callable(accepts(signature))


# Of the mistakes, those that CuPy can be seen to refuse without a GPU. Ufuncs are asked through the protocol itself:
# had NumPy to word the refusal, it would print the array, and that needs a GPU.
REFUSED_BY_BOTH = {
    "asarray": lambda x, i: np.asarray(x),
    "ascontiguousarray": lambda x, i: np.ascontiguousarray(x),
    "float32": lambda x, i: np.float32(x[0, 0]),
    "ones with like": lambda x, i: np.ones(3, like=x),
    "full with like": lambda x, i: np.full(3, 1.0, like=x),
    "eye with like": lambda x, i: np.eye(3, like=x),
    "max with initial": lambda x, i: np.max(x, initial=0.0),
    "x.max with initial": lambda x, i: x.max(initial=0.0),
    "take with mode": lambda x, i: np.take(x, i, axis=0, mode="clip"),
    "outer with a number": lambda x, i: np.outer(x[0], 2.0),
    "split by the device": lambda x, i: np.split(x, i[1:2]),
    "quicksort": lambda x, i: np.argsort(x, kind="quicksort"),
    "sum with where": lambda x, i: np.sum(x, where=True),
    "var with correction": lambda x, i: x.var(correction=1),
    "block": lambda x, i: np.block([x, x]),
    "insert": lambda x, i: np.insert(x, 0, 1.0),
    "vector_norm": lambda x, i: np.linalg.vector_norm(x),
    "clip": lambda x, i: np.clip(x, min=0.0),
    "list and array": lambda x, i: np.array([x[0], 1.0], like=x),
    "slice from host": lambda x, i: x.__setitem__(slice(None), X),
    "slice from list": lambda x, i: x.__setitem__(0, [1.0, 2.0, 3.0]),
    "matmul with host": lambda x, i: x @ X.T,
    "host index": lambda x, i: X[i],
    "out of a method": lambda x, i: x.sum(axis=0, out=np.empty(3, np.float32)),
    "flags.writeable": lambda x, i: x.flags.writeable,
    "setflags": lambda x, i: x.setflags(write=False),
    "imatmul": lambda x, i: x.__imatmul__(x),
    "range": lambda x, i: range(i[0]),
    "hash": lambda x, i: hash(x),
    "subok": lambda x, i: np.empty_like(x, subok=False),
    "casting": lambda x, i: x.astype(np.float64, casting="safe"),
    "item with an index": lambda x, i: x.item(0),
    "maximum.reduce": lambda x, i: x.__array_ufunc__(np.maximum, "reduce", x),
    "logaddexp.reduce": lambda x, i: x.__array_ufunc__(np.logaddexp, "reduce", x),
    "add.reduce with initial": lambda x, i: x.__array_ufunc__(np.add, "reduce", x, initial=0.0),
    "multiply.at": lambda x, i: x.__array_ufunc__(np.multiply, "at", x, i, x),
    "subtract.at of floats": lambda x, i: x.__array_ufunc__(np.subtract, "at", x, i, x),
    "add.at with a tuple": lambda x, i: x.__array_ufunc__(np.add, "at", x, (i, i), 1.0),
    "add.at with a list": lambda x, i: x.__array_ufunc__(np.add, "at", x, [0, 1], 1.0),
    "vecdot": lambda x, i: x.__array_ufunc__(np.vecdot, "__call__", x, x),
    "list operand": lambda x, i: x.__array_ufunc__(np.add, "__call__", x, [1.0, 2.0, 3.0]),
    "order": lambda x, i: x.__array_ufunc__(np.add, "__call__", x, x, order="C"),
    "where=True": lambda x, i: x.__array_ufunc__(np.add, "__call__", x, x, where=True),
    "two outs": lambda x, i: x.__array_ufunc__(np.modf, "__call__", x, out=(x, x)),
    "host out of matmul": lambda x, i: x.__array_ufunc__(np.matmul, "__call__", x, x.T, out=(np.empty((4, 4)),)),
}


@pytest.mark.parametrize("call", REFUSED_BY_BOTH.values(), ids=REFUSED_BY_BOTH.keys())
def test_what_cupy_refuses_the_stand_in_refuses(call):
    with pytest.raises((TypeError, ValueError, AttributeError)):
        call(DeviceArray(X), DeviceArray(IDS))


# ---- against the real package, where it is installed. It needs no GPU for this: see tests/golden/snapshot_cupy.py.

def test_the_snapshot_is_that_of_the_installed_cupy():
    cupy = pytest.importorskip("cupy")
    from tests.golden.snapshot_cupy import snapshot
    if (cupy.__version__, np.__version__) != (API["cupy"], API["numpy"]):
        pytest.skip(f"the snapshot is of CuPy {API['cupy']} on NumPy {API['numpy']}")
    assert snapshot() == API


def test_what_the_stand_in_accepts_cupy_accepts():
    pytest.importorskip("cupy")
    from tests.replay_cupy import replaying
    with replaying() as replay:
        for idiom in (*IDIOMS.values(), scatter):
            idiom(DeviceArray(X), DeviceArray(IDS))
    assert replay.refused == []
    assert replay.calls > 100 and len(replay.kinds) > 60


def test_the_replay_would_see_a_call_that_cupy_refuses(monkeypatch):
    pytest.importorskip("cupy")
    from tests.replay_cupy import replaying
    monkeypatch.setitem(API["ufunc_methods"], "reduce", ["maximum"])
    monkeypatch.setitem(API["functions"], "sum", "*args, **kwargs")
    with replaying() as replay:
        np.maximum.reduce(DeviceArray(X))
        np.sum(DeviceArray(X), initial=1.0)
    assert [line.split(":")[0] for line in replay.refused] == ["maximum", "sum"]


def test_what_the_stand_in_refuses_cupy_refuses():
    pytest.importorskip("cupy")
    from tests.golden.snapshot_cupy import over_host_memory, refusal
    x, ids = over_host_memory(X), over_host_memory(IDS)
    assert [what for what, call in REFUSED_BY_BOTH.items() if refusal(lambda c=call: c(x, ids)) is None] == []
