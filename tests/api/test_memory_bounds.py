"""Bounds on memory are reached and passed: what is kept for convenience must give way to work."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

import quorumlog as ql

TOKEN = b"a token of enough bytes"
SMALLEST = ql.NodeOptions(segment_bytes=8 << 20, spare_segments=1, memory_bytes=32 << 20)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    ql.Node.create(tmp_path / "n1", "n1", cluster=uuid.uuid4(), token=TOKEN)
    return tmp_path / "n1"


def test_cached_batches_leave_room_for_new_commands(directory: Path) -> None:
    """More bytes of commands than the reactor's pool holds: the log's cache lies in the same pool."""
    with ql.Node.open(directory, options=SMALLEST) as node:
        group = node.raft("main")
        for number in range(200):
            assert group.propose(b"x" * 200_000, timeout=20).index == number + 2


def test_caches_of_several_groups_share_the_bound(directory: Path) -> None:
    with ql.Node.open(directory, options=SMALLEST) as node:
        groups = [node.raft(f"g{number}") for number in range(4)]
        for _ in range(60):
            for group in groups:
                group.propose(b"x" * 200_000, timeout=20)


def test_cached_batches_leave_room_for_callers_batches(directory: Path) -> None:
    raft = ql.RaftOptions(in_flight_bytes=1 << 16)
    with ql.Node.open(directory, options=SMALLEST) as node:
        group = node.raft("main", options=raft)
        payloads = [b"x" * (1 << 20)]
        for number in range(80):
            assert group.propose_many(payloads, timeout=20).index == number + 2


def test_small_batches_are_counted_with_what_they_really_take(directory: Path) -> None:
    """A batch of one small command takes some 300 bytes beside its body."""
    raft = ql.RaftOptions(in_flight_bytes=1 << 16)
    with ql.Node.open(directory, options=SMALLEST) as node:
        group = node.raft("main", options=raft)
        for _ in range(150):
            taken = [group.submit_many([b"x"]) for _ in range(1000)]
            taken[-1].result(20)


def test_views_that_a_machine_keeps_do_not_stop_the_node(directory: Path) -> None:
    kept = []

    class Keeper(ql.StateMachine):
        def apply(self, batch: ql.Batch) -> None:
            kept.append(batch.payload)

    with ql.Node.open(directory, options=SMALLEST) as node:
        group = node.raft("main", Keeper())
        for _ in range(200):
            group.propose(b"x" * 250_000, timeout=20)
        assert node.status().pinned_bytes >= 200 * 250_000
    assert sum(len(view) for view in kept) == 200 * 250_000
    kept.clear()


def test_views_kept_while_the_log_is_read_back(directory: Path) -> None:
    with ql.Node.open(directory, options=SMALLEST) as node:
        group = node.raft("main")
        for _ in range(100):
            group.propose(b"x" * 1_000_000, timeout=20)
    kept = []

    class Keeper(ql.StateMachine):
        def apply(self, batch: ql.Batch) -> None:
            kept.append(batch.payload)

    with ql.Node.open(directory, options=SMALLEST) as node:
        node.raft("main", Keeper()).wait_applied(101, timeout=30)
        assert sum(len(view) for view in kept) == 100 * 1_000_000
    kept.clear()
