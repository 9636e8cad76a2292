"""WordPiece: the same ids as by the tokenizers library and by the definition; no piece crosses a word; text back."""

import hashlib
import json
import sys
import tracemalloc
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gpt2np.text import wordpiece
from gpt2np.text.bpe import at_breaks
from gpt2np.text.streaming import StreamingDecoder, stops_at, text_before
from gpt2np.text.vocab_txt import SPECIAL
from gpt2np.text.vocabulary import TokenizerError
from gpt2np.text.wordpiece import WordPiece, kept, learn_characters

from . import reference_wordpiece as reference

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "text_wordpiece.json").read_text())
OPTIONS = [run["options"] for run in GOLDEN["encoded"][:-1]]
any_options = st.integers(0, len(OPTIONS) - 1)

# U+1171E was a mark that takes no room until Unicode 15, and is none today.
CHANGED_SINCE = {0x1171E}

# Characters that the preparation may trip over, those of the vocabulary, and any that this Python knows.
characters = st.one_of(
    st.sampled_from("abcABC  \n,.'-#[]éÉe\u0301İΣσς世界，。のー한😀"),
    st.sampled_from("a\u200b\u00ad\u3000\x0b\x85\u302e\u1b44\U0001d165\U0001d16d"),
    st.sampled_from(sorted({c for text in GOLDEN["texts"] for c in text})),
    st.characters(exclude_categories=("Cs",)),
)
texts = st.one_of(st.text(characters), st.text(st.sampled_from("ab ,世é#'"), max_size=60))


@pytest.fixture(scope="module")
def large():
    return WordPiece(GOLDEN["large"])


@pytest.fixture(scope="module")
def with_options():
    return [WordPiece(GOLDEN["large"], **options) for options in OPTIONS]


@st.composite
def small_vocabularies(draw):
    """Pieces of the letters a, b and c, and a few signs."""
    words = draw(st.lists(st.text("abc", min_size=1, max_size=4), unique=True, max_size=20))
    further = draw(st.lists(st.text("abc", min_size=1, max_size=4), unique=True, max_size=20))
    return draw(st.permutations([*SPECIAL, *words, *(f"##{part}" for part in further), ",", "世", "#", "##"]))


def spelled(tokenizer, text, **options):
    return [tokenizer.pieces[i] for i in tokenizer.encode(text, **options)]


# ---- the same as the tokenizers library

@pytest.mark.parametrize("run", GOLDEN["encoded"], ids=lambda run: f"{run['vocabulary']} {run['options']}")
def test_golden_ids(run):
    tokenizer = WordPiece(GOLDEN[run["vocabulary"]], **run["options"])
    assert len(run["ids"]) == len(GOLDEN["texts"]) > 400
    for text, ids in zip(GOLDEN["texts"], run["ids"]):
        assert tokenizer.encode(text) == ids, ascii(text)


def test_the_golden_texts_are_hard():
    """Most of them are spelled without [UNK] by the one vocabulary, and hardly any by the other; options matter."""
    *large, small = GOLDEN["encoded"]
    unknown = [sum(GOLDEN[run["vocabulary"]].index("[UNK]") in ids for ids in run["ids"]) for run in GOLDEN["encoded"]]
    assert max(unknown[:-1]) < 30 and unknown[-1] > 300
    for run in large[1:]:
        assert sum(a != b for a, b in zip(run["ids"], large[0]["ids"])) > 40


@pytest.mark.parametrize("case", GOLDEN["special"], ids=lambda case: ascii(case["text"]))
def test_golden_ids_with_special_pieces(large, case):
    assert large.encode(case["text"], SPECIAL) == case["ids"]
    encoded = large.encode_pair(case["text"], allowed_special=SPECIAL)
    assert encoded.ids[1:-1] == case["ids"] and encoded.words[1:-1] == case["words"]


@pytest.mark.parametrize("row", GOLDEN["pairs"], ids=lambda row: ascii((row["first"], row["second"]))[:60])
def test_golden_pairs(large, row):
    """Of one text and of two, of texts and of words, of any length and cut in each way."""
    assert len(row["cases"]) > 15
    for case in row["cases"]:
        arguments = row["first"], row["second"], case["max_length"], case["cut"]
        if case["ids"] is None:
            with pytest.raises(TokenizerError, match=f"^cut: {case['cut']}: expected a (first|second) text"):
                large.encode_pair(*arguments)
        else:
            assert large.encode_pair(*arguments) == (case["ids"], case["segments"], case["words"]), case


