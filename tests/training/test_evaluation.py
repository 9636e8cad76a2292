"""Evaluation: each token is scored once, with the context that the stride promises."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpt2np
from gpt2np.layers.cross_entropy import IGNORED
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.text.wordpiece import learn_characters
from gpt2np.training import evaluation
from gpt2np.training.diagnosis import first_not_finite, initial_loss_warning
from gpt2np.training.errors import TrainingError
from gpt2np.training.evaluation import (
    BINS,
    Measures,
    bits_per_byte,
    bytes_and_words,
    evaluate,
    measure,
    perplexity,
    scored_windows,
    windows,
)
from gpt2np.training.parallel import DataParallel

END = ("<|endoftext|>",)
_, TOKENIZER = gpt2np.load(Path(__file__).parents[1] / "golden" / "scoring")
CHARACTERS = learn_characters(["the cat sat: it did, 明 or not."], 40)


@pytest.fixture
def model():
    return GPT2(GPT2Config(50, 8, 12, 3, 2), np.random.default_rng(0), dtype=np.float64)


@pytest.mark.parametrize("n", [2, 5, 8, 9, 10, 16, 17, 40])
@pytest.mark.parametrize("window, stride", [(8, 8), (8, 3), (8, 1), (1, 1)])
def test_each_token_is_scored_once_with_enough_before_it(n, window, stride):
    tokens = np.arange(100, 100 + n)
    x, y = scored_windows(tokens, list(windows(n, window, stride)))
    assert sorted(y[y != IGNORED]) == list(range(101, 100 + n))
    assert ((y == x + 1) | (y == IGNORED)).all()
    row, place = np.nonzero((y != IGNORED) & (y - 100 > window))        # of these, context could have been left out
    assert (place + 1 >= window - stride + 1).all()     # how many tokens it is predicted from
    assert n <= window + stride or (place + 1).min() == window - stride + 1


@pytest.mark.parametrize("workers, max_logits, expected", [(1, 1 << 27, 8), (2, 1 << 27, 8), (3, 1 << 27, 6),
                                                           (3, 400, 3), (2, 5 * 400, 4), (12, 1 << 27, 12)])
def test_each_worker_has_a_window_and_all_have_as_many(monkeypatch, model, workers, max_logits, expected):
    monkeypatch.setattr(evaluation, "MAX_LOGITS", max_logits)       # of a window: 8 tokens x 50
    with DataParallel(model, workers) as parallel:
        sizes, loss = [], parallel.loss
        parallel.loss = lambda batch: [sizes.append(len(batch[0])), loss(batch)][1]
        evaluate(parallel, np.arange(50).repeat(4), 8, 8)           # 25 windows
    assert sizes[0] == expected and sum(sizes) == 25


def test_the_loss_is_that_of_one_token_after_the_other(model):
    tokens = np.random.default_rng(1).integers(0, 50, 21)
    losses = []
    for i in range(1, 21):
        x = tokens[None, max(0, i - 8):i]
        logits = model.forward(x)[0][0, -1]
        losses.append(np.log(np.exp(logits).sum()) - logits[tokens[i]])
    with DataParallel(model, 2) as parallel:
        for n, stride in ((21, 1), (21, 8), (20, 3), (2, 8), (9, 8), (10, 8)):
            seen = []
            evaluate(parallel, tokens[:n], 8, stride, lambda *p, seen=seen: seen.append(p))
            assert seen[-1] == (len(list(windows(n, 8, stride))),) * 2 and seen == sorted(seen)
        assert evaluate(parallel, tokens, 8, 1) == pytest.approx(np.mean(losses), rel=1e-12)
        assert evaluate(parallel, tokens, 8, 8) != pytest.approx(np.mean(losses), rel=1e-6)


@pytest.mark.parametrize("window, stride, workers", [(8, 3, 1), (8, 8, 2), (5, 1, 3)])
def test_measures_are_those_of_one_token_after_the_other(model, window, stride, workers):
    """By scalar loops: each token once, with the window that scores it."""
    for _, p in model.named_parameters():
        p.value *= 20                                   # some tokens are likely now, and some bins filled
    tokens = np.random.default_rng(1).integers(0, 50, 33)
    tokens[1::2] = 7
    n, right, bins, of_windows = 0, 0, np.zeros((BINS, 3)), []
    for begin, end, scored in windows(len(tokens), window, stride):
        logits = model.forward(tokens[None, begin:end])[0][0]
        loss = hits = 0
        for i in range(scored, end):
            p = np.exp(logits[i - begin]) / np.exp(logits[i - begin]).sum()
            best, hit = int(p.argmax()), int(p.argmax()) == tokens[i + 1]
            bins[min(BINS - 1, int(p[best] * BINS))] += (1, p[best], hit)
            loss, hits = loss - np.log(p[tokens[i + 1]]), hits + hit
        of_windows.append((end - scored, loss, hits))
        n, right = n + end - scored, right + hits
    with DataParallel(model, workers) as parallel:
        found = measure(parallel, tokens, window, stride)
        assert found.loss == pytest.approx(evaluate(parallel, tokens, window, stride), rel=1e-12)
    assert np.allclose(found.windows, of_windows, rtol=0, atol=1e-10) and np.allclose(found.bins, bins, atol=1e-10)
    assert (found.tokens, found.accuracy) == (n, right / n) and 0 < right < n
    expected = sum(count / n * abs(hit / count - p / count) for count, p, hit in bins if count)
    assert found.calibration_error == pytest.approx(expected, abs=1e-12) and np.count_nonzero(bins[:, 0]) > 2
    both = found + found
    assert both.tokens == 2 * n and both.loss == pytest.approx(found.loss) and both.accuracy == found.accuracy


@pytest.mark.parametrize("n", [1, evaluation.ROWS, 2 * evaluation.ROWS + 3])
def test_a_few_rows_of_logits_at_a_time_and_all(n):
    rng = np.random.default_rng(n)
    logits, targets = 3 * rng.standard_normal((n, 7)), rng.integers(0, 7, n)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    log_p, top, right = evaluation.scores_of(logits.copy(), targets)
    assert np.allclose(log_p, np.log(p[np.arange(n), targets]), atol=1e-13) and np.allclose(top, p.max(axis=1))
    assert np.array_equal(right, p.argmax(axis=1) == targets)


def test_a_model_that_knows_how_sure_it_may_be():
    """Right with probability p wherever it says p: the error is 0; always sure and never right: it is 1."""
    bins = np.array([[100.0, 100 * (i + 0.5) / BINS, 100 * (i + 0.5) / BINS] for i in range(BINS)])
    one = np.array([[100.0 * BINS, 1.0, 500.0]])
    assert Measures(one, bins).calibration_error == pytest.approx(0, abs=1e-12)
    bins = np.zeros((BINS, 3))
    bins[-1] = 10, 10, 0
    assert Measures(np.array([[10.0, 1.0, 0.0]]), bins).calibration_error == 1


def test_the_interval_is_that_of_means():
    """Of many windows with independent losses: 1.96 standard errors to both sides; the same each time; none for one."""
    rng = np.random.default_rng(2)
    for n in (300, 5000):                               # the second is drawn in parts of several windows
        losses = 10 * rng.gamma(2.0, 1.0, n)
        found = Measures(np.stack([np.full(n, 10.0), losses, np.zeros(n)], axis=1), np.zeros((BINS, 3)))
        low, high = found.interval()
        error = losses.std() / 10 / np.sqrt(n)
        assert low == pytest.approx(found.loss - 1.96 * error, abs=0.15 * error)
        assert high == pytest.approx(found.loss + 1.96 * error, abs=0.15 * error)
        assert found.interval() == (low, high)
    assert Measures(found.windows[:1], found.bins).interval() is None
    same = Measures(np.tile(found.windows[:1], (9, 1)), found.bins)
    assert same.interval() == pytest.approx((same.loss, same.loss))


def test_bad_sizes_are_refused(model):
    with DataParallel(model, 1) as parallel:
        for tokens, stride, message in (([1], 8, "expected at least 2 tokens"), ([1, 2], 0, "stride: expected a number "
                                        "from 1 to the window, 8, got 0"), ([1, 2], 9, "got 9")):
            with pytest.raises(TrainingError, match=message):
                evaluate(parallel, np.array(tokens), 8, stride)


def test_perplexity_and_bits_per_byte():
    assert perplexity(math.log(50)) == pytest.approx(50) and perplexity(1e4) == math.inf
    assert bits_per_byte(math.log(256), 10, 10) == pytest.approx(8)     # guessing bytes
    assert bits_per_byte(math.log(2), 10, 40) == pytest.approx(0.25)
    assert bits_per_byte(0.5, 2, 0) == math.inf


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["the", " the", " ", "\n", "\t x", "明", *END, "a b", "\r\n"]), max_size=12),
       st.integers(1, 5))
def test_bytes_and_words_are_those_of_the_text(parts, part):
    """However the tokens are cut into parts: <|endoftext|> is no byte, and a word ends before it."""
    text = "".join(parts)
    assert counted(text, TOKENIZER, part) == (len(text.replace(*END, "").encode()),
                                              len(text.replace(*END, "\n").encode().split()))


@pytest.mark.parametrize("part", [1, 2, 5, 100])
def test_of_pieces_of_words_the_spaces_between_them_count(part):
    """The cat sat: eleven bytes and three words, although no piece has a space in it."""
    assert counted("The cat sat", CHARACTERS, part) == (11, 3)
    assert counted("it, 明 or not.<|endoftext|>The cat", CHARACTERS, part) == (len("it,明or not.the cat".encode()), 4)


def counted(text, tokenizer, part):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "AT_A_TIME", part)
        return bytes_and_words(np.array(tokenizer.encode(text, allowed_special=END), int), tokenizer)


def test_the_initial_loss():
    assert initial_loss_warning(math.log(50) + 0.2, 50) is None
    for loss in (math.log(50) - 0.5, math.log(50) + 2):
        assert initial_loss_warning(loss, 50).startswith("an untrained model should have a loss near log(50) = 3.912, ")


@pytest.mark.parametrize("path, value, expected", [
    ("h.1.attn.c_proj.w", np.nan, "in the parameter h.1.attn.c_proj.w"), ("wte", np.inf, "in the parameter wte"),
    ("h.1.mlp.c_fc.w", 1e308, "in the output of h.1.mlp.c_fc"), ("ln_f.g", 1e308, "in the output of ln_f"),
    ("h.0.attn.c_attn.w", 1e308, "in the output of h.0.attn.c_attn")])
def test_the_first_layer_that_is_not_finite_is_named(model, path, value, expected):
    dict(model.named_parameters())[path].value.flat[::2] = value
    assert first_not_finite(model, (np.arange(16).reshape(2, 8),)) == expected


def test_the_first_layer_is_the_first_on_any_row(model):
    model.h[1].mlp.c_fc.w.value.flat[::2] = 1e308
    model.wte.value[7] = model.wpe.value[1] = 1e308     # at this place of the second row, their sum
    assert first_not_finite(model, (np.array([[1, 2, 3], [4, 7, 6]]),)) == "in what h.0 takes"
    assert first_not_finite(model, (np.array([[1, 2, 3], [4, 5, 6]]),)) == "in the output of h.1.mlp.c_fc"


def test_of_a_model_that_recomputes_too(model):
    model.h.recompute = True
    model.h[1].mlp.c_fc.w.value.flat[::2] = 1e308
    assert first_not_finite(model, (np.arange(8)[None],)) == "in the output of h.1.mlp.c_fc"
    assert model.h.recompute


def test_the_first_gradient_that_is_not_finite_is_named(model):
    tokens = np.arange(8)[None]
    assert first_not_finite(model, (tokens,)) == "on other data than this step's, on which all is finite"
    model.loss_and_gradients(tokens, tokens)
    assert first_not_finite(model, (tokens,)).startswith("in the sum of the squares of the gradients")
    parameters = dict(model.named_parameters())
    parameters["wte"].grad[0, 0] = parameters["h.0.ln_1.g"].grad[0] = parameters["h.1.ln_1.b"].grad[0] = np.nan
    assert first_not_finite(model, (tokens,)) == "in the gradient of h.1.ln_1.b"
