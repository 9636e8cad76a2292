"""tokenizer.json: what is followed is in test_rules.py; everything else is refused by its name."""

import copy
import json

import pytest

from gpt2np.text.huggingface import read_tokenizer
from gpt2np.text.tokenizer_json import parse
from gpt2np.text.vocabulary import BYTE_TOKENS, TokenizerError, spell

VOCAB = {spell(token): i for i, token in enumerate([*BYTE_TOKENS, b"th", b"the"])} | {"<|endoftext|>": 258}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
END = {"id": 258, "content": "<|endoftext|>", "single_word": False, "lstrip": False, "rstrip": False,
       "normalized": False, "special": True}
GOOD = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [END], "normalizer": None,
        "pre_tokenizer": BYTE_LEVEL, "post_processor": None, "decoder": BYTE_LEVEL,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": VOCAB, "merges": ["t h", "th e"]}}


def changed(path, value):
    """GOOD with another value somewhere: `model.type`, or a field that it does not have."""
    result = copy.deepcopy(GOOD)
    place, *names = result, *path.split(".")
    for name in names[:-1]:
        place = place[int(name) if isinstance(place, list) else name]
    place[int(names[-1]) if isinstance(place, list) else names[-1]] = value
    return result


def without(path):
    result = changed(path, None)
    place, *names = result, *path.split(".")
    for name in names[:-1]:
        place = place[int(name) if isinstance(place, list) else name]
    del place[names[-1]]
    return result


def test_the_good_one(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(GOOD))
    tokenizer = read_tokenizer(tmp_path)
    assert tokenizer.encode("the") == [257] and tokenizer.end_of_text == 258 and tokenizer.n_vocab == 259


SEQUENCE = {"type": "Sequence"}


@pytest.mark.parametrize("value", [
    changed("model.merges", [["t", "h"], ["th", "e"]]), without("model.type"), without("added_tokens"),
    changed("model.dropout", 0.0), changed("model.continuing_subword_prefix", None), without("model.byte_fallback"),
    changed("normalizer", SEQUENCE | {"normalizers": []}), without("normalizer"), without("version"), without("decode"),
    changed("pre_tokenizer", SEQUENCE | {"pretokenizers": [BYTE_LEVEL]}), without("pre_tokenizer.use_regex"),
    changed("post_processor", BYTE_LEVEL | {"add_prefix_space": True}),
    changed("post_processor", {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}],
                               "pair": [], "special_tokens": {}}),
    changed("post_processor", SEQUENCE | {"processors": [BYTE_LEVEL]}), changed("decoder", None),
    changed("truncation", {"max_length": 3}), changed("padding", {"strategy": "BatchLongest"}),
    changed("added_tokens", [{"id": 258, "content": "<|endoftext|>", "special": True}])])
def test_what_changes_no_ids(value, tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(value))
    tokenizer = read_tokenizer(tmp_path)
    assert tokenizer.encode("the the") == [257, 220, 257] and type(tokenizer).__name__ == "Tokenizer"


def test_a_space_is_put_before_a_text_where_nothing_is_said():
    """The library's default, and not GPT-2's."""
    assert parse(without("pre_tokenizer.add_prefix_space")).prefix_space


