"""The files of a vocabulary together: which count, and what is said where they contradict each other."""

import json
import os
import subprocess
import sys

import pytest

from gpt2np.text import vocab_txt
from gpt2np.text.bpe import Tokenizer
from gpt2np.text.huggingface import WrongSize, read_tokenizer
from gpt2np.text.ruled import RuledTokenizer
from gpt2np.text.vocabulary import BYTE_TOKENS, END_OF_TEXT, TokenizerError, spell
from gpt2np.text.wordpiece import WordPiece
from tests.text.test_tokenizer_json import GOOD, changed

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
MERGED = [*map(spell, BYTE_TOKENS), "th", "the"]


def numbered(symbols):
    return {symbol: i for i, symbol in enumerate(symbols)}


IDS = numbered([*MERGED, END_OF_TEXT])


def folder_of(folder, ids=IDS, merges="#version: 0.2\nt h\nth e\n", names=("vocab.json", "merges.txt"), **files):
    """A folder with these files: ids and merges by names, the others by theirs, without .json."""
    for name, content in dict(zip(names, (ids, merges))).items():
        if content is not None:
            (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), newline="")
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def refused(folder, *patterns, **options):
    with pytest.raises(TokenizerError) as caught:
        read_tokenizer(folder, **options)
    for pattern in patterns:
        assert pattern in str(caught.value), str(caught.value)


# ---- which files count

@pytest.mark.parametrize("names", [("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")])
def test_two_files_are_gpt2s_way(names, tmp_path):
    tokenizer = read_tokenizer(folder_of(tmp_path, names=names))
    assert type(tokenizer) is Tokenizer and tokenizer.encode("the") == [257] and tokenizer.end_of_text == 258


def test_tokenizer_json_beside_the_same_two_files(tmp_path):
    assert type(read_tokenizer(folder_of(tmp_path, tokenizer=GOOD))) is Tokenizer
    folder_of(tmp_path, names=("encoder.json", "vocab.bpe"))
    assert type(read_tokenizer(tmp_path)) is Tokenizer


@pytest.mark.parametrize("ids, merges, problem", [
    (IDS | {"th": 257, "the": 256}, "t h\nth e\n", "tokenizer.json and vocab.json contradict each other in 'th'"),
    (IDS | {"he": 259}, "t h\nth e\n", "tokenizer.json and vocab.json contradict each other in 'he'"),
    ({s: i for s, i in IDS.items() if s != "the"}, "t h\n", "vocab.json contradict each other in 'the'"),
    (None, "t h\nh e\n", "tokenizer.json and merges.txt contradict each other: take away the file"),
    (IDS, None, None), (None, "t h\nth e\n", None), ({s: i for s, i in IDS.items() if s != END_OF_TEXT}, None, None)])
def test_tokenizer_json_beside_others(ids, merges, problem, tmp_path):
    folder = folder_of(tmp_path, ids, merges, tokenizer=GOOD)
    if problem is None:
        assert read_tokenizer(folder).encode("the") == [257]
    else:
        refused(folder, problem)


def test_none_and_gpt2s_own(tmp_path):
    assert read_tokenizer(tmp_path) is None and read_tokenizer(tmp_path, 50304) is None
    own = read_tokenizer(tmp_path, 50257)
    assert type(own) is Tokenizer and own.fingerprint() == Tokenizer.gpt2().fingerprint()
    assert read_tokenizer(tmp_path, 50257, 198).end_of_text == 198
    (tmp_path / "tokenizer_config.json").write_text('{"add_prefix_space": true}')
    assert read_tokenizer(tmp_path, 50257).encode("Hello") == own.encode(" Hello")
    (tmp_path / "tokenizer.model").write_text("")
    refused(tmp_path, "tokenizer.model is a vocabulary of SentencePiece, which is not supported", n_vocab=50257)


