"""One forward pass of a model, array by array: which equation, on which shapes, at what cost, with what result.

    for step in gpt2np.trace(model, [[464, 3797]]):
        print(step)

It is read off a recording of the real model's run, interpret/taps.py, and the names are those of activations() there:
the sums of the residual stream are steps, too.

Chapter: S000 3.3, 8.3.
"""

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from .adapt.lora import LowRank, lora_forward
from .hints import Array
from .interpret.taps import InterpretError, Recording, activations, tapped
from .layers.activations import GELU, GELU_ERF, RELU, TANH
from .layers.dropout import dropout_forward
from .layers.embedding import Embedding, embedding_forward
from .layers.layernorm import LayerNorm, layernorm_forward
from .layers.linear import Linear, linear_forward
from .layers.lm_head import LMHead, lm_head_forward, lm_head_loss_forward
from .layers.module import Module, Parameter

HEADER = f"{'name':<20} {'shape':<14} {'FLOP':>6} {'bytes':>6} {'min':>8} {'mean':>8} {'max':>8}"
# What attention is made of; its pair has both in one equation.
WEIGHTS = "p = softmax(q k' / sqrt(D) + M); M is 0 where a query may look, -inf elsewhere"
HEADS = "z = p v, the heads side by side"
# How many operations each number costs.
ACTIVATIONS = {GELU: 10, GELU_ERF: 5, RELU: 1, TANH: 1}
SOFTMAX = 7                             # scale, mask, and of softmax: largest, difference, exp, sum, division
DROPOUT = 2


@dataclass(frozen=True)
class Step:
    """How one array came to be.

    name             as activations() has it, from OpenAI's checkpoint
    formula          the equations of the pair's docstring; of a sum, what is added
    shape, dtype     of y
    flops            each +, -, x, /, exp, root, comparison of two numbers is one, as its equation has them, and a sum
                     of n numbers n; causal attention as if no key were skipped
    bytes            of the arrays that are read and written: inputs, weights and y
    min, mean, max   of y
    """

    name: str
    formula: str
    shape: tuple[int, ...]
    dtype: np.dtype
    flops: int
    bytes: int
    min: float
    mean: float
    max: float

    def line(self) -> str:
        """All but the formula, below HEADER, in 76 columns: 35 for what it is, 40 for its numbers."""
        return (f"{self.name:<20} {'x'.join(map(str, self.shape)):<14} {short(self.flops):>6} {short(self.bytes):>6} "
                + " ".join(number(x) for x in (self.min, self.mean, self.max)))

    def __str__(self) -> str:
        return f"{self.line()}   {self.formula}"


def trace(model: Any, *inputs: Any, **options: Any) -> list[Step]:
    """The steps of model.forward(*inputs, **options) in their order; of a GPT2: trace(model, tokens), tokens (B, T)."""
    with tapped(model, Recording()) as seen:
        model.forward(*inputs, **options)
    return steps_of(model, seen)


def steps_of(model: Module, seen: Recording) -> list[Step]:
    """The steps of a run that was recorded: of another method, a loss, a run with a patch.

    Where a part gives an array that one below it gave, attn that of attn.c_proj, it is one step.
    raises   InterpretError   for a run that has kept no cache, in which the weights of attention are not known
    """
    named = {name: y for name, y in activations(model, seen).items()
             if not name.endswith(".grad") and getattr(y, "dtype", np.dtype(bool)).kind in "fc"}        # no tokens
    reader, steps, known = _Reader(model, seen, named), [], set[int]()
    for name, y in named.items():
        how = reader.read(name, y, id(y) in known)
        known.add(id(y))
        if how is not None:
            least, mean, most = (float(y.min()), float(y.mean()), float(y.max())) if y.size else [math.nan] * 3
            steps.append(Step(name, how.formula, y.shape, y.dtype, how.flops, how.read + y.nbytes, least, mean, most))
    return steps


@dataclass(frozen=True)
class How:
    """The equations of an array, the operations that it costs, and the bytes that are read for it."""

    formula: str
    flops: int
    read: int


