"""Folders of a GPT-2 as transformers, tokenizers and safetensors write them: loaded with the same ids and logits, or
refused by the name of what is not supported.

`make test-peers` installs the libraries. With GPT2NP_TABLE=1 a table of all folders is printed.
"""

import itertools
import json
import os
import random
import shutil
import warnings

import numpy as np
import pytest

import gpt2np
from gpt2np.checkpoints import loading
from gpt2np.checkpoints.errors import CheckpointError
from gpt2np.text import vocab_txt
from gpt2np.text.ruled import RuledTokenizer
from gpt2np.text.wordpiece import WordPiece

pytestmark = [pytest.mark.skipif(not os.environ.get("GPT2NP_PEERS"), reason="opt-in: make test-peers"),
              pytest.mark.filterwarnings("default")]            # theirs are not ours to mend

SIZES = {"n_positions": 32, "n_embd": 24, "n_head": 3, "n_layer": 3}
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
GREEK = "Η γλώσσα είναι ελληνική, και αυτή είναι μια πρόταση.\n"
TEXTS = ["To be, or not", "", " ", "\n", "a\r\n\r\nb", "  two  spaces ", "ΑΣ Ελλάδα É ﬁ ①", "世界 and 😀!", GREEK,
         "it's 1234,  we'll", "x<|endoftext|>y", "[PAD] dragonfly, dragonflys  odd  [X]\n", "<s> a </s>",
         "ÀÉ é e\u0301", "\u00a0\u3000\u0085 \x1c", *GREEK.split(), *(GREEK[i:] for i in range(len(GREEK)))]