def test_a_tokenizer_json_of_a_word_piece(tmp_path):
    """As transformers 5 leaves it beside a GPT-2 with BERT's vocabulary: alone; earlier ones wrote vocab.txt, too."""
    right = WordPiece([*vocab_txt.SPECIAL, "床", "前", "a", "##b", "A"], do_lower_case=False)
    content = {"model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                         "vocab": {piece: i for i, piece in enumerate(right.pieces)}},
               "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                              "strip_accents": None, "lowercase": False}, "pre_tokenizer": {"type": "BertPreTokenizer"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    for _ in range(2):
        tokenizer = read_tokenizer(tmp_path, 10, 6)
        assert type(tokenizer) is WordPiece and tokenizer.fingerprint() == right.fingerprint()
        assert tokenizer.encode("床前 ab A") == [5, 6, 7, 8, 9] and tokenizer.end_of_text == 6
        (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in right.pieces))
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    assert repr(tokenizer) == ("WordPiece of 10 pieces: do_lower_case=False, strip_accents=None, "
                               "tokenize_chinese_chars=True, end of text 6")
    with pytest.raises(WrongSize):
        read_tokenizer(tmp_path, 11)
    (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in (*right.pieces[:5], *right.pieces[:4:-1])))
    with pytest.raises(TokenizerError, match=r"^vocab.txt and tokenizer.json contradict each other"):
        read_tokenizer(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    content["normalizer"]["clean_text"] = False
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(TokenizerError, match="normalizer: expected clean_text true, got false"):
        read_tokenizer(tmp_path)


def test_vocab_txt_alone_is_wordpiece(tmp_path):
    """As Chinese GPT-2s have it, with BERT's vocabulary."""
    (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in (*vocab_txt.SPECIAL, "床", "前", "a", "##b")))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
    tokenizer = read_tokenizer(tmp_path, 9)
    assert type(tokenizer) is WordPiece and tokenizer.encode("床前 AB") == [5, 6, 7, 8]
    assert tokenizer.end_of_text == 3 and tokenizer.encode("床<|endoftext|>前", [END_OF_TEXT]) == [5, 3, 6]
    assert read_tokenizer(tmp_path, 9, 6).encode("床<|endoftext|>a", [END_OF_TEXT]) == [5, 6, 7]
    for n_vocab in (8, 10):
        refused(tmp_path, f"the vocabulary has ids up to 8: expected {n_vocab} tokens", n_vocab=n_vocab)
    folder_of(tmp_path, tokenizer_config={})            # beside a BPE it is not looked at
    assert type(read_tokenizer(tmp_path)) is Tokenizer


def test_the_two_pairs_of_files_beside_each_other(tmp_path):
    folder_of(folder_of(tmp_path, names=("encoder.json", "vocab.bpe")))
    assert read_tokenizer(tmp_path).encode("the") == [257]
    refused(folder_of(tmp_path, merges="t h\nh e\n"), "vocab.bpe and merges.txt contradict each other: take away the")
    refused(folder_of(tmp_path, IDS | {"he": 259}), "encoder.json and vocab.json contradict each other in 'he'")


def test_a_fingerprint_is_the_same_in_every_process(tmp_path):
    """Though special tokens are looked for in a set."""
    folder_of(tmp_path, numbered([*SPECIAL, *MERGED]), special_tokens_map={"additional_special_tokens": SPECIAL})
    script = ("import sys; from gpt2np.text.huggingface import read_tokenizer\n"
              "print(read_tokenizer(sys.argv[1]).fingerprint().hex())")
    found = set()
    for seed in "0123":
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed}
        found.add(subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True,
                                 timeout=60, env=environment).stdout)
    assert found == {read_tokenizer(tmp_path).fingerprint().hex() + "\n"}


def test_half_a_vocabulary(tmp_path):
    refused(folder_of(tmp_path, merges=None), "merges.txt cannot be read: No such file")
    (tmp_path / "vocab.json").unlink()
    refused(folder_of(tmp_path, ids=None), "vocab.json cannot be read: No such file")


