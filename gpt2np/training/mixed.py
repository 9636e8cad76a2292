"""Mixed precision, emulated: what a GPU rounds to float16 in training is rounded here, number by number.

        y  = half(half(x) half(w) + half(b))
        dx = half(half(dy) half(w)')        dw = half(half(x)' half(dy))        db = half(sum of half(dy))

half(a) is the nearest of the numbers of float16: 11 significant bits, none above 65,504, none but 0 below 6e-8.

What is emulated: the matrices of the blocks, of each product what goes in and what comes out, forward and backward.
The sums within a product are in float32, as on a GPU: a product of two numbers of float16 has 22 bits, and float32
holds it exactly. Weights are in float32, the master copy, which the optimizer changes by steps that float16 would lose,
and are rounded for each product. In float32 are also the stream, norms, GELU, the scores and weights of attention, the
head and the loss; a GPU has the products of attention and of the head in float16, too. What is not emulated is the
gain: half the memory for activations, and products several times as fast, where there is hardware for them.

A model whose arrays are all float16 is something else: the constant of attention's softmax, -1e30 (LOWEST in
layers/attention.py), is -inf there, NumPy warns of it, and a query that sees nothing but padding gives no number.

The loss is multiplied by a scale before the backward pass, so that small gradients do not become 0, and gradients are
divided by it in float32 after. Where one is infinite, or no number, the scale was too large: the step is skipped.

Micikevicius et al. 2018, arXiv:1710.03740, sections 3.1 to 3.3; when the scale changes is as in PyTorch's GradScaler.

Chapter: S001 9 Q4.
"""

from typing import Any, ClassVar

import numpy as np

from ..adapt.narrow import matrices
from ..adapt.replacing import Replacement, replace
from ..hints import Array, Cache
from ..layers.linear import Linear, linear_backward, linear_forward
from ..layers.module import Module
from .clipping import gradient_norm
from .optimizer import Optimizer


def half(x: Array) -> Array:
    """The nearest numbers of float16, in x's dtype: infinite from 65,520 on, and 0 up to 3e-8."""
    with np.errstate(over="ignore"):
        return x.astype(np.float16).astype(x.dtype)


class HalfLinear(Replacement, Linear):                  # type: ignore[override]
    """y = x w + b with what a GPU would have in float16 rounded to it; w and b stay float32."""

    kind: ClassVar = "float16 products"
    own: ClassVar = ()

    def __init__(self, layer: Linear):
        self.take_over(layer)

    def options(self) -> dict[str, Any]:
        return {}

    def forward(self, x: Array, *, rng: Any = None) -> tuple[Array, Cache]:
        """x (..., I) -> y (..., O), cache"""
        y, cache = linear_forward(half(x), half(self.w.value), half(self.b.value))
        return half(y), cache

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dy (..., O) -> dx (..., I), which may be infinite"""
        with np.errstate(invalid="ignore"):             # inf - inf, where the scale is too large
            dx, dw, db = map(half, linear_backward(half(dy), cache))
        for p, gradient in ((self.w, dw), (self.b, db)):
            p.accumulate(gradient)
        return dx


def in_half(model: Module) -> dict[str, Module]:
    """Let all matrices of a GPT-2's blocks compute so; restore(model, what this returns) undoes it."""
    return replace(model, matrices(model), HalfLinear)


class LossScale:
    """What the loss is multiplied by: half as much after a step that overflows, twice as much after `every` good ones.

    scale     at first; later what it is
    every     how many steps without an overflow double it; 0: it stays
    skipped   how many steps were skipped
    """

    def __init__(self, scale: float = 2.0**16, every: int = 2000):
        self.scale, self.every, self.skipped, self.good = scale, every, 0, 0

    def gradients(self, model: Any, tokens: Array, targets: Array) -> float:
        """The gradients of a GPT-2, times the scale, in its parameters; returns the loss."""
        model.zero_grad()
        x, c_hidden = model.hidden(tokens)
        loss, c_loss = model.lm_head.loss(x, targets)
        with np.errstate(invalid="ignore", over="ignore"):
            model.hidden_backward(model.lm_head.loss_backward(self.scale, c_loss), c_hidden)
        return float(loss)

    def step(self, model: Any, optimizer: Optimizer, tokens: Array, targets: Array, lr: float) -> float:
        """One step of training, or none where a gradient overflows.  Returns the loss."""
        loss = self.gradients(model, tokens, targets)
        if np.isfinite(gradient_norm(model)):
            optimizer.step(lr, 1 / self.scale)
            self.good += 1
            if self.every and self.good % self.every == 0:
                self.scale *= 2
        else:
            model.zero_grad()
            self.skipped, self.good = self.skipped + 1, 0
            self.scale /= 2
        return loss
