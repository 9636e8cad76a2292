"""gpt2np.load and gpt2np.save: names and paths, vocabularies, and folders that are never there by half."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import gpt2np
from gpt2np import bytes_in, convert, decoding, evaluate, generate, train
from gpt2np.checkpoints import files, huggingface_gpt2, loading, openai_gpt2
from gpt2np.checkpoints.errors import CheckpointError
from gpt2np.checkpoints.parameters import values_of
from gpt2np.checkpoints.vocabularies import read_tokenizer, write_tokenizer
from gpt2np.decoding.text_to_text import generate_text
from gpt2np.layers.module import Blank, Module, Parameter
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.text import vocab_txt
from gpt2np.text.bpe import Tokenizer
from gpt2np.text.wordpiece import WordPiece
from gpt2np.training.language_modelling import LanguageModelling, LanguagePlan, load_to_train
from tests.checkpoints.tiny import MERGES, SMALL, model_of, weights
from tests.golden.make_huggingface import IDS
from tests.golden.make_tf_bundles import GOLDEN

TEXT = "the thé \n"


@pytest.fixture
def tokenizer():
    return Tokenizer(MERGES)


@pytest.fixture
def model():
    return GPT2(GPT2Config(**SMALL), np.random.default_rng(0))


@pytest.fixture
def folder(tmp_path, model, tokenizer):
    gpt2np.save(tmp_path / "model", model, tokenizer)
    return tmp_path / "model"


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Only these folders for models that go by name."""
    monkeypatch.setattr(loading, "places", lambda: [tmp_path / "first", tmp_path / "second"])
    return loading.places()


def assert_same(loaded, model):
    ours = dict(model.named_parameters())
    for path, parameter in loaded.named_parameters():
        np.testing.assert_array_equal(parameter.value, ours[path].value)
        assert parameter.value.dtype == ours[path].value.dtype
    assert loaded.config == model.config


def refused(path, *patterns):
    with pytest.raises(CheckpointError) as caught:
        gpt2np.load(path)
    for pattern in patterns:
        assert pattern in str(caught.value), str(caught.value)


def test_a_saved_model_is_loaded_as_it_was(folder, model, tokenizer):
    loaded, words = gpt2np.load(folder)
    assert_same(loaded, model)
    assert words.encode(TEXT) == tokenizer.encode(TEXT)
    assert words.n_vocab == loaded.config.n_vocab
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint", "encoder.json", "hparams.json", "model.ckpt.data-00000-of-00001", "model.ckpt.index", "vocab.bpe"]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["model"]


def test_a_loaded_model_computes_and_can_be_trained_without_touching_the_file(folder, model):
    before = (folder / "model.ckpt.data-00000-of-00001").read_bytes()
    loaded, _ = gpt2np.load(folder)
    tokens = np.array([[1, 2, 3]])
    np.testing.assert_array_equal(loaded.forward(tokens)[0], model.forward(tokens)[0])
    for _, parameter in loaded.named_parameters():
        parameter.value -= 1
    assert (folder / "model.ckpt.data-00000-of-00001").read_bytes() == before


def test_loading_copies_no_weights(folder):
    loaded, _ = gpt2np.load(folder)
    assert not any(parameter.value.flags.owndata for _, parameter in loaded.named_parameters())


def test_files_that_describe_a_model_are_read_once(folder, tmp_path, monkeypatch):
    convert.main([str(folder), str(tmp_path / "hf"), "--to", "safetensors"])
    read, real = [], bytes_in.read_small
    monkeypatch.setattr(bytes_in, "read_small", lambda path, most: (real(path, most), read.append(path.name))[0])
    gpt2np.load(folder)
    gpt2np.load(tmp_path / "hf")
    assert sorted(read) == sorted(["checkpoint", "hparams.json", "encoder.json", "vocab.bpe",
                                   "model.ckpt.index", "config.json", "vocab.json", "merges.txt"])


class Bigrams(Module):
    """A model of another kind: a table of logits, in a file of NumPy's."""

    def __init__(self, n_vocab):
        self.n_vocab = n_vocab
        self.table = Parameter(Blank((n_vocab, n_vocab), np.float32))


