"""One file with every number of one step of GPT-2, for whoever writes the same model in another language.

    export("oracle.safetensors", model, tokens, targets)
    print(compare("oracle.safetensors", "mine.safetensors"))

The file holds, by name and in the order of computation: the parameters, the tokens, every activation, the loss, and
then the gradients of the loss, from the last one backwards.  Beside it lie the same arrays as .npz, which NumPy reads
alone, and an index as .json: name, shape, and the equation, written with the names of the other arrays.

Chapter: S000 8.3.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..checkpoints import safetensors
from ..hints import Array
from ..layers.activations import gelu_erf, relu
from ..layers.cross_entropy import IGNORED, cross_entropy_backward, cross_entropy_forward
from ..layers.layernorm import layernorm_forward
from ..layers.softmax import softmax_forward
from ..models.gpt2 import GPT2
from .taps import InterpretError, Recording, activations, tapped

# How far the largest difference of an array may be, as a part of its largest number.
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}


# ---- what is in the file

def arrays_of(model: GPT2, tokens: ArrayLike, targets: ArrayLike) -> dict[str, Array]:
    """Every array of one step without dropout, by name, in the order of computation.

    tokens, targets   (B, T), -100 in targets for those that do not count

        parameter.h.0.attn.c_attn.w, ...            tokens, targets
        wte, wpe, h.0.in, h.0.ln_1, ..., lm_head    as taps.activations calls them; lm_head are the logits
        loss                                        the mean of the cross-entropy over the targets that count
        lm_head.grad, ln_f.grad, ..., wte.grad      the gradient of the loss by each, on all ways that lead from it
        parameter.ln_f.g.grad, ...                  those by the parameters; wte's is the sum of both its uses
    """
    if not isinstance(model, GPT2):
        raise InterpretError(f"expected a GPT2, got a {type(model).__name__}")
    tokens, targets = np.atleast_2d(np.asarray(tokens)), np.atleast_2d(np.asarray(targets))
    parameters = dict(model.named_parameters())
    before = {path: p.grad for path, p in parameters.items()}
    model.zero_grad()
    with tapped(model, Recording()) as seen:
        logits, cache = model.forward(tokens)
        loss, c_loss = cross_entropy_forward(logits, targets)
        model.backward(cross_entropy_backward(1.0, c_loss), cache)
    named = activations(model, seen)
    gradients = {f"parameter.{path}.grad": p.grad for path, p in reversed(parameters.items()) if p.grad is not None}
    for path, p in parameters.items():
        p.grad = before[path]
    ids = {"tokens": tokens, "targets": targets}
    forward = {name: array for name, array in named.items()
               if not name.endswith(".grad") and name not in ("wte.in", "wpe.in")}
    backward = {name: named[name] for name in reversed(named) if name.endswith(".grad")}
    return ({f"parameter.{path}": p.value for path, p in parameters.items()} | ids | forward
            | {"loss": np.asarray(loss)} | backward | gradients)


def equation(name: str, n_layer: int) -> str:
    """How an array of the file follows from the others."""
    path = name.removesuffix(".grad")
    if name.startswith("parameter."):
        return f"the gradient of loss by {path}" if name != path else "of the checkpoint"
    if name != path:
        return f"the gradient of loss by {path}"
    number, _, part = path.removeprefix("h.").partition(".")
    h = f"h.{number}"
    before = "h.0.in" if number == "0" else f"h.{int(number) - 1}.out" if number.isdigit() else ""
    linear = "{0} @ parameter." + path + ".w + parameter." + path + ".b"
    norm = "(x - mean(x)) / sqrt(var(x) + 1e-5) * parameter." + path + ".g + parameter." + path + ".b, x = {0}"
    return {
        "tokens": "given", "targets": "given, -100: not counted", "wte": "parameter.wte[tokens]",
        "wpe": "parameter.wpe[0, 1, 2, ...]", "ln_f": norm.format(f"h.{n_layer - 1}.out"),
        "lm_head": "ln_f @ parameter.wte'", "loss": "mean of -log softmax(lm_head)[targets]",
    }.get(path) or {
        "in": "wte + wpe", "ln_1": norm.format(before), "ln_2": norm.format(f"{h}.mid"),
        "attn.c_attn": linear.format(f"{h}.ln_1") + "; q, k, v side by side",
        "attn.p": "softmax(q k' / sqrt(D) + M) of each head, columns h D to (h + 1) D; M = -inf above the diagonal",
        "attn.z": "p v of each head, side by side", "attn.c_proj": linear.format(f"{h}.attn.z"),
        "attn": f"{h}.attn.c_proj, for dropout is off", "mid": f"{before} + {h}.attn",
        "mlp.c_fc": linear.format(f"{h}.ln_2"),
        "mlp.activation": f"x/2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), x = {h}.mlp.c_fc",
        "mlp.c_proj": linear.format(f"{h}.mlp.activation"), "mlp": f"{h}.mlp.c_proj, for dropout is off",
        "out": f"{h}.mid + {h}.mlp",
    }[part]


def export(path: str | Path, model: GPT2, tokens: ArrayLike, targets: ArrayLike) -> list[Path]:
    """Write arrays_of(model, tokens, targets): see write."""
    return write(path, arrays_of(model, tokens, targets))


def write(path: str | Path, arrays: Mapping[str, Array]) -> list[Path]:
    """Write the file, the same as .npz, and the index.

    path      ends in .safetensors; none of the three may be there
    arrays    of arrays_of
    returns   the three paths
    """
    paths = files_of(path)
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    index = [{"name": name, "shape": list(array.shape), "dtype": str(array.dtype),
              "equation": equation(name, _n_layer(arrays))} for name, array in arrays.items()]
    try:
        safetensors.write(paths[0], arrays, {"order": json.dumps(list(arrays))})
        np.savez(paths[1], **arrays)                    # type: ignore[arg-type]
        paths[2].write_text("[\n" + ",\n".join(json.dumps(line, ensure_ascii=False) for line in index) + "\n]\n",
                            encoding="utf-8")
    except BaseException:
        for half in paths:
            half.unlink(missing_ok=True)
        raise
    return paths


def files_of(path: str | Path) -> list[Path]:
    """FILE.safetensors, FILE.npz, FILE.json, none of which is there."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InterpretError(f"{path}: expected a name that ends in .safetensors")
    paths = [path, path.with_suffix(".npz"), path.with_suffix(".json")]
    for there in paths:
        if there.exists():
            raise InterpretError(f"{there}: it is there already: name a new file")
    return paths