def texts():
    """Those, and random ones of odd characters."""
    rng = random.Random(0)
    alphabet = "abT ἈΑσς  \n\t'sll1２é\u0301ﬁ世😀[]<>|_-PADX,."
    return TEXTS + ["".join(rng.choices(alphabet, k=rng.randrange(1, 30))) for _ in range(200)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A vocabulary in two files: the demo model's 4,096 tokens under Hugging Face's names."""
    folder = tmp_path_factory.mktemp("pair")
    for ours, theirs in (("encoder.json", "vocab.json"), ("vocab.bpe", "merges.txt")):
        shutil.copy(loading.find("demo") / ours, folder / theirs)
    return folder


@pytest.fixture(scope="module")
def greek(tmp_path_factory):
    """A text that has not all bytes."""
    path = tmp_path_factory.mktemp("greek") / "text"
    path.write_text(GREEK * 20, encoding="utf-8")
    return path


def weights(folder, n_vocab, **config):
    """Random weights of a GPT-2 in a folder, as transformers saves them; returns the model."""
    import torch
    import transformers
    torch.manual_seed(0)
    options = {"bos_token_id": 4095, "eos_token_id": 4095} | config
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=n_vocab, **SIZES, **options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return model


def byte_level(pair, **options):
    from tokenizers import ByteLevelBPETokenizer
    return ByteLevelBPETokenizer(str(pair / "vocab.json"), str(pair / "merges.txt"), **options)


def copy(pair, folder):
    folder.mkdir(exist_ok=True)
    for path in pair.iterdir():
        shutil.copy(path, folder)


# ---- what loads: each makes a folder, and returns the model and the tokenizer that are right

def transformers_5(folder, pair, greek):
    import transformers
    tokenizer = transformers.GPT2Tokenizer.from_pretrained(pair)
    tokenizer.save_pretrained(folder)
    return weights(folder, 4096), tokenizer.backend_tokenizer


def tokenizer_json_alone(folder, pair, greek):
    tokenizer = byte_level(pair)
    model = weights(folder, 4096)
    tokenizer.save(str(folder / "tokenizer.json"))
    return model, tokenizer


def all_files_at_once(folder, pair, greek):
    copy(pair, folder)
    return tokenizer_json_alone(folder, pair, greek)


def prefix_space(folder, pair, greek):
    tokenizer = byte_level(pair, add_prefix_space=True)
    model = weights(folder, 4096)
    tokenizer.save(str(folder / "tokenizer.json"))
    return model, tokenizer


def prefix_space_in_the_config(folder, pair, greek):
    import transformers
    copy(pair, folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"add_prefix_space": True}))
    return weights(folder, 4096), transformers.GPT2Tokenizer.from_pretrained(folder).backend_tokenizer


def normalised(folder, pair, greek):
    tokenizer = byte_level(pair, lowercase=True, unicode_normalizer="nfkc", add_prefix_space=True)
    model = weights(folder, 4096)
    tokenizer.save(str(folder / "tokenizer.json"))
    return model, tokenizer


def decomposed(folder, pair, greek):
    tokenizer = byte_level(pair, unicode_normalizer="nfd")
    model = weights(folder, 4096)
    tokenizer.save(str(folder / "tokenizer.json"))
    return model, tokenizer


def added_tokens(folder, pair, greek):
    import transformers
    from tokenizers import AddedToken
    tokenizer = transformers.GPT2Tokenizer.from_pretrained(pair)
    tokenizer.add_special_tokens({"pad_token": "[PAD]", "bos_token": "<|startoftext|>"})
    tokenizer.add_tokens(["  odd ", "世界", AddedToken("dragonfly", single_word=True), AddedToken("be", lstrip=True),
                          AddedToken("[X]", lstrip=True, rstrip=True), AddedToken("'s", normalized=False), "é"])
    tokenizer.save_pretrained(folder)
    return weights(folder, len(tokenizer)), tokenizer.backend_tokenizer


def added_and_normalised(folder, pair, greek):
    from tokenizers import AddedToken
    tokenizer = byte_level(pair, lowercase=True, unicode_normalizer="nfc", add_prefix_space=True)
    tokenizer.add_tokens([AddedToken("DRAGON", normalized=True), AddedToken("PAD", normalized=False),
                          AddedToken("Έλλ", normalized=True, rstrip=True)])
    model = weights(folder, 4099)
    tokenizer.save(str(folder / "tokenizer.json"))
    return model, tokenizer


def added_tokens_json(folder, pair, greek):
    import transformers
    copy(pair, folder)
    (folder / "added_tokens.json").write_text(json.dumps({"[PAD]": 4096, "[X]": 4097}))
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "[PAD]"}))
    return weights(folder, 4098), transformers.GPT2Tokenizer.from_pretrained(folder).backend_tokenizer


def added_tokens_decoder(folder, pair, greek):
    import transformers
    copy(pair, folder)
    token = dict.fromkeys(("special", "lstrip", "rstrip", "single_word", "normalized"), False) | {"content": "[X]"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": {"4096": token}}))
    return weights(folder, 4097), transformers.GPT2Tokenizer.from_pretrained(folder).backend_tokenizer


def a_name_without_an_id(folder, pair, greek):
    import transformers
    copy(pair, folder)
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "[PAD]"}))
    return weights(folder, 4097), transformers.GPT2Tokenizer.from_pretrained(folder).backend_tokenizer


def padded(folder, pair, greek):
    copy(pair, folder)
    return weights(folder, 4160), byte_level(pair)


def trained_with_special_tokens_first(folder, pair, greek):
    from tokenizers import ByteLevelBPETokenizer
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train([__file__], vocab_size=600, special_tokens=SPECIAL, show_progress=False)
    model = weights(folder, tokenizer.get_vocab_size(), bos_token_id=0, eos_token_id=2)
    tokenizer.save_model(str(folder))
    return model, tokenizer


def trained_without_special_tokens(folder, pair, greek):
    from tokenizers import ByteLevelBPETokenizer
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train([__file__], vocab_size=600, show_progress=False)
    model = weights(folder, tokenizer.get_vocab_size(), eos_token_id=None)
    tokenizer.save_model(str(folder))
    return model, tokenizer


def greek_trainer(greek, **options):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.train([str(greek)], trainers.BpeTrainer(vocab_size=200, special_tokens=SPECIAL, show_progress=False))
    return tokenizer


def partial_alphabet(folder, pair, greek):
    tokenizer = greek_trainer(greek)
    model = weights(folder, tokenizer.get_vocab_size(), eos_token_id=2)
    tokenizer.model.save(str(folder))
    return model, tokenizer


def partial_alphabet_with_unk(folder, pair, greek):
    tokenizer = greek_trainer(greek, unk_token="<unk>")
    model = weights(folder, tokenizer.get_vocab_size(), eos_token_id=2)
    tokenizer.save(str(folder / "tokenizer.json"))
    return model, tokenizer


def partial_alphabet_with_fused_unk(folder, pair, greek):
    tokenizer = greek_trainer(greek, unk_token="<unk>", fuse_unk=True)
    model = weights(folder, tokenizer.get_vocab_size(), eos_token_id=2)
    tokenizer.save(str(folder / "tokenizer.json"))
    return model, tokenizer


def windows_line_ends(folder, pair, greek):
    copy(pair, folder)
    merges = (folder / "merges.txt").read_bytes()
    (folder / "merges.txt").write_bytes(merges.replace(b"\n", b"\r\n"))
    return weights(folder, 4096), byte_level(folder)


def no_last_line_end(folder, pair, greek):
    copy(pair, folder)
    merges = (folder / "merges.txt").read_bytes()
    (folder / "merges.txt").write_bytes(merges.removesuffix(b"\n").partition(b"\n")[2])
    return weights(folder, 4096), byte_level(folder)


def shards(folder, pair, greek):
    copy(pair, folder)
    model = weights(folder, 4096)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="50KB")
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    return model, byte_level(pair)


def head_alone(folder, pair, greek):
    import safetensors.torch
    copy(pair, folder)
    model = weights(folder, 4096)
    state = model.state_dict()
    del state["transformer.wte.weight"]
    safetensors.torch.save_file(state, folder / "model.safetensors", {"transformer.wte.weight": "lm_head.weight"})
    return model, byte_level(pair)


def untied_but_equal(folder, pair, greek):
    import safetensors.torch
    copy(pair, folder)
    model = weights(folder, 4096)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(state, folder / "model.safetensors", {"format": "pt"})
    change(folder, tie_word_embeddings=False)
    return model, byte_level(pair)


def half_precision(folder, pair, greek):
    import torch
    copy(pair, folder)
    model = weights(folder, 4096).to(torch.bfloat16)
    model.save_pretrained(folder)
    return model.float(), byte_level(pair)


def n_ctx_beside_n_positions(folder, pair, greek):
    copy(pair, folder)
    model = weights(folder, 4096)
    change(folder, n_ctx=1024)
    return model, byte_level(pair)


def the_stack_alone(folder, pair, greek):
    copy(pair, folder)
    model = weights(folder, 4096)
    model.transformer.save_pretrained(folder)
    return model, byte_level(pair)


def no_vocabulary(folder, pair, greek):
    return weights(folder, 300), None


def bert_tokenizer(folder, **options):
    """A GPT-2 with BERT's vocabulary, as Chinese ones have it, saved by today's transformers: tokenizer.json alone."""
    import transformers
    pieces = [*vocab_txt.SPECIAL, *map(chr, range(33, 127)), *"世界ασςελáé①", "to", "be", "##be", "##ly", "dragon", "ﬁ"]
    model = weights(folder, len(pieces), eos_token_id=102, bos_token_id=101)
    (folder.parent / "pieces").write_text("".join(f"{piece}\n" for piece in pieces))
    tokenizer = transformers.BertTokenizer(str(folder.parent / "pieces"), **options)
    tokenizer.save_pretrained(folder)
    return model, tokenizer.backend_tokenizer


def word_piece(folder, pair, greek):
    found = bert_tokenizer(folder)
    assert not (folder / "vocab.txt").exists()
    return found


def word_piece_with_capitals(folder, pair, greek):
    return bert_tokenizer(folder, do_lower_case=False)


def word_piece_in_both_files(folder, pair, greek):
    found = bert_tokenizer(folder, tokenize_chinese_chars=False)
    shutil.copy(folder.parent / "pieces", folder / "vocab.txt")
    return found


def change(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


LOADED = [transformers_5, tokenizer_json_alone, all_files_at_once, prefix_space, prefix_space_in_the_config, normalised,
          decomposed, added_tokens, added_and_normalised, added_tokens_json, added_tokens_decoder, a_name_without_an_id,
          padded, trained_with_special_tokens_first, trained_without_special_tokens, partial_alphabet,
          partial_alphabet_with_unk, partial_alphabet_with_fused_unk, windows_line_ends, no_last_line_end, shards,
          head_alone, untied_but_equal, half_precision, n_ctx_beside_n_positions, the_stack_alone, no_vocabulary,
          word_piece, word_piece_with_capitals, word_piece_in_both_files]


@pytest.mark.parametrize("make", LOADED, ids=lambda make: make.__name__)
def test_a_folder_loads_with_the_same_logits_and_ids(make, tmp_path, pair, greek, capsys):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    theirs, right = make(tmp_path / "x", pair, greek)
    model, tokenizer = gpt2np.load(tmp_path / "x")
    ids = np.random.default_rng(0).integers(0, model.config.n_vocab, (2, 32))
    with torch.no_grad():
        expected = theirs(torch.tensor(ids)).logits.numpy()
    worst = abs(model.forward(ids)[0] - expected).max()
    assert worst < 1e-4
    if right is None:
        assert tokenizer is None
        told(make.__name__, f"logits within {worst:.0e}; no tokenizer", capsys)
        return
    n = compare(tokenizer, right)
    if isinstance(tokenizer, RuledTokenizer):           # what we save is read to the same ids by us, and by them
        from tokenizers import Tokenizer
        gpt2np.save(tmp_path / "saved", model, tokenizer)
        again = gpt2np.load(tmp_path / "saved")[1]
        assert again.fingerprint() == tokenizer.fingerprint() and again.end_of_text == tokenizer.end_of_text
        compare(tokenizer, Tokenizer.from_file(str(tmp_path / "saved" / "tokenizer.json")))
    told(make.__name__, f"logits within {worst:.0e}; {n} texts with the same ids; {type(tokenizer).__name__}, "
                        f"{len(tokenizer.unused)} ids unused, end {tokenizer.end_of_text}", capsys)


def compare(tokenizer, right):
    """The ids of all texts, in which special tokens are found by theirs always, and by ours when they are allowed."""
    from gpt2np.text.vocabulary import TokenizerError
    special = {token.content for token in tokenizer.rules.added} if isinstance(tokenizer, RuledTokenizer) else \
        {*vocab_txt.SPECIAL} if isinstance(tokenizer, WordPiece) else {"<|endoftext|>"}
    found = {token for token in special if right.token_to_id(token) is not None and is_found(right, token)}
    n = 0
    for text in texts():
        encoded = right.encode(text, add_special_tokens=False)
        try:
            ids = tokenizer.encode(text, found)
        except TokenizerError as error:
            assert "this vocabulary has no token for the byte" in str(error)        # theirs leaves it out
            continue
        assert ids == encoded.ids, (text, ids, encoded.ids)
        n += 1
    for i in range(tokenizer.n_vocab):
        theirs = right.id_to_token(i)
        assert (theirs is None) == (i in set(tokenizer.unused)), (i, theirs)
    return n


def is_found(right, token):
    """Whether their tokenizer looks for this token in a text: not for those that its files do not declare."""
    return right.encode(token, add_special_tokens=False).ids == [right.token_to_id(token)]


# ---- what does not

def another_head(name):
    def make(folder, pair, greek):
        import transformers
        copy(pair, folder)
        config = transformers.GPT2Config(vocab_size=4096, **SIZES, pad_token_id=0)
        getattr(transformers, name)(config).save_pretrained(folder)
    make.__name__ = name
    return make, f"head of {name}"


def another_architecture(name, config, expected):
    def make(folder, pair, greek):
        import transformers
        copy(pair, folder)
        model = getattr(transformers, name)(getattr(transformers, config)(vocab_size=4096, **SMALL[name]))
        model.save_pretrained(folder)
    make.__name__ = name
    return make, expected


SMALL = {
    "GPTNeoForCausalLM": {"hidden_size": 24, "num_layers": 2, "num_heads": 2, "attention_types": [[["global"], 2]]},
    "LlamaForCausalLM": {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    "OPTForCausalLM": {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 32},
    "BertForMaskedLM": {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}}


def with_tokenizer(name, expected, build):
    """A model with a tokenizer.json that asks for something else."""
    def make(folder, pair, greek):
        tokenizer = byte_level(pair)
        build(tokenizer._tokenizer)
        weights(folder, 4096)
        tokenizer.save(str(folder / "tokenizer.json"))
    make.__name__ = name
    return make, expected


def digits(tokenizer):
    from tokenizers import pre_tokenizers as p
    tokenizer.pre_tokenizer = p.Sequence([p.Digits(individual_digits=True), p.ByteLevel(add_prefix_space=False)])


def whitespace(tokenizer):
    from tokenizers import pre_tokenizers
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()


def no_regex(tokenizer):
    from tokenizers import pre_tokenizers
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def template(tokenizer):
    from tokenizers import processors
    end = "<|endoftext|>"
    tokenizer.post_processor = processors.TemplateProcessing(f"{end} $A", special_tokens=[(end, 4095)])


def roberta(tokenizer):
    from tokenizers import processors
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))


def bert_normalizer(tokenizer):
    from tokenizers import normalizers
    tokenizer.normalizer = normalizers.BertNormalizer()


def strip(tokenizer):
    from tokenizers import normalizers
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Strip()])


def dropout(tokenizer):
    tokenizer.model.dropout = 0.1


def metaspace(tokenizer):
    from tokenizers import decoders
    tokenizer.decoder = decoders.Metaspace()


def add_bos_token(folder, pair, greek):
    import transformers
    transformers.GPT2Tokenizer.from_pretrained(pair, add_bos_token=True).save_pretrained(folder)
    weights(folder, 4096)


def add_bos_in_the_config(folder, pair, greek):
    copy(pair, folder)
    weights(folder, 4096)
    (folder / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": True}))


def word_level(folder, pair, greek):
    from tokenizers import Tokenizer, models
    weights(folder, 5)
    Tokenizer(models.WordLevel({"a": 0, "b": 1, "c": 2, "d": 3, "[UNK]": 4}, "[UNK]")).save(
        str(folder / "tokenizer.json"))


def word_piece_that_keeps_controls(folder, pair, greek):
    from tokenizers import BertWordPieceTokenizer
    weights(folder, 5)
    BertWordPieceTokenizer({token: i for i, token in enumerate(vocab_txt.SPECIAL)}, clean_text=False).save(
        str(folder / "tokenizer.json"))


def contradiction(folder, pair, greek):
    tokenizer_json_alone(folder, pair, greek)
    copy(pair, folder)
    ids = json.loads((folder / "vocab.json").read_text())
    ids["he"], ids["re"] = ids["re"], ids["he"]
    (folder / "vocab.json").write_text(json.dumps(ids))


def too_many_tokens(folder, pair, greek):
    copy(pair, folder)
    weights(folder, 4095)


def a_missing_shard(folder, pair, greek):
    shards(folder, pair, greek)
    sorted(folder.glob("model-*"))[1].unlink()


REFUSED = [
    another_head("GPT2ForSequenceClassification"), another_head("GPT2ForTokenClassification"),
    another_head("GPT2ForQuestionAnswering"), another_head("GPT2DoubleHeadsModel"),
    another_architecture("GPTNeoForCausalLM", "GPTNeoConfig", "found 'gpt_neo' ('GPTNeoForCausalLM')"),
    another_architecture("LlamaForCausalLM", "LlamaConfig", "found 'llama' ('LlamaForCausalLM')"),
    another_architecture("OPTForCausalLM", "OPTConfig", "found 'opt' ('OPTForCausalLM')"),
    another_architecture("BertForMaskedLM", "BertConfig", "found 'bert' ('BertForMaskedLM')"),
    with_tokenizer("digits", "pre_tokenizer is not supported: expected 'ByteLevel', got ['Digits', 'Byt", digits),
    with_tokenizer("whitespace", "pre_tokenizer.type is not supported: expected 'ByteLevel', got 'White", whitespace),
    with_tokenizer("no regex", "pre_tokenizer.use_regex is not supported: expected True, got False", no_regex),
    with_tokenizer("template", "post_processor.single is not supported: expected the text alone", template),
    with_tokenizer("roberta", "post_processor.type is not supported: expected 'ByteLevel', got 'RobertaProc", roberta),
    with_tokenizer("bert normalizer", "normalizer.type is not supported: expected 'NFC' or", bert_normalizer),
    with_tokenizer("strip", "normalizer.type is not supported", strip),
    with_tokenizer("dropout", "model.dropout is not supported: expected None or 0, got 0.1", dropout),
    with_tokenizer("metaspace", "decoder.type is not supported: expected 'ByteLevel', got 'Metaspace'", metaspace),
    (add_bos_token, "post_processor.single is not supported"),
    (add_bos_in_the_config, "tokenizer_config.json: add_bos_token is not supported: expected False, got True"),
    (word_level, "model.type is not supported: expected 'BPE', got 'WordLevel'"),
    (word_piece_that_keeps_controls, "normalizer: expected clean_text true, got false"),
    (contradiction, "tokenizer.json and vocab.json contradict each other in 'he'"),
    (too_many_tokens, "its vocabulary is not the model's: expected 4,095 tokens, found 4,096"),
    (a_missing_shard, "there is no such file, which model.safetensors.index.json asks for")]


@pytest.mark.parametrize("make, expected", REFUSED, ids=lambda make: getattr(make, "__name__", ""))
def test_a_folder_is_refused_by_the_name_of_what_is_not_supported(make, expected, tmp_path, pair, greek, capsys):
    pytest.importorskip("transformers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make(tmp_path / "x", pair, greek)
    with pytest.raises(CheckpointError) as caught:
        gpt2np.load(tmp_path / "x")
    assert expected in str(caught.value), str(caught.value)
    told(make.__name__, "refused: " + str(caught.value).replace(str(tmp_path / "x"), "X"), capsys)


def told(name, outcome, capsys):
    if os.environ.get("GPT2NP_TABLE"):
        with capsys.disabled():
            print(f"\n| {name.replace('_', ' ')} | {outcome} |", end="")


def test_added_tokens_are_found_where_the_library_finds_them():
    """Random tokens of white space and letters, in random texts of these."""
    pytest.importorskip("tokenizers")
    from tokenizers import AddedToken

    from gpt2np.text.rules import AddedToken as Ours
    from gpt2np.text.rules import find_tokens
    from tests.golden.make_tokenizers import vocabulary
    rng, n = random.Random(1), 0
    for _ in range(60):
        right = vocabulary()
        given = [AddedToken(content, normalized=False, **{flag: rng.random() < 0.4 for flag in (
            "lstrip", "rstrip", "single_word")}) for content in rng.sample(WORDS, 4)]
        right.add_tokens(given)
        tokens = [Ours(t.content, right.token_to_id(t.content), False, False, t.single_word, t.lstrip, t.rstrip)
                  for t in given]
        for _ in range(60):
            text = "".join(rng.choices("aab  \nx_", k=rng.randrange(1, 14)))
            parts = find_tokens([text], tokens)
            if any(t.content in part for t in tokens for part in parts if isinstance(part, str)):
                continue                                # found alone, but not there: nothing to ask the library for
            try:
                expected = right.encode(text).ids
            except BaseException as error:              # it panics where two tokens claim the same white space
                assert "PanicException" in type(error).__name__, error
                continue
            n += 1
            ids = [[part] if isinstance(part, int) else right.encode(part).ids for part in parts]
            assert [*itertools.chain.from_iterable(ids)] == expected
    assert n > 3000


WORDS = [" x", "  ", "aa", "aab", "ba", "ab", "\n\n", "a b", "_a"]
