"""Several models as one: the mean of probabilities, in all that is asked of a model that is not trained."""

import re

import numpy as np
import pytest

import gpt2np
from gpt2np import evaluate
from gpt2np.decoding import BeamRules, best_translations, generate, translate
from gpt2np.decoding.loop import GREEDY
from gpt2np.ensemble import Ensemble, Writers, log_mean
from gpt2np.errors import Gpt2npError
from gpt2np.layers.cross_entropy import cross_entropy_forward
from gpt2np.models.bert import BERT
from gpt2np.models.config import BertConfig, GPT2Config, TransformerConfig
from gpt2np.models.gpt2 import GPT2
from gpt2np.models.heads import SIGMOID, AnswerFinder, Classifier, TokenClassifier
from gpt2np.models.transformer import Transformer
from gpt2np.scoring import score
from gpt2np.text.bpe import Tokenizer
from gpt2np.training.evaluation import evaluate as loss_of
from gpt2np.training.evaluation import measure
from gpt2np.training.parallel import DataParallel
from tests.checkpoints.tiny import MERGES

TOKENIZER = Tokenizer(MERGES)                           # 259 tokens
TEXT = "the cat sat on the mat, and then the other cat.\n" * 3
PAIRS = "the cat\tsat on\nthe mat\tthe cat\nother\tmat\n"
LOGITS = np.random.default_rng(5).standard_normal((3, 4, 7)) * 3


def writer(seed, **sizes):
    """A GPT-2 that is sure of something: random weights of 0.3."""
    sizes = {"n_vocab": 259, "n_ctx": 16, "n_embd": 12, "n_head": 3, "n_layer": 2} | sizes
    return sharpened(GPT2(GPT2Config(**sizes), np.random.default_rng(seed), dtype=np.float64))


def translator(seed, layers=1):
    return sharpened(Transformer(TransformerConfig(259, 16, 12, 3, layers, 24, "pre"), np.random.default_rng(seed),
                                 dtype=np.float64))


def sharpened(model):
    for path, p in model.named_parameters():
        if path == "wte":
            p.value = p.value / p.value.std() * 0.5
    return model


def classifier(seed, kind=Classifier, labels=("a", "b", "c"), **options):
    body = BERT(BertConfig(20, 8, 12, 3, 1, 24), np.random.default_rng(seed), dtype=np.float64)
    return kind(body, *([] if kind is AnswerFinder else [labels]), np.random.default_rng(seed), dtype=np.float64,
                **options)


def probabilities(logits):
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


# ---- the mean


@pytest.mark.parametrize("n", [1, 2, 3])
def test_it_is_the_mean_of_probabilities(n):
    logits = list(LOGITS[:n])
    np.testing.assert_allclose(np.exp(log_mean(logits)), np.mean([probabilities(z) for z in logits], axis=0),
                               rtol=1e-13)
    assert log_mean([z.astype(np.float32) for z in logits]).dtype == np.float32


def test_what_is_rounded_to_0_still_has_a_logarithm():
    a, b = np.array([[0.0, 2000.0, -1e30]]), np.array([[0.0, 2000.0, -1e30]])
    np.testing.assert_allclose(log_mean([a, b]), [[-2000.0, 0.0, -1e30]])
    np.testing.assert_allclose(log_mean([a, np.array([[2000.0, 0.0, -1e30]])])[0, :2], np.log(0.5))


def test_its_loss_is_at_most_the_mean_of_the_losses():
    targets = np.random.default_rng(0).integers(0, 7, 4)
    losses = [float(cross_entropy_forward(z, targets)[0]) for z in LOGITS]
    mean = float(cross_entropy_forward(log_mean(LOGITS), targets)[0])
    assert mean < np.mean(losses) - 0.1                 # these differ much
    same = float(cross_entropy_forward(log_mean([LOGITS[0]] * 3), targets)[0])
    assert same == pytest.approx(losses[0], rel=1e-13)