def _n_layer(arrays: Iterable[str]) -> int:
    return 1 + max(int(name.split(".")[1]) for name in arrays if re.fullmatch(r"h\.\d+\.out", name))


# ---- to compare with a port

Mistakes = Iterator[tuple[str, Callable[[], Array]]]    # words for each, and the array that would come of it


class Difference(NamedTuple):
    """The first place where two files differ.

    name       of the array
    what       how: another shape, or by how much
    cause      in words, where one is known that gives the other's numbers; else ""
    equation   of the array
    agree      how many arrays before it are equal
    missing    names of the file that the other has not
    """

    name: str
    what: str
    cause: str
    equation: str
    agree: int
    missing: list[str]

    def __str__(self) -> str:
        lines = [f"{self.agree} arrays agree; the first that does not is", f"    {self.name} = {self.equation}",
                 self.what]
        if self.cause:
            lines.append(f"likely cause: {self.cause}")
        return "\n".join(lines)


def compare(oracle: str | Path | Mapping[str, Array], other: str | Path,
            tolerance: float | None = None) -> Difference | int:
    """The first array, in the order of computation, in which another file differs from the oracle.

    oracle      a file of export, or the arrays themselves, of arrays_of
    other       .safetensors or .npz, with the same names; it may hold some of the arrays only
    tolerance   of the largest difference, as a part of the largest number; None: TOLERANCE of the narrower dtype
    returns     a Difference, or how many arrays were compared, which all agree

    raises      InterpretError where no name is in both, or where they are of other tokens, or of another model
    """
    ours, order = (oracle, list(oracle)) if isinstance(oracle, Mapping) else _read(oracle)
    theirs, _ = _read(other)
    names = [name for name in order if name in theirs]
    if not names:
        raise InterpretError(f"{other}: expected arrays with the names of the oracle, such as "
                             f"{order[len(order) // 2]}; there are {', '.join(list(theirs)[:4]) or 'none'}")
    _check_same_model(other, ours, theirs, tolerance)
    missing = [name for name in order if name not in theirs]
    for i, name in enumerate(names):
        a, b = ours[name], theirs[name]
        if name in ("tokens", "targets"):
            if a.shape != b.shape or (a != b).any():
                raise InterpretError(f"{other}: expected the oracle's {name}, {_short(a)}, got {_short(b)}")
            continue
        if found := _differs(a, b, tolerance):
            cause = next(_causes(name, ours, b, tolerance), "")
            return Difference(name, found, cause, equation(name, _n_layer(ours)), i, missing)
    return len(names)


