"""The safetensors format, read and written with NumPy alone.

    8 bytes       N, the size of the header: unsigned, little-endian
    N bytes       the header: a JSON object, which spaces may follow
    the rest      the tensors' bytes, little-endian and in C order, one after another without gaps

The header maps each name to {"dtype", "shape", "data_offsets": [begin, end]}, the offsets being counted from the
header's end; under "__metadata__" it may map strings to strings. It holds no code, which is why this format is read
and pickles are not.

huggingface/safetensors, README.md and safetensors/src/tensor.rs.

Chapter: S001 9 Q3.
"""

import json
import math
import os
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path

import numpy as np

from ..hints import Array
from .arrays import from_bytes, is_possible, widen_bfloat16
from .errors import CheckpointError, shortened
from .files import map_open_file, parse_json, sync, unreadable, what_it_looks_like

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 10_000_000      # GPT-2's largest has some 60,000
METADATA = "__metadata__"

# In the order in which the official library lays tensors out: the widest first, so that every one is aligned.
DTYPES: dict[str, np.dtype] = {
    "U64": np.dtype("<u8"), "I64": np.dtype("<i8"), "F64": np.dtype("<f8"), "F32": np.dtype("<f4"),
    "U32": np.dtype("<u4"), "I32": np.dtype("<i4"), "F16": np.dtype("<f2"), "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"), "I8": np.dtype("i1"), "U8": np.dtype("u1"), "BOOL": np.dtype("?")}
STORED = DTYPES | {"BF16": np.dtype("<u2")}


def read(path: str | Path) -> tuple[dict[str, Array], dict[str, str]]:
    """All tensors of a file, and its metadata.

    returns   name -> array, in the order of their places in the file; mapped from it where their address allows, read
              or copied where not; BF16 as float32, everything else as it was stored. And the metadata, perhaps empty.

    Raises CheckpointError, and nothing else, for whatever is wrong with the file. The format has no checksums: a
    changed bit in a number goes unseen.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            text, data = _header_and_data(path, file)
    except OSError as error:
        raise unreadable(path, error) from None
    header = parse_json(path, text)
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError(path, f"{METADATA} does not map strings to strings")
    places = {name: _check_entry(path, name, entry) for name, entry in header.items()}
    tensors, end = {}, 0
    for name, (begin, after) in sorted(places.items(), key=lambda item: item[1]):
        if begin != end:
            raise CheckpointError(path, "there is a gap or an overlap before it", name, f"offset {end:,}", f"{begin:,}")
        if after > data.size:
            needed = f"at least {after:,} bytes after the header"
            raise CheckpointError(path, "the file is too short for it", name, needed, f"{data.size:,}")
        entry = header[name]
        array = from_bytes(data[begin:after], STORED[entry["dtype"]], tuple(entry["shape"]))
        tensors[name] = widen_bfloat16(array) if entry["dtype"] == "BF16" else array
        end = after
    if end != data.size:
        raise CheckpointError(path, "bytes that belong to no tensor follow the last one",
                              expected=f"{end:,} bytes", found=f"{data.size:,}")
    return tensors, metadata


def write(path: str | Path, tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> None:
    """Write a file, byte for byte the one that the official library writes for the same tensors.

    path       must not exist
    tensors    name -> array
    metadata   strings for strings

    Raises CheckpointError for a name or dtype that the format does not have; OSError where the disk refuses. The file
    is on the disk (fsync) when it returns.
    """
    codes = {dtype: code for code, dtype in DTYPES.items()}
    for name, array in tensors.items():
        if array.dtype.newbyteorder("<") not in codes:
            raise CheckpointError(path, "its dtype cannot be stored", name, found=array.dtype)
        if name == METADATA or not name.isprintable():
            raise CheckpointError(path, "this name is reserved, or cannot be printed", name)
    code_of = {name: codes[array.dtype.newbyteorder("<")] for name, array in tensors.items()}
    order = sorted(tensors, key=lambda name: (list(DTYPES).index(code_of[name]), name))
    header: dict[str, dict] = {METADATA: dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name in order:
        array = tensors[name]
        header[name] = {"dtype": code_of[name], "shape": list(array.shape), "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "xb") as file:
        file.write(len(text).to_bytes(LENGTH_BYTES, "little") + text)
        for name in order:
            array = np.asarray(tensors[name], tensors[name].dtype.newbyteorder("<"), order="C")
            file.write(array.reshape(-1).view(np.uint8).data)
        sync(file)


def _header_and_data(path: Path, file: BufferedReader) -> tuple[bytes, Array]:
    """The header's text, and the bytes after it: mapped if they begin where numbers may begin, otherwise read.

    In the released GPT-2 they begin after 14,291 bytes, so that every number lies across two words. To copy each tensor
    out of a mapping would keep both in memory.
    """
    total = os.fstat(file.fileno()).st_size
    size = int.from_bytes(file.read(LENGTH_BYTES), "little")
    most = max(0, min(MAX_HEADER_BYTES, total - LENGTH_BYTES))
    if total < LENGTH_BYTES or size > most:
        file.seek(0)
        raise CheckpointError(path, "not a safetensors file" + what_it_looks_like(file.read(200)),
                              expected=f"a header of at most {most:,} bytes", found=f"{size:,}")
    text = file.read(size)
    begin = LENGTH_BYTES + size
    if begin % LENGTH_BYTES == 0:
        return text, map_open_file(file)[begin:]
    data = np.empty(total - begin, np.uint8)
    if file.readinto(data.data) != data.size:
        raise CheckpointError(path, "the file became shorter while it was read")
    return text, data


def _check_entry(path: Path, name: str, entry: object) -> tuple[int, int]:
    """Where a tensor lies, once its entry in the header is seen to be possible."""
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise CheckpointError(path, "its entry in the header lacks dtype, shape or data_offsets", name)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in STORED:
        raise CheckpointError(path, "its dtype is not supported", name, f"one of {', '.join(STORED)}", shortened(dtype))
    if not _are_whole(shape) or not is_possible(shape):
        raise CheckpointError(path, "its shape is impossible", name, found=shortened(shape))
    if not _are_whole(offsets) or len(offsets) != 2:
        raise CheckpointError(path, "its data_offsets are not two whole numbers", name, found=shortened(offsets))
    size = math.prod(shape) * STORED[dtype].itemsize
    if offsets[1] - offsets[0] != size:
        raise CheckpointError(path, "its size does not follow from its shape and dtype", name,
                              f"{size:,} bytes for {shape}", f"{offsets[1] - offsets[0]:,}")
    return offsets[0], offsets[1]


def _are_whole(numbers: object) -> bool:
    """Whether this is a list of whole numbers; True is one to isinstance, and not to the format."""
    return isinstance(numbers, list) and all(type(n) is int and n >= 0 for n in numbers)
