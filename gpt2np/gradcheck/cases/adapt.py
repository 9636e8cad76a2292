"""The rows of what takes the places of layers: r ranks, P positions of a prefix, M the width of an adapter."""

from functools import partial
from typing import Any

import numpy as np

from ...adapt.adalora import (
    AdaLoRALinear,
    adalora_backward,
    adalora_forward,
    orthogonality_backward,
    orthogonality_forward,
)
from ...adapt.adapter import (
    Adapter,
    AdapterDecoderBlock,
    AdapterLinear,
    AdapterPostNormBlock,
    AdapterPreNormBlock,
    AdapterPreNormDecoderBlock,
)
from ...adapt.lora import LoRALinear, LowRank, lora_backward, lora_forward
from ...adapt.narrow import BFloat16Linear, Float16Linear, Int8Linear, Int8TensorLinear
from ...adapt.prefix import MLPPrefixSelfAttention, PrefixSelfAttention, prefix_backward, prefix_forward
from ...adapt.trimming import make_smaller
from ...blocks.multihead import SelfAttention
from ...blocks.transformer import DecoderBlock, PostNormBlock, PreNormBlock, PreNormDecoderBlock
from ...hints import Rng
from ...layers.activations import TANH
from ...layers.linear import Linear
from ...layers.module import Parameter
from ..checks import Case, ModuleSubject, PairSubject, Seed
from ..laws import adapt as laws
from ..laws import blocks as of_blocks
from ..laws import common
from ..laws.layers import nothing_frozen_is_summed
from ..references import adapt as slow
from ..references import blocks as slow_blocks
from ..references.layers import tanh
from .drawn import filled, mask, normal

CASES: list[Case] = []
SCALE = 1.7


# ---- LoRA


def lora(rng: Rng, B: int = 2, T: int = 3, C: int = 5, F: int = 4, r: int = 3) -> PairSubject:
    return PairSubject(lora_forward, lora_backward, slow.lora,
                       {"x": normal(rng, B, T, C), "a": normal(rng, C, r), "u": normal(rng, r, F), "scale": SCALE})


CASES.append(Case("lora", lora, (laws.ranks_add,)))


def low_rank(rng: Rng, B: int = 2, T: int = 3, C: int = 5, F: int = 4, r: int = 3) -> ModuleSubject:
    module = filled(LowRank(C, F, r, SCALE, rng, np.float64), rng)
    return ModuleSubject(module, lambda x, p: slow.lora(x, p["a"], p["u"], SCALE), {"x": normal(rng, B, T, C)})


CASES.append(Case("LowRank", low_rank, (laws.a_frozen_factor_keeps_no_input, *common.OF_ANY_MODULE)))


def lora_linear(rng: Rng, B: int = 2, T: int = 3, C: int = 5, F: int = 4, r: int = 3, *, stabilised: bool = False,
                rate: float = 0.0) -> ModuleSubject:
    r, columns = min(r, C, F), [(0, 1), (F - 1, F)] if stabilised and F > 1 else [(0, F)]
    module = LoRALinear(Linear(C, F, rng, dtype=np.float64), r, 2.0, rate, columns, stabilised, rng)
    reference = partial(slow.lora_linear, scale=2.0 / (r ** 0.5 if stabilised else r), columns=columns, rate=rate)
    return ModuleSubject(filled(module, rng), reference,
                         {"x": normal(rng, B, T, C)} | ({"rng": Seed(1)} if rate else {}))


CASES.append(Case("LoRALinear", lora_linear, (
    laws.begins_as_the_base, laws.merged_is_unmerged, laws.what_lora_cannot_be, laws.is_added_by_paths,
    common.rows_are_independent, nothing_frozen_is_summed, *common.OF_ANY_MODULE)))
CASES.append(Case("LoRALinear, varied", partial(lora_linear, stabilised=True, rate=0.3), (
    laws.begins_as_the_base, laws.merged_is_unmerged)))


# ---- AdaLoRA


def adalora(rng: Rng, B: int = 2, T: int = 3, C: int = 5, F: int = 4, r: int = 3) -> PairSubject:
    return PairSubject(adalora_forward, adalora_backward, slow.adalora,
                       {"x": normal(rng, B, T, C), "p": normal(rng, C, r), "e": normal(rng, r),
                        "q": normal(rng, r, F), "scale": SCALE})


CASES.append(Case("adalora", adalora, (laws.a_diagonal_of_ones_is_lora,)))


def orthogonality(rng: Rng, B: int = 1, C: int = 5, F: int = 4, r: int = 3) -> PairSubject:
    """There is no data in it; B = 0 is one without any numbers."""
    if B == 0:
        return PairSubject(orthogonality_forward, orthogonality_backward, slow.orthogonality,
                           {"p": normal(rng, C, 0), "q": normal(rng, 0, F)})
    return PairSubject(orthogonality_forward, orthogonality_backward, slow.orthogonality,
                       {"p": normal(rng, C, r), "q": normal(rng, r, F)})


