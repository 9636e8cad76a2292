"""The rows of attention with its projections, of the blocks, and of a stack of them: H heads of width D, C = H D."""

from collections.abc import Collection
from functools import partial
from typing import Any

import numpy as np

from ...blocks.feedforward import MLP
from ...blocks.multihead import CrossAttention, SelfAttention
from ...blocks.stack import Stack
from ...blocks.transformer import DecoderBlock, PostNormBlock, PreNormBlock, PreNormDecoderBlock
from ...hints import Array, Cache, Rng
from ...layers.activations import GELU, GELU_ERF, TANH
from ...layers.module import Module
from ..checks import Case, ModuleSubject, Seed
from ..laws import blocks as laws
from ..laws import common
from ..laws.layers import nothing_frozen_is_summed
from ..references import blocks as slow
from ..references.layers import gelu, gelu_erf, tanh
from .drawn import filled, mask, normal

CASES: list[Case] = []


# ---- sub-layers


def self_attention(rng: Rng, B: int = 2, T: int = 4, H: int = 3, D: int = 2) -> ModuleSubject:
    module = SelfAttention(H * D, H, rng, causal=True, dtype=np.float64)
    return ModuleSubject(filled(module, rng), partial(slow.self_attention, H=H, causal=True),
                         {"x": normal(rng, B, T, H * D)})


CASES.append(Case("SelfAttention", self_attention, (
    laws.later_tokens_do_not_matter, common.rows_are_independent, common.inference_is_forward,
    laws.heads_divide_the_width, laws.a_past_is_the_full_forward, laws.a_kv_cache_keeps_what_it_is_given,
    nothing_frozen_is_summed, *common.OF_ANY_MODULE)))


def self_attention_both_ways(rng: Rng, B: int = 2, T: int = 4, H: int = 3, D: int = 2) -> ModuleSubject:
    module = SelfAttention(H * D, H, rng, causal=False, dtype=np.float64)
    return ModuleSubject(filled(module, rng), partial(slow.self_attention, H=H, causal=False),
                         {"x": normal(rng, B, T, H * D)})


CASES.append(Case("SelfAttention, both", self_attention_both_ways, (
    laws.every_token_matters, common.inference_is_forward)))


def self_attention_padding(rng: Rng, B: int = 2, T: int = 4, H: int = 3, D: int = 2) -> ModuleSubject:
    module = SelfAttention(H * D, H, rng, causal=False, dropout=0.3, dtype=np.float64)
    return ModuleSubject(filled(module, rng), partial(slow.self_attention, H=H, causal=False, rate=0.3),
                         {"x": normal(rng, B, T, H * D), "padding_mask": mask(rng, B, T), "rng": Seed(1)})


CASES.append(Case("SelfAttention, padded", self_attention_padding, (
    laws.padded_tokens_do_not_matter, common.inference_is_forward)))


def cross_attention(rng: Rng, B: int = 2, T: int = 4, S: int = 5, H: int = 3, D: int = 2) -> ModuleSubject:
    module = CrossAttention(H * D, H, rng, dtype=np.float64)
    return ModuleSubject(filled(module, rng), partial(slow.cross_attention, H=H),
                         {"x": normal(rng, B, T, H * D), "memory": normal(rng, B, S, H * D),
                          "padding_mask": mask(rng, B, S)})


CASES.append(Case("CrossAttention", cross_attention, (
    laws.padded_memory_does_not_matter, common.inference_is_forward, laws.heads_divide_the_width,
    laws.a_memory_or_its_keys, nothing_frozen_is_summed, *common.OF_ANY_MODULE)))


def cross_attention_dropout(rng: Rng, B: int = 2, T: int = 4, S: int = 5, H: int = 3, D: int = 2) -> ModuleSubject:
    module = CrossAttention(H * D, H, rng, dropout=0.3, dtype=np.float64)
    return ModuleSubject(filled(module, rng), partial(slow.cross_attention, H=H, rate=0.3),
                         {"x": normal(rng, B, T, H * D), "memory": normal(rng, B, S, H * D), "rng": Seed(1)})


CASES.append(Case("CrossAttention, drop", cross_attention_dropout, (common.inference_is_forward,)))


def mlp(rng: Rng, B: int = 2, T: int = 3, C: int = 4) -> ModuleSubject:
    return ModuleSubject(filled(MLP(C, rng, dtype=np.float64), rng), slow.mlp, {"x": normal(rng, B, T, C)})


CASES.append(Case("MLP", mlp, (common.rows_are_independent, common.inference_is_forward, nothing_frozen_is_summed,
                               *common.OF_ANY_MODULE)))


