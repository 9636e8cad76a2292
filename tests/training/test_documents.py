"""Rows of documents with hidden words: what is hidden, what follows what, and that it follows from seed and step."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2np.text.utf8 import TokenizerError
from gpt2np.text.wordpiece import SPECIAL, WordPiece
from gpt2np.training.documents import (
    NO_WORD,
    PIECES,
    SPACES,
    UNITS,
    WORDS,
    MaskedBatches,
    encode_documents,
    has_pairs,
    hide,
    read_documents,
)
from gpt2np.training.errors import TrainingError

# Each sentence of a document has words of its own: from any two pieces it can be told where they are from.
TOKENIZER = WordPiece([*SPECIAL, *(f"w{d}x{s}" for d in range(8) for s in range(6)), "##a", "##b", *"床前明月"])
OTHERS = np.arange(len(SPECIAL), TOKENIZER.n_vocab)
SPECIAL_IDS = [TOKENIZER.pad, TOKENIZER.unk, TOKENIZER.cls, TOKENIZER.sep, TOKENIZER.mask]


def texts(lengths):
    """Documents with so many sentences of so many words, some of them of two or three pieces."""
    return [[" ".join(f"w{d}x{s}" + ("ab" * i)[:i % 3] for i in range(n)) for s, n in enumerate(document)]
            for d, document in enumerate(lengths)]


DOCUMENTS = texts([[2, 3, 4, 2, 5], [3], [4, 4], [1, 1, 1, 1, 1, 1], [9, 2], [2, 2, 2]])


def batches(documents=DOCUMENTS, unit=WORDS, B=4, context=16, seed=0, pairs=True):
    return MaskedBatches(encode_documents(documents, TOKENIZER, unit, context - 3), TOKENIZER, pairs, B, context, seed)


def shown(row):
    """The pieces of a row as they were before they were hidden, without padding."""
    tokens, _, mask, targets, _ = row
    return np.where(targets == -100, tokens, targets)[mask]


def rows_of(batch):
    return list(zip(*batch))


def source(piece):
    """Document and sentence of a piece that begins a word."""
    d, s = TOKENIZER.pieces[piece][1:].split("x")
    return int(d), int(s)


# ---- files


def test_documents_are_between_empty_lines(tmp_path):
    (tmp_path / "a").write_text("\ufeffone\r\n two \n\n\n \nthree", encoding="utf-8")
    (tmp_path / "b").write_text("four\n\n", encoding="utf-8")
    assert read_documents([tmp_path / "a", tmp_path / "b"]) == [["one", "two"], ["three"], ["four"]]
    (tmp_path / "b").write_bytes(b"caf\xe9")
    with pytest.raises(TokenizerError, match="expected text in UTF-8"):
        read_documents([tmp_path / "b"])


def test_units_and_sentences_that_are_too_long():
    def numbers(text, unit, room=9):
        return [[number for _, number in sentence] for sentence in encode_documents([[text]], TOKENIZER, unit, room)[0]]
    assert numbers("w0x0ab 明月 w0x1", WORDS) == [[0, 0, 0, 1, 2, 3]]
    assert numbers("w0x0ab 明月 w0x1", SPACES) == [[0, 0, 0, 1, 1, 2]]
    assert numbers("w0x0ab 明月 w0x1", PIECES) == [[0, 1, 2, 3, 4, 5]]
    assert numbers("w0x0ab 明月 w0x1", SPACES, 4) == [[0, 0, 0, 1], [1, 2]]
    assert encode_documents([["\u200b"], ["明"]], TOKENIZER, WORDS, 9) == [[[(TOKENIZER.pieces.index("明"), 0)]]]


# ---- rows


@settings(max_examples=25)
@given(lengths=st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=6), min_size=1, max_size=8),
       context=st.integers(5, 30), B=st.integers(1, 5), unit=st.sampled_from(UNITS), seed=st.integers(0, 99))
def test_every_row_is_one_text_or_two_that_were_so_or_are_of_two_documents(lengths, context, B, unit, seed):
    documents = encode_documents(texts(lengths), TOKENIZER, unit, context - 3)
    pairs = has_pairs(documents, context)
    made = MaskedBatches(documents, TOKENIZER, pairs, B, context, seed)
    seen = []
    for step in range(len(made)):
        batch = made.batch(step)
        assert batch.tokens.shape[1] <= context
        for row in rows_of(batch):
            tokens, segments, mask, targets, not_next = row
            n = mask.sum()
            assert mask[:n].all() and (tokens[n:] == TOKENIZER.pad).all() and (targets[n:] == -100).all()
            ids, cuts = shown(row), np.flatnonzero(shown(row) == TOKENIZER.sep)
            assert ids[0] == TOKENIZER.cls and cuts[-1] == n - 1 and len(cuts) in (1, 2)
            assert (segments[:n] == (np.arange(n) > cuts[0])).all() and not segments[n:].any()
            first, second = ids[1:cuts[0]], ids[cuts[0] + 1:-1]
            assert len(first) and (len(second) > 0) == (len(cuts) == 2) == (not_next != -100)
            begins = [[source(i) for i in part if TOKENIZER.pieces[i][0] == "w"] for part in (first, second)]
            for part in begins:                         # neighbouring sentences, in their order
                assert part == sorted(part) and len({d for d, _ in part}) <= 1
            if not_next == 0 and begins[0] and begins[1]:
                assert begins[0][-1][0] == begins[1][0][0] and begins[0][-1] <= begins[1][0]
            if not_next == 1 and begins[0] and begins[1]:
                assert begins[0][0][0] != begins[1][0][0]
            seen += begins[0] + (begins[1] if not_next == 0 else [])
    if not pairs:                                       # each sentence once
        assert sorted(seen) == sorted((d, s) for d, document in enumerate(lengths) for s, n in enumerate(document)
                                      for _ in range(n))


def test_half_of_the_second_texts_follow_the_first_and_none_is_of_its_own_document_otherwise():
    made = batches(B=50, context=30)
    answers = np.concatenate([made.batch(step).not_next for step in range(200)])
    asked = answers[answers != -100]
    assert len(asked) == 200 * 5                        # one document has a single sentence, and is asked nothing
    assert abs(asked.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(asked))
    with_one = batches(B=50, context=30, pairs=False).batch(0)
    assert (with_one.not_next == -100).all() and not with_one.segments.any()


def test_it_cannot_be_asked_what_follows_in_one_document_or_in_single_sentences():
    def asked(lengths, context=30):
        return has_pairs(encode_documents(texts(lengths), TOKENIZER, WORDS, context - 3), context)
    assert asked([[1, 1], [1]]) and not asked([[1, 1]]) and not asked([[1], [1]]) and not asked([[3, 3], [1]], 6)


def test_a_batch_follows_from_seed_and_step_and_is_another_in_every_epoch():
    one, other = batches(), batches()
    for step in (0, 5, 1):
        for a, b in zip(one.batch(step), other.batch(step)):
            assert np.array_equal(a, b)
    assert not all(np.array_equal(a, b) for a, b in zip(batches(seed=1).batch(0), one.batch(0)))
    epochs = [[one.batch(epoch * len(one) + i).tokens.tobytes() for i in range(len(one))] for epoch in range(3)]
    assert len({part for epoch in epochs for part in epoch}) == 3 * len(one)


def test_no_sentences():
    with pytest.raises(TrainingError, match="text: expected at least one sentence, got none"):
        batches([])


# ---- what is hidden


def drawn(n, words, seed=0, ids=None):
    """(n, T) tokens and targets of one row, hidden n times."""
    rng = np.random.default_rng(seed)
    ids = np.arange(len(words)) % len(OTHERS) + len(SPECIAL) if ids is None else ids
    return ids, *map(np.stack, zip(*(hide(ids, words, rng, TOKENIZER.mask, OTHERS) for _ in range(n))))


def test_shares_within_chi_square():
    words = np.array([NO_WORD, *range(40), NO_WORD])
    ids, tokens, targets = drawn(3000, words)
    hidden = targets != -100
    assert (hidden.sum(axis=1) == 6).all() and not hidden[:, [0, -1]].any()
    assert (tokens[~hidden] == np.broadcast_to(ids, tokens.shape)[~hidden]).all()
    assert (targets[hidden] == np.broadcast_to(ids, tokens.shape)[hidden]).all()
    each = hidden[:, 1:-1].sum(axis=0)                  # every place is hidden as often as any other
    assert ((each - 450.0) ** 2 / 450).sum() < 73.4     # chi-square, 39 degrees, 0.001
    n, seen, original = hidden.sum(), tokens[hidden], targets[hidden]
    as_mask, same = (seen == TOKENIZER.mask).sum(), (seen == original).sum()
    by_chance = 0.1 / len(OTHERS)                       # any other piece may be the same one
    expected = n * np.array([0.8, 0.1 + by_chance, 0.1 - by_chance])
    found = np.array([as_mask, same, n - as_mask - same])
    assert ((found - expected) ** 2 / expected).sum() < 13.8            # 2 degrees, 0.001
    replaced = seen[(seen != TOKENIZER.mask) & (seen != original)]
    assert not set(replaced) & set(SPECIAL_IDS)
    counts = np.array([Counter(replaced.tolist())[i] for i in OTHERS])
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 86   # 53 degrees, about 0.003


@settings(max_examples=50)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=20), seed=st.integers(0, 9999))
def test_a_word_is_hidden_whole_or_not_at_all_and_not_too_much(sizes, seed):
    words = np.array([NO_WORD, *(word for word, n in enumerate(sizes) for _ in range(n)), NO_WORD])
    _, _, targets = drawn(1, words, seed)
    hidden = targets[0] != -100
    for word in range(len(sizes)):
        assert len(set(hidden[words == word])) == 1
    room = max(1, round(0.15 * sum(sizes)))
    assert 1 <= hidden.sum() <= max(room, max(sizes))
    assert hidden.sum() <= room or hidden.sum() == np.count_nonzero(words == words[hidden][0])


def test_a_row_without_words_hides_nothing():
    ids = np.array([TOKENIZER.cls, TOKENIZER.sep])
    tokens, targets = hide(ids, np.array([NO_WORD, NO_WORD]), np.random.default_rng(0), TOKENIZER.mask, OTHERS)
    assert np.array_equal(tokens, ids) and (targets == -100).all()
