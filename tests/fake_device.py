"""A strict stand-in for a GPU array: it computes in NumPy, and refuses what CuPy refuses.

The layers are written in plain NumPy. The same source runs on a GPU because a CuPy array takes over NumPy's calls, by
two protocols: __array_ufunc__ and __array_function__. It breaks where the source leaves what CuPy offers, and nobody
sees that on a machine without a GPU. DeviceArray makes it visible: it takes over the same calls, hands each to NumPy
(so the results are NumPy's, bit for bit), and is as strict as the device:

    refused (TypeError, unless named)                    why
    ---------------------------------------------------  ------------------------------------------------------------
    np.asarray(x), np.float32(x), host[x], host[0] = x   CuPy never copies to the host unless asked: x.get()
    x + host, np.add(x, [1, 2]), out=host, host += x     host and device are never mixed; numbers are fine
    a function, method or ufunc that CuPy lacks          cupy_api.json, taken from CuPy itself
    a keyword that CuPy's version lacks                  the same: sum(where=), max(initial=), var(correction=), ...
    np.ones, np.full, np.eye with like=                  NumPy passes device= along, which CuPy's do not take
    ufunc methods: maximum.reduce, multiply.at, ...      the same table; .at by dtype, its index an array or a number
    np.add(x, y, order="C"), where=True                  the same; where= takes a device array only
    x[:] = host or list                      ValueError  a slice is filled with a number or from the device
    x[i] = v where i repeats                 ValueError  the device lets any of them win
    x @= w, x.flags.writeable, range(x)                  CuPy's array has none of these

What CuPy does, but at a price, is written down instead:

    sync         float, int, bool, complex, item, tolist, print, x.get(), a boolean mask as index, nonzero, ...
    to_device    np.asarray(host, like=x), and the hidden copies: a list or host array as index or as scattered values
    to_host      x.get(), and everything else that ends in one
    widened      float64 (or complex128) out of float32, where nobody wrote dtype=

Not modelled: the order of sums on a GPU and so its last bits, the memory order of results, indices out of range (they
wrap silently there, and raise here), repeats in put_along_axis, speed and memory. What is stricter here than in CuPy:
x @= w, and host arrays given to functions that would copy them (np.take).

    x = DeviceArray(host)                       # moves a copy
    with watching() as seen:
        y, cache = layer_forward(x)
    assert seen.events == []                    # each says what happened, and in which line
    np.testing.assert_array_equal(y.get(), layer_forward(host)[0])
"""

import contextlib
import functools
import json
import operator
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

API = json.loads(Path(__file__).with_name("cupy_api.json").read_text(encoding="utf-8"))
NUMBERS = (bool, int, float, complex, np.generic)
COPYING = {"array", "asarray"}                                      # like=x: the explicit way from host to device
YES_OR_NO = {"allclose", "array_equal", "array_equiv"}              # a bool in NumPy, a 0-d array on the device
# What CuPy's functions do not convert: both operands must be on the device; the places of a cut must be on the host.
ARRAYS_ONLY = {"array_equal", "digitize", "dot", "inner", "isin", "kron", "meshgrid", "outer", "tensordot", "vdot"}
CUTS = {"argpartition", "array_split", "dsplit", "hsplit", "partition", "split", "vsplit"}
# These must count before they can allocate their result, or look at values before they can say that they are wrong.
SYNCING = {"argwhere", "average", "bincount", "choose", "compress", "extract", "flatnonzero", "histogram", "nonzero",
           "unique", "unique_all", "unique_counts", "unique_inverse", "unique_values"}


# ---- what is written down

@dataclass
class Seen:
    """What happened while watching: how many array calls, and a line of text for each thing that has a price."""

    calls: int = 0
    events: list = field(default_factory=list)

    def count(self, kind):
        """How many events are of this kind: "sync", "to_device", "to_host" or "widened"."""
        return sum(event.startswith(kind + ": ") for event in self.events)


_watchers = [Seen()]


