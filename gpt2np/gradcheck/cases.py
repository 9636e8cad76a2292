"""The table: one row for each pair and each module, in the chapter's order.

A row is a small case to check it at, made from a random generator and a few sizes that are pairwise different where
they can be: a transposed matrix or a sum over the wrong axis then shows.  The numbers given here are what the report
uses; the tests draw others.  Every floating array among the arguments is differentiated.
"""

from typing import Any

import numpy as np

from ..blocks.feedforward import MLP
from ..blocks.multihead import CrossAttention, SelfAttention
from ..blocks.transformer import DecoderBlock, PostNormBlock, PreNormBlock
from ..hints import Array, Cache, Rng
from ..layers.activations import (
    GELU_ERF,
    TANH,
    gelu_backward,
    gelu_erf_backward,
    gelu_erf_forward,
    gelu_forward,
    relu_backward,
    relu_forward,
    tanh_backward,
    tanh_forward,
)
from ..layers.attention import attention_backward, attention_forward
from ..layers.cross_entropy import cross_entropy_backward, cross_entropy_forward
from ..layers.dropout import dropout_backward, dropout_forward
from ..layers.embedding import Embedding, embedding_backward, embedding_forward
from ..layers.layernorm import LayerNorm, layernorm_backward, layernorm_forward, layernorm_input_backward
from ..layers.linear import Linear, linear_backward, linear_forward, linear_input_backward
from ..layers.lm_head import (
    LMHead,
    lm_head_backward,
    lm_head_forward,
    lm_head_input_backward,
    lm_head_loss_backward,
    lm_head_loss_bias_backward,
    lm_head_loss_forward,
    lm_head_loss_input_backward,
)
from ..layers.module import Module
from ..layers.softmax import log_softmax_backward, log_softmax_forward, softmax_backward, softmax_forward
from ..models.config import GPT2Config
from ..models.gpt2 import GPT2
from . import laws
from . import references as slow
from .checks import Case, ModuleSubject, PairSubject, Seed


def normal(rng: Rng, *shape: int) -> Array:
    return rng.standard_normal(shape)


def ids(rng: Rng, n: int, *shape: int) -> Array:
    """Token ids of which some are the same: the gradients of a repeated token add."""
    drawn = rng.integers(0, n, shape)
    if drawn.size > 1:
        drawn.flat[-1] = drawn.flat[0]
    return drawn


def mask(rng: Rng, *shape: int) -> Array:
    """Real tokens and padding in every row, if there is room: True first, so that every query sees something."""
    real = rng.random(shape) < 0.6
    real[:, 0] = True
    real[:, 1:2] = False
    return real


# ---- layers


def linear(rng: Rng, B: int = 2, T: int = 3, C: int = 5, F: int = 4) -> PairSubject:
    return PairSubject(linear_forward, linear_backward, slow.linear,
                       {"x": normal(rng, B, T, C), "w": normal(rng, C, F), "b": normal(rng, F)})


def linear_frozen(rng: Rng, B: int = 2, T: int = 3, C: int = 5, F: int = 4) -> PairSubject:
    w, b = normal(rng, C, F), normal(rng, F)

    def forward(x: Array) -> tuple[Array, Cache]:
        return linear_forward(x, w.astype(x.dtype), b.astype(x.dtype))[0], (x.shape, w.astype(x.dtype))

    return PairSubject(forward, linear_input_backward, lambda x: slow.linear(x, w, b), {"x": normal(rng, B, T, C)})


def linear_module(rng: Rng, B: int = 2, T: int = 3, C: int = 5, F: int = 4) -> ModuleSubject:
    return ModuleSubject(filled(Linear(C, F, rng, dtype=np.float64), rng), lambda x, p: slow.linear(x, p["w"], p["b"]),
                         {"x": normal(rng, B, T, C)})


