"""AdaLoRA: LoRA with a diagonal between its two matrices, and ranks where they matter most.

        y = x w + b + alpha / (r + 1e-5) ((x p) e) q            p (I, r), e (r,), q (r, O)

Each number of e stands for one rank.  While a run goes on, those that matter least in the whole model become 0.

Chapter: S000 7.3.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..hints import Array, Cache, Rng
from ..layers.checks import check_shape
from ..layers.dropout import check_rate, dropout_backward, dropout_forward
from ..layers.linear import Linear
from ..layers.module import Blank, Module, Parameter, initial
from ..layers.tiles import product, rows
from .lora import check_alpha, check_linear, check_rank, plain
from .replacing import AdaptError, Replacement, freeze_the_rest, in_blocks, replace, replacements

STD = 0.02                          # of the first p and q, as in the authors' code


# ---- the pairs


def adalora_forward(x: Array, p: Array, e: Array, q: Array, scale: float) -> tuple[Array, Cache]:
    """A linear layer whose matrix is written as a singular value decomposition: what AdaLoRA adds to another one.

        y = scale ((x p) e) q

    x          (..., I)               floating
    p, e, q    (I, r), (r,), (r, O)   e is at first 0, and so is y
    scale      float                  alpha / (r + 1e-5) with the r of the beginning: see AdaLoRALinear
    returns    y (..., O) of x's dtype, and the cache for adalora_backward

    In the paper's letters p is Q', e the diagonal of Lambda, and q is P', since it writes W x.
    Zhang et al. 2023, arXiv:2303.10512, eq. 3.
    """
    r = len(e)
    check_shape("p", p, (p.shape[0], r))
    check_shape("q", q, (r, q.shape[1]))
    t = product(x, p)                                                               # (N, r)
    te = t * (scale * e)
    return product(te, q).reshape(*x.shape[:-1], q.shape[1]), (x.shape, x, p, e, q, t, te, scale)


def adalora_backward(dy: Array, cache: Cache) -> tuple[Array, Array | None, Array | None, Array | None]:
    """Gradients of y = scale ((x p) e) q.

        dte = dy q'     dt = scale dte e     dx = dt p'     dp = x' dt     de = scale sum of t dte     dq = te' dy

    where t = x p and te = scale t e.  Of what is frozen there is none, None, and no product for it: a cache without x
    has no dp, one without t no de, one without te no dq.
    """
    shape, x, p, e, q, t, te, scale = cache
    check_shape("dy", dy, (*shape[:-1], q.shape[1]))
    dy = rows(dy)
    dte = dy @ q.T                                                                  # (N, r)
    de = None if t is None else (t * dte).sum(axis=0) * scale
    dt = dte * (scale * e)
    dx = (dt @ p.T).reshape(shape)
    dp = None if x is None else rows(x).T @ dt
    dq = None if te is None else te.T @ dy
    return dx, dp, de, dq


def orthogonality_forward(p: Array, q: Array) -> tuple[Array, Cache]:
    """How far the columns of p and the rows of q are from being orthonormal, as those of a decomposition are.

        loss = |p' p - 1|^2 + |q q' - 1|^2          |.|^2 is the sum of the squares

    p, q      (I, r), (r, O)
    returns   loss (), and the cache for orthogonality_backward

    Zhang et al. 2023, arXiv:2303.10512, eq. 4.  peft and the authors' code take the mean over all p and q of the norms
    that are not squared, whose gradient has the same length however near they are.
    """
    gram_p, gram_q = p.T @ p, q @ q.T                                               # (r, r)
    for gram in (gram_p, gram_q):
        gram.ravel()[::len(gram) + 1] -= 1                                          # the diagonal
    return (gram_p * gram_p).sum() + (gram_q * gram_q).sum(), (p, q, gram_p, gram_q)


def orthogonality_backward(dloss: float | Array, cache: Cache) -> tuple[Array, Array]:
    """dp = 4 dloss p (p' p - 1)        dq = 4 dloss (q q' - 1) q"""
    p, q, gram_p, gram_q = cache
    scale = 4 * dloss                                   # a float64 dloss does not promote
    return (p @ gram_p * scale).astype(p.dtype), (gram_q @ q * scale).astype(p.dtype)


# ---- the layer


class AdaLoRALinear(Replacement, Linear):
    """A Linear, and AdaLoRA beside it.

        y = x w + b + alpha / (first_r + 1e-5) ((x p) e) q

    r         ranks that there are; 0 is allowed, for all of a layer's may have been cut away
    alpha     how much they count
    dropout   rate, of the x that p sees
    first_r   the r that the run began with, by which alpha is divided however many are left; None: r

    With that divisor, and its 1e-5, files of peft give the same numbers here.
    Zhang et al. 2023, arXiv:2303.10512, section 3.1.
    """

    kind: ClassVar = "adalora"
    own: ClassVar = ("p", "e", "q")

    def __init__(self, layer: Linear, r: int, alpha: float, dropout: float = 0.0, first_r: int | None = None,
                 rng: Rng | None = None):
        check_linear(layer)
        self.take_over(layer)
        (n_in, n_out), dtype = layer.w.shape, layer.w.value.dtype
        check_rank(r, 0, min(n_in, n_out))
        check_alpha(alpha)
        check_rate(dropout)
        self.r, self.alpha, self.lora_dropout = r, alpha, dropout
        self.first_r = r if first_r is None else first_r
        self.scale = alpha / (self.first_r + 1e-5)
        self.p = Parameter(initial(rng, (n_in, r), STD, dtype))
        self.e = Parameter(Blank((r,), dtype))
        self.q = Parameter(initial(rng, (r, n_out), STD, dtype))

    def options(self) -> dict[str, Any]:
        return {"r": self.r, "alpha": self.alpha, "dropout": self.lora_dropout, "first_r": self.first_r}

    def forward(self, x: Array, *, rng: Rng | None = None) -> tuple[Array, Cache]:
        """x (..., n_in) -> y (..., n_out), cache"""
        y, c_linear = super().forward(x)
        x, c_dropout = dropout_forward(x, self.lora_dropout, rng)
        update, (shape, x, p, e, q, t, te, scale) = adalora_forward(x, self.p.value, self.e.value, self.q.value,
                                                                    self.scale)
        y += update
        kept = (x if self.p.trainable else None, t if self.e.trainable else None, te if self.q.trainable else None)
        return y, (c_linear, c_dropout, (shape, kept[0], p, e, q, kept[1], kept[2], scale))

    def backward(self, dy: Array, cache: Cache) -> Array:
        c_linear, c_dropout, c_update = cache
        dx = super().backward(dy, c_linear)
        dx_update, *gradients = adalora_backward(dy, c_update)
        for parameter, gradient in zip((self.p, self.e, self.q), gradients):
            if gradient is not None:
                parameter.accumulate(gradient)
        dx += dropout_backward(dx_update, c_dropout)
        return dx

    def merged(self) -> Linear:
        return plain(self, self.w.value + (self.p.value * (self.scale * self.e.value)) @ self.q.value)


def add_adalora(model: Module, paths: str | Sequence[str] | None = None, r: int = 12, alpha: float = 16.0,
                dropout: float = 0.0, rng: Rng | None = None) -> dict[str, Module]:
    """Have AdaLoRA on the matrices that the paths name, and train it alone.  Returns what `restore` takes.

    Whoever trains then asks a RankBudget before and after each update; without one it is LoRA, and a slow one.

    paths   None: c_attn of every block
    rng     for the initial p and q; None: the same for every call, of seed 0
    """
    rng = np.random.default_rng(0) if rng is None else rng
    old = replace(model, in_blocks(model, "attn.c_attn") if paths is None else paths,
                  lambda layer: AdaLoRALinear(layer, r, alpha, dropout, rng=rng))
    freeze_the_rest(model)
    return old


# ---- the budget


class RankBudget:
    """How many ranks are left at each step of a run, and which: the budget falls from all to `target` for each layer.

        after gradients of step t:      penalty = budget.before_update()            the weights are as they were
        after the update:               budget.after_update(t)                      t = 1, 2, ...

        b(t) = all                                          up to t = warmup
        b(t) = last + (all - last) (1 - s)^3                s = (t - warmup) / (steps - final - warmup), from 0 to 1
        b(t) = last                                         from t = steps - final on, and the ranks that are left stay

    model    with AdaLoRALinear layers
    target   ranks of a layer that are left in the end, in the mean; last is target times the number of layers
    steps    of the run
    warmup   so many steps nothing is cut away
    final    so many steps, the last ones, train the ranks that are left
    every    how many steps there are from one cut to the next, in between
    gamma    how much orthogonality counts in the loss
    beta1, beta2   how much the means of sensitivity and uncertainty keep in a step

    How much a number w matters is its sensitivity times how uncertain that is, both smoothed:

        s(w) = I U      I: mean of |w dw|       U: mean of | |w dw| - I |

    and a rank by its number in e, and the mean over its column of p and its row of q:

        S = s(e) + mean of s(p) + mean of s(q)

    Sensitivity is taken before the update, with the weights that the gradient is of, as in the paper's algorithm 1; the
    authors' code, and peft, multiply it with the weights after it.  For the budget's s the paper prints
    (t - warmup - final), which is not 0 where it begins to fall; as in their code, it is (t - warmup) here.
    After a cut, what is left of e moves on, and what was cut away may come back before the next one, by its moments.

    raises   AdaptError for a schedule with which nothing would ever be cut away: that would be LoRA without a word
    Zhang et al. 2023, arXiv:2303.10512, eq. 8 to 12.
    """

    def __init__(self, model: Module, target: int, steps: int, warmup: int, final: int, every: int = 1,
                 gamma: float = 0.5, beta1: float = 0.85, beta2: float = 0.85):
        self.layers: dict[str, AdaLoRALinear] = {path: layer for path, layer in replacements(model).items()
                                                 if isinstance(layer, AdaLoRALinear)}
        self.all, self.last = sum(len(layer.e.value) for layer in self.layers.values()), target * len(self.layers)
        if not 0 <= self.last < self.all:
            raise AdaptError(f"target: expected fewer ranks than the {self.all} that the model's {len(self.layers)} "
                             f"layers with AdaLoRA have, and not less than none, got {self.last}")
        if not (0 <= warmup and 0 <= final and warmup < steps - final and every >= 1):
            raise AdaptError(f"steps: expected more than warmup and final together, so that ranks are cut away, got "
                             f"{steps} with {warmup} and {final}, every {every}")
        self.steps, self.warmup, self.final, self.every, self.gamma = steps, warmup, final, every, gamma
        self.beta1, self.beta2 = beta1, beta2
        parameters = {f"{path}.{name}": getattr(layer, name) for path, layer in self.layers.items()
                      for name in AdaLoRALinear.own}
        self.parameters: dict[str, Parameter] = parameters
        self.sensitivity: dict[str, Array] = {}
        self.uncertainty: dict[str, Array] = {}
        self.left: dict[str, Array] = {path: np.ones(layer.e.shape, bool) for path, layer in self.layers.items()}

    def budget(self, step: int) -> int:
        """b(step): how many ranks are to be left after so many updates."""
        s = min(1.0, max(0.0, (step - self.warmup) / (self.steps - self.final - self.warmup)))
        return int((self.all - self.last) * (1 - s) ** 3 + self.last)

    def before_update(self) -> float:
        """Add gamma times the gradient of orthogonality, and take in what matters.  Returns that part of the loss."""
        total = 0.0
        for layer in self.layers.values():
            loss, cache = orthogonality_forward(layer.p.value, layer.q.value)
            total += self.gamma * float(loss)
            for parameter, gradient in zip((layer.p, layer.q), orthogonality_backward(self.gamma, cache)):
                parameter.accumulate(gradient)
        for path, parameter in self.parameters.items():
            now = np.abs(parameter.value * parameter.grad)
            mean = self.sensitivity.get(path, 0.0) * self.beta1 + now * (1 - self.beta1)
            spread = self.uncertainty.get(path, 0.0) * self.beta2 + np.abs(now - mean) * (1 - self.beta2)
            self.sensitivity[path], self.uncertainty[path] = mean, spread
        return total

    def after_update(self, step: int) -> None:
        """Cut away what matters least, so that the budget after update number `step` is kept to."""
        end = self.steps - self.final
        if step < end and (step - self.warmup) % self.every:
            return
        if step <= end:
            self.choose(self.budget(step))
        for path, layer in self.layers.items():
            layer.e.value *= np.asarray(self.left[path], layer.e.value.dtype, like=layer.e.value)

    def choose(self, budget: int) -> None:
        """Say which ranks are left: the `budget` that matter most, in all layers together."""
        scores = self.scores()
        order = np.argsort(-np.concatenate(list(scores.values())), kind="stable")
        kept = np.zeros(self.all, bool)
        kept[order[:budget]] = True
        for path, part in zip(scores, np.split(kept, np.cumsum([len(s) for s in scores.values()])[:-1])):
            self.left[path] = part

    def scores(self) -> dict[str, Array]:
        """S of each rank of each layer, (r,)."""
        s = {path: self.sensitivity[path] * self.uncertainty[path] for path in self.sensitivity}
        return {path: s[f"{path}.e"] + s[f"{path}.p"].mean(axis=0) + s[f"{path}.q"].mean(axis=1)
                for path in self.layers}

    def state(self) -> dict[str, Array]:
        """What the rest of the run depends on, by name: a checkpoint keeps it."""
        named = {"sensitivity": self.sensitivity, "uncertainty": self.uncertainty, "left": self.left}
        return {f"{name}.{path}": array for name, arrays in named.items() for path, array in arrays.items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Go on from what `state` gave."""
        for key, array in state.items():
            name, path = key.split(".", 1)
            getattr(self, name)[path] = np.array(array)
