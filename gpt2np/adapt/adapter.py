"""Adapters: a small MLP with a residual around it, after a sub-layer or after a block, is all that is trained.

        y = x + gelu(x down) up             down (C, m), up (m, C), with m far below C

Chapter: S000 7.3.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from ..blocks.transformer import DecoderBlock, PostNormBlock, PreNormBlock, PreNormDecoderBlock
from ..hints import Array, Cache, Rng
from ..layers.activations import GELU
from ..layers.linear import Linear
from ..layers.module import Module, Parameter
from .lora import check_linear
from .replacing import AdaptError, Replacement, freeze_the_rest, in_blocks, replace


class Adapter(Module):
    """y = x + gelu(x down) up, both with biases; up is at first 0, so that y is x, to the bit.

    width   m, of what is between the two: C / 16 is usual

    Houlsby et al. 2019, arXiv:1902.00751, figure 2.  Parameters: 2 C m + m + C.
    """

    def __init__(self, n_embd: int, width: int, rng: Rng | None, dtype: DTypeLike = np.float32):
        check_width(width)
        self.down = Linear(n_embd, width, rng, dtype=dtype)
        self.up = Linear(width, n_embd, None, dtype=dtype)

    def forward(self, x: Array, *, keep_cache: bool = True) -> tuple[Array, Cache]:
        """x (..., C) -> y (..., C), cache"""
        h, c_down = self.down.forward(x)                                            # (..., m)
        h, c_gelu = GELU.forward(h)
        y, c_up = self.up.forward(h)
        y += x
        return y, (c_down, c_gelu, c_up) if keep_cache else None

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dy (..., C) -> dx (..., C)"""
        c_down, c_gelu, c_up = cache
        dh = GELU.backward(self.up.backward(dy, c_up), c_gelu)
        dx = self.down.backward(dh, c_down)
        dx += dy
        return dx


class AdapterLinear(Replacement, Linear):
    """The last matrix of a sub-layer, and an adapter of what comes out of it, before the residual sum.

        y = adapter(x w + b)

    It takes the place of attn.c_proj, of mlp.c_proj, of cross_attn.c_proj.
    Houlsby et al. 2019, arXiv:1902.00751, section 2.1.
    """

    kind: ClassVar = "adapter"
    own: ClassVar = ("adapter",)

    def __init__(self, layer: Linear, width: int, rng: Rng | None = None):
        check_linear(layer)
        self.take_over(layer)
        self.width, self.adapter = width, Adapter(layer.w.shape[1], width, rng, layer.w.value.dtype)

    def options(self) -> dict[str, Any]:
        return {"width": self.width}

    def forward(self, x: Array, *, rng: Rng | None = None) -> tuple[Array, Cache]:
        """x (..., n_in) -> y (..., n_out), cache"""
        h, c_linear = super().forward(x)
        y, c_adapter = self.adapter.forward(h)
        return y, (c_linear, c_adapter)

    def backward(self, dy: Array, cache: Cache) -> Array:
        c_linear, c_adapter = cache
        return super().backward(self.adapter.backward(dy, c_adapter), c_linear)


class BlockAdapter(Replacement):
    """A block, and an adapter of what comes out of it: it reads the whole stream, and not what one sub-layer adds.

        y = adapter(block(x))

    In a pre-norm block that is the stream after the MLP's sum.  Half as many parameters as with one for each sub-layer,
    and about as good: Pfeiffer et al. 2021, arXiv:2005.00247, section 3.  In a post-norm block it stands behind the
    last norm, too; adapter-hub's code norms the sum once more there.
    """

    kind: ClassVar = "block adapter"
    own: ClassVar = ("adapter",)

    def __init__(self, block: Any, width: int, rng: Rng | None = None):
        self.take_over(block)
        gain: Parameter = block.ln_1.g
        self.width, self.adapter = width, Adapter(gain.shape[0], width, rng, gain.value.dtype)

    def options(self) -> dict[str, Any]:
        return {"width": self.width}

    def forward(self, x: Array, *inputs: Any, keep_cache: bool = True, **options: Any) -> tuple[Array, Cache]:
        """As the block's."""
        block: Any = super()
        h, c_block = block.forward(x, *inputs, keep_cache=keep_cache, **options)
        y, c_adapter = self.adapter.forward(h, keep_cache=keep_cache)
        return y, (c_block, c_adapter) if keep_cache else None

    def backward(self, dy: Array, cache: Cache) -> Any:
        """As the block's."""
        block: Any = super()
        c_block, c_adapter = cache
        return block.backward(self.adapter.backward(dy, c_adapter), c_block)


class AdapterPreNormBlock(BlockAdapter, PreNormBlock):
    """Of GPT-2."""


class AdapterPostNormBlock(BlockAdapter, PostNormBlock):
    """Of the original Transformer's encoder, and of BERT."""


class AdapterDecoderBlock(BlockAdapter, DecoderBlock):
    """Of the original Transformer's decoder."""


class AdapterPreNormDecoderBlock(BlockAdapter, PreNormDecoderBlock):
    """Of a decoder with its norms first."""


OF_BLOCKS: dict[type, type[BlockAdapter]] = {
    PreNormBlock: AdapterPreNormBlock, PostNormBlock: AdapterPostNormBlock, DecoderBlock: AdapterDecoderBlock,
    PreNormDecoderBlock: AdapterPreNormDecoderBlock}


def block_adapter(block: Module, width: int, rng: Rng | None = None) -> Any:
    """The block with an adapter; AdaptError for anything else."""
    if type(block) not in OF_BLOCKS:
        raise AdaptError(f"layer: expected a block, such as h.0, got {type(block).__name__}")
    return OF_BLOCKS[type(block)](block, width, rng)


def add_adapters(model: Module, paths: str | Sequence[str] | None = None, width: int = 64,
                 rng: Rng | None = None) -> dict[str, Module]:
    """Have an adapter after each layer that the paths name, and train them alone.  Returns what `restore` takes.

    paths   of the last matrices of sub-layers, h.*.*.c_proj, or of blocks, h.*; None: of all sub-layers
    rng     for the initial down; None: the same for every call, of seed 0
    """
    rng = np.random.default_rng(0) if rng is None else rng

    def make(layer: Module) -> Any:
        return AdapterLinear(layer, width, rng) if isinstance(layer, Linear) else block_adapter(layer, width, rng)

    old = replace(model, in_blocks(model, "*.c_proj") if paths is None else paths, make)
    freeze_the_rest(model)
    return old


def check_width(width: int) -> None:
    """AdaptError unless width is a positive whole number."""
    if type(width) is not int or width < 1:
        raise AdaptError(f"width: expected a whole number of 1 or more, got {width!r}")
