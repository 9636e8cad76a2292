"""A sorted table of (key, value) in one file: LevelDB's, in which TensorFlow keeps the index of a checkpoint.

    data block ...      the pairs
    metaindex block     empty here
    index block         one pair for each data block: a key not below its last one, and its handle
    footer              48 bytes: the handles of the metaindex and the index block, zeros, a magic number

A handle is a block's offset and size. Each block is followed by its type (0: not compressed) and a CRC-32C. A block is

    entries             shared, unshared, size: varints; the key's last `unshared` bytes; the value's `size` bytes
    restarts            where the entries with a whole key begin: uint32 each, and then their number

where `shared` bytes of a key are those of the key before it. Every 16th entry has a whole key, for readers that search.

google/leveldb, doc/table_format.md; tensorflow/core/lib/io/{format,block_builder,table_builder}.cc in
tensorflow/tensorflow.
"""

import struct
from collections.abc import Iterable, Iterator

from .crc32c import crc32c, mask
from .errors import Malformed

MAGIC = bytes.fromhex("57fb808b247547db")
FOOTER_BYTES = 48
TRAILER_BYTES = 5                   # after each block: its type and its CRC
BLOCK_BYTES = 262_144               # TensorFlow begins a new block when one has grown to this size
RESTART_INTERVAL = 16
LONGEST_KEY = 512                   # shared beginnings let a small file spell long keys: a bound on its memory


