"""The session table as bytes, as it lies in snapshots."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumlog._core.bridge.testing_snapshot import SnapshotRefused, sessions_round


@given(st.lists(st.tuples(st.integers(1, 200), st.integers(1, 4)), max_size=120))
def test_a_table_comes_back_as_it_was(wanted):
    index, newest, admitted = 0, {}, []
    for session, count in wanted:
        for _ in range(count):
            index += 1
            newest[session] = newest.get(session, 0) + 1
            admitted.append((session, newest[session], index))
    found, encoded = sessions_round(admitted, limit=256)
    assert found == newest
    assert len(encoded) == 24 + 24 * len(newest) + 24, "the table, and no client's session"


def test_the_order_of_leaving_a_full_table_comes_back_too():
    admitted = [(session, 1, session) for session in range(1, 65)] + [(1, 2, 70), (100, 1, 71)]
    found, _ = sessions_round(admitted, limit=64)
    assert found[2] == 0                # the one used least
    assert found[1] == 2
    assert found[100] == 1


@pytest.mark.parametrize("cut", [
    lambda data: data[:-1], lambda data: data + bytes(24), lambda data: b"", lambda data: b"\x02" + data[1:],
    lambda data: data[:4] + struct.pack("<I", 1 << 30) + data[8:], lambda data: data[:8] + bytes(8) + data[16:],
])
def test_nonsense_is_refused(cut):
    with pytest.raises(SnapshotRefused):
        sessions_round([(5, 1, 1), (6, 1, 2)], cut=cut)
