"""OpenAI's folder: names, shapes and hparams, each exactly as it must be."""

import hashlib
import json
import tracemalloc

import numpy as np
import pytest

from gpt2np.checkpoints import loading, openai_gpt2, tf_bundle
from gpt2np.checkpoints.errors import CheckpointError
from gpt2np.checkpoints.layout import Source
from gpt2np.checkpoints.parameters import shapes_of
from gpt2np.errors import Gpt2npWarning
from gpt2np.models.config import SIZES, GPT2Config
from gpt2np.models.gpt2 import GPT2
from tests.checkpoints.tiny import model_of, openai_folder, parameters, weights
from tests.golden.make_tf_bundles import TINY, tiny_gpt2

RELEASED_SIZES = {"124M": (12, 12, 768, 124_439_808, 148), "355M": (24, 16, 1024, 354_823_168, 292),
                  "774M": (36, 20, 1280, 774_030_080, 436), "1558M": (48, 25, 1600, 1_557_611_200, 580)}
RELEASED = {                        # sha256 of files in OpenAI's release
    "hparams.json": "d9d56e4121c427164e0c55c6f03c08e1daf9002b9b672825112d19097b680318",
    "checkpoint": "dd1b025d2e155283f5e300ce95bf6d5b6bc0f7fe010db73daa6975eb896ab9cb"}


def refused(folder, *patterns):
    with pytest.raises(CheckpointError) as caught:
        weights(openai_gpt2, folder)
    for pattern in patterns:
        assert pattern in str(caught.value), str(caught.value)


def test_reads_tensorflows_model_and_writes_the_same_bytes(tmp_path):
    folder = openai_folder(tmp_path / "theirs")
    read, hparams = weights(openai_gpt2, folder)
    assert hparams == TINY
    assert list(read) == list(parameters())
    for path, array in parameters().items():
        np.testing.assert_array_equal(read[path], array)
        assert read[path].dtype == np.float32 and read[path].shape == array.shape
    (tmp_path / "ours").mkdir()
    openai_gpt2.write(tmp_path / "ours", model_of(read), None)
    for name in ("checkpoint", "model.ckpt.index", "model.ckpt.data-00000-of-00001"):
        assert (tmp_path / "ours" / name).read_bytes() == (folder / name).read_bytes()
    assert weights(openai_gpt2, tmp_path / "ours")[1] == TINY


@pytest.mark.parametrize("size", RELEASED_SIZES)
def test_the_released_sizes(size):
    n_layer, n_head, n_embd, count, tensors = RELEASED_SIZES[size]
    shapes = shapes_of(GPT2(GPT2Config(n_embd=n_embd, n_head=n_head, n_layer=n_layer)))
    assert len(shapes) == tensors and sum(int(np.prod(shape)) for shape in shapes.values()) == count


def test_the_index_of_the_released_model_has_its_size():
    """5,215 bytes for 124M, as OpenAI's server states; only names and shapes matter for it."""
    shapes = shapes_of(GPT2(SIZES["124M"]))
    pairs, offset = [(b"", bytes.fromhex("08011a020801"))], 0
    for name, shape in sorted((openai_gpt2.tensor_name(p), openai_gpt2.stored(p, shape)) for p,
                              shape in shapes.items()):
        size = 4 * int(np.prod(shape))
        pairs.append((name.encode(), tf_bundle._encode_entry(tf_bundle.Entry(1, shape, offset, size, 1))))
        offset += size
    assert len(tf_bundle.encode_table(pairs)) == 5215 and offset == 497_759_232


def test_small_files_are_openais_to_the_byte():
    config = SIZES["124M"]
    for name, text in {"hparams.json": openai_gpt2.hparams_text(config), "checkpoint": openai_gpt2.CHECKPOINT}.items():
        assert hashlib.sha256(text.encode()).hexdigest() == RELEASED[name]


def test_a_model_one_wide_keeps_its_shapes(tmp_path):
    """What a loader that squeezes would lose."""
    hparams = dict(n_vocab=1, n_ctx=1, n_embd=1, n_head=1, n_layer=1)
    openai_gpt2.write(tmp_path, model_of(parameters(hparams), hparams), None)
    read, _ = weights(openai_gpt2, tmp_path)
    assert {path: array.shape for path, array in read.items()} == shapes_of(GPT2(GPT2Config(**hparams)))


