"""TensorFlow's format against TensorFlow's own files, and against everything that can be wrong with one."""

import hashlib
import struct

import numpy as np
import pytest

from gpt2np.checkpoints import sstable, tf_bundle
from gpt2np.checkpoints.crc32c import crc32c, mask
from gpt2np.checkpoints.errors import CheckpointError
from tests.golden.make_tf_bundles import GOLDEN, all_dtypes, many, numbers, tiny_gpt2

TF = GOLDEN / "tf"
HEADER = bytes.fromhex("08011a020801")              # one shard; producer 1
W = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize("prefix, tensors", [("tiny/model.ckpt", tiny_gpt2()), ("dtypes", all_dtypes())])
def test_reads_what_tensorflow_wrote_and_writes_the_same_bytes(prefix, tensors, tmp_path):
    read = tf_bundle.read(TF / prefix)
    assert list(read) == sorted(tensors, key=str.encode)
    for name, array in tensors.items():
        assert (read[name].dtype, read[name].shape, read[name].tobytes()) == (array.dtype, array.shape, array.tobytes())
    tf_bundle.write(tmp_path / "ours", dict(reversed(tensors.items())))          # in whatever order they come
    for suffix in (".index", ".data-00000-of-00001"):
        assert (tmp_path / f"ours{suffix}").read_bytes() == (TF / f"{prefix}{suffix}").read_bytes()


def test_an_index_of_several_blocks_is_tensorflows_to_the_byte(tmp_path):
    tf_bundle.write(tmp_path / "many", many())
    for line in (TF / "many.sha256").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    read = tf_bundle.read(tmp_path / "many")
    assert read.keys() == many().keys() and all(np.array_equal(read[name], array) for name, array in many().items())


def test_bfloat16_becomes_float32():
    np.testing.assert_array_equal(tf_bundle.read(TF / "bfloat16")["x"], numbers((5, 3), 3))
    assert tf_bundle.read(TF / "bfloat16")["x"].dtype == np.float32


def test_arrays_are_mapped_and_may_be_written_without_touching_the_file(tmp_path):
    tf_bundle.write(tmp_path / "x", {"w": W})
    read = tf_bundle.read(tmp_path / "x")["w"]
    assert not read.flags.owndata
    read += 1
    np.testing.assert_array_equal(tf_bundle.read(tmp_path / "x")["w"], W)


def test_a_tensor_at_an_odd_place_is_copied(tmp_path):
    tf_bundle.write(tmp_path / "x", {"a": np.ones(1, np.int8), "w": W})
    read = tf_bundle.read(tmp_path / "x")["w"]
    assert read.flags.aligned
    np.testing.assert_array_equal(read, W)


def test_gaps_between_tensors_are_allowed(tmp_path):
    with_gap = bundle(tmp_path, [entry("w", W, offset=64)], bytes(64) + W.tobytes())
    np.testing.assert_array_equal(tf_bundle.read(with_gap)["w"], W)


def test_unknown_fields_are_skipped(tmp_path):
    key, value = entry("w", W)
    extra = b"\x98\x06\x05" + b"\xa2\x06\x03abc" + b"\xad\x06abcd" + b"\xb1\x06abcdefgh"      # 99..102, every wire type
    prefix = bundle(tmp_path, [(key, value + extra)], W.tobytes(), header=HEADER + extra)
    np.testing.assert_array_equal(tf_bundle.read(prefix)["w"], W)


@pytest.mark.parametrize("name", ["", "\0w", "x" * 513, "\ud800"])
def test_writing_refuses_an_impossible_name(name, tmp_path):
    with pytest.raises(CheckpointError, match="its name must be"):
        tf_bundle.write(tmp_path / "x", {name: W})


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.array([1j]), np.array([True])])
def test_writing_refuses_what_it_cannot_store(array, tmp_path):
    with pytest.raises(CheckpointError, match=r"tensor 'w': its dtype cannot be stored"):
        tf_bundle.write(tmp_path / "x", {"w": array})


