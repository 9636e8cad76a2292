"""Each piece of a text hidden once: what is asked, and that what comes out is what one gap at a time comes to."""

import numpy as np
import pytest

from gpt2np.layers.softmax import log_softmax_forward
from gpt2np.models.bert import BertForPreTraining
from gpt2np.models.config import BertConfig
from gpt2np.text.wordpiece import learn_characters
from gpt2np.training import gaps
from gpt2np.training.errors import TrainingError
from gpt2np.training.gaps import EVERY, measure, rows_of, some_gaps, with_gaps
from gpt2np.training.parallel import DataParallel

TEXT = "床前明月光，\n疑是地上霜。\n\n举头望明月，低头思故乡。a long one, which needs two rows\nab\n"
TOKENIZER = learn_characters([TEXT], 99)


def bert(pairs=True):
    model = BertForPreTraining(BertConfig(TOKENIZER.n_vocab, 16, 12, 3, 2, 24), np.random.default_rng(0),
                               dtype=np.float64, next_sentence=pairs)
    for _, p in model.named_parameters():
        p.value = p.value * 4
    return model


@pytest.fixture
def rows(tmp_path):
    (tmp_path / "text").write_text(TEXT, "utf-8")
    return rows_of(tmp_path / "text", TOKENIZER, 16)


def test_rows_are_the_text_and_each_piece_is_hidden_once(rows):
    assert [i for ids in rows for i in ids[1:-1]] == TOKENIZER.encode(TEXT) and max(map(len, rows)) <= 16
    assert all((ids[0], ids[-1]) == (TOKENIZER.cls, TOKENIZER.sep) for ids in rows)
    assert [len(ids) - 2 for ids in rows] == [12, 14, 14, 12]      # two short sentences in one, a long one in three
    for ids in rows:
        hidden = [with_gaps(ids, first, TOKENIZER) for first in range(EVERY)]
        asked = np.array([row.targets != -100 for row in hidden])
        np.testing.assert_array_equal(asked.sum(axis=0), [0] + [1] * (len(ids) - 2) + [0])
        for row in hidden:
            at = row.targets != -100
            assert (row.tokens[at] == TOKENIZER.mask).all() and (np.diff(np.flatnonzero(at)) == EVERY).all()
            np.testing.assert_array_equal(np.where(at, row.targets, row.tokens), ids)


@pytest.mark.parametrize("pairs, threads", [(True, 1), (False, 2)])
def test_it_is_what_one_row_at_a_time_comes_to(rows, pairs, threads, monkeypatch):
    monkeypatch.setattr(gaps, "BATCH", 3)
    model, losses, right = bert(pairs), [], []
    for ids in rows:
        for first in range(len(ids) - 2):
            tokens = np.array(ids)
            tokens[1 + first % EVERY:-1:EVERY] = TOKENIZER.mask
            words = model.forward([tokens], keep_cache=False)[0].words[0, 1 + first]
            losses.append(-log_softmax_forward(words)[0][ids[1 + first]])
            right.append(words.argmax() == ids[1 + first])
    seen = []
    with DataParallel(model, threads) as parallel:
        told = measure(parallel, rows, TOKENIZER, lambda *done: seen.append(done))
    assert told.pieces == len(losses) == len(TOKENIZER.encode(TEXT)) and seen[-1] == (2, 2)
    assert told.loss == pytest.approx(np.mean(losses), rel=1e-12) and told.right == np.mean(right)


def test_what_is_unknown_is_not_asked_for(tmp_path):
    (tmp_path / "text").write_text("床前Ω月\n\nΩΩ", "utf-8")
    (ids, second) = rows_of(tmp_path / "text", TOKENIZER, 7)
    assert ids.count(TOKENIZER.unk) == 1
    with DataParallel(bert(), 1) as parallel:
        assert measure(parallel, [ids, second], TOKENIZER).pieces == 3
        with pytest.raises(TrainingError, match="text: expected a word that the vocabulary can spell, got none"):
            measure(parallel, [second], TOKENIZER)
        with pytest.raises(TrainingError, match="text: expected at least one"):
            measure(parallel, [], TOKENIZER)


def test_some_gaps_are_a_seventh_of_each_row(rows):
    batches = list(some_gaps(rows, TOKENIZER))
    assert [batch.tokens.shape for batch in batches] == [(1, len(ids)) for ids in rows]
    for number, (batch, ids) in enumerate(zip(batches, rows)):
        expected = with_gaps(ids, number % min(7, len(ids) - 2), TOKENIZER)
        np.testing.assert_array_equal(batch.targets[0], expected.targets)
        assert float(bert().loss(*batch)) > 0
