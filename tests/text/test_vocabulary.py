"""The files of a vocabulary: the genuine ones are read and written to the byte, and every damage is named."""

import hashlib
import json

import pytest

from gpt2np.text.bpe import Tokenizer
from gpt2np.text.vocabulary import BYTE_TOKENS, FILES, TokenizerError, spell, unspell

VERSION = b"#version: 0.2\n"
MERGES = b"h e\nhe l\nl o\n\xc4\xa0 t\n"
TOKENS = ["he", "hel", "lo", "Ġt", "<|endoftext|>"]
IDS = {symbol: i for i, symbol in enumerate([spell(token) for token in BYTE_TOKENS] + TOKENS)}


def write(folder, merges=VERSION + MERGES, ids=IDS):
    """A vocabulary folder, with a file given as bytes, as a dict or, where it is None, left out."""
    if merges is not None:
        (folder / "vocab.bpe").write_bytes(merges)
    if ids is not None:
        (folder / "encoder.json").write_bytes(ids if isinstance(ids, bytes) else json.dumps(ids).encode())
    return folder


# ---- the genuine vocabulary

def test_ids_derived_from_the_merges_are_those_of_the_genuine_encoder_json(gpt2, gpt2_folder):
    genuine = json.loads((gpt2_folder / "encoder.json").read_text(encoding="utf-8"))
    assert {spell(gpt2.decode_bytes([i])): i for i in range(gpt2.n_vocab)} == genuine


def test_the_genuine_files_load_as_the_vocabulary_that_comes_with_the_package(gpt2, gpt2_folder):
    loaded = Tokenizer.load(gpt2_folder)
    assert loaded.merges == gpt2.merges
    assert loaded._token_of_id == gpt2._token_of_id
    assert loaded.end_of_text == gpt2.end_of_text


def test_saved_files_are_the_genuine_ones_to_the_byte(gpt2, tmp_path):
    gpt2.save(tmp_path / "new" / "folder")
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (tmp_path / "new/folder").iterdir()}
    assert digests == {
        "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
        "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    }


def test_every_byte_has_a_printable_spelling():
    spelled = [spell(bytes([byte])) for byte in range(256)]
    assert len(set(spelled)) == 256
    assert all(symbol.isprintable() and not symbol.isspace() for symbol in spelled)
    assert [unspell(symbol) for symbol in spelled] == [bytes([byte]) for byte in range(256)]
    assert spell(b" the\n") == "ĠtheĊ"


# ---- a small one, sound

def test_a_small_vocabulary(tmp_path):
    tokenizer = Tokenizer.load(write(tmp_path))
    assert tokenizer.n_vocab == 261
    assert tokenizer.end_of_text == 260
    assert [tokenizer.decode([i]) for i in tokenizer.encode("hello the")] == ["hel", "lo", " t", "he"]


def test_ids_need_not_be_in_openais_order(tmp_path):
    ids = {symbol: len(IDS) - 1 - i for symbol, i in IDS.items()}
    tokenizer = Tokenizer.load(write(tmp_path, ids=ids))
    assert tokenizer.end_of_text == 0
    assert [tokenizer.decode([i]) for i in tokenizer.encode("hello the")] == ["hel", "lo", " t", "he"]
    tokenizer.save(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "encoder.json").read_text()) == ids


def test_a_vocabulary_of_bytes_alone(tmp_path):
    Tokenizer([]).save(tmp_path)
    assert Tokenizer.load(tmp_path).encode("é") == Tokenizer([]).encode("é") == [127, 102]


@pytest.mark.parametrize("merges", [
    (VERSION + MERGES).replace(b"\n", b"\r\n"), (VERSION + MERGES)[:-1], MERGES.replace(b"\n", b"\r\n")[:-2], MERGES,
    MERGES[:-1], b"#version: 0.2 - Trained by `huggingface/tokenizers`\n" + MERGES,
    VERSION + b"h e\r\nhe l\nl o\r\n\xc4\xa0 t\n"])
def test_line_ends_and_the_version_are_nothing_that_the_ids_do_not_check(tmp_path, merges):
    assert Tokenizer.load(write(tmp_path, merges)).merges == Tokenizer.load(write(tmp_path)).merges


# ---- damaged ones

