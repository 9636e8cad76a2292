"""The rows of GPT-2."""

from functools import partial

import numpy as np

from ...hints import Rng
from ...models.config import GPT2Config
from ...models.gpt2 import GPT2
from ..checks import Case, ModuleSubject, Seed
from ..laws import common
from ..laws import models as laws
from ..laws.layers import nothing_frozen_is_summed
from ..references import models as slow
from .drawn import filled, ids

CASES: list[Case] = []


def gpt2(rng: Rng, B: int = 3, T: int = 4, H: int = 2, D: int = 2, L: int = 2, V: int = 7,
         n_ctx: int = 5) -> ModuleSubject:
    module = GPT2(GPT2Config(V, max(T, n_ctx), H * D, H, L), rng, dtype=np.float64)
    return ModuleSubject(filled(module, rng), partial(slow.gpt2, H=H, L=L), {"tokens": ids(rng, V, B, T)},
                         on_host=("tokens",), uses_cache_up=True)


CASES.append(Case("GPT2", gpt2, (
    laws.later_words_do_not_matter, laws.unused_positions_have_no_gradient, laws.loss_is_head_and_cross_entropy,
    laws.tokens_refused, laws.a_cache_serves_once, common.inference_is_forward, laws.next_logits_are_the_full_forward,
    laws.recomputed_is_stored, laws.frozen_blocks_cost_nothing, laws.hidden_gives_the_gradient_by_the_embeddings,
    nothing_frozen_is_summed, *common.OF_ANY_MODULE)))


def gpt2_dropout(rng: Rng, B: int = 2, T: int = 3, H: int = 2, D: int = 2, L: int = 1, V: int = 5,
                 n_ctx: int = 4) -> ModuleSubject:
    module = GPT2(GPT2Config(V, max(T, n_ctx), H * D, H, L), rng, dropout=0.3, dtype=np.float64)
    return ModuleSubject(filled(module, rng), partial(slow.gpt2, H=H, L=L, rate=0.3),
                         {"tokens": ids(rng, V, B, T), "rng": Seed(1)}, on_host=("tokens",), uses_cache_up=True)


CASES.append(Case("GPT2, dropout", gpt2_dropout, (
    laws.loss_is_head_and_cross_entropy, common.inference_is_forward, laws.frozen_blocks_cost_nothing,
    laws.hidden_gives_the_gradient_by_the_embeddings)))
