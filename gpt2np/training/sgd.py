"""Stochastic gradient descent, with momentum.

Chapter: S002 3.2.
"""

from ..hints import Array
from ..layers.module import Module
from .optimizer import Optimizer, check_rate


def sgd_update(w: Array, g: Array, velocity: Array, lr: float, momentum: float, weight_decay: float) -> None:
    """One step downhill, in place.

        g        = g + weight_decay w
        velocity = momentum velocity + g
        w        = w - lr velocity

    w, g, velocity  of one shape, floating; all three are written to, and g is used up

    Weight decay is the gradient of an L2 penalty, weight_decay / 2 * sum(w^2).  Velocity is 0 at first and sums the
    gradients, so with momentum 0.9 the steps become ten times as long: this is PyTorch's form, not an average.
    Sutskever et al. 2013, On the importance of initialization and momentum in deep learning, section 2.
    """
    if weight_decay:
        g += weight_decay * w
    velocity *= momentum
    velocity += g
    g[:] = velocity
    g *= lr
    w -= g


class SGD(Optimizer):
    """sgd_update for every parameter of a model."""

    MOMENTS = ("velocity",)

    def __init__(self, model: Module, momentum: float = 0.9, weight_decay: float = 0.0):
        super().__init__(model, weight_decay)
        check_rate("momentum", momentum)
        self.momentum = momentum

    def update(self, w: Array, g: Array, velocity: Array, t: int, lr: float, weight_decay: float) -> None:
        """One tile."""
        sgd_update(w, g, velocity, lr, self.momentum, weight_decay)