@contextlib.contextmanager
def watching():
    """Everything that device arrays do inside the `with` is written into the Seen that it gives."""
    _watchers.append(Seen())
    try:
        yield _watchers[-1]
    finally:
        _watchers.pop()


def note(kind, what):
    """Write an event down, with the line that caused it: the nearest one that is neither here nor in NumPy."""
    inside = (__file__, str(Path(np.__file__).parent))
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith(inside):
        frame = frame.f_back
    _watchers[-1].events.append(f"{kind}: {what} ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})")


def note_copies(what, *things):
    """CuPy takes lists and host arrays as an index, and copies them to the device each time."""
    for thing in things:
        if isinstance(thing, (list, np.ndarray)):
            note("to_device", f"{what} {'a list' if isinstance(thing, list) else 'an array of the host'}")


# ---- what is checked, for every call

@functools.cache
def accepts(signature):
    """A function that does nothing but take the arguments of `signature`: calling it is the check."""
    return eval(f"lambda {signature}: None")


def check_call(name, signature, args, keywords):
    """Refuse a call that CuPy's version of `name` would not take, for the names or the number of its arguments."""
    try:
        accepts(signature)(*args, **keywords)
    except TypeError as error:
        reason = str(error).replace("<lambda>()", "it")
        raise TypeError(f"CuPy's {name}({signature}) refuses this call: {reason}") from None
    if keywords.get("subok") is not None or (name == "astype" and keywords.get("casting") is not None):
        raise TypeError(f"CuPy's {name} names subok= and casting=, but does not support them")
    if "sort" in name and keywords.get("kind") not in (None, "stable"):
        raise ValueError(f"CuPy's {name} knows kind=None and kind='stable', not {keywords['kind']!r}")


def check_ufunc(ufunc, method, args, keywords):
    """Refuse a ufunc, a method of one, a keyword or an operand that CuPy does not take."""
    name = ufunc.__name__
    if name not in API["ufuncs"]:
        raise TypeError(f"CuPy has no {name}")
    if method != "__call__":
        if name not in API["ufunc_methods"][method]:
            raise TypeError(f"CuPy has no {name}.{method}")
        check_call(f"{name}.{method}", API["ufunc_signatures"][method], args, keywords)
    else:
        offered = API["ufunc_keywords"]["gufunc" if ufunc.signature else "ufunc"]
        for key in keywords.keys() - set(offered):
            raise TypeError(f"CuPy's {name} takes no {key}=, but of keywords {', '.join(offered)}")
        if "where" in keywords and not isinstance(keywords["where"], DeviceArray):
            raise TypeError(f"CuPy's {name} takes a device array as where=, not {keywords['where']!r}")
    if len(keywords.get("out", ())) > 1:
        raise ValueError(f"CuPy's {name} takes one array as out, not {len(keywords['out'])}")
    for operand in (*args, *keywords.get("out", ())):
        if not isinstance(operand, (DeviceArray, np.ndarray, *NUMBERS)):
            raise TypeError(f"{name} on the device takes arrays and numbers, not {type(operand).__name__}")


def unwrap(thing, name, host_allowed=False):
    """The host arrays inside device arrays, through tuples, lists and dicts. An array of the host is an intruder."""
    if isinstance(thing, DeviceArray):
        return thing._host
    if isinstance(thing, np.ndarray) and not host_allowed:
        raise TypeError(f"{name} mixes host and device: {thing.dtype} {thing.shape} is an array of the host; "
                        "make it beside the others, with like= or *_like")
    if isinstance(thing, (tuple, list)):
        if isinstance(thing, list) and len({isinstance(item, DeviceArray) for item in thing}) == 2:
            raise TypeError(f"{name} takes a list of device arrays, or of none: this one holds both")
        return type(thing)(unwrap(item, name, host_allowed) for item in thing)
    if isinstance(thing, dict):
        return {key: unwrap(value, name, host_allowed) for key, value in thing.items()}
    return thing