class BigramFiles:
    """Its layout, as a module would have it."""

    MODEL, FILES = Bigrams, ("table.npy", "bigrams.json")

    @staticmethod
    def is_mine(source):
        return (source.folder / "bigrams.json").exists()

    @staticmethod
    def read(source, dtype):
        model = Bigrams(source.json("bigrams.json")["n"])
        model.table.value = np.load(source.folder / "table.npy").astype(dtype)
        return model, read_tokenizer(source.folder, model.n_vocab)

    @staticmethod
    def write(folder, model, tokenizer, dtype):
        write_tokenizer(folder, tokenizer, model.n_vocab)
        (folder / "bigrams.json").write_text(json.dumps({"n": model.n_vocab}))
        np.save(folder / "table.npy", values_of(model, Bigrams(model.n_vocab), folder, dtype)["table"])


def test_another_model_needs_one_line_in_the_list_of_layouts(tmp_path, tokenizer, model, monkeypatch):
    bigrams = Bigrams(259)
    with pytest.raises(ValueError, match="expected one that has a layout of files, got a Bigrams"):
        gpt2np.save(tmp_path / "model", bigrams, tokenizer)
    monkeypatch.setattr(loading, "LAYOUTS", loading.LAYOUTS | {"bigrams": BigramFiles})
    bigrams.table.value[3, 4] = 5
    gpt2np.save(tmp_path / "model", bigrams, tokenizer)
    loaded, words = gpt2np.load(tmp_path / "model")
    assert isinstance(loaded, Bigrams) and (loaded.table.value == bigrams.table.value).all()
    assert words.encode(TEXT) == tokenizer.encode(TEXT)
    gpt2np.save(tmp_path / "model", model, tokenizer)       # a folder of one layout may become one of another
    assert_same(gpt2np.load(tmp_path / "model")[0], model)
    with pytest.raises(CheckpointError, match="the layout openai is for a GPT2: found a Bigrams"):
        loading.write_model(tmp_path / "other", "openai", bigrams, tokenizer)
    bigrams.table.value = np.zeros((2, 3))
    with pytest.raises(CheckpointError, match=f"{tmp_path / 'model'}: tensor 'table': its shape is wrong: expected"):
        loading.write_model(tmp_path / "model", "bigrams", bigrams, tokenizer)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_float64_can_be_asked_for_and_nothing_else(folder):
    loaded, _ = gpt2np.load(folder, dtype=np.float64)
    assert all(parameter.value.dtype == np.float64 for _, parameter in loaded.named_parameters())
    with pytest.raises(ValueError, match="expected float32 or float64, got float16"):
        gpt2np.load(folder, dtype=np.float16)


def test_logits_equal_those_of_transformers():
    """tests/golden/huggingface holds a model that transformers saved, and the logits that it computed."""
    model = model_of(*weights(huggingface_gpt2, GOLDEN / "huggingface" / "model.safetensors", np.float64))
    logits, _ = model.forward(np.array(IDS))
    np.testing.assert_allclose(logits, np.load(GOLDEN / "huggingface" / "logits.npy"), atol=2e-5)


# ---- names and paths

def test_names_are_looked_for_in_every_place_in_order(folder, places):
    shutil.copytree(folder, places[1] / "demo")
    assert loading.find("demo") == places[1] / "demo"
    shutil.copytree(folder, places[0] / "demo")
    assert loading.find("demo") == places[0] / "demo"
    gpt2np.load("demo")


def test_a_name_with_a_hyphen_is_a_folder_without_one_in_the_package(folder, places, monkeypatch):
    monkeypatch.setattr(loading, "PACKAGE", places[1])
    shutil.copytree(folder, places[1] / "demo_zh")
    assert loading.find("demo-zh") == places[1] / "demo_zh"
    shutil.copytree(folder, places[0] / "demo-zh")
    assert loading.find("demo-zh") == places[0] / "demo-zh"