@pytest.mark.parametrize("value, problem", [
    ({}, "model is not supported: expected an object, got None"), (changed("version", "2.0"), "version is not support"),
    (changed("more", 1), "more is not supported: expected no such field, got 1"),
    (changed("model.type", "Unigram"), "model.type is not supported: expected 'BPE', got 'Unigram'"),
    (changed("model", "BPE"), "model is not supported: expected an object, got 'BPE'"),
    (changed("model.dropout", 0.1), "model.dropout is not supported: expected None or 0, got 0.1"),
    (changed("model.dropout", False), "model.dropout is not supported: expected None or 0, got False"),
    (changed("model.continuing_subword_prefix", "##"), "model.continuing_subword_prefix is not supported: expected No"),
    (changed("model.end_of_word_suffix", "</w>"), "model.end_of_word_suffix is not supported"),
    (changed("model.byte_fallback", True), "model.byte_fallback is not supported: expected False, got True"),
    (changed("model.ignore_merges", True), "model.ignore_merges is not supported"),
    (changed("model.fuse_unk", 1), "model.fuse_unk is not supported: expected False or True, got 1"),
    (changed("model.unk_token", 5), "model.unk_token is not supported: expected a token, got 5"),
    (changed("model.new_rule", "x" * 99), "model.new_rule is not supported: expected no such field, got 'xxx"),
    (changed("model.vocab", None), "tokenizer.json: expected an object of tokens and ids, got a NoneType"),
    (changed("model.vocab.th", 1.0), "expected a whole number as the id of 'th', got 1.0"),
    (changed("model.merges", {}), "merges is not supported: expected a list, got {}"),
    (changed("model.merges", ["th"]), "merge 0 is not supported: expected two symbols, got 'th'"),
    (changed("model.merges", [["t", "h", "e"]]), "merge 0 is not supported"),
    (changed("model.merges", [["t", 1]]), "merge 0 is not supported"), (changed("model.merges", [7]), "merge 0 is not"),
    (changed("model.merges", ["t h", ["t", ""]]), "merge 1 is not supported"),
    (changed("model.merges", ["世 h"]), "tokenizer.json merge 0: '世' (U+4E16) in '世' spells no byte"),
    (changed("pre_tokenizer", None), "pre_tokenizer is not supported: expected an object, got None"),
    (changed("pre_tokenizer", {"type": "Metaspace"}), "pre_tokenizer.type is not supported: expected 'ByteLevel', got"),
    (changed("pre_tokenizer", {}), "pre_tokenizer.type is not supported: expected 'ByteLevel', got None"),
    (changed("pre_tokenizer.use_regex", False), "pre_tokenizer.use_regex is not supported: expected True, got False"),
    (changed("pre_tokenizer", SEQUENCE | {"pretokenizers": [{"type": "Digits"}, BYTE_LEVEL]}),
     "pre_tokenizer is not supported: expected 'ByteLevel', got ['Digits', 'ByteLevel']"),
    (changed("pre_tokenizer", SEQUENCE | {"pretokenizers": 3}), "pretokenizers is not supported: expected a list, got"),
    (changed("normalizer", {"type": "StripAccents"}), "normalizer.type is not supported: expected 'NFC' or 'NFD' or '"),
    (changed("normalizer", {"type": "NFC", "more": 1}), "normalizer.more is not supported"),
    (changed("normalizer", SEQUENCE | {"normalizers": [{"type": "NFC"}, {"type": "Strip"}]}), "got 'Strip'"),
    (changed("normalizer", "NFC"), "normalizer is not supported: expected an object, got 'NFC'"),
    (changed("post_processor", {"type": "BertProcessing", "sep": ["</s>", 0]}), "post_processor.type is not supported"),
    (changed("post_processor", {"type": "TemplateProcessing", "single": [
        {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]}),
     "post_processor.single is not supported: expected the text alone, and no tokens around it, got [{'SpecialToken'"),
    (changed("post_processor", {"type": "TemplateProcessing"}), "post_processor.single is not supported"),
    (changed("post_processor", {"type": "TemplateProcessing", "single": [3]}), "post_processor.single is not supporte"),
    (changed("post_processor", SEQUENCE | {"processors": [BYTE_LEVEL, {"type": "RobertaProcessing"}]}), "got 'Roberta"),
    (changed("decoder", {"type": "WordPiece", "prefix": "##"}), "decoder.type is not supported: expected 'ByteLevel'"),
    (changed("added_tokens", {}), "added_tokens is not supported: expected a list, got {}"),
    (changed("added_tokens.0", "x"), "added token 0 is not supported: expected an object, got 'x'"),
    (changed("added_tokens.0.id", "258"), "added token 0 is not supported: expected an id and a content, got {'id': '"),
    (changed("added_tokens.0.content", ""), "added token 0 is not supported"), (without("added_tokens.0.id"), "added "),
    (changed("added_tokens.0.special", 1), "added token 0.special is not supported: expected False or True, got 1"),
    (changed("added_tokens.0.new_rule", True), "added token 0.new_rule is not supported: expected no such field, got")])
def test_what_is_not_supported_is_named(value, problem):
    with pytest.raises(TokenizerError) as caught:
        parse(value)
    assert str(caught.value).startswith("tokenizer.json") and problem in str(caught.value), str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value, problem", [
    (changed("model.merges", ["t h"]), "tokenizer.json has 'the', which no merge of tokenizer.json makes"),
    (changed("model.merges", ["t h", "th e", "h e"]), "tokenizer.json has no id for 'he', which tokenizer.json needs"),
    (changed("model.merges", ["th e", "t h"]), "tokenizer.json merge 0: 'th e' merges 'th', which no earlier merge ma"),
    (changed("model.merges", ["t h", "th e", "t h"]), "tokenizer.json merge 2: 't h' is a duplicate: merge 0 makes 't"),
    (changed("model.vocab.the", 256), "tokenizer.json gives the id 256 twice: to 'th' and 'the'"),
    (changed("model.vocab.the", -1), "tokenizer.json: expected ids from 0 on, got -1 for 'the'"),
    (changed("added_tokens.0.id", 3), "tokenizer.json gives '<|endoftext|>' the id 3, and tokenizer.json 258"),
    (changed("added_tokens", [END, END | {"content": "[PAD]", "id": 7}]), "gives the id 7 twice: to '(' and '[PAD]'")])
def test_what_does_not_fit_together_is_named(value, problem, tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(value))
    with pytest.raises(TokenizerError) as caught:
        read_tokenizer(tmp_path)
    assert problem in str(caught.value), str(caught.value)


@pytest.mark.parametrize("text, problem", [
    (b"", "tokenizer.json line 1, column 1: not valid JSON"), (b"[]", "tokenizer.json: expected a JSON object, got a "),
    (b"\xff", "tokenizer.json line 1: the byte 0xff is not valid UTF-8"), (b"[" * 100_000, "tokenizer.json"),
    (b'{"model": 1, "model": 2}', "tokenizer.json: the key 'model' comes twice, with 1 and 2"),
    (b'{"model": "\\ud800"}', "tokenizer.json: expected a JSON object (\\ud800 is half of a surrogate pair)")])
def test_a_damaged_file_is_named(text, problem, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(text)
    with pytest.raises(TokenizerError) as caught:
        read_tokenizer(tmp_path)
    assert problem in str(caught.value), str(caught.value)


def test_a_vocabulary_that_is_there_is_not_replaced(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(changed("pre_tokenizer.add_prefix_space", True)))
    with pytest.raises(TokenizerError, match=r"tokenizer\.json exists, and a model may need it"):
        read_tokenizer(tmp_path).save(tmp_path)
