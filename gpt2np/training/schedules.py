"""Learning-rate schedules: the learning rate lr of each step.

All begin with a warm-up, in which the rate rises in a straight line to `peak`: the first moments of Adam rest on few
gradients, and steps of full length by them can spoil the initial weights for good.

    step    which one: 0, 1, ..., steps - 1; linear and cosine stay after that at what the last one gets
    peak    the highest rate
    warmup  how many steps it takes to get there; step warmup - 1 is the first at the peak
    steps   how many there are in all
    min_lr  the rate in the last step, for linear and cosine; the others have no end
"""

import math
from collections.abc import Callable


def constant(step: int, peak: float, warmup: int = 0, steps: int = 0, min_lr: float = 0.0) -> float:
    """lr = peak"""
    return peak * warming(step, warmup)


def linear(step: int, peak: float, warmup: int, steps: int, min_lr: float = 0.0) -> float:
    """lr = peak + (min_lr - peak) p         p from 0, after the warm-up, to 1 at the last step"""
    return warming(step, warmup) * (peak + (min_lr - peak) * progress(step, warmup, steps))


def cosine(step: int, peak: float, warmup: int, steps: int, min_lr: float = 0.0) -> float:
    """lr = min_lr + (peak - min_lr) (1 + cos(pi p)) / 2      p as in linear

    Loshchilov, Hutter 2017, arXiv:1608.03983, equation 5, without restarts.
    """
    falling = (1 + math.cos(math.pi * progress(step, warmup, steps))) / 2
    return warming(step, warmup) * (min_lr + (peak - min_lr) * falling)


def inverse_sqrt(step: int, peak: float, warmup: int, steps: int = 0, min_lr: float = 0.0) -> float:
    """lr = peak sqrt(warmup / (step + 1))      after the warm-up; it has no end

    Vaswani et al. 2017, arXiv:1706.03762, equation 3, with peak = d_model^-0.5 warmup^-0.5.
    """
    warmup = max(1, warmup)
    return peak * min((step + 1) / warmup, math.sqrt(warmup / (step + 1)))


def noam_peak(n_embd: int, warmup: int) -> float:
    """The peak of inverse_sqrt for the schedule "noam", which leaves no rate to be chosen: equation 3 of the paper."""
    return (n_embd * max(1, warmup)) ** -0.5


def warming(step: int, warmup: int) -> float:
    """The share of the rate in the warm-up: 1 from step warmup - 1 on."""
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def progress(step: int, warmup: int, steps: int) -> float:
    """How far the steps after the warm-up have come: from 0 at the first at the peak to 1 at the last."""
    first = max(0, warmup - 1)
    return min(1.0, max(0, step - first) / max(1, steps - 1 - first))


NOAM = "noam"                   # named after Noam Shazeer, whose code had it first
SCHEDULES: dict[str, Callable[..., float]] = {
    "constant": constant, "linear": linear, "cosine": cosine, "inverse-sqrt": inverse_sqrt, NOAM: inverse_sqrt}
WITH_AN_END = ("linear", "cosine")                      # to which min_lr says something
