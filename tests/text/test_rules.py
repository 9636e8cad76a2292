"""Vocabularies with rules of their own: the ids of Hugging Face's library, and back."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2np.text.bpe import at_breaks
from gpt2np.text.huggingface import read_tokenizer
from gpt2np.text.protocol import end_of
from gpt2np.text.ruled import RuledTokenizer
from gpt2np.text.rules import AddedToken, Rules, find_tokens
from gpt2np.text.streaming import StoppingDecoder, text_before
from gpt2np.text.vocabulary import BYTE_TOKENS, END_OF_TEXT, TokenizerError

GOLDEN = json.loads(Path(__file__).parents[1].joinpath("golden", "tokenizers.json").read_text(encoding="utf-8"))
TEXTS, CASES = GOLDEN["texts"], GOLDEN["cases"]
MERGES = [(b"t", b"h"), (b"th", b"e")]
IDS = {token: i for i, token in enumerate([*BYTE_TOKENS, b"th", b"the"])}


@pytest.fixture
def load(tmp_path):
    def load(case, n_vocab=0, end_of_text=None):
        (tmp_path / "tokenizer.json").write_text(json.dumps(CASES[case]["tokenizer"]), encoding="utf-8")
        return read_tokenizer(tmp_path, n_vocab, end_of_text)
    return load


def special_of(tokenizer):
    """All special tokens: theirs finds them always, ours where they are allowed."""
    ruled = isinstance(tokenizer, RuledTokenizer)
    return [token.content for token in tokenizer.rules.added] if ruled else [END_OF_TEXT]


@pytest.mark.parametrize("case", CASES)
def test_ids_are_those_of_the_tokenizers_library(case, load, tmp_path):
    tokenizer = load(case)
    assert isinstance(tokenizer, RuledTokenizer) == (case != "plain")
    for text, ids in zip(TEXTS, CASES[case]["ids"]):
        assert tokenizer.encode(text, special_of(tokenizer)) == ids, text
        assert [i for piece in tokenizer.explain(text, special_of(tokenizer)) for i in piece.ids] == ids
    tokenizer.save(tmp_path / "saved")
    again = read_tokenizer(tmp_path / "saved")
    assert type(again) is type(tokenizer) and again.fingerprint() == tokenizer.fingerprint()
    for text in TEXTS:
        assert again.encode(text, special_of(tokenizer)) == tokenizer.encode(text, special_of(tokenizer))


@pytest.mark.parametrize("case", CASES)
def test_what_may_be_cut_before_white_space_has_the_ids_of_its_parts(case, load):
    tokenizer, differ = load(case), 0
    for text in TEXTS:
        parts = list(at_breaks(text))
        ids = [i for part in parts for i in tokenizer.encode(part, special_of(tokenizer))]
        differ += ids != tokenizer.encode(text, special_of(tokenizer))
    assert not (tokenizer.cuts and differ)
    assert tokenizer.cuts or differ or not tokenizer.rules.prefix_space     # it is the reason, where there is one


def test_texts_come_back(load):
    tokenizer = load("plain", n_vocab=300)              # with rules, but none that change a text
    assert isinstance(tokenizer, RuledTokenizer)
    assert [tokenizer.decode(tokenizer.encode(text)) for text in TEXTS] == TEXTS


def ruled(*added, n_vocab=300, end_of_text=None, **rules):
    return RuledTokenizer(MERGES, IDS, Rules(added, **rules), n_vocab, end_of_text)


# ---- added tokens

def test_special_tokens_are_text_unless_they_are_allowed():
    tokenizer = ruled(AddedToken("[PAD]", 258), AddedToken("[X]", 259, special=False), end_of_text=258)
    assert 258 not in tokenizer.encode("a[PAD]") and tokenizer.encode("a[PAD]", ["[PAD]"])[-1] == 258
    assert tokenizer.encode("[X]") == [259] and tokenizer.decode([258, 259]) == "[PAD][X]"
    assert tokenizer.encode("a<|endoftext|>b", [END_OF_TEXT]) == [64, 258, 65]         # its name here is [PAD]
    assert tokenizer.encode("the", [END_OF_TEXT]) == [257]
    with pytest.raises(TokenizerError, match=r"expected of \['<\|endoftext\|>', '\[PAD\]', '\[X\]'\], got \['<s>'\]"):
        tokenizer.encode("a", ["<s>"])
    with pytest.raises(TokenizerError, match="expected text, a str, got bytes"):
        tokenizer.encode(b"a")


def test_without_an_end_of_text():
    tokenizer = ruled()
    assert tokenizer.end_of_text is None and tokenizer.encode("the", [END_OF_TEXT]) == [257]
    for fails in (lambda: end_of(tokenizer), lambda: tokenizer.encode("a<|endoftext|>", [END_OF_TEXT])):
        with pytest.raises(TokenizerError, match="no token that ends a text, so none can be begun without a prompt"):
            fails()
    assert text_before(tokenizer, [257, 257]) == "thethe"


def test_any_token_can_end_a_text():
    """config.json may name one of the vocabulary's own, as the new line."""
    newline = IDS[b"\n"]
    tokenizer = ruled(end_of_text=newline)
    decoder = StoppingDecoder(tokenizer)
    assert decoder.feed(257) + decoder.feed(newline) + decoder.feed(257) == "the" and decoder.stopped
    assert tokenizer.encode("a\n<|endoftext|>", [END_OF_TEXT]) == [64, newline, newline]


