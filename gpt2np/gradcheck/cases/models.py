"""The rows of the models."""

from functools import partial
from typing import Any

import numpy as np

from ...hints import Array, Cache, Rng
from ...layers.activations import TANH
from ...layers.embedding import Embedding
from ...layers.module import Module
from ...models.bert import BERT, BertForPreTraining, Logits, MaskedWordsHead, Pooler
from ...models.config import BertConfig, GPT2Config, TransformerConfig
from ...models.gpt2 import GPT2
from ...models.heads import SIGMOID, AnswerFinder, Classifier, TokenClassifier
from ...models.transformer import Transformer
from ..checks import Case, ModuleSubject, Seed
from ..laws import bert as of_bert
from ..laws import common
from ..laws import heads as of_heads
from ..laws import models as laws
from ..laws import transformer as of_transformer
from ..laws.layers import nothing_frozen_is_summed
from ..references import models as slow
from ..references.blocks import below
from ..references.layers import tanh
from .drawn import filled, ids, mask, normal

CASES: list[Case] = []


def gpt2(rng: Rng, B: int = 3, T: int = 4, H: int = 2, D: int = 2, L: int = 2, V: int = 7,
         n_ctx: int = 5) -> ModuleSubject:
    module = GPT2(GPT2Config(V, max(T, n_ctx), H * D, H, L), rng, dtype=np.float64)
    return ModuleSubject(filled(module, rng), partial(slow.gpt2, H=H, L=L), {"tokens": ids(rng, V, B, T)},
                         on_host=("tokens",), uses_cache_up=True)