@pytest.mark.parametrize("make, inputs", [
    (writer, (np.array([[3, 5, 7]]),)),
    (translator, (np.array([[3, 5, 7]]), np.array([[True, True, False]]), np.array([[9, 11]]))),
    (classifier, (np.array([[3, 5, 7]]), None, np.array([[True, True, False]]))),
    (lambda seed: classifier(seed, TokenClassifier), (np.array([[3, 5, 7]]),)),
    (lambda seed: classifier(seed, AnswerFinder), (np.array([[3, 5, 7]]), None, np.array([[True, True, False]])))])
def test_one_model_is_itself_and_several_are_their_mean(make, inputs):
    models = [make(seed) for seed in range(3)]
    each = [probabilities(model.forward(*inputs, keep_cache=False)[0]) for model in models]
    np.testing.assert_allclose(probabilities(Ensemble(models[:1]).forward(*inputs)[0]), each[0], rtol=1e-12)
    np.testing.assert_allclose(probabilities(Ensemble(models).forward(*inputs)[0]), np.mean(each, axis=0), rtol=1e-12)


# ---- as a model


def test_measures_of_a_text_obey_jensen_and_those_of_one_are_its_own():
    tokens = np.array(TOKENIZER.encode(TEXT))
    models, found = [writer(0), writer(1, n_layer=1, n_embd=6), writer(2, n_ctx=20)], []
    assert Ensemble(models).n_ctx == 16
    for some in (*([model] for model in models), models):
        with DataParallel(Ensemble(some), 2) as parallel:
            found.append(measure(parallel, tokens, 16, 8))
    for model, one in zip(models, found):
        with DataParallel(model, 1) as parallel:
            alone = measure(parallel, tokens, 16, 8)
            assert one.loss == pytest.approx(loss_of(parallel, tokens, 16, 8), rel=1e-12)
        np.testing.assert_allclose(one.windows, alone.windows, rtol=1e-12)
        np.testing.assert_allclose(one.bins, alone.bins, rtol=1e-12)
    assert found[3].loss < np.mean([one.loss for one in found[:3]])
    assert (found[3].windows[:, 1] < np.mean([one.windows[:, 1] for one in found[:3]], axis=0)).all()


def test_token_by_token_is_the_whole_text_and_scores_follow():
    ensemble = Ensemble([writer(0), writer(1, n_layer=1, n_embd=6)])
    tokens = np.array([TOKENIZER.encode("the cat sat")])
    past = ensemble.new_past(1, 16)
    assert len(past) == 3
    steps = [ensemble.next_logits(tokens[:, i:i + 1], past) for i in range(tokens.shape[1])]
    np.testing.assert_allclose(np.concatenate(steps, axis=1), ensemble.forward(tokens)[0], rtol=1e-11)
    one, = score(ensemble, TOKENIZER, "the cat", [" sat"])
    ids = np.array([TOKENIZER.encode("the cat sat")])
    log_p = ensemble.forward(ids[:, :-1])[0][0]
    start = ids.shape[1] - len(one.tokens)
    assert one.sum == pytest.approx(sum(log_p[i - 1, ids[0, i]] for i in range(start, ids.shape[1])), rel=1e-10)
    written = list(generate(ensemble, tokens[0].tolist(), 5, GREEDY))
    again = tokens[0].tolist()
    for token in written:
        assert token == ensemble.forward([again])[0][0, -1].argmax()
        again.append(token)


def test_it_translates_and_one_translates_as_itself():
    models = [translator(0), translator(1, layers=2)]
    sources = ["the cat", "the other mat", ""]
    assert translate(Ensemble(models[:1]), TOKENIZER, sources) == translate(models[0], TOKENIZER, sources)
    ensemble = Ensemble(models)
    assert isinstance(ensemble.given([[1, 2]]), Writers) and ensemble.source_end == models[0].source_end
    texts = translate(ensemble, TOKENIZER, sources)
    assert texts[2] == ""
    rules = BeamRules(1, early_stopping=True)
    best = best_translations(ensemble, TOKENIZER, sources[:2], rules, coverage_penalty=0.2)
    assert [beams[0].text for beams in best] == texts[:2]