def codes(name):
    return {code for low, high in GOLDEN[name] for code in range(low, high + 1)}


@pytest.mark.parametrize("lower", [False, True])
def test_every_code_point_is_prepared_as_in_the_library(large, lower):
    """Between two letters; but for those that Unicode has changed since its version 8, which are the library's tables.

    Of what is not assigned, of private use, and of the large blocks of Chinese characters, a part stands for all.
    """
    removed, space, marks = codes("removed"), codes("space"), codes("marks")
    alone, unassigned = codes("alone_uncased" if lower else "alone"), codes("unassigned")
    blocks = [*GOLDEN["unassigned"], (0xD800, 0xDFFF), (0xE000, 0xF8FF), (0xF0000, 0xFFFFD), (0x100000, 0x10FFFD),
              *((low, high) for low, high in GOLDEN["alone"] if high - low > 4000)]
    left_out = {code for low, high in blocks for code in range(low, high + 1) if 0xD800 <= low < 0xE000 or
                not (code in (low, high) or code % 499 == 0)}
    tokenizer, different, tried = WordPiece(SPECIAL, do_lower_case=lower), set(), 0
    for code in range(0x110000):
        if code in left_out: continue
        c, tried = chr(code), tried + 1
        if code in space:
            expected = ["a", "b"]
        elif code in removed or (lower and code in marks):
            expected = ["ab"]
        elif lower and 0xAC00 <= code < 0xD7A4:
            continue                                                    # see the next test
        else:
            made = GOLDEN["becomes"].get(f"{code:x}", c) if lower else c
            expected = ["a", made, "b"] if code in alone else [f"a{made}b"]
        if tokenizer.words(f"a{c}b") != expected:
            different.add(code)
    known = codes("otherwise") | CHANGED_SINCE
    newer = {code for code in different if code in unassigned or unicodedata.category(chr(code)) == "Cn"}
    assert not [f"{code:x}" for code in different - known - newer]
    assert tried > 50_000 and len(known) < 600


def test_every_syllable_of_hangul_is_prepared_as_in_the_library():
    digest, tokenizer = hashlib.sha256(), WordPiece(SPECIAL)
    for code in range(0xAC00, 0xD7A4):
        word, = tokenizer.words(chr(code))
        digest.update(word.encode())
    assert digest.hexdigest() == GOLDEN["hangul"]


def test_what_is_followed_where_programs_differ(large):
    """Of each pair of programs that the docstring names, the library's way."""
    assert large.words("a\u0378b") == ["a\u0378b"]                     # not assigned, and stays
    assert large.words("ΟΔΟΣ ΣΣ") == ["οδοσ", "σσ"]
    assert large.words("a\U0002b820b") == ["a\U0002b820b"]
    assert large.words("a\U0002b81fb\U0002b920") == ["a", "\U0002b81f", "b", "\U0002b920"]
    assert [kept([9, 9], room, "longest_first") for room in (4, 5)] == [[2, 2], [2, 3]]
    assert kept([9, 8], 5, "longest_first") == [3, 2]


# ---- the same as the definition

@given(text=texts, option=any_options)
def test_encode_equals_the_definition(with_options, text, option):
    tokenizer, options = with_options[option], OPTIONS[option]
    assert tokenizer.words(text) == reference.words(text, **options)
    assert spelled(tokenizer, text) == reference.encode(tokenizer.pieces, text, **options)


@given(pieces=small_vocabularies(), text=st.text("abc ,世#d", max_size=40))
def test_any_vocabulary_equals_the_definition(pieces, text):
    tokenizer = WordPiece(pieces)
    assert spelled(tokenizer, text) == reference.encode(pieces, text)
    assert [i for passage in tokenizer.explain(text) for word in passage.words for i in word.ids] == \
        tokenizer.encode(text)


@given(text=texts, option=any_options, window=st.sampled_from([1, 2, 3, 7, 20]))
def test_cutting_a_long_text_into_windows_changes_nothing(with_options, text, option, window):
    tokenizer = with_options[option]
    expected = tokenizer.encode(text, SPECIAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wordpiece, "WINDOW", window)
        assert tokenizer.encode(text, SPECIAL) == expected


def test_the_longest_piece_of_all_is_found():
    tokenizer = WordPiece([*SPECIAL, "abcdefgh", "##ijklmn", "a"])
    assert spelled(tokenizer, "abcdefghijklmn a") == ["abcdefgh", "##ijklmn", "a"]


