"""The encoder: the same ids as by the definition and as by other implementations, and no text lost."""

import heapq
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2np.text import bpe
from gpt2np.text.bpe import ASCII_PIECE, PIECE, Tokenizer, cut, merge_long, merge_short
from gpt2np.text.vocabulary import BYTE_TOKENS, END_OF_TEXT, TokenizerError, check_ids, check_merges, spell

from . import reference

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "text_gpt2.json").read_text())
VOCAB_BPE = Path(bpe.__file__).parent / "gpt2" / "vocab.bpe"

# Characters that the cutting into pieces may trip over stand beside arbitrary ones. Unassigned ones (Cn) are left out,
# since two versions of Unicode need not agree on what they are.
characters = st.one_of(
    st.sampled_from(" \n\t'’stredvml09A_.\u0301\u200d\u3000\ufeff\x85世界ไالعर😀"),
    st.characters(exclude_categories=("Cs", "Cn")),
)
texts = st.one_of(st.text(characters), st.text(st.sampled_from(" \n'srelv10!"), max_size=60))


@pytest.fixture(scope="module")
def slow():
    merges = reference.read_merges(VOCAB_BPE)
    return reference.Reference(merges, reference.ids_in_order(merges))


@st.composite
def small_vocabularies(draw):
    """Merges in an order that no training would give: of any two tokens there are, in the alphabet a, b, c."""
    tokens, merges = [b"a", b"b", b"c"], []
    for _ in range(draw(st.integers(0, 12))):
        left, right = draw(st.sampled_from(tokens)), draw(st.sampled_from(tokens))
        if left + right not in tokens:
            tokens.append(left + right)
            merges.append((left, right))
    return merges


# ---- the same as the definition

@given(text=texts)
def test_encode_equals_the_definition(gpt2, slow, text):
    assert gpt2.encode(text) == slow.encode(text)


@given(text=texts)
def test_pieces_equal_a_cut_without_regular_expressions(text):
    assert PIECE.findall(text) == reference.cut(text)


@given(text=st.one_of(st.text(st.characters(codec="ascii")), st.text(st.sampled_from(" \n\x1c'srelv10_!"))))
def test_pieces_of_ascii_are_the_same_by_both_expressions(text):
    assert ASCII_PIECE.findall(text) == PIECE.findall(text)


@given(merges=small_vocabularies(), word=st.text("abc", max_size=80))
def test_both_ways_of_merging_equal_the_definition_for_any_order_of_merges(merges, word):
    tokenizer = Tokenizer(merges)
    spelled = [(left.decode(), right.decode()) for left, right in merges]
    expected = reference.Reference(spelled, reference.ids_in_order(spelled)).encode(word)
    short, long = ([tokenizer._id_of_byte[byte] for byte in word.encode()] for _ in range(2))
    applied = merge_short(short, tokenizer._rank_of, tokenizer._made)
    assert merge_long(long, tokenizer._rank_of, tokenizer._made) == applied
    assert short == long == expected
    assert tokenizer.encode(word) == expected


@given(merges=small_vocabularies(), seed=st.integers(0, 2**32), word=st.text("abc", max_size=30))
def test_ids_in_another_order_change_nothing_but_the_ids(merges, seed, word):
    plain = Tokenizer(merges)
    order = np.random.default_rng(seed).permutation(plain.n_vocab).tolist()
    shuffled = Tokenizer(merges, {plain.decode_bytes([i]): order[i] for i in range(plain.n_vocab)})
    assert shuffled.encode(word) == [order[i] for i in plain.encode(word)]
    assert shuffled.decode(shuffled.encode(word)) == word
    assert shuffled.end_of_text == order[plain.end_of_text]


@pytest.mark.parametrize("window", [1, 2, 3, 7, 20])
@given(text=texts)
def test_cutting_a_long_text_into_windows_changes_nothing(gpt2, window, text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpe, "WINDOW", window)
        pieces = [piece for pieces in cut(text) for piece in pieces]
        ids = gpt2.encode(text)
    assert pieces == PIECE.findall(text)
    assert ids == gpt2.encode(text)


# ---- the same as OpenAI's

@pytest.mark.parametrize("case", GOLDEN["texts"], ids=lambda case: ascii(case["text"][:20]))
def test_golden_ids(gpt2, case):
    assert gpt2.encode(case["text"]) == case["ids"]
    assert gpt2.decode(case["ids"]) == case["text"]


@pytest.mark.parametrize("case", GOLDEN["special"], ids=lambda case: ascii(case["text"][:20]))
def test_golden_ids_with_the_special_token(gpt2, case):
    assert gpt2.encode(case["text"], allowed_special={END_OF_TEXT}) == case["ids"]
    assert gpt2.decode(case["ids"]) == case["text"]


def test_golden_ids_of_single_bytes(gpt2):
    assert [gpt2.decode_bytes([i]) for i in GOLDEN["bytes"]] == [bytes([byte]) for byte in range(256)]


