"""Cursors over bytes never leave them, and fail once and for all."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumlog._core.bridge.testing_base import read_fields, round_up_of, write_fields

CODES = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}
READS = st.one_of(
    st.sampled_from([1, 2, 4, 8]),
    st.tuples(st.just("bytes"), st.one_of(st.integers(0, 20), st.just(2**64 - 1))),
)
WRITES = st.one_of(
    *[st.tuples(st.just(n), st.integers(0, 256**n - 1)) for n in CODES],
    st.tuples(st.just("bytes"), st.binary(max_size=20)),
    st.tuples(st.just("zeros"), st.one_of(st.integers(0, 20), st.just(2**64 - 1))),
)


@given(st.binary(max_size=60), st.lists(READS, max_size=12))
def test_reader_against_slices(data, steps):
    expected, position, failed = [], 0, False
    for step in steps:
        size = step if isinstance(step, int) else step[1]
        failed = failed or position + size > len(data)
        if failed:
            expected.append(0 if isinstance(step, int) else None)
            continue
        piece = data[position : position + size]
        position += size
        expected.append(
            struct.unpack(CODES[step], piece)[0] if isinstance(step, int) else piece
        )
    assert read_fields(data, steps) == (expected, position, failed, len(data) - position)


def test_a_failed_reader_stays_failed():
    assert read_fields(b"abc", [8, 1, ("bytes", 0)]) == ([0, 0, None], 0, True, 3)


@given(st.integers(0, 60), st.lists(WRITES, max_size=12))
def test_writer_against_pack(size, steps):
    expected, failed = b"", False
    for what, value in steps:
        count = value if what == "zeros" else len(value) if what == "bytes" else what
        failed = failed or len(expected) + count > size
        if failed:
            continue
        if what == "zeros":
            expected += bytes(value)
        else:
            expected += value if what == "bytes" else struct.pack(CODES[what], value)
    written, behind, position, said_failed = write_fields(size, steps)
    assert position == len(expected)
    assert written == expected.ljust(size, b"\xee")
    assert behind == b"\xee" * 16
    assert said_failed == failed


@pytest.mark.parametrize("multiple", [1, 8, 512, 4096])
@given(value=st.integers(0, 2**40))
def test_round_up(multiple, value):
    assert round_up_of(value, multiple) == -(-value // multiple) * multiple