@given(text=texts)
def test_what_is_remembered_changes_nothing(large, text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wordpiece, "MAX_CHARACTERS", 2)
        patch.setattr(wordpiece, "MAX_WORDS", 2)
        tokenizer = WordPiece(large.pieces)
        assert tokenizer.encode(text) == large.encode(text) == large.encode(text)
        assert len(tokenizer._prepared) <= 2 and len(tokenizer._ids_of_word) <= 2


# ---- laws

@given(text=texts)
def test_pieces_join_to_their_words(large, text):
    """No piece crosses the border of a word, and only a word that cannot be spelled is [UNK]."""
    encoded, words = large.encode_pair(text), large.words(text)
    assert set(encoded.ids) <= set(range(large.n_vocab))
    pieces_of = {number: [] for number in range(len(words))}
    for i, number in zip(encoded.ids[1:-1], encoded.words[1:-1]):
        pieces_of[number].append(large.pieces[i])
    for number, pieces in pieces_of.items():
        assert not pieces[0].startswith("##") and all(piece.startswith("##") for piece in pieces[1:])
        assert pieces == ["[UNK]"] or pieces[0] + "".join(piece[2:] for piece in pieces[1:]) == words[number]


@given(parts=st.lists(st.one_of(st.sampled_from([*SPECIAL, "a", " ", "[", "]", "世"]), st.text(characters))),
       allowed=st.sets(st.sampled_from(SPECIAL)))
def test_special_pieces_come_of_a_text_only_where_they_are_allowed(large, parts, allowed):
    """But for [UNK], which also stands for words."""
    text = "".join(parts)
    assert not {large.pad, large.cls, large.sep, large.mask} & set(large.encode(text))
    counts = Counter(spelled(large, text, allowed_special=allowed))
    for special in set(SPECIAL) - {"[UNK]"}:
        assert counts[special] == (text.count(special) if special in allowed else 0)


@given(text=texts, option=any_options)
def test_decoded_text_has_the_same_ids(with_options, text, option):
    tokenizer = with_options[option]
    ids = tokenizer.encode(text)
    assume(tokenizer.unk not in ids)
    assert tokenizer.encode(tokenizer.decode(ids)) == ids
    assert tokenizer.decode(tokenizer.encode(tokenizer.decode(ids))) == tokenizer.decode(ids)


@given(words=st.lists(st.text(characters, max_size=8), max_size=8))
def test_words_that_are_given_have_the_numbers_in_their_list(large, words):
    encoded = large.encode_pair(words)
    assert encoded.ids[1:-1] == [i for word in words for i in large.encode(word)]
    for number, word in enumerate(words):
        assert [i for i, n in zip(encoded.ids, encoded.words) if n == number] == large.encode(word)


@given(first=st.text("ab ,", max_size=12), second=st.none() | st.text("ab ,", max_size=12),
       max_length=st.integers(3, 20), cut=st.sampled_from(["longest_first", "only_first", "only_second"]))
def test_a_cut_pair_is_a_beginning_of_each(large, first, second, max_length, cut):
    whole = large.encode_pair(first, second)
    try:
        encoded = large.encode_pair(first, second, max_length, cut)
    except TokenizerError as error:
        assert cut != "longest_first" and "that are too many" in str(error)
        assert len(whole.ids) > max_length
        return
    assert len(encoded.ids) == min(len(whole.ids), max_length) == len(encoded.segments) == len(encoded.words)
    assert encoded.ids[0] == large.cls and encoded.ids[-1] == large.sep
    assert encoded.ids.count(large.sep) == 1 + (second is not None) and encoded.segments == sorted(encoded.segments)
    lengths = []
    for segment, text in enumerate([first] if second is None else [first, second]):
        ids, here = large.encode(text), [i for i, s in zip(encoded.ids, encoded.segments) if s == segment]
        left = here[segment == 0:-1]
        assert left == ids[:len(left)]
        lengths.append((len(left), len(ids)))
    for at, (n, all_of_it) in enumerate(lengths):
        if cut == ("only_second", "only_first")[at]:
            assert n == all_of_it
        if cut == "longest_first" and n < all_of_it:        # so the other is not longer by more than one
            assert all(m <= n + 1 for m, _ in lengths)


# ---- text back