def _check_same_model(other: str | Path, ours: Mapping[str, Array], theirs: Mapping[str, Array],
                      tolerance: float | None) -> None:
    """InterpretError where most parameters differ: then no single one of them is wrong."""
    names = [name for name in ours if name.startswith("parameter.") and not name.endswith(".grad") and name in theirs]
    wrong = [name for name in names if _differs(ours[name], theirs[name], tolerance)]
    if len(names) > 1 and 2 * len(wrong) > len(names):
        a, b = ours[wrong[0]], theirs[wrong[0]]
        raise InterpretError(f"{other}: it is of another model: {len(wrong)} of {len(names)} parameters differ, the "
                             f"first of them {wrong[0]}, {_short(a)}, got {_short(b)}")


def _read(path: str | Path) -> tuple[dict[str, Array], list[str]]:
    """The arrays of a file, and their order."""
    if Path(path).suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
        except (ValueError, EOFError, KeyError) as error:
            raise InterpretError(f"{path}: expected an .npz file of arrays: {error}") from None
        return arrays, list(arrays)
    arrays, metadata = safetensors.read(path)
    try:
        order = json.loads(metadata.get("order", "[]"))
    except ValueError:
        order = []
    return arrays, [name for name in order if name in arrays] or list(arrays)


def _differs(a: Array, b: Array, tolerance: float | None) -> str:
    """How b differs from a; "" where it does not."""
    if a.shape != b.shape:
        return f"its shape is {b.shape}, expected {a.shape}"
    if not np.isfinite(b).all():
        return f"{np.count_nonzero(~np.isfinite(b)):,} of its {b.size:,} numbers are no numbers, or infinite"
    narrow = min(a.dtype, b.dtype, key=lambda dtype: dtype.itemsize).name
    limit = TOLERANCE.get(narrow, 1e-2) if tolerance is None else tolerance
    if not a.size or not (error := np.abs(a - b.astype(a.dtype))).max() > limit * np.abs(a).max():
        return ""
    at = tuple(int(i) for i in np.unravel_index(np.argmax(error), a.shape))
    return (f"it differs most at {list(at)}: {_number(b[at])}, expected {_number(a[at])}; of its numbers, "
            f"{np.mean(error > limit * np.abs(a).max()):.0%} differ by more than {limit:g} of the largest, "
            f"{_number(np.abs(a).max())}")


def _number(x: Any) -> str:
    return f"{float(x):.6g}"


def _short(a: Array) -> str:
    return f"{a.ravel()[:4].tolist()}... of shape {a.shape}" if a.size > 4 else str(a.tolist())


def _causes(name: str, ours: Mapping[str, Array], theirs: Array, tolerance: float | None) -> Iterator[str]:
    """The causes whose numbers are theirs, the particular ones first."""
    def same(array: Array) -> bool:
        return array.shape == theirs.shape and not _differs(array, theirs, tolerance)
    for words, array in _mistakes(name, ours):
        try:
            value = array()
        except (KeyError, ValueError, IndexError):      # an array that this needs is not there, or fits no such step
            continue
        if same(value):
            yield words
    yield from _in_general(name, ours, theirs, same)