def embedding(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4) -> PairSubject:
    return PairSubject(embedding_forward, embedding_backward, slow.embedding,
                       {"ids": ids(rng, V, B, T), "w": normal(rng, V, C)})


def embedding_module(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4) -> ModuleSubject:
    return ModuleSubject(Embedding(V, C, rng, std=1.0, dtype=np.float64), lambda ids, p: slow.embedding(ids, p["w"]),
                         {"ids": ids(rng, V, B, T)})


def layernorm(rng: Rng, B: int = 2, T: int = 3, C: int = 6) -> PairSubject:
    return PairSubject(layernorm_forward, layernorm_backward, slow.layernorm,
                       {"x": normal(rng, B, T, C), "g": normal(rng, C), "b": normal(rng, C)})


def layernorm_frozen(rng: Rng, B: int = 2, T: int = 3, C: int = 6) -> PairSubject:
    g, b = normal(rng, C), normal(rng, C)
    return PairSubject(lambda x: layernorm_forward(x, g.astype(x.dtype), b.astype(x.dtype)), layernorm_input_backward,
                       lambda x: slow.layernorm(x, g, b), {"x": normal(rng, B, T, C)})


def layernorm_module(rng: Rng, B: int = 2, T: int = 3, C: int = 6) -> ModuleSubject:
    return ModuleSubject(filled(LayerNorm(C, dtype=np.float64), rng), lambda x, p: slow.norm(x, p),
                         {"x": normal(rng, B, T, C)})


def gelu(rng: Rng, B: int = 2, T: int = 3, F: int = 4) -> PairSubject:
    return PairSubject(gelu_forward, gelu_backward, slow.gelu, {"x": normal(rng, B, T, F) * 2})


def gelu_erf(rng: Rng, B: int = 2, T: int = 3, F: int = 4) -> PairSubject:
    return PairSubject(gelu_erf_forward, gelu_erf_backward, slow.gelu_erf, {"x": normal(rng, B, T, F) * 2})


def relu(rng: Rng, B: int = 2, T: int = 3, F: int = 4) -> PairSubject:
    x = normal(rng, B, T, F)                            # kept away from 0, where there is no derivative to compare with
    return PairSubject(relu_forward, relu_backward, slow.relu, {"x": x + np.where(x < 0, -0.1, 0.1)})


def tanh(rng: Rng, B: int = 2, T: int = 3, F: int = 4) -> PairSubject:
    return PairSubject(tanh_forward, tanh_backward, slow.tanh, {"x": normal(rng, B, T, F)})


def softmax(rng: Rng, B: int = 2, T: int = 3, V: int = 5) -> PairSubject:
    return PairSubject(softmax_forward, softmax_backward, slow.softmax, {"x": normal(rng, B, T, V)})


def log_softmax(rng: Rng, B: int = 2, T: int = 3, V: int = 5) -> PairSubject:
    return PairSubject(log_softmax_forward, log_softmax_backward, slow.log_softmax, {"x": normal(rng, B, T, V)})


def attention(rng: Rng, /, B: int = 2, H: int = 3, T: int = 4, S: int = 5, D: int = 2, **options: Any) -> PairSubject:
    q, k, v = normal(rng, B, H, T, D), normal(rng, B, H, S, D), normal(rng, B, H, S, D)
    return PairSubject(attention_forward, attention_backward, slow.attention, {"q": q, "k": k, "v": v, **options})


def attention_causal(rng: Rng, B: int = 2, H: int = 3, T: int = 4, past: int = 1, D: int = 2) -> PairSubject:
    return attention(rng, B, H, T, T + past, D, causal=True)


def attention_padding(rng: Rng, B: int = 2, H: int = 3, T: int = 4, S: int = 5, D: int = 2) -> PairSubject:
    return attention(rng, B, H, T, S, D, padding_mask=mask(rng, B, S))