def test_prompts_of_published_examples(gpt2):
    """Ids that stand in the test of transformers and in accounts of other re-implementations."""
    assert gpt2.encode("The dog") == [464, 3290]
    assert gpt2.encode("Alan Turing theorized that computers would one day become") == [
        36235, 39141, 18765, 1143, 326, 9061, 561, 530, 1110, 1716]
    assert gpt2.encode("I enjoy walking with my cute dog") == [40, 2883, 6155, 351, 616, 13779, 3290]


def test_gpt2_has_its_size(gpt2):
    assert gpt2.n_vocab == 50257
    assert gpt2.end_of_text == 50256


def test_gpt2s_merges_are_sound(gpt2):
    """Tokenizer.gpt2() does not check them at each start."""
    check_merges(gpt2.merges)
    check_ids({gpt2.decode_bytes([i]): i for i in range(gpt2.n_vocab)}, gpt2.merges)


def test_every_token_of_gpt2_encodes_to_itself(gpt2):
    """By its merges, which encode leaves out for a piece that is a token of GPT-2's."""
    assert len(gpt2._whole) == gpt2.n_vocab
    for i in range(gpt2.n_vocab - 1):
        ids = [gpt2._id_of_byte[byte] for byte in gpt2.decode_bytes([i])]
        merge_short(ids, gpt2._rank_of, gpt2._made)
        assert ids == [i]


def test_a_token_that_does_not_encode_to_itself_is_never_taken_whole():
    """Merges of nobody's text: a|bc is made last, but ab comes first."""
    merges = [(b"a", b"b"), (b"b", b"c"), (b"a", b"bc")]
    assert Tokenizer(merges).encode("abc") == [256, *Tokenizer([]).encode("c")]


def test_gpt2s_merges_are_known_with_other_ids_too(gpt2):
    ids = {gpt2.decode_bytes([i]): gpt2.n_vocab - 1 - i for i in range(gpt2.n_vocab)}
    text = GOLDEN["texts"][0]["text"]
    assert Tokenizer(gpt2.merges, ids).encode(text) == [gpt2.n_vocab - 1 - i for i in gpt2.encode(text)]


# ---- nothing is lost

@given(text=texts)
def test_decode_gives_the_text_back(gpt2, text):
    assert gpt2.decode(gpt2.encode(text)) == text
    assert gpt2.decode(gpt2.encode(text, allowed_special={END_OF_TEXT})) == text


@given(data=st.binary())
def test_any_bytes_are_tokens_and_back(gpt2, data):
    ids = [gpt2._id_of_byte[byte] for byte in data]
    assert gpt2.decode_bytes(ids) == data
    assert gpt2.decode(ids) == data.decode("utf-8", errors="replace")
    merge_long(ids, gpt2._rank_of, gpt2._made)
    assert gpt2.decode_bytes(ids) == data


def test_decode_takes_numpy_arrays(gpt2):
    ids = gpt2.encode("To be, or not to be")
    for dtype in (np.uint16, np.int64):
        assert gpt2.decode(np.array(ids, dtype)) == "To be, or not to be"


def test_shakespeare_comes_back(gpt2, slow, shakespeare):
    text = shakespeare.read_bytes().decode()
    ids = gpt2.encode(text)
    assert ids == slow.encode(text)
    assert gpt2.decode(ids) == text


def test_encode_batch(gpt2):
    assert gpt2.encode_batch(["To be,", "", END_OF_TEXT], {END_OF_TEXT}) == [[2514, 307, 11], [], [50256]]


# ---- the special token

def test_end_of_text_is_text_unless_allowed(gpt2):
    assert gpt2.encode(END_OF_TEXT) == [27, 91, 437, 1659, 5239, 91, 29]
    assert gpt2.encode(END_OF_TEXT, allowed_special={END_OF_TEXT}) == [50256]
    assert gpt2.encode(END_OF_TEXT, allowed_special=END_OF_TEXT) == [50256]
    assert gpt2.decode([50256]) == END_OF_TEXT


def test_an_unknown_special_token_is_refused(gpt2):
    with pytest.raises(TokenizerError, match=r"the one special token is .*got .*pad"):
        gpt2.encode("text", allowed_special={"<|pad|>"})


# ---- how it explains itself

def test_explain_shows_pieces_bytes_and_merges(gpt2):
    lower, _, sign = gpt2.explain(" lower!世")
    assert lower == (" lower", b" lower", [(7, b"e", b"r"), (44, b" ", b"l"), (66, b"o", b"w"), (533, b"ow", b"er"),
                                           (2537, b" l", b"ower")], [2793])
    assert sign == ("世", b"\xe4\xb8\x96", [(10054, b"\xe4", b"\xb8")], [10310, 244])


@given(text=texts)
def test_explained_merges_lead_from_the_bytes_to_the_ids(gpt2, text):
    pieces = gpt2.explain(text)
    assert "".join(piece.text for piece in pieces) == text
    assert [i for piece in pieces for i in piece.ids] == gpt2.encode(text)
    for piece in pieces:
        symbols = [bytes([byte]) for byte in piece.data]
        assert piece.merges == sorted(piece.merges)
        for _, left, right in piece.merges:
            at = next(i for i in range(len(symbols)) if symbols[i : i + 2] == [left, right])
            symbols[at : at + 2] = [left + right]
        assert symbols == [gpt2.decode_bytes([i]) for i in piece.ids]


