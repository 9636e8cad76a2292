"""Folders of models with a head against transformers: it loads what we save, and computes the same.

`make test-peers` installs the libraries.
"""

import os
import warnings

import numpy as np
import pytest

import gpt2np
from gpt2np.checkpoints.huggingface_heads import ARCHITECTURES
from gpt2np.models.bert import BERT
from gpt2np.models.config import BertConfig, GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.models.heads import SIGMOID, SOFTMAX, SQUARED, AnswerFinder, Classifier, TokenClassifier
from gpt2np.text.bpe import Tokenizer
from gpt2np.text.wordpiece import learn_characters
from tests.checkpoints.tiny import MERGES

pytestmark = [pytest.mark.skipif(not os.environ.get("GPT2NP_PEERS"), reason="opt-in: make test-peers"),
              pytest.mark.filterwarnings("default")]            # theirs are not ours to mend

CASES = [*((name, objective) for name in ARCHITECTURES for objective in (SOFTMAX, SIGMOID, SQUARED)
           if "Sequence" in name or objective == SOFTMAX)]
LABELS = ("O", "B-PER", "地名")


def model_of(name, objective, n_vocab, rng):
    its = ARCHITECTURES[name]
    body = BERT(BertConfig(n_vocab, 16, 24, 3, 2, 50, eps=1e-6), rng, pooler=its.kind is Classifier) \
        if its.body is BERT else GPT2(GPT2Config(n_vocab, 16, 24, 3, 2), rng)
    model = AnswerFinder(body, rng) if its.kind is AnswerFinder else \
        TokenClassifier(body, LABELS, rng, dropout=0.2) if its.kind is TokenClassifier else \
        Classifier(body, LABELS, rng, objective=objective, dropout=0.2)
    for _, p in model.named_parameters():
        p.value = rng.standard_normal(p.shape).astype(np.float32) * 0.3
    return model


@pytest.mark.parametrize("name, objective", CASES, ids=lambda a: getattr(a, "name", a))
def test_transformers_loads_what_we_save(name, objective, tmp_path):
    import torch
    import transformers
    rng, bert = np.random.default_rng(0), name.startswith("Bert")
    tokenizer = learn_characters(["abcdefghijklmnopqrstuvwxyz 北京, it is"], 40) if bert else Tokenizer(MERGES)
    model = model_of(name, objective, V := tokenizer.n_vocab, rng)
    gpt2np.save(tmp_path / "model", model, tokenizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        theirs, said = getattr(transformers, name).from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not any(said[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert tuple(theirs.config.id2label.values()) == model.labels
    assert theirs.config.label2id == {label: i for i, label in enumerate(model.labels)}
    if "Question" not in name:
        assert theirs.config.classifier_dropout == 0.2
    pad, lengths = theirs.config.pad_token_id, np.array([16, 9, 1])
    mask = np.arange(16) < lengths[:, None]
    tokens = np.where(mask, np.random.default_rng(1).integers(1, V - 1, (3, 16)), pad)
    segments = np.random.default_rng(2).integers(0, 2 if bert else 1, (3, 16))
    given = {"token_type_ids": torch.tensor(segments)} if bert else {}
    targets = {SOFTMAX: np.array([2, 0, 1]), SIGMOID: np.array([[1, 0, 1], [0, 0, 0], [0.5, 1, 0]]),
               SQUARED: rng.standard_normal((3, 3))}[objective]
    labels = {"labels": torch.tensor(targets.astype(int if objective == SOFTMAX else np.float32))} \
        if "Sequence" in name else {}
    with torch.no_grad():
        out = theirs.eval()(torch.tensor(tokens), attention_mask=torch.tensor(mask.astype(int)), **given, **labels)
    logits, _ = model.forward(tokens, segments, mask)
    if "Question" in name:
        theirs_logits = np.stack([out.start_logits.numpy(), out.end_logits.numpy()], 1)
        logits, theirs_logits = (np.where(mask[:, None], a, 0) for a in (logits, theirs_logits))
    elif "Token" in name:
        logits, theirs_logits = logits[mask], out.logits.numpy()[mask]
    else:
        theirs_logits = out.logits.numpy()
        np.testing.assert_allclose(out.loss.numpy(), model.loss(tokens, segments, mask, targets), rtol=1e-5)
    np.testing.assert_allclose(logits, theirs_logits, atol=2e-5)
    theirs.save_pretrained(tmp_path / "again")
    again, _ = gpt2np.load(tmp_path / "again")
    assert (again.labels, again.objective) == (model.labels if "Question" not in name else ("start", "end"),
                                               model.objective)
    assert np.array_equal(again.head.wte.value, model.head.wte.value)