# ---- special tokens

@pytest.mark.parametrize("special", [SPECIAL, ["</s>"], [END_OF_TEXT]])
def test_special_tokens_that_come_before_the_bytes_need_no_telling(special, tmp_path):
    tokenizer = read_tokenizer(folder_of(tmp_path, numbered([*special, *MERGED])), end_of_text=0)
    assert tokenizer.encode("the") == [257 + len(special)] and tokenizer.end_of_text == 0
    assert tokenizer.decode(range(len(special))) == "".join(special)
    assert isinstance(tokenizer, RuledTokenizer) == (special != [END_OF_TEXT])
    tokenizer.save(tmp_path / "saved")
    again = read_tokenizer(tmp_path / "saved")
    assert again.fingerprint() == tokenizer.fingerprint() and again.end_of_text == 0


def test_special_tokens_that_come_after_are_told_from_a_file_cut_short(tmp_path):
    ids = numbered([*MERGED, END_OF_TEXT, "[PAD]"])
    refused(folder_of(tmp_path, ids), "vocab.json has '[PAD]', which no line of merges.txt makes: merges.txt is cut ")
    refused(folder_of(tmp_path, IDS, "t h\n"), "vocab.json has 'the', which no line of merges.txt makes")
    for file, content in (("added_tokens", {"[PAD]": 259}), ("special_tokens_map", {"pad_token": "[PAD]"}),
                          ("tokenizer_config", {"pad_token": {"content": "[PAD]"}}),
                          ("tokenizer_config", {"additional_special_tokens": ["[PAD]"]}),
                          ("tokenizer_config", {"extra_special_tokens": {"mine": "[PAD]"}}),
                          ("tokenizer_config",
                           {"added_tokens_decoder": {"259": {"content": "[PAD]", "special": True}}})):
        tokenizer = read_tokenizer(folder_of(tmp_path, ids, **{file: content}))
        assert tokenizer.decode([259]) == "[PAD]" and tokenizer.n_vocab == 260 and tokenizer.end_of_text == 258
        assert (tokenizer.encode("[PAD]") == [259]) == (file == "added_tokens")     # where no one calls it special
        assert tokenizer.encode("[PAD]", ["[PAD]"]) == [259]
        (tmp_path / f"{file}.json").unlink()


def test_added_tokens_have_their_own_ids(tmp_path):
    folder = folder_of(tmp_path, added_tokens={"[PAD]": 261, "<x>": 260}, special_tokens_map={"pad_token": "[PAD]"})
    tokenizer = read_tokenizer(folder, n_vocab=264)
    assert tokenizer.encode("a[PAD]<x>")[-1] == 260 and tokenizer.encode("[PAD]<x>", ["[PAD]"]) == [261, 260]
    assert tokenizer.unused == [259, 262, 263] and tokenizer.n_vocab == 264


@pytest.mark.parametrize("n_vocab, ids", [(259, {}), (260, {"<s>": 259}), (261, {"<s>": 259, "[PAD]": 260})])
def test_a_name_alone_has_the_next_id_if_the_model_has_one(n_vocab, ids, tmp_path):
    """As transformers gives it, first bos_token, then eos_token, ..., pad_token, ..."""
    folder = folder_of(tmp_path, special_tokens_map={"pad_token": "[PAD]", "bos_token": "<s>"})
    tokenizer = read_tokenizer(folder, n_vocab)
    assert tokenizer.n_vocab == n_vocab and not tokenizer.unused
    for name, i in ids.items():
        assert tokenizer.decode([i]) == name