@pytest.mark.parametrize("models, message", [
    (lambda: [], "models of one kind, that go on from texts, translate or classify, got none"),
    (lambda: [writer(0), translator(0)], "models of one kind.*, got GPT2, Transformer"),
    (lambda: [writer(0), writer(1, n_vocab=300)], "models with the same words in the vocabulary, got 259 and 300"),
    (lambda: [classifier(0), classifier(1, labels=("a", "b"))],
     r"models with the same labels, got \('a', 'b'\) and \('a', 'b', 'c'\)"),
    (lambda: [classifier(0, objective=SIGMOID)] * 2,
     "models with the same aim, got multi_label_classification and single_label_classification"),
    (lambda: [classifier(0).body] * 2, "models of one kind, .*, got BERT"),
])
def test_what_cannot_answer_together_is_refused(models, message):
    with pytest.raises(Gpt2npError, match=f"^ensemble: expected {message}"):
        Ensemble(models())


def test_it_is_not_trained():
    with pytest.raises(ValueError, match="expected False, for an ensemble is not trained"):
        Ensemble([writer(0)]).forward([[1, 2]], keep_cache=True)


# ---- the command


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "keep_freed_memory", lambda: None)
    monkeypatch.chdir(tmp_path)
    for name, model in (("a", writer(0)), ("b", writer(1, n_layer=1)), ("t", translator(0)), ("u", translator(1)),
                        ("other", writer(2))):
        for _, p in model.named_parameters():
            p.value = p.value.astype(np.float32)
        gpt2np.save(name, model, Tokenizer([*MERGES[:-1], (b"z", b"q")] if name == "other" else MERGES))
    for name, text in (("text", TEXT), ("pairs", PAIRS)):
        (tmp_path / name).write_text(text, encoding="utf-8")


def said(capsys, *arguments):
    assert evaluate.main(list(arguments)) == 0
    return capsys.readouterr().out


def rows_of(printed):
    """(what, perplexity by tokens) of each row of the table."""
    return [(name, float(number)) for name, number in re.findall(r"^(\S.*? on \S+) +([\d.e+]+) ", printed, re.M)]


def test_the_table_has_a_row_for_the_mean(capsys, folders):
    (_, a), (_, b), (name, mean) = rows_of(said(capsys, "text", "--model", "a", "--model", "b", "--ensemble"))
    assert name == "the mean of 2 on text" and mean < np.sqrt(a * b) * (1 + 1e-3)
    (_, alone), (name, one) = rows_of(said(capsys, "text", "--model", "a", "--ensemble"))
    assert name == "the mean of 1 on text" and alone == one == a


def test_models_that_translate_are_measured_together(capsys, folders):
    alone = said(capsys, "pairs", "--model", "t")
    assert said(capsys, "pairs", "--model", "t", "--ensemble") == alone
    together = said(capsys, "pairs", "--model", "t", "--model", "u", "--ensemble")
    assert together.startswith("t and u on pairs: 3 pairs, ")
    losses = [float(re.search(r"loss per token +([\d.]+)", printed)[1]) for printed in
              (alone, said(capsys, "pairs", "--model", "u"), together)]
    assert losses[2] <= np.mean(losses[:2]) + 1e-4


@pytest.mark.parametrize("names, message", [
    (["a", "other"], "--ensemble: expected models of one vocabulary, for of each token the mean of their probabilities "
                     "is taken, got a and other, whose tokens differ"),
    (["a", "t"], "ensemble: expected models of one kind, that go on from texts, translate or classify, got GPT2, "
                 "Transformer"),
])
def test_the_command_refuses_in_a_sentence(capsys, folders, names, message):
    assert evaluate.main(["text", "--ensemble", *(part for name in names for part in ("--model", name))]) == 1
    assert capsys.readouterr() == ("", f"error: {message}\n")
