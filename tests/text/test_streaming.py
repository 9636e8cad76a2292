"""The streaming decoder: never a broken character, and in the end the text that decode gives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2np.text.streaming import StreamingDecoder
from gpt2np.text.vocabulary import TokenizerError


def stream(tokenizer, ids):
    decoder = StreamingDecoder(tokenizer)
    return [decoder.feed(i) for i in ids] + [decoder.finish()]


@given(ids=st.lists(st.integers(0, 50256)))
def test_pieces_of_any_ids_join_to_what_decode_gives(gpt2, ids):
    assert "".join(stream(gpt2, ids)) == gpt2.decode(ids)


# Bytes at the edges of UTF-8's rules: leads of every length, overlong forms, surrogates, above U+10FFFF.
edges = st.sampled_from([0x41, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xDF, 0xE0, 0xE4, 0xED, 0xEF,
                         0xF0, 0xF4, 0xF5, 0xFF])


@given(data=st.one_of(st.binary(), st.lists(edges).map(bytes)))
def test_pieces_of_any_bytes_join_to_what_decode_gives(gpt2, data):
    ids = [gpt2._id_of_byte[byte] for byte in data]
    assert "".join(stream(gpt2, ids)) == gpt2.decode(ids) == data.decode("utf-8", errors="replace")


@given(text=st.text())
def test_no_piece_of_a_text_is_broken(gpt2, text):
    """Byte by byte, each character appears with its last byte, and nothing appears before."""
    ids = [gpt2._id_of_byte[byte] for byte in text.encode()]
    expected = [part for character in text for part in [""] * (len(character.encode()) - 1) + [character]]
    assert stream(gpt2, ids) == expected + [""]


def test_a_character_in_two_tokens_is_held_back(gpt2):
    assert gpt2.encode("世") == [10310, 244]
    assert stream(gpt2, [10310, 244]) == ["", "世", ""]


def test_a_character_cut_off_is_flushed_as_a_replacement(gpt2):
    assert stream(gpt2, [64, 10310]) == ["a", "", "\ufffd"]


def test_finish_leaves_a_new_decoder(gpt2):
    decoder = StreamingDecoder(gpt2)
    decoder.feed(10310)
    assert decoder.finish() == "\ufffd"
    assert decoder.finish() == ""
    assert [decoder.feed(10310), decoder.feed(244)] == ["", "世"]


def test_an_unknown_id_is_refused_and_nothing_is_lost(gpt2):
    decoder = StreamingDecoder(gpt2)
    decoder.feed(10310)
    with pytest.raises(TokenizerError, match="expected ids from 0 to 50256, got 50257"):
        decoder.feed(50257)
    assert decoder.feed(244) == "世"
