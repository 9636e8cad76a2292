"""The trainer: the same merges as by the definition and as another implementation learns, and files of any size."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2np.text import utf8
from gpt2np.text.bpe import PIECE, Tokenizer, merge_short
from gpt2np.text.bpe_train import count_pieces, learn_merges, learn_vocabulary
from gpt2np.text.vocabulary import END_OF_TEXT, TokenizerError, spell

from . import reference
from .test_bpe import GOLDEN

TEXT = "the cat sat on the mat; the cat that sat there sat flat.\n" * 3


def write(folder, *texts):
    """One file for each text."""
    paths = [folder / f"{i}.txt" for i in range(len(texts))]
    for path, text in zip(paths, texts):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return paths


def spelled(merges):
    return [(spell(left), spell(right)) for left, right in merges]


# ---- which merges

def test_the_first_merges_by_hand():
    """In "aaa aaab" x 2: aa four times (as 'aaa' has it twice), then aa + a; 'b' and the space once or twice less."""
    assert learn_merges({"aaa": 2, " aaab": 2}, 3) == [(b"a", b"a"), (b"aa", b"a"), (b" ", b"aaa")]


some_text = st.one_of(st.text("ab", max_size=30), st.text("ab c", max_size=60), st.text(max_size=30))


@given(texts=st.lists(some_text, max_size=5), n_merges=st.integers(0, 40))
def test_merges_equal_the_definition(texts, n_merges):
    counts = Counter(piece for text in texts for piece in PIECE.findall(text))
    assert spelled(learn_merges(counts, n_merges)) == reference.learn(texts, n_merges)


@given(texts=st.lists(some_text, max_size=5), n_merges=st.integers(0, 40))
def test_what_was_learned_from_texts_encodes_to_itself(texts, n_merges):
    """In the text where it was learned, its bytes were merged among themselves alone: so they are by themselves."""
    counts = Counter(piece for text in texts for piece in PIECE.findall(text))
    tokenizer = Tokenizer(merges := learn_merges(counts, n_merges))
    for i, (left, right) in enumerate(merges, 256):
        ids = [tokenizer._id_of_byte[byte] for byte in left + right]
        merge_short(ids, tokenizer._rank_of, tokenizer._made)
        assert ids == [i]


def test_golden_merges():
    """HF tokenizers learned these from the same texts."""
    counts = Counter(piece for case in GOLDEN["texts"] for piece in PIECE.findall(case["text"]))
    assert spelled(learn_merges(counts, 10_000)) == [tuple(pair) for pair in GOLDEN["learned"]]


@given(seed=st.randoms(use_true_random=False))
def test_the_order_of_pieces_does_not_matter(seed):
    counts = list(Counter(PIECE.findall(TEXT)).items())
    expected = learn_merges(dict(counts), 50)
    seed.shuffle(counts)
    assert learn_merges(dict(counts), 50) == expected


def test_fewer_merges_are_a_beginning_of_more():
    counts = Counter(PIECE.findall(TEXT))
    assert learn_merges(counts, 30)[:10] == learn_merges(counts, 10)


def test_no_piece_no_merge():
    assert learn_merges({}, 10) == []
    assert learn_merges({"abc": 1}, 10) == []
    assert learn_merges({"ab": 2}, 10) == [(b"a", b"b")]


# ---- reading files

texts = st.one_of(st.text(max_size=60), st.text(st.sampled_from(" \n\r'sta1!世😀<|>"), max_size=60),
                  st.lists(st.sampled_from([END_OF_TEXT, "<|", " ", "\n", "a", "don't"])).map("".join))


@pytest.mark.parametrize("block", [1, 2, 3, 10])
@given(text=texts)
def test_counts_do_not_depend_on_how_a_file_is_read(tmp_path_factory, block, text):
    paths = write(tmp_path_factory.mktemp("blocks"), text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utf8, "BLOCK", block)
        counted = count_pieces(paths)
    text = text.removeprefix("\ufeff")
    assert counted == Counter(piece for document in text.split(END_OF_TEXT) for piece in PIECE.findall(document))


def test_files_are_separate_texts(tmp_path):
    assert count_pieces(write(tmp_path, "a b", "c", "")) == {"a": 1, " b": 1, "c": 1}


def test_the_reserved_token_is_not_learned(tmp_path):
    tokenizer = learn_vocabulary(write(tmp_path, f"{TEXT}{END_OF_TEXT}\n" * 5), 270)
    assert tokenizer.n_vocab == 270
    assert tokenizer.end_of_text == 269
    assert not any(b"|" in left + right for left, right in tokenizer.merges)
    assert tokenizer.encode(f"the{END_OF_TEXT}", {END_OF_TEXT})[-1] == 269
    assert 269 not in tokenizer.encode(END_OF_TEXT)


@pytest.mark.parametrize("block", [1, 2, 2**20])
def test_a_byte_order_mark_before_a_file_is_no_text(tmp_path, monkeypatch, block):
    """As in training; Windows' line ends, and the same character further on, are."""
    monkeypatch.setattr(utf8, "BLOCK", block)
    counts = count_pieces(write(tmp_path, "\ufeffa\r\nb", "a\ufeff\ufeff", "\ufeff"))
    assert counts == {"a": 2, "\r": 1, "\n": 1, "b": 1, "\ufeff\ufeff": 1}