def test_the_places(monkeypatch, tmp_path):
    monkeypatch.setenv("GPT2NP_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    package = Path(gpt2np.__file__).parent              # where a wheel puts the demo model
    usual = [package.parent / "weights", tmp_path / "cache" / "gpt2np", package]
    assert loading.places() == [tmp_path, *usual]
    monkeypatch.delenv("GPT2NP_WEIGHTS")
    assert loading.places() == usual


def test_what_is_not_there(places, tmp_path):
    for name in ("124M", Path("124M")):
        refused(name, "in none of", str(places[0]), "to fetch it: python -m gpt2np.download 124M")
    for name in ("demo", Path("demo")):                 # which is not among what can be fetched
        refused(name, "in none of", "to fetch another: python -m gpt2np.download 124M")
    refused("117M", "neither a model's name (demo, demo-zh, translation, fill, 124M, 355M, 774M, 1558M) nor the path")
    refused(tmp_path / "absent", "neither")
    refused("\0", "neither")
    refused("x" * 5000, "neither")
    refused(tmp_path, "neither model.ckpt.index nor model.safetensors")
    for name, what in (("x.gguf", "x.gguf is llama.cpp's, which is not read: ask for model.safetensors"),
                       ("adapter_config.json", "adapter_config.json is an adapter's (peft), which is nothing wi"),
                       ("model-00001-of-00002.safetensors", "is a part of a model: model.safetensors.index.json"),
                       ("ckpt.pt", "ckpt.pt is a pickle, which can run any code: ask for model.safetensors"),
                       ("pytorch_model-00001-of-00002.bin", "pytorch_model-00001-of-00002.bin is a pickle")):
        (tmp_path / name).write_bytes(b"")
        refused(tmp_path, "neither model.ckpt.index nor model.safetensors", what)
        (tmp_path / name).unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK\x03\x04")
    refused(tmp_path, "pytorch_model.bin is a pickle")
    refused(tmp_path / "pytorch_model.bin", "looks like a pickle")
    (tmp_path / "x.pt").write_bytes(b"\x80\x02")
    refused(tmp_path / "x.pt", "looks like a pickle")


def test_a_safetensors_file_and_its_folder(folder, tmp_path, model):
    assert convert.main([str(folder), str(tmp_path / "hf"), "--to", "safetensors"]) == 0
    assert sorted(path.name for path in (tmp_path / "hf").iterdir()) == [
        "config.json", "merges.txt", "model.safetensors", "vocab.json"]
    for path in (tmp_path / "hf", tmp_path / "hf" / "model.safetensors"):
        loaded, words = gpt2np.load(path)
        assert_same(loaded, model)
        assert words.decode(words.encode(TEXT)) == TEXT
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["eos_token_id"] == words.end_of_text


# ---- vocabularies

def test_a_vocabulary_must_be_there_and_be_the_models(folder):
    (folder / "vocab.bpe").rename(folder / "x")
    refused(folder, str(folder), "vocab.bpe cannot be read")
    (folder / "encoder.json").rename(folder / "y")
    assert gpt2np.load(folder)[1] is None               # what needs text says so
    with pytest.raises(CheckpointError, match="it lacks its vocabulary, so it can neither read nor write text"):
        loading.load_with_tokenizer(folder)
    Tokenizer([*MERGES, (b"h", b"e")]).save(folder)
    refused(folder, str(folder), "expected 259 tokens, found 260")


def test_a_model_may_have_more_rows_than_its_vocabulary_has_tokens(folder, model, tokenizer, tmp_path):
    for name in ("encoder.json", "vocab.bpe"):
        (folder / name).unlink()
    Tokenizer(MERGES[:1]).save(folder)
    padded = gpt2np.load(folder)[1]
    assert repr(padded) == ("RuledTokenizer of 259 tokens, 1 of them unused: byte-level BPE of 1 merges, "
                            "end of text 257")
    assert padded.n_vocab == 259 and padded.unused == [258] and padded.encode("the") == [256, 68]
    for layout in ("openai", "safetensors"):
        loading.write_model(tmp_path / layout, layout, model, padded)
        loaded, again = gpt2np.load(tmp_path / layout)
        assert_same(loaded, model)
        assert again.fingerprint() == padded.fingerprint() and again.unused == [258]
    assert (tmp_path / "openai" / "tokenizer.json").exists()


def test_ids_without_a_token_are_not_written(model, tmp_path, capsys):
    """Not by the command, nor by any function, though the model finds them the likeliest by far, and then "a"."""
    model.ln_f.b.value[:] = 1
    model.wte.value[258], model.wte.value[64] = 50, 25
    loading.write_model(tmp_path / "x", "safetensors", model, None)
    Tokenizer(MERGES[:1]).save(tmp_path / "x")
    loaded, tokenizer = gpt2np.load(tmp_path / "x")
    assert loaded.forward([[1]])[0].argmax() == 258 and tokenizer.unused == [258]
    for options in (["--temperature", "0"], ["--seed", "1"], ["--speculate", "--seed", "2"],
                    ["--num-return-sequences", "3"], ["--num-beams", "3"]):
        assert generate.main(["the", "--model", str(tmp_path / "x"), "--max-new-tokens", "5", *options]) == 0
        assert "theaaaaa\n" in capsys.readouterr().out
    assert generate_text(loaded, tokenizer, "the", max_length=8) == ["theaaaaaa"]
    assert gpt2np.generate("the", tmp_path / "x", max_new_tokens=3) == "theaaa"
    assert list(decoding.generate(loaded, [1], 3, decoding.GREEDY)) == [64] * 3
    assert {beam.written[0] for beam in decoding.beam_search(loaded, [1], 1, 300)} == {*range(258)}
    plan = LanguagePlan(steps=1, context=4, sample=4)
    task = LanguageModelling(*load_to_train(tmp_path / "x", plan), np.arange(9), np.arange(9), plan)
    assert task.sample(np.random.default_rng(0)) == "aaaa"
    draft = decoding.ModelDraft(loaded)
    assert 258 not in decoding.speculate(loaded, [1], 9, draft, rng=np.random.default_rng(0))


@pytest.mark.parametrize("layout", ["openai", "safetensors"])
def test_rows_without_a_token_are_counted_when_they_are_there(layout, model, tokenizer, tmp_path):
    loading.write_model(tmp_path / "x", layout, model, tokenizer)
    file = tmp_path / "x" / {"openai": "hparams.json", "safetensors": "config.json"}[layout]
    file.write_text(file.read_text().replace("259", str(2**31 - 1)))
    tracemalloc.start()
    refused(tmp_path / "x", "its shape is wrong: expected (2147483647, 4), found (259, 4)")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize("layout", ["openai", "safetensors"])
def test_weights_without_a_vocabulary_come_and_go(layout, model, tmp_path, capsys):
    loading.write_model(tmp_path / "x", layout, model, None)
    loaded, none = gpt2np.load(tmp_path / "x")
    assert none is None
    assert_same(loaded, model)
    (tmp_path / "x.txt").write_text("text " * 99)
    for command, arguments in ((generate, ["--model"]), (evaluate, [tmp_path / "x.txt", "--model"]),
                               (train, [tmp_path / "x.txt", "--out", tmp_path / "run", "--init-from"])):
        assert command.main([*map(str, arguments), str(tmp_path / "x")]) == 1
        said = capsys.readouterr().err
        assert "it lacks its vocabulary, so it can neither read nor write text" in said and said.count("\n") == 1, said
    assert convert.main([str(tmp_path / "x"), str(tmp_path / "y"), "--to", "safetensors"]) == 0
    assert gpt2np.load(tmp_path / "y")[1] is None


@pytest.mark.parametrize("layout", ["openai", "safetensors"])
def test_a_gpt2_with_berts_vocabulary(layout, tmp_path):
    """As Chinese ones have it."""
    words = WordPiece([*vocab_txt.SPECIAL, "床", "前", "a", "##b"], do_lower_case=False)
    model = GPT2(GPT2Config(**SMALL | {"n_vocab": 9}), np.random.default_rng(0))
    loading.write_model(tmp_path / "x", layout, model, words)
    loaded, again = gpt2np.load(tmp_path / "x")
    assert_same(loaded, model)
    assert again.fingerprint() == words.fingerprint() and again.end_of_text == 3
    text, = generate_text(loaded, again, "床前 ab", max_length=8, rng=np.random.default_rng(0))
    assert text.startswith("床前 ab") and len(text) > 5
    with pytest.raises(CheckpointError, match="the tokenizer is not the model's: expected 9 tokens, found 259"):
        loading.write_model(tmp_path / "x", layout, model, Tokenizer(MERGES))
    loading.write_model(tmp_path / "x", layout, loaded, again)      # a folder with vocab.txt is that of a model


def test_another_end_of_text_stays_where_a_model_goes(folder, model, tmp_path):
    """A model whose texts end at the new line, as its config.json says."""
    newline = Tokenizer(MERGES).encode("\n")[0]
    loading.write_model(tmp_path / "hf", "safetensors", model, Tokenizer(MERGES))
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    (tmp_path / "hf" / "config.json").write_text(json.dumps(config | {"eos_token_id": newline}))
    for source, layout in (("hf", "openai"), ("openai", "safetensors"), ("safetensors", "openai")):
        loaded, tokenizer = gpt2np.load(tmp_path / source)
        assert tokenizer.end_of_text == newline and tokenizer.encode("the") == [257]
        loading.write_model(tmp_path / layout, layout, loaded, tokenizer)
    assert json.loads((tmp_path / "safetensors" / "config.json").read_text())["eos_token_id"] == newline


def test_half_a_vocabulary_under_other_names(folder, tmp_path):
    convert.main([str(folder), str(tmp_path / "hf"), "--to", "safetensors"])
    (tmp_path / "hf" / "merges.txt").unlink()
    refused(tmp_path / "hf", "vocabulary cannot be read", "merges.txt cannot be read: No such file")
    (tmp_path / "hf" / "vocab.json").unlink()
    assert gpt2np.load(tmp_path / "hf")[1] is None


def test_gpt2s_own_vocabulary_serves_where_there_is_none(tmp_path):
    assert read_tokenizer(tmp_path, 50257).n_vocab == 50257
    (tmp_path / "tokenizer.json").write_text("{}")      # it has one
    with pytest.raises(CheckpointError, match=r"cannot be read: tokenizer\.json: model is not supported"):
        read_tokenizer(tmp_path, 50257)


# ---- saving

def test_saving_replaces_a_model(folder, model, tokenizer):
    old, _ = gpt2np.load(folder)
    model.wte.value += 1
    gpt2np.save(folder, model, tokenizer)
    assert_same(gpt2np.load(folder)[0], model)
    np.testing.assert_array_equal(old.wte.value + 1, model.wte.value)      # the model that is loaded does not change
    assert sorted(path.name for path in folder.parent.iterdir()) == ["model"]


def test_saving_over_the_model_that_is_loaded(folder):
    model, tokenizer = gpt2np.load(folder)
    gpt2np.save(folder, model, tokenizer)
    assert_same(gpt2np.load(folder)[0], model)


def test_saving_leaves_other_things_alone(folder, model, tokenizer, tmp_path):
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"not part of a model, and is left as it is: found .notes\.txt"):
        gpt2np.save(folder, model, tokenizer)
    assert (folder / "notes.txt").read_text() == "mine"
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="a file, where the folder"):
        gpt2np.save(tmp_path / "file", model, tokenizer)
    with pytest.raises(CheckpointError, match="left as it is"):
        gpt2np.save("/", model, tokenizer)