def test_explain_knows_the_special_token(gpt2):
    pieces = gpt2.explain(f"a{END_OF_TEXT}b", allowed_special={END_OF_TEXT})
    assert [(piece.text, piece.ids) for piece in pieces] == [("a", [64]), (END_OF_TEXT, [50256]), ("b", [65])]


# ---- speed and memory, by counts that do not depend on the machine

class Steps:
    """Counts the steps of merging: ranks asked for, ranks compared by min, and entries taken from the heap."""

    def __init__(self, tokenizer, monkeypatch):
        self.total = 0
        self.rank_of = tokenizer._rank_of
        monkeypatch.setattr(tokenizer, "_rank_of", self)
        monkeypatch.setattr(bpe, "min", self.min, raising=False)
        monkeypatch.setattr(bpe, "heappop", self.heappop)

    def get(self, pair, default):
        self.total += 1
        return self.rank_of.get(pair, default)

    def min(self, ranks):
        self.total += len(ranks)
        return min(ranks)

    def heappop(self, heap):
        self.total += 1
        return heapq.heappop(heap)


@pytest.mark.parametrize("word", ["a" * 10_000, "世界" * 2_000, "pneumonoultramicroscopicsilicovolcanoconiosis" * 200])
def test_a_word_without_end_takes_steps_in_proportion_to_its_length(gpt2, monkeypatch, word):
    """n ranks are asked for at first and at most two after each of fewer than n merges; no more enter the heap."""
    steps = Steps(gpt2, monkeypatch)
    assert gpt2.decode(gpt2.encode(word)) == word
    assert steps.total < 6 * len(word.encode())


def test_the_steps_of_the_simple_loop_are_counted(gpt2, monkeypatch):
    """Or the test above would have nothing to say."""
    steps = Steps(gpt2, monkeypatch)
    monkeypatch.setattr(bpe, "LONG", 2**62)
    gpt2.encode("a" * 1_000)
    assert steps.total > 100 * 1_000


@pytest.mark.slow
def test_a_megabyte_without_a_space(gpt2):
    """Takes two seconds; with a search through all pairs for each merge it would take hours."""
    assert gpt2.decode(gpt2.encode("a" * 2**20)) == "a" * 2**20


@pytest.mark.slow
def test_memory_does_not_grow_with_the_text(gpt2):
    """Beside the text and its ids, encoding needs as much for a long text as for one of a fourth of its length."""
    rng = np.random.default_rng(0)
    words = ["".join(map(chr, letters)) for letters in rng.integers(97, 123, (60_000, 7)).tolist()]
    spare = []
    for count in (15_000, 60_000):
        tokenizer = Tokenizer(gpt2.merges)
        text = " ".join(words[:count])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bpe, "MAX_WORDS", 2_000)
            tracemalloc.start()
            ids = tokenizer.encode(text)
            spare.append(tracemalloc.get_traced_memory()[1] - 8 * len(ids))
            tracemalloc.stop()
        assert len(tokenizer._ids_of_piece) <= 2_000
    assert spare[1] < 1.5 * spare[0], spare


def test_long_pieces_are_not_remembered():
    tokenizer = Tokenizer([])
    tokenizer.encode("a" * 1000)
    assert not tokenizer._ids_of_piece


# ---- bad input

@pytest.mark.parametrize("text, message", [
    (b"bytes", "expected text, a str, got bytes; decode it first"),
    (bytearray(b"bytes"), "got bytearray; decode it first"),
    (None, "expected text, a str, got NoneType"),
    (["a"], "expected text, a str, got list"),
    ("ab\ud800c", r"a lone surrogate, U\+D800 at character 2"),
    ("a\n\udfff", r"a lone surrogate, U\+DFFF at character 2"),
])
def test_what_is_no_text_is_refused(gpt2, text, message):
    for use in (gpt2.encode, gpt2.explain):
        with pytest.raises(TokenizerError, match=message):
            use(text)


@pytest.mark.parametrize("ids, message", [
    ([0, 50257], "expected ids from 0 to 50256, got 50257"),
    ([-1], "expected ids from 0 to 50256, got -1"),
    ([0.5], "got 0.5"),
    ("ab", "got 'a'"),
    (np.array([60000]), "got .*60000"),
    (5, "expected a flat sequence of ids"),
    ([[1, 2]], "expected a flat sequence of ids"),
    (np.zeros((2, 2), int), "expected a flat sequence of ids"),
])
def test_what_are_no_ids_is_refused(gpt2, ids, message):
    for use in (gpt2.decode, gpt2.decode_bytes):
        with pytest.raises(TokenizerError, match=message):
            use(ids)


def test_one_text_is_no_batch(gpt2):
    with pytest.raises(TokenizerError, match="expected a list of texts, got one str"):
        gpt2.encode_batch("To be")


def test_byte_tokens_are_in_the_order_of_their_spelling():
    assert [spell(token) for token in BYTE_TOKENS] == sorted(map(spell, BYTE_TOKENS))