@pytest.mark.parametrize("merges, message", [
    (None, "vocab.bpe cannot be read: No such file or directory"),
    (b"", "encoder.json has 'he', which no line of vocab.bpe makes: vocab.bpe is cut short"),
    (b"<?xml version='1.0'?>\n<Error>", "vocab.bpe line 1: expected '#version: 0.2', got \"<.xml"),
    (VERSION[:-1], "encoder.json has 'he', which no line of vocab.bpe makes: vocab.bpe is cut short"),
    (VERSION + MERGES[:-3], "vocab.bpe line 5: expected two symbols with one space between them, got 'Ġ'"),
    (VERSION + MERGES[:-4], "vocab.bpe line 5: the byte 0xc4 is not valid UTF-8 here"),
    (VERSION + MERGES[:-3] + b"\n", "vocab.bpe line 5: expected two symbols with one space between them, got 'Ġ'"),
    (VERSION + b"h e\nhe l\n", "encoder.json has 'lo', which no line of vocab.bpe makes: vocab.bpe is cut short"),
    (VERSION + MERGES + b"h i\n", "encoder.json has no id for 'hi', which vocab.bpe needs"),
    (VERSION + b"h e\nhe l\rl o\n", r"vocab.bpe line 3: expected two symbols .* got 'he l\\rl o'"),
    (VERSION + b"h e\nhe l\r\r\nl o\n", r"vocab.bpe line 3: '\\r' \(U\+000D\) in 'l\\r' spells no byte"),
    (b"h e\nhe l\nhi l\n", "vocab.bpe line 3: 'hi l' merges 'hi', which no earlier line makes"),
    (VERSION + b"h e\nh\xff l\n", "vocab.bpe line 3: the byte 0xff is not valid UTF-8 here"),
    (VERSION + b"h e\n\nl o\n", "vocab.bpe line 3: expected two symbols with one space between them, got ''"),
    (VERSION + b"h e\nhe l o\n", "vocab.bpe line 3: expected two symbols .* got 'he l o'"),
    (VERSION + b"h e\nhe  l\n", "vocab.bpe line 3: expected two symbols .* got 'he  l'"),
    (VERSION + b"h e\n l\n", "vocab.bpe line 3: expected two symbols .* got ' l'"),
    (VERSION + b"h e\nhel\n", "vocab.bpe line 3: expected two symbols .* got 'hel'"),
    (VERSION + b"h e\nhe \xe4\xb8\x96\n", r"vocab.bpe line 3: '世' \(U\+4E16\) in '世' spells no byte"),
    (VERSION + b"h e\nhe l\nhi l\n", "vocab.bpe line 4: 'hi l' merges 'hi', which no earlier line makes"),
    (VERSION + b"h e\nl hel\nhe l\n", "vocab.bpe line 3: 'l hel' merges 'hel', which no earlier line makes"),
    (VERSION + b"h e\nl o\nh e\n", "vocab.bpe line 4: 'h e' is a duplicate: line 2 makes 'he' already"),
    (VERSION + b"h e\ne l\nhe l\nh el\n", "vocab.bpe line 5: 'h el' is a duplicate: line 4 makes 'hel' already"),
    (VERSION + b"<|endoftext| >\n", r"vocab.bpe line 2: .* merges '<\|endoftext\|', which no earlier"),
])
def test_a_damaged_vocab_bpe_is_refused(tmp_path, merges, message):
    with pytest.raises(TokenizerError, match=message) as caught:
        Tokenizer.load(write(tmp_path, merges=merges))
    assert str(caught.value).startswith(f"the vocabulary in {tmp_path} cannot be used: ")


def changed(**changes):
    return IDS | changes


