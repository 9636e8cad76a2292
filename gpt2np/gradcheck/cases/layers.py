"""The rows of the layers."""

from functools import partial
from typing import Any

import numpy as np

from ...hints import Array, Cache, Rng
from ...layers.activations import GELU, GELU_ERF, RELU, TANH
from ...layers.attention import attention_backward, attention_forward
from ...layers.binary_cross_entropy import binary_cross_entropy_backward, binary_cross_entropy_forward
from ...layers.cross_entropy import cross_entropy_backward, cross_entropy_forward
from ...layers.dropout import dropout_backward, dropout_forward
from ...layers.embedding import Embedding, embedding_backward, embedding_forward
from ...layers.layernorm import LayerNorm, layernorm_backward, layernorm_forward, layernorm_input_backward
from ...layers.linear import Linear, linear_backward, linear_forward, linear_input_backward
from ...layers.lm_head import (
    LMHead,
    lm_head_backward,
    lm_head_forward,
    lm_head_input_backward,
    lm_head_loss_backward,
    lm_head_loss_bias_backward,
    lm_head_loss_forward,
    lm_head_loss_input_backward,
)
from ...layers.mean_squared_error import mean_squared_error_backward, mean_squared_error_forward
from ...layers.softmax import log_softmax_backward, log_softmax_forward, softmax_backward, softmax_forward
from ..checks import Case, ModuleSubject, PairSubject, Seed
from ..laws import common
from ..laws import layers as laws
from ..references import blocks as slow_blocks
from ..references import layers as slow
from .drawn import filled, ids, mask, normal

CASES: list[Case] = []


# ---- linear, embedding, layernorm


def linear(rng: Rng, B: int = 2, T: int = 3, C: int = 5, F: int = 4) -> PairSubject:
    return PairSubject(linear_forward, linear_backward, slow.linear,
                       {"x": normal(rng, B, T, C), "w": normal(rng, C, F), "b": normal(rng, F)})


CASES.append(Case("linear", linear, (laws.bias_has_a_shape, laws.one_column)))


def linear_frozen(rng: Rng, B: int = 2, T: int = 3, C: int = 5, F: int = 4) -> PairSubject:
    def forward(x: Array, w: Array, b: Array) -> tuple[Array, Cache]:
        return linear_forward(x, w, b)[0], (x.shape, w)

    return PairSubject(forward, linear_input_backward, slow.linear,
                       {"x": normal(rng, B, T, C), "w": normal(rng, C, F), "b": normal(rng, F)}, constants=("w", "b"))


CASES.append(Case("linear, frozen", linear_frozen))


def linear_module(rng: Rng, B: int = 2, T: int = 3, C: int = 5, F: int = 4) -> ModuleSubject:
    return ModuleSubject(filled(Linear(C, F, rng, dtype=np.float64), rng), lambda x, p: slow.linear(x, **p),
                         {"x": normal(rng, B, T, C)})


CASES.append(Case("Linear", linear_module, (laws.a_frozen_matrix_is_all_that_is_kept, laws.nothing_frozen_is_summed,
                                            *common.OF_ANY_MODULE)))


def embedding(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4) -> PairSubject:
    return PairSubject(embedding_forward, embedding_backward, slow.embedding,
                       {"ids": ids(rng, V, B, T), "w": normal(rng, V, C)})


CASES.append(Case("embedding", embedding, (laws.ids_outside_the_table, laws.repeated_ids_add, laws.small_ids_reach_far,
                                           laws.many_repeated_ids_add, laws.many_tiles_of_ids,
                                           laws.sums_are_not_lost_in_a_copy)))


def embedding_scaled(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4) -> PairSubject:
    return PairSubject(embedding_forward, embedding_backward, slow.embedding,
                       {"ids": ids(rng, V, B, T), "w": normal(rng, V, C), "scale": 1.5})


CASES.append(Case("embedding, scaled", embedding_scaled))


def embedding_module(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4, *, scale: float = 1.0) -> ModuleSubject:
    module = Embedding(V, C, rng, std=1.0, scale=scale, dtype=np.float64)
    return ModuleSubject(module, lambda ids, p: slow.embedding(ids, scale=scale, **p), {"ids": ids(rng, V, B, T)})


CASES.append(Case("Embedding", embedding_module, common.OF_ANY_PARAMETER))
CASES.append(Case("Embedding, scaled", partial(embedding_module, scale=1.5), common.OF_ANY_PARAMETER))


