"""Texts as rows: pieces and windows, which label each piece has, and what is made up where there is no file."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2np.text.bpe import Tokenizer
from gpt2np.text.labels import entities_of
from gpt2np.text.wordpiece import learn_characters
from gpt2np.training import made_up
from gpt2np.training.by_length import ByLength
from gpt2np.training.errors import TrainingError
from gpt2np.training.label_rows import framed, labelled, padded, pieces_of, room_in, windows, words_of
from gpt2np.training.made_up import made_names, made_opinions, part_of

WORDS = learn_characters(["the cat sat on 天地玄黄 ."], 99)
BYTES = Tokenizer([])


@settings(max_examples=50)
@given(st.lists(st.integers(1, 4), max_size=40), st.integers(4, 14))
def test_every_word_counts_in_one_window(lengths, room):
    """Each window has room, goes on where the one before it ended or earlier, and sees what is beside its own words."""
    found = windows(lengths, room)
    assert [i for w in found for i in range(w.own, w.own_end)] == list(range(len(lengths)))
    for w in found:
        assert w.first <= w.own <= w.own_end <= w.end and sum(lengths[w.first:w.end]) <= room
    for before, after in pairwise(found):
        assert before.first < after.first <= before.end < after.end
    assert len(found) == 1 or sum(lengths) > room


def test_neighbours_share_a_half():
    assert [tuple(w) for w in windows([1] * 16, 8)] == [(0, 8, 0, 6), (4, 12, 6, 10), (8, 16, 10, 16)]
    assert [tuple(w) for w in windows([1] * 8, 8)] == [(0, 8, 0, 8)]
    assert [tuple(w) for w in windows([], 8)] == [(0, 0, 0, 0)]
    assert [tuple(w)[:2] for w in windows([1, 9, 1], 4)] == [(0, 1), (1, 2), (2, 3)]       # one longer than all room


def test_pieces_of_words():
    assert [WORDS.decode(ids) for ids in pieces_of(WORDS, ["cat", "天", "."])] == ["cat", "天", "."]
    assert pieces_of(WORDS, ["\u200b", "x"]) == [[WORDS.unk]] * 2           # each word has a piece for its label
    found = pieces_of(BYTES, ["New", "York", ",", "天", "地", "A"])
    assert [BYTES.decode(ids) for ids in found] == ["New", " York", " ,", "天", "地", "A"]
    assert words_of("On 王小, it's 3.5%") == [("On", 0), ("王", 3), ("小", 4), (",", 5), ("it", 7), ("'", 9), ("s", 10),
                                             ("3", 12), (".", 13), ("5", 14), ("%", 15)]


def test_which_piece_has_the_label():
    pieces = [[1, 2, 3], [4]]
    assert labelled(pieces, [5, 6], "first") == [5, -100, -100, 6]
    assert labelled(pieces, [5, 6], "last") == [-100, -100, 5, 6]
    assert labelled(pieces, [5, -100], "all") == [5, 5, 5, -100]


def test_what_stands_around_texts():
    row = framed(WORDS, [10, 11], [12])
    assert row == ([WORDS.cls, 10, 11, WORDS.sep, 12, WORDS.sep], [0, 0, 0, 0, 1, 1], 1, 4)
    assert framed(BYTES, [10, 11], [12]) == ([10, 11, 256, 12, 256], [0] * 5, 0, 3)
    assert room_in(WORDS, 8) == 6 and room_in(WORDS, 8, 2) == 5 and room_in(BYTES, 8, 2) == 6
    with pytest.raises(TrainingError, match="context: expected more than the 3 that stand around 2 of the "):
        room_in(WORDS, 3, 2)
    tokens, segments, mask = padded([framed(WORDS, [10]), framed(WORDS, [10, 11], [12])], WORDS.pad)
    assert tokens.shape == segments.shape == mask.shape == (2, 6) and mask.sum(axis=1).tolist() == [3, 6]
    assert (tokens[0, 3:] == WORDS.pad).all() and segments[0].sum() == 0


def test_every_row_comes_once_in_an_epoch():
    lengths = np.random.default_rng(0).integers(1, 9, 50)
    batches = ByLength(lengths, 8, 3)
    epochs = [[batches.rows(e * len(batches) + i) for i in range(len(batches))] for e in range(2)]
    for epoch in epochs:
        assert sorted(np.concatenate(epoch).tolist()) == list(range(50))
        assert max(np.ptp(lengths[rows]) for rows in epoch) <= 2
    assert [rows.tolist() for rows in epochs[0]] != [rows.tolist() for rows in epochs[1]]
    assert sorted(np.concatenate(batches.each()).tolist()) == list(range(50))
    with pytest.raises(TrainingError, match="expected at least one example"):
        ByLength([], 8, 3)


# ---- what is made up


def names_in(sentences):
    return {("".join(s.words[start:end]), its_type) for s in sentences for its_type, start, end in entities_of(s.tags)}


@pytest.mark.parametrize("language", ["zh", "en", "both"])
def test_names_to_test_by_were_never_seen(language):
    parts = {part: made_names(60, 0, language, part) for part in ("train", "val", "test")}
    train, val, test = (names_in(sentences) for sentences in parts.values())
    assert {its_type for _, its_type in train & {*train}} == {"PER", "LOC", "ORG"}
    named = [{name for name, _ in names} for names in (train, val, test)]
    assert not (named[0] & named[1] or named[0] & named[2] or named[1] & named[2]) and all(named)
    assert parts["train"] == made_names(60, 0, language) != made_names(60, 1, language)
    named = [tuple(s.words) for s in parts["train"] if set(s.tags) != {"O"}]
    assert len(named) == len(set(named))


def test_every_name_has_a_part_and_every_part_has_some():
    for names in (made_up.ZH_PLACES, made_up.EN_PLACES, made_up.FIRST, made_up.LAST, made_up.ZH_THINGS,
                  made_up.EN_THINGS):
        assert {part_of(name) for name in names} == {"train", "val", "test"}
    for template in (*made_up.ZH_SENTENCES, *made_up.EN_SENTENCES):
        assert template.count("{") == sum(template.count(f"{{{its_type}}}") for its_type in ("PER", "LOC", "ORG"))


@pytest.mark.parametrize("language", ["zh", "en"])
def test_an_opinion_is_that_of_its_last_clause(language):
    """Worked out anew from the words: good or bad, and turned round by a not."""
    good, bad = (made_up.ZH_GOOD, made_up.ZH_BAD) if language == "zh" else (made_up.EN_GOOD, made_up.EN_BAD)
    between, turned = ("，但是", "并不") if language == "zh" else (" , but ", "not")
    for text, second, labels in made_opinions(100, 0, language, "test"):
        last = text.rstrip(" .。").split(between)[-1]
        is_good = any(last.endswith(word) for word in good)
        assert second is None and is_good is not any(last.endswith(word) for word in bad)
        assert labels == [("pos" if is_good is not (turned in last) else "neg")]