@pytest.mark.parametrize("files, problem", [
    ({"added_tokens": {"th": 300}}, "added_tokens.json gives 'th' the id 300, and vocab.json 256: take away the file"),
    ({"added_tokens": {"[PAD]": 256}}, "gives the id 256 twice: to 'th' and '[PAD]'"),
    ({"added_tokens": {"[PAD]": "x"}}, "added_tokens.json: expected a whole number as the id of '[PAD]', got 'x'"),
    ({"added_tokens": []}, "added_tokens.json: expected an object of tokens and ids, got a list"),
    ({"tokenizer_config": {"added_tokens_decoder": {"x": {"content": "[PAD]"}}}}, "added_tokens_decoder x is not sup"),
    ({"tokenizer_config": {"added_tokens_decoder": {"3": "x"}}}, "expected an object, got 'x'"),
    ({"tokenizer_config": {"added_tokens_decoder": {"259": {"content": "[PAD]", "rule": 1}}}}, "259.rule is not sup"),
    ({"tokenizer_config": {"added_tokens_decoder": []}}, "tokenizer_config.json: added_tokens_decoder is not supp"),
    ({"added_tokens": {"[PAD]": 259}, "tokenizer_config": {"added_tokens_decoder": {"260": {"content": "[PAD]"}}}},
     "added_tokens.json gives '[PAD]' the id 259, and vocab.json 260"),
    ({"special_tokens_map": []}, "special_tokens_map.json: expected a JSON object, got a list"),
    ({"tokenizer_config": []}, "tokenizer_config.json: expected a JSON object, got a list")])
def test_what_contradicts_or_is_no_token_is_named(files, problem, tmp_path):
    refused(folder_of(tmp_path, **files), problem)


# ---- rules of tokenizer_config.json

def test_a_space_before_every_text(tmp_path):
    tokenizer = read_tokenizer(folder_of(tmp_path, tokenizer_config={"add_prefix_space": True}))
    assert tokenizer.encode("the") == [220, 257] == tokenizer.encode(" the")
    for said, problem in ((True, "tokenizer.json and tokenizer_config.json contradict each other in add_prefix_space"),
                          (False, None), (None, None)):
        folder_of(tmp_path, tokenizer=GOOD, tokenizer_config={"add_prefix_space": said})
        if problem:
            refused(tmp_path, problem)
        else:
            assert read_tokenizer(tmp_path).encode("the") == [257]


@pytest.mark.parametrize("config, problem", [
    ({"add_bos_token": True}, "tokenizer_config.json: add_bos_token is not supported: expected False, got True"),
    ({"add_eos_token": True}, "add_eos_token is not supported"), ({"do_lower_case": True}, "do_lower_case is not"),
    ({"tokenizer_class": "BertTokenizer"}, "tokenizer_class is not supported: expected 'GPT2Tokenizer' or 'GPT2To"),
    ({"errors": "ignore"}, "errors is not supported"), ({"add_prefix_space": 1}, "add_prefix_space is not supported")])
def test_a_rule_that_is_not_supported_is_named(config, problem, tmp_path):
    refused(folder_of(tmp_path, tokenizer_config=config), problem)


def test_what_is_said_besides_changes_nothing(tmp_path):
    config = {"add_bos_token": False, "model_max_length": 1e30, "pad_token": None, "errors": "replace", "anything": [1],
              "tokenizer_class": "GPT2TokenizerFast", "clean_up_tokenization_spaces": True, "eos_token": END_OF_TEXT}
    assert type(read_tokenizer(folder_of(tmp_path, tokenizer_config=config))) is Tokenizer


# ---- the end of a text

@pytest.mark.parametrize("given, config, expected", [
    (None, {}, 258), (3, {}, 3), (None, {"eos_token": "</s>"}, 259), (3, {"eos_token": "</s>"}, 3),
    (None, {"eos_token": {"content": "</s>"}}, 259), (None, {"eos_token": "<absent>"}, 258),
    (None, {"eos_token": "</s>", "eos_token_id": 7}, 7), (None, {"eos_token_id": 999}, 258),
    (None, {"eos_token_id": "7"}, 258)])
