"""A three-node cluster with a small state machine, opened once per module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import quorumlog as ql

FAST = ql.RaftOptions(election_timeout=0.15, heartbeat=0.03)
SMALL = ql.NodeOptions(segment_bytes=8 << 20, spare_segments=1)


class Recorder(ql.StateMachine):
    """Keeps every entry; its result is the entry reversed, its answer what is asked for."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, bytes]] = []

    def apply_one(self, index: int, payload: bytes) -> bytes:
        self.entries.append((index, payload))
        return payload[::-1]

    def query(self, question: Any) -> Any:
        if question == "count":
            return len(self.entries)
        if question == "fail":
            raise KeyError("no such question")
        return [payload for _, payload in self.entries]

    @property
    def payloads(self) -> list[bytes]:
        return [payload for _, payload in self.entries]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ql.LocalCluster]:
    with ql.LocalCluster(3, Recorder, options=SMALL, raft=FAST) as made:
        made.leader()
        yield made