def attention_causal_padding(rng: Rng, B: int = 2, H: int = 3, T: int = 4, past: int = 1, D: int = 2) -> PairSubject:
    """Padding on the left, so that the first queries of a row see nothing at all."""
    real = mask(rng, B, T + past)[:, ::-1].copy()
    return attention(rng, B, H, T, T + past, D, causal=True, padding_mask=real)


def attention_dropout(rng: Rng, B: int = 2, H: int = 3, T: int = 4, past: int = 1, D: int = 2) -> PairSubject:
    return attention(rng, B, H, T, T + past, D, causal=True, dropout=0.3, rng=Seed(1))


def dropout(rng: Rng, B: int = 2, T: int = 3, C: int = 4) -> PairSubject:
    return PairSubject(dropout_forward, dropout_backward, slow.dropout,
                       {"x": normal(rng, B, T, C), "rate": 0.3, "rng": Seed(1)})


def cross_entropy(rng: Rng, B: int = 2, T: int = 3, V: int = 5, **options: Any) -> PairSubject:
    targets = ids(rng, V, B, T)
    targets[:, 1:2] = -100
    return PairSubject(cross_entropy_forward, cross_entropy_backward, slow.cross_entropy,
                       {"logits": normal(rng, B, T, V), "targets": targets, **options})


def cross_entropy_smoothing(rng: Rng, B: int = 2, T: int = 3, V: int = 5) -> PairSubject:
    return cross_entropy(rng, B, T, V, label_smoothing=0.2)


def cross_entropy_part(rng: Rng, B: int = 2, T: int = 3, V: int = 5) -> PairSubject:
    return cross_entropy(rng, B, T, V, counted=11)


def lm_head(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4) -> PairSubject:
    return PairSubject(lm_head_forward, lm_head_backward, slow.lm_head,
                       {"x": normal(rng, B, T, C), "wte": normal(rng, V, C)})


def lm_head_bias(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4) -> PairSubject:
    return PairSubject(lm_head_forward, lm_head_backward, slow.lm_head,
                       {"x": normal(rng, B, T, C), "wte": normal(rng, V, C), "b": normal(rng, V)})


def lm_head_frozen(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4) -> PairSubject:
    wte = normal(rng, V, C)

    def forward(x: Array) -> tuple[Array, Cache]:
        return lm_head_forward(x, wte.astype(x.dtype))[0], (x.shape, wte.astype(x.dtype))

    return PairSubject(forward, lm_head_input_backward, lambda x: slow.lm_head(x, wte), {"x": normal(rng, B, T, C)})


def lm_head_loss(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4, **options: Any) -> PairSubject:
    targets = ids(rng, V, B, T)
    targets[:, 1:2] = -100
    return PairSubject(lm_head_loss_forward, lm_head_loss_backward, slow.lm_head_loss,
                       {"x": normal(rng, B, T, C), "wte": normal(rng, V, C), "targets": targets, **options})


def lm_head_loss_bias(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4) -> PairSubject:
    return lm_head_loss(rng, B, T, V, C, b=normal(rng, V), label_smoothing=0.2, counted=11)


def lm_head_loss_smoothing(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4) -> PairSubject:
    return lm_head_loss(rng, B, T, V, C, label_smoothing=0.2)


def lm_head_loss_frozen(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4) -> PairSubject:
    wte, targets = normal(rng, V, C), ids(rng, V, B, T)
    return PairSubject(lambda x: lm_head_loss_forward(x, wte.astype(x.dtype), targets, label_smoothing=0.2),
                       lm_head_loss_input_backward, lambda x: slow.lm_head_loss(x, wte, targets, None, 0.2),
                       {"x": normal(rng, B, T, C)})


def lm_head_loss_bias_alone(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4) -> PairSubject:
    x, wte, targets = normal(rng, B, T, C), normal(rng, V, C), ids(rng, V, B, T)
    return PairSubject(lambda b: lm_head_loss_forward(x.astype(b.dtype), wte.astype(b.dtype), targets, b, 0.2),
                       lm_head_loss_bias_backward, lambda b: slow.lm_head_loss(x, wte, targets, b, 0.2),
                       {"b": normal(rng, V)})


