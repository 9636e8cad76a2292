"""vocab.txt and tokenizer_config.json: read as transformers reads them, written for it, and every damage named."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2np.text.vocab_txt import DEFAULTS, SPECIAL, is_vocab_txt, read_options, read_pieces
from gpt2np.text.vocabulary import TokenizerError
from gpt2np.text.wordpiece import WordPiece

PIECES = ["[PAD]", "a", "[UNK]", "##b", "[SEP]", "[CLS]", "世", "[MASK]", "é", "\u2028", "\x85x", "#"]
TEXT = "".join(f"{piece}\n" for piece in PIECES)


def write(folder, pieces=TEXT, config=None):
    """A folder with vocab.txt, given as bytes or text, and tokenizer_config.json, as bytes or an object or left out."""
    (folder / "vocab.txt").write_bytes(pieces if isinstance(pieces, bytes) else pieces.encode())
    if config is not None:
        (folder / "tokenizer_config.json").write_bytes(config if isinstance(config, bytes) else
                                                       json.dumps(config).encode())
    return folder


# ---- sound files

def test_the_number_of_a_line_is_the_id_of_its_piece(tmp_path):
    tokenizer = WordPiece.load(write(tmp_path))
    assert tokenizer.pieces == PIECES and tokenizer.n_vocab == 12
    assert (tokenizer.pad, tokenizer.unk, tokenizer.sep, tokenizer.cls, tokenizer.mask) == (0, 2, 4, 5, 7)
    assert tokenizer.end_of_text == tokenizer.sep
    assert tokenizer.encode("AB 世é") == [1, 3, 6, 2]                     # é is e, which is not there
    assert tokenizer.encode_pair("ab", "a").ids == [5, 1, 3, 4, 1, 4]


@pytest.mark.parametrize("data", [TEXT.removesuffix("\n"), TEXT.replace("\n", "\r\n"), "\ufeff" + TEXT])
def test_ends_of_lines_and_a_byte_order_mark_are_no_pieces(tmp_path, data):
    assert WordPiece.load(write(tmp_path, data)).pieces == PIECES


def test_a_file_of_another_name_is_read_with_the_options_beside_it(tmp_path):
    (write(tmp_path, config={"do_lower_case": False}) / "vocab.txt").rename(tmp_path / "bert-cased-vocab.txt")
    assert WordPiece.load(tmp_path / "bert-cased-vocab.txt").encode("é A") == [8, 2]


@pytest.mark.parametrize("config, expected", [
    (None, (True, None, True)), ({}, (True, None, True)), ({"do_lower_case": False}, (False, None, True)),
    ({"strip_accents": False, "tokenize_chinese_chars": False, "model_max_length": 512}, (True, False, False)),
    ({"tokenizer_class": "BertTokenizerFast", "strip_accents": True, "do_basic_tokenize": True}, (True, True, True)),
    ({"tokenizer_class": "DistilBertTokenizer", "never_split": None}, (True, None, True)),
    ({"tokenizer_class": None}, (True, None, True)),
])
def test_options(tmp_path, config, expected):
    assert tuple(read_options(write(tmp_path, config=config)).values()) == expected


@pytest.mark.parametrize("options, words", [
    ({}, "ecole 世 界"), ({"do_lower_case": False}, "École 世 界"), ({"strip_accents": False}, "école 世 界"),
    ({"do_lower_case": False, "strip_accents": True}, "Ecole 世 界"), ({"tokenize_chinese_chars": False}, "ecole世界"),
])
def test_what_is_saved_is_loaded_again(tmp_path, options, words):
    tokenizer = WordPiece(PIECES, **options)
    tokenizer.save(tmp_path / "new" / "folder")
    assert (tmp_path / "new/folder/vocab.txt").read_bytes() == TEXT.encode()
    again = WordPiece.load(tmp_path / "new/folder")
    assert again.pieces == PIECES and again.options == tokenizer.options
    assert " ".join(again.words("École世界")) == words


@given(pieces=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1),
                       unique=True))
def test_any_pieces_are_read_as_they_were_written(tmp_path_factory, pieces):
    folder = tmp_path_factory.mktemp("any")
    pieces = [*SPECIAL, *(piece for piece in pieces if piece not in SPECIAL)]
    WordPiece(pieces).save(folder)
    assert read_pieces(folder / "vocab.txt") == pieces


@pytest.mark.parametrize("names, expected", [
    (["vocab.txt"], True), (["vocab.txt", "tokenizer_config.json"], True), ([], False),
    (["vocab.txt", "encoder.json"], False), (["vocab.txt", "vocab.bpe"], False), (["vocab.json", "merges.txt"], False),
])
def test_which_folders_are_of_wordpiece(tmp_path, names, expected):
    for name in names:
        (tmp_path / name).touch()
    assert is_vocab_txt(tmp_path) is expected
    assert [is_vocab_txt(tmp_path / name) for name in names] == [name.endswith(".txt") for name in names]
    assert not is_vocab_txt(tmp_path / "missing") and not is_vocab_txt(tmp_path / "missing.txt")


def test_fingerprints_differ_where_ids_could(tmp_path):
    options = [{}, *({option: False} for option in DEFAULTS)]
    prints = {WordPiece(PIECES, **chosen).fingerprint() for chosen in options}
    prints |= {WordPiece(pieces).fingerprint() for pieces in (PIECES[::-1], PIECES[:-1], [*PIECES[:-2], "\x85", "x#"])}
    assert len(prints) == 7 and {len(digest) for digest in prints} == {32}
    WordPiece(PIECES).save(tmp_path / "a")
    assert WordPiece.load(tmp_path / "a").fingerprint() == WordPiece(PIECES).fingerprint()


# ---- damaged ones

@pytest.mark.parametrize("pieces, message", [
    (b"", "vocab.txt: expected a piece in every line, got an empty file"),
    (b"\n", "vocab.txt line 1: expected a piece, got an empty line"),
    (TEXT.replace("a\n", "a\n\n", 1), "vocab.txt line 3: expected a piece, got an empty line"),
    (TEXT + "\n", "vocab.txt line 13: expected a piece, got an empty line"),
    (TEXT + "世\n", "vocab.txt line 13: '世' is a duplicate: it is in line 7 already"),
    (TEXT + "[PAD]\n", r"vocab.txt line 13: '\[PAD\]' is a duplicate: it is in line 1 already"),
    (TEXT.replace("[UNK]\n", ""), r"vocab.txt: none of its 11 lines is \[UNK\], which stands for a word"),
    (TEXT.replace("[CLS]", "<s>"), r"vocab.txt: none of its 12 lines is \[CLS\], which begins a text: the file is cut"),
    (TEXT.replace("[SEP]\n", ""), r"vocab.txt: none of its 11 lines is \[SEP\], which ends a text"),
    (TEXT.replace("[MASK]\n", ""), r"vocab.txt: none of its 11 lines is \[MASK\], which hides a word"),
    (TEXT.replace("[PAD]", " [PAD]"), r"vocab.txt: none of its 12 lines is \[PAD\], which fills up a row"),
    (TEXT.replace("é", "é\rx"), r"vocab.txt line 9: expected a piece, got one with a line end in it, 'é\\rx'"),
    (TEXT.encode() + b"caf\xe9\n", "vocab.txt line 13: the byte 0xe9 is not valid UTF-8 here"),
    (TEXT.encode("utf-16"), "vocab.txt line 1: the byte 0xff is not valid UTF-8 here"),
    (TEXT.encode() + bytes(2**24), "vocab.txt: expected at most 16,777,216 bytes; this is no vocabulary"),
])
def test_a_damaged_vocabulary_is_named(tmp_path, pieces, message):
    with pytest.raises(TokenizerError, match=f"^the vocabulary in {tmp_path} cannot be used: {message}") as caught:
        WordPiece.load(write(tmp_path, pieces))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("config, message", [
    (b"{", "line 1, column 2: not valid JSON"), (b"[" * 10**5, r"expected an object of options \(nested too deep"),
    (b"", "line 1, column 1: not valid JSON"), (b"\xff", "line 1: the byte 0xff is not valid UTF-8"),
    ([], "expected an object of options, got a list"), (b'{"a": NaN}', r"expected an object of options \(NaN is not"),
    (b'{"a": 1, "a": 2}', r"the key 'a' comes twice, with"),
    ({"do_lower_case": "no"}, 'do_lower_case: expected true or false, got "no"'),
    ({"do_lower_case": None}, "do_lower_case: expected true or false, got null"),
    ({"tokenize_chinese_chars": 1}, "tokenize_chinese_chars: expected true or false, got 1"),
    ({"strip_accents": 0}, "strip_accents: expected true or false, got 0"),
    ({"do_basic_tokenize": False}, "do_basic_tokenize: expected true, got false: leave it out, and give lists"),
    ({"tokenizer_class": "BertJapaneseTokenizer"}, "tokenizer_class: expected BertTokenizer or one that does the same, "
                                                   "got 'BertJapaneseTokenizer', which cuts words in another way"),
    ({"tokenizer_class": 5}, "tokenizer_class: expected BertTokenizer or one that does the same, got 5"),
])
def test_options_that_cannot_be_kept(tmp_path, config, message):
    with pytest.raises(TokenizerError, match=f"cannot be used: tokenizer_config.json:? {message}"):
        WordPiece.load(write(tmp_path, config=config))


def test_what_is_not_there(tmp_path):
    for path in (tmp_path, tmp_path / "missing", tmp_path / "missing.txt"):
        with pytest.raises(TokenizerError, match=r"cannot be used: \S+ cannot be read: No such file"):
            WordPiece.load(path)


@pytest.mark.parametrize("pieces, message", [
    ([], "expected a piece in every line"), (["a", "a"], "line 2: 'a' is a duplicate"),
    (["a\nb"], "line 1: expected a piece, got one with a line end"),
    (SPECIAL[1:], r"none of its 4 lines is \[PAD\]"), (["x" * 99] * 2, "'x{40}' is a duplicate"),
])
def test_pieces_that_are_no_vocabulary(pieces, message):
    with pytest.raises(TokenizerError, match=message):
        WordPiece(pieces)


@pytest.mark.parametrize("name", ["vocab.txt", "tokenizer_config.json"])
def test_a_vocabulary_that_is_there_is_not_replaced(tmp_path, name):
    (tmp_path / name).write_text("precious")
    with pytest.raises(TokenizerError, match=f"{name} exists, and a model may need it"):
        WordPiece(PIECES).save(tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "precious")]


def test_the_defaults_are_those_of_the_constructor():
    assert WordPiece(PIECES).options == DEFAULTS
