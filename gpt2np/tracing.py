"""One forward pass of a model, pair by pair: which equation, on which shapes, at what cost, with what result.

    for step in gpt2np.trace(model, [[464, 3797]]):
        print(step)

It watches the real model run, through Python's own hook for profilers: nothing is computed a second time, and nothing
is put in anything's place.  What it sees are the calls of the pairs, in any model that is made of them: the two
residual sums of a block, x + h, are no pairs, and stand between the lines.

Chapter: S000 3.3, 8.3.
"""

import inspect
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np

from .adapt import adalora, lora
from .hints import Array
from .layers import attention, embedding, linear, lm_head
from .layers.module import Module

HEADER = (f"{'name':<18} {'shape of y':<14} {'dtype':<7}  {'cost':>10} {'memory':>7}",
          f"{'min y':>9} {'mean y':>9} {'max y':>9}   equations")


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

    def parts(self) -> tuple[str, str]:
        """What was done, and what came of it: the two halves of a line, below those of HEADER."""
        return (f"{self.name:<18} {'x'.join(map(str, self.shape)):<14} {self.dtype}  "
                f"{short(self.flops):>6}FLOP {short(self.bytes):>6}B",
                f"{self.min:9.3f} {self.mean:9.3f} {self.max:9.3f}   {self.formula}")

    def __str__(self) -> str:
        return "  ".join(self.parts())


def trace(model: Any, *inputs: Any, **options: Any) -> list[Step]:
    """The steps of model.forward(*inputs, **options) in their order; of a GPT2: trace(model, tokens), tokens (B, T)."""
    return trace_run(model, lambda: model.forward(*inputs, **options))


def trace_run(model: Module, run: Callable[[], object]) -> list[Step]:
    """The steps of the model while run() runs, on this thread: another method, a loss, a token with a past.

        trace_run(model, lambda: model.next_logits([[464]], past))
    """
    paths, steps = {id(child): path for path, child in model.named_modules()} | {id(model): ""}, []

    def watch(frame: FrameType, event: str, result: Any) -> None:
        if event != "return" or result is None or (pair := _pair(frame)) is None:
            return
        arguments = [frame.f_locals[a] for a in frame.f_code.co_varnames[:frame.f_code.co_argcount]]
        y, caller = result[0] if isinstance(result, tuple) else result, frame.f_back
        while caller and id(caller.f_locals.get("self")) not in paths:
            if _pair(caller):
                return                                  # a part of what that pair does
            caller = caller.f_back
        if y is not arguments[0]:                       # dropout that drops nothing
            steps.append(_step(pair, _name(pair, caller, paths), arguments, y))

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        run()
    finally:
        sys.setprofile(before)
    return steps


def _pair(frame: FrameType) -> Callable | None:
    """The forward whose call a frame is; that of gelu_forward is also gelu, its form without a cache."""
    name, names = frame.f_code.co_name, frame.f_globals
    if not names["__name__"].startswith(f"{__package__}.") or \
            getattr(names.get(name), "__code__", None) is not frame.f_code:
        return None
    return names.get(name if name.endswith("_forward") else f"{name}_forward")


def _name(pair: Callable, caller: FrameType | None, paths: dict[int, str]) -> str:
    """The path of the module that called a pair where it is the pair's own class, or one made from that; behind the
    path of any other, the name of the pair.
    """
    module = caller.f_locals["self"] if caller else None
    path = paths[id(module)] if caller else ""
    if any(made_from.__module__ == pair.__module__ for made_from in type(module).__mro__):
        return path
    return f"{path}.{pair.__name__.removesuffix('_forward')}".lstrip(".")


def short(n: float) -> str:
    """The number with three digits and a prefix: 1.23 M."""
    for prefix in ("", "k", "M", "G"):
        if n < 999.5:
            return f"{n:.3g} {prefix}"
        n /= 1000
    return f"{n:.3g} T"


def _step(pair: Callable, name: str, arguments: list[Any], y: Array) -> Step:
    inputs = sum(a.nbytes for a in arguments if isinstance(a, np.ndarray))
    if pair is embedding.embedding_forward:
        inputs = arguments[0].nbytes + y.nbytes         # of the table, the rows that are looked up
    least, mean, most = (float(y.min()), float(y.mean()), float(y.max())) if y.size else [math.nan] * 3
    return Step(name, _formula(pair), y.shape, y.dtype, _flops(pair, arguments), inputs + y.nbytes, least, mean, most)


def _formula(pair: Callable) -> str:
    """The first paragraph of the docstring that is indented deeper than its sentences: the equations.

    Where there is none, the first line.
    """
    parts = (inspect.getdoc(pair) or "").split("\n\n")
    equations = next((part for part in parts if part.startswith(" " * 4)), parts[0].split("\n")[0])
    return re.sub(r"\s{2,}", "; ", re.sub(r" +=", " =", equations.strip()))


def _flops(pair: Callable, arguments: list[Any]) -> int:
    if pair is attention.attention_forward:             # q k' and p v, over all keys, as if none were skipped
        (B, H, T, D), S = arguments[0].shape, arguments[1].shape[2]
        return 4 * B * H * T * S * D
    if pair in (linear.linear_forward, lm_head.lm_head_forward, lm_head.lm_head_loss_forward):
        return 2 * arguments[0].size // arguments[0].shape[-1] * arguments[1].size
    if pair in (lora.lora_forward, adalora.adalora_forward):                # two narrow matrices each
        matrices = [a for a in arguments[1:] if isinstance(a, np.ndarray) and a.ndim == 2]
        return 2 * arguments[0].size // arguments[0].shape[-1] * sum(a.size for a in matrices)
    return 0
