"""BLEU: what follows from its equation, the paper's examples by hand, and the numbers of sacrebleu."""

import json
import math
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2np.text import bleu
from gpt2np.text.bleu import BleuError, corpus_bleu

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "bleu.json").read_text(encoding="utf-8"))
CORPORA = {corpus["name"]: corpus["segments"] for corpus in GOLDEN["corpora"]}
OPTIONS = [(tokenisation, smoothing) for tokenisation in bleu.TOKENISATIONS for smoothing in bleu.SMOOTHINGS]
every_option = pytest.mark.parametrize("tokenisation, smoothing", OPTIONS)

# Papineni et al. 2002, section 2.1, in lower case (the paper counts without it) and without full stops.
GUIDE = "it is a guide to action which ensures that the military always obeys the commands of the party"
TROOPS = "it is to insure the troops forever hearing the activity guidebook that party direct"
GUIDES = ["it is a guide to action that ensures that the military will forever heed party commands",
          "it is the guiding principle which guarantees the military forces always being under the command "
          "of the party",
          "it is the practical guide for the army always to heed the directions of the party"]
MATS = ["the cat is on the mat", "there is a cat on the mat"]


def texts_and_references(seed, segments=6):
    """Segments of a few words each, of which some match."""
    rng = np.random.default_rng(seed)
    words = [" ".join(rng.choice(["a", "b", "c", "d.", "世界"], rng.integers(0, 9))) for _ in range(4 * segments)]
    return words[:segments], [words[i::segments][:rng.integers(1, 4)] for i in range(segments, 2 * segments)]


# ---- by hand

def test_the_papers_precisions():
    """Section 2.1: 17/18 and 8/14 of the words, 10/17 and 1/13 of the pairs; 2/7 and 0 of "the the the ..."."""
    for text, references, p1, p2 in ((GUIDE, GUIDES, 17 / 18, 10 / 17), (TROOPS, GUIDES, 8 / 14, 1 / 13),
                                     ("the the the the the the the", MATS, 2 / 7, 0)):
        precisions = corpus_bleu([text], [references], smoothing="none").precisions
        assert precisions[:2] == pytest.approx((100 * p1, 100 * p2), rel=1e-15)


def test_all_of_the_papers_first_example():
    """Counted with a pencil: 17/18 words, 10/17 pairs, 7/16 threes, 4/15 fours; 18 words, and 18 in the closest."""
    result = corpus_bleu([GUIDE], [GUIDES])
    assert result.precisions == pytest.approx([100 * 17 / 18, 100 * 10 / 17, 100 * 7 / 16, 100 * 4 / 15])
    assert (result.length, result.reference_length, result.brevity_penalty) == (18, 18, 1)
    assert result.score == pytest.approx(100 * (17 / 18 * 10 / 17 * 7 / 16 * 4 / 15) ** 0.25)


def test_the_brevity_penalty():
    """Section 2.2.2: none where a reference is as long, of 12, 15 and 17 words; 3 words for 4 cost exp(-1/3)."""
    assert corpus_bleu(["a " * 12], [["a " * 12, "a " * 15, "a " * 17]]).brevity_penalty == 1
    result = corpus_bleu(["a b c"], ["a b c d"])
    assert (result.brevity_penalty, result.length, result.reference_length) == (math.exp(-1 / 3), 3, 4)
    result = corpus_bleu(["a b c d e f g h", ""], ["a b c d e f g h", "a b c d"])       # over the corpus: 8 for 12
    assert result.score == pytest.approx(100 * math.exp(-1 / 2), rel=1e-15)
    assert corpus_bleu(["a b c d e f"], ["a b c d"]).brevity_penalty == 1               # precision pays for length


def test_the_shorter_of_two_references_that_are_as_close():
    assert corpus_bleu(["a b c d"], [["a b c d e", "a b c"]]).reference_length == 3
    assert corpus_bleu(["a b c d"], [["a b c d e", "a b"]]).reference_length == 5


def test_each_smoothing_by_hand():
    """a b x c d against a b y c d: 4 of 5 words, 2 of 4 pairs, 0 of 3 threes, 0 of 2 fours."""
    precisions = {smoothing: corpus_bleu(["a b x c d"], ["a b y c d"], smoothing=smoothing).precisions
                  for smoothing in bleu.SMOOTHINGS}
    assert precisions["none"] == pytest.approx([80, 50, 0, 0])
    assert precisions["floor"] == pytest.approx([80, 50, 100 * 0.1 / 3, 100 * 0.1 / 2])
    assert precisions["add-k"] == pytest.approx([80, 100 * 3 / 5, 100 * 1 / 4, 100 * 1 / 3])
    assert precisions["exp"] == pytest.approx([80, 50, 100 / (2 * 3), 100 / (4 * 2)])


