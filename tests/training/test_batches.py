"""Token files and batches: what is in them, that nothing is left out, and what is refused."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2np.text import bpe
from gpt2np.text.bpe import Tokenizer
from gpt2np.text.vocabulary import END_OF_TEXT, TokenizerError
from gpt2np.training.batches import HEADER, Batches, map_tokens, read_texts, write_tokens
from gpt2np.training.errors import TrainingError
from tests.checkpoints.tiny import MERGES


@pytest.fixture
def tokenizer():
    return Tokenizer(MERGES)


@pytest.fixture
def path(tmp_path, tokenizer):
    write_tokens(tmp_path / "tokens", [["the", " cat"], ["thé<|endo", "ftext|>end"]], tokenizer)
    return tmp_path / "tokens"


def test_texts_come_back_as_they_were(path, tokenizer):
    tokens = map_tokens(path, tokenizer)
    assert tokens.dtype == np.uint16 and isinstance(tokens, np.memmap)
    assert tokenizer.decode(tokens.tolist()) == "the cat<|endoftext|>thé<|endoftext|>end"
    assert list(tokens).count(tokenizer.end_of_text) == 2
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 0


def test_a_large_vocabulary_has_wide_ids(tmp_path, tokenizer):
    tokenizer.n_vocab = 1 << 17                         # a stand-in: learning so many merges would take minutes
    tokenizer.decode_bytes = lambda ids: b"x"
    write_tokens(tmp_path / "wide", ["the"], tokenizer)
    tokens = map_tokens(tmp_path / "wide", tokenizer)
    assert tokens.dtype == np.uint32 and len(tokens) == 1


def test_another_vocabulary_is_refused(path):
    other = Tokenizer([(b"h", b"e"), (b"t", b"he")])    # the same tokens but one, the same number
    assert other.fingerprint() == Tokenizer(other.merges).fingerprint()
    every_version_s = "72c534ed819dcac9502be8780387388cd611ab9eb8185777d0a3d4285819ce98"        # or files would be lost
    assert other.fingerprint().hex() == every_version_s
    with pytest.raises(TrainingError, match="expected tokens of this run's vocabulary, of 259 tokens, got those of an"):
        map_tokens(path, other)


def test_damaged_files_are_refused(path, tokenizer):
    data = path.read_bytes()
    for damaged, message in ((data[:-1], "it is damaged"), (data + b"\0", "it is damaged"), (b"", "expected a token f"),
                             (data[:HEADER.size - 1], "expected a token file"), (b"The text" * 20, "begins with b'The"),
                             (data[:16] + b"\3" + data[17:], "it is damaged")):
        path.write_bytes(damaged)
        with pytest.raises(TrainingError, match=message):
            map_tokens(path, tokenizer)


def test_a_file_that_was_not_finished_is_refused(path, tokenizer):
    with pytest.raises(FileExistsError):
        write_tokens(path, ["again"], tokenizer)
    path.unlink()
    with pytest.raises(TokenizerError):
        write_tokens(path, read_texts([__file__, latin_1(path.parent)]), tokenizer)
    with pytest.raises(TrainingError, match="expected a token file"):
        map_tokens(path, tokenizer)


def latin_1(folder):
    (folder / "latin-1.txt").write_bytes("thé".encode("latin-1"))
    return folder / "latin-1.txt"


def test_text_that_is_not_utf8_is_named(tmp_path):
    with pytest.raises(TokenizerError, match=r"latin-1.txt: expected text in UTF-8, got the byte 0xe9 at byte 2"):
        [list(text) for text in read_texts([latin_1(tmp_path)])]


def test_a_mark_of_utf8_is_no_text(tmp_path):
    (tmp_path / "bom.txt").write_bytes(b"\xef\xbb\xbfthe\r\n")
    assert [list(text) for text in read_texts([tmp_path / "bom.txt"])] == [["the\r\n"]]


def test_an_empty_file_has_no_tokens(tmp_path, tokenizer):
    write_tokens(tmp_path / "empty", [""], tokenizer)
    assert len(map_tokens(tmp_path / "empty", tokenizer)) == 0


@pytest.mark.parametrize("order", ["windows", "epochs"])
def test_a_batch_follows_from_seed_and_step(order):
    tokens = np.arange(100, dtype=np.uint16)
    one, other = Batches(tokens, 4, 7, 5, order), Batches(tokens, 4, 7, 5, order)
    expected = [one.batch(step) for step in range(9)]
    for step in (8, 3, 0, 3):
        for a, b in zip(other.batch(step), expected[step]):
            np.testing.assert_array_equal(a, b)
    assert not np.array_equal(expected[0][0], expected[1][0])
    assert not np.array_equal(Batches(tokens, 4, 7, 6, order).batch(0)[0], expected[0][0])
    for x, y in expected:
        assert x.shape == y.shape == (4, 7)
        np.testing.assert_array_equal(y, x + 1)         # of this text, the next token is the next number
        np.testing.assert_array_equal(np.diff(x), 1)


def test_random_windows_reach_both_ends():
    batches = Batches(np.arange(10), 50, 4, 0)
    starts = {int(x[0]) for step in range(5) for x in batches.batch(step)[0]}
    assert starts == set(range(6))


@pytest.mark.parametrize("n, B, T, n_windows", [(100, 3, 7, 13), (99, 4, 7, 13), (98, 3, 7, 13), (97, 3, 7, 12),
                                                (15, 2, 7, 1), (14, 2, 7, 1), (8, 2, 7, 1), (64, 5, 3, 20),
                                                (30, 7, 1, 29)])
def test_an_epoch_has_every_window_once(n, B, T, n_windows):
    batches = Batches(np.arange(n), B, T, 1, "epochs")
    starts = np.concatenate([batches.batch(step)[0][:, 0] for step in range(3 * n_windows)])
    orders = set()
    for epoch in range(3 * B):
        seen = starts[epoch * n_windows:(epoch + 1) * n_windows]
        assert len(seen) == n_windows and seen.max() + T < n
        np.testing.assert_array_equal(np.diff(np.sort(seen)), T)
        orders.add(tuple(seen))
    assert len(orders) > 1 or n_windows == 1


@pytest.mark.parametrize("n, shifts", [(20, 7), (22, 7), (21, 7), (14, 7), (13, 6), (9, 2)])
def test_epochs_are_cut_at_every_place(n, shifts):
    """22 tokens have 21 predictions: three windows of 7 would leave no room for a shift."""
    batches = Batches(np.arange(n), 2, 7, 0, "epochs")
    assert {int(x[0]) % 7 for step in range(100) for x in batches.batch(step)[0]} == set(range(shifts))


def test_the_smallest_text():
    for order in ("windows", "epochs"):
        x, y = Batches(np.arange(8), 2, 7, 0, order).batch(3)
        assert (x == np.arange(7)).all() and (y == np.arange(1, 8)).all()
        with pytest.raises(TrainingError, match="expected at least 9 tokens, one more than the context, got 8"):
            Batches(np.arange(8), 2, 8, 0, order)


def test_impossible_batches_are_refused():
    for arguments, message in (((0, 4, 0), "got 0 of 4"), ((2, 0, 0), "got 2 of 0"),
                               ((2, 4, 0, "sorted"), "order: expected one of windows, epochs, got 'sorted'")):
        with pytest.raises(TrainingError, match=message):
            Batches(np.arange(20), *arguments)


# ---- memory


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["the", " cat", "  ", "\n", "é", "<|endoftext|>", "<|endo", "ftext|>", " ", "\t\t x",
                                 "'s", "a" * 40, "，世界", "1234", "\r\n", "\u3000"]), max_size=30), st.integers(1, 9),
       st.integers(0, 99))
def test_the_parts_of_a_text_make_no_difference(tmp_path_factory, words, n, seed):
    tokenizer, text = Tokenizer(MERGES), "".join(words)
    cuts = sorted(np.random.default_rng(seed).integers(0, len(text) + 1, n))
    parts = [text[i:j] for i, j in zip([0, *cuts], [*cuts, len(text)])]
    folder = tmp_path_factory.mktemp("parts")
    write_tokens(folder / "tokens", [parts, ["end"]], tokenizer)
    whole = tokenizer.encode(text, allowed_special=(END_OF_TEXT,))
    expected = [*whole, tokenizer.end_of_text, *tokenizer.encode("end")]
    assert map_tokens(folder / "tokens", tokenizer).tolist() == expected


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="it is read in /proc what a process needs")
@pytest.mark.parametrize("command", ["write_tokens(folder / 'tokens', read_texts([folder / 'text']), tokenizer)",
                                     "evaluate.measure_text(f'{folder}/text', parallel, tokenizer, 256, 128, False)"])
@pytest.mark.parametrize("first", ["", "\N{GRINNING FACE}"])          # with it, Python has 4 bytes for each character
def test_encoding_needs_little_memory(tmp_path, command, first):
    """At most 3 bytes for each byte of the text, where a list of all tokens, and the text itself, would be 11 to 13."""
    source = "".join(path.read_text(encoding="utf-8") for path in sorted(Path(bpe.__file__).parents[1].rglob("*.py")))
    text = first + source * (8_000_000 // len(source))
    (tmp_path / "text").write_text(text, encoding="utf-8")
    script = f"""
import pathlib
import numpy as np
from gpt2np import evaluate
from gpt2np.text.bpe import Tokenizer
from gpt2np.training import evaluation
from gpt2np.training.batches import read_texts, write_tokens

def memory(name):
    line, = (line for line in open("/proc/self/status") if line.startswith(name))
    return 1024 * int(line.split()[1])

class Parallel:
    workers = 8
    replicas = [type("Model", (), {{"config": type("Config", (), {{"n_vocab": 50257}})}})]

    def total(self, function, batch):
        return np.ones((len(batch[0]) + evaluation.BINS, 3))

folder, tokenizer, parallel = pathlib.Path({str(tmp_path)!r}), Tokenizer.gpt2(), Parallel()
tokenizer.encode("KING. What news?")
before = memory("VmRSS")
{command}
print(memory("VmHWM") - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout.splitlines()[-1]) < 3 * len(text.encode())
