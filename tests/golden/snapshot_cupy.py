"""Write tests/cupy_api.json: which of NumPy's names, keywords and ufunc methods the installed CuPy offers.

    pip install cupy-cuda12x        # no GPU is needed: the package imports, and answers, without one
    python tests/golden/snapshot_cupy.py

A CuPy array cannot be allocated without a GPU, but one can be laid over memory that NumPy owns. Every call on it runs
CuPy's own Python side (is there such a function, does it take this keyword, has this ufunc an `at`) and stops only
where CUDA is asked to compute. So `refusal` tells the calls that CuPy refuses from those that only lack a GPU.

tests/fake_device.py obeys what is written here; tests/test_fake_device.py compares it with the CuPy that is installed.
"""

import inspect
import json
from pathlib import Path

import numpy as np

PATH = Path(__file__).parent.parent / "cupy_api.json"
MODULES = {"": np, "linalg": np.linalg, "fft": np.fft, "lib.stride_tricks": np.lib.stride_tricks}
UFUNC_METHODS = ("accumulate", "at", "outer", "reduce", "reduceat")
UFUNC_KEYWORDS = dict(axes=None, axis=-1, casting="same_kind", dtype=np.float64, keepdims=False, order="K",
                      signature=None, subok=True)
READ_IN_SOURCE = {"einsum": "*operands, dtype=None, optimize=None"}      # the only **kwargs whose names are hidden
AT_DTYPES = ("float16", "float32", "float64", "int32", "int64", "uint32", "uint64", "complex128")


def over_host_memory(host):
    """A real cupy.ndarray whose memory is that of a NumPy array: whole, except that nothing can be computed with it."""
    import cupy
    host = np.ascontiguousarray(host)
    memory = cupy.cuda.UnownedMemory(host.ctypes.data, max(host.nbytes, 1), host, 0)
    return cupy.ndarray(host.shape, host.dtype, memptr=cupy.cuda.MemoryPointer(memory, 0))


def refusal(call):
    """Why CuPy refuses `call`, or None where it accepts it (and perhaps stops later, for want of a GPU)."""
    try:
        return "NotImplemented" if call() is NotImplemented else None
    except (TypeError, ValueError, NotImplementedError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:                      # CUDA's own errors, and the libraries that come with a driver
        if "CUDA" in type(error).__name__ or isinstance(error, ImportError):
            return None
        raise


def ask(ufunc, method, *arguments, **keywords):
    """Ask the protocol itself. Through NumPy, a refusal would print the array, and printing dies of the missing GPU."""
    array = next(a for a in arguments if type(a).__module__.startswith("cupy"))
    return refusal(lambda: array.__array_ufunc__(ufunc, method, *arguments, **keywords))


def short(signature):
    """A signature as text: names and kinds of parameters; of the defaults, only that there is one."""
    parts, starred = [], False
    for p in signature.parameters.values():
        if p.kind is p.VAR_POSITIONAL:
            starred = True
        elif p.kind is p.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        stars = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        parts.append(stars + p.name + ("" if p.default is p.empty else "=None"))
    return ", ".join(parts)


def method_signature(method):
    """The same for a method of cupy.ndarray. They are compiled: the signature is the first line of the docstring."""
    text = method.__doc__.splitlines()[0]
    text = text[text.index("(") + 1: text.rindex(")")]
    parts = [part.split("=") for part in text.split(", ") if part != "self"]
    return ", ".join(name.split()[-1] + ("=None" if default else "") for name, *default in parts)


def functions():
    """{name: signature} of the functions that NumPy hands over to the array, and CuPy then has."""
    import cupy
    found = {}
    for prefix, module in MODULES.items():
        for name in sorted(n for n in dir(module) if not n.startswith("_")):
            theirs, ours = cupy, getattr(module, name)
            for part in filter(None, [*prefix.split("."), name]):
                theirs = getattr(theirs, part, None)
            takes_like = "like : array_like" in (getattr(ours, "__doc__", None) or "")
            handed_over = isinstance(ours, type(np.sum)) or takes_like
            if not handed_over or theirs is None or theirs is ours or isinstance(theirs, type):
                continue
            try:
                signature = short(inspect.signature(theirs))
            except ValueError:                      # a CuPy ufunc behind a NumPy function, such as fix and sinc
                signature = "*args, out=None, dtype=None, casting=None, where=None"
            found[".".join(filter(None, [prefix, name]))] = signature
    return {**found, **READ_IN_SOURCE}


def ufuncs():
    """What CuPy offers of NumPy's ufuncs: names, methods, keywords, and the dtypes that each `at` takes."""
    import cupy
    x, index = over_host_memory(np.ones((2, 3), np.float32)), over_host_memory(np.array([0, 1]))
    every = sorted({getattr(np, n) for n in dir(np) if isinstance(getattr(np, n), np.ufunc)}, key=lambda u: u.__name__)
    names = [u.__name__ for u in every if ask(u, "__call__", *(x,) * u.nin) is None]
    offered = {}
    for method in UFUNC_METHODS:
        offered[method] = []
        for u in every:
            arguments = {"at": (x, index, x)[:u.nin + 1], "reduceat": (x, index), "outer": (x, x)}.get(method, (x,))
            reason = ask(u, method, *arguments)     # an `at` that lacks this dtype is an `at` all the same
            if u.nin <= 2 and (reason is None or "only supports" in reason) and (method != "outer" or u.nin == 2):
                offered[method].append(u.__name__)
    at = {}
    for name in offered["at"]:
        arrays = [(d, over_host_memory(np.ones((2, 3), d))) for d in AT_DTYPES]
        at[name] = [d for d, a in arrays if ask(getattr(np, name), "at", a, index, a) is None]
    square = over_host_memory(np.ones((2, 2), np.float32))
    trial = {**UFUNC_KEYWORDS, "out": (square,), "where": over_host_memory(np.ones((2, 2), bool))}
    keywords = {kind: [k for k, v in sorted(trial.items()) if ask(u, "__call__", square, square, **{k: v}) is None]
                for kind, u in (("ufunc", np.add), ("gufunc", np.matmul))}
    signatures = {m: method_signature(getattr(cupy.ufunc, m)) for m in UFUNC_METHODS}
    return names, {**offered, "at": at}, signatures, keywords


def snapshot():
    """The whole table, as it is stored."""
    import cupy
    x = over_host_memory(np.ones((2, 3), np.float32))
    public = {n: getattr(cupy.ndarray, n) for n in sorted(dir(cupy.ndarray)) if not n.startswith("_")}
    names, methods, signatures, keywords = ufuncs()
    return {
        "cupy": cupy.__version__,
        "numpy": np.__version__,
        "ufuncs": names,
        "ufunc_methods": methods,
        "ufunc_signatures": signatures,
        "ufunc_keywords": keywords,
        "attributes": [n for n, value in public.items() if not callable(value)],
        "flags": [n for n in dir(x.flags) if not n.startswith("_")],
        "methods": {n: method_signature(value) for n, value in public.items() if callable(value)},
        "functions": functions(),
    }


def as_text(table):
    """JSON with one line an entry, and lists of names on one line: a change of CuPy reads well as a diff."""
    lines = []
    for key, value in table.items():
        if isinstance(value, dict):
            inner = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            lines.append(f" {json.dumps(key)}: {{\n{inner}\n }}")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    PATH.write_text(as_text(snapshot()), encoding="utf-8")
    print(f"wrote {PATH.name}: {PATH.stat().st_size} bytes")