CASES.append(Case("orthogonality", orthogonality, (laws.orthonormal_costs_nothing,)))


def adalora_linear(rng: Rng, B: int = 2, T: int = 3, C: int = 5, F: int = 4, r: int = 3, *,
                   rate: float = 0.0) -> ModuleSubject:
    r = min(r, C, F)
    module = AdaLoRALinear(Linear(C, F, rng, dtype=np.float64), r, 2.0, rate, rng=rng)
    return ModuleSubject(filled(module, rng), partial(slow.adalora_linear, scale=2.0 / (r + 1e-5), rate=rate),
                         {"x": normal(rng, B, T, C)} | ({"rng": Seed(1)} if rate else {}))


CASES.append(Case("AdaLoRALinear", adalora_linear, (
    laws.begins_as_the_base, laws.merged_is_unmerged, laws.what_adalora_cannot_be, laws.is_added_by_paths,
    laws.a_frozen_part_keeps_nothing,
    laws.the_budget_is_algorithm_1, common.rows_are_independent, nothing_frozen_is_summed, *common.OF_ANY_MODULE)))
CASES.append(Case("AdaLoRALinear, drop", partial(adalora_linear, rate=0.3), (laws.begins_as_the_base,)))


# ---- adapters


def adapter(rng: Rng, B: int = 2, T: int = 3, C: int = 5, M: int = 2) -> ModuleSubject:
    return ModuleSubject(filled(Adapter(C, M, rng, np.float64), rng), slow.adapter, {"x": normal(rng, B, T, C)})


CASES.append(Case("Adapter", adapter, (
    laws.is_added_by_paths, common.rows_are_independent, common.inference_is_forward, nothing_frozen_is_summed,
    *common.OF_ANY_MODULE)))


def adapter_linear(rng: Rng, B: int = 2, T: int = 3, C: int = 5, F: int = 4, M: int = 2) -> ModuleSubject:
    module = AdapterLinear(Linear(C, F, rng, dtype=np.float64), M, rng)
    return ModuleSubject(filled(module, rng), slow.adapter_linear, {"x": normal(rng, B, T, C), "rng": Seed(1)})


CASES.append(Case("AdapterLinear", adapter_linear, (
    laws.begins_as_the_base, laws.what_an_adapter_cannot_be, laws.is_added_by_paths,
    common.rows_are_independent, nothing_frozen_is_summed, *common.OF_ANY_MODULE)))


def adapter_block(rng: Rng, B: int = 2, T: int = 2, H: int = 1, D: int = 3, M: int = 1, *, kind: Any,
                  block: Any) -> ModuleSubject:
    module = kind(block(H * D, H, rng, activation=TANH, n_inner=2, dtype=np.float64), M, rng)
    decodes, reference = issubclass(kind, DecoderBlock), getattr(slow_blocks, NAMES[block])

    def then_adapter(p: dict[str, Any], **inputs: Any) -> Any:
        return slow.adapter(reference(H=H, p=p, activation=tanh, **inputs), slow_blocks.below(p, "adapter"))

    memory = {"memory": normal(rng, B, T + 1, H * D), "memory_padding_mask": mask(rng, B, T + 1)} if decodes else {}
    filled(module, rng)
    for path, p in module.named_parameters():           # as it is used: of the block's own, two norms are trained
        p.trainable = path.startswith(("adapter.", "ln_"))
    return ModuleSubject(module, then_adapter, {"x": normal(rng, B, T, H * D)} | memory)


NAMES: dict[Any, str] = {PreNormBlock: "pre_norm_block", PostNormBlock: "post_norm_block",
                         DecoderBlock: "decoder_block", PreNormDecoderBlock: "pre_norm_decoder_block"}
OF_BLOCKS = (laws.begins_as_the_base, common.inference_is_forward, nothing_frozen_is_summed,
             *common.OF_ANY_PARAMETER)

CASES.append(Case("AdapterPreNormBlock", partial(adapter_block, kind=AdapterPreNormBlock, block=PreNormBlock),
                  (*OF_BLOCKS, of_blocks.a_past_is_the_full_forward)))
CASES.append(Case("AdapterPostNormBlock", partial(adapter_block, kind=AdapterPostNormBlock, block=PostNormBlock),
                  OF_BLOCKS))
CASES.append(Case("AdapterDecoderBlock", partial(adapter_block, kind=AdapterDecoderBlock, block=DecoderBlock),
                  (*OF_BLOCKS, of_blocks.a_past_holds_the_memory)))
CASES.append(Case("AdapterPreNormDec.", partial(adapter_block, kind=AdapterPreNormDecoderBlock,
                                                block=PreNormDecoderBlock), OF_BLOCKS))


