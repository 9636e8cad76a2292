"""Our files against TensorFlow, safetensors and transformers themselves, both ways: `make test-peers` installs them.

They are large and slow to import, so `make test` leaves this file out, and the files in tests/golden stand in for them.
"""

import os

import numpy as np
import pytest

import gpt2np
from gpt2np.checkpoints import huggingface_gpt2, loading, openai_gpt2, safetensors, tf_bundle
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.text.bpe import Tokenizer
from tests.checkpoints.tiny import MERGES, model_of, weights
from tests.golden.make_tf_bundles import all_dtypes

pytestmark = [pytest.mark.skipif(not os.environ.get("GPT2NP_PEERS"), reason="opt-in: make test-peers"),
              pytest.mark.filterwarnings("default")]            # theirs are not ours to mend

HPARAMS = {"n_vocab": 259, "n_ctx": 16, "n_embd": 24, "n_head": 3, "n_layer": 12}
IDS = np.random.default_rng(0).integers(0, 259, (2, 16))


@pytest.fixture(scope="module")
def model():
    return GPT2(GPT2Config(**HPARAMS), np.random.default_rng(1))


@pytest.fixture(scope="module")
def openai_folder(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("peers") / "openai"
    gpt2np.save(folder, model, Tokenizer(MERGES))
    return folder


@pytest.fixture(scope="module")
def huggingface_folder(openai_folder):
    folder = openai_folder.with_name("huggingface")
    loading.write_model(folder, "safetensors", *loading.load(openai_folder))
    return folder


def values(model):
    """The parameters as a bundle has them."""
    return {openai_gpt2.tensor_name(path): p.value.reshape(openai_gpt2.stored(path, p.value.shape))
            for path, p in model.named_parameters()}


def random_tensors(seed):
    """Tensors with names, dtypes and shapes drawn at random."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for _ in range(rng.integers(1, 60)):
        name = "/".join("".join(rng.choice(list("abh01_é"), rng.integers(1, 12))) for _ in range(rng.integers(1, 4)))
        dtype = rng.choice(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
        shape = tuple(rng.integers(0, 40, rng.integers(0, 4)))
        tensors[name] = np.asarray(100 * rng.random(shape)).astype(dtype)
    return tensors


# ---- TensorFlow

def test_tensorflow_lists_and_reads_ours(openai_folder, model):
    tf = pytest.importorskip("tensorflow")
    prefix = tf.train.latest_checkpoint(str(openai_folder))
    assert prefix == str(openai_folder / "model.ckpt")
    expected = values(model)
    assert tf.train.list_variables(prefix) == [(name, list(expected[name].shape)) for name in sorted(expected)]
    reader = tf.train.load_checkpoint(prefix)
    for name, value in expected.items():
        read = reader.get_tensor(name)
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, value)


def test_tensorflow_1_restores_ours(openai_folder, model):
    """As OpenAI's own scripts do it: a graph of variables, and Saver.restore."""
    tf = pytest.importorskip("tensorflow")
    expected = values(model)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = {name: tf.compat.v1.get_variable(name, value.shape) for name, value in expected.items()}
        tf.compat.v1.train.Saver().restore(session, tf.train.latest_checkpoint(str(openai_folder)))
        for name, variable in variables.items():
            np.testing.assert_array_equal(session.run(variable), expected[name])


@pytest.mark.parametrize("seed", range(20))
def test_tensorflow_writes_the_same_bytes(seed, tmp_path):
    tf = pytest.importorskip("tensorflow")
    tensors = all_dtypes() if seed == 0 else random_tensors(seed)
    names = sorted(tensors, key=str.encode)
    tf.raw_ops.SaveV2(prefix=str(tmp_path / "theirs"), tensor_names=names, shape_and_slices=[""] * len(names),
                      tensors=[tf.constant(tensors[name]) for name in names])
    tf_bundle.write(tmp_path / "ours", tensors)
    for suffix in (".index", ".data-00000-of-00001"):
        assert (tmp_path / f"ours{suffix}").read_bytes() == (tmp_path / f"theirs{suffix}").read_bytes()
    for name, array in tf_bundle.read(tmp_path / "theirs").items():
        assert (array.dtype, array.shape, array.tobytes()) == (
            tensors[name].dtype, tensors[name].shape, tensors[name].tobytes())


# ---- safetensors

@pytest.mark.parametrize("seed", range(20))
def test_safetensors_reads_and_writes_the_same(seed, tmp_path):
    theirs = pytest.importorskip("safetensors.numpy")
    tensors = all_dtypes() if seed == 0 else random_tensors(seed)
    safetensors.write(tmp_path / "ours", tensors, {"format": "np"})
    theirs.save_file(tensors, tmp_path / "theirs", {"format": "np"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    for read in (theirs.load_file(tmp_path / "ours"), safetensors.read(tmp_path / "theirs")[0]):
        assert read.keys() == tensors.keys()
        for name, array in tensors.items():
            assert (read[name].dtype, read[name].shape, read[name].tobytes()) == (
                array.dtype, array.shape, array.tobytes())


# ---- transformers

def test_transformers_computes_our_logits_from_our_file(huggingface_folder, model):
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    theirs, report = transformers.GPT2LMHeadModel.from_pretrained(huggingface_folder, output_loading_info=True)
    assert not report["unexpected_keys"] and not report["mismatched_keys"]
    assert set(report["missing_keys"]) <= {"lm_head.weight"}
    with torch.no_grad():
        logits = theirs.eval()(torch.tensor(IDS)).logits.numpy()
    np.testing.assert_allclose(logits, model.forward(IDS)[0], atol=1e-5)


def test_we_compute_transformers_logits_from_its_file(tmp_path):
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=259, n_positions=16, n_embd=24, n_head=3, n_layer=3)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        logits = theirs(torch.tensor(IDS)).logits.numpy()
    theirs.save_pretrained(tmp_path)
    ours = model_of(*weights(huggingface_gpt2, tmp_path / "model.safetensors"))
    np.testing.assert_allclose(ours.forward(IDS)[0], logits, atol=1e-4)


def test_transformers_reads_our_vocabulary(huggingface_folder):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.GPT2Tokenizer.from_pretrained(huggingface_folder)
    text = "the other thé\n  (the)"
    assert theirs.encode(text) == Tokenizer(MERGES).encode(text)