def _in_general(name: str, ours: Mapping[str, Array], theirs: Array,
                same: Callable[[Array], bool]) -> Iterator[str]:
    """What can be wrong with any array."""
    a = ours[name]
    if theirs.shape != a.shape:
        if theirs.shape == a.T.shape and _same_numbers(a.T, theirs):
            yield "it is transposed: a matrix here is (in, out), as in OpenAI's checkpoint"
        elif theirs.size == a.size and _same_numbers(a.reshape(theirs.shape), theirs):
            yield "the numbers are right, in another shape"
        return
    if a.ndim == 2 and a.shape[0] == a.shape[1] and same(a.T):
        yield "it is transposed: a matrix here is (in, out), as in OpenAI's checkpoint"
    if not theirs.any():
        yield "all of it is 0: it was never written"
    if not np.isfinite(theirs).all():
        yield "an exp of a large number, or a division by 0: the largest score of a row is subtracted before exp"
        return
    ratio = float((theirs.astype(np.float64) * a).sum() / max((a.astype(np.float64)**2).sum(), 1e-300))
    if ratio and same(a * ratio):
        yield f"a scale: it is {_number(ratio)} times what is expected" + _known_number(ratio, ours)
    for axis, what in ((-2, "position"), (0, "text")):
        if a.ndim >= 2 and a.shape[axis] > 1:
            for by in (1, -1):
                if same(np.roll(a, by, axis)):
                    yield f"it is shifted by one {what}"
    if same(a.astype(np.float16).astype(a.dtype)):
        yield "it was rounded to float16"


def _same_numbers(a: Array, b: Array) -> bool:
    return bool(np.abs(a - b).max() <= 1e-3 * np.abs(a).max())


def _known_number(ratio: float, ours: Mapping[str, Array]) -> str:
    """What a factor stands for."""
    C = ours["wte"].shape[-1] if "wte" in ours else 0
    H = ours["h.0.attn.p"].shape[1] if "h.0.attn.p" in ours else 1
    counted = int((ours["targets"] != IGNORED).sum()) if "targets" in ours else 0
    known = {"the number of targets that count: a sum in the place of the mean": counted,
             "sqrt(D)": math.sqrt(C / H), "sqrt(C)": math.sqrt(C), "the width C": C, "-1, a sign": -1,
             "ln 2: a logarithm to base 2 is 1 / ln 2 times ln": math.log(2)}
    for words, number in known.items():
        for value, about in ((number, ""), (1 / number if number else 0, "1 / ")):
            if value not in (0, 1) and abs(ratio / value - 1) < 1e-3:
                return f", {about}{words}"
    return ""


def _mistakes(name: str, ours: Mapping[str, Array]) -> Mistakes:
    """Mistakes that are made with an array of this name, and what would come of each."""
    path = name.removesuffix(".grad")
    part = path.rpartition(".")[2]
    if name != path:
        yield from _mistakes_of_gradient(path, part, ours)
    elif part in ("c_attn", "c_fc", "c_proj"):
        yield from _mistakes_of_linear(path, ours)
    elif part in ("ln_1", "ln_2", "ln_f"):
        yield from _mistakes_of_norm(path, ours)
    elif part in ("p", "z"):
        yield from _mistakes_of_attention(path, part, ours)
    elif part == "activation":
        x = ours[path.replace("activation", "c_fc")]
        yield "GELU in its exact form, by erf: GPT-2 has the form with tanh", lambda: gelu_erf(x)
        yield "ReLU in the place of GELU", lambda: relu(x)
        yield "x sigmoid(1.702 x), an approximation of GELU: GPT-2 has the form with tanh", \
            lambda: x / (1 + np.exp(-1.702 * x))
        yield "0.044715 x^3 is missing", lambda: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * x))
        yield "no activation at all", lambda: x
    elif part in ("mid", "out"):
        number = path.split(".")[1]
        before = {"mid": "h.0.in" if number == "0" else f"h.{int(number) - 1}.out", "out": f"h.{number}.mid"}[part]
        added = ours[f"h.{number}.{'attn' if part == 'mid' else 'mlp'}"]
        norm = ours[f"h.{number}.{'ln_1' if part == 'mid' else 'ln_2'}"]
        yield "the residual, the way around the sub-layer, is missing", lambda: added
        yield "the residual begins behind the norm: it begins before it", lambda: norm + added
        yield "what the sub-layer gives was not added", lambda: ours[before]
    elif path == "h.0.in":
        word, place = ours["wte"], ours["wpe"]
        yield "the positions are missing", lambda: word
        yield "word embeddings are multiplied by sqrt(C), as in the original Transformer: not in GPT-2", \
            lambda: word * math.sqrt(word.shape[-1]) + place
        yield "positions begin at 1: they begin at 0", lambda: \
            word + ours["parameter.wpe"][1:word.shape[1] + 1]
    elif path == "lm_head":
        x = ours[f"h.{_n_layer(ours) - 1}.out"]
        yield "the last norm, ln_f, is missing", lambda: x @ ours["parameter.wte"].T
    elif path == "loss":
        logits, targets = ours["lm_head"], ours["targets"]
        yield "the targets are the tokens themselves: those of position t are the tokens of t + 1", \
            lambda: np.asarray(cross_entropy_forward(logits, ours["tokens"])[0])
        yield "the targets are shifted once more: here they are what follows each token already", \
            lambda: np.asarray(cross_entropy_forward(logits[:, :-1], targets[:, 1:])[0])