def lm_head_module(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4) -> ModuleSubject:
    module = LMHead(Embedding(V, C, rng, dtype=np.float64), bias=True)
    return ModuleSubject(filled(module, rng), lambda x, p: slow.lm_head(x, p["wte"], p["b"]),
                         {"x": normal(rng, B, T, C)})


# ---- blocks: H heads of width D, C = H D


def self_attention(rng: Rng, B: int = 2, T: int = 4, H: int = 3, D: int = 2) -> ModuleSubject:
    module = SelfAttention(H * D, H, rng, causal=True, dtype=np.float64)
    return ModuleSubject(filled(module, rng), lambda x, p: slow.self_attention(x, H, p, True),
                         {"x": normal(rng, B, T, H * D)})


def self_attention_both_ways(rng: Rng, B: int = 2, T: int = 4, H: int = 3, D: int = 2) -> ModuleSubject:
    module = SelfAttention(H * D, H, rng, causal=False, dtype=np.float64)
    return ModuleSubject(filled(module, rng), lambda x, p: slow.self_attention(x, H, p, False),
                         {"x": normal(rng, B, T, H * D)})


def self_attention_padding(rng: Rng, B: int = 2, T: int = 4, H: int = 3, D: int = 2) -> ModuleSubject:
    module = SelfAttention(H * D, H, rng, causal=False, dtype=np.float64)
    return ModuleSubject(filled(module, rng), lambda x, padding_mask, p:
                         slow.self_attention(x, H, p, False, padding_mask),
                         {"x": normal(rng, B, T, H * D), "padding_mask": mask(rng, B, T)})


def cross_attention(rng: Rng, B: int = 2, T: int = 4, S: int = 5, H: int = 3, D: int = 2) -> ModuleSubject:
    module = CrossAttention(H * D, H, rng, dtype=np.float64)
    return ModuleSubject(filled(module, rng), lambda x, memory, padding_mask, p:
                         slow.cross_attention(x, memory, H, p, padding_mask),
                         {"x": normal(rng, B, T, H * D), "memory": normal(rng, B, S, H * D),
                          "padding_mask": mask(rng, B, S)})


def cross_attention_dropout(rng: Rng, B: int = 2, T: int = 4, S: int = 5, H: int = 3, D: int = 2) -> ModuleSubject:
    module = CrossAttention(H * D, H, rng, dropout=0.3, dtype=np.float64)
    return ModuleSubject(filled(module, rng), lambda x, memory, rng, p:
                         slow.cross_attention(x, memory, H, p, None, 0.3, rng),
                         {"x": normal(rng, B, T, H * D), "memory": normal(rng, B, S, H * D), "rng": Seed(1)})


def mlp(rng: Rng, B: int = 2, T: int = 3, C: int = 4) -> ModuleSubject:
    return ModuleSubject(filled(MLP(C, rng, dtype=np.float64), rng), slow.mlp, {"x": normal(rng, B, T, C)})


def mlp_dropout(rng: Rng, B: int = 2, T: int = 3, C: int = 4) -> ModuleSubject:
    module = MLP(C, rng, activation=TANH, dropout=0.3, dtype=np.float64)
    return ModuleSubject(filled(module, rng), lambda x, rng, p: slow.mlp(x, p, slow.tanh, 0.3, rng),
                         {"x": normal(rng, B, T, C), "rng": Seed(1)})


def pre_norm_block(rng: Rng, B: int = 2, T: int = 4, H: int = 3, D: int = 2) -> ModuleSubject:
    module = PreNormBlock(H * D, H, rng, dtype=np.float64)
    return ModuleSubject(filled(module, rng), lambda x, p: slow.pre_norm_block(x, H, p),
                         {"x": normal(rng, B, T, H * D)})


