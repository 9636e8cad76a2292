"""AdamW: Adam with weight decay of its own, beside the gradients instead of among them.

Chapter: S001 3.1.1, 3.1.2, 9 Q2.
"""

from ..hints import Array
from ..layers.module import Module
from .adam import Adam, adam_step


def adamw_update(w: Array, g: Array, m: Array, v: Array, t: int, lr: float, beta1: float = 0.9, beta2: float = 0.999,
                 eps: float = 1e-8, weight_decay: float = 0.1) -> None:
    """One step, in place.

        w = w - lr weight_decay w
        w = w - lr mhat / (sqrt(vhat) + eps)        as in adam_update

    Every weight decays by the same share, whatever its gradients are.
    Loshchilov, Hutter 2019, arXiv:1711.05101, algorithm 2; lr multiplies the decay too, as in PyTorch.

    w is read for both lines at once: at the top, m and v would push it out of the cache before its second turn.
    """
    step = adam_step(g, m, v, t, lr, beta1, beta2, eps)
    if weight_decay:
        w *= 1 - lr * weight_decay
    w -= step


class AdamW(Adam):
    """adamw_update for every parameter of a model."""

    def __init__(self, model: Module, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8,
                 weight_decay: float = 0.1):
        super().__init__(model, beta1, beta2, eps, weight_decay)

    def update(self, w: Array, g: Array, m: Array, v: Array, t: int, lr: float, weight_decay: float) -> None:
        """One tile."""
        adamw_update(w, g, m, v, t, lr, self.beta1, self.beta2, self.eps, weight_decay)
