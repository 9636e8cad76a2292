"""A list of blocks, run one after the other: written once for every model that has blocks."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

from ..hints import Array, Cache, Rng
from .kv_cache import Past


class Stack(list):
    """x = h_L(... h_2(h_1(x))).  A list of blocks, so that the path of the first one is h.0.

    blocks     of one class of transformer.py
    recompute  True: of each block only its input is kept, and the block runs again in the backward pass, which saves
               most of the memory and gives the same gradients, bit for bit; see docs/memory.md

    A block that is frozen costs nothing in training where no gradient has to pass through it:

        h_4, h_5, ...      from the lowest block with a parameter to train: each keeps its cache, and has a backward
        h_1, h_2, h_3      below it: no cache is kept, inference forms of activations are used, no backward is called

    Forward decides it, and the cache says it: None for a block below.  Within a block nothing is left out but products
    for frozen weights: its gradient by x is worked out even where it is the lowest.
    """

    def __init__(self, blocks: Iterable[Any], recompute: bool = False):
        super().__init__(blocks)
        self.recompute = recompute

    def lowest(self) -> int:
        """The index of the first block with a parameter to train; L where there is none."""
        trained = (any(p.trainable for _, p in block.named_parameters()) for block in self)
        return next((i for i, needed in enumerate(trained) if needed), len(self))

    @property
    def before(self) -> int:
        """How many positions come before the first one of a text: those of a prefix in the blocks' attention."""
        return max([0, *(block.attn.before for block in self)])

    def new_past(self, B: int, n: int, **inputs: Any) -> list[Any]:
        """What each block makes for the past of B sequences, with room for n positions; a decoder's, of the memory."""
        return [block.new_past(B, n, **inputs) for block in self]

    def forward(self, x: Array, *, rng: Rng | None = None, keep_cache: bool = True, needs_dx: bool = True,
                past: Sequence[Past] | None = None, last: int | None = None, **inputs: Any) -> tuple[Array, Cache]:
        """x (B, T, C) -> y (B, T, C), or (B, last, C) of the last positions alone, and the cache

        needs_dx    whether something below the stack needs a gradient; False: the lowest blocks may be left out
        past, last  for inference: of new_past; the top block alone is run for the last positions alone
        inputs      of every block: padding_mask; of a decoder's, memory and memory_padding_mask

        Recomputation: Chen et al. 2016, arXiv:1604.06174, section 4, with a segment for each block.
        """
        first, cache = 0 if needs_dx else self.lowest(), []
        for i, block in enumerate(self):
            keep = keep_cache and i >= first
            inference = {} if past is None else {"past": past[i], "last": last if i + 1 == len(self) else None}
            before = (x, copy.deepcopy(rng), inputs) if keep and self.recompute else None   # to drop the same again
            x, c_block = block.forward(x, rng=rng, keep_cache=keep and before is None, **inputs, **inference)
            cache.append(before or c_block)
        return x, cache if keep_cache else None

    def backward(self, dy: Array, cache: Cache) -> Any:
        """dy (B, T, C) -> dx (B, T, C), or None where it ends at a block that kept no cache.

        Of a decoder's blocks: dx and dmemory (B, S, C), the sum over the blocks, for all of them look at one memory.
        The cache is used up, also where a dy is refused; each block's is dropped as soon as its gradients are there.
        """
        check_unused(cache)
        caches = cache.copy()
        cache.clear()
        dx, dmemory = dy, None
        for block in reversed(self):
            c_block = caches.pop()
            if c_block is None:
                return None
            if self.recompute:
                x, rng, inputs = c_block
                _, c_block = block.forward(x, rng=rng, **inputs)
            dx = block.backward(dx, c_block)
            if isinstance(dx, tuple):
                dx, dmemory_of_block = dx
                dmemory = dmemory_of_block if dmemory is None else dmemory + dmemory_of_block
        return dx if dmemory is None else (dx, dmemory)


def check_unused(cache: Cache) -> None:
    """ValueError for the cache of inference, None, and for one that has served: a backward leaves an empty list."""
    if not cache:
        raise ValueError("cache: expected that of a forward with keep_cache=True, not used by a backward before")
