"""Scores of continuations: those of transformers, the same in any company, and what is refused."""

import json
import math
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpt2np
from gpt2np import scoring
from gpt2np.errors import Gpt2npError
from gpt2np.layers.softmax import log_softmax_forward
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.scoring import score, score_all
from gpt2np.text.bpe import Tokenizer
from gpt2np.text.vocabulary import TokenizerError

GOLDEN = Path(__file__).parent / "golden" / "scoring"
MODEL, TOKENIZER = gpt2np.load(GOLDEN, np.float64)
SCORES = json.loads((GOLDEN / "scores.json").read_text(encoding="utf-8"))
ASKED = [(context, list(some)) for context, some in groupby(SCORES, key=lambda one: one["context"])]


def log_likelihood(tokens, start=1):
    """log p of tokens[start:], by one run of the model on all of them."""
    log_p, _ = log_softmax_forward(MODEL.forward([tokens], keep_cache=False)[0][0])
    return math.fsum(log_p[i - 1, tokens[i]] for i in range(start, len(tokens)))


@pytest.mark.parametrize("context, golden", ASKED, ids=lambda one: repr(one)[:20])
def test_scores_are_those_of_transformers(context, golden):
    got = score(MODEL, TOKENIZER, context, [one["continuation"] for one in golden])
    for ours, theirs in zip(got, golden, strict=True):
        assert ours.text == theirs["continuation"] and ours.tokens == theirs["tokens"]
        assert ours.sum == pytest.approx(theirs["sum"], abs=1e-10, rel=0)
        assert (ours.greedy, ours.joined) == (theirs["greedy"], theirs["joined"])
        assert ours.cut == 0 or len(context) > 100


def test_the_golden_scores_are_of_all_kinds():
    assert len(SCORES) >= 30 and any(one["context"] == "" for one in SCORES)
    assert {True, False} == {one["greedy"] for one in SCORES} == {one["joined"] for one in SCORES}
    assert any(one["continuation"].endswith(" ") for one in SCORES)


def test_a_score_is_the_difference_of_two_log_likelihoods():
    """log p(continuation | context) = log p(all) - log p(context), each from one run without a past."""
    for context, continuation in (("The cat sat on", " the mat"), ("床前明月光，", "疑是"), ("To be ", "or not "),
                                  ("a", "b")):
        one, = score(MODEL, TOKENIZER, context, [continuation])
        all_of_it, before = TOKENIZER.encode(context + continuation), TOKENIZER.encode(context.rstrip())
        assert not one.joined and all_of_it[:len(before)] == before
        assert one.sum == pytest.approx(log_likelihood(all_of_it) - log_likelihood(before), abs=1e-11)
    end = TOKENIZER.end_of_text
    whole, start = (score(MODEL, TOKENIZER, "", [text])[0].sum for text in ("To be, or not", "To be,"))
    one, = score(MODEL, TOKENIZER, "To be,", [" or not"])
    tokens = [end, *TOKENIZER.encode("To be, or not")]
    assert whole - start == pytest.approx(log_likelihood(tokens, len(tokens) - len(one.tokens)), abs=1e-11)


def test_what_it_is_divided_by():
    space, none = score(MODEL, TOKENIZER, "床前", [" 明月 é", "明月 é"])
    for one in (space, none):
        assert (round(one.sum / one.per_character), round(one.sum / one.per_byte)) == (4, 9)
        assert round(one.sum / one.per_token) == len(one.tokens) == len(one.log_p)
    alone, = score(MODEL, TOKENIZER, "a", [" "])
    assert alone.per_character == alone.per_byte == alone.sum       # there is nothing else to count
    two, = score(MODEL, TOKENIZER, "a", ["  x"])
    assert round(two.sum / two.per_character) == 2


TEXTS = st.text(st.sampled_from("ab 明月 ,."), min_size=1, max_size=12)


@settings(max_examples=25)
@given(st.one_of(st.just(""), TEXTS, TEXTS.map(lambda text: 9 * text)), st.lists(TEXTS, min_size=1, max_size=5),
       st.randoms(use_true_random=False))
def test_neither_company_nor_order_matters(context, continuations, random):
    order = random.sample(range(len(continuations)), len(continuations))
    together = score(MODEL, TOKENIZER, context, continuations)
    shuffled = score(MODEL, TOKENIZER, context, [continuations[i] for i in order])
    for i, one in zip(order, shuffled):
        alone, = score(MODEL, TOKENIZER, context, [continuations[i]])
        assert (one.text, one.tokens, one.likeliest, one.cut) == (alone.text, alone.tokens, alone.likeliest, alone.cut)
        assert one.tokens == together[i].tokens
        assert np.allclose(one.log_p, alone.log_p, rtol=0, atol=1e-11)
        assert np.allclose(one.log_p, together[i].log_p, rtol=0, atol=1e-11)


