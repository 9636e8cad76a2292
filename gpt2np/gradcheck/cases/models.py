"""The rows of the models."""

from functools import partial
from typing import Any

import numpy as np

from ...hints import Rng
from ...layers.activations import TANH
from ...models.config import GPT2Config, TransformerConfig
from ...models.gpt2 import GPT2
from ...models.transformer import Transformer
from ..checks import Case, ModuleSubject, Seed
from ..laws import common
from ..laws import models as laws
from ..laws import transformer as of_transformer
from ..laws.layers import nothing_frozen_is_summed
from ..references import models as slow
from ..references.layers import tanh
from .drawn import filled, ids, mask

CASES: list[Case] = []


def gpt2(rng: Rng, B: int = 3, T: int = 4, H: int = 2, D: int = 2, L: int = 2, V: int = 7,
         n_ctx: int = 5) -> ModuleSubject:
    module = GPT2(GPT2Config(V, max(T, n_ctx), H * D, H, L), rng, dtype=np.float64)
    return ModuleSubject(filled(module, rng), partial(slow.gpt2, H=H, L=L), {"tokens": ids(rng, V, B, T)},
                         on_host=("tokens",), uses_cache_up=True)


CASES.append(Case("GPT2", gpt2, (
    laws.later_words_do_not_matter, laws.unused_positions_have_no_gradient, laws.loss_is_head_and_cross_entropy,
    laws.parts_of_a_batch_add, laws.tokens_refused, laws.a_cache_serves_once, common.inference_is_forward,
    laws.next_logits_are_the_full_forward,
    laws.recomputed_is_stored, laws.frozen_blocks_cost_nothing, laws.hidden_gives_the_gradient_by_the_embeddings,
    laws.padded_rows_train_as_alone, laws.five_blocks_have_gradients_of_their_own, nothing_frozen_is_summed,
    *common.OF_ANY_MODULE)))


def gpt2_dropout(rng: Rng, B: int = 2, T: int = 3, H: int = 2, D: int = 2, L: int = 1, V: int = 5,
                 n_ctx: int = 4) -> ModuleSubject:
    module = GPT2(GPT2Config(V, max(T, n_ctx), H * D, H, L), rng, dropout=0.3, dtype=np.float64)
    return ModuleSubject(filled(module, rng), partial(slow.gpt2, H=H, L=L, rate=0.3),
                         {"tokens": ids(rng, V, B, T), "rng": Seed(1)}, on_host=("tokens",), uses_cache_up=True)


CASES.append(Case("GPT2, dropout", gpt2_dropout, (
    laws.loss_is_head_and_cross_entropy, common.inference_is_forward, laws.frozen_blocks_cost_nothing,
    laws.hidden_gives_the_gradient_by_the_embeddings)))


def transformer(rng: Rng, B: int = 3, S: int = 4, T: int = 3, V: int = 7, *, H: int = 2, D: int = 2, L: int = 2,
                F: int = 5, norms: str = "post", rate: float = 0.0, **options: Any) -> ModuleSubject:
    # tanh, for ReLU has a kink to step over
    config = TransformerConfig(V, max(S, T) + 2, H * D, H, L, F, norms)
    module = Transformer(config, rng, rate, np.float64, activation=TANH, **options)
    inputs = {"source": ids(rng, V, B, S), "source_mask": mask(rng, B, S), "tokens": ids(rng, V, B, T)}
    return ModuleSubject(filled(module, rng),
                         partial(slow.transformer, H=H, L=L, norms=norms, activation=tanh, rate=rate),
                         inputs | ({"rng": Seed(1)} if rate else {}), on_host=tuple(inputs), uses_cache_up=True)


OF_TRANSFORMER = (
    of_transformer.later_targets_do_not_matter, of_transformer.every_word_of_the_source_matters,
    of_transformer.padding_of_the_source_does_not_matter, of_transformer.padding_of_the_target_does_not_matter,
    of_transformer.stepwise_is_teacher_forced, of_transformer.the_tables_gradient_is_a_sum,
    of_transformer.smoothed_in_training_alone, of_transformer.frozen_sides_cost_nothing,
    of_transformer.sources_refused, of_transformer.what_was_looked_at, laws.parts_of_a_batch_add,
    laws.a_cache_serves_once, common.inference_is_forward)

CASES.append(Case("Transformer", transformer, (*OF_TRANSFORMER, *common.OF_ANY_MODULE)))
OF_EACH_FORM = (
    of_transformer.padding_of_the_source_does_not_matter, of_transformer.stepwise_is_teacher_forced,
    of_transformer.smoothed_in_training_alone, of_transformer.frozen_sides_cost_nothing,
    of_transformer.what_was_looked_at)

CASES.append(Case("Transformer, pre", partial(transformer, B=2, L=1, norms="pre", rate=0.3, recompute=True),
                  OF_EACH_FORM))
CASES.append(Case("Transformer, last", partial(transformer, B=2, L=1, norms="post, last", label_smoothing=0.2),
                  OF_EACH_FORM))