def test_writing_never_overwrites(tmp_path):
    tf_bundle.write(tmp_path / "x", {"w": W})
    with pytest.raises(FileExistsError):
        tf_bundle.write(tmp_path / "x", {"w": W + 1})
    np.testing.assert_array_equal(tf_bundle.read(tmp_path / "x")["w"], W)


# ---- damage. `varint` and `entry` are written here again, by hand, so that they can say what the writer never would.

def varint(number):
    number &= (1 << 64) - 1
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def entry(name, array=None, dtype=1, shape=(2, 3), offset=0, size=24, crc=None, shard=None, more=b""):
    key = name.encode() if isinstance(name, str) else name
    crc = mask(crc32c(array.tobytes())) if array is not None else crc or 0
    dims = b"".join(b"\x12" + varint(len(varint(dim)) + 1) + b"\x08" + varint(dim) for dim in shape)
    value = b"\x08" + varint(dtype) + b"\x12" + varint(len(dims)) + dims
    value += b"" if shard is None else b"\x18" + varint(shard)
    return key, value + b"\x20" + varint(offset) + b"\x28" + varint(size) + b"\x35" + struct.pack("<I", crc) + more


def bundle(folder, entries, data, header=HEADER):
    pairs = ([] if header is None else [(b"", header)]) + entries
    (folder / "x.index").write_bytes(sstable.encode_table(pairs))
    (folder / "x.data-00000-of-00001").write_bytes(data)
    return folder / "x"


def refused(prefix, *patterns):
    """The error that reading gives, after it is seen to name what it should."""
    with pytest.raises(CheckpointError) as caught:
        tf_bundle.read(prefix)
    for pattern in patterns:
        assert pattern in str(caught.value), str(caught.value)
    return caught.value