def pre_norm_block_dropout(rng: Rng, B: int = 2, T: int = 3, H: int = 2, D: int = 2) -> ModuleSubject:
    module = PreNormBlock(H * D, H, rng, dropout=0.3, dtype=np.float64)
    return ModuleSubject(filled(module, rng), lambda x, padding_mask, rng, p:
                         slow.pre_norm_block(x, H, p, padding_mask, 0.3, rng),
                         {"x": normal(rng, B, T, H * D), "padding_mask": mask(rng, B, T), "rng": Seed(1)})


def post_norm_block(rng: Rng, B: int = 2, T: int = 4, H: int = 3, D: int = 2) -> ModuleSubject:
    # GELU as in BERT: ReLU has a kink to step over
    module = PostNormBlock(H * D, H, rng, activation=GELU_ERF, dtype=np.float64)
    return ModuleSubject(filled(module, rng), lambda x, padding_mask, p:
                         slow.post_norm_block(x, H, p, slow.gelu_erf, padding_mask),
                         {"x": normal(rng, B, T, H * D), "padding_mask": mask(rng, B, T)})


def post_norm_block_dropout(rng: Rng, B: int = 2, T: int = 3, H: int = 2, D: int = 2) -> ModuleSubject:
    module = PostNormBlock(H * D, H, rng, activation=GELU_ERF, dropout=0.3, dtype=np.float64)
    return ModuleSubject(filled(module, rng), lambda x, rng, p:
                         slow.post_norm_block(x, H, p, slow.gelu_erf, None, 0.3, rng),
                         {"x": normal(rng, B, T, H * D), "rng": Seed(1)})


def decoder_block(rng: Rng, B: int = 3, T: int = 4, S: int = 5, H: int = 2, D: int = 2) -> ModuleSubject:
    module = DecoderBlock(H * D, H, rng, activation=GELU_ERF, dtype=np.float64)
    return ModuleSubject(filled(module, rng), lambda x, memory, memory_padding_mask, p:
                         slow.decoder_block(x, memory, H, p, slow.gelu_erf, None, memory_padding_mask),
                         {"x": normal(rng, B, T, H * D), "memory": normal(rng, B, S, H * D),
                          "memory_padding_mask": mask(rng, B, S)})


def decoder_block_dropout(rng: Rng, B: int = 2, T: int = 3, S: int = 4, H: int = 2, D: int = 2) -> ModuleSubject:
    module = DecoderBlock(H * D, H, rng, activation=GELU_ERF, dropout=0.3, dtype=np.float64)
    return ModuleSubject(filled(module, rng), lambda x, memory, padding_mask, memory_padding_mask, rng, p:
                         slow.decoder_block(x, memory, H, p, slow.gelu_erf, padding_mask, memory_padding_mask, 0.3,
                                            rng),
                         {"x": normal(rng, B, T, H * D), "memory": normal(rng, B, S, H * D),
                          "padding_mask": mask(rng, B, T), "memory_padding_mask": mask(rng, B, S), "rng": Seed(1)})


# ---- GPT-2


def gpt2(rng: Rng, B: int = 3, T: int = 4, H: int = 2, D: int = 2, L: int = 2, V: int = 7,
         n_ctx: int = 5) -> ModuleSubject:
    module = GPT2(GPT2Config(V, max(T, n_ctx), H * D, H, L), rng, dtype=np.float64)
    return ModuleSubject(filled(module, rng), lambda tokens, p: slow.gpt2(tokens, H, L, p),
                         {"tokens": ids(rng, V, B, T)}, uses_cache_up=True)


def gpt2_dropout(rng: Rng, B: int = 2, T: int = 3, H: int = 2, D: int = 2, L: int = 1, V: int = 5,
                 n_ctx: int = 4) -> ModuleSubject:
    module = GPT2(GPT2Config(V, max(T, n_ctx), H * D, H, L), rng, dropout=0.3, dtype=np.float64)
    return ModuleSubject(filled(module, rng), lambda tokens, rng, p: slow.gpt2(tokens, H, L, p, 0.3, rng),
                         {"tokens": ids(rng, V, B, T), "rng": Seed(1)}, uses_cache_up=True)


