"""To be moved into cases."""
import numpy as np
from ..hints import Rng
from ..layers.activations import GELU_ERF
from ..models.config import TransformerConfig
from ..models.transformer import Transformer
from ..blocks.transformer import PreNormDecoderBlock
from . import laws, references
from . import transformer_laws as tl
from . import transformer_references as slow
from .cases import filled, ids, mask, normal, of_any_module
from .checks import Case, ModuleSubject, Seed


def transformer(rng: Rng, B: int = 3, S: int = 4, T: int = 3, H: int = 2, D: int = 2, L: int = 2, V: int = 7, F: int = 5, norms: str = "post", n_ctx: int = 6) -> ModuleSubject:
    config = TransformerConfig(V, max(S, T, n_ctx), H * D, H, L, F, norms)
    module = Transformer(config, rng, dtype=np.float64, activation=GELU_ERF)
    return ModuleSubject(filled(module, rng), lambda source, source_mask, tokens, p: slow.transformer(source, source_mask, tokens, H, L, norms, p, references.gelu_erf),
                         {"source": ids(rng, V, B, S), "source_mask": mask(rng, B, S), "tokens": ids(rng, V, B, T)}, uses_cache_up=True)


def transformer_pre(rng: Rng, B: int = 2, S: int = 4, T: int = 3, H: int = 2, D: int = 2, L: int = 1, V: int = 7, F: int = 5):
    return transformer(rng, B, S, T, H, D, L, V, F, "pre")


def transformer_last(rng: Rng, B: int = 2, S: int = 4, T: int = 3, H: int = 2, D: int = 2, L: int = 1, V: int = 7, F: int = 5):
    return transformer(rng, B, S, T, H, D, L, V, F, "post, last")


def transformer_dropout(rng: Rng, B: int = 2, S: int = 4, T: int = 3, H: int = 2, D: int = 2, L: int = 1, V: int = 7, F: int = 5):
    module = Transformer(TransformerConfig(V, max(S, T), H * D, H, L, F), rng, 0.3, np.float64, activation=GELU_ERF)
    return ModuleSubject(filled(module, rng), lambda source, source_mask, tokens, rng, p: slow.transformer(source, source_mask, tokens, H, L, "post", p, references.gelu_erf, 0.3, rng),
                         {"source": ids(rng, V, B, S), "source_mask": mask(rng, B, S), "tokens": ids(rng, V, B, T), "rng": Seed(1)}, uses_cache_up=True)


def pre_norm_decoder_block(rng: Rng, B: int = 3, T: int = 4, S: int = 5, H: int = 2, D: int = 2) -> ModuleSubject:
    module = PreNormDecoderBlock(H * D, H, rng, activation=GELU_ERF, dtype=np.float64)
    return ModuleSubject(filled(module, rng), lambda x, memory, memory_padding_mask, p:
                         slow.pre_norm_decoder_block(x, memory, H, p, references.gelu_erf, None, memory_padding_mask),
                         {"x": normal(rng, B, T, H * D), "memory": normal(rng, B, S, H * D), "memory_padding_mask": mask(rng, B, S)})

ALL = (tl.later_targets_do_not_matter, tl.every_word_of_the_source_matters, tl.padding_of_the_source_does_not_matter, tl.padding_of_the_target_does_not_matter,
       tl.stepwise_is_teacher_forced, tl.the_tables_gradient_is_a_sum, tl.smoothed_in_training_alone, tl.frozen_sides_cost_nothing, tl.sources_refused, tl.a_cache_serves_once, laws.inference_is_forward)
CASES = (
    Case("PreNormDecoderBlock", pre_norm_decoder_block, (laws.later_tokens_do_not_matter, laws.padded_memory_does_not_matter, laws.inference_is_forward, *of_any_module)),
    Case("Transformer", transformer, (*ALL, *of_any_module)),
    Case("Transformer, pre", transformer_pre, (*ALL,)),
    Case("Transformer, last", transformer_last, (*ALL,)),
    Case("Transformer, dropout", transformer_dropout, (tl.smoothed_in_training_alone, laws.inference_is_forward)),
)