DATA = W.tobytes()
BAD_ENTRIES = {
    "bytes missing": ([entry("w", W)], DATA[:-1], ["x.data", "tensor 'w'", "at least 24 bytes", "found 23"]),
    "no bytes": ([entry("w", W)], b"", ["tensor 'w'", "too short", "found 0"]),
    "an XML page for data": ([entry("w", W)], b"<?xml?><Error>", ["tensor 'w'", "XML error page"]),
    "offset past the end": ([entry("w", W, offset=1 << 40)], DATA, ["tensor 'w'", "too short"]),
    "negative offset": ([entry("w", W, offset=-24)], DATA, ["tensor 'w'", "offset is negative", "-24"]),
    "negative size": ([entry("w", W, size=-24)], DATA, ["tensor 'w'", "size is negative", "found -24"]),
    "wrong checksum": ([entry("w", crc=5)], DATA, ["tensor 'w'", "checksum", "expected 00000005"]),
    "flipped bit": ([entry("w", W)], b"\x01" + DATA[1:], ["tensor 'w'", "damaged"]),
    "tail": ([entry("w", W)], DATA + b"!", ["belong to no tensor", "expected 24 bytes", "found 25"]),
    "overlap": ([entry("v", W), entry("w", W)], DATA, ["tensor 'w'", "overlaps tensor 'v'"]),
    "shard 5": ([entry("w", W, shard=5)], DATA, ["tensor 'w'", "data file that is not there"]),
    "size and shape differ": ([entry("w", W, shape=(2, 2))], DATA, ["tensor 'w'", "expected 16 bytes for (2, 2)"]),
    "huge dims": ([entry("w", W, shape=(1 << 62, 1 << 62))], DATA, ["tensor 'w'", "shape is impossible"]),
    "product overflows to 0": ([entry("w", shape=(1 << 32, 1 << 32), size=0)], DATA, ["tensor 'w'", "impossible"]),
    "0 hides a huge dim": ([entry("w", shape=(0, 1 << 62), size=0)], b"", ["tensor 'w'", "impossible"]),
    "large but empty file": ([entry("w", W, shape=(1 << 40,), size=1 << 42)], DATA, ["tensor 'w'", "too short"]),
    "negative dim": ([entry("w", W, shape=(-2, -3))], DATA, ["tensor 'w'", "impossible"]),
    "rank 1000": ([entry("w", W, shape=(1,) * 1000, size=4)], DATA, ["tensor 'w'", "impossible"]),
    "dtype 0": ([entry("w", W, dtype=0)], DATA, ["tensor 'w'", "dtype is not supported"]),
    "dtype 99": ([entry("w", W, dtype=99)], DATA, ["tensor 'w'", "dtype is not supported", "99"]),
    "no dtype": ([(b"w", b"\x12\x00\x28\x04")], DATA[:4], ["tensor 'w'", "dtype is not supported", "0"]),
    "string": ([entry("w", W, dtype=7)], DATA, ["tensor 'w'", "dtype is not supported"]),
    "unknown rank": ([(b"w", b"\x08\x01\x12\x02\x18\x01\x28\x18")], DATA, ["tensor 'w'", "no known rank"]),
    "slices": ([entry("w", W, more=b"\x3a\x00")], DATA, ["tensor 'w'", "slices"]),
    "a slice": ([(b"\0w\0\1\1", b"\x08\x01")], DATA, ["slices"]),
    "a field twice": ([entry("w", W, more=b"\x20\x00")], DATA, ["tensor 'w'", "comes 2 times"]),
    "wrong wire type": ([(b"w", b"\x0a\x00")], DATA, ["tensor 'w'", "wrong type"]),
    "field 0": ([(b"w", b"\x00\x01")], DATA, ["tensor 'w'", "malformed: found field number 0"]),
    "field 2^29": ([(b"w", varint(1 << 32) + b"\x01")], DATA, ["tensor 'w'", "found field number 536870912"]),
    "a group": ([(b"w", b"\x0b")], DATA, ["tensor 'w'", "malformed"]),
    "entry cut short": ([(b"w", b"\x08")], DATA, ["tensor 'w'", "beyond the end"]),
    "field cut short": ([(b"w", b"\x12\x7f\x00")], DATA, ["tensor 'w'", "ends too early"]),
    "endless varint": ([(b"w", b"\x08" + b"\x80" * 11)], DATA, ["tensor 'w'", "more than ten bytes"]),
    "key is not UTF-8": ([entry(b"\xff\xfe", W)], DATA, [r"\xff\xfe", "not UTF-8"]),
    "same key twice": ([entry("w", W), entry("w", W)], DATA, ["ascending"]),
    "unsorted keys": ([entry("w", W), entry("a", W)], DATA, ["ascending"]),
}


@pytest.mark.parametrize("case", BAD_ENTRIES)
def test_a_bad_entry_is_refused_by_name(case, tmp_path):
    entries, data, patterns = BAD_ENTRIES[case]
    refused(bundle(tmp_path, entries, data), *patterns)


def two_shards(folder, *entries):
    """W in the first data file and -W in the second, and other entries beside them."""
    prefix = bundle(folder, sorted([entry("v", -W, shard=1), entry("w", W), *entries]), DATA, b"\x08\x02")
    (folder / "x.data-00000-of-00001").rename(folder / "x.data-00000-of-00002")
    (folder / "x.data-00001-of-00002").write_bytes((-W).tobytes())
    return prefix


def test_shards(tmp_path):
    read = tf_bundle.read(two_shards(tmp_path))
    assert list(read) == ["v", "w"]
    np.testing.assert_array_equal(read["v"], -W)
    np.testing.assert_array_equal(read["w"], W)