def test_it_is_no_mean_over_segments():
    halves = [corpus_bleu([text], ["a b c d e"]).score for text in ("a b c d e", "a x y z e")]
    assert corpus_bleu(["a b c d e", "a x y z e"], ["a b c d e"] * 2).score != pytest.approx(sum(halves) / 2, rel=0.01)


@pytest.mark.parametrize("tokenisation, text, tokens", [
    ("13a", "Mr. O'Neil paid $3.50-4, well-known (e.g. here).",
     "Mr . O'Neil paid $ 3.50 - 4 , well-known ( e . g . here ) ."),
    ("13a", "&quot;a&quot; &amp;lt; in 1990.", '" a " < in 1990 .'),
    ("13a", "multi-\nline te<skipped>xt\nhere", "multiline text here"),
    ("13a", "1...2", "1 . . .2"),
    ("13a", "他说，好。", "他说，好。"),
    ("zh", "我有3.5本book。", "我 有 3.5 本 book 。"),
    ("zh", "他说:“好”—— 1990.", "他 说 : “ 好 ” — — 1990."),
    ("zh", "𠀀𠀁字カタカナ", "𠀀𠀁 字 カタカナ"),                 # see the note on CHINESE
    ("zh", "&amp;", "& amp ;"),
    ("char", "Hi, 世界\u3000!\n", "H i , 世 界 !"),
    ("none", "  Hi, 世界\u3000! ", "Hi, 世界 !"),
])
def test_tokens(tokenisation, text, tokens):
    assert " ".join(bleu.TOKENISATIONS[tokenisation](text)) == tokens


# ---- laws

@every_option
@pytest.mark.parametrize("seed", range(5))
def test_laws_of_all_options(seed, tokenisation, smoothing):
    """Within 0 and 100; the order of segments, and of references, and a list around one, change nothing."""
    texts, references = texts_and_references(seed)
    result = corpus_bleu(texts, references, tokenisation, smoothing)
    assert 0 <= result.score <= 100 and all(0 <= p <= 100 for p in result.precisions)
    assert 0 <= result.brevity_penalty <= 1
    order = np.random.default_rng(seed).permutation(len(texts))
    assert corpus_bleu([texts[i] for i in order], [references[i] for i in order], tokenisation, smoothing) == result
    assert corpus_bleu(texts, [those[::-1] for those in references], tokenisation, smoothing) == result
    assert corpus_bleu(texts, [those * 2 for those in references], tokenisation, smoothing)[:5] == result[:5]
    single = [those[0] for those in references]
    expected = corpus_bleu(texts, [[text] for text in single], tokenisation, smoothing)
    assert corpus_bleu(iter(texts), iter(single), tokenisation, smoothing) == expected


@every_option
def test_a_perfect_translation_has_100(tokenisation, smoothing):
    texts = ["Every word of it is right.", "这一句话 也 完全 对 。", "yes"]
    result = corpus_bleu(texts, [["something else altogether", text] for text in texts], tokenisation, smoothing)
    assert result.score == pytest.approx(100, abs=1e-12)
    assert result.precisions == (100,) * 4 and result.brevity_penalty == 1


@given(seed=st.integers(0, 2**32))
def test_a_further_reference_that_is_no_closer_in_length_costs_nothing(seed):
    """It can only match more n-grams: with r as it was, BLEU does not fall."""
    rng = np.random.default_rng(seed)
    texts, references = texts_and_references(seed)
    before = corpus_bleu(texts, references, "none", "none")
    more = [[*those, " ".join(rng.permutation((text + " " + " ".join(those)).split()))] for text, those in
            zip(texts, references)]
    after = corpus_bleu(texts, more, "none", "none")
    if after.reference_length == before.reference_length:
        assert after.score >= before.score - 1e-12
    assert all(b >= a for a, b in zip(before.precisions, after.precisions))


