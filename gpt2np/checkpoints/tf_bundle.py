"""TensorFlow's checkpoint format ("V2", a tensor bundle), read and written with NumPy alone.

A bundle P is two files, or more. P.data-00000-of-00001 holds the tensors' bytes one after another, and nothing else;
there may be several such files, shards. P.index says what they are: a sorted table (sstable.py) in which the key "" has
the header and every other key is the name of a tensor. The values are protocol buffers:

    BundleHeaderProto   1 num_shards   2 endianness   3 version (1 producer, 2 min_consumer, 3 bad_consumers)
    BundleEntryProto    1 dtype   2 shape   3 shard_id   4 offset   5 size   6 crc32c   7 slices

What this module does not read, and refuses by name: big-endian numbers, compressed index blocks, variables saved in
slices, and tensors of strings, of truth values or of complex numbers, if they are asked for. GPT-2 has none of them.

tensorflow/core/util/tensor_bundle/tensor_bundle.cc and core/protobuf/tensor_bundle.proto in tensorflow/tensorflow.
"""

import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from ..hints import Array
from .arrays import from_bytes, is_possible, widen_bfloat16
from .crc32c import crc32c, mask
from .errors import CheckpointError, Malformed
from .files import map_file, read_small, sync, what_it_looks_like
from .sstable import LONGEST_KEY, decode_table, decode_varint, encode_table, encode_varint

MAX_INDEX_BYTES = 1 << 22          # the largest GPT-2 has an index of 20,724 bytes
MAX_SHARDS = 99_999                # there are five digits for it

BFLOAT16 = 14
DTYPES: dict[int, np.dtype] = {
    1: np.dtype("<f4"), 2: np.dtype("<f8"), 3: np.dtype("<i4"), 4: np.dtype("u1"), 5: np.dtype("<i2"),
    6: np.dtype("i1"), 9: np.dtype("<i8"), 17: np.dtype("<u2"), 19: np.dtype("<f2"), 22: np.dtype("<u4"),
    23: np.dtype("<u8")}
STORED = DTYPES | {BFLOAT16: np.dtype("<u2")}       # NumPy has no bfloat16: its 16 bits are read, and widened

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5        # the wire types of protocol buffers
Value = TypeVar("Value", int, bytes)                # of a field: bytes where the wire type is BYTES


class Entry(NamedTuple):
    """What a tensor is, and where it lies in the data file."""
    dtype: int                      # TensorFlow's number for it
    shape: tuple[int, ...]
    offset: int
    size: int                       # in bytes
    crc: int                        # of those bytes, masked
    shard: int = 0                  # which data file


class Index(NamedTuple):
    """What a bundle holds: its tensors by name, in the order of their names, and in how many data files."""
    entries: dict[str, Entry]
    n_shards: int


def read(prefix: Path) -> dict[str, Array]:
    """All tensors of a bundle, every checksum verified.

    prefix    the path without .index, for example Path("124M/model.ckpt")
    returns   name -> array, sorted by name; mapped from the file where its place there allows, copied where not;
              bfloat16 as float32, everything else as it was stored

    Raises CheckpointError, and nothing else, for whatever is wrong with the files. TensorFlow ignores bytes of the
    data file after the last tensor, and tensors that overlap; both are refused here. Gaps are allowed: some writers
    align.
    """
    index = read_index(prefix)
    return read_tensors(prefix, index, index.entries)


def read_index(prefix: Path) -> Index:
    """The index alone: what the tensors are, without their values.

    prefix    the path without .index

    Raises CheckpointError, and nothing else, for whatever is wrong with the index.
    """
    path = index_path(prefix)
    table = read_small(path, MAX_INDEX_BYTES)
    try:
        pairs = decode_table(table)
        first = next(pairs, None)
        if first is None or first[0] != b"":
            raise Malformed("it has no header: the first key is not the empty one")
        n_shards = _decode_header(first[1])
        return Index(dict(_decode_entry(key, value, n_shards) for key, value in pairs), n_shards)
    except Malformed as error:
        problem = error.problem + what_it_looks_like(table)
        raise CheckpointError(path, problem, error.tensor, error.expected, error.found) from None


def read_tensors(prefix: Path, index: Index, names: Iterable[str]) -> dict[str, Array]:
    """What `read` returns and raises, of the tensors with these names, in their order; their checksums are verified.

    Where all tensors lie is looked at, not only where these do.
    """
    for name in (names := list(names)):
        if index.entries[name].dtype not in STORED:
            raise CheckpointError(index_path(prefix), "its dtype is not supported", name,
                                  "floating or integer numbers", f"TensorFlow's number {index.entries[name].dtype}")
    shards = []
    for shard in range(index.n_shards):
        path = data_path(prefix, shard, index.n_shards)
        shards.append(map_file(path))
        _check_places(path, {name: entry for name, entry in index.entries.items() if entry.shard == shard}, shards[-1])
    return {name: _tensor(prefix, name, index, shards[index.entries[name].shard]) for name in names}


