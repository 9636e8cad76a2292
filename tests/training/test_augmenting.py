"""Texts that are changed a little: what is changed, what is not, what the labels are promised, and runs with it."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2np import finetune
from gpt2np.models.config import BertConfig
from gpt2np.training import made_up, run_folder
from gpt2np.training.augmenting import lines_of_synonyms, read_synonyms, with_deletions, with_synonyms
from gpt2np.training.errors import TrainingError
from gpt2np.training.label_rows import words_of
from gpt2np.training.labelled import Classified
from gpt2np.training.made_up import SYNONYMS, made_opinions
from gpt2np.training.new_finetuning import new_task
from gpt2np.training.text_classification import SYNONYMS_FILE, LabelsPlan, TextClassification
from tests.training.test_finetuning import TINY, command, files, no_lasting_settings  # noqa: F401    fixtures
from tests.training.test_loop import records

RNG = np.random.default_rng
LIST = {"good": ["fine"], "very good": ["superb"], "不错": ["出色"], "好": ["棒"], "u.s": ["America"]}


# ---- the texts


@pytest.mark.parametrize("text, expected", [
    ("the soup was very good .", "the soup was superb ."),              # the longest
    ("Good, goodness! a good", "fine, goodness! a fine"),              # whole words, of any case
    ("汤不错，面好。", "汤出色，面棒。"),
    ("u.s u.s.a", "America America.a"), ("", ""), ("  good  ", "  fine  "), ("very  good", "very  fine"),
])
def test_synonyms_take_the_places_of_whole_words(text, expected):
    assert with_synonyms(text, LIST, 1.0, RNG(0)) == expected
    assert with_synonyms(text, LIST, 0.0, RNG(0)) == with_synonyms(text, {}, 1.0, RNG(0)) == text


def test_each_word_is_replaced_by_itself_as_often_as_asked():
    n = 1500
    drawn = with_synonyms("a b " * n, {"a": ["x", "y"], "b": ["z"]}, 0.3, RNG(0)).split()
    for words, rate in ((drawn[::2], 0.3), (drawn[1::2], 0.3)):
        assert abs(sum(word in "xyz" for word in words) / n - rate) < 0.05
    assert abs(drawn.count("x") - drawn.count("y")) < 150


words = st.lists(st.sampled_from(["the", "Soup", "不", "好", ",", "但是", "é", "3", "x_y"]), max_size=8)


@settings(max_examples=40)
@given(words, st.sampled_from(["", " ", "  "]), st.floats(0, 1), st.integers(0, 9))
def test_what_is_left_of_a_text_are_its_words_in_their_order(parts, between, rate, seed):
    text = between.join(parts)
    before, after = ([word for word, _ in words_of(one)] for one in (text, with_deletions(text, rate, RNG(seed))))
    if between:
        left = iter(before)
        assert all(word in left for word in after)
    assert bool(after) == bool(before)
    assert with_deletions(text, 0.0, RNG(seed)) == text.strip() or not before
    assert len(words_of(with_deletions(text, 1.0, RNG(seed)))) == min(1, len(before)) or not between


def test_deletions_are_as_many_as_asked():
    text = "a " * 5000
    assert abs(len(with_deletions(text, 0.2, RNG(0)).split()) / 5000 - 0.8) < 0.02
    assert with_deletions("the soup was good .", 0.5, RNG(3)) == with_deletions("the soup was good .", 0.5, RNG(3))


# ---- the list that comes with the made-up opinions


def test_synonyms_of_opinions_have_the_words_meaning_and_are_new():
    """By construction: a word that is a synonym of a good one is of no bad one, and in no list."""
    good, bad = (set(words) for words in ((*made_up.ZH_GOOD, *made_up.EN_GOOD), (*made_up.ZH_BAD, *made_up.EN_BAD)))
    stress = {"很", "真", "非常", "very", "really", "so"}
    assert set(SYNONYMS) == good | bad | stress
    new = {name: {other for word in words for other in SYNONYMS[word]}
           for name, words in (("good", good), ("bad", bad), ("stress", stress))}
    assert not new["good"] & new["bad"] and not new["stress"] & (new["good"] | new["bad"])
    known = "".join(one.first for one in made_opinions(2000, 0))
    assert not [word for words in new.values() for word in words if re.search(rf"\b{word}\b", known)]
    assert all(len(set(others)) == len(others) == 2 for others in SYNONYMS.values())


def test_an_opinion_with_synonyms_changes_in_nothing_else():
    back = {other: word for word, others in SYNONYMS.items() for other in others}
    for one in made_opinions(60, 1):
        changed = with_synonyms(one.first, SYNONYMS, 1.0, RNG(0))
        assert changed != one.first
        assert with_synonyms(changed, {other: [word] for other, word in back.items()}, 1.0, RNG(0)) == one.first


# ---- files


def test_a_file_is_read_as_it_was_written(tmp_path):
    (tmp_path / "s.tsv").write_text("Good\tfine\tvery nice\n\n好\t棒\ngood\tgreat\n", encoding="utf-8")
    found = read_synonyms(tmp_path / "s.tsv")
    assert found == {"good": ["fine", "very nice", "great"], "好": ["棒"]}
    for its in (found, SYNONYMS):
        (tmp_path / "again.tsv").write_text(lines_of_synonyms(its), encoding="utf-8")
        assert read_synonyms(tmp_path / "again.tsv") == its


@pytest.mark.parametrize("text, message", [
    ("good fine\n", "line 1: expected a word, a tab and its synonyms, with tabs between them, got 1 in 'good fine'"),
    ("good\tfine\nbad\n", "line 2: expected a word, a tab and its synonyms, .*, got 1 in 'bad'"),
    ("good\t\n", "line 1: expected a word and its synonyms, got nothing beside a tab"),
    ("\tgood\n", "line 1: expected a word and its synonyms, got nothing beside a tab"),
    ("\n", "expected a word, a tab and its synonyms, with tabs between them, in each line, got no line"),
])
def test_a_file_that_is_none_is_refused(tmp_path, text, message):
    (tmp_path / "s.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(TrainingError, match=message):
        read_synonyms(tmp_path / "s.tsv")


# ---- runs


PLAN = LabelsPlan(steps=4, batch=4, context=16, dropout=0.0, replace_words=0.5, delete_words=0.3)


def task(tmp_path, plan=PLAN, text=None):
    tmp_path.mkdir(exist_ok=True)
    path = str(tmp_path / "texts")
    (tmp_path / "texts").write_text(text or "a good soup\tpos\na bad soup\tneg\nso good it is\tpos\n", encoding="utf-8")
    (tmp_path / "synonyms").write_text("good\tfine\nbad\tpoor\n", encoding="utf-8")
    out = tmp_path / "out"
    out.mkdir()
    new_task(TextClassification, out, plan, [path], val=path, config=BertConfig(99, 16, 16, 2, 1, 32),
             fit=("n_vocab",), synonyms=str(tmp_path / "synonyms")).save(out)
    return TextClassification.load(out, out, plan)


def text_of(tokenizer, row):
    return tokenizer.decode([token for token in row if token >= 5])         # without [PAD], [CLS], [SEP]


def test_batches_follow_from_seed_and_step_and_labels_stay(tmp_path):
    one, again = task(tmp_path / "a"), task(tmp_path / "b")
    seen = set()
    for step in range(40):
        batch = one.batch(step)
        for array, other in zip(batch, again.batch(step), strict=True):
            np.testing.assert_array_equal(array, other)
        plain = super(TextClassification, one).batch(step)
        np.testing.assert_array_equal(batch[3], plain[3])
        seen |= {text_of(one.tokenizer, row) for row in batch[0]}
    assert {"a soup", "a fine soup", "poor", "so good it is"} <= seen
    assert not any("[UNK]" in text for text in seen)    # the vocabulary knows the synonyms


def test_without_rates_nothing_is_drawn(tmp_path):
    plain = task(tmp_path, LabelsPlan(steps=4, batch=4, context=10, dropout=0.0))
    for step in range(3):
        for array, other in zip(plain.batch(step), super(TextClassification, plain).batch(step), strict=True):
            np.testing.assert_array_equal(array, other)


def test_of_a_text_in_windows_the_same_window_is_changed(tmp_path):
    """None of it is lost, and each row still has its own label."""
    long = task(tmp_path, LabelsPlan(steps=4, batch=4, context=10, dropout=0.0, replace_words=0.9),
                "abcdefgh good ijklmnop\tpos\nbad\tneg\n")
    assert len(long.rows) > 3
    for i, one in enumerate(long.rows):
        changed = long.changed(i, RNG(0))
        assert changed.target == one.target and changed.example == one.example
    assert text_of(long.tokenizer, long.changed(0, RNG(0)).row.ids) == text_of(long.tokenizer, long.rows[0].row.ids)
    short = long.changed(len(long.rows) - 2, RNG(0)).row.ids
    assert len(short) > 2


def test_both_texts_of_a_pair_are_changed(tmp_path):
    pairs = task(tmp_path, LabelsPlan(steps=4, batch=4, context=16, dropout=0.0, replace_words=0.99),
                 "good a\tgood b\tsame\nbad a\tbad b\tother\n")
    assert pairs.train[0] == Classified("good a", "good b", ["same"])
    assert text_of(pairs.tokenizer, pairs.changed(0, RNG(0)).row.ids) == "fine a fine b"


def test_the_command_keeps_the_synonyms_and_goes_on(files, capsys):     # noqa: F811
    (files / "s.tsv").write_text("好\t棒\n差\t烂\n", encoding="utf-8")
    more = ["--replace-words", "0.5", "--synonyms", str(files / "s.tsv"), "--delete-words", "0.1", "--label-smoothing",
            "0.1", "--adversarial", "fgm"]
    assert finetune.main(command(files, "classify", "run", *more)) == 0
    assert read_synonyms(files / "run" / SYNONYMS_FILE) == {"好": ["棒"], "差": ["烂"]}
    (files / "s.tsv").unlink()
    assert finetune.main(["--resume", str(files / "run"), "--steps", "4"]) == 0
    assert sum("adversarial_loss" in record for record in records(files / "run")) == 4
    assert run_folder.read_run(files / "run")["plan"]["label_smoothing"] == 0.1


def test_the_made_up_opinions_bring_their_own(files, capsys, monkeypatch):      # noqa: F811
    for name in ("MADE", "MADE_TO_MEASURE"):
        monkeypatch.setattr(f"gpt2np.training.new_finetuning.{name}", 12)
    assert finetune.main(["--task", "classify", "--out", str(files / "run"), "--steps", "1", "--replace-words", "0.3",
                          *TINY]) == 0
    assert read_synonyms(files / "run" / SYNONYMS_FILE) == SYNONYMS


@pytest.mark.parametrize("more, status, message", [
    (["--replace-words", "0.2"], 2, "--replace-words: expected --synonyms FILE with it, for which word means the same"),
    (["--synonyms", "classify"], 2, "--synonyms: expected --replace-words with it, how likely a word is replaced"),
    (["--replace-words", "0.2", "--synonyms", "none.tsv"], 1, "none.tsv: No such file or directory"),
    (["--replace-words", "0.2", "--synonyms", "regress"], 1, "regress, line 1: expected a word, a tab and its syn"),
    (["--delete-words", "1"], 2, "--delete-words: expected a number from 0 to less than 1, got 1"),
    (["--label-smoothing", "-1"], 2, "--label-smoothing: expected a number from 0 to less than 1, got -1"),
])
def test_bad_options_end_in_a_sentence(files, capsys, monkeypatch, more, status, message):     # noqa: F811
    monkeypatch.chdir(files)
    (files / "regress").write_text("good fine\n", encoding="utf-8")
    try:
        got = finetune.main(command(files, "classify", "run", *more))
    except SystemExit as exit_:
        got = exit_.code
    assert got == status and capsys.readouterr().err.startswith(f"error: {message}")
    assert not (files / "run").exists()


def test_several_labels_are_not_smoothed(files, capsys):       # noqa: F811
    (files / "several").write_text("a\tx|y\nb\tx\n", encoding="utf-8")
    assert finetune.main(command(files, "classify", "run", "--label-smoothing", "0.1", file="several")) == 1
    assert capsys.readouterr().err.startswith("error: --label-smoothing: expected only where one label is right")


def test_other_tasks_have_no_such_options(files, capsys):      # noqa: F811
    with pytest.raises(SystemExit):
        finetune.main(command(files, "ner", "run", "--delete-words", "0.1"))
    assert "unrecognized arguments: --delete-words" in capsys.readouterr().err
