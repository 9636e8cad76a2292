"""CRC-32C, the checksum of TensorFlow's checkpoints, at the speed of memory in NumPy alone.

A message is a polynomial over GF(2), its first bit the highest power, and its CRC is the remainder modulo a
polynomial P of degree 32. The usual loop divides byte by byte: in Python some 30 MB a second, and GPT-2 has 500 to
6,200. But whole words can be moved at once. If P divides the sparse polynomial

    x^n + x^b + x^a + 1          (squared six times: x^64n + x^64b + x^64a + 1, so it speaks of 64-bit words too)

then a 64-bit word may be struck out wherever it is XORed into the words n-b, n-a and n places further on: the message
becomes shorter and its remainder stays the same. What remains at the end, some 1.7 KB, goes through the usual loop.

The idea of cancelling a message with sparse multiples of P: Russell, "Chorba: A novel CRC32 implementation", 2024,
arXiv:2412.16398. Table, masking and the value for "123456789": RFC 3720, appendix B.4, and
tensorflow/core/lib/hash/crc32c.h.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np

from ..hints import Array

P = 0x11EDC6F41                     # x^32 + x^28 + x^27 + ... + 1, Castagnoli 1993
P_REVERSED = 0x82F63B78             # the same without x^32, lowest power first: the order of the bits in a byte

# Multiples x^n + ... + 1 of P, as their exponents. One with n far above the next exponent moves n minus that many
# words in one stroke, so the first, which meets the whole message, is the most lopsided; the others make what it
# leaves short.
MULTIPLES = ((17201, 316, 304), (1285, 40, 38, 19, 8), (209, 144, 54, 39, 14))


def crc32c(data: Array | bytes) -> int:
    """The CRC-32C of an array's bytes in C order, or of a bytes object.

    data      a C-contiguous array, or bytes
    returns   an int below 2^32
    """
    data = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data.reshape(-1).view(np.uint8)
    register = 0xFFFFFFFF
    if data.size > 8 * MULTIPLES[-1][0] + 16:
        start = -data.__array_interface__["data"][0] % 8              # up to the first whole word in memory
        end = data.size - (data.size - start) % 8
        register = _bytewise(register, data[:start].tobytes())
        words = data[start:end].view("<u8")
        for exponents in MULTIPLES:
            if words.size > exponents[0]:
                words, register = _fold(words, register, exponents), 0
        register = _bytewise(register, words.tobytes())
        data = data[end:]
    return _bytewise(register, data.tobytes()) ^ 0xFFFFFFFF


def mask(crc: int) -> int:
    """The form in which TensorFlow stores a CRC, as its data may hold CRCs itself: rotated, and a constant added."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _fold(words: Array, register: int, exponents: Sequence[int]) -> Array:
    """Strike out all but the last n words; returns those n, with the same remainder as all of `words` after `register`.

    Word i, when its turn comes, is words[i] plus the struck words that were moved onto it: those n-b, n-a, ... and n
    places before. A run of n-b words depends on no word of the same run, so a run is a few XORs of whole slices.
    """
    n = exponents[0]
    delays = [n - exponent for exponent in exponents[1:]] + [n]       # ascending: the first is the length of a run
    step, reach = delays[0], n - delays[0]
    before, now = np.zeros((2, n), "<u8")       # the struck words of a run, after the last `reach` of those before
    count = words.size - n
    i = (count - 1) % step + 1                  # the first run is the odd one, filled up with zeros in front
    now[-i:] = words[:i]
    now[-i] ^= np.uint64(register)              # the CRC so far belongs onto the next four bytes
    while i < count:
        before, now = now, before
        now[:reach] = before[step:]
        run = now[reach:]
        np.bitwise_xor(words[i:i + step], before[n - step:], out=run)
        for delay in delays[1:]:
            run ^= before[n - delay:n - delay + step]
        i += step
    rest = words[count:].copy()
    for delay in delays:
        rest[:delay] ^= now[n - delay:]
    return rest


def _bytewise(register: int, data: bytes) -> int:
    table = _table()
    for byte in data:
        register = table[(register ^ byte) & 0xFF] ^ register >> 8
    return register


@cache
def _table() -> list[int]:
    table = []
    for register in range(256):
        for _ in range(8):
            register = register >> 1 ^ (P_REVERSED if register & 1 else 0)
        table.append(register)
    return table
