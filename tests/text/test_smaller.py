"""A vocabulary for a text: the text has the same tokens, any other can still be encoded, and no token is too many."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpt2np
from gpt2np.text.bpe import Tokenizer
from gpt2np.text.huggingface import read_tokenizer
from gpt2np.text.ruled import RuledTokenizer
from gpt2np.text.rules import AddedToken, Rules
from gpt2np.text.smaller import smaller
from gpt2np.text.vocab_txt import SPECIAL
from gpt2np.text.vocabulary import BYTE_TOKENS, END_OF_TEXT, TokenizerError, openai_ids
from gpt2np.text.wordpiece import WordPiece

from . import reference_wordpiece as reference
from .test_bpe import small_vocabularies, texts
from .test_wordpiece import small_vocabularies as small_pieces


def bytes_of(tokenizer, ids):
    return [tokenizer.decode_bytes([i]) for i in ids]


def check(tokenizer, text, allowed=()):
    ids = tokenizer.encode(text, allowed)
    fewer, old = smaller(tokenizer, ids)
    new = fewer.encode(text, allowed)
    assert [old[i] for i in new] == ids                                     # the same tokens, renumbered
    assert bytes_of(fewer, range(fewer.n_vocab)) == bytes_of(tokenizer, old)
    assert old == sorted(set(old)) and len(old) == fewer.n_vocab
    assert (fewer.end_of_text is None) == (tokenizer.end_of_text is None)
    if tokenizer.end_of_text is not None:
        assert old[fewer.end_of_text] == tokenizer.end_of_text
    return fewer, old


@pytest.fixture(scope="module")
def demo():
    return gpt2np.load("demo")[1]


@settings(max_examples=25)
@given(texts)
def test_a_text_has_the_same_tokens(demo, text):
    fewer, old = check(demo, text)
    assert set(old[:256]) == set(range(256)) and old[-1] == 4095
    again, all_of_them = check(fewer, text)                                 # and once more: nothing is left to take
    assert all_of_them == [*range(fewer.n_vocab)] and again.merges == fewer.merges
    assert fewer.decode(fewer.encode("Ünïcödé, 世界")) == "Ünïcödé, 世界"


@settings(max_examples=50)
@given(small_vocabularies(), st.text(st.sampled_from("abc "), max_size=40))
def test_whatever_the_order_of_the_merges(merges, text):
    tokenizer = Tokenizer(merges)
    fewer, old = check(tokenizer, text)
    needed = {tokenizer.decode_bytes([i]) for i in tokenizer.encode(text)}
    for left, right in fewer.merges:                                        # none that nothing needs
        assert left + right in needed or any(left + right in pair for pair in fewer.merges)


def test_all_of_a_vocabulary_is_the_vocabulary(demo):
    fewer, old = smaller(demo, range(demo.n_vocab))
    assert old == [*range(demo.n_vocab)] and fewer.fingerprint() == demo.fingerprint()


def test_the_end_of_a_text_stays(gpt2):
    text = f"one{END_OF_TEXT}two"
    fewer, old = check(gpt2, text, (END_OF_TEXT,))
    assert fewer.end_of_text == fewer.n_vocab - 1
    assert type(fewer) is Tokenizer and len(old) < 270


def test_it_is_written_and_read_again(demo, tmp_path):
    for name, tokenizer in (("en", demo), ("zh", gpt2np.load("demo-zh")[1])):
        fewer, _ = smaller(tokenizer, tokenizer.encode("床前明月光, the moonlight before my bed"))
        fewer.save(tmp_path / name)
        assert read_tokenizer(tmp_path / name).fingerprint() == fewer.fingerprint()


def ruled(end=None, **rules):
    """Merges of "ab", "abc", "bc", and tokens that no merge makes before, between and behind them."""
    merges = [(b"a", b"b"), (b"ab", b"c"), (b"b", b"c")]
    ids = {token: i + 2 for token, i in openai_ids(merges).items() if token != END_OF_TEXT.encode()}
    added = (AddedToken("<s>", 0), AddedToken("<unk>", 1), AddedToken("wow", 262, special=False))
    return RuledTokenizer(merges, ids, Rules(added, **rules), 264, end)     # 261 and 263 are no token's


def test_rules_stay_and_their_tokens_too(tmp_path):
    tokenizer = ruled(0, normalizers=("Lowercase",))
    fewer, old = check(tokenizer, "ABC wow abc", ("<s>",))
    assert old == [*range(258), 258, 259, 262] and fewer.unused == [] and fewer.rules.normalizers == ("Lowercase",)
    assert [token.id for token in fewer.rules.added] == [0, 1, 260]
    fewer.save(tmp_path)
    assert read_tokenizer(tmp_path).fingerprint() == fewer.fingerprint()
    assert json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))["model"]["merges"] == [["a", "b"], ["ab", "c"]]


def test_what_stands_for_bytes_without_a_token_stays():
    tokenizer = ruled(unknown=1)
    for byte in BYTE_TOKENS[100:]:
        del tokenizer.ids[byte]
    tokenizer = RuledTokenizer(tokenizer.merges, tokenizer.ids, tokenizer.rules, 264, None)
    fewer, old = check(tokenizer, "ab世")
    assert fewer.rules.unknown == old.index(1) == fewer.encode("世")[0]


def test_a_merged_token_that_ends_texts_stays_with_its_parts():
    tokenizer = ruled(259)                                                  # "abc"
    fewer, old = check(tokenizer, "xyz")
    assert [left + right for left, right in fewer.merges] == [b"ab", b"abc"] and old[fewer.end_of_text] == 259


def test_what_is_refused(gpt2):
    for ids in ([-1], [50257]):
        with pytest.raises(TokenizerError, match="ids: expected from 0 to 50256, got"):
            smaller(gpt2, ids)
        with pytest.raises(TokenizerError, match="ids: expected from 0 to 7, got"):
            smaller(WordPiece([*SPECIAL, "a", "##b", "b"]), [5, -1 if ids == [-1] else 8])


# ---- BERT's


def check_pieces_of(tokenizer, text, allowed=()):
    fewer, old = smaller(tokenizer, tokenizer.needed(text, allowed))
    ids = tokenizer.encode(text, allowed)
    assert [old[i] for i in fewer.encode(text, allowed)] == ids             # the same pieces, renumbered
    assert fewer.pieces == [tokenizer.pieces[i] for i in old] and old == sorted(set(old))
    assert fewer.options == tokenizer.options
    for name in ("pad", "unk", "cls", "sep", "mask", "end_of_text"):
        assert old[getattr(fewer, name)] == getattr(tokenizer, name)
    return fewer, old


@settings(max_examples=100)
@given(pieces=small_pieces(), text=st.text("abc ,世#d", max_size=40))
def test_a_text_has_the_same_pieces(pieces, text):
    tokenizer = WordPiece(pieces)
    fewer, old = check_pieces_of(tokenizer, text)
    found = {piece for passage in tokenizer.explain(text) for word in passage.words for piece in word.pieces}
    assert set(fewer.pieces) == found | set(SPECIAL)                        # none that nothing needs
    again, all_of_them = check_pieces_of(fewer, text)                       # and once more: nothing is left to take
    assert again.pieces == fewer.pieces and all_of_them == [*range(fewer.n_vocab)]


@settings(max_examples=50)
@given(pieces=small_pieces(), kept=st.text("abc ,世", max_size=20), text=st.text("abc ,世#d", max_size=30))
def test_another_text_is_cut_as_the_definition_says(pieces, kept, text):
    """Shorter pieces, or [UNK]: what an independent reading of the definition makes of the pieces that stay."""
    fewer, _ = check_pieces_of(WordPiece(pieces), kept)
    assert [fewer.pieces[i] for i in fewer.encode(text)] == reference.encode(fewer.pieces, text)


def test_a_word_outside_has_shorter_pieces_or_is_unknown():
    tokenizer = WordPiece([*SPECIAL, "un", "##aff", "##able", "unaff", "##a", "u", "##n", "cat", "世"])
    fewer, _ = check_pieces_of(tokenizer, "unable able cat un un")
    assert fewer.pieces[5:] == ["un", "##able", "cat"]
    assert [tokenizer.pieces[i] for i in tokenizer.encode("unaffable")] == ["unaff", "##able"]
    assert fewer.encode("unaffable") == [fewer.unk] == fewer.encode("世")
    fewer, _ = check_pieces_of(tokenizer, "unable un unaffu aff cats")      # which is [UNK], for its u; and for its s
    assert fewer.pieces[5:] == ["un", "##able", "unaff", "cat"]
    kept, _ = smaller(tokenizer, [tokenizer.pieces.index(piece) for piece in ("un", "##aff", "##able")])
    assert [kept.pieces[i] for i in kept.encode("unaffable")] == ["un", "##aff", "##able"]


def test_what_is_unknown_stays_unknown():
    """By the ids of the text alone "ab" would go, and a word that was [UNK] be cut another way, to its end."""
    tokenizer = WordPiece([*SPECIAL, "ab", "a", "##bc"])
    assert tokenizer.encode("abc a abc") == [1, 6, 1] and tokenizer.needed("abc abc") == {5}
    assert WordPiece([*SPECIAL, "a", "##bc"]).encode("abc") == [5, 6]
    assert smaller(tokenizer, tokenizer.needed("abc a"))[0].encode("abc a") == [1, 6]


def test_special_pieces_stay_in_their_places(tmp_path):
    """As in Google's file, where [UNK] is 100 and what is between is unused."""
    pieces = ["[PAD]", *(f"[unused{i}]" for i in range(3)), "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##a", "Ä", "A"]
    tokenizer = WordPiece(pieces, do_lower_case=False, strip_accents=False, tokenize_chinese_chars=False)
    fewer, old = check_pieces_of(tokenizer, "a Ä [MASK] [unused1]")
    assert fewer.pieces == [*SPECIAL[:1], *SPECIAL[1:], "a", "Ä"] and old == [0, 4, 5, 6, 7, 8, 10]
    check_pieces_of(tokenizer, "aa[MASK]a<|endoftext|>", ("[MASK]", END_OF_TEXT))
    fewer.save(tmp_path)
    assert WordPiece.load(tmp_path).fingerprint() == fewer.fingerprint()
    assert smaller(tokenizer, range(len(pieces)))[0].fingerprint() == tokenizer.fingerprint()