def layernorm(rng: Rng, B: int = 2, T: int = 3, C: int = 6, **options: Any) -> PairSubject:
    return PairSubject(layernorm_forward, layernorm_backward, slow.layernorm,
                       {"x": normal(rng, B, T, C), "g": normal(rng, C), "b": normal(rng, C), **options})


CASES.append(Case("layernorm", layernorm, (
    laws.normalised, laws.affine_invariant, common.gradient_rows_sum_to_0, laws.accurate_far_from_0,
    laws.gain_and_bias_have_a_shape, common.many_tiles_are_one)))
CASES.append(Case("layernorm, eps", partial(layernorm, eps=0.3), (laws.normalised,)))


def layernorm_frozen(rng: Rng, B: int = 2, T: int = 3, C: int = 6) -> PairSubject:
    return PairSubject(layernorm_forward, layernorm_input_backward, slow.layernorm,
                       {"x": normal(rng, B, T, C), "g": normal(rng, C), "b": normal(rng, C)}, constants=("g", "b"))


CASES.append(Case("layernorm, frozen", layernorm_frozen, (common.many_tiles_are_one,)))


def layernorm_module(rng: Rng, B: int = 2, T: int = 3, C: int = 6, **options: Any) -> ModuleSubject:
    module = LayerNorm(C, dtype=np.float64, **options)
    return ModuleSubject(filled(module, rng), partial(slow_blocks.norm, **options), {"x": normal(rng, B, T, C)})


CASES.append(Case("LayerNorm", layernorm_module, (laws.nothing_frozen_is_summed, *common.OF_ANY_MODULE)))
CASES.append(Case("LayerNorm, eps", partial(layernorm_module, eps=0.3)))


# ---- activations, softmax


def gelu(rng: Rng, B: int = 2, T: int = 3, F: int = 4) -> PairSubject:
    return PairSubject(GELU.forward, GELU.backward, slow.gelu, {"x": normal(rng, B, T, F) * 2},
                       inference=GELU.inference)


CASES.append(Case("gelu", gelu, (laws.gelu_limits, laws.gelu_splits_x, laws.slope_keeps_its_digits,
                                 laws.tail_keeps_its_digits, laws.without_a_cache, common.many_tiles_are_one)))


def gelu_erf(rng: Rng, B: int = 2, T: int = 3, F: int = 4) -> PairSubject:
    return PairSubject(GELU_ERF.forward, GELU_ERF.backward, slow.gelu_erf, {"x": normal(rng, B, T, F) * 2},
                       inference=GELU_ERF.inference)


CASES.append(Case("gelu_erf", gelu_erf, (laws.gelu_limits, laws.gelu_splits_x, laws.slope_keeps_its_digits,
                                         laws.tail_keeps_its_digits, laws.without_a_cache,
                                         common.many_tiles_are_one)))


def relu(rng: Rng, B: int = 2, T: int = 3, F: int = 4) -> PairSubject:
    x = normal(rng, B, T, F)                            # kept away from 0, where there is no derivative to compare with
    return PairSubject(RELU.forward, RELU.backward, slow.relu, {"x": x + np.where(x < 0, -0.1, 0.1)},
                       inference=RELU.inference)


CASES.append(Case("relu", relu, (laws.without_a_cache, common.finite_at_10000)))


def tanh(rng: Rng, B: int = 2, T: int = 3, F: int = 4) -> PairSubject:
    return PairSubject(TANH.forward, TANH.backward, slow.tanh, {"x": normal(rng, B, T, F)}, inference=TANH.inference)


CASES.append(Case("tanh", tanh, (laws.without_a_cache, common.finite_at_10000)))


def softmax(rng: Rng, B: int = 2, T: int = 3, V: int = 5) -> PairSubject:
    return PairSubject(softmax_forward, softmax_backward, slow.softmax, {"x": normal(rng, B, T, V)})


CASES.append(Case("softmax", softmax, (laws.probabilities, laws.small_probabilities_keep_their_digits,
                                       common.gradient_rows_sum_to_0, common.finite_at_10000,
                                       common.many_tiles_are_one)))


def log_softmax(rng: Rng, B: int = 2, T: int = 3, V: int = 5) -> PairSubject:
    return PairSubject(log_softmax_forward, log_softmax_backward, slow.log_softmax, {"x": normal(rng, B, T, V)})


CASES.append(Case("log_softmax", log_softmax, (laws.log_probabilities, common.gradient_rows_sum_to_0,
                                               common.finite_at_10000, common.many_tiles_are_one)))


# ---- attention, dropout


