"""The rules of beam search: against every text there is, by hand, and against Hugging Face's on an encoder-decoder."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from gpt2np.decoding import BeamRules, beam_search, beam_search_batch
from gpt2np.decoding.beams import log_coverage
from gpt2np.models.config import TransformerConfig
from gpt2np.models.transformer import Transformer
from gpt2np.sampling import GenerationError, Sampler, forbid_repeats

END = 2


class Reader:
    """What the table model keeps of the texts: the texts."""

    on_host = False

    def __init__(self, texts):
        self.texts = texts

    @property
    def length(self):
        return len(self.texts[0])

    def forget(self, length):
        self.texts = [text[:length] for text in self.texts]

    def select(self, rows):
        return Reader([list(self.texts[row]) for row in rows])


class TableModel:
    """Two words and an end: the probabilities that follow each text are drawn from what the text is."""

    n_vocab, n_ctx = 3, 100

    def __init__(self, seed=0):
        self.seed = seed

    def log_p(self, text):
        p = np.random.default_rng([self.seed, *text]).dirichlet([1, 1, 0.4])
        return np.log(p + 1e-3) - math.log(1 + 3e-3)

    def new_past(self, B, n):
        return [Reader([[] for _ in range(B)])]

    def next_logits(self, tokens, past, padding_mask=None, last=1):
        assert last == 1 and (padding_mask is None or padding_mask.all())
        for text, new in zip(past[0].texts, np.asarray(tokens).tolist()):
            text.extend(new)
        return np.array([[self.log_p(text)] for text in past[0].texts]) + 7.0     # logits are log p up to a number


def every_text(model, prompt, most):
    """(what was written, sum of its log p) of all texts that end, or are of the length `most`."""
    for n in range(1, most + 1):
        for words in itertools.product((0, 1), repeat=n - 1):
            for end in (END,) if n < most else (0, 1, END):
                written = [*words, end]
                yield written, sum(model.log_p([*prompt, *written[:i]])[written[i]] for i in range(n))


@pytest.mark.parametrize("penalty", ["power", "wu"])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.5, -1.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_as_many_beams_as_there_are_texts_find_the_best_of_all(seed, length_penalty, penalty):
    model, prompt, most = TableModel(seed), [0, 1], 5
    rules = {"length_penalty": length_penalty, "penalty": penalty}
    score = BeamRules(**rules).score
    every = sorted(((score(total, len(written)), written, total) for written, total in every_text(model, prompt, most)),
                   key=lambda found: -found[0])
    found = beam_search(model, prompt, most, 2 ** (most - 1) * 3, end_of_text=END, early_stopping="never", **rules)
    assert len(found) == 48 < len(every)
    np.testing.assert_allclose([beam.score for beam in found], [s for s, _, _ in every[:48]], rtol=1e-12)
    np.testing.assert_allclose([beam.total for beam in found], [total for _, _, total in every[:48]], rtol=1e-12)
    assert found[0].written == every[0][1]


def test_the_two_penalties_by_hand():
    assert BeamRules(length_penalty=2.0).score(-12.0, 2) == -3.0
    assert BeamRules(length_penalty=2.0, penalty="wu").score(-12.0, 7) == pytest.approx(-3.0)
    assert BeamRules(length_penalty=0.0).score(-12.0, 7) == BeamRules(length_penalty=0.0, penalty="wu").score(-12.0, 3)


def test_when_it_ends():
    """At once; when the rest is worse at its length; when the rest can be no better at any."""
    class Counted(TableModel):
        steps = 0

        def next_logits(self, *arguments):
            self.steps += 1
            return super().next_logits(*arguments)

    lengths = {}
    for early in (True, False, "never"):
        model = Counted(5)
        found = beam_search(model, [1], 40, 3, 1.5, END, early_stopping=early)
        lengths[early] = model.steps, found[0].score
    assert lengths[True][0] < lengths[False][0] <= lengths["never"][0]
    assert lengths[True][1] <= lengths[False][1] <= lengths["never"][1]


def test_no_text_ends_before_its_time():
    for n in (0, 1, 4):
        found = beam_search(TableModel(1), [0], 8, 4, end_of_text=END, min_new_tokens=n)
        assert min(len(beam.written) for beam in found) >= n + (n > 0)
    texts = [beam.written for beam in beam_search(TableModel(1), [0], 8, 4, end_of_text=END, min_new_tokens=99)]
    assert all(END not in text and len(text) == 8 for text in texts)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_ngram_comes_twice(n):
    prompt = [0, 1]
    for beam in beam_search(TableModel(3), prompt, 12, 5, end_of_text=END, no_repeat_ngram=n):
        text = prompt + beam.written
        grams = [tuple(text[i:i + n]) for i in range(len(text) - n + 1)]
        assert len(set(grams)) == len(grams)


def test_repeats_by_hand():
    z = np.zeros(4)
    assert forbid_repeats(z, [0, 1, 2, 0, 1], 3).tolist() == [0, 0, -np.inf, 0]
    assert forbid_repeats(z, [0, 1, 2, 0, 1], 2).tolist() == [0, 0, -np.inf, 0]
    assert forbid_repeats(z, [3, 0], 1).tolist() == [-np.inf, 0, 0, -np.inf]
    assert forbid_repeats(z, [3], 3).tolist() == z.tolist() == forbid_repeats(z, [], 1).tolist()
    sampler = Sampler(temperature=0, no_repeat_ngram=2)
    assert sampler.sample(np.array([3.0, 2.0, 1.0, 0.0]), [1, 0, 1], [], None) == 1     # 1 0 was there
    with pytest.raises(GenerationError, match="no_repeat_ngram: expected an integer from 0, got -1"):
        Sampler(no_repeat_ngram=-1)


def test_whoever_watches_sees_the_best_so_far():
    """After each token but the last: texts that have ended, and such as go on, with the scores that they would have."""
    model, rules, seen = TableModel(5), BeamRules(3, 0.5, end_of_text=END, early_stopping="never"), []
    found = beam_search_batch(model, [[0], [1]], 6, rules, watch=lambda n, best: seen.append((n, best)))
    assert found == beam_search_batch(model, [[0], [1]], 6, rules) and [n for n, _ in seen] == [1, 2, 3, 4, 5]
    for n, best in seen:
        for prompt, beams in zip([[0], [1]], best):
            assert len(beams) == 3 and beams == sorted(beams, key=lambda beam: -beam.score)
            all_of_them = beam_search(model, prompt, n, 200, 0.5, END, early_stopping="never")
            assert all(any(beam.written == other.written and beam.score == pytest.approx(other.score)
                           for other in all_of_them) for beam in beams)
    ended = [beam.written[-1] == END for _, best in seen for beams in best for beam in beams]
    assert any(ended) and not all(ended)


def test_several_prompts_are_each_as_if_alone():
    model, prompts = TableModel(2), [[0, 1], [1, 1], [0, 0], [1, 0]]
    for rules in (BeamRules(3, end_of_text=END), BeamRules(2, 0.0, early_stopping=True, end_of_text=END)):
        together = beam_search_batch(model, prompts, 7, rules)
        assert together == [beam_search_batch(model, [prompt], 7, rules)[0] for prompt in prompts]


def test_what_is_added_in_the_end_is_ranked_by():
    model = TableModel(2)
    plain = beam_search(model, [0], 5, 100, 0.0, END, early_stopping="never")
    rules = BeamRules(100, 0.0, end_of_text=END, early_stopping="never")
    found, = beam_search_batch(model, [[0]], 5, rules, bonus=lambda i, written: -float(len(written)) - i)
    expected = sorted(plain, key=lambda beam: -(beam.total - len(beam.written)))
    assert [beam.score for beam in found] == [beam.total - len(beam.written) for beam in expected]


def test_coverage_by_hand():
    weights = np.array([[0.5, 0.5, 0.0], [0.75, 0.0, 0.25]])
    assert log_coverage(weights) == pytest.approx(math.log(0.5) + math.log(0.25))
    assert log_coverage(np.array([[1.0, 0.0], [0.0, 1.0]])) == 0 and log_coverage(np.array([[1.0, 0.0]])) == -math.inf


@pytest.mark.parametrize("wrong, message", [
    ({"num_beams": 0}, "num_beams: expected an integer from 1, got 0"),
    ({"num_beams": 2.0}, "num_beams: expected an integer from 1, got 2.0"),
    ({"length_penalty": "1"}, "length_penalty: expected a number from -10 to 10, got '1'"),
    ({"min_new_tokens": None}, "min_new_tokens: expected an integer from 0, got None"),
    ({"no_repeat_ngram": 2.5}, "no_repeat_ngram: expected an integer from 0, got 2.5"),
    ({"length_penalty": 11}, "length_penalty: expected a number from -10 to 10, got 11"),
    ({"penalty": "mean"}, "penalty: expected one of power, wu, got 'mean'"),
    ({"early_stopping": "always"}, "early_stopping: expected True, False or 'never', got 'always'"),
    ({"min_new_tokens": -1}, "min_new_tokens: expected an integer from 0, got -1"),
    ({"no_repeat_ngram": -1}, "no_repeat_ngram: expected an integer from 0, got -1")])
def test_rules_that_cannot_be(wrong, message):
    with pytest.raises(GenerationError, match=message):
        BeamRules(**wrong)


# ---- Hugging Face's, with an encoder-decoder: tests/golden/make_beams.py

THEIRS = {"no_repeat_ngram_size": "no_repeat_ngram"}
RULES = ({"num_beams": 4, "length_penalty": 1.0, "early_stopping": False},
         {"num_beams": 4, "length_penalty": 1.0, "early_stopping": True},
         {"num_beams": 3, "length_penalty": 2.0, "early_stopping": "never"},
         {"num_beams": 5, "length_penalty": 0.0, "early_stopping": False},
         {"num_beams": 3, "length_penalty": -1.0, "early_stopping": "never"},
         {"num_beams": 4, "length_penalty": 1.0, "early_stopping": True, "no_repeat_ngram": 2},
         {"num_beams": 4, "length_penalty": 0.5, "early_stopping": True, "min_new_tokens": 5})
SOURCES = ((3, 1, 4, 1, 5), (9, 2, 6), (5, 3, 5, 8, 9, 7, 10))


@pytest.fixture(scope="module")
def marian():
    with np.load(Path(__file__).parents[1] / "golden" / "beams.npz", allow_pickle=False) as arrays:
        golden = dict(arrays)
    V, C, H, F, L, n_ctx, end = map(int, golden["sizes"])
    model = Transformer(TransformerConfig(V, n_ctx, C, H, L, F), dtype=np.float64)
    for path, parameter in model.named_parameters():
        assert parameter.value.shape == golden[f"value {path}"].shape
        parameter.value = golden[f"value {path}"].astype(np.float64)
    return model, end, golden


@pytest.mark.parametrize("i", range(len(RULES)))
def test_sequences_and_scores_are_those_of_hugging_face(marian, i):
    model, end, golden = marian
    sources = [list(source) for source in SOURCES]
    longest = max(map(len, sources))
    source = np.array([s + [0] * (longest - len(s)) for s in sources])
    mask = np.arange(longest) < np.array([[len(s)] for s in sources])
    rules = BeamRules(end_of_text=end, **RULES[i])
    found = beam_search_batch(model.given(source, mask), [[end]] * len(sources), 10, rules)
    for j, beams in enumerate(found):
        expected = [row[:(row.tolist() + [end]).index(end) + 1].tolist() for row in golden[f"{i} {j}"]]
        assert [beam.written for beam in beams] == expected
        np.testing.assert_allclose([beam.score for beam in beams], golden[f"{i} {j} scores"], rtol=2e-6)
