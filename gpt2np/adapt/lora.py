"""LoRA: a matrix stays as it is, and the product of two narrow ones beside it is trained.

        y = x w + b + alpha / r (x a) u             a (I, r), u (r, O), with r far below I and O

Chapter: S000 7.3, 8.2; S002 2.3; S004 3.3.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ..hints import Array, Cache, Rng
from ..layers.checks import check_shape
from ..layers.dropout import check_rate, dropout_backward, dropout_forward
from ..layers.linear import Linear
from ..layers.module import Blank, Module, Parameter, initial
from ..layers.tiles import product, rows
from .replacing import AdaptError, Replacement, freeze_the_rest, in_blocks, replace

PARTS = {2: "kv", 3: "qkv"}         # what a fused matrix is made of, side by side, by how many times as wide it is


def lora_forward(x: Array, a: Array, u: Array, scale: float) -> tuple[Array, Cache]:
    """A linear layer whose matrix has rank r: what LoRA adds to another one.

        y = scale (x a) u

    x        (..., I)          floating
    a, u     (I, r), (r, O)    u is at first 0, and so is y
    scale    float             alpha / r, or alpha / sqrt(r)
    returns  y (..., O) of x's dtype, and the cache for lora_backward

    In the paper's letters a is A' and u is B'.  Hu et al. 2021, arXiv:2106.09685, eq. 3.
    """
    check_shape("u", u, (a.shape[1], u.shape[1]))
    t = product(x, a)                                                               # (N, r)
    t *= scale
    return product(t, u).reshape(*x.shape[:-1], u.shape[1]), (x.shape, x, a, u, t, scale)


def lora_backward(dy: Array, cache: Cache) -> tuple[Array, Array | None, Array | None]:
    """Gradients of y = scale (x a) u.

        dt = scale dy u'        dx = dt a'        da = x' dt        du = scale (x a)' dy

    Of a frozen a or u there is none, None, and no product for it: a cache without x has no da, one without t no du.
    """
    shape, x, a, u, t, scale = cache
    check_shape("dy", dy, (*shape[:-1], u.shape[1]))
    dy = rows(dy)
    dt = dy @ u.T                                                                   # (N, r)
    dt *= scale
    dx = (dt @ a.T).reshape(shape)
    da = None if x is None else rows(x).T @ dt
    du = None if t is None else t.T @ dy
    return dx, da, du


class LowRank(Module):
    """Two narrow matrices: a (I, r), drawn from N(0, 1 / 3I), the variance in the authors' code, and u (r, O), 0."""

    def __init__(self, n_in: int, n_out: int, r: int, scale: float, rng: Rng | None, dtype: Any = np.float32):
        self.a = Parameter(initial(rng, (n_in, r), math.sqrt(1 / (3 * n_in)), dtype))
        self.u = Parameter(Blank((r, n_out), dtype))
        self.scale = scale

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """x (..., I) -> y (..., O), cache"""
        y, (shape, x, a, u, t, scale) = lora_forward(x, self.a.value, self.u.value, self.scale)
        return y, (shape, x if self.a.trainable else None, a, u, t if self.u.trainable else None, scale)

    def backward(self, dy: Array, cache: Cache) -> Array:
        dx, da, du = lora_backward(dy, cache)
        if da is not None:
            self.a.accumulate(da)
        if du is not None:
            self.u.accumulate(du)
        return dx


class LoRALinear(Replacement, Linear):
    """A Linear, and LoRA beside it: on all columns of its matrix, or on parts of them, each by itself.

        y = x w + b
        y[columns] += alpha / r (x a) u         for each part, with an a and a u of its own

    r, alpha          rank, and how much it counts
    dropout           rate, of the x that the narrow matrices see
    columns           (first, end) of each part; None: all columns.  With those of q and v of a c_attn, it is what the
                      paper has in GPT-2, whose code keeps an a for each; peft has a single one for q, k and v
    rank_stabilised   alpha / sqrt(r) in place of alpha / r: Kalajdzievski 2023, arXiv:2312.03732, theorem 3.2

    Hu et al. 2021, arXiv:2106.09685, eq. 3 and section 4.1.
    """

    kind: ClassVar = "lora"
    own: ClassVar = ("lora",)

    def __init__(self, layer: Linear, r: int, alpha: float, dropout: float = 0.0,
                 columns: Sequence[Sequence[int]] | None = None, rank_stabilised: bool = False,
                 rng: Rng | None = None):
        check_linear(layer)
        self.take_over(layer)
        n_in, n_out = layer.w.shape
        check_rank(r, 1, min(n_in, n_out))
        check_alpha(alpha)
        check_rate(dropout)
        self.r, self.alpha, self.lora_dropout, self.rank_stabilised = r, alpha, dropout, rank_stabilised
        self.columns = check_columns(columns, n_out)
        scale = alpha / math.sqrt(r) if rank_stabilised else alpha / r
        self.lora = [LowRank(n_in, end - first, r, scale, rng, layer.w.value.dtype) for first, end in self.columns]

    def options(self) -> dict[str, Any]:
        return {"r": self.r, "alpha": self.alpha, "dropout": self.lora_dropout,
                "columns": [list(part) for part in self.columns], "rank_stabilised": self.rank_stabilised}

    def forward(self, x: Array, *, rng: Rng | None = None) -> tuple[Array, Cache]:
        """x (..., n_in) -> y (..., n_out), cache"""
        y, c_linear = super().forward(x)
        x, c_dropout = dropout_forward(x, self.lora_dropout, rng)
        c_lora = []
        for part, (first, end) in zip(self.lora, self.columns):
            update, c_part = part.forward(x)
            y[..., first:end] += update
            c_lora.append(c_part)
        return y, (c_linear, c_dropout, c_lora)

    def backward(self, dy: Array, cache: Cache) -> Array:
        c_linear, c_dropout, c_lora = cache
        dx = super().backward(dy, c_linear)
        for part, (first, end), c_part in zip(self.lora, self.columns, c_lora):
            dx += dropout_backward(part.backward(dy[..., first:end], c_part), c_dropout)
        return dx

    def merged(self) -> Linear:
        w = self.w.value.copy()
        for part, (first, end) in zip(self.lora, self.columns):
            w[:, first:end] += part.scale * (part.a.value @ part.u.value)
        return plain(self, w)