TOKENS = [AddedToken("aa", 1), AddedToken("aab", 2), AddedToken(" ", 3, rstrip=True), AddedToken("b", 4, lstrip=True),
          AddedToken("c", 5, single_word=True)]


@pytest.mark.parametrize("text, parts", [
    ("aaab", [1, "a", 4]), ("aab", [2]), ("xaabx", ["x", 2, "x"]), ("x   y", ["x", 3, 3, 3, "y"]), ("c", [5]),
    ("x\n b", ["x\n", 3, 4]), ("x \n\t b y", ["x", 3, 3, 4, 3, "y"]), ("x\n\tb", ["x", 4]), ("\u3000b", [4]),
    ("xc cx c,c", ["xc", 3, "cx", 3, 5, ",", 5]), ("c_c1cé", ["c_c1cé"]), ("", [])])
def test_where_added_tokens_are_found(text, parts):
    """The longest at the first place; white space beside it, and words around it, as each of them says.

    This is what the tokenizers library finds, also where two tokens claim the same white space.
    """
    assert find_tokens([text], TOKENS) == parts
    assert find_tokens([text], []) == [text] and find_tokens([7, text], TOKENS) == [7, *parts]


@given(st.lists(st.text("ab <>c", max_size=6), max_size=5), st.text("ab <>c\n", max_size=30))
def test_what_is_between_added_tokens_is_the_rest_of_the_text(contents, text):
    tokens = [AddedToken(content, i) for i, content in enumerate(dict.fromkeys(contents))]
    parts = find_tokens([text], tokens)
    assert "".join(tokens[part].content if isinstance(part, int) else part for part in parts) == text
    left = [part for part in parts if isinstance(part, str)]
    assert not any(token.content and token.content in part for token in tokens for part in left)


# ---- what the model has, and the vocabulary has not

def test_ids_without_a_token_are_known_and_seen():
    tokenizer = ruled(AddedToken("[PAD]", 260), n_vocab=264)
    assert tokenizer.unused == [258, 259, 261, 262, 263] and tokenizer.n_vocab == 264
    assert tokenizer.decode([257, 258, 263]) == "the\ufffd\ufffd"
    with pytest.raises(TokenizerError, match="expected ids from 0 to 263, got 264"):
        tokenizer.decode([264])


def test_a_byte_without_a_token_is_one_that_a_text_may_not_hold():
    few = {b"t": 0, b"h": 1, b"e": 2, b"\xc3": 3, b"th": 4, b"the": 5}
    tokenizer = RuledTokenizer(MERGES, few, Rules(), 6, None)
    assert tokenizer.encode("thethe") == [5, 5]
    for text, character, byte, spelled in (("thé", "é", "a9", "©"), ("the the", " ", "20", "Ġ")):
        with pytest.raises(TokenizerError) as caught:
            tokenizer.encode(text)
        assert f"holds {character!r}, and this vocabulary has no token for the byte 0x{byte}" in str(caught.value)
        assert f"(spelled {spelled!r})" in str(caught.value)
    unknown = RuledTokenizer(MERGES, few, Rules(unknown=6), 7, None)
    assert unknown.encode("th©é the" * 9) == [4, 6, 6, 3, 6, 6, 5] * 9         # short pieces, and long ones
    assert unknown.encode("世" * 40) == [6] * 120
    assert RuledTokenizer(MERGES, few, Rules(unknown=6, fuse_unknown=True), 7, None).encode("世" * 40) == [6]


def test_fingerprints_tell_rules_apart():
    """Else a token file would be read as that of another tokenizer."""
    kinds = [ruled(), ruled(prefix_space=True), ruled(normalizers=("NFC",)), ruled(normalizers=("NFD",)),
             ruled(n_vocab=301), ruled(end_of_text=3), ruled(AddedToken("x", 299)), ruled(AddedToken("y", 299)),
             ruled(AddedToken("x", 299, special=False)), ruled(unknown=1), ruled(fuse_unknown=True)]
    assert len({tokenizer.fingerprint() for tokenizer in kinds}) == len(kinds)
    assert ruled().fingerprint() == ruled().fingerprint()