def mlp_varied(rng: Rng, B: int = 2, T: int = 3, C: int = 4, F: int = 3) -> ModuleSubject:
    module = MLP(C, rng, activation=TANH, n_inner=F, dropout=0.3, dtype=np.float64)
    return ModuleSubject(filled(module, rng), partial(slow.mlp, activation=tanh, rate=0.3),
                         {"x": normal(rng, B, T, C), "rng": Seed(1)})


CASES.append(Case("MLP, varied", mlp_varied, (common.inference_is_forward,)))


# ---- blocks, each as its model has it; then with all options at other values


def pre_norm_block(rng: Rng, B: int = 2, T: int = 4, H: int = 3, D: int = 2) -> ModuleSubject:
    module = PreNormBlock(H * D, H, rng, dtype=np.float64)
    return ModuleSubject(filled(module, rng), partial(slow.pre_norm_block, H=H), {"x": normal(rng, B, T, H * D)})


CASES.append(Case("PreNormBlock", pre_norm_block, (
    laws.later_tokens_do_not_matter, laws.zero_projections_are_the_identity, common.rows_are_independent,
    common.inference_is_forward, laws.a_past_is_the_full_forward, nothing_frozen_is_summed, *common.OF_ANY_MODULE)))


def pre_norm_block_varied(rng: Rng, B: int = 2, T: int = 3, H: int = 2, D: int = 2, F: int = 3) -> ModuleSubject:
    module = PreNormBlock(H * D, H, rng, activation=TANH, causal=False, eps=0.3, n_inner=F, dropout=0.3,
                          dtype=np.float64)
    return ModuleSubject(filled(module, rng),
                         partial(slow.pre_norm_block, H=H, activation=tanh, causal=False, eps=0.3, rate=0.3),
                         {"x": normal(rng, B, T, H * D), "padding_mask": mask(rng, B, T), "rng": Seed(1)})


CASES.append(Case("PreNormBlock, varied", pre_norm_block_varied, (laws.padded_tokens_do_not_matter,)))


def post_norm_block(rng: Rng, B: int = 2, T: int = 4, H: int = 3, D: int = 2) -> ModuleSubject:
    # GELU as in BERT: ReLU has a kink to step over
    module = PostNormBlock(H * D, H, rng, activation=GELU_ERF, dtype=np.float64)
    return ModuleSubject(filled(module, rng), partial(slow.post_norm_block, H=H, activation=gelu_erf),
                         {"x": normal(rng, B, T, H * D), "padding_mask": mask(rng, B, T)})


CASES.append(Case("PostNormBlock", post_norm_block, (
    laws.padded_tokens_do_not_matter, common.inference_is_forward, nothing_frozen_is_summed, *common.OF_ANY_MODULE)))


def post_norm_block_varied(rng: Rng, B: int = 2, T: int = 3, H: int = 2, D: int = 2, F: int = 3) -> ModuleSubject:
    module = PostNormBlock(H * D, H, rng, activation=TANH, causal=True, eps=0.3, n_inner=F, dropout=0.3,
                           dtype=np.float64)
    return ModuleSubject(filled(module, rng),
                         partial(slow.post_norm_block, H=H, activation=tanh, causal=True, eps=0.3, rate=0.3),
                         {"x": normal(rng, B, T, H * D), "rng": Seed(1)})


CASES.append(Case("PostNormBlock, varied", post_norm_block_varied, (laws.later_tokens_do_not_matter,)))


def decoder_block(rng: Rng, B: int = 3, T: int = 4, S: int = 5, H: int = 2, D: int = 2) -> ModuleSubject:
    module = DecoderBlock(H * D, H, rng, activation=GELU_ERF, dtype=np.float64)
    return ModuleSubject(filled(module, rng), partial(slow.decoder_block, H=H, activation=gelu_erf),
                         {"x": normal(rng, B, T, H * D), "memory": normal(rng, B, S, H * D),
                          "memory_padding_mask": mask(rng, B, S)})


CASES.append(Case("DecoderBlock", decoder_block, (
    laws.later_tokens_do_not_matter, laws.padded_memory_does_not_matter, common.inference_is_forward,
    laws.a_past_holds_the_memory, nothing_frozen_is_summed, *common.OF_ANY_MODULE)))


def decoder_block_varied(rng: Rng, B: int = 2, T: int = 3, S: int = 4, H: int = 2, D: int = 2,
                          F: int = 3) -> ModuleSubject:
    module = DecoderBlock(H * D, H, rng, activation=GELU, eps=0.3, n_inner=F, dropout=0.3, dtype=np.float64)
    return ModuleSubject(filled(module, rng),
                         partial(slow.decoder_block, H=H, activation=gelu, eps=0.3, rate=0.3),
                         {"x": normal(rng, B, T, H * D), "memory": normal(rng, B, S, H * D),
                          "padding_mask": mask(rng, B, T), "memory_padding_mask": mask(rng, B, S), "rng": Seed(1)})