@given(TEXTS, TEXTS)
def test_the_tokens_are_those_of_the_whole_text(context, continuation):
    """Whether or not a token holds the border: context and continuation are encoded as one text."""
    row, = scoring.rows_of(TOKENIZER, context, [continuation], 999)
    first = row.tokens[:1] == [TOKENIZER.end_of_text]
    assert row.tokens[first:] == TOKENIZER.encode(context + continuation)
    before = len(TOKENIZER.decode_bytes(row.tokens[first:row.start]))
    border = len(context.rstrip().encode())
    assert before == border if not row.joined else before < border


def test_one_batch_or_many(monkeypatch):
    context, continuations = "The cat sat on", [" the mat", " the log, and the dog", "!", " x"]
    expected = score(MODEL, TOKENIZER, context, continuations)
    for name in ("POSITIONS", "LOGITS"):
        with monkeypatch.context() as patch:
            patch.setattr(scoring, name, 1)
            for one, other in zip(score(MODEL, TOKENIZER, context, continuations), expected):
                assert np.allclose(one.log_p, other.log_p, rtol=0, atol=1e-11)
    assert list(scoring.batches([3, 0, 2, 1], 10, 100)) == [[1, 3, 2, 0]]
    monkeypatch.setattr(scoring, "POSITIONS", 24)
    assert list(scoring.batches([3, 0, 2, 1], 10, 100)) == [[1, 3], [2], [0]]
    monkeypatch.setattr(scoring, "LOGITS", 200)
    assert list(scoring.batches([1, 1, 1], 1, 100)) == [[0, 1], [2]]


def test_the_context_is_run_once(monkeypatch):
    ran, run = [], GPT2.next_logits

    def counted(model, tokens, past, padding_mask=None, last=1):
        ran.append(np.shape(tokens))
        return run(model, tokens, past, padding_mask, last)

    monkeypatch.setattr(GPT2, "next_logits", counted)
    n = len(TOKENIZER.encode("The cat sat on"))
    rows = [TOKENIZER.encode(text) for text in (" the mat", " the log, and the dog")]
    score(MODEL, TOKENIZER, "The cat sat on", [" the mat", " the log, and the dog"])
    assert ran == [(1, n), (2, max(map(len, rows)) - 1)]
    del ran[:]
    score(MODEL, TOKENIZER, "The cat sat on", ["a", "b", "c"])
    assert ran == [(1, n)]                              # a token each: all is known already
    assert score(MODEL, TOKENIZER, "a", []) == []


def test_a_context_that_is_too_long_loses_its_beginning():
    """As many tokens as need be, so that of each continuation the last token is predicted from n_ctx of them."""
    context = "床前明月光，疑是地上霜。" * 5
    before, n_ctx = TOKENIZER.encode(context), MODEL.n_ctx
    assert len(before) > n_ctx
    for one in score(MODEL, TOKENIZER, context, ["举", "举头望明月", "举x", "!", "?"]):
        tokens = before + one.tokens
        assert one.cut == len(tokens) - n_ctx - 1
        logits = MODEL.forward([tokens[-n_ctx - 1:-1]], keep_cache=False)[0][0, -len(one.tokens):]
        log_p, _ = log_softmax_forward(logits)
        assert np.allclose(one.log_p, log_p[range(len(one.tokens)), one.tokens], rtol=0, atol=1e-11)
    fits, = score(MODEL, TOKENIZER, "", ["x" * n_ctx])
    assert len(fits.tokens) == n_ctx and fits.cut == 0


def test_what_cannot_be_scored():
    n_ctx = MODEL.n_ctx
    with pytest.raises(Gpt2npError, match=r"^continuation: expected a text with a token of its own, got ''$"):
        score(MODEL, TOKENIZER, "a", ["b", ""])
    with pytest.raises(Gpt2npError, match=f"at most the {n_ctx} tokens that the model sees, got {n_ctx + 1}: 'xx"):
        score(MODEL, TOKENIZER, "a", ["b", "x" * (n_ctx + 1)])
    endless = Tokenizer(TOKENIZER.merges)
    endless.end_of_text = None
    with pytest.raises(TokenizerError, match="no token that ends a text"):
        score(MODEL, endless, " ", ["b"])


def test_many_at_once_are_as_one_after_the_other():
    asked = [(context, [one["continuation"] for one in golden]) for context, golden in ASKED]
    expected = [score(MODEL, TOKENIZER, *one) for one in asked]
    for threads in (1, 3):
        for got, of_one in zip(score_all(MODEL, TOKENIZER, asked, threads), expected, strict=True):
            assert np.allclose([one.sum for one in got], [one.sum for one in of_one], rtol=0, atol=1e-10)
    assert list(score_all(MODEL, TOKENIZER, [], 2)) == []
    with pytest.raises(Gpt2npError):
        list(score_all(MODEL, TOKENIZER, [("a", ["b"]), ("a", [""]), ("a", ["c"])], 2))


def test_any_language_model_and_float32():
    model = GPT2(GPT2Config(TOKENIZER.n_vocab, 20, 12, 3, 2), np.random.default_rng(0))
    for one in score(model, TOKENIZER, "To be", [" or", " not to be"]):
        assert one.sum == pytest.approx(-len(one.tokens) * math.log(TOKENIZER.n_vocab), rel=0.05)
        assert all(isinstance(number, float) for number in one.log_p)
