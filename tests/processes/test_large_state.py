"""A state larger than one wants to hold: generated, written, sent and restored as a stream.

48 MiB here; `make soak` takes 4 GiB (QUORUMLOG_STATE_BYTES).
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import quorumlog as ql

pytestmark = pytest.mark.processes

STATE_BYTES = int(os.environ.get("QUORUMLOG_STATE_BYTES", str(48 << 20)))
PIECE_BYTES = 1 << 20
MEMORY_BYTES = 768 << 20
PATIENCE = 1800.0
OPTIONS = ql.RaftOptions(snapshot_log_bytes=0, retained_log_bytes=0, snapshot_bytes_per_s=0)


def piece(number: int, seed: int) -> bytes:
    """Another one for each number and seed; cheap to make and to compare."""
    return (number.to_bytes(8, "little") + seed.to_bytes(8, "little")) * (PIECE_BYTES // 16)


class Generated(ql.StateMachine):
    """Its state is a function of the number of entries applied, however large."""

    def __init__(self) -> None:
        self.count = 0
        self.restored_bytes = 0

    def apply_one(self, index: int, payload: bytes) -> int:
        self.count += 1
        return self.count

    def snapshot(self) -> Iterator[bytes]:
        seed = self.count
        return (piece(number, seed) for number in range(STATE_BYTES // PIECE_BYTES))

    def restore(self, source: Iterable[bytes]) -> None:
        rest, number, seed = b"", 0, None
        for some in source:
            rest += some
            while len(rest) >= PIECE_BYTES:
                seed = int.from_bytes(rest[8:16], "little") if seed is None else seed
                assert rest[:PIECE_BYTES] == piece(number, seed), number
                rest, number = rest[PIECE_BYTES:], number + 1
        assert not rest
        assert seed is not None
        self.count, self.restored_bytes = seed, number * PIECE_BYTES


def test_a_large_state_is_written_sent_and_restored_as_a_stream(tmp_path: Path) -> None:
    with ql.LocalCluster(3, Generated, raft=OPTIONS, path=tmp_path) as cluster:
        leader = cluster.leader(timeout=PATIENCE)
        late = next(name for name in cluster.names if name != leader.node_name)
        cluster.stop(late)
        leader = cluster.leader(timeout=PATIENCE)
        for number in range(20):
            leader.propose(b"%d" % number, timeout=PATIENCE)
        assert leader.snapshot(timeout=PATIENCE) == leader.applied
        group = cluster.start(late)
        group.wait_applied(leader.applied, timeout=PATIENCE)
        machine: Any = cluster.machines[late]
        assert machine.restored_bytes == STATE_BYTES // PIECE_BYTES * PIECE_BYTES
        assert machine.count == 20
        assert leader.propose(b"and on", timeout=PATIENCE).result == 21
    if STATE_BYTES > 4 * MEMORY_BYTES:
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10 < MEMORY_BYTES