def write(prefix: Path, tensors: Mapping[str, Array]) -> None:
    """Write a bundle, byte for byte the one that TensorFlow's Saver writes for the same tensors.

    prefix    the path without .index; neither of the two files may exist
    tensors   name -> array of floating or integer numbers

    Raises CheckpointError for a name or dtype that a bundle cannot hold; OSError where the disk refuses. Both files
    are on the disk (fsync) when it returns.
    """
    path = data_path(prefix)
    numbers = {dtype: number for number, dtype in DTYPES.items()}
    for name, array in tensors.items():
        if not _is_storable(name):
            raise CheckpointError(path, f"its name must be 1 to {LONGEST_KEY} bytes of UTF-8, the first not zero", name)
        if array.dtype.newbyteorder("<") not in numbers:
            raise CheckpointError(path, "its dtype cannot be stored", name, found=array.dtype)
    pairs = [(b"", _number(1, 1) + _message(3, _number(1, 1)))]       # one shard; written by version 1
    offset = 0
    with open(path, "xb") as file:
        for key, name in sorted((name.encode(), name) for name in tensors):
            dtype = tensors[name].dtype.newbyteorder("<")
            array = np.asarray(tensors[name], dtype, order="C")
            crc = mask(crc32c(array))
            pairs.append((key, _encode_entry(Entry(numbers[dtype], array.shape, offset, array.nbytes, crc))))
            file.write(array.reshape(-1).view(np.uint8).data)
            offset += array.nbytes
        sync(file)
    with open(index_path(prefix), "xb") as file:
        file.write(encode_table(pairs))
        sync(file)


def index_path(prefix: Path) -> Path:
    """The path of a bundle's index."""
    return Path(f"{prefix}.index")


def data_path(prefix: Path, shard: int = 0, n_shards: int = 1) -> Path:
    """The path of a bundle's data file, or of one of them."""
    return Path(f"{prefix}.data-{shard:05d}-of-{n_shards:05d}")


# ---- the data file

def _check_places(path: Path, entries: Mapping[str, Entry], data: Array) -> None:
    """Every tensor within the file, no two in one place, and nothing after the last."""
    end, last = 0, None
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].offset, item[1].size)):
        if entry.offset + entry.size > data.size:
            problem = "the data file is too short for it" + what_it_looks_like(data[:200].tobytes())
            needed = f"at least {entry.offset + entry.size:,} bytes"
            raise CheckpointError(path, problem, name, needed, f"{data.size:,}")
        if entry.size and entry.offset < end:
            problem = f"it overlaps tensor {last!r}"
            raise CheckpointError(path, problem, name, f"offset {end:,} or more", f"{entry.offset:,}")
        if entry.size:
            end, last = entry.offset + entry.size, name
    if end != data.size:
        problem = "bytes that belong to no tensor follow the last one"
        raise CheckpointError(path, problem, expected=f"{end:,} bytes", found=f"{data.size:,}")


def _tensor(prefix: Path, name: str, index: Index, data: Array) -> Array:
    entry = index.entries[name]
    stored = data[entry.offset:entry.offset + entry.size]
    crc = mask(crc32c(stored))
    if crc != entry.crc:
        path = data_path(prefix, entry.shard, index.n_shards)
        raise CheckpointError(path, "its bytes are damaged: the checksum (masked CRC-32C) differs", name,
                              f"{entry.crc:08x}", f"{crc:08x}")
    array = from_bytes(stored, STORED[entry.dtype], entry.shape)
    return widen_bfloat16(array) if entry.dtype == BFLOAT16 else array


def _is_storable(name: str) -> bool:
    try:
        return name[:1] not in ("", "\0") and len(name.encode()) <= LONGEST_KEY
    except UnicodeEncodeError:                      # half a surrogate pair
        return False


# ---- the index: protocol buffers

def _decode_header(value: bytes) -> int:
    """The number of data files."""
    header = _fields(value, {1: VARINT, 2: VARINT, 3: BYTES})
    if not 1 <= (n_shards := _only(header, 1, 0)) <= MAX_SHARDS:
        raise Malformed("its number of data files is impossible", f"from 1 to {MAX_SHARDS:,} data files", n_shards)
    if _only(header, 2, 0) != 0:
        raise Malformed("its numbers are big-endian, which is not supported")
    version = _fields(_only(header, 3, b""), {2: VARINT, 3: VARINT})
    if _only(version, 2, 0) > 1:
        raise Malformed("it needs a newer reader", "version 1", f"version {_only(version, 2, 0)}")
    if 3 in version:
        raise Malformed("its header rules out readers of some versions, which no known writer does")
    return n_shards


