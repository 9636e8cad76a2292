"""Reports of labels: an example by hand, laws, and the numbers of seqeval and scikit-learn."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2np.text.label_reports import (
    Report,
    Scores,
    accuracy,
    entity_report,
    label_report,
    report,
    table,
    token_reports,
)
from gpt2np.text.labels import SCHEMES, LabelError, converted

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "labels.json").read_text(encoding="utf-8"))["corpora"]
GOLD = [["B-PER", "I-PER", "O", "O", "B-LOC"], ["B-LOC", "O", "B-LOC", "I-LOC"]]
FOUND = [["B-PER", "I-PER", "O", "B-LOC", "B-LOC"], ["I-LOC", "O", "B-LOC", "O"]]
seeds = st.integers(0, 2**32)


def drawn(seed):
    """Sentences of tags, true and predicted, of which two thirds agree."""
    rng = np.random.default_rng(seed)
    tags = ["O", "O", "B-LOC", "I-LOC", "B-PER", "I-PER", "I-ORG"]
    gold = [[str(tag) for tag in rng.choice(tags, n)] for n in rng.integers(1, 9, rng.integers(1, 5))]
    found = [[tag if rng.random() < 0.6 else str(rng.choice(tags)) for tag in sentence] for sentence in gold]
    return gold, found


def rows_of(some):
    """The report as rows [name, precision, recall, F1, support], as in the golden file."""
    return [[name, *row] for name, row in [*some.rows.items(), ("micro", some.micro), ("macro", some.macro),
                                           ("weighted", some.weighted)]]


# ---- by hand

def test_an_example_by_hand():
    """Of four names the first, the second and, though it begins with I, the third are found; the fourth is cut short,
    and one is found that is none. Strictly, the third is not there."""
    third = 1 / 3
    assert entity_report(GOLD, FOUND) == Report(
        {"LOC": Scores(2 / 4, 2 / 3, 4 / 7, 3), "PER": Scores(1, 1, 1, 1)},
        micro=Scores(3 / 5, 3 / 4, 6 / 9, 4),
        macro=Scores(3 / 4, pytest.approx(5 / 6), pytest.approx(11 / 14), 4),
        weighted=Scores(pytest.approx(5 / 8), pytest.approx(3 / 4), pytest.approx(19 / 28), 4))
    assert entity_report(GOLD, FOUND, strict=True).rows["LOC"] == Scores(third, third, third, 3)
    both = token_reports(GOLD, FOUND)
    assert both["with O"].rows["B-LOC"] == Scores(2 / 3, 2 / 3, 2 / 3, 3)
    assert both["with O"].rows["O"] == Scores(2 / 3, 2 / 3, 2 / 3, 3)
    assert both["with O"].rows["I-LOC"] == Scores(0, 0, 0, 1)
    assert both["with O"].micro == Scores(6 / 9, 6 / 9, 6 / 9, 9)
    assert both["without O"].micro == Scores(4 / 6, 4 / 6, 4 / 6, 6)
    assert accuracy(GOLD, FOUND) == 6 / 9


def test_always_o():
    """Right for most words, and no name is found."""
    gold = [["O"] * 8 + ["B-PER", "I-PER"]] * 3
    found = [["O"] * 10] * 3
    both = token_reports(gold, found)
    assert accuracy(gold, found) == both["with O"].micro.f1 == 0.8
    assert both["without O"].micro == both["without O"].weighted == Scores(0, 0, 0, 6)
    assert entity_report(gold, found).micro == Scores(0, 0, 0, 3)


def test_nothing_to_find_and_nothing_found():
    assert entity_report([["O"]], [["O"]]) == report({}, {}, {}) == Report({}, *[Scores(0, 0, 0, 0)] * 3)
    assert token_reports([["O"]], [["O"]])["with O"].micro == Scores(1, 1, 1, 1)


# ---- laws

@given(seed=seeds)
def test_laws(seed):
    gold, found = drawn(seed)
    for strict in (False, True):
        ours, other = entity_report(gold, found, strict=strict), entity_report(found, gold, strict=strict)
        for (name, p, r, f1, _), (_, p_other, r_other, f1_other, _) in zip(rows_of(ours)[:-1], rows_of(other)):
            assert (p, r) == (r_other, p_other) and f1 == pytest.approx(f1_other)       # truth and prediction exchanged
            assert name == "macro" or min(p, r) - 1e-12 <= f1 <= max(p, r) + 1e-12
        assert ours.weighted.recall == pytest.approx(ours.micro.recall)
        perfect = entity_report(gold, gold, strict=strict)
        assert all(row[:3] == (1, 1, 1) for row in perfect.rows.values())
        order = np.random.default_rng(seed).permutation(len(gold))
        assert entity_report([gold[i] for i in order], [found[i] for i in order], strict=strict) == ours
    with_o, without_o = token_reports(gold, found).values()
    assert with_o.micro.precision == with_o.micro.recall == pytest.approx(accuracy(gold, found))
    assert {**with_o.rows, "O": None} == {**without_o.rows, "O": None}
    assert with_o.micro.support == sum(map(len, gold))


@given(seed=seeds)
def test_the_scheme_changes_no_report_of_names(seed):
    gold, found = drawn(seed)
    expected = entity_report(gold, found)
    for scheme in SCHEMES:
        (true, _), (those, _) = (converted(sentences, "BIO", scheme) for sentences in (gold, found))
        assert entity_report(true, those, scheme) == entity_report(true, those, scheme, strict=True) == expected


def test_a_name_may_not_be_found_in_another_sentence():
    gold, found = [["B-LOC", "O"], ["O", "O"]], [["O", "O"], ["B-LOC", "O"]]
    assert entity_report(gold, found).micro == Scores(0, 0, 0, 1)


# ---- the numbers of seqeval and scikit-learn

@pytest.mark.parametrize("corpus", GOLDEN, ids=lambda corpus: corpus["kind"])
def test_reports_are_those_of_seqeval_and_scikit_learn(corpus):
    gold, found = ([line.split() for line in corpus[which]] for which in ("gold", "predicted"))
    both = token_reports(gold, found)
    for name, ours in {"entities": entity_report(gold, found), "strict": entity_report(gold, found, strict=True),
                       **both}.items():
        for row, expected in zip(rows_of(ours), corpus[name], strict=True):
            assert (row[0], row[4]) == (expected[0], expected[4])
            theirs = [0.0 if score is None else score for score in expected[1:4]]      # the mean over no types
            assert row[1:4] == pytest.approx(theirs, rel=0, abs=1e-12), (name, row[0])
    assert accuracy(gold, found) == pytest.approx(corpus["accuracy"], rel=0, abs=1e-12)


def test_the_golden_corpora_differ_where_they_should():
    """Else the rules, or the averages, would be compared with themselves."""
    assert len(GOLDEN) == 60
    assert sum(corpus["entities"] != corpus["strict"] for corpus in GOLDEN) > 15
    assert sum(len({row[3] for row in corpus["entities"][-3:]}) == 3 for corpus in GOLDEN) > 15
    assert sum(corpus["with O"][-1] != corpus["without O"][-1] for corpus in GOLDEN) > 50
    assert sum(None in row for corpus in GOLDEN for row in corpus["strict"]) > 0


# ---- in print

def test_two_reports_side_by_side():
    assert table(token_reports(GOLD, FOUND)) == """\
                with O                          without O
               prec.  recall      F1 support   prec.  recall      F1 support

