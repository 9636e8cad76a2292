"""Freezing: which of a model's own parameters are trained.  Each is one sentence; a Stack makes less work of it.

Chapter: S000 8.2.
"""

from ..layers.module import Module
from ..layers.paths import freeze_all_but as freeze_all_but  # by patterns, the fourth way
from .replacing import AdaptError, stacks


def train_top(model: Module, k: int) -> None:
    """Train the top k blocks of the last stack, and what stands above them: norms, heads.  k = 0: that alone.

    The table that a head shares with the embedding stands below, and stays as it is.
    """
    path, stack = list(stacks(model))[-1]
    if type(k) is not int or not 0 <= k <= len(stack):
        raise AdaptError(f"blocks: expected from 0 to {len(stack)} of them, got {k!r}")
    above = False
    tops = tuple(f"{path}.{i}." for i in range(len(stack) - k, len(stack)))
    for name, p in model.named_parameters():
        p.trainable = name.startswith(tops) or (above and not name.startswith(f"{path}."))
        above = above or name.startswith(f"{path}.")


def train_biases(model: Module) -> None:
    """Train the biases alone, of linear layers and norms: all that is added, nothing that multiplies.

    Ben Zaken et al. 2022, arXiv:2106.10199 (BitFit).
    """
    for name, p in model.named_parameters():
        p.trainable = name.rpartition(".")[2] == "b"


def thaw(model: Module, step: int, every: int) -> None:
    """Train what stands above the last stack, and of its blocks one more, from the top, each `every` steps.

    To be called before each step, which is counted from 0: a task's before_step.  What comes last is all of the model.
    Howard, Ruder 2018, arXiv:1801.06146, section 3.3, who thaw a layer with each epoch.
    """
    _, stack = list(stacks(model))[-1]
    k = step // every
    if k > len(stack):
        model.unfreeze()
    else:
        train_top(model, k)
