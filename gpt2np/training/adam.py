"""Adam: every number gets a step of its own length, by the mean and the spread of its gradients.

Chapter: S002 3.2.
"""

import math

import numpy as np

from ..hints import Array
from ..layers.module import Module
from .optimizer import Optimizer, check_not_negative, check_rate


def adam_update(w: Array, g: Array, m: Array, v: Array, t: int, lr: float, beta1: float = 0.9, beta2: float = 0.999,
                eps: float = 1e-8, weight_decay: float = 0.0) -> None:
    """One step, in place.

        g = g + weight_decay w
        m = beta1 m + (1 - beta1) g             mhat = m / (1 - beta1^t)
        v = beta2 v + (1 - beta2) g^2           vhat = v / (1 - beta2^t)
        w = w - lr mhat / (sqrt(vhat) + eps)

    w, g, m, v  of one shape, floating; all four are written to, and g is used up
    t           the number of this step, from 1: m and v begin at 0, and the corrections by t undo that

    Weight decay is the gradient of an L2 penalty here: it goes through m and v, so that a weight with large gradients
    decays less.  AdamW is the form in which it does not.
    Kingma, Ba 2015, arXiv:1412.6980, algorithm 1.
    """
    if weight_decay:
        g += weight_decay * w
    w -= adam_step(g, m, v, t, lr, beta1, beta2, eps)


def adam_step(g: Array, m: Array, v: Array, t: int, lr: float, beta1: float, beta2: float, eps: float) -> Array:
    """lr mhat / (sqrt(vhat) + eps), in the memory of g; m and v are brought up to date as in adam_update.

    The corrections multiply the two constants instead of m and v:

        mhat / (sqrt(vhat) + eps) = root / (1 - beta1^t) * m / (sqrt(v) + eps root)         root = sqrt(1 - beta2^t)
    """
    g *= 1 - beta1
    m *= beta1
    m += g
    g *= g
    g *= (1 - beta2) / (1 - beta1) ** 2                 # it was multiplied by 1 - beta1 before it was squared
    v *= beta2
    v += g
    root = math.sqrt(1 - beta2 ** t)
    np.sqrt(v, out=g)                                   # from here on, g becomes the step
    g += eps * root
    np.divide(m, g, out=g)
    g *= lr * root / (1 - beta1 ** t)
    return g


class Adam(Optimizer):
    """adam_update for every parameter of a model."""

    MOMENTS = ("m", "v")

    def __init__(self, model: Module, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8,
                 weight_decay: float = 0.0):
        super().__init__(model, weight_decay)
        check_rate("beta1", beta1)
        check_rate("beta2", beta2)
        check_not_negative("eps", eps)
        self.beta1, self.beta2, self.eps = beta1, beta2, eps

    def update(self, w: Array, g: Array, m: Array, v: Array, t: int, lr: float, weight_decay: float) -> None:
        """One tile."""
        adam_update(w, g, m, v, t, lr, self.beta1, self.beta2, self.eps, weight_decay)
