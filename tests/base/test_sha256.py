"""SHA-256 and HMAC-SHA256 against hashlib and hmac."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumlog._core.bridge.testing_base import hmac_of, same_bytes_of, sha256_of

PIECES = st.lists(st.binary(max_size=200), max_size=6)


def test_published_vectors():
    # FIPS 180-4's examples.
    assert sha256_of([b"abc"]).hex() == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    assert sha256_of([b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"]).hex() == (
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    )


@pytest.mark.parametrize("size", range(260))
def test_every_padding(size):
    data = bytes(i & 255 for i in range(size))
    assert sha256_of([data]) == hashlib.sha256(data).digest()


@given(PIECES)
def test_pieces_make_no_difference(pieces):
    assert sha256_of(pieces) == hashlib.sha256(b"".join(pieces)).digest()


@given(st.binary(max_size=150), PIECES)
def test_hmac(key, pieces):
    expected = hmac.new(key, b"".join(pieces), "sha256").digest()
    assert hmac_of(key, pieces) == (expected, True)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 63, 64, 65, 131, 1000])
def test_hmac_key_sizes(size):
    key = b"\xaa" * size
    assert hmac_of(key, [b"what is said"])[0] == hmac.new(key, b"what is said", "sha256").digest()


def test_compare():
    word = bytes(range(32))
    assert same_bytes_of(word, bytes(word))
    assert same_bytes_of(b"", b"")
    for i in range(32):
        for bit in range(8):
            other = bytearray(word)
            other[i] ^= 1 << bit
            assert not same_bytes_of(word, bytes(other))