def wrap(result):
    """Arrays become device arrays over the same memory; NumPy's scalars become 0-d arrays, as they are in CuPy."""
    if isinstance(result, (np.ndarray, np.generic)):
        return DeviceArray._over(np.asarray(result))
    if isinstance(result, (tuple, list)):
        parts = [wrap(item) for item in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return result


def is_narrow(thing):
    """Is it a device array of float16, float32 or complex64, or does it hold one?"""
    if isinstance(thing, (tuple, list)):
        return any(is_narrow(item) for item in thing)
    return isinstance(thing, DeviceArray) and thing.dtype.char in "efF"


def run(name, function, args, keywords, host_allowed=False):
    """Let NumPy compute: unwrap the arguments (host arrays are refused), call, wrap the result, and note its price."""
    if name in ARRAYS_ONLY and not all(isinstance(operand, DeviceArray) for operand in args[:2]):
        raise TypeError(f"CuPy's {name} takes device arrays only, no numbers and no lists")
    if name in CUTS and len(args) > 1 and isinstance(args[1], DeviceArray):
        raise TypeError(f"CuPy's {name} takes numbers of the host to cut by, not a device array")
    result = function(*unwrap(args, name, host_allowed), **unwrap(keywords, name, host_allowed))
    _watchers[-1].calls += 1
    if name in SYNCING or (name == "where" and len(args) == 1):
        note("sync", name)
    out = keywords.get("out")
    if out is not None:
        return out[0] if isinstance(out, tuple) else out
    first = result[0] if isinstance(result, (tuple, list)) and result else result
    if getattr(first, "dtype", np.dtype(bool)).char in "dD" and keywords.get("dtype") is None and name != "astype":
        if is_narrow((*args, *keywords.values())):
            note("widened", f"{name} gives {first.dtype} from a narrower operand")
    return wrap(np.bool_(result) if name in YES_OR_NO else result)


class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that lives on the device, as far as the code that uses it can tell."""

    __slots__ = ("_host",)
    __hash__ = None
    __imatmul__ = None          # CuPy has none: x @= w would bind a new array, and the one meant to change would not

    def __init__(self, host):
        """A copy of an array of the host: what cupy.asarray does."""
        note("to_device", "DeviceArray")
        host = np.asarray(host)
        self._host = np.array(host, order="F" if host.flags.f_contiguous and not host.flags.c_contiguous else "C")

    @classmethod
    def _over(cls, host):
        """A device array over this very memory, so that writes into a view show in what it is a view of."""
        array = object.__new__(cls)
        array._host = host
        return array

    # ---- the two protocols

    def __array_ufunc__(self, ufunc, method, *args, **keywords):
        check_ufunc(ufunc, method, args, keywords)
        if method != "at":
            return run(ufunc.__name__, getattr(ufunc, method), args, keywords)
        name, known = f"{ufunc.__name__}.at", API["ufunc_methods"]["at"][ufunc.__name__]
        if args[0].dtype.name not in known:
            raise TypeError(f"CuPy's {name} takes {', '.join(known)}, not {args[0].dtype}")
        note_copies(f"{name} with", *args[1:])
        run(name, ufunc.at, args, keywords, host_allowed=isinstance(args[0], DeviceArray))

    def __array_function__(self, function, classes, args, keywords):
        name = ".".join([*function.__module__.split(".")[1:], function.__name__])
        if name not in API["functions"]:
            raise TypeError(f"CuPy has no {name}")
        check_call(name, API["functions"][name], args, keywords)
        if name not in COPYING or isinstance(args[0], DeviceArray):
            return run(name, function, args, keywords)
        if not (isinstance(args[0], list) and any(isinstance(item, DeviceArray) for item in args[0])):
            note_copies(f"{name} of", args[0])
        return run(name, function, args, {**keywords, "copy": True}, host_allowed=isinstance(args[0], np.ndarray))

    def __pow__(self, exponent):
        check_ufunc(np.power, "__call__", (self, exponent), {})
        return run("power", operator.pow, (self, exponent), {})        # NumPy's x**2 is np.square, not np.power

    def __ipow__(self, exponent):
        self[...] = self**exponent
        return self

    # ---- indexing

    def _index(self, index, what):
        """The index as NumPy takes it, and whether it is an advanced one: reading copies then, and writing scatters."""
        parts = index if isinstance(index, tuple) else (index,)
        note_copies(f"{what} by", *parts)
        plain = tuple(part._host if isinstance(part, DeviceArray) else part for part in parts)
        arrays = [part for part in plain if isinstance(part, (list, np.ndarray))]
        if any(np.asarray(part).dtype == bool for part in arrays):
            note("sync", f"{what} by a boolean mask")
        if arrays or any(part is Ellipsis for part in plain):
            return plain, bool(arrays)
        return (*plain, ...), False                     # with `...` one element is a 0-d view too, as on the device

    def __getitem__(self, index):
        _watchers[-1].calls += 1
        return wrap(self._host[self._index(index, "reading")[0]])

    def __setitem__(self, index, value):
        _watchers[-1].calls += 1
        plain, scatters = self._index(index, "writing")
        if scatters:
            note_copies("writing", value)
            touched = np.arange(self._host.size).reshape(self.shape)[plain]
            if np.unique(touched).size != touched.size:
                raise ValueError("an index repeats: on the device any of the values may win; np.add.at adds them all")
        elif not isinstance(value, (DeviceArray, *NUMBERS)) and np.ndim(value):
            raise ValueError(f"a slice is filled with a number or a device array, not with {type(value).__name__}")
        if is_narrow(value) and self.dtype.char in "dD":
            note("widened", f"{value.dtype} written into {self.dtype}")
        self._host[plain] = value._host if isinstance(value, DeviceArray) else value

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))      # len of a 0-d array is a TypeError, as it should be

    # ---- the way back to the host: never without asking, and always a wait for the device

    def __array__(self, *args, **keywords):
        raise TypeError("implicit conversion of a device array to NumPy; x.get() copies it to the host explicitly")

    def _fetch(self, what, order="C"):
        note("sync", what)
        note("to_host", what)
        return np.array(self._host, order=order)

    def get(self, stream=None, order="C", out=None, blocking=True): return self._fetch("get", order)
    def item(self): return self._fetch("item").item()
    def tolist(self): return self._fetch("tolist").tolist()
    def tobytes(self, order="C"): return self._fetch("tobytes").tobytes(order)
    def __float__(self): return float(self._fetch("float"))
    def __int__(self): return int(self._fetch("int"))
    def __bool__(self): return bool(self._fetch("bool"))
    def __complex__(self): return complex(self._fetch("complex"))
    def __format__(self, spec): return format(self._fetch("format"), spec)
    def __str__(self): return str(self._fetch("print"))
    def __repr__(self): return f"DeviceArray({self._fetch('print')!r})"

    # ---- the rest of what cupy.ndarray offers; most methods are added below, from the table

    def __copy__(self): return self.copy()
    def __deepcopy__(self, memo): return self.copy()
    def fill(self, value): self[...] = value

    @property
    def flags(self):
        """Only the flags that CuPy has: there is no writeable."""
        return types.SimpleNamespace(**{name: getattr(self._host.flags, name) for name in API["flags"]})


def _method(name, signature):
    def method(self, *args, **keywords):
        check_call(name, signature, args, keywords)
        return run(name, getattr(np.ndarray, name), (self, *args), keywords)
    method.__name__, method.__doc__ = name, f"NumPy's method, where CuPy's {name}({signature}) takes the call."
    return method


for _name in ("T", "dtype", "imag", "itemsize", "mT", "nbytes", "ndim", "real", "shape", "size", "strides"):
    setattr(DeviceArray, _name, property(lambda self, name=_name: wrap(getattr(self._host, name))))
for _name, _signature in API["methods"].items():
    if hasattr(np.ndarray, _name) and not hasattr(DeviceArray, _name):
        setattr(DeviceArray, _name, _method(_name, _signature))

# What gpt2np/device.py asks of cupy: put this in the place of sys.modules["cupy"], and to_device makes these arrays.
cupy = types.SimpleNamespace(ndarray=DeviceArray, is_available=lambda: True,
                             asarray=lambda a: a if isinstance(a, DeviceArray) else DeviceArray(a))