def _mistakes_of_linear(path: str, ours: Mapping[str, Array]) -> Mistakes:
    before = {"attn.c_attn": "ln_1", "attn.c_proj": "attn.z", "mlp.c_fc": "ln_2", "mlp.c_proj": "mlp.activation"}
    h, _, part = path.rpartition(".attn.") if ".attn." in path else path.rpartition(".mlp.")
    x = ours[f"{h}.{before[path.removeprefix(h + '.')]}"]
    w, b = ours[f"parameter.{path}.w"], ours[f"parameter.{path}.b"]
    yield "the bias is missing", lambda: x @ w
    yield "the matrix is transposed: it is (in, out), y = x w, as in OpenAI's checkpoint", lambda: x @ w.T + b
    yield "the matrix is read as (out, in), row by row: it is (in, out)", lambda: x @ w.reshape(w.shape[::-1]).T + b
    if part == "c_proj" and "attn" in path:
        p = ours[f"{h}.attn.p"]
        (B, H, T, _), D = p.shape, len(w) // p.shape[1]
        z = x.reshape(B, T, H, D)
        yield "the heads are put together without an exchange of axes", \
            lambda: z.swapaxes(1, 2).reshape(B, T, H * D) @ w + b


def _mistakes_of_norm(path: str, ours: Mapping[str, Array]) -> Mistakes:
    _, _, part = path.rpartition(".")
    number = path.split(".")[1] if path != "ln_f" else ""
    before = {"ln_1": "h.0.in" if number == "0" else f"h.{int(number or 1) - 1}.out", "ln_2": f"h.{number}.mid",
              "ln_f": f"h.{_n_layer(ours) - 1}.out"}[part]
    x, g, b = ours[before], ours[f"parameter.{path}.g"], ours[f"parameter.{path}.b"]
    x0, C = x - x.mean(axis=-1, keepdims=True), x.shape[-1]
    var = (x0 * x0).mean(axis=-1, keepdims=True)
    for eps in (1e-12, 1e-6, 1e-8, 0.0, 1e-3):
        yield f"eps is {eps:g}: GPT-2's is 1e-5", partial(_norm, x, g, b, eps)
    yield "eps stands outside the root", lambda: x0 / (np.sqrt(var) + 1e-5) * g + b
    yield "the variance is divided by C - 1: it is by C", lambda: x0 / np.sqrt(var * C / (C - 1) + 1e-5) * g + b
    yield "it is divided by the variance: it is by its root", lambda: x0 / (var + 1e-5) * g + b
    yield "the mean is not subtracted", lambda: x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5) * g + b
    yield "the gain g is missing", lambda: x0 / np.sqrt(var + 1e-5) + b
    yield "the bias b is missing", lambda: x0 / np.sqrt(var + 1e-5) * g
    yield "mean and variance are of a whole text: they are of each row by itself", lambda: \
        (x - x.mean(axis=(1, 2), keepdims=True)) / np.sqrt(x.var(axis=(1, 2), keepdims=True) + 1e-5) * g + b


def _norm(x: Array, g: Array, b: Array, eps: float) -> Array:
    return layernorm_forward(x, g, b, eps)[0]