def add_lora(model: Module, paths: str | Sequence[str] | None = None, r: int = 8, alpha: float = 16.0,
             dropout: float = 0.0, parts: str = "", rank_stabilised: bool = False,
             rng: Rng | None = None) -> dict[str, Module]:
    """Have LoRA on the matrices that the paths name, and train it alone.  Returns what `restore` takes.

    paths   None: c_attn of every block
    parts   of fused matrices, as "qv"; none for the whole matrix
    rng     for the initial a; None: the same for every call, of seed 0
    """
    rng = np.random.default_rng(0) if rng is None else rng

    def make(layer: Linear) -> LoRALinear:
        columns = columns_of(parts, layer) if parts else None
        return LoRALinear(layer, r, alpha, dropout, columns, rank_stabilised, rng)

    if parts and any(getattr(layer, "gone", ()) for _, layer in model.named_modules()):
        raise AdaptError("parts: expected a model with all its heads, whose matrices tell q, k and v by their shapes, "
                         "got one without some; name whole matrices")
    old = replace(model, in_blocks(model, "attn.c_attn") if paths is None else paths, make)
    freeze_the_rest(model)
    return old


def plain(layer: Linear, w: Array) -> Linear:
    """A Linear with another matrix, and the bias of this one."""
    new = Linear.__new__(Linear)
    new.w, new.b = Parameter(w), layer.b
    new.w.trainable = layer.w.trainable
    return new


def columns_of(parts: str, layer: Linear) -> list[tuple[int, int]]:
    """The columns of q, k, v in a matrix (C, 3C), or of k and v in one (C, 2C), in the order of `parts`."""
    check_linear(layer)
    n_in, n_out = layer.w.shape
    there = PARTS.get(n_out // n_in, "") if n_out % n_in == 0 else ""
    if not parts or set(parts) - set(there) or len(set(parts)) < len(parts):
        raise AdaptError(f"parts: expected some of {', '.join(there) or 'none'} of a matrix {n_in} x {n_out}, got "
                         f"{parts!r}")
    return [(there.index(part) * n_in, (there.index(part) + 1) * n_in) for part in parts]


def check_linear(layer: Module) -> None:
    """AdaptError unless the layer has a matrix and a bias."""
    if not isinstance(layer, Linear):
        raise AdaptError(f"layer: expected a linear layer, such as attn.c_attn or mlp.c_fc, got {type(layer).__name__}")


def check_rank(r: int, least: int, most: int) -> None:
    """AdaptError unless r is a whole number in this range."""
    if type(r) is not int or not least <= r <= most:
        raise AdaptError(f"rank: expected a whole number from {least} to {most}, the smaller side of the matrix, got "
                         f"{r!r}")


def check_alpha(alpha: float) -> None:
    """AdaptError unless alpha is a finite number above 0."""
    if type(alpha) not in (int, float) or not (math.isfinite(alpha) and alpha > 0):
        raise AdaptError(f"alpha: expected a number above 0, got {alpha!r}")


def check_columns(columns: Sequence[Sequence[int]] | None, n_out: int) -> list[tuple[int, int]]:
    """The columns as pairs; AdaptError unless they are (first, end) of parts of n_out that do not overlap."""
    if columns is None:
        return [(0, n_out)]
    try:
        found = [(first, end) for first, end in columns]
        taken = [i for first, end in found for i in range(first, end)]
    except (TypeError, ValueError):
        raise AdaptError(f"columns: expected (first, end) of each part, got {columns!r}") from None
    if not found or any(not 0 <= first < end <= n_out for first, end in found) or len(set(taken)) < len(taken):
        raise AdaptError(f"columns: expected parts of {n_out} that do not overlap, got {found}")
    return found