@pytest.mark.parametrize("text, expected", [
    ("Hello, world!", "hello, world!"), ("Don't!  (Never again.)", "don't! (never again.)"),
    ("well-known and/or a_b", None), ("it costs $3.14, or 50%", None),
    ("你好，世界！", "你好，世界！"), ("我喜欢Python和C++。", "我喜欢python和c + +。"), ("今天是2024年2月29日", None),
    ("“引号”和《书》——好……", None), ("東京タワーのカタカナ", None), ("ひらがな カタ", "ひらかな カタ"),
    ("a世b 界", "a世b界"), ("[1] {2}", None), ("café ÉTÉ", "cafe ete"), ("한국어 텍스트", None), ("", None),
    ("1. 2 3.4", "1.2 3.4"), ("👍 😀", None), ("a & b = c", None),
])
def test_text_is_written_as_one_would(large, text, expected):
    tokenizer = learn_characters([text, *GOLDEN["texts"]], 5000)
    written = unicodedata.normalize("NFC", tokenizer.decode(tokenizer.encode(text)))
    assert written == (text if expected is None else expected)


def test_spaces_where_chinese_characters_are_no_words():
    tokenizer = WordPiece([*SPECIAL, "世", "##界", "界", "，"], tokenize_chinese_chars=False)
    assert spelled(tokenizer, "世界，界 世") == ["世", "##界", "，", "界", "世"]
    assert tokenizer.decode(tokenizer.encode("世界，界 世")) == "世界，界 世"


def test_signs_without_a_space_are_words_by_themselves():
    assert all(map(wordpiece.is_punctuation, wordpiece.CLOSING | wordpiece.OPENING))


def test_pieces_of_several_chinese_characters_or_signs():
    """No text has these ids, where each character is a word, but a model may write them."""
    tokenizer = WordPiece([*SPECIAL, "中国", "人民", "ab", "...", "（注）", "[unused1]", "t恤"])
    assert tokenizer.decode([5, 6, 7, 5, 8, 7, 8, 9, 7]) == "中国人民ab中国... ab...（注）ab"
    assert tokenizer.decode([7, 10, 10, 6]) == "ab [unused1] [unused1]人民"
    assert tokenizer.decode([7, 11, 7, 11, 11]) == "ab t恤ab t恤t恤"


def test_special_pieces_are_written_as_words(large):
    text = "[CLS] hello [MASK] world [SEP]床前明[MASK]光[SEP]"
    assert large.decode(large.encode(text, SPECIAL)) == text
    assert large.decode([large.unk, large.unk, large.pad]) == "[UNK] [UNK] [PAD]"


def test_a_piece_that_goes_on_is_written_on_even_after_a_sign():
    """No text has these ids, but a model may write them."""
    tokenizer = WordPiece([*SPECIAL, "un", "##able", "##，", "##世", "##", "世"])
    assert tokenizer.decode([6, 5, 6, 8, 6, 7, 5]) == "able unable世able，un"
    assert tokenizer.decode([5, 9, 5]) == "un ##un"


@given(ids=st.lists(st.integers(0, len(GOLDEN["large"]) - 1), max_size=30), before=st.integers(0, 30))
def test_tokens_one_at_a_time_join_to_what_decode_gives(large, ids, before):
    decoder = StreamingDecoder(large)
    assert "".join(map(decoder.feed, ids)) + decoder.finish() == large.decode(ids)
    prompt, written = ids[:before], ids[before:]
    if large.sep not in ids:
        assert large.decode(prompt) + text_before(large, written, after=prompt) == large.decode(ids)


@given(ids=st.lists(st.integers(0, len(GOLDEN["large"]) - 1), max_size=20), before=st.integers(0, 3),
       at=st.integers(0, 50), length=st.integers(1, 4))
def test_stop_strings_across_pieces_and_the_spaces_between(large, ids, before, at, length):
    prompt, written = ids[:before], ids[before:]
    assume(large.sep not in ids)
    text = text_before(large, written, after=prompt)
    assume(stop := text[at:at + length])
    stops = stops_at(large, stop, prompt)
    first = next(n for n in range(len(written) + 1) if stop in text_before(large, written[:n], after=prompt))
    assert [stops(written[:n]) for n in range(first + 1)] == [False] * first + [True]
    assert text_before(large, written, stop, prompt) == text[:text.index(stop)]


def test_a_text_that_begins_anew_begins_without_a_space(large):
    hello, = large.encode("Hello")
    assert text_before(large, [hello], after=[large.sep]) == "hello"
    assert text_before(large, [hello, large.sep, hello], after=[hello]) == " hello"
    new, further = StreamingDecoder(large), StreamingDecoder(large, [hello])
    for _ in range(2):                                  # finish leaves a decoder as it was
        assert [new.feed(hello), new.feed(hello), new.finish()] == ["hello", " hello", ""]
        assert [further.feed(hello), further.finish()] == [" hello", ""]


