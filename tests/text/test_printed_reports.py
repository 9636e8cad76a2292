"""The reports that S002 5.4 and S004 5.4 print, recomputed: no predictions can have given them.

Each is said to be of the test set of CoNLL-2003 by words; the supports are those of that set. What a row says is taken
as rounded to its three digits; recomputed numbers come from the rows by the code that makes our own reports.
"""

import re
from collections import Counter
from pathlib import Path

import pytest

from gpt2np.text.label_reports import Scores, report

CHAPTER = Path(__file__).parents[3] / "shared" / "chapter"
WORDS = 46435                       # of the test set, as both tables have it
HALF = 0.0005 + 1e-12               # how far a printed number may be from what it was before it was rounded

# S002 and S004, the tables at the beginning of section 5.4 of each, without their line of titles.
PRINTED = {"S002": """\
       B-LOC      0.931     0.900     0.923      1668
       I-LOC      0.867     0.769     0.814       257
      B-MISC      0.858     0.820     0.833       702
      I-MISC      0.825     0.778     0.796       216
       B-ORG      0.928     0.898     0.910      1661
       I-ORG      0.911     0.888     0.899       835
       B-PER      0.964     0.947     0.951      1617
       I-PER      0.986     0.975     0.980      1156
           O      0.998     0.994     0.996     38323

   micro avg      0.955     0.955     0.955     46435
   macro avg      0.932     0.914     0.925     46435
weighted avg      0.955     0.955     0.955     46435
""", "S004": """\
       B-LOC      0.926     0.906     0.916      1668
       I-LOC      0.900     0.805     0.850       257
      B-MISC      0.875     0.856     0.865       702
      I-MISC      0.838     0.782     0.809       216
       B-ORG      0.914     0.898     0.906      1661
       I-ORG      0.911     0.894     0.902       835
       B-PER      0.964     0.957     0.960      1617
       I-PER      0.983     0.980     0.982      1156
           O      0.993     0.995     0.994     38323

   micro avg      0.973     0.973     0.973     46435
   macro avg      0.923     0.897     0.909     46435
weighted avg      0.973     0.973     0.973     46435
"""}
every_table = pytest.mark.parametrize("text", PRINTED)


def printed(text):
    """The rows of a table, by label, and its averages, by name."""
    rows = {name: Scores(*map(float, scores), int(support)) for name, *scores, support in
            re.findall(r"^ *(\S+(?: avg)?) +(\S+) +(\S+) +(\S+) +(\d+)$", PRINTED[text], re.M)}
    averages = {name.removesuffix(" avg"): rows.pop(name) for name in list(rows) if name.endswith(" avg")}
    assert len(rows) == 9 and len(averages) == 3
    return rows, averages


def recomputed(text, without=()):
    """The report of the counts that are nearest to the rows: support x recall are right, and from that, predicted."""
    rows = {label: row for label, row in printed(text)[0].items() if label not in without}
    right = {label: round(row.recall * row.support) for label, row in rows.items()}
    predicted = {label: round(row.recall * row.support / row.precision) for label, row in rows.items()}
    return report(right, predicted, {label: row.support for label, row in rows.items()})


def harmonic_mean(precision, recall):
    return 2 * precision * recall / (precision + recall)


@every_table
def test_the_excerpts_are_those_of_the_texts(text):
    if not CHAPTER.is_dir():
        pytest.skip(f"needs {CHAPTER}, which is not here")
    whole = next(CHAPTER.glob(f"{int(text[1:]):03}_*.txt")).read_text(encoding="utf-8")
    assert PRINTED[text] in whole.split("### 5.4 ")[1].split("\n## ")[0]


@pytest.mark.parametrize("text, impossible", [
    ("S002", ["B-LOC", "I-LOC", "B-MISC", "I-MISC", "B-ORG", "B-PER"]), ("S004", [])])
def test_an_f1_is_the_harmonic_mean_of_its_row(text, impossible):
    """In six of the nine rows of S002 it is not, however precision and recall were rounded."""
    rows, _ = printed(text)
    assert [label for label, row in rows.items() if not (
        harmonic_mean(row.precision - HALF, row.recall - HALF) - HALF <= row.f1
        <= harmonic_mean(row.precision + HALF, row.recall + HALF) + HALF)] == impossible


@pytest.mark.parametrize("text, impossible", [
    ("S002", ["I-LOC", "B-MISC", "I-MISC", "I-ORG"]), ("S004", ["I-MISC", "I-ORG"])])
