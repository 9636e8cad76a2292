"""The streaming decoder: never a broken character, and in the end the text that decode gives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2np.text.streaming import StoppingDecoder, StreamingDecoder, stops_at, text_before
from gpt2np.text.vocabulary import TokenizerError


def stream(tokenizer, ids):
    decoder = StreamingDecoder(tokenizer)
    return [decoder.feed(i) for i in ids] + [decoder.finish()]


@given(ids=st.lists(st.integers(0, 50256)))
def test_pieces_of_any_ids_join_to_what_decode_gives(gpt2, ids):
    assert "".join(stream(gpt2, ids)) == gpt2.decode(ids)


@given(prompt=st.lists(st.integers(0, 50256), max_size=3), ids=st.lists(st.integers(0, 50255), max_size=6))
def test_a_prompt_before_changes_nothing_of_bytes(gpt2, prompt, ids):
    """Tokens of BPE write the same after any others: of WordPiece, see test_wordpiece.py."""
    assert text_before(gpt2, ids, after=prompt) == text_before(gpt2, ids) == gpt2.decode(ids)


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


# ---- stop strings

def until_stopped(tokenizer, ids, stops):
    decoder, pieces = StoppingDecoder(tokenizer, stops), []
    for i in ids:
        pieces.append(decoder.feed(i))
        if decoder.stopped:
            break
    return "".join(pieces) + decoder.finish(), decoder.stopped


@given(text=st.text("ab\n世", max_size=30), stops=st.lists(st.text("ab\n世", min_size=1, max_size=4), max_size=3))
def test_it_ends_before_the_first_stop_string(gpt2, text, stops):
    """Byte by byte, so that every stop string crosses the borders of tokens."""
    ids = [gpt2._id_of_byte[byte] for byte in text.encode()]
    ends = [text.find(stop) for stop in stops if stop in text]
    got, stopped = until_stopped(gpt2, ids, stops)
    assert stopped == bool(ends)
    if not ends:
        assert got == text
    else:                                   # the first to be complete, which for a longer one may begin a little before
        first = min(text.find(stop) + len(stop) for stop in stops if stop in text)
        assert got == text[:min(text[:first].find(stop) for stop in stops if stop in text[:first])]


@given(data=st.lists(st.sampled_from([b"a", b"b", "世".encode(), *(bytes([b]) for b in "世".encode())]), max_size=20),
       stops=st.lists(st.text("ab世", min_size=1, max_size=3), max_size=3))
def test_stops_at_says_when_the_decoder_has_stopped(gpt2, data, stops):
    """For any bytes, also those that are no text."""
    ids = [gpt2._id_of_byte[byte] for byte in b"".join(data)]
    stop, decoder = stops_at(gpt2, stops), StoppingDecoder(gpt2, stops)
    for n, token in enumerate(ids):
        decoder.feed(token)
        assert stop(ids[:n + 1]) == decoder.stopped
        if decoder.stopped: break


def test_the_end_of_a_text_is_no_part_of_it(gpt2):
    ids = [*gpt2.encode("a\n"), gpt2.end_of_text]
    assert text_before(gpt2, [*ids, *gpt2.encode("b")], ["\n\n"]) == text_before(gpt2, ids, ["\n\n"]) == "a\n"
    assert text_before(gpt2, [10310, gpt2.end_of_text]) == "\ufffd"         # a character cut off
    assert text_before(gpt2, gpt2.encode("a<|endoftext|>b")) == "a<|endoftext|>b"      # written in letters


def test_what_may_be_the_beginning_of_a_stop_string_is_held_back(gpt2):
    decoder = StoppingDecoder(gpt2, ["\n\nEnd"])
    assert [decoder.feed(i) for i in gpt2.encode("a") + gpt2.encode("\n") + gpt2.encode("b")] == ["a", "", "\nb"]
    assert [decoder.feed(i) for i in gpt2.encode("\n") + gpt2.encode("\n") + gpt2.encode("End")] == ["", "", ""]
    assert decoder.stopped and decoder.finish() == "" and decoder.feed(0) == ""


def test_what_is_held_back_comes_in_the_end(gpt2):
    assert until_stopped(gpt2, gpt2.encode("a\n"), ["\n\n"]) == ("a\n", False)


def test_one_stop_string_alone(gpt2):
    """A str is one stop string, not its letters."""
    ids = gpt2.encode("that is the end")
    assert text_before(gpt2, ids, "the") == "that is "
    stop = stops_at(gpt2, "the")
    assert [stop(ids[:n]) for n in range(1, len(ids) + 1)] == [False, False, True, True]


@pytest.mark.parametrize("stops", ["", [""], ["a", ""]])
def test_an_empty_stop_string(gpt2, stops):
    for door in (StoppingDecoder, stops_at):
        with pytest.raises(TokenizerError, match="stop: expected texts of at least one character"):
            door(gpt2, stops)
