"""Pairs of texts: the lines that they are read from, and the batches that they are put into."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2np.text.vocabulary import TokenizerError
from gpt2np.training.errors import TrainingError
from gpt2np.training.pairs import PairBatches, full_batches, padded, read_pairs


def test_lines_become_pairs(tmp_path):
    (tmp_path / "a").write_text("\ufeffein Haus\ta house\r\n\r\nzwei\ttwo\t12\t13\n", encoding="utf-8")
    (tmp_path / "b").write_text("drei\tthree", encoding="utf-8")
    assert list(read_pairs([tmp_path / "a", tmp_path / "b"])) == [("ein Haus", "a house"), ("zwei", "two"),
                                                                 ("drei", "three")]


@pytest.mark.parametrize("line, problem", [("no tab here", r"no tab in 'no tab here'"), ("\tb", "nothing on one side"),
                                           ("a\t", "nothing on one side"), ("a\t \tc", "nothing on one side")])
def test_a_line_that_is_no_pair_is_named(tmp_path, line, problem):
    (tmp_path / "a").write_text(f"x\ty\n\n{line}\n")
    with pytest.raises(TrainingError, match=f"a, line 3: expected a source, a tab and its target, got {problem}"):
        list(read_pairs([tmp_path / "a"]))


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "a").write_bytes(b"caf\xe9\tb\n")
    with pytest.raises(TokenizerError, match="a: expected text in UTF-8, got the byte 0xe9 at byte 3"):
        list(read_pairs([tmp_path / "a"]))


def test_a_batch_by_hand():
    batch = padded([([1, 2, 3], [4]), ([5], [6, 7])], 9)
    assert batch.source.tolist() == [[1, 2, 3], [5, 9, 9]]
    assert batch.source_mask.tolist() == [[True, True, True], [True, False, False]]
    assert batch.tokens.tolist() == [[9, 4, 9], [9, 6, 7]]
    assert batch.targets.tolist() == [[4, 9, -100], [6, 7, 9]]


lengths = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=60)


def numbered(lengths):
    """Pairs of these lengths; the first id of each side says which pair it is."""
    return [([i + 100] * s, [i + 100] * t) for i, (s, t) in enumerate(lengths)]


@given(lengths, st.integers(25, 100), st.integers(0, 5))
def test_every_pair_comes_once_an_epoch_and_no_batch_is_too_large(lengths, most, epoch):
    pairs = numbered(lengths)
    batches = PairBatches(pairs, most, 9, seed=3)
    seen, real, positions = [], 0, 0
    for place in range(len(batches)):
        batch = batches.batch(epoch * len(batches) + place)
        assert batch.source.size + batch.tokens.size <= most
        for source, mask, tokens, targets in zip(*batch):
            i = source[0] - 100
            seen.append(i)
            assert source[mask].tolist() == pairs[i][0]
            n = int((targets != -100).sum())
            assert tokens[:n].tolist() == [9, *pairs[i][1]] and targets[:n].tolist() == [*pairs[i][1], 9]
        real += int(batch.source_mask.sum() + (batch.targets != -100).sum())
        positions += batch.source.size + batch.targets.size
    assert sorted(seen) == list(range(len(pairs)))
    assert batches.padding == pytest.approx(1 - real / positions)


@given(lengths, st.integers(25, 100))
def test_a_batch_follows_from_seed_and_step(lengths, most):
    pairs = numbered(lengths)
    one, other = (PairBatches(pairs, most, 9, seed=3) for _ in range(2))
    for step in (0, 2 * len(one), 1, len(one)):
        for a, b in zip(one.batch(step), other.batch(step)):
            np.testing.assert_array_equal(a, b)


def test_epochs_and_seeds_differ():
    pairs = numbered([(3, 3)] * 40)
    batches = [PairBatches(pairs, 28, 9, seed).batch(step).source[:, 0].tolist() for seed in (0, 1) for step in (0, 10)]
    assert len({tuple(b) for b in batches}) == 4


@given(lengths, st.integers(25, 60))
def test_a_batch_is_full(lengths, most):
    """One more pair would not have fitted."""
    lengths = np.array(lengths)
    cuts = full_batches(lengths, most)
    assert cuts[0] == 0 and cuts[-1] == len(lengths) and all(a < b for a, b in itertools.pairwise(cuts))
    for a, b in itertools.pairwise(cuts):
        assert (b - a) * lengths[a:b].max(axis=0).sum() <= most
        assert b == len(lengths) or (b + 1 - a) * lengths[a:b + 1].max(axis=0).sum() > most


def test_what_makes_no_batch_is_refused():
    with pytest.raises(TrainingError, match="pairs: expected at least one, got none"):
        PairBatches([], 100, 9, 0)
    with pytest.raises(TrainingError, match="batch_tokens: expected at least the 9 of the longest pair, got 8"):
        PairBatches([([1] * 4, [1] * 4)], 8, 9, 0)