def test_a_shard_that_is_not_what_it_should_be_is_named(tmp_path):
    prefix, second = two_shards(tmp_path), tmp_path / "x.data-00001-of-00002"
    second.write_bytes((-W).tobytes()[:-1])
    refused(prefix, "x.data-00001-of-00002: tensor 'v'", "too short")
    second.write_bytes((-W).tobytes() + b"!")
    refused(prefix, "x.data-00001-of-00002", "belong to no tensor")
    second.write_bytes(W.tobytes())
    refused(prefix, "x.data-00001-of-00002: tensor 'v'", "damaged")
    second.unlink()
    refused(prefix, "x.data-00001-of-00002: there is no such file")
    refused(two_shards(tmp_path, entry("u", W, shard=2)), "tensor 'u'", "expected data file 0 to 1, found 2")


def test_what_is_not_asked_for_may_be_of_any_dtype(tmp_path):
    """And its checksum is not looked at: an optimizer's moments are twice as large as the weights."""
    prefix = bundle(tmp_path, [entry("truth", shape=(2,), dtype=10, size=2), entry("w", W, offset=2),
                               entry("x", crc=1, offset=26)], b"\1\0" + DATA + DATA)
    index = tf_bundle.read_index(prefix)
    assert list(index.entries) == ["truth", "w", "x"]
    read = tf_bundle.read_tensors(prefix, index, ["w"])
    assert list(read) == ["w"]
    np.testing.assert_array_equal(read["w"], W)
    refused(prefix, "x.index: tensor 'truth': its dtype is not supported", "found TensorFlow's number 10")


def test_control_characters_of_a_name_do_not_reach_the_terminal(tmp_path):
    error = refused(bundle(tmp_path, [entry("\x1b[31mw", crc=1)], DATA), r"\x1b[31mw")
    assert error.tensor == "\x1b[31mw" and "\x1b" not in str(error)


@pytest.mark.parametrize("header, patterns", [
    (None, ["no header"]), (b"", ["number of data files", "found 0"]), (b"\x08" + varint(100_000), ["found 100000"]),
    (HEADER + b"\x10\x01", ["big-endian"]), (b"\x08\x01\x1a\x02\x10\x02", ["newer reader"]), (b"\xff", ["beyond"]),
    (b"\x08\x01\x1a\x04\x18\x01\x18\x02", ["rules out"])])
def test_a_bad_header_is_refused(header, patterns, tmp_path):
    refused(bundle(tmp_path, [entry("w", W)], DATA, header), "x.index", *patterns)


def test_missing_files_are_named(tmp_path):
    refused(tmp_path / "x", "x.index", "no such file")
    (bundle(tmp_path, [entry("w", W)], DATA).parent / "x.data-00000-of-00001").unlink()
    refused(tmp_path / "x", "x.data-00000-of-00001", "no such file")
    (tmp_path / "x.index").unlink()
    (tmp_path / "x.index").mkdir()
    refused(tmp_path / "x", "x.index", "cannot be read")