def test_right_and_predicted_words_are_whole_numbers(text, impossible):
    """Of 257 words, 197 are 0.767 and 198 are 0.770: a recall of 0.769, in S002's row I-LOC, does not occur."""
    def possible(row):
        return any(abs(right / row.support - row.recall) <= HALF and abs(right / predicted - row.precision) <= HALF
                   for right in range(round(row.recall * row.support) - 2, round(row.recall * row.support) + 3)
                   for around in [round(right / row.precision)] for predicted in range(around - 2, around + 3))

    rows, _ = printed(text)
    assert [label for label, row in rows.items() if not possible(row)] == impossible
    assert not any(abs(right / 257 - 0.769) <= HALF for right in range(258))


@pytest.mark.parametrize("text, fewest, most", [("S002", 45990, 46084), ("S004", 46312, 46407)])
def test_every_word_has_one_predicted_label(text, fewest, most):
    """So there are as many predicted labels as words; by the rows there are fewer, right / precision of each."""
    rows, _ = printed(text)
    bounds = [sum(row.support * (row.recall + sign * HALF) / (row.precision - sign * HALF) for row in rows.values())
              for sign in (-1, 1)]
    assert list(map(round, bounds)) == [fewest, most]
    assert most < sum(row.support for row in rows.values()) == WORDS


@pytest.mark.parametrize("text, least, most, micro", [("S002", 0.9778, 0.9788, 0.955), ("S004", 0.9802, 0.9812, 0.973)])
def test_the_micro_average_over_all_labels_is_the_accuracy(text, least, most, micro):
    """It follows from recalls and supports, and is not what is printed."""
    rows, averages = printed(text)
    bounds = [sum((row.recall + sign * HALF) * row.support for row in rows.values()) / WORDS for sign in (-1, 1)]
    assert [round(bound, 4) for bound in bounds] == [least, most]
    assert averages["micro"][:3] == averages["weighted"][:3] == (micro,) * 3
    assert micro + HALF < least < recomputed(text).micro.recall < most


@pytest.mark.parametrize("text, macro, weighted", [
    ("S002", (0.919, 0.885, 0.9015), (0.986, 0.978, 0.982)), ("S004", (0.923, 0.897, 0.909), (0.982, 0.981, 0.981))])
def test_the_averages_of_the_rows(text, macro, weighted):
    """Of all that is printed only the macro averages of S004 come of the rows. (S002's own F1 have the mean 0.900.)"""
    ours, (rows, averages) = recomputed(text), printed(text)
    assert ours.macro[:3] == pytest.approx(macro, abs=0.001)
    assert ours.weighted[:3] == pytest.approx(weighted, abs=0.001)
    mean = [sum(row[i] for row in rows.values()) / 9 for i in range(3)]
    assert (averages["macro"][:3] == pytest.approx(mean, abs=2 * HALF)) == (text == "S004")
    assert all(abs(a - b) > 0.007 for a, b in zip(averages["weighted"], ours.weighted[:3]))
    # A weighted recall is the accuracy as well, as a micro average is.
    assert ours.weighted.recall == pytest.approx(ours.micro.recall)


@pytest.mark.parametrize("text, f1", [("S002", 0.918), ("S004", 0.922)])
def test_without_o_it_looks_otherwise(text, f1):
    """Who always says O is right for 82.5 % of these words. And no count of words says how many names are right."""
    rows, averages = printed(text)
    support = Counter({label: row.support for label, row in rows.items()})
    always_o = report({"O": support["O"]}, {"O": WORDS}, support)
    assert round(always_o.micro.f1, 4) == 0.8253
    inside = recomputed(text, without=["O"])
    assert inside.micro.f1 == pytest.approx(f1, abs=HALF)
    assert inside.micro.f1 < averages["micro"].f1 < recomputed(text).micro.f1


def test_the_97_5_percent_of_s002():
    """The F1 that its text names is printed once, and is a recall: that of I-PER."""
    rows, averages = printed("S002")
    assert [(name, field) for name, row in {**rows, **averages}.items() for field in ("precision", "recall", "f1")
            if getattr(row, field) == 0.975] == [("I-PER", "recall")]


def test_the_table_of_the_docs():
    """docs/finetuning.md and its twin: what is printed, what comes of the rows, and what comes of them without O."""
    for page in ("finetuning.md", "finetuning.zh.md"):
        text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
        for name in ("micro", "macro", "weighted"):
            row, = re.findall(rf"^\| {name} F1 \| (.*) \|$", text, re.M)
            expected = [scores for text in PRINTED for scores in (
                printed(text)[1][name], *(getattr(recomputed(text, without), name) for without in ((), ("O",))))]
            assert row.split(" | ") == [f"{scores.f1:.3f}" for scores in expected]
