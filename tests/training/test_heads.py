"""A head is put on what was trained before: what is kept, what is new, and what is left out, all of it named."""

import numpy as np
import pytest

from gpt2np.models.bert import BERT, BertForPreTraining
from gpt2np.models.config import BertConfig, GPT2Config, TransformerConfig
from gpt2np.models.gpt2 import GPT2
from gpt2np.models.heads import SIGMOID, AnswerFinder, Classifier, TokenClassifier
from gpt2np.models.transformer import Transformer
from gpt2np.training.errors import TrainingError
from gpt2np.training.heads import put_head_on, what_is_new

SMALL = BertConfig(9, 6, 8, 2, 2, 10)
POOLER = ["body.pooler.dense.w", "body.pooler.dense.b"]


def rng():
    return np.random.default_rng(0)


def values(model):
    return {path: p.value for path, p in model.named_parameters()}


@pytest.mark.parametrize("loaded, kind, new, left_out", [
    (GPT2(GPT2Config(9, 6, 8, 2, 2), rng()), Classifier, ["head.wte"], []),
    (GPT2(GPT2Config(9, 6, 8, 2, 2), rng()), TokenClassifier, ["head.wte", "head.b"], []),
    (BERT(SMALL, rng()), Classifier, ["head.wte", "head.b"], []),
    (BERT(SMALL, rng()), AnswerFinder, ["head.wte", "head.b"], ["pooler.dense.w", "pooler.dense.b"]),
    (BERT(SMALL, rng(), pooler=False), Classifier, [*POOLER, "head.wte", "head.b"], []),
    (BertForPreTraining(SMALL, rng()), Classifier, ["head.wte", "head.b"],
     ["mlm.dense.w", "mlm.dense.b", "mlm.ln.g", "mlm.ln.b", "mlm.decoder.b", "nsp.w", "nsp.b"]),
])
def test_what_is_kept_new_and_left_out(loaded, kind, new, left_out):
    model, anew, without = put_head_on(loaded, kind, ["a", "b"], rng(), dropout=0.1, recompute=True)
    assert type(model) is kind and (sorted(anew), without) == (sorted(new), left_out)
    assert model.dropout == model.body.dropout == 0.1 and model.body.h.recompute
    old = loaded.bert if isinstance(loaded, BertForPreTraining) else loaded
    for path, value in values(model).items():
        if path in new:
            assert value.std() > 0 or path.endswith(".b")
        else:
            its = values(old)[path.removeprefix("body.")]
            assert np.array_equal(value, its) and not np.shares_memory(value, its)


def test_a_head_of_the_same_kind_and_labels_is_kept_and_of_others_refused():
    loaded = Classifier(GPT2(GPT2Config(9, 6, 8, 2, 2), rng()), ["a", "b"], rng())
    loaded.body.unused = [8]
    model, new, left_out = put_head_on(loaded, Classifier, ["a", "b"], rng())
    assert (new, left_out, model.body.unused) == ([], [], [8])
    assert np.array_equal(model.head.wte.value, loaded.head.wte.value) and what_is_new("x", new, left_out) is None
    with pytest.raises(TrainingError, match=r"labels: expected those of the model's head, 2 \('a', 'b'\), got 3 "
                       r"\('a', 'b', 'c'\)"):
        put_head_on(loaded, Classifier, ["a", "b", "c"], rng())
    _, new, left_out = put_head_on(loaded, Classifier, ["a", "b", "c"], rng(), objective=SIGMOID)
    assert (new, left_out) == (["head.wte"], ["head.wte"])
    assert what_is_new("run", new, left_out) == \
        "run: it has no head.wte: made anew, with random weights; left out of what it has: 'head.wte'"
    with pytest.raises(TrainingError, match="expected a BERT or a GPT-2 below the head, got a Transformer"):
        put_head_on(Transformer(TransformerConfig(9, 6, 8, 2, 1, 10), rng()), Classifier, ["a"], rng())