CASES.append(Case("DecoderBlock, varied", decoder_block_varied, (laws.padded_memory_does_not_matter,)))


def pre_norm_decoder_block(rng: Rng, B: int = 3, T: int = 4, S: int = 5, H: int = 2, D: int = 2) -> ModuleSubject:
    module = PreNormDecoderBlock(H * D, H, rng, activation=GELU_ERF, dtype=np.float64)
    return ModuleSubject(filled(module, rng), partial(slow.pre_norm_decoder_block, H=H, activation=gelu_erf),
                         {"x": normal(rng, B, T, H * D), "memory": normal(rng, B, S, H * D),
                          "memory_padding_mask": mask(rng, B, S)})


CASES.append(Case("PreNormDecoderBlock", pre_norm_decoder_block, (
    laws.later_tokens_do_not_matter, laws.padded_memory_does_not_matter, common.inference_is_forward,
    laws.a_past_holds_the_memory, nothing_frozen_is_summed, *common.OF_ANY_MODULE)))


def pre_norm_decoder_block_varied(rng: Rng, B: int = 2, T: int = 3, S: int = 4, H: int = 2, D: int = 2,
                                  F: int = 3) -> ModuleSubject:
    module = PreNormDecoderBlock(H * D, H, rng, activation=TANH, eps=0.3, n_inner=F, dropout=0.3,
                                 attention_dropout=0.2, dtype=np.float64)
    reference = partial(slow.pre_norm_decoder_block, H=H, activation=tanh, eps=0.3, rate=0.3, attention_rate=0.2)
    return ModuleSubject(filled(module, rng), reference,
                         {"x": normal(rng, B, T, H * D), "memory": normal(rng, B, S, H * D),
                          "padding_mask": mask(rng, B, T), "memory_padding_mask": mask(rng, B, S), "rng": Seed(1)})


CASES.append(Case("PreNormDec., varied", pre_norm_decoder_block_varied, (laws.padded_memory_does_not_matter,)))


# ---- a stack


class Stacked(Module):
    """A Stack is a list: this gives its blocks their paths, h.0, h.1, ..., as a model does."""

    def __init__(self, h: Stack):
        self.h = h

    def forward(self, x: Array, **inputs: Any) -> tuple[Array, Cache]:
        return self.h.forward(x, **inputs)

    def backward(self, dy: Array, cache: Cache) -> Array | None:
        return self.h.backward(dy, cache)


def stack(rng: Rng, B: int = 2, T: int = 3, H: int = 2, D: int = 2, L: int = 2, *, constants: Collection[str] = (),
          **options: Any) -> ModuleSubject:
    module = Stacked(Stack(PreNormBlock(H * D, H, rng, n_inner=3, dtype=np.float64) for _ in range(L)))
    return ModuleSubject(filled(module, rng), partial(slow.stack, H=H, L=L), {"x": normal(rng, B, T, H * D), **options},
                         constants=constants, uses_cache_up=True)


CASES.append(Case("Stack", stack, (
    laws.frozen_blocks_cost_nothing, laws.a_cache_serves_once, laws.later_tokens_do_not_matter,
    common.rows_are_independent, common.inference_is_forward, nothing_frozen_is_summed, *common.OF_ANY_MODULE)))


def stack_recomputed(rng: Rng, B: int = 2, T: int = 3, H: int = 2, D: int = 2, L: int = 2) -> ModuleSubject:
    blocks = (PreNormBlock(H * D, H, rng, n_inner=3, dropout=0.3, dtype=np.float64) for _ in range(L))
    return ModuleSubject(filled(Stacked(Stack(blocks, recompute=True)), rng), partial(slow.stack, H=H, L=L, rate=0.3),
                         {"x": normal(rng, B, T, H * D), "padding_mask": mask(rng, B, T), "rng": Seed(1)},
                         uses_cache_up=True)


CASES.append(Case("Stack, recomputed", stack_recomputed, (
    laws.recomputed_is_stored, laws.frozen_blocks_cost_nothing, laws.a_cache_serves_once,
    laws.padded_tokens_do_not_matter, common.inference_is_forward)))


def stack_frozen(rng: Rng, B: int = 2, T: int = 3, H: int = 2, D: int = 2, below: int = 1, *,
                 needs_dx: bool) -> ModuleSubject:
    """A block above frozen ones.  Where nothing below them needs a gradient, it ends above them, and there is no dx."""
    subject = stack(rng, B, T, H, D, below + 1, constants=() if needs_dx else ("x",), needs_dx=needs_dx)
    for block in subject.module.h[:-1]:
        block.freeze()
    return subject


CASES.append(Case("Stack, frozen below", partial(stack_frozen, needs_dx=False), common.OF_ANY_MODULE))
CASES.append(Case("Stack, frozen, dx", partial(stack_frozen, needs_dx=True), common.OF_ANY_MODULE))