def attention(rng: Rng, /, B: int = 2, H: int = 3, T: int = 4, S: int = 5, D: int = 2, **options: Any) -> PairSubject:
    q, k, v = normal(rng, B, H, T, D), normal(rng, B, H, S, D), normal(rng, B, H, S, D)
    return PairSubject(attention_forward, attention_backward, slow.attention, {"q": q, "k": k, "v": v, **options})


CASES.append(Case("attention", attention, (
    laws.weights_sum_to_1, common.finite_at_10000, common.inference_is_forward, laws.one_query_at_a_time,
    laws.nothing_kept_nothing_drawn, laws.attention_refuses, laws.weights_are_those_of_the_forward,
    laws.a_constant_of_all_scores_changes_nothing)))


def attention_causal(rng: Rng, B: int = 2, H: int = 3, T: int = 4, past: int = 1, D: int = 2) -> PairSubject:
    return attention(rng, B, H, T, T + past, D, causal=True)


CASES.append(Case("attention, causal", attention_causal, (
    laws.causal, laws.weights_sum_to_1, common.inference_is_forward, laws.one_query_at_a_time,
    laws.weights_are_those_of_the_forward, laws.a_constant_of_all_scores_changes_nothing)))


def attention_padding(rng: Rng, B: int = 2, H: int = 3, T: int = 4, S: int = 5, D: int = 2) -> PairSubject:
    return attention(rng, B, H, T, S, D, padding_mask=mask(rng, B, S))


CASES.append(Case("attention, padded", attention_padding, (
    laws.padding_is_not_seen, laws.weights_sum_to_1, laws.padding_of_each_query)))


def attention_causal_padding(rng: Rng, B: int = 2, H: int = 3, T: int = 4, past: int = 1, D: int = 2) -> PairSubject:
    """Padding on the left, so that the first queries of a row see nothing at all."""
    real = mask(rng, B, T + past)[:, ::-1].copy()
    return attention(rng, B, H, T, T + past, D, causal=True, padding_mask=real)


CASES.append(Case("attention, both masks", attention_causal_padding, (
    laws.padding_is_not_seen, laws.padding_of_each_query, laws.a_constant_of_all_scores_changes_nothing)))


def attention_dropout(rng: Rng, B: int = 2, H: int = 3, T: int = 4, past: int = 1, D: int = 2) -> PairSubject:
    return attention(rng, B, H, T, T + past, D, causal=True, dropout=0.3, rng=Seed(1))


CASES.append(Case("attention, dropout", attention_dropout, (common.inference_is_forward,)))


def dropout(rng: Rng, B: int = 2, T: int = 3, C: int = 4) -> PairSubject:
    return PairSubject(dropout_forward, dropout_backward, slow.dropout,
                       {"x": normal(rng, B, T, C), "rate": 0.3, "rng": Seed(1)})


CASES.append(Case("dropout", dropout, (laws.drops_and_scales,)))


# ---- cross-entropy, and the head


def cross_entropy(rng: Rng, B: int = 2, T: int = 3, V: int = 5, **options: Any) -> PairSubject:
    targets = ids(rng, V, B, T)
    targets[:, 1:2] = -100
    return PairSubject(cross_entropy_forward, cross_entropy_backward, slow.cross_entropy,
                       {"logits": normal(rng, B, T, V), "targets": targets, **options})


CASES.append(Case("cross_entropy", cross_entropy, (
    common.gradient_rows_sum_to_0, laws.only_the_target_gains, laws.uniform_logits_cost_log_v,
    laws.ignored_targets_do_not_count, common.finite_at_10000, laws.targets_refused, laws.many_tiles_of_targets,
    laws.a_common_offset_costs_no_digits)))
CASES.append(Case("cross_entropy, smooth", partial(cross_entropy, label_smoothing=0.2), (
    common.gradient_rows_sum_to_0, laws.uniform_logits_cost_log_v, laws.a_common_offset_costs_no_digits)))
CASES.append(Case("cross_entropy, part", partial(cross_entropy, counted=11), (laws.parts_of_a_mean_add,)))


def binary_cross_entropy(rng: Rng, B: int = 2, T: int = 3, K: int = 4, **options: Any) -> PairSubject:
    targets = rng.integers(0, 2, (B, T, K))
    targets[:, 1:2, 1:] = -100
    return PairSubject(binary_cross_entropy_forward, binary_cross_entropy_backward, slow.binary_cross_entropy,
                       {"logits": normal(rng, B, T, K), "targets": targets, **options})