# ---- how it explains itself

@given(text=texts)
def test_explained_passages_have_the_words_and_ids_of_the_text(large, text):
    passages = large.explain(text)
    words = [word for passage in passages for word in passage.words]
    assert [word.text for word in words] == large.words(text)
    assert [i for word in words for i in word.ids] == large.encode(text)
    for word in words:
        assert "".join(piece.removeprefix("##") if n else piece for n, piece in enumerate(word.pieces)) + word.rest == \
            word.text
        assert word.ids == [large.unk] if word.rest else [large.pieces[i] for i in word.ids] == word.pieces
    written = [part for part in (passage.text for passage in passages)]
    assert all(not any(reference.is_white(c) for c in part) for part in written)
    assert "".join(written) == "".join(c for c in text if not reference.is_white(c))


def test_explain_shows_the_rest_that_no_piece_fits():
    tokenizer = WordPiece([*SPECIAL, "ab", "##c", "a"])
    (text, words), = tokenizer.explain("ABCC-abx")
    assert text == "ABCC-abx"
    assert words == [("abcc", ["ab", "##c", "##c"], "", [5, 6, 6]), ("-", [], "-", [1]), ("abx", ["ab"], "x", [1])]
    assert tokenizer.explain("ab[SEP]", ["[SEP]"])[1] == ("[SEP]", [("[SEP]", ["[SEP]"], "", [3])])


# ---- a vocabulary of characters

def test_the_most_frequent_characters_are_learned_first():
    tokenizer = learn_characters(["床前明月光，", "Tom 月下 tt", "é前"], 100)
    assert tokenizer.pieces == [*SPECIAL, "t", "前", "月", "e", "##m", "##o", "##t", "下", "光", "床", "明", "，"]
    assert learn_characters(["床前明月光，", "Tom 月下 tt", "é前"], 8).pieces == [*SPECIAL, "t", "前", "月"]
    assert learn_characters(["x" * 101 + " a" + "y" * 99], 100).pieces == [*SPECIAL, "##y", "a"]
    assert learn_characters(["bc bc bc a", "a"], 8).pieces == [*SPECIAL, "b", "##c", "a"]
    assert "T" in learn_characters(["Tom"], 100, do_lower_case=False).pieces


@given(lines=st.lists(st.text(characters), min_size=1), n_vocab=st.integers(6, 40))
def test_learned_characters_keep_to_their_bound_and_suffice_without_one(lines, n_vocab):
    assume(any(map(WordPiece(SPECIAL).words, lines)))
    assume(not any(len(word) > 100 for word in WordPiece(SPECIAL).words(" ".join(lines))))
    everything, bounded = learn_characters(lines, 10**6), learn_characters(iter(lines), n_vocab)
    assert bounded.pieces == everything.pieces[:n_vocab]
    for line in lines:
        assert everything.unk not in everything.encode(line)
    assert learn_characters(lines[::-1], 10**6).pieces == everything.pieces


@pytest.mark.parametrize("lines, n_vocab, message", [
    (["a"], 5, "n_vocab: expected more than the 5 of the special pieces, got 5"),
    ("abc", 50, "expected a list of texts, got one str"), ([" \n", ""], 50, "expected texts with characters to learn"),
    (["a", b"b"], 50, "expected text, a str, got bytes"), (["a\ud800"], 50, r"a lone surrogate, U\+D800"),
])
def test_what_cannot_be_learned_from(lines, n_vocab, message):
    with pytest.raises(TokenizerError, match=message):
        learn_characters(lines, n_vocab)


# ---- memory and time

@pytest.mark.slow
def test_memory_does_not_grow_with_the_text(large):
    """Beside the text and its ids, encoding needs as much for a long text as for one of a fourth of its length."""
    rng = np.random.default_rng(0)
    words = ["".join(map(chr, letters)) for letters in rng.integers(97, 123, (20_000, 7)).tolist()]
    spare = []
    for count in (5_000, 20_000):
        tokenizer = WordPiece(large.pieces)
        text = " ".join(words[:count])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wordpiece, "MAX_WORDS", 1_000)
            patch.setattr(wordpiece, "WINDOW", 2**13)
            tracemalloc.start()
            ids = tokenizer.encode(text)
            spare.append(tracemalloc.get_traced_memory()[1] - sys.getsizeof(ids))
            tracemalloc.stop()
        assert len(tokenizer._ids_of_word) <= 1_000
    assert spare[1] < 1.5 * spare[0], spare


