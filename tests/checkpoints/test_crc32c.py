"""The checksum: the published values, and equality with bytewise division wherever the fold changes course."""

import numpy as np
import pytest

from gpt2np.checkpoints.crc32c import MULTIPLES, P, crc32c, mask


def test_published_values():
    """RFC 3720, appendix B.4, and the check value of the CRC catalogues."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(bytes([255]) * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(bytes(range(31, -1, -1))) == 0x113FDB5C
    assert crc32c(b"") == 0


def test_masked_form():
    """The empty block in a file of TensorFlow's: its trailer is the masked CRC of eight bytes and a type."""
    assert mask(crc32c(bytes.fromhex("00000000 01000000 00"))) == int.from_bytes(bytes.fromhex("c0f2a1b0"), "little")
    assert mask(0) == 0xA282EAD8


@pytest.mark.parametrize("exponents", MULTIPLES)
def test_the_sparse_polynomials_are_multiples_of_p(exponents):
    remainder, total = 1, 1                         # x^0 mod P, and the sum that must vanish
    for power in range(1, exponents[0] + 1):
        remainder <<= 1
        remainder ^= P if remainder >> 32 else 0
        if power in exponents:
            total ^= remainder
    assert total == 0
    assert list(exponents) == sorted(exponents, reverse=True)


def bytewise(data):
    """The definition: divide bit by bit."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


EDGES = sorted({8 * n + extra for n, *rest in MULTIPLES for run in (0, n - rest[0], 2 * (n - rest[0]))
                for extra in (8 * run - 1, 8 * run, 8 * run + 8, 8 * run + 16, 8 * run + 23)})


def test_equals_bytewise_division_at_the_edges_of_the_fold():
    data = np.random.default_rng(0).integers(0, 256, EDGES[-1] + 8, dtype=np.uint8)
    registers = [0xFFFFFFFF]                        # of every prefix, in one pass
    table = []
    for register in range(256):
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
        table.append(register)
    for byte in data.tobytes():
        registers.append(table[(registers[-1] ^ byte) & 255] ^ registers[-1] >> 8)
    for size in [0, 1, 7, 8, 9, 100, 1000, *EDGES]:
        assert crc32c(data[:size]) == registers[size] ^ 0xFFFFFFFF, size
    assert crc32c(data[:777].tobytes()) == bytewise(data[:777].tobytes())


@pytest.mark.parametrize("offset", range(8))
def test_does_not_depend_on_alignment_or_dtype(offset):
    data = np.random.default_rng(1).integers(0, 256, 40_000, dtype=np.uint8)
    room = np.empty(40_008, np.uint8)
    room[offset:offset + 40_000] = data
    assert crc32c(room[offset:offset + 40_000]) == crc32c(data) == crc32c(data.view("<f8")) == crc32c(data.tobytes())


def test_sees_every_flipped_bit():
    data = np.zeros(20_000, np.uint8)
    clean = crc32c(data)
    for bit in range(0, 160_000, 997):
        data[bit // 8] ^= 1 << bit % 8
        assert crc32c(data) != clean
        data[bit // 8] ^= 1 << bit % 8


def test_leaves_its_argument_alone():
    data = np.arange(30_000, dtype=np.float32)
    data.setflags(write=False)
    before = data.tobytes()
    crc32c(data)
    assert data.tobytes() == before