def decode_table(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The pairs of a table, in order; every block's checksum verified before its pairs come out."""
    if len(table) < FOOTER_BYTES or table[-len(MAGIC):] != MAGIC:
        raise Malformed("not the index of a checkpoint: it is too short, or does not end in the magic number")
    footer = len(table) - FOOTER_BYTES
    meta_offset, meta_size, at = _decode_handle(table, footer)
    index_offset, index_size, at = _decode_handle(table, at)
    if any(table[at:-len(MAGIC)]):
        raise Malformed("its footer is malformed")
    end, previous = 0, None
    for separator, handle in _decode_block(_block(table, index_offset, index_size)):
        offset, size, _ = _decode_handle(handle, 0)
        if offset != end:               # blocks one after another, each once: so the work is bounded by the file's size
            raise Malformed("its blocks do not follow one another", f"a block at {end}", offset)
        end = offset + size + TRAILER_BYTES
        for key, value in _decode_block(_block(table, offset, size)):
            if previous is not None and key <= previous:
                raise Malformed("its keys are not in ascending order", f"a key after {previous!r}", repr(key))
            yield key, value
            previous = key
        if previous is None or previous > separator:
            raise Malformed("a block holds keys that its entry in the index block excludes")
        previous = separator
    if (meta_offset, index_offset, index_offset + index_size + TRAILER_BYTES) != (
            end, end + meta_size + TRAILER_BYTES, footer) or any(_decode_block(_block(table, meta_offset, meta_size))):
        raise Malformed("its blocks do not fill it as they should")


def encode_table(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The table of these pairs, whose keys must ascend."""
    table = bytearray()
    index, block, last = _BlockWriter(1), _BlockWriter(RESTART_INTERVAL), b""
    full = None                                     # the handle of a finished block that is not in the index yet
    for key, value in pairs:
        if full is not None:
            index.add(_separator(last, key), full)
            full = None
        block.add(key, value)
        last = key
        if block.size() >= BLOCK_BYTES:
            full = _append_block(table, block.content())
            block = _BlockWriter(RESTART_INTERVAL)
    if full is None:
        full = _append_block(table, block.content())
    index.add(_successor(last), full)
    handles = _append_block(table, _BlockWriter(RESTART_INTERVAL).content())
    handles += _append_block(table, index.content())
    return bytes(table) + handles.ljust(FOOTER_BYTES - len(MAGIC), b"\0") + MAGIC


def decode_varint(data: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and the position after it; Malformed if it does not end."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise Malformed("a number reaches beyond the end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise Malformed("a number has more than ten bytes")


def encode_varint(value: int) -> bytes:
    """The same number as bytes."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def _block(table: bytes, offset: int, size: int) -> bytes:
    """The content of a block, its checksum verified."""
    if offset + size + TRAILER_BYTES > len(table) - FOOTER_BYTES:
        raise Malformed("a block reaches beyond the end", f"at most {len(table) - FOOTER_BYTES:,} bytes",
                         f"{offset + size + TRAILER_BYTES:,}")
    end = offset + size
    crc, stored = mask(crc32c(table[offset:end + 1])), int.from_bytes(table[end + 1:end + TRAILER_BYTES], "little")
    if crc != stored:
        raise Malformed(f"the block at byte {offset:,} is damaged: the checksum (masked CRC-32C) differs",
                         f"{stored:08x}", f"{crc:08x}")
    if table[end] != 0:
        raise Malformed("a compressed index is not supported", "type 0",
                         "type 1 (Snappy)" if table[end] == 1 else f"type {table[end]}")
    return table[offset:end]


def _decode_block(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The pairs of one block."""
    if len(content) < 4:
        raise Malformed("a block is too short")
    count = int.from_bytes(content[-4:], "little")
    entries = len(content) - 4 - 4 * count
    if count == 0 or entries < 0:
        raise Malformed("a block has an impossible number of restarts", found=count)
    restarts = set(struct.unpack(f"<{count}I", content[entries:-4]))
    at, key = 0, b""
    while at < entries:
        start = at
        shared, at = decode_varint(content, at)
        unshared, at = decode_varint(content, at)
        size, at = decode_varint(content, at)
        if shared > len(key) or unshared + size > entries - at or shared + unshared > LONGEST_KEY:
            raise Malformed(f"an entry of a block is malformed, or its key is longer than {LONGEST_KEY} bytes")
        if start in restarts and shared:
            raise Malformed("a restart of a block is not one")
        restarts.discard(start)
        key = key[:shared] + content[at:at + unshared]
        at += unshared + size
        yield key, content[at - size:at]
    if restarts - {0}:                              # an empty block has the restart 0 all the same
        raise Malformed("a restart of a block is not where an entry begins", found=min(restarts - {0}))


def _decode_handle(data: bytes, at: int) -> tuple[int, int, int]:
    """Where a block lies: its offset, its size, and the position after these two numbers."""
    offset, at = decode_varint(data, at)
    size, at = decode_varint(data, at)
    return offset, size, at


def _append_block(table: bytearray, content: bytes) -> bytes:
    """Add a block with its trailer to the table; returns its handle."""
    handle = encode_varint(len(table)) + encode_varint(len(content))
    content += b"\0"                                # the type: not compressed
    table += content + struct.pack("<I", mask(crc32c(content)))
    return handle


def _separator(last: bytes, following: bytes) -> bytes:
    """A short key not below `last`, the last one of a block, and below `following`, the first one of the next."""
    common = _shared(last, following)
    if common < len(last) and last[common] + 1 < following[common]:
        return last[:common] + bytes([last[common] + 1])
    return last


def _successor(last: bytes) -> bytes:
    """A short key that is not below `last`, which no key follows."""
    for i, byte in enumerate(last):
        if byte != 0xFF:
            return last[:i] + bytes([byte + 1])
    return last


def _shared(a: bytes, b: bytes) -> int:
    """The number of bytes with which both begin."""
    for i, (x, y) in enumerate(zip(a, b)):
        if x != y:
            return i
    return min(len(a), len(b))


class _BlockWriter:
    """A block in the making."""

    def __init__(self, interval: int):
        self.interval, self.count = interval, 0
        self.entries, self.restarts, self.last = bytearray(), [0], b""

    def add(self, key: bytes, value: bytes) -> None:
        shared = _shared(self.last, key)
        if self.count and self.count % self.interval == 0:
            shared = 0
            self.restarts.append(len(self.entries))
        self.entries += encode_varint(shared) + encode_varint(len(key) - shared) + encode_varint(len(value))
        self.entries += key[shared:] + value
        self.count += 1
        self.last = key

    def size(self) -> int:
        return len(self.entries) + 4 * len(self.restarts) + 4

    def content(self) -> bytes:
        return bytes(self.entries) + struct.pack(f"<{len(self.restarts) + 1}I", *self.restarts, len(self.restarts))