CASES.append(Case("GPT2", gpt2, (
    laws.later_words_do_not_matter, laws.unused_positions_have_no_gradient, laws.loss_is_head_and_cross_entropy,
    laws.parts_of_a_batch_add, laws.tokens_refused, common.a_cache_serves_once, common.inference_is_forward,
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
    laws.later_words_do_not_matter, of_transformer.every_word_of_the_source_matters,
    of_transformer.padding_of_the_source_does_not_matter, of_transformer.padding_of_the_target_does_not_matter,
    of_transformer.stepwise_is_teacher_forced, of_transformer.the_tables_gradient_is_a_sum,
    of_transformer.smoothed_in_training_alone, of_transformer.frozen_sides_cost_nothing,
    of_transformer.sources_refused, of_transformer.what_was_looked_at, laws.parts_of_a_batch_add,
    common.a_cache_serves_once, common.inference_is_forward)

CASES.append(Case("Transformer", transformer, (*OF_TRANSFORMER, *common.OF_ANY_MODULE)))
OF_EACH_FORM = (
    of_transformer.padding_of_the_source_does_not_matter, of_transformer.stepwise_is_teacher_forced,
    of_transformer.smoothed_in_training_alone, of_transformer.frozen_sides_cost_nothing,
    of_transformer.what_was_looked_at)

CASES.append(Case("Transformer, pre", partial(transformer, B=2, L=1, norms="pre", rate=0.3, recompute=True),
                  OF_EACH_FORM))
CASES.append(Case("Transformer, last", partial(transformer, B=2, L=1, norms="post, last", label_smoothing=0.2),
                  OF_EACH_FORM))


# ---- BERT: the encoder, what stands on it, and all of it; eps large enough to be seen

NARROW = partial(BertConfig, n_embd=4, n_head=2, n_inner=5, eps=0.1)


def bert(rng: Rng, B: int = 3, T: int = 4, L: int = 2, V: int = 7) -> ModuleSubject:
    module = BERT(NARROW(V, T + 2, n_layer=L, n_segment=3), rng, dtype=np.float64, pooler=False)
    inputs = {"tokens": ids(rng, V, B, T), "segments": ids(rng, 3, B, T), "padding_mask": mask(rng, B, T)}
    return ModuleSubject(filled(module, rng), partial(slow.bert, H=2, L=L, eps=0.1), inputs, on_host=tuple(inputs),
                         uses_cache_up=True)


CASES.append(Case("BERT", bert, (
    of_bert.every_token_sees_both_sides, of_bert.padding_does_not_matter, of_bert.order_is_in_the_positions_alone,
    of_bert.segments_matter, of_bert.what_is_no_text_is_refused, of_bert.frozen_parts_cost_nothing,
    common.a_cache_serves_once, common.inference_is_forward, nothing_frozen_is_summed, *common.OF_ANY_MODULE)))


def pooler(rng: Rng, B: int = 2, T: int = 3, C: int = 4) -> ModuleSubject:
    return ModuleSubject(filled(Pooler(C, rng, dtype=np.float64), rng), slow.pooler, {"x": normal(rng, B, T, C)})


CASES.append(Case("Pooler", pooler, (
    of_bert.the_first_alone_matters, common.rows_are_independent, nothing_frozen_is_summed, *common.OF_ANY_MODULE)))


def masked_words_head(rng: Rng, B: int = 2, T: int = 3, V: int = 5, C: int = 4) -> ModuleSubject:
    module = MaskedWordsHead(Embedding(V, C, rng, dtype=np.float64), rng, eps=0.1, dtype=np.float64)
    return ModuleSubject(filled(module, rng), partial(slow.masked_words_head, eps=0.1), {"x": normal(rng, B, T, C)})


CASES.append(Case("MaskedWordsHead", masked_words_head, (
    of_bert.hidden_words_alone_cost, common.rows_are_independent, common.inference_is_forward,
    nothing_frozen_is_summed, *common.OF_ANY_MODULE)))


class SideBySide(Module):
    """A BertForPreTraining whose two logits are one array, (B, T V + 2): the checks want one y."""

    def __init__(self, model: BertForPreTraining):
        self.model = model

    def forward(self, tokens: Array, segments: Array, padding_mask: Array, rng: Rng | None = None,
                keep_cache: bool = True) -> tuple[Array, Cache]:
        (words, pairs), cache = self.model.forward(tokens, segments, padding_mask, rng, keep_cache)
        return np.concatenate([words.reshape(len(words), words.shape[1] * words.shape[2]), pairs], axis=1), cache

    def backward(self, dy: Array, cache: Cache) -> None:
        V, words = self.model.config.n_vocab, dy[:, :-2]
        self.model.backward(Logits(words.reshape(len(dy), words.shape[1] // V, V), dy[:, -2:]), cache)


def bert_for_pre_training(rng: Rng, B: int = 3, T: int = 3, V: int = 7, *, rate: float = 0.0) -> ModuleSubject:
    module = SideBySide(BertForPreTraining(NARROW(V, T + 1, n_layer=1), rng, rate, np.float64))
    inputs = {"tokens": ids(rng, V, B, T), "segments": ids(rng, 2, B, T), "padding_mask": mask(rng, B, T)}

    def reference(p: dict[str, Array], **inputs: Any) -> Array:
        own = {path.removeprefix("model."): value for path, value in p.items()}
        words, pairs = slow.bert_for_pre_training(**inputs, H=2, L=1, p=own, eps=0.1, rate=rate)
        return np.concatenate([words.reshape(len(words), T * V), pairs], axis=1)

    return ModuleSubject(filled(module, rng), reference, inputs | ({"rng": Seed(1)} if rate else {}),
                         on_host=tuple(inputs), uses_cache_up=True)


OF_PRE_TRAINING = (of_bert.loss_is_the_sum_of_both_means, of_bert.parts_of_a_batch_add, of_bert.one_table_for_both_uses)

CASES.append(Case("BertForPreTraining", bert_for_pre_training, (
    *OF_PRE_TRAINING, of_bert.recomputed_is_stored, of_bert.answers_refused, of_bert.frozen_parts_cost_nothing,
    common.a_cache_serves_once, common.inference_is_forward, *common.OF_ANY_MODULE)))
CASES.append(Case("BertForPre., drop", partial(bert_for_pre_training, B=2, rate=0.3), (
    *OF_PRE_TRAINING, of_bert.frozen_parts_cost_nothing, common.inference_is_forward)))


# ---- heads, on both bodies; a GPT-2's without a mask, for its positions follow from that and are moved with it


def bert_classifier(rng: Rng, B: int = 3, T: int = 3, V: int = 5, K: int = 3) -> ModuleSubject:
    body = BERT(NARROW(V, T + 1, n_layer=1), rng, dtype=np.float64)
    module = Classifier(body, map(str, range(max(2, K))), rng, dtype=np.float64)
    inputs = {"tokens": ids(rng, V, B, T), "segments": ids(rng, 2, B, T), "padding_mask": mask(rng, B, T)}

    def reference(p: dict[str, Array], **text: Any) -> Array:
        own = below(p, "body")
        return slow.head(slow.pooler(slow.bert(**text, H=2, L=1, p=own, eps=0.1), below(own, "pooler")), p)

    return ModuleSubject(filled(module, rng), reference, inputs, on_host=tuple(inputs), uses_cache_up=True)


def gpt2_classifier(rng: Rng, B: int = 3, T: int = 3, V: int = 5, K: int = 2) -> ModuleSubject:
    body = GPT2(GPT2Config(V, T + 1, 4, 2, 1), rng, 0.3, np.float64)
    module = Classifier(body, map(str, range(K)), rng, objective=SIGMOID, dropout=0.4, dtype=np.float64)

    def reference(p: dict[str, Array], tokens: Array, segments: Array, rng: Rng) -> Array:
        return slow.head(slow.gpt2_hidden(tokens, 2, 1, below(p, "body"), 0.3, rng)[:, -1], p, 0.4, rng)

    inputs = {"tokens": ids(rng, V, B, T), "segments": np.zeros((B, T), int)}
    return ModuleSubject(filled(module, rng), reference, inputs | {"rng": Seed(1)}, on_host=tuple(inputs),
                         uses_cache_up=True)


def token_classifier(rng: Rng, B: int = 3, T: int = 3, V: int = 5, K: int = 3) -> ModuleSubject:
    body = BERT(NARROW(V, T + 1, n_layer=1), rng, 0.3, np.float64, pooler=False)
    module = TokenClassifier(body, map(str, range(max(2, K))), rng, dropout=0.4, dtype=np.float64)
    inputs = {"tokens": ids(rng, V, B, T), "segments": ids(rng, 2, B, T), "padding_mask": mask(rng, B, T)}

    def reference(p: dict[str, Array], rng: Rng, **text: Any) -> Array:
        return slow.head(slow.bert(**text, H=2, L=1, p=below(p, "body"), eps=0.1, rate=0.3, rng=rng), p, 0.4, rng)

    return ModuleSubject(filled(module, rng), reference, inputs | {"rng": Seed(1)}, on_host=tuple(inputs),
                         uses_cache_up=True)


def answer_finder(rng: Rng, B: int = 2, T: int = 4, V: int = 5) -> ModuleSubject:
    body = GPT2(GPT2Config(V, T + 1, 4, 2, 1), rng, dtype=np.float64)
    module = AnswerFinder(body, rng, dropout=0.4, dtype=np.float64)

    def reference(p: dict[str, Array], tokens: Array, rng: Rng) -> Array:
        return slow.head(slow.gpt2_hidden(tokens, 2, 1, below(p, "body")), p, 0.4, rng).swapaxes(1, 2)

    return ModuleSubject(filled(module, rng), reference, {"tokens": ids(rng, V, B, T), "rng": Seed(1)},
                         on_host=("tokens",), uses_cache_up=True)


OF_HEADS = (of_heads.loss_is_forward_and_objective, of_heads.parts_of_a_batch_add, of_heads.padded_rows_are_as_alone,
            of_heads.all_of_a_text_matters, of_heads.a_frozen_body_costs_nothing, common.a_cache_serves_once,
            of_heads.batches_refused, of_heads.the_wrong_row_is_named, of_heads.labels_refused, of_heads.begins_near_0,
            common.inference_is_forward, *common.OF_ANY_MODULE)

CASES.append(Case("Classifier, BERT", bert_classifier, OF_HEADS))
CASES.append(Case("Classifier, GPT-2", gpt2_classifier, OF_HEADS))
CASES.append(Case("TokenClassifier", token_classifier, OF_HEADS))
CASES.append(Case("AnswerFinder", answer_finder, (*OF_HEADS, of_heads.padding_is_no_answer)))
