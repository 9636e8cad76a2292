"""The safetensors format: files of the official library, and every way in which a file can be none."""

import json

import numpy as np
import pytest

from gpt2np.checkpoints import safetensors
from gpt2np.checkpoints.errors import CheckpointError
from tests.golden.make_tf_bundles import GOLDEN, all_dtypes

W = np.arange(6, dtype=np.float32).reshape(2, 3)
DATA = W.tobytes()
ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def file_of(path, header, data=DATA):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def refused(path, *patterns):
    with pytest.raises(CheckpointError) as caught:
        safetensors.read(path)
    for pattern in (path.name, *patterns):
        assert pattern in str(caught.value), str(caught.value)


def test_round_trip_of_every_dtype(tmp_path):
    tensors = all_dtypes() | {"truth": np.array([True, False])}
    safetensors.write(tmp_path / "x", tensors, {"b": "2", "a": "höhe"})
    read, metadata = safetensors.read(tmp_path / "x")
    assert metadata == {"a": "höhe", "b": "2"} and read.keys() == tensors.keys()
    for name, array in tensors.items():
        assert (read[name].dtype, read[name].shape, read[name].tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_writes_what_the_official_library_wrote(tmp_path):
    theirs = GOLDEN / "huggingface" / "model.safetensors"
    tensors, metadata = safetensors.read(theirs)
    safetensors.write(tmp_path / "ours", dict(reversed(tensors.items())), metadata)
    assert (tmp_path / "ours").read_bytes() == theirs.read_bytes()


def test_arrays_are_mapped_where_their_address_allows_and_copied_where_not(tmp_path):
    for pad, mapped in ((0, True), (1, False)):
        header = json.dumps({"w": ENTRY}).encode()
        header += b" " * (-len(header) % 8 + pad)
        read = safetensors.read(file_of(tmp_path / "x", header))[0]["w"]
        np.testing.assert_array_equal(read, W)
        assert read.flags.aligned
        assert isinstance(base_of(read), np.ndarray) is not mapped


def base_of(array):
    """What owns an array's memory: an array if it was copied, the mapped file if not."""
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    return array


def test_bfloat16_becomes_float32(tmp_path):
    bits = np.array([0x3F80, 0xC040, 0x7F80], "<u2")
    entry = {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}
    read = safetensors.read(file_of(tmp_path / "x", {"w": entry}, bits.tobytes()))[0]["w"]
    np.testing.assert_array_equal(read, np.float32([1, -3, np.inf]))


@pytest.mark.parametrize("header, data, names", [
    ({}, b"", []), (b"  {}  \n", b"", []),
    ({"w": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}, bytes(4), ["w"]),
    ({"w": {"dtype": "F32", "shape": [0, 5], "data_offsets": [0, 0]}}, b"", ["w"]),
    ({"w": ENTRY | {"more": [1]}}, DATA, ["w"]), ({"w": ENTRY, "__metadata__": {}}, DATA, ["w"]),
    ({"v": ENTRY | {"data_offsets": [24, 48]}, "w": ENTRY}, DATA + DATA, ["w", "v"])])
def test_what_is_unusual_and_allowed(header, data, names, tmp_path):
    tensors, metadata = safetensors.read(file_of(tmp_path / "x", header, data))
    assert list(tensors) == names and metadata == {}


def with_(**fields):
    return {"w": ENTRY | fields}


BAD = {
    "bytes missing": (with_(), W.tobytes()[:-1], ["tensor 'w'", "at least 24 bytes", "found 23"]),
    "tail": (with_(), W.tobytes() + b"!", ["belong to no tensor", "expected 24 bytes, found 25"]),
    "gap in front": (with_(data_offsets=[8, 32]), bytes(32), ["tensor 'w'", "gap or an overlap", "expected offset 0"]),
    "gap": ({"v": ENTRY, "w": ENTRY | {"data_offsets": [32, 56]}}, bytes(56), ["tensor 'w'", "gap or an overlap"]),
    "overlap": ({"v": ENTRY, "w": ENTRY | {"data_offsets": [8, 32]}}, bytes(32), ["tensor 'w'", "gap or an overlap"]),
    "same place": ({"v": ENTRY, "w": ENTRY}, bytes(24), ["tensor 'w'", "gap or an overlap"]),
    "backwards": (with_(data_offsets=[24, 0]), bytes(24), ["tensor 'w'", "size does not follow", "found -24"]),
    "negative offset": (with_(data_offsets=[-24, 0]), bytes(24), ["tensor 'w'", "not two whole numbers"]),
    "three offsets": (with_(data_offsets=[0, 24, 48]), bytes(24), ["tensor 'w'", "not two whole numbers"]),
    "float offset": (with_(data_offsets=[0.0, 24]), bytes(24), ["tensor 'w'", "not two whole numbers"]),
    "true offset": (with_(data_offsets=[False, 24]), bytes(24), ["tensor 'w'", "not two whole numbers"]),
    "no list": (with_(data_offsets=None), bytes(24), ["tensor 'w'", "not two whole numbers", "None"]),
    "beyond": (with_(shape=[1 << 40], data_offsets=[0, 1 << 42]), bytes(24), ["tensor 'w'", "too short"]),
    "size and shape differ": (with_(shape=[2, 2]), bytes(24), ["tensor 'w'", "expected 16 bytes for [2, 2], found 24"]),
    "huge dims": (with_(shape=[1 << 62, 1 << 62]), bytes(24), ["tensor 'w'", "shape is impossible"]),
    "0 hides a huge dim": (with_(shape=[0, 1 << 62], data_offsets=[0, 0]), b"", ["tensor 'w'", "impossible"]),
    "rank 1000": (with_(shape=[1] * 1000), bytes(24), ["tensor 'w'", "impossible"]),
    "negative dim": (with_(shape=[-2, -3]), bytes(24), ["tensor 'w'", "impossible"]),
    "float dim": (with_(shape=[2.0, 3]), bytes(24), ["tensor 'w'", "impossible"]),
    "no shape": (with_(shape="23"), bytes(24), ["tensor 'w'", "impossible"]),
    "dtype": (with_(dtype="F8_E4M3"), bytes(24), ["tensor 'w'", "dtype is not supported", "F8_E4M3"]),
    "no dtype": (with_(dtype=["F32"]), bytes(24), ["tensor 'w'", "dtype is not supported"]),
    "field missing": ({"w": {"dtype": "F32", "shape": [2, 3]}}, bytes(24), ["tensor 'w'", "lacks"]),
    "no object": ({"w": 3}, bytes(24), ["tensor 'w'", "lacks"]),
    "metadata": ({"w": ENTRY, "__metadata__": {"a": 1}}, bytes(24), ["__metadata__"]),
    "metadata a list": ({"w": ENTRY, "__metadata__": []}, bytes(24), ["__metadata__"]),
    "a name twice": (b'{"w":%b,"w":%b}' % ((json.dumps(ENTRY).encode(),) * 2), bytes(24), ["'w' comes twice"]),
    "a field twice": (b'{"w":{"dtype":"F32","dtype":"F32"}}', bytes(24), ["'dtype' comes twice"]),
    "NaN": (b'{"w":NaN}', bytes(24), ["NaN is not JSON"]), "not JSON": (b'{"w"', b"", ["not valid JSON"]),
    "more than JSON": (b"{}{}", b"", ["not valid JSON"]), "a list": (b"[]", b"", ["not a JSON object"]),
    "not UTF-8": (b'{"\xff":1}', b"", ["not valid JSON"]), "nested": (b"[" * 100_000, b"", ["nested too deep"]),
    "offset -0": (json.dumps({"w": ENTRY}).replace("[0, 24]", "[-0, 24]").encode(), DATA, ["not two whole numbers"]),
    "dim -0": (json.dumps({"w": ENTRY | {"shape": [7], "data_offsets": [0, 0]}}).replace("7", "-0").encode(), b"",
               ["tensor 'w'", "impossible"]),
    "half a surrogate pair": (json.dumps({"\ud83d": ENTRY}).encode(), DATA, ["not valid JSON", "half of a surrogate"]),
    "half a pair in the metadata": (json.dumps({"w": ENTRY, "__metadata__": {"a": "\udc00"}}).encode(), DATA, ["half"]),
    "huge number": (b'{"w":' + b"9" * 10_000 + b"}", b"", ["not valid JSON"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_by_name(case, tmp_path):
    header, data, patterns = BAD[case]
    refused(file_of(tmp_path / "x.safetensors", header, data), *patterns)


@pytest.mark.parametrize("content, hint", [
    (b"", "header"), (b"1234567", "header"), ((1 << 63).to_bytes(8, "little"), "header of at most 0 bytes"),
    ((20_000_000).to_bytes(8, "little") + bytes(30_000_000), "header of at most 10,000,000 bytes, found 20,000,000"),
    (b"<!DOCTYPE html><html><body>404", "HTML page"), (b"<?xml version='1.0'?><Error>", "XML error page"),
    (b"PK\x03\x04" + bytes(99), "pickle"), (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS")])
def test_a_file_that_is_something_else_is_recognised(content, hint, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(content)
    refused(tmp_path / "x.safetensors", hint)


def test_a_missing_file_is_named(tmp_path):
    refused(tmp_path / "x.safetensors", "no such file")


@pytest.mark.parametrize("tensors", [{"w": np.array([1j])}, {"w": np.array(["a"])}, {"__metadata__": W}, {"a\n": W}])
def test_writing_refuses_what_the_format_does_not_have(tensors, tmp_path):
    with pytest.raises(CheckpointError):
        safetensors.write(tmp_path / "x", tensors)
    assert not list(tmp_path.iterdir())


def test_writing_never_overwrites(tmp_path):
    safetensors.write(tmp_path / "x", {"w": W})
    with pytest.raises(FileExistsError):
        safetensors.write(tmp_path / "x", {"w": W})