@given(seed=st.integers(0, 2**32))
def test_smoothing_changes_nothing_where_every_order_matches(seed):
    texts, references = texts_and_references(seed, 12)
    plain = corpus_bleu(texts, references, "char", "none")
    for smoothing in ("floor", "exp"):
        smooth = corpus_bleu(texts, references, "char", smoothing)
        assert (smooth[:5] == plain[:5]) == (all(plain.precisions) or not any(plain.precisions))
        assert smooth.score >= plain.score


def test_a_line_that_says_how_it_was_measured():
    result = corpus_bleu(["a b c d e f g h i j k l"] * 100, [["a b c d e f g h i j k l m", "z"]] * 100)
    assert str(result) == ("BLEU 92.00 (100.0/100.0/100.0/100.0, brevity penalty 0.920, 1,200 tokens for 1,300; "
                           "nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp)")


# ---- sacrebleu's numbers

@pytest.mark.parametrize("name, tokenisation, smoothing, expected", [(*row[:3], row[3:]) for row in GOLDEN["scores"]],
                         ids=["-".join(row[:3]) for row in GOLDEN["scores"]])
def test_scores_are_those_of_sacrebleu(name, tokenisation, smoothing, expected):
    texts, references = zip(*CORPORA[name])
    result = corpus_bleu(texts, references, tokenisation, smoothing)
    score, precisions, penalty, *lengths_and_signature = expected
    assert result.score == pytest.approx(score, rel=0, abs=1e-9)
    assert result.precisions == pytest.approx(precisions, rel=0, abs=1e-9)
    assert result.brevity_penalty == pytest.approx(penalty, rel=0, abs=1e-9)
    assert [*result[3:]] == lengths_and_signature


def test_the_golden_corpora_have_each_kind_of_result():
    """Else the comparison would be of zeros: scores of 0, of 100 and between, with and without a penalty."""
    scores = [row[3] for row in GOLDEN["scores"]]
    assert len(scores) == len(CORPORA) * len(OPTIONS)
    assert sum(1 < score < 99 for score in scores) > 150 and 0 in scores and max(scores) > 99.9
    assert {row[5] == 1 for row in GOLDEN["scores"]} == {True, False}


@pytest.mark.parametrize("text, tokens_13a, tokens_zh", GOLDEN["tokens"])
def test_tokens_are_those_of_sacrebleu(text, tokens_13a, tokens_zh):
    assert " ".join(bleu.tokens_13a(text)) == tokens_13a
    assert " ".join(bleu.tokens_zh(text)) == tokens_zh


def test_what_zh_splits_off_is_what_sacrebleu_does():
    every = bleu.CHINESE.findall("".join(map(chr, range(0x80, 0x110000))))
    runs = [list(run) for _, run in groupby(enumerate(ord(c) for c in every if not c.isspace()), lambda x: x[1] - x[0])]
    assert [[run[0][1], run[-1][1]] for run in runs] == GOLDEN["chinese"]


# ---- bad input

@pytest.mark.parametrize("hypotheses, references, message", [
    ([], [], "expected at least one segment to score, got none"),
    (["a", "b"], ["a"], "expected references for each of 2 hypotheses, got them for 1"),
    ([], ["a"], "expected references for each of 0 hypotheses, got them for 1"),
    (["a", "b"], ["a", []], "segment 2 of 2: expected at least one reference, got none"),
    (["a", None], ["a", "b"], "segment 2 of 2: expected texts, got a NoneType"),
    (["a"], [None], "segment 1 of 1: expected texts, got a NoneType"),
    (["a"], [["a", None]], "segment 1 of 1: expected texts, got a NoneType"),
    ([["a", "b"]], ["a b"], "segment 1 of 1: expected texts, got a list"),
    ("a b", ["a b"], "hypotheses: expected a list with an entry for each segment, got one text"),
    (["a b"], "a b", "references: expected a list with an entry for each segment, got one text"),
])
def test_segments_that_cannot_be_scored(hypotheses, references, message):
    with pytest.raises(BleuError) as caught:
        corpus_bleu(hypotheses, references)
    assert str(caught.value) == message


def test_unknown_options():
    with pytest.raises(BleuError, match=r"^tokenisation: expected 13a, zh, char or none, got 'intl'$"):
        corpus_bleu(["a"], ["a"], tokenisation="intl")
    with pytest.raises(BleuError, match=r"^smoothing: expected none, floor, add-k or exp, got 'add-1'$"):
        corpus_bleu(["a"], ["a"], smoothing="add-1")