@pytest.mark.parametrize("ids, message", [
    (None, "encoder.json cannot be read: No such file or directory"),
    (b"", "encoder.json line 1, column 1: not valid JSON"),
    (b"<?xml version='1.0'?><Error/>", "encoder.json line 1, column 1: not valid JSON"),
    (json.dumps(IDS).encode()[:1000], "encoder.json line 1, column .*: the file is damaged or cut short"),
    (b'{"a": 0,\n"b": }', "encoder.json line 2, column 6: not valid JSON"),
    (b'{"\xff": 0}', "encoder.json line 1: the byte 0xff is not valid UTF-8 here"),
    (b'{"a": 0, "b": 1, "a": 2}', "encoder.json: the key 'a' comes twice, with 0 and 2"),
    (b'["a", "b"]', "encoder.json: expected an object of tokens and ids, got a list"),
    (b"[" * 200_000, "encoder.json: expected an object of tokens and ids|encoder.json line 1"),
    (b'{"a": ' + b"1" * 5000 + b"}", "encoder.json: expected an object of tokens and ids"),
    (changed(he=1.0), "encoder.json: expected a whole number as the id of 'he', got 1.0"),
    (changed(he="256"), "encoder.json: expected a whole number as the id of 'he', got '256'"),
    (changed(he=True), "encoder.json: expected a whole number as the id of 'he', got True"),
    (changed(he=None), "encoder.json: expected a whole number as the id of 'he', got None"),
    (changed(he={}), "encoder.json: expected a whole number as the id of 'he', got {}"),
    (changed(he=257), "encoder.json gives the id 257 twice: to 'he' and 'hel'"),
    (changed(he=261), "encoder.json: expected ids from 0 to 260, got 261 for 'he'"),
    (changed(he=-1), "encoder.json: expected ids from 0 to 260, got -1 for 'he'"),
    (changed(世=261), r"encoder.json: '世' \(U\+4E16\) in '世' spells no byte"),
    (changed(hello=261), "encoder.json has 'hello', which no line of vocab.bpe makes"),
    ({symbol: i for symbol, i in IDS.items() if symbol != "lo"}, "encoder.json has no id for 'lo'"),
    ({symbol: i for symbol, i in IDS.items() if symbol != "Ā"}, "encoder.json has no id for 'Ā'"),
    ({symbol: i for symbol, i in IDS.items() if symbol != "<|endoftext|>"}, "encoder.json has no id for '<.endoftext"),
])
def test_a_damaged_encoder_json_is_refused(tmp_path, ids, message):
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.load(write(tmp_path, ids=ids))


@pytest.mark.parametrize("merges, ids, message", [
    (None, IDS, "merges.txt cannot be read: No such file"), (VERSION, None, "vocab.json cannot be read: No such file"),
    (VERSION + b"\xff", IDS, "merges.txt line 2: the byte"), (VERSION + b"he\n", IDS, "merges.txt line 2: expected"),
    (VERSION + b"h e\nh e\n", IDS, "merges.txt line 3: 'h e' is a duplicate"), (VERSION, b"{", "vocab.json line 1, co"),
    (VERSION, IDS, "vocab.json has 'he', which no line of merges.txt makes: merges.txt is cut short"),
    (VERSION + MERGES + b"h i\n", IDS, "vocab.json has no id for 'hi', which merges.txt needs: "),
    (VERSION, b'{"a": 0, "a": 0}', "vocab.json: the key 'a' comes twice"), (VERSION, b"[]", "vocab.json: expected an"),
    (VERSION + MERGES, IDS | {"he": 999}, "vocab.json: expected ids from 0 to 260, got 999 for 'he'"),
])
def test_damaged_files_are_called_by_their_own_names(tmp_path, merges, ids, message):
    write(tmp_path, merges, ids)
    names = ("vocab.json", "merges.txt")
    for own, other in zip(FILES, names):
        if (tmp_path / own).exists():
            (tmp_path / own).rename(tmp_path / other)
    with pytest.raises(TokenizerError) as caught:
        Tokenizer.load(tmp_path, names)
    assert str(caught.value).startswith(f"the vocabulary in {tmp_path} cannot be used: {message}")


@pytest.mark.parametrize("name", FILES)
def test_a_vocabulary_that_is_there_is_not_replaced(tmp_path, name):
    """Not even by half: one file of each vocabulary would be two that contradict each other."""
    (tmp_path / name).write_text("precious")
    with pytest.raises(TokenizerError, match=f"{name} exists, and a model may need it"):
        Tokenizer([(b"t", b"h")]).save(tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "precious")]


def test_a_merge_that_makes_the_reserved_token_is_refused():
    merges, made = [], b"<"
    for byte in b"|endoftext|>":
        merges.append((made, bytes([byte])))
        made += bytes([byte])
    with pytest.raises(TokenizerError, match=r"vocab.bpe line 13: .* makes '<\|endoftext\|>', which is reserved"):
        Tokenizer(merges)


def test_a_folder_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(TokenizerError, match=r"cannot be used: encoder.json cannot be read"):
        Tokenizer.load(tmp_path / "missing")
    with pytest.raises(TokenizerError, match=r"cannot be used: encoder.json cannot be read"):
        Tokenizer.load(write(tmp_path) / "vocab.bpe")


def test_a_file_far_too_large_is_not_read(tmp_path):
    with open(write(tmp_path) / "vocab.bpe", "r+b") as file:
        file.truncate(2**34)
    with pytest.raises(TokenizerError, match=r"vocab.bpe: expected at most 16,777,216 bytes"):
        Tokenizer.load(tmp_path)


def test_a_tokenizer_error_is_a_value_error():
    assert issubclass(TokenizerError, ValueError)