def test_a_learned_vocabulary_is_written_and_read_again(tmp_path):
    learned = learn_vocabulary(write(tmp_path, TEXT), 270)
    learned.save(tmp_path / "vocabulary")
    loaded = Tokenizer.load(tmp_path / "vocabulary")
    assert loaded.merges == learned.merges
    assert loaded.encode(TEXT) == learned.encode(TEXT)
    assert len(learned.encode(TEXT)) < len(TEXT) / 2
    lines = (tmp_path / "vocabulary" / "vocab.bpe").read_text().splitlines()
    assert lines[:3] == ["#version: 0.2", "a t", "t h"]


def test_shakespeare_merges_equal_those_of_a_recount(shakespeare):
    """After 300 merges no count has drifted: each is what counting the encoded pieces again gives."""
    counts = count_pieces([shakespeare])
    merges = learn_merges(counts, 301)
    tokenizer = Tokenizer(merges[:300])
    pairs = Counter()
    for piece, count in counts.items():
        tokens = [tokenizer.decode_bytes([i]) for i in tokenizer.encode(piece)]
        for pair in pairwise(tokens):
            pairs[pair] += count
    assert pairs[merges[300]] == max(pairs.values())


# ---- bad input

@pytest.mark.parametrize("n_vocab", [256, 0, -5])
def test_a_vocabulary_too_small_is_refused(tmp_path, n_vocab):
    with pytest.raises(TokenizerError, match=f"expected a vocabulary of 257 tokens, .*, or more, got {n_vocab}"):
        learn_vocabulary(write(tmp_path, TEXT), n_vocab)


def test_the_smallest_vocabulary_is_the_bytes(tmp_path):
    assert learn_vocabulary(write(tmp_path, TEXT), 257).merges == []


def test_too_little_text_is_refused(tmp_path):
    with pytest.raises(TokenizerError, match=r"too few pairs .* for 5000 tokens: it suffices for 276; ask"):
        learn_vocabulary(write(tmp_path, TEXT), 5000)


@pytest.mark.parametrize("block", [1, 5, 2**20])
@pytest.mark.parametrize("data, place, byte", [
    (b"caf\xe9", 3, "e9"), (b"one\ntwo\nthree \xff four\n", 14, "ff"), (b"one\n\n\xe4\xb8", 5, "e4"),
    (b"\xef\xbb\xbfa\xff", 4, "ff"), (b"\xef\xbb", 0, "ef"),
    ("é\nè\n".encode() + b"\xc3\n", 6, "c3"), (b"a" * 1000 + b"\xe4\xb8a", "1,000", "e4"),
])
def test_text_that_is_no_utf8_is_refused_by_file_and_place(tmp_path, monkeypatch, data, place, byte, block):
    monkeypatch.setattr(utf8, "BLOCK", block)
    paths = write(tmp_path, "good\n", data)
    with pytest.raises(TokenizerError, match=f"1.txt: expected text in UTF-8, got the byte 0x{byte} at byte {place}: "):
        count_pieces(paths)