B-LOC          0.667   0.667   0.667       3   0.667   0.667   0.667       3
B-PER          1.000   1.000   1.000       1   1.000   1.000   1.000       1
I-LOC          0.000   0.000   0.000       1   0.000   0.000   0.000       1
I-PER          1.000   1.000   1.000       1   1.000   1.000   1.000       1
O              0.667   0.667   0.667       3

micro avg      0.667   0.667   0.667       9   0.667   0.667   0.667       6
macro avg      0.667   0.667   0.667       9   0.667   0.667   0.667       6
weighted avg   0.667   0.667   0.667       9   0.667   0.667   0.667       6"""


def test_one_report_and_none():
    assert table({"names": entity_report(GOLD, FOUND)}).splitlines()[3:5] == [
        "LOC            0.500   0.667   0.571       3", "PER            1.000   1.000   1.000       1"]
    assert table({"names": report({}, {}, {})}).splitlines()[3] == "micro avg      0.000   0.000   0.000       0"
    for reports in ({}, dict.fromkeys("abc", report({}, {}, {}))):
        with pytest.raises(LabelError, match=f"expected one report, or two side by side, got {len(reports)}"):
            table(reports)


def test_a_table_has_at_most_80_columns():
    """Chinese characters take two of them, and full-width letters."""
    labels = ["x" * 100, "体育" * 20, "体育" * 3 + "x", "short", "O"]
    counts = dict.fromkeys(labels, 9_999_999)
    some = report(counts, counts, counts)
    lines = table({"t" * 99: some, "名" * 99: some}).splitlines()
    wide = [len(line) + sum("\u4e00" <= character <= "\u9fff" for character in line) for line in lines]
    assert max(wide) == 80 and {n for n, line in zip(wide, lines) if "9999999" in line} == {80}
    assert [line[:16].split("  ")[0] for line in lines if "…" in line][1:] == ["x" * 15 + "…", "体育体育体育体…"]


# ---- bad input

@pytest.mark.parametrize("gold, found, message", [
    ([["O"], ["O"]], [["O"]], "expected predictions for each of 2 sentences, got them for 1"),
    ([["O"], ["O", "O"]], [["O"], ["O"]], "sentence 2: expected 2 predicted labels, one for each word, got 1"),
    ([], [], "expected at least one word to score, got none"),
    ([[], []], [[], []], "expected at least one word to score, got none"),
    (["O O"], [["O"]], "sentence 1: expected a list with the label of each word, got one text"),
    ([["O"]], ["O"], "sentence 1: expected a list with the label of each word, got one text"),
])
def test_sentences_that_do_not_fit(gold, found, message):
    for call in (entity_report, token_reports, accuracy):
        with pytest.raises(LabelError) as caught:
            call(gold, found)
        assert str(caught.value) == message


def test_other_bad_input():
    with pytest.raises(LabelError, match=r"sentence 1, word 2: expected O, or B- or I- with a type, .* got 'S-PER'"):
        entity_report([["O", "O"]], [["O", "S-PER"]])
    with pytest.raises(LabelError, match=r"scheme: expected BIO .* got 'BILOU'"):
        entity_report([["O"]], [["O"]], "BILOU")
    for gold, found in ((["a"], []), ([], [])):
        with pytest.raises(LabelError, match="expected a predicted label for each of one or more true ones, got 0 for"):
            label_report(gold, found)