def test_saving_refuses_a_tokenizer_of_another_model_and_weights_that_are_not_finite(folder, model, tokenizer):
    with pytest.raises(CheckpointError, match="expected 259 tokens, found 258"):
        gpt2np.save(folder, model, Tokenizer(MERGES[:1]))
    model.wte.value[0, 0] = np.nan
    with pytest.raises(CheckpointError, match=r"'wte': 1 of its 1,036 numbers are not finite"):
        gpt2np.save(folder, model, tokenizer)
    gpt2np.load(folder)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["model"]


def test_a_full_disk_leaves_the_old_model(folder, model, tokenizer, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for place, name in ((openai_gpt2, "write_text"), (files, "sync_folder"), (loading, "sync_file")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, full)
            with pytest.raises(OSError, match="No space left"):
                gpt2np.save(folder, model, tokenizer)
        assert_same(gpt2np.load(folder)[0], model)
        assert sorted(path.name for path in folder.parent.iterdir()) == ["model"]


CRASH = """
import os, sys
import gpt2np
model, tokenizer = gpt2np.load(sys.argv[1])
model.wte.value += 1
def dies(name):
    real = getattr(os, name)
    def call(*arguments, **named):
        global left
        left -= 1
        if left == 0:
            os._exit(9)
        return real(*arguments, **named)
    setattr(os, name, call)
for name in ("fsync", "rename", "mkdir", "unlink", "rmdir"):
    dies(name)
for line in sys.stdin:
    child = os.fork()
    if not child:
        left = int(line)
        gpt2np.save(sys.argv[1], model, tokenizer)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_crash_at_any_step_of_saving_leaves_a_whole_model(folder, model):
    """The process ends at its 1st, 2nd, 3rd ... change to the disk: old or new, always whole; saving works again."""
    values = {model.wte.value.tobytes(), (model.wte.value + 1).tobytes()}
    saving = subprocess.Popen([sys.executable, "-c", CRASH, str(folder)], text=True, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    for step in range(1, 60):
        print(step, file=saving.stdin, flush=True)
        status = int(saving.stdout.readline())
        there = folder if folder.exists() else folder.with_name(".model.old")
        loaded, tokenizer = gpt2np.load(there)
        assert loaded.wte.value.tobytes() in values
        if not folder.exists():
            refused(folder, "rename that")
            there.rename(folder)
        if status == 0:
            break
        assert status == 9
        shutil.rmtree(folder.with_name(".model.old"), ignore_errors=True)
        gpt2np.save(folder, model, tokenizer)
    saving.communicate()
    assert step > 15


# ---- the commands

def run(*arguments, **environment):
    return subprocess.run([sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "LC_ALL": "C"} | environment)


def test_convert_there_and_back(folder, tmp_path):
    done = run("gpt2np.convert", folder, tmp_path / "h f", "--to", "safetensors")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout == (
        f"{folder} written to {tmp_path / 'h f'}, in the layout safetensors, as float32: 0.0 MB\nTo use it:\n"
        f"    python -m gpt2np.generate --model '{tmp_path / 'h f'}'\n")
    (tmp_path / "h f").rename(tmp_path / "hf")
    assert run("gpt2np.convert", tmp_path / "hf", tmp_path / "back", "--to", "openai").returncode == 0
    for path in folder.iterdir():
        assert (tmp_path / "back" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("layout", ["openai", "safetensors"])
def test_half_the_precision_is_half_the_size(layout, folder, tmp_path):
    assert convert.main([str(folder), str(tmp_path / "half"), "--to", layout, "--dtype", "float16"]) == 0
    name = {"openai": openai_gpt2.BUNDLE + ".data-00000-of-00001", "safetensors": huggingface_gpt2.MODEL_FILE}[layout]
    whole, _ = gpt2np.load(folder)
    half, _ = gpt2np.load(tmp_path / "half")
    assert (tmp_path / "half" / name).stat().st_size < 2 * whole.config.n_parameters + 4096
    for (path, p), (_, rounded) in zip(whole.named_parameters(), half.named_parameters()):
        np.testing.assert_array_equal(rounded.value, p.value.astype(np.float16).astype(np.float32), err_msg=path)


def test_a_weight_that_half_the_precision_cannot_hold_is_refused(folder, model, tokenizer, tmp_path, capsys):
    model.ln_f.g.value[0] = 1e5                         # the largest float16 is 65,504
    gpt2np.save(folder, model, tokenizer)
    assert convert.main([str(folder), str(tmp_path / "half"), "--to", "openai", "--dtype", "float16"]) == 1
    assert "'ln_f.g': 1 of its 4 numbers are not finite in float16" in capsys.readouterr().err
    assert not (tmp_path / "half").exists()


def test_convert_says_what_is_wrong_in_one_line(folder, tmp_path):
    for arguments, status in (((folder, tmp_path / "x"), 2), ((folder, tmp_path / "x", "--to", "gguf"), 2),
                              ((tmp_path / "absent", tmp_path / "x", "--to", "openai"), 1),
                              ((folder, tmp_path, "--to", "openai"), 1), ((folder, "/proc/x/y", "--to", "openai"), 1)):
        done = run("gpt2np.convert", *arguments)
        assert done.returncode == status and "Traceback" not in done.stderr and not done.stdout, done
        assert status == 2 or len(done.stderr.splitlines()) == 1, done.stderr


def test_importing_gpt2np_imports_nothing_else():
    code = "import sys, gpt2np; print([m for m in sys.modules if m.startswith(('gpt2np.', 'numpy', 'requests'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
                          env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.stdout == "[]\n", done
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        gpt2np.nothing  # noqa: B018


def test_the_tiny_models_have_no_tokenizer():
    model, tokenizer = gpt2np.load(GOLDEN / "huggingface")
    assert model.config.n_vocab == 29 and tokenizer is None