@pytest.mark.parametrize("content, hint", [
    (b"", "too short"), (b"x" * 47, "too short"), (b"x" * 100, "magic"),
    (b'<?xml version="1.0"?><Error><Code>NoSuchBucket</Code></Error>', "XML error page"),
    (b"\xef\xbb\xbf<?xml ?>", "XML error page"), (b"\n<!DOCTYPE html><html>", "HTML page"),
    (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    (b"PK\x03\x04" + bytes(60), "pickle"), (b"\x80\x02" + bytes(60), "pickle"),
    (bytes(tf_bundle.MAX_INDEX_BYTES + 1), "too large")])
def test_a_file_that_is_no_index_is_recognised(content, hint, tmp_path):
    (tmp_path / "x.index").write_bytes(content)
    refused(tmp_path / "x", "x.index", hint)


def block(content, kind=0):
    return content + bytes([kind]) + struct.pack("<I", mask(crc32c(content + bytes([kind]))))


def pairs_block(*pairs):
    writer = sstable._BlockWriter(16)
    for pair in pairs:
        writer.add(*pair)
    return writer.content()


EMPTY = pairs_block()
GOOD = pairs_block((b"", HEADER), entry("w", W))


def table(data=GOOD, kind=0, index=None, meta=EMPTY, shift=(0, 0), gap=b"", copies=1):
    """An index laid out by hand: data block, metaindex, index block, footer; `index` makes the last but one."""
    blocks = block(data, kind)
    handle = varint(0) + varint(len(data))
    index = pairs_block(*[(bytes([120 + i]), handle) for i in range(copies)]) if index is None else index(handle)
    handles = varint(len(blocks)) + varint(len(meta))
    blocks += block(meta) + gap
    handles += varint(len(blocks) + shift[0]) + varint(len(index) + shift[1])
    return blocks + block(index) + handles.ljust(40, b"\0") + sstable.MAGIC


def test_the_table_made_by_hand_is_good(tmp_path):
    (tmp_path / "x.index").write_bytes(table())
    (tmp_path / "x.data-00000-of-00001").write_bytes(DATA)
    np.testing.assert_array_equal(tf_bundle.read(tmp_path / "x")["w"], W)
    assert table() == sstable.encode_table([(b"", HEADER), entry("w", W)])


@pytest.mark.parametrize("content, problem", [
    (table(kind=1), "Snappy"), (table(kind=9), "type 9"),
    (table()[:10] + b"!" + table()[11:], "block at byte 0 is damaged"),
    (table(shift=(-1, 0)), "damaged"), (table(shift=(1 << 40, 0)), "beyond"), (table(shift=(0, 1 << 63)), "beyond"),
    (table(copies=2), "follow one another"), (table(gap=b"gap"), "fill it"), (table(meta=GOOD), "fill it"),
    (table(index=lambda handle: pairs_block((b"a", handle))), "excludes"),
    (table(index=lambda handle: pairs_block((b"x", b"\x80"))), "beyond the end"),
    (table(index=lambda handle: EMPTY), "fill it"),
    (table(data=b""), "too short"), (table(data=EMPTY), "excludes"),
    (table(data=b"\0\0\0\0"), "restarts"), (table(data=GOOD[:-4] + b"\xff\xff\xff\xff"), "restarts"),
    (table(data=GOOD[:-8] + b"\x03\0\0\0\x01\0\0\0"), "restart"),
    (table(data=b"\x05\x01\x00a" + EMPTY), "malformed"), (table(data=b"\x00\x7f\x00a" + EMPTY), "malformed"),
    (table(data=b"\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + EMPTY), "malformed"),
    (table(data=b"\x00" + b"\x80" * 10 + EMPTY), "more than ten"),
    (table(data=b"\x00\x81\x04\x00" + b"k" * 513 + EMPTY), "longer than 512")])
def test_a_bad_table_is_refused(content, problem, tmp_path):
    (tmp_path / "x.index").write_bytes(content)
    (tmp_path / "x.data-00000-of-00001").write_bytes(DATA)
    refused(tmp_path / "x", "x.index", problem)


def test_a_block_that_ends_a_little_too_late_is_refused(tmp_path):
    for extra in range(1, 100):
        (tmp_path / "x.index").write_bytes(table(shift=(0, extra)))
        refused(tmp_path / "x", "beyond the end")


def test_every_truncation_and_every_flipped_byte_is_refused(tmp_path):
    """TensorFlow's own file, cut at every length and damaged at every byte: never read, never another exception."""
    index = (TF / "tiny/model.ckpt.index").read_bytes()
    (tmp_path / "x.data-00000-of-00001").write_bytes((TF / "tiny/model.ckpt.data-00000-of-00001").read_bytes())
    for i in range(0, len(index), 7):
        (tmp_path / "x.index").write_bytes(index[:i])
        refused(tmp_path / "x")
        (tmp_path / "x.index").write_bytes(index[:i] + bytes([index[i] ^ 0x10]) + index[i + 1:])
        refused(tmp_path / "x")
