"""CRC32C: every implementation against google-crc32c, RFC 3720, and the law of pieces."""

import random

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumlog._core.bridge.testing_base import crc32c_kinds, crc32c_of

KINDS = [*crc32c_kinds(), None]     # None: the one chosen
BIG = random.Random(3720).randbytes(200_000)

# RFC 3720, B.4; the last one is a SCSI Read (10) command.
RFC_3720 = [
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(reversed(range(32))), 0x113FDB5C),
    (
        bytes.fromhex(
            "01c00000000000000000000000000000140000000000040000000014"
            "0000001828000000000000000200000000000000"
        ),
        0xD9963A56,
    ),
    (b"123456789", 0xE3069283),
]


def test_tables_are_always_there_and_something_is_chosen():
    assert "tables" in crc32c_kinds()
    assert crc32c_of(b"123456789") == 0xE3069283


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("data", "crc"), RFC_3720)
def test_published_vectors(kind, data, crc):
    assert crc32c_of(data, 0, kind) == crc


@pytest.mark.parametrize("kind", KINDS)
def test_all_sizes_at_odd_addresses(kind):
    view = memoryview(BIG)
    for size in range(4097):
        start = size % 17
        piece = view[start : start + size]
        assert crc32c_of(piece, 0, kind) == google_crc32c.value(bytes(piece)), (size, start)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [12_287, 12_288, 12_289, 24_575, 24_576, 36_900, 65_536, 199_000])
@pytest.mark.parametrize("start", [0, 1, 7])
def test_large_sizes(kind, size, start):
    piece = BIG[start : start + size]
    assert crc32c_of(piece, 0, kind) == google_crc32c.value(piece)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.binary(max_size=2000), more=st.binary(max_size=2000))
def test_law_of_pieces(kind, data, more):
    assert crc32c_of(more, crc32c_of(data, 0, kind), kind) == crc32c_of(data + more, 0, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_law_of_pieces_at_every_cut(kind):
    data = BIG[:700]
    whole = google_crc32c.value(data)
    for cut in range(len(data) + 1):
        assert crc32c_of(data[cut:], crc32c_of(data[:cut], 0, kind), kind) == whole


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_never_validate(kind):
    assert all(crc32c_of(bytes(size), 0, kind) != 0 for size in range(1, 4097))