def filled(module: Module, rng: Rng) -> Module:
    """Every parameter drawn anew: the gains of 1 and biases of 0 that a model starts with would hide mistakes."""
    for _, parameter in module.named_parameters():
        parameter.value = rng.standard_normal(parameter.value.shape) * 0.7
    return module


of_any_parameter = (laws.gradients_add, laws.frozen_parameters_get_nothing)
of_any_module = (*of_any_parameter, laws.frozen_as_a_whole, laws.a_replica_has_its_own_gradients,
                 laws.a_shared_parameter_counts_once)

CASES = (
    Case("linear", linear, (laws.bias_has_a_shape, laws.one_column)),
    Case("linear, frozen", linear_frozen),
    Case("Linear", linear_module, of_any_module),
    Case("embedding", embedding, (laws.ids_outside_the_table, laws.repeated_ids_add, laws.small_ids_reach_far,
                                  laws.many_tiles_of_ids, laws.sums_are_not_lost_in_a_copy)),
    Case("Embedding", embedding_module, of_any_parameter),
    Case("layernorm", layernorm, (laws.normalised, laws.affine_invariant, laws.gradient_rows_sum_to_0,
                                  laws.accurate_far_from_0, laws.gain_and_bias_have_a_shape, laws.many_tiles_are_one)),
    Case("layernorm, frozen", layernorm_frozen),
    Case("LayerNorm", layernorm_module, of_any_module),
    Case("gelu", gelu, (laws.gelu_limits, laws.gelu_splits_x, laws.slope_keeps_its_digits, laws.without_a_cache,
                        laws.many_tiles_are_one)),
    Case("gelu_erf", gelu_erf, (laws.gelu_limits, laws.gelu_splits_x, laws.slope_keeps_its_digits,
                                laws.small_tail_keeps_its_digits, laws.without_a_cache, laws.many_tiles_are_one)),
    Case("relu", relu, (laws.without_a_cache, laws.finite_at_10000)),
    Case("tanh", tanh, (laws.without_a_cache, laws.finite_at_10000)),
    Case("softmax", softmax, (laws.probabilities, laws.gradient_rows_sum_to_0, laws.finite_at_10000,
                              laws.many_tiles_are_one)),
    Case("log_softmax", log_softmax, (laws.log_probabilities, laws.gradient_rows_sum_to_0, laws.finite_at_10000,
                                      laws.many_tiles_are_one)),
    Case("attention", attention, (laws.weights_sum_to_1, laws.finite_at_10000, laws.inference_is_forward,
                                  laws.one_query_at_a_time, laws.nothing_kept_nothing_drawn, laws.attention_refuses)),
    Case("attention, causal", attention_causal, (laws.causal, laws.weights_sum_to_1, laws.inference_is_forward,
                                                 laws.one_query_at_a_time)),
    Case("attention, padded", attention_padding, (laws.padding_is_not_seen, laws.weights_sum_to_1,
                                                   laws.padding_of_each_query)),
    Case("attention, both masks", attention_causal_padding, (laws.padding_is_not_seen,
                                                                 laws.padding_of_each_query)),
    Case("attention, dropout", attention_dropout, (laws.inference_is_forward,)),
    Case("dropout", dropout, (laws.drops_and_scales,)),
    Case("cross_entropy", cross_entropy, (laws.gradient_rows_sum_to_0, laws.only_the_target_gains,
                                          laws.uniform_logits_cost_log_v, laws.ignored_targets_do_not_count,
                                          laws.finite_at_10000, laws.targets_refused, laws.many_tiles_of_targets,
                                          laws.a_common_offset_costs_no_digits)),
    Case("cross_entropy, smooth", cross_entropy_smoothing, (laws.gradient_rows_sum_to_0,
                                                            laws.uniform_logits_cost_log_v,
                                                            laws.a_common_offset_costs_no_digits)),
    Case("cross_entropy, part", cross_entropy_part, (laws.parts_of_a_mean_add,)),
    Case("lm_head", lm_head),
    Case("lm_head, bias", lm_head_bias, (laws.bias_has_a_shape,)),
    Case("lm_head, frozen", lm_head_frozen),
    Case("lm_head_loss", lm_head_loss, (laws.head_and_loss_are_two_layers, laws.finite_at_10000,
                                        laws.targets_refused, laws.a_common_offset_costs_no_digits)),
    Case("lm_head_loss, smooth", lm_head_loss_smoothing, (laws.head_and_loss_are_two_layers,
                                                          laws.a_common_offset_costs_no_digits)),
    Case("lm_head_loss, bias", lm_head_loss_bias, (laws.head_and_loss_are_two_layers, laws.parts_of_a_mean_add,
                                                   laws.bias_has_a_shape)),
    Case("lm_head_loss, frozen", lm_head_loss_frozen),
    Case("lm_head bias, frozen", lm_head_loss_bias_alone),
    Case("LMHead", lm_head_module, (laws.head_has_its_loss, *of_any_module)),
    Case("SelfAttention", self_attention, (laws.later_tokens_do_not_matter, laws.rows_are_independent,
                                           laws.inference_is_forward, laws.heads_divide_the_width,
                                           laws.a_past_is_the_full_forward, laws.a_kv_cache_keeps_what_it_is_given,
                                           *of_any_module)),
    Case("SelfAttention, both", self_attention_both_ways, (laws.every_token_matters, laws.inference_is_forward)),
    Case("SelfAttention, padded", self_attention_padding, (laws.padded_tokens_do_not_matter,
                                                            laws.inference_is_forward)),
    Case("CrossAttention", cross_attention, (laws.padded_memory_does_not_matter, laws.inference_is_forward,
                                             laws.heads_divide_the_width, *of_any_module)),
    Case("CrossAttention, drop", cross_attention_dropout, (laws.inference_is_forward,)),
    Case("MLP", mlp, (laws.rows_are_independent, laws.inference_is_forward, *of_any_module)),
    Case("MLP, dropout", mlp_dropout, (laws.inference_is_forward,)),
    Case("PreNormBlock", pre_norm_block, (laws.later_tokens_do_not_matter, laws.zero_projections_are_the_identity,
                                          laws.rows_are_independent, laws.inference_is_forward,
                                          laws.a_past_is_the_full_forward, *of_any_module)),
    Case("PreNormBlock, dropout", pre_norm_block_dropout, (laws.padded_tokens_do_not_matter,)),
    Case("PostNormBlock", post_norm_block, (laws.padded_tokens_do_not_matter, laws.inference_is_forward,
                                            *of_any_module)),
    Case("PostNormBlock, drop", post_norm_block_dropout),
    Case("DecoderBlock", decoder_block, (laws.later_tokens_do_not_matter, laws.padded_memory_does_not_matter,
                                         laws.inference_is_forward, *of_any_module)),
    Case("DecoderBlock, dropout", decoder_block_dropout, (laws.padded_memory_does_not_matter,)),
    Case("GPT2", gpt2, (laws.later_words_do_not_matter, laws.unused_positions_have_no_gradient,
                        laws.loss_is_head_and_cross_entropy, laws.tokens_refused, laws.a_cache_serves_once,
                        laws.inference_is_forward, laws.next_logits_are_the_full_forward,
                        laws.recomputed_is_stored, *of_any_module)),
    Case("GPT2, dropout", gpt2_dropout, (laws.loss_is_head_and_cross_entropy, laws.inference_is_forward)),
)
