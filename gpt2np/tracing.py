"""One forward pass of a model, pair by pair: which equation, on which shapes, at what cost, with what result.

    for step in gpt2np.trace(model, [[464, 3797]]):
        print(step)

It watches the real model run, through Python's own hook for profilers: nothing is computed a second time, and nothing
is put in anything's place.  What it sees are the calls of the pairs (gpt2np/layers/): the two residual sums of a block,
x + h, are no pairs, and stand between the lines.
"""

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np

from .hints import Array
from .layers import attention, embedding, layernorm, linear, lm_head
from .models.gpt2 import GPT2

HEADER = (f"{'name':<18} {'shape of y':<14} {'dtype':<7}  {'cost':>10} {'memory':>7}  {'min y':>9} {'mean y':>9} "
          f"{'max y':>9}   equations")


@dataclass(frozen=True)
class Step:
    """What one pair has done.

    name             of the layer, as in OpenAI's checkpoint, or of the pair where it has no parameters
    formula          the equations of the pair's docstring
    shape, dtype     of y
    flops            2 for each multiplication with its addition in matrix products; nothing else is counted, and
                     causal attention over all keys, as if none were skipped
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

    def __str__(self) -> str:
        return (f"{self.name:<18} {'x'.join(map(str, self.shape)):<14} {self.dtype}  "
                f"{short(self.flops):>6}FLOP {short(self.bytes):>6}B  "
                f"{self.min:9.3f} {self.mean:9.3f} {self.max:9.3f}   {self.formula}")


def trace(model: GPT2, tokens: Sequence[Sequence[int]]) -> list[Step]:
    """The steps of model.forward(tokens), tokens (B, T), in their order."""
    paths, steps = {id(child): path for path, child in model.named_modules()}, []

    def watch(frame: FrameType, event: str, y: Any) -> None:
        name = frame.f_code.co_name
        if event != "return" or y is None or not name.endswith("_forward") or name == "dropout_forward":
            return
        pair, caller = frame.f_globals.get(name), frame.f_back
        if (pair and caller and getattr(pair, "__code__", None) is frame.f_code
                and pair.__module__.startswith(linear.__package__)):
            arguments = [frame.f_locals[a] for a in frame.f_code.co_varnames[:frame.f_code.co_argcount]]
            path = paths.get(id(caller.f_locals.get("self")), "")
            steps.append(_step(pair, path, arguments, y[0]))

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        model.forward(tokens)
    finally:
        sys.setprofile(before)
    return steps


def short(n: float) -> str:
    """The number with three digits and a prefix: 1.23 M."""
    for prefix in ("", "k", "M", "G"):
        if n < 999.5:
            return f"{n:.3g} {prefix}"
        n /= 1000
    return f"{n:.3g} T"



def _step(pair: Callable, path: str, arguments: list[Any], y: Array) -> Step:
    inputs = sum(a.nbytes for a in arguments if isinstance(a, np.ndarray))
    if pair is embedding.embedding_forward:
        inputs = arguments[0].nbytes + y.nbytes         # of the table, the rows that are looked up
    owner = pair in (linear.linear_forward, layernorm.layernorm_forward, embedding.embedding_forward,
                     lm_head.lm_head_forward)
    name = path if owner else f"{path}.{pair.__name__.removesuffix('_forward')}".lstrip(".")
    return Step(name, _formula(pair), y.shape, y.dtype, _flops(pair, arguments), inputs + y.nbytes,
                float(y.min()), float(y.mean()), float(y.max()))


def _formula(pair: Callable) -> str:
    """The first paragraph of the docstring that is indented deeper than its sentences: the equations."""
    equations = next(part for part in (inspect.getdoc(pair) or "").split("\n\n") if part.startswith(" " * 4))
    return re.sub(r"\s{2,}", "; ", re.sub(r" +=", " =", equations.strip()))


def _flops(pair: Callable, arguments: list[Any]) -> int:
    if pair is attention.attention_forward:             # q k' and p v, over all keys, as if none were skipped
        (B, H, T, D), S = arguments[0].shape, arguments[1].shape[2]
        return 4 * B * H * T * S * D
    if pair in (linear.linear_forward, lm_head.lm_head_forward):
        return 2 * arguments[0].size // arguments[0].shape[-1] * arguments[1].size
    return 0