def test_the_end_of_text_is_the_models_then_the_vocabularys(given, config, expected, tmp_path):
    folder = folder_of(tmp_path, added_tokens={"</s>": 259}, tokenizer_config=config)
    assert read_tokenizer(folder, 260, given).end_of_text == expected


def test_there_may_be_none(tmp_path):
    tokenizer = read_tokenizer(folder_of(tmp_path, numbered(MERGED)))
    assert tokenizer.end_of_text is None and tokenizer.encode("the") == [257] and tokenizer.n_vocab == 258
    tokenizer.save(tmp_path / "saved")
    assert read_tokenizer(tmp_path / "saved").end_of_text is None


# ---- alphabets and sizes

def test_openais_two_files_are_exactly_gpt2s_kind(tmp_path):
    """Every fault of test_vocabulary.py is found here, too."""
    names = ("encoder.json", "vocab.bpe")
    for ids, problem in ((IDS | {"世": 259}, "encoder.json: '世' (U+4E16) in '世' spells no byte"),
                         (IDS | {"he": 259}, "encoder.json has 'he', which no line of vocab.bpe makes"),
                         ({n: i for n, i in IDS.items() if n != "!"}, "encoder.json has no id for '!', which"),
                         (numbered(MERGED), "encoder.json has no id for '<|endoftext|>'"),
                         (IDS | {"th": 300}, "encoder.json: expected ids from 0 to 258, got 300 for 'th'"),
                         (IDS | {"th": 257}, "encoder.json gives the id 257 twice: to 'th' and 'the'")):
        refused(folder_of(tmp_path, ids, names=names), problem, n_vocab=400)


def test_a_partial_alphabet(tmp_path):
    """No merge needs the bytes that are not there; a merge that does is named."""
    few = numbered(["t", "h", "e", "Ġ", "th", "the", END_OF_TEXT])
    tokenizer = read_tokenizer(folder_of(tmp_path, few))
    assert tokenizer.encode("the the") == [5, 3, 5] and tokenizer.end_of_text == 6
    refused(folder_of(tmp_path, few, "t h\nth e\nth i\n"), "merges.txt line 3: 'th i' merges 'i', which no earlier")


def test_the_unk_token(tmp_path):
    few = numbered(["<unk>", "t", "h", "e", "th", "the"])
    value = changed("model.vocab", few) | {"added_tokens": []}
    value["model"]["unk_token"] = "<unk>"
    assert read_tokenizer(folder_of(tmp_path, None, None, tokenizer=value)).encode("the é") == [5, 0, 0, 0]
    value["model"]["unk_token"] = "<absent>"
    refused(folder_of(tmp_path, None, None, tokenizer=value), "tokenizer.json has no id for '<absent>', its unk_token")
    value["model"]["vocab"] = numbered(MERGED)          # where every byte has a token, it is never needed
    assert read_tokenizer(folder_of(tmp_path, None, None, tokenizer=value)).encode("the é") == [257, 220, 127, 102]


@pytest.mark.parametrize("n_vocab, n, unused", [(0, 259, []), (259, 259, []), (264, 264, [259, 260, 261, 262, 263])])
def test_the_model_may_have_more_rows(n_vocab, n, unused, tmp_path):
    tokenizer = read_tokenizer(folder_of(tmp_path), n_vocab)
    assert tokenizer.n_vocab == n and list(tokenizer.unused) == unused and tokenizer.encode("the") == [257]


@pytest.mark.parametrize("n_vocab, i, problem", [
    (258, 258, "the vocabulary has ids up to 258: expected 258 tokens"),
    (0, 10**20, "the vocabulary has ids up to 100,000,000,000,000,000,000: expected 4,194,304 tokens")])
def test_but_not_fewer(n_vocab, i, problem, tmp_path):
    refused(folder_of(tmp_path, added_tokens={"[PAD]": i} if i > 258 else {}), problem, n_vocab=n_vocab)