# ---- a prefix


def prefix(rng: Rng, B: int = 2, T: int = 3, H: int = 2, D: int = 3, P: int = 4) -> PairSubject:
    return PairSubject(prefix_forward, prefix_backward, slow.prefix,
                       {"k": normal(rng, B, H, T, D), "prefix": normal(rng, P, H * D)})


CASES.append(Case("prefix", prefix, (laws.the_prefix_comes_first,)))


def prefix_self_attention(rng: Rng, B: int = 2, T: int = 3, H: int = 2, D: int = 4, P: int = 2) -> ModuleSubject:
    module = PrefixSelfAttention(SelfAttention(H * D, H, rng, causal=True, dtype=np.float64), P, rng)
    return ModuleSubject(filled(module, rng), partial(slow.prefix_self_attention, H=H, causal=True),
                         {"x": normal(rng, B, T, H * D)})


CASES.append(Case("PrefixSelfAttention", prefix_self_attention, (
    of_blocks.later_tokens_do_not_matter, common.rows_are_independent, common.inference_is_forward,
    of_blocks.a_past_is_the_full_forward, laws.a_prefix_of_tokens_is_the_tokens, laws.all_look_at_the_prefix,
    laws.a_past_has_the_prefix, laws.the_text_begins_behind_the_prefix, laws.what_a_prefix_cannot_be,
    laws.is_added_by_paths, nothing_frozen_is_summed, *common.OF_ANY_MODULE)))


def prefix_padded(rng: Rng, B: int = 2, T: int = 3, H: int = 2, D: int = 2, P: int = 2) -> ModuleSubject:
    attention = SelfAttention(H * D, H, rng, causal=False, dropout=0.3, dtype=np.float64)
    return ModuleSubject(filled(PrefixSelfAttention(attention, P, rng), rng),
                         partial(slow.prefix_self_attention, H=H, causal=False, rate=0.3),
                         {"x": normal(rng, B, T, H * D), "padding_mask": mask(rng, B, T), "rng": Seed(1)})


CASES.append(Case("Prefix..., padded", prefix_padded, (
    of_blocks.padded_tokens_do_not_matter, common.inference_is_forward)))


def mlp_prefix(rng: Rng, B: int = 2, T: int = 2, H: int = 2, D: int = 2, P: int = 2, M: int = 3) -> ModuleSubject:
    attention = SelfAttention(H * D, H, rng, causal=True, dtype=np.float64)
    table, fc = Parameter(normal(rng, P, 2)), Linear(2, M, rng, dtype=np.float64)
    return ModuleSubject(filled(MLPPrefixSelfAttention(attention, table, fc, rng), rng),
                         partial(slow.prefix_self_attention, H=H, causal=True), {"x": normal(rng, B, T, H * D)})


CASES.append(Case("MLPPrefixSelfAttn.", mlp_prefix, (
    of_blocks.a_past_is_the_full_forward, common.inference_is_forward, laws.flattened_is_the_same,
    laws.all_look_at_the_prefix, nothing_frozen_is_summed, *common.OF_ANY_MODULE)))


# ---- narrow matrices


def narrow_linear(rng: Rng, B: int = 2, T: int = 3, C: int = 5, F: int = 4, *, kind: Any) -> ModuleSubject:
    return ModuleSubject(filled(kind(Linear(C, F, rng, std=None, dtype=np.float64)), rng), slow.narrow_linear,
                         {"x": normal(rng, B, T, C), "rng": Seed(1)})


for kind in (Int8Linear, Int8TensorLinear, Float16Linear, BFloat16Linear):
    CASES.append(Case(kind.__name__, partial(narrow_linear, kind=kind), (
        laws.is_made_from_its_arrays, laws.rounds_to_the_nearest, laws.many_tiles_of_a_matrix_are_one,
        laws.what_comes_in_is_rounded, laws.narrow_is_all_of_a_gpt2, common.rows_are_independent,
        nothing_frozen_is_summed, *common.OF_ANY_MODULE)))


# ---- heads that were taken out


def fewer_heads(rng: Rng, B: int = 2, T: int = 4, H: int = 2, D: int = 2) -> ModuleSubject:
    module = SelfAttention((H + 1) * D, H + 1, rng, causal=True, dtype=np.float64)
    make_smaller(module, [0], np.float64)
    return ModuleSubject(filled(module, rng), partial(slow_blocks.self_attention, H=H, causal=True),
                         {"x": normal(rng, B, T, (H + 1) * D)})


CASES.append(Case("SelfAttention, pruned", fewer_heads, (
    of_blocks.later_tokens_do_not_matter, of_blocks.a_past_is_the_full_forward, common.rows_are_independent,
    common.inference_is_forward, nothing_frozen_is_summed, laws.what_fewer_heads_cannot_have)))