def test_long_words_are_not_remembered(large):
    tokenizer = WordPiece(large.pieces)
    tokenizer.encode("a" * 65 + " " + "b" * 64 + " " + "c" * 1000)
    assert list(tokenizer._ids_of_word) == ["b" * 64]


def test_a_megabyte_without_a_space(large):
    """One word is looked at once, whatever its length; Chinese is cut into windows all the same."""
    assert large.encode("a" * 2**20) == [large.unk]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wordpiece, "WINDOW", 100)
        assert max(map(len, large._windows("世界" * 1000))) <= 100
        assert large.encode("世界" * 1000) == large.encode("世界") * 1000


# ---- bad input

@pytest.mark.parametrize("text, message", [
    (b"bytes", "expected text, a str, got bytes; decode it first"), (None, "expected text, a str, got NoneType"),
    (["a"], "expected text, a str, got list"), ("ab\ud800c", r"a lone surrogate, U\+D800 at character 2"),
    ("a" * 70_000 + " \udfff", r"a lone surrogate, U\+DFFF at character 70001"),
    ("[SEP]\ud800", r"a lone surrogate, U\+D800 at character 5"),
])
def test_what_is_no_text_is_refused(large, text, message):
    for use in (large.encode, large.explain, large.words):
        with pytest.raises(TokenizerError, match=message):
            use(text, ["[SEP]"])


@pytest.mark.parametrize("arguments, message", [
    ((b"a",), "expected a text or a list of words, got bytes"), (("a", 5), "a text or a list of words, got int"),
    ((["a", b"b"],), "expected text, a str, got bytes"), (("a\ud800",), "a lone surrogate"),
    (("a", "b", 2), r"max_length: expected 3 or more, for \[CLS\] and 2 \[SEP\], got 2"),
    (("a", None, 1), r"max_length: expected 2 or more, for \[CLS\] and 1 \[SEP\], got 1"),
    (("a b", None, 3, "only_second"), "cut: only_second: expected a second text, to lose the 1 ids that are too many"),
    (("a b", "c d e", 5, "only_first"), "cut: only_first: expected a first text of more than the 3 ids that are too"),
    (("a b", "c d e", 5, "shortest"), "cut: expected longest_first, only_first or only_second, got 'shortest'"),
])
def test_what_is_no_pair_is_refused(large, arguments, message):
    with pytest.raises(TokenizerError, match=message):
        large.encode_pair(*arguments)


def test_an_unknown_special_piece_is_refused(large):
    for use in (large.encode, large.encode_pair, large.explain):
        with pytest.raises(TokenizerError, match=r"allowed_special: expected some of \[PAD\] .*, got \['<s>'\]"):
            use("text", allowed_special=["<s>"])
    assert large.encode("[MASK]", "[MASK]") == [large.mask]            # one name, not its letters
    assert large.encode_pair("[SEP]", "[SEP]", allowed_special=iter(SPECIAL)).ids.count(large.sep) == 4


@pytest.mark.parametrize("ids, message", [
    ([0, 10**6], r"expected ids from 0 to \d+, got 1000000"), ([-1], "got -1"), ([0.5], "got 0.5"), ("ab", "got 'a'"),
    (5, "expected a flat sequence of ids"), ([[1, 2]], "expected a flat sequence of ids"),
    (np.zeros((2, 2), int), "expected a flat sequence of ids"),
])
def test_what_are_no_ids_is_refused(large, ids, message):
    for use in (large.decode, large.decode_bytes):
        with pytest.raises(TokenizerError, match=message):
            use(ids)


def test_decode_takes_numpy_arrays(large):
    ids = large.encode("To be, or not to be")
    for dtype in (np.uint16, np.int64):
        assert large.decode_bytes(np.array(ids, dtype)) == b"to be, or not to be"


def test_a_text_may_be_cut_before_white_space():
    tokenizer = WordPiece([*SPECIAL, "a", "b", "##b", "é", "世", ",", "."])
    for text in ("a ab,\n\tab .  a\u3000世 b", "a\u00a0b\u2028ab", " a", "", "é\u0301 \u0301b", "ab[SEP] a"):
        parts = list(at_breaks(text))
        assert [i for part in parts for i in tokenizer.encode(part, ["[SEP]"])] == tokenizer.encode(text, ["[SEP]"])
    assert tokenizer.cuts
