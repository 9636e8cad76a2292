"""Narrow models in files: what is read is what was written, to the bit, and what is wrong is said."""

import json

import numpy as np
import pytest

import gpt2np
from gpt2np import convert
from gpt2np.adapt.narrow import SCHEMES, quantize, scheme_of
from gpt2np.checkpoints import loading, safetensors
from gpt2np.checkpoints.errors import CheckpointError
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.text.bpe import Tokenizer

TOKENS = np.arange(12).reshape(2, 6)


def model_in(scheme):
    model = GPT2(GPT2Config(257, 8, 12, 3, 2), np.random.default_rng(0))
    quantize(model, scheme)
    return model


def change(folder, tensors=None, fields=None):
    """Write the files again, with other tensors, or with other fields of config.json."""
    if tensors is not None:
        held = {name: np.array(array) for name, array in safetensors.read(folder / "model.safetensors")[0].items()}
        (folder / "model.safetensors").unlink()
        safetensors.write(folder / "model.safetensors",
                          {name: array for name, array in (held | tensors).items() if array is not None})
    if fields is not None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | fields), "utf-8")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_read_computes_the_same_to_the_bit(scheme, tmp_path):
    model = model_in(scheme)
    gpt2np.save(tmp_path / "a", model, Tokenizer([]))
    read, tokenizer = gpt2np.load(tmp_path / "a")
    assert scheme_of(read) == scheme and tokenizer.n_vocab == 257
    np.testing.assert_array_equal(read.forward(TOKENS)[0], model.forward(TOKENS)[0])
    for (path, a), (other, b) in zip(model.named_constants(), read.named_constants(), strict=True):
        assert path == other and a.value.dtype == b.value.dtype
        np.testing.assert_array_equal(a.value, b.value)
    gpt2np.save(tmp_path / "b", read, tokenizer)                        # and once more
    assert all((tmp_path / "b" / p.name).read_bytes() == p.read_bytes() for p in (tmp_path / "a").iterdir())
    exact, _ = gpt2np.load(tmp_path / "a", np.float64)
    np.testing.assert_allclose(exact.forward(TOKENS)[0], model.forward(TOKENS)[0], atol=2e-2)


@pytest.mark.parametrize("tensors, fields, message", [
    ({}, {"quantization_config": {"quant_method": "gpt2np", "scheme": "int4"}}, "scheme is not known: expected one of"),
    ({}, {"quantization_config": {"quant_method": "gpt2np"}}, "scheme is not known: expected one of"),
    ({}, {"quantization_config": {"quant_method": "gpt2np", "scheme": "float16"}}, "GPT-2 in float16 with these"),
    ({"h.0.attn.c_attn.scale": None}, {}, r"1 missing \(.*h.0.attn.c_attn.scale"),
    ({"h.0.attn.c_attn.codes": np.zeros((3, 3), np.int8)}, {}, r"shape is wrong"),
    ({"h.0.attn.c_attn.codes": np.zeros((12, 36), np.uint8)}, {}, r"dtype is wrong.*int8"),
    ({"h.0.attn.c_attn.scale": np.full(36, np.nan, np.float32)}, {}, "36 of its 36 numbers are not finite"),
    ({"wpe.weight": np.full((8, 12), np.inf, np.float32)}, {}, "not finite"),
])
def test_wrong_files_are_refused(tmp_path, tensors, fields, message):
    gpt2np.save(tmp_path / "a", model_in("int8"), None)
    change(tmp_path / "a", tensors, fields)
    with pytest.raises(CheckpointError, match=message):
        gpt2np.load(tmp_path / "a")


def test_other_layouts_are_not_for_it_nor_it_for_others(tmp_path, capsys):
    with pytest.raises(CheckpointError, match="tensors are not those of a GPT-2"):
        loading.write_model(tmp_path / "a", "openai", model_in("int8"), None)
    with pytest.raises(CheckpointError, match="its matrices are not narrow: "):
        wide = GPT2(GPT2Config(257, 8, 12, 3, 2), np.random.default_rng(0))
        loading.write_model(tmp_path / "a", "narrow", wide, None)
    assert not list(tmp_path.iterdir())
    gpt2np.save(tmp_path / "a", model_in("int8"), None)
    assert convert.main([str(tmp_path / "a"), str(tmp_path / "b"), "--to", "openai"]) == 1
    assert "a: its matrices are in int8: convert the model that it was made from" in capsys.readouterr().err