@pytest.mark.parametrize("stored, dtype",
                         [(np.float16, np.float32), (np.float64, np.float32), (np.float32, np.float64)])
def test_other_precisions_are_converted(stored, dtype, tmp_path):
    (tmp_path / "hparams.json").write_text(json.dumps(TINY))
    tf_bundle.write(tmp_path / "model.ckpt", {name: array.astype(stored) for name, array in tiny_gpt2().items()})
    read, _ = weights(openai_gpt2, tmp_path, dtype)
    for path, array in parameters().items():
        assert read[path].dtype == dtype
        np.testing.assert_array_equal(read[path], array)


def without(tensors, *names):
    return {name: array for name, array in tensors.items() if name not in names}


def with_value(name, index, value, dtype=np.float32):
    array = tiny_gpt2()[name].astype(dtype)
    array.reshape(-1)[index] = value
    return {name: array}


T = tiny_gpt2()
WRONG = {
    "missing": (without(T, "model/wte", "model/h3/ln_1/g"),
                ["2 missing ('model/wte', 'model/h3/ln_1/g')", "found 134"]),
    "unexpected": (T | {"model/extra": T["model/wpe"]}, ["1 unexpected ('model/extra')"]),
    "many": (without(T, *[name for name in T if "/h1/" in name]), ["12 missing (", ", ...)"]),
    "no 1 in front": (T | {"model/h0/attn/c_attn/w": T["model/h0/attn/c_attn/w"][0]},
                      ["tensor 'model/h0/attn/c_attn/w'", "expected (1, 6, 18), found (6, 18)"]),
    "transposed": (T | {"model/wte": T["model/wte"].T}, ["tensor 'model/wte'", "expected (29, 6), found (6, 29)"]),
    "integers": (T | {"model/wte": T["model/wte"].astype("i4")},
                 ["tensor 'model/wte'", "floating numbers, found int32"]),
    "a NaN": (T | with_value("model/ln_f/g", 2, np.nan),
              ["tensor 'model/ln_f/g'", "1 of its 6 numbers are not finite"]),
    "infinite": (T | with_value("model/wpe", slice(0, 9), -np.inf), ["tensor 'model/wpe'", "9 of its 42"]),
    "too large": (T | with_value("model/wpe", 0, 1e300, float), ["tensor 'model/wpe'", "1 of its 42", "float32"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_tensors_are_refused_by_name(case, tmp_path):
    tensors, patterns = WRONG[case]
    (tmp_path / "hparams.json").write_text(json.dumps(TINY))
    tf_bundle.write(tmp_path / "model.ckpt", tensors)
    refused(tmp_path, *patterns)


GOOD = json.dumps(TINY)


@pytest.mark.parametrize("text, problem", [
    ("", "not valid JSON"), ("{", "not valid JSON"), ("[]", "not a JSON object: found list"),
    ("null", "not a JSON object"),
    ("{}", "lacks n_vocab, n_ctx"), (GOOD.replace('"n_head": 2, ', ""), "lacks n_head"),
    (GOOD[:-1] + ', "n_extra": 1}', "found 'n_extra'"), (GOOD[:-1] + ', "n_ctx": 7}', "'n_ctx' comes twice"),
    (GOOD.replace("29", '"29"'), "n_vocab: expected a whole number from 1 to 2147483647, found '29'"),
    (GOOD.replace("29", "29.0"), "found 29.0"), (GOOD.replace("29", "true"), "found True"),
    (GOOD.replace("29", "0"), "found 0"),
    (GOOD.replace("29", "-29"), "found -29"), (GOOD.replace("29", "NaN"), "NaN is not JSON"),
    (GOOD.replace("29", "null"), "None"),
    (GOOD.replace("29", "2147483648"), "n_vocab"), (GOOD.replace("29", "9" * 5000), "not valid JSON"),
    (GOOD.replace("11", "1001"), "n_layer: expected a whole number from 1 to 1000"),
    (GOOD.replace("2,", "4,"), "multiple of n_head"),
    (GOOD.replace("11", "12"), "12 missing"), (GOOD.replace("11", "10"), "12 unexpected"),
    (GOOD.replace("7", "8"), "(8, 6)"),
    ("[" * 60_000, "nested too deep"), ('{"a":' * 13_000, "nested too deep"), (" " * 65_537, "too large"),
    ("<?xml version='1.0'?><Error><Code>BlobNotFound</Code></Error>", "XML error page")])
def test_bad_hparams_are_refused(text, problem, tmp_path):
    folder = openai_folder(tmp_path / "x")
    (folder / "hparams.json").write_text(text)
    refused(folder, problem)


@pytest.mark.parametrize("changes, problem", [
    ({"n_embd": 2**31 - 1, "n_head": 1}, "'model/wte': its shape is wrong: expected (29, 2147483647), found (29, 6)"),
    ({"n_vocab": 2**31 - 1, "n_ctx": 2**31 - 1}, "'model/wte': its shape is wrong: expected (2147483647, 6)"),
    ({"n_layer": 1000, "n_embd": 2**31 - 1, "n_head": 1}, "11868 missing ('model/h11/ln_1/g', 'model/h11/ln_1/b', ")])
def test_a_model_too_large_for_any_memory_is_refused_in_no_memory(changes, problem, tmp_path):
    folder = openai_folder(tmp_path / "x")
    (folder / "hparams.json").write_text(json.dumps(TINY | changes))
    tracemalloc.start()
    refused(folder, problem)
    assert tracemalloc.get_traced_memory()[1] < 40e6
    tracemalloc.stop()


def test_hparams_in_another_encoding_are_refused(tmp_path):
    folder = openai_folder(tmp_path / "x")
    (folder / "hparams.json").write_bytes(GOOD.encode("utf-16"))
    refused(folder, "hparams.json", "not valid JSON")


def test_the_file_named_checkpoint_is_not_believed(tmp_path):
    folder = openai_folder(tmp_path / "x")
    (folder / "checkpoint").write_text('model_checkpoint_path: "/etc/passwd"\n')
    assert weights(openai_gpt2, folder)[1] == TINY


def test_writing_refuses_what_is_not_the_model(tmp_path):
    good = parameters()
    cut = model_of(good)
    del cut.h[3:]
    for bad, problem in ((cut, "96 missing"), (model_of(good | {"wte": good["wte"].T}), "tensor 'wte': its shape"),
                         (model_of(good | {"wte": good["wte"] * np.nan}), "not finite")):
        with pytest.raises(CheckpointError, match=problem):
            openai_gpt2.write(tmp_path, bad, None)
    assert not list(tmp_path.iterdir())


# ---- what fine-tuning leaves

def renamed(folder, name):
    """TensorFlow's tiny model under another name, with nothing that says which is the latest."""
    openai_folder(folder)
    for path in folder.glob("model.ckpt.*"):
        path.rename(folder / path.name.replace("model.ckpt", name))
    (folder / "checkpoint").unlink()
    return folder


@pytest.mark.parametrize("text", [
    'model_checkpoint_path: "model-1000"\nall_model_checkpoint_paths: "model-1000"\n',
    'model_checkpoint_path: "/home/someone/run1/model-1000"\n', 'model_checkpoint_path: "C:\\\\run1\\\\model-1000"\r\n',
    'all_model_checkpoint_paths: "model-900"\nmodel_checkpoint_path:"model-1000"'])
def test_the_latest_checkpoint_is_read_from_this_folder(text, tmp_path):
    folder = renamed(tmp_path / "x", "model-1000")
    for end in ("index", "data-00000-of-00001"):        # beside others, an older one and the model that it began with
        for other in ("model-900", "model.ckpt"):
            (folder / f"{other}.{end}").write_bytes(b"not looked at")
    (folder / "checkpoint").write_text(text, newline="")
    np.testing.assert_array_equal(weights(openai_gpt2, folder)[0]["wte"], parameters()["wte"])


@pytest.mark.parametrize("text", [
    None, "", "\xff", 'model_checkpoint_path: "/etc/passwd"\n', 'model_checkpoint_path: ".."',
    'model_checkpoint_path: "x/"', 'model_checkpoint_path: "a\0b"', " " * (1 << 21)])
def test_the_only_checkpoint_is_read_where_nothing_names_one(text, tmp_path):
    folder = renamed(tmp_path / "x", "model-1000")
    if text is not None:
        (folder / "checkpoint").write_text(text, encoding="latin-1")
    np.testing.assert_array_equal(weights(openai_gpt2, folder)[0]["wte"], parameters()["wte"])


def test_a_checkpoint_is_read_by_its_path(tmp_path):
    folder = renamed(tmp_path / "x", "model-1000")
    (folder / "model-900.index").write_bytes(b"another")
    for name in ("model-1000", "model-1000.index"):
        assert openai_gpt2.is_mine(Source(folder / name)) and loading.find(folder / name) == folder / name
        np.testing.assert_array_equal(weights(openai_gpt2, folder / name)[0]["wte"], parameters()["wte"])
    refused(folder, "several checkpoints", f"as in {folder / 'model-1000'}: found 'model-1000', 'model-900'")


def test_tensorflows_old_format_and_keras_own_are_told(tmp_path):
    folder = renamed(tmp_path / "x", "model-1000")
    (folder / "model-1000.index").rename(folder / "model.ckpt")
    assert openai_gpt2.is_mine(Source(folder))
    refused(folder, "model.ckpt", "TensorFlow's old format (V1)")
    folder = renamed(tmp_path / "y", "model-1000")
    with_more(folder / "model-1000", b"_CHECKPOINTABLE_OBJECT_GRAPH", dtype=7)
    refused(folder, "model-1000.index", "a tf.train.Checkpoint of objects, such as Keras saves")


def with_more(bundle, *names, dtype=1, crc=0xA282EAD8):
    """Put entries of no bytes into a bundle's index."""
    pairs = dict(tf_bundle.decode_table(tf_bundle.index_path(bundle).read_bytes()))
    more = {name: tf_bundle._encode_entry(tf_bundle.Entry(dtype, (0,), 0, 0, crc)) for name in names}
    tf_bundle.index_path(bundle).write_bytes(tf_bundle.encode_table(sorted((pairs | more).items())))


def test_variables_of_training_are_passed_over_with_a_word(tmp_path):
    folder = openai_folder(tmp_path / "x")
    names = (b"global_step", b"beta1_power", b"model/wte/Adam", b"model/h3/attn/c_attn/w/Adam_1")
    with_more(folder / "model.ckpt", *names, crc=5)     # which is not looked at: they would be twice the weights
    with_more(folder / "model.ckpt", b"is_training", dtype=10)
    with pytest.warns(Gpt2npWarning, match=r"model\.ckpt: 5 variables of training, which are no weights, were passed "
                                         r"over \('beta1_power', 'global_step', 'is_training', \.\.\.\)"):
        np.testing.assert_array_equal(weights(openai_gpt2, folder)[0]["wte"], parameters()["wte"])


def test_several_data_files(tmp_path):
    """As a sharded Saver writes them: every second tensor is in another file."""
    folder = openai_folder(tmp_path / "x")
    tensors, data, pairs = tiny_gpt2(), [b"", b""], [(b"", bytes.fromhex("08021a020801"))]
    for i, name in enumerate(sorted(tensors)):
        stored = tensors[name].tobytes()
        crc = tf_bundle.mask(tf_bundle.crc32c(stored))
        entry = tf_bundle.Entry(1, tensors[name].shape, len(data[i % 2]), len(stored), crc, i % 2)
        pairs.append((name.encode(), tf_bundle._encode_entry(entry)))
        data[i % 2] += stored
    (folder / "model.ckpt.index").write_bytes(tf_bundle.encode_table(pairs))
    refused(folder, "model.ckpt.data-00000-of-00002: there is no such file")
    for i, stored in enumerate(data):
        (folder / f"model.ckpt.data-0000{i}-of-00002").write_bytes(stored)
    read, _ = weights(openai_gpt2, folder)
    for path, array in parameters().items():
        np.testing.assert_array_equal(read[path], array)
    bad = data[1][:4] + np.float32(np.nan).tobytes() + data[1][8:]
    (folder / "model.ckpt.data-00001-of-00002").write_bytes(bad)
    refused(folder, "model.ckpt.data-00001-of-00002: tensor", "damaged")


@pytest.mark.parametrize("name", ["model/wte_1", "model/h11/ln_1/g", "model/wte/a/b"])
def test_variables_that_could_be_weights_are_not(name, tmp_path):
    folder = openai_folder(tmp_path / "x")
    with_more(folder / "model.ckpt", name.encode())
    refused(folder, f"1 unexpected ({name!r})")


def test_rates_of_dropout_are_no_sizes(tmp_path):
    folder = openai_folder(tmp_path / "x")
    more = {"res_dropout": 0.1, "attn_dropout": 0, "embed_dropout": 0.1}
    (folder / "hparams.json").write_text(json.dumps(TINY | more))
    assert weights(openai_gpt2, folder)[1] == TINY