class _Reader:
    """Tells how each array came of those before it, which it is given in the order of computation.

    terms    names of the arrays that the next sum of the stream is made of: tables, or the stream and a sub-layer
    before   the array of the last step
    memory   ids of the arrays that others are views of
    """

    def __init__(self, model: Module, seen: Recording, named: dict[str, Array]):
        self.model, self.seen, self.named = model, seen, named
        self.parts: dict[str, Any] = dict(model.named_modules())
        self.terms: list[str] = []
        self.before: Array | None = None
        self.memory = set[int]()

    def read(self, name: str, y: Array, is_known: bool) -> How | None:
        """How y came to be; None where it is another step's, or a part of it.  is_known: whether it was here before"""
        path = name.partition(":")[0].removesuffix(".out")
        above, _, last = path.rpartition(".")
        part = self.parts.get(path)
        in_block = above.rpartition(".")[2].isdigit()
        if in_block and isinstance(part, Module) and not isinstance(part, LayerNorm):
            self.terms.append(name)                     # a sub-layer, which is added to the stream
        memory = id(y if getattr(y, "base", None) is None else y.base)
        if is_known or (last == "in" and memory in self.memory):
            return None
        self.memory.add(memory)
        how = self._leaf(name, part, y) or self._inside(above, last, y) or self._together(name, part, y)
        self.before = y
        return how

    def _leaf(self, name: str, part: Any, y: Array) -> How | None:
        """Of a part that is a pair of layers/."""
        if name == "loss":                              # of the head and its loss in one
            name = next(n for n, side in self.seen.order if side == "y" and self.seen.y[n] is y)
            part = self.parts[name.partition(":")[0]]
        if not isinstance(part, Embedding | LayerNorm | Linear | LMHead | LowRank):
            return None
        x = self.seen.x[name.removesuffix(".out")]
        read = x.nbytes + sum(p.value.nbytes for p in ([part] if isinstance(part, Parameter) else
                                                       [p for _, p in part.named_parameters()]))
        if isinstance(part, Embedding):                 # of the table, the rows that are looked up
            tables = [t for t in self.terms if isinstance(self.parts.get(t.partition(":")[0]), Embedding)]
            self.terms = [*tables, name]
            return How(equations(embedding_forward), y.size * (part.scale != 1), x.nbytes + y.nbytes)
        if isinstance(part, LayerNorm):
            if self.terms == [f"{name}.in"]:            # behind a sum, it is the stream from here
                self.terms = [name]
            return How(equations(layernorm_forward), 7 * x.size + 4 * (x.size // x.shape[-1]), read)
        if isinstance(part, Linear):                    # what is below it, as LoRA, are steps of their own
            own = [p.value for path, p in part.named_parameters() if "." not in path]
            flops = sum(2 * (x.size // x.shape[-1]) * p.size for p in own if p.ndim == 2) + y.size
            return How(equations(linear_forward if type(part) is Linear else type(part)), flops,
                       x.nbytes + sum(p.nbytes for p in own))
        if isinstance(part, LowRank):
            (N, r), O = (x.size // x.shape[-1], part.a.shape[1]), y.shape[-1]
            return How(equations(lora_forward), 2 * x.size * r + N * r + 2 * N * r * O, read)
        rows, V = x.size // x.shape[-1], len(part.wte.value)
        flops = 2 * x.size * V + rows * V * (part.b is not None)
        return How(equations(lm_head_loss_forward), flops + 4 * rows * V + 3 * rows, read) if y.ndim == 0 else \
            How(equations(lm_head_forward), flops, read)

    def _inside(self, above: str, last: str, y: Array) -> How | None:
        """Of what a sub-layer works out between its matrices."""
        part: Any = self.parts.get(above)
        if last == "activation":
            x = self.seen.y[f"{above}.c_fc"]
            return How(equations(part.activation.forward), ACTIVATIONS[part.activation] * x.size, x.nbytes)
        if last not in ("p", "z") or not hasattr(part, "weights"):
            return None
        if (p := self.named.get(f"{above}.p")) is None:
            raise InterpretError(f"{above}: expected a run that keeps its caches, as forward does")
        (B, H, T, S), D = p.shape, part.c_proj.w.shape[0] // part.n_head
        if last == "p":
            return How(WEIGHTS, B * H * T * S * (2 * D + SOFTMAX), B * H * (T + S) * D * p.itemsize)
        return How(HEADS, 2 * B * H * T * S * D, p.nbytes + B * H * S * D * p.itemsize)

    def _together(self, name: str, part: Any, y: Array) -> How:
        """Of a sum, or of what a part does with the array before: it is that whose numbers these are."""
        terms = {term: self.named[term] for term in self.terms}
        if terms and all(isinstance(self.parts.get(t.partition(":")[0]), Embedding) for t in terms):
            terms |= {n: c.value[:y.shape[-2]] for n, c in self.model.named_constants() if n == "positions"}
        if len(terms) > 1:
            total = reduce(add, terms.values())
            dropped = not _same(total, y)
            if not dropped or _is_dropout(total, y):
                self.terms = [name]
                return How(" + ".join(terms) + ", with dropout" * dropped,
                           (len(terms) - 1 + DROPOUT * dropped) * y.size, sum(t.nbytes for t in terms.values()))
        if (x := self.before) is not None and x.shape == y.shape:
            for activation, cost in ACTIVATIONS.items():
                if _same(activation.forward(x)[0], y):
                    return How(equations(activation.forward), cost * y.size, x.nbytes)
            if _is_dropout(x, y):
                return How(equations(dropout_forward), DROPOUT * y.size, x.nbytes)
        if name.endswith((".in", ".mid", ".mid_2", ".out")):
            self.terms = [name]                         # a stream that was patched goes on from here
        return How(equations(type(part)) if part is not None else "of the model's own", 0, 0)


def _same(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool(((a == b) | (b != b)).all())


def _is_dropout(x: Array, y: Array) -> bool:
    """Whether y is x with some numbers 0 and the others larger by a factor."""
    kept = y != 0
    if x.shape != y.shape or kept.all() or not kept.any():
        return False
    factor = y[kept] / x[kept]
    return bool((abs(factor - factor[0]) < 1e-4 * factor[0]).all()) and bool(factor[0] > 1)


def equations(pair: Callable) -> str:
    """The first paragraph of the docstring that is indented deeper than its sentences: the equations.

    Where there is none, the first line.
    """
    parts = (inspect.getdoc(pair) or "").split("\n\n")
    equations = next((part for part in parts if part.startswith(" " * 4)), parts[0].split("\n")[0])
    return re.sub(r"\s{2,}", "; ", re.sub(r" +=", " =", equations.strip()))


def short(n: float) -> str:
    """The number with three digits and a prefix: 1.23 M."""
    for prefix in ("", "k", "M", "G"):
        if n < 999.5:
            return f"{n:.3g} {prefix}"
        n /= 1000
    return f"{n:.3g} T"


def number(x: float) -> str:
    """A number in eight columns."""
    return f"{x:8.3f}" if not abs(x) >= 1000 else f"{x:8.1e}"