def _decode_entry(key: bytes, value: bytes, n_shards: int = 1) -> tuple[str, Entry]:
    if key[0] == 0:
        raise Malformed(f"it holds a variable saved in slices, which is not supported (key {key!r})")
    try:
        name = key.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed(f"the name {key!r} is not UTF-8") from None
    try:
        return name, _entry_fields(value, n_shards)
    except Malformed as error:
        error.tensor = name
        raise


def _entry_fields(value: bytes, n_shards: int) -> Entry:
    """What an entry says. Of a dtype that is not read, its size is not known to be right."""
    fields = _fields(value, {1: VARINT, 2: BYTES, 3: VARINT, 4: VARINT, 5: VARINT, 6: FIXED32, 7: BYTES})
    if 7 in fields:
        raise Malformed("it is saved in slices, which is not supported")
    dtype, shard = _only(fields, 1, 0), _only(fields, 3, 0)
    if shard >= n_shards:
        expected = "data file 0" + (f" to {n_shards - 1}" if n_shards > 1 else "")
        raise Malformed("it lies in a data file that is not there", expected, shard)
    shape = _decode_shape(_only(fields, 2, b""))
    offset, size = _signed(_only(fields, 4, 0)), _signed(_only(fields, 5, 0))
    if offset < 0:
        raise Malformed("its offset is negative", found=offset)
    if size < 0:
        raise Malformed("its size is negative", found=size)
    if dtype in STORED and size != math.prod(shape) * STORED[dtype].itemsize:
        raise Malformed("its size does not follow from its shape and dtype",
                        f"{math.prod(shape) * STORED[dtype].itemsize:,} bytes for {shape}", f"{size:,}")
    return Entry(dtype, shape, offset, size, _only(fields, 6, 0), shard)


def _decode_shape(message: bytes) -> tuple[int, ...]:
    fields = _fields(message, {2: BYTES, 3: VARINT})
    if _only(fields, 3, 0):
        raise Malformed("its shape has no known rank")
    dims = [_signed(_only(_fields(dim, {1: VARINT}), 1, 0)) for dim in fields.get(2, [])]
    if not is_possible(dims):
        raise Malformed("its shape is impossible", found=str(dims[:8]))
    return tuple(dims)


def _fields(message: bytes, wire_types: Mapping[int, int]) -> dict[int, list]:
    """The fields of a protocol buffer that are in `wire_types` (number -> wire type): number -> list of values.

    Other fields are skipped, as the format's rules ask, so that a later version may add some.
    """
    fields: dict[int, list] = {}
    at = 0
    while at < len(message):
        tag, at = decode_varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        if not 1 <= number < 1 << 29:
            raise Malformed("a protocol buffer is malformed", found=f"field number {number}")
        value: int | bytes
        if wire_type == VARINT:
            value, at = decode_varint(message, at)
        elif wire_type in (BYTES, FIXED32, FIXED64):
            if wire_type == BYTES:
                size, at = decode_varint(message, at)
            else:
                size = 4 if wire_type == FIXED32 else 8
            if size > len(message) - at:
                raise Malformed("a protocol buffer ends too early")
            content, at = message[at:at + size], at + size
            value = content if wire_type == BYTES else int.from_bytes(content, "little")
        else:
            raise Malformed("a protocol buffer is malformed", found=f"wire type {wire_type}")
        if number in wire_types:
            if wire_types[number] != wire_type:
                raise Malformed(f"field {number} of a protocol buffer has a wrong type", wire_types[number], wire_type)
            fields.setdefault(number, []).append(value)
    return fields


def _only(fields: Mapping[int, list], number: int, default: Value) -> Value:
    """The one value of a field; a field with the value 0 is not written, so an absent one has its default."""
    values = fields.get(number, [default])
    if len(values) > 1:
        raise Malformed(f"field {number} of a protocol buffer comes {len(values)} times")
    return values[0]


def _signed(number: int) -> int:
    """The int64 that a varint of ten bytes spells in two's complement."""
    return number - (1 << 64) if number >> 63 else number


def _encode_entry(entry: Entry) -> bytes:
    dims = b"".join(_message(2, _number(1, dim)) for dim in entry.shape)
    crc = b"\x35" + struct.pack("<I", entry.crc) if entry.crc else b""                # field 6, fixed32
    return (_number(1, entry.dtype) + _message(2, dims) + _number(3, entry.shard) + _number(4, entry.offset)
            + _number(5, entry.size) + crc)


def _number(field: int, value: int) -> bytes:
    return encode_varint(field << 3 | VARINT) + encode_varint(value) if value else b""


def _message(field: int, content: bytes) -> bytes:
    return encode_varint(field << 3 | BYTES) + encode_varint(len(content)) + content