def _mistakes_of_attention(path: str, part: str, ours: Mapping[str, Array]) -> Mistakes:
    attn = path.rpartition(".")[0]
    p, qkv = ours[f"{attn}.p"], ours[f"{attn}.c_attn"]
    (B, H, T, _), D = p.shape, qkv.shape[-1] // 3 // p.shape[1]
    side = [a.reshape(B, T, H, D).swapaxes(1, 2) for a in np.split(qkv, 3, axis=-1)]
    woven = [a.reshape(B, T, D, H).transpose(0, 3, 1, 2) for a in np.split(qkv, 3, axis=-1)]
    threes = list(qkv.reshape(B, T, H, 3, D).transpose(3, 0, 2, 1, 4))
    future = np.triu(np.full((T, T), -math.inf, p.dtype), 1)

    def weights(qkv: list[Array], scale: float = 1 / math.sqrt(D), mask: Array = future) -> Array:
        return softmax_forward(qkv[0] @ qkv[1].swapaxes(2, 3) * scale + mask)[0]

    def merged(z: Array) -> Array:
        return z.swapaxes(1, 2).reshape(B, T, H * D)
    if part == "p":
        yield "1 / sqrt(D) is missing", lambda: weights(side, 1.0)
        yield "the scores are divided by sqrt(C): it is sqrt(D), the width of a head", \
            lambda: weights(side, 1 / math.sqrt(H * D))
        yield "the scores are divided by D: it is sqrt(D)", lambda: weights(side, 1 / D)
        yield "the causal mask is missing", lambda: weights(side, mask=0 * np.tril(future))
        yield "the causal mask is off by one: a token sees the one behind it", \
            lambda: weights(side, mask=np.triu(np.full((T, T), -math.inf, p.dtype), 2))
        yield "the causal mask looks the wrong way", lambda: weights(side, mask=future.T)
        yield "the mask comes after softmax: the rows do not sum to 1", \
            lambda: weights(side, mask=0 * np.tril(future)) * np.tril(np.ones((T, T), p.dtype))
        yield "softmax runs over the queries: it runs over the keys", lambda: softmax_forward(np.swapaxes(
            side[0] @ side[1].swapaxes(2, 3) / math.sqrt(D) + future, 2, 3))[0].swapaxes(2, 3)
        yield "q and k are exchanged", lambda: weights([side[1], side[0]])
        yield "head h has each H-th column: it has columns h D to (h + 1) D", lambda: weights(woven)
        yield "q, k and v are taken of each head in turn: all of q comes first, then all of k", lambda: weights(threes)
    else:
        yield "the values are the keys: v is the last third of c_attn", lambda: merged(p @ side[1])
        yield "the values are the queries: v is the last third of c_attn", lambda: merged(p @ side[0])
        yield "the weights are transposed", lambda: merged(p.swapaxes(2, 3) @ side[2])
        yield "the heads are put together without an exchange of axes", lambda: (p @ side[2]).reshape(B, T, H * D)
        yield "head h has each H-th column: it has columns h D to (h + 1) D", lambda: merged(p @ woven[2])


def _mistakes_of_gradient(path: str, part: str, ours: Mapping[str, Array]) -> Mistakes:
    around = {"mid": "out", "in": "mid", "out": "mid"}
    if part in around:
        number = int(path.split(".")[1])
        above = f"h.{number + 1}.mid" if part == "out" else f"h.{number}.{around[part]}"
        gradient, way = ours[f"{path}.grad"], ours.get(f"{above}.grad")
        if way is not None:
            yield "the gradient that comes around the sub-layer, by the residual, is missing", lambda: gradient - way
            yield "the gradient that comes through the sub-layer is missing", lambda: way
    if path.startswith("parameter."):
        of = path.removeprefix("parameter.")
        module, _, letter = of.rpartition(".")
        if of == "wte":
            head = ours["lm_head.grad"].reshape(-1, len(ours[path])).T @ ours["ln_f"].reshape(-1, ours[path].shape[1])
            yield "only the head's part is there: the embedding's is missing, and wte is both", lambda: head
            yield "only the embedding's part is there: the head's is missing, and wte is both", \
                lambda: ours[f"{path}.grad"] - head
            yield "of a token that comes twice, only one gradient counts", lambda: _last_one_wins(head, ours)
        elif letter == "b" and f"{module}.grad" in ours:
            yield "it is the mean over the rows: it is the sum", \
                lambda: ours[f"{module}.grad"].reshape(-1, ours[path].size).mean(axis=0)


def _last_one_wins(head: Array, ours: Mapping[str, Array]) -> Array:
    found = head.copy()
    found[ours["tokens"]] += ours["wte.grad"]           # NumPy keeps the last of several
    return found