CASES.append(Case("binary_cross_entropy", binary_cross_entropy, (
    laws.what_is_true_gains, laws.between_is_a_mixture, laws.a_coin_costs_log_2, laws.two_logits_are_one,
    laws.truths_that_do_not_count, laws.far_logits_keep_their_digits, common.finite_at_10000, laws.numbers_refused,
    laws.truths_refused)))
CASES.append(Case("binary_cross_e., part", partial(binary_cross_entropy, counted=11), (laws.parts_of_a_mean_add,)))


def mean_squared_error(rng: Rng, B: int = 2, T: int = 3, K: int = 2, **options: Any) -> PairSubject:
    return PairSubject(mean_squared_error_forward, mean_squared_error_backward, slow.mean_squared_error,
                       {"y": normal(rng, B, T, K), "targets": normal(rng, B, T, K), **options}, constants=("targets",))


CASES.append(Case("mean_squared_error", mean_squared_error, (
    laws.right_numbers_cost_nothing, laws.a_common_offset_of_both_changes_nothing, common.finite_at_10000,
    laws.numbers_refused)))
CASES.append(Case("mean_squared_e., part", partial(mean_squared_error, counted=11), (laws.parts_of_a_mean_add,)))


def lm_head(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4) -> PairSubject:
    return PairSubject(lm_head_forward, lm_head_backward, slow.lm_head,
                       {"x": normal(rng, B, T, C), "wte": normal(rng, V, C)})


CASES.append(Case("lm_head", lm_head))


def lm_head_bias(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4) -> PairSubject:
    return PairSubject(lm_head_forward, lm_head_backward, slow.lm_head,
                       {"x": normal(rng, B, T, C), "wte": normal(rng, V, C), "b": normal(rng, V)})


CASES.append(Case("lm_head, bias", lm_head_bias, (laws.bias_has_a_shape,)))


def lm_head_frozen(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4) -> PairSubject:
    def forward(x: Array, wte: Array) -> tuple[Array, Cache]:
        return lm_head_forward(x, wte)[0], (x.shape, wte)

    return PairSubject(forward, lm_head_input_backward, slow.lm_head,
                       {"x": normal(rng, B, T, C), "wte": normal(rng, V, C)}, constants=("wte",))


CASES.append(Case("lm_head, frozen", lm_head_frozen))


def lm_head_loss(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4, **options: Any) -> PairSubject:
    targets = ids(rng, V, B, T)
    targets[:, 1:2] = -100
    return PairSubject(lm_head_loss_forward, lm_head_loss_backward, slow.lm_head_loss,
                       {"x": normal(rng, B, T, C), "wte": normal(rng, V, C), "targets": targets, **options})


CASES.append(Case("lm_head_loss", lm_head_loss, (
    laws.head_and_loss_are_two_layers, common.finite_at_10000, laws.targets_refused,
    laws.a_common_offset_costs_no_digits)))
CASES.append(Case("lm_head_loss, smooth", partial(lm_head_loss, label_smoothing=0.2), (
    laws.head_and_loss_are_two_layers, laws.a_common_offset_costs_no_digits)))


def lm_head_loss_bias(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4) -> PairSubject:
    return lm_head_loss(rng, B, T, V, C, b=normal(rng, V), label_smoothing=0.2, counted=11)


CASES.append(Case("lm_head_loss, bias", lm_head_loss_bias, (
    laws.head_and_loss_are_two_layers, laws.parts_of_a_mean_add, laws.bias_has_a_shape)))


def lm_head_loss_frozen(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4) -> PairSubject:
    return PairSubject(lm_head_loss_forward, lm_head_loss_input_backward, slow.lm_head_loss,
                       lm_head_loss_bias(rng, B, T, V, C).arguments, constants=("wte", "b"))


CASES.append(Case("lm_head_loss, frozen", lm_head_loss_frozen))


def lm_head_loss_bias_alone(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4) -> PairSubject:
    return PairSubject(lm_head_loss_forward, lm_head_loss_bias_backward, slow.lm_head_loss,
                       lm_head_loss_bias(rng, B, T, V, C).arguments, constants=("x", "wte"))


CASES.append(Case("lm_head_loss, b alone", lm_head_loss_bias_alone))


def lm_head_module(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4) -> ModuleSubject:
    module = LMHead(Embedding(V, C, rng, dtype=np.float64), bias=True)
    return ModuleSubject(filled(module, rng), lambda x, p: slow.lm_head(x, **p), {"x": normal(rng, B, T, C)})


CASES.append(Case("LMHead", lm_head_module, (
    laws.head_has_its_loss, laws.a_frozen_matrix_is_all_that_is_kept, laws.nothing_frozen_is_summed,
    *common.OF_ANY_MODULE)))
