"""Snapshots of real groups: made, restored, sent to who fell behind, lost and fetched again."""

from __future__ import annotations

import asyncio
import glob
import os
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from conftest import SMALL

import quorumlog as ql

PATIENCE = 60.0
BY_HAND = ql.RaftOptions(election_timeout=0.15, heartbeat=0.03, snapshot_log_bytes=0, retained_log_bytes=0)


class Table(ql.StateMachine):
    """key=value."""

    def __init__(self) -> None:
        self.table: ql.CowDict[bytes, bytes] = ql.CowDict()
        self.restored: list[int] = []
        self.applied_entries = 0

    def apply_one(self, index: int, payload: bytes) -> int:
        key, value = payload.split(b"=", 1)
        self.table[key] = value
        self.applied_entries += 1
        return index

    def query(self, question: Any) -> Any:
        return self.table.get(question)

    def snapshot(self) -> Iterable[bytes]:
        return ql.pack_items(self.table.freeze())

    def restore(self, source: Any) -> None:
        self.restored.append(source.index)
        self.table = ql.CowDict(ql.unpack_items(source))


@pytest.fixture
def cluster() -> Iterator[ql.LocalCluster]:
    with ql.LocalCluster(3, Table, options=SMALL, raft=BY_HAND) as made:
        made.leader()
        yield made


def fill(group: ql.Group, first: int, last: int) -> int:
    payloads = [b"k%d=v%d" % (number, number) for number in range(first, last)]
    return group.propose_many(payloads, timeout=PATIENCE).index


def follower_of(cluster: ql.LocalCluster) -> str:
    leader = cluster.leader().node_name
    return next(name for name in cluster.names if name != leader)


def files_of(cluster: ql.LocalCluster, name: str) -> list[str]:
    return sorted(glob.glob(os.path.join(cluster.path, name, "snapshot-*")))


def fall_behind(cluster: ql.LocalCluster) -> str:
    """A follower stops; the others go on and drop the head of their logs."""
    name = follower_of(cluster)
    fill(cluster.leader(), 0, 50)
    cluster.stop(name)
    fill(cluster.leader(timeout=PATIENCE), 50, 500)
    while True:
        newest = cluster.leader().applied
        for group in cluster.groups:
            group.wait_applied(newest, timeout=PATIENCE)
            assert group.snapshot(timeout=PATIENCE) == newest
        if all(group.status().first == newest + 1 for group in cluster.groups):
            return name
        fill(cluster.leader(), 499, 500)    # a leader keeps what a follower that isn't as far yet needs next


def test_a_snapshot_takes_the_place_of_the_log(cluster: ql.LocalCluster) -> None:
    group = cluster.leader()
    entries = 0
    while True:
        fill(group, entries, entries + 300)
        entries += 300
        index = group.snapshot(timeout=PATIENCE)
        status = group.status()
        assert index == group.applied == status.snapshot_index == status.last
        if status.first == index + 1:
            break                       # else a follower was not as far yet, and the leader keeps what it needs next
    assert len(files_of(cluster, group.node_name)) == 1
    assert group.snapshot(timeout=PATIENCE) == index        # nothing new: the same one
    assert fill(group, entries, entries + 1) == index + 1
    assert group.snapshot(timeout=PATIENCE) == index + 1
    assert len(files_of(cluster, group.node_name)) == 1


def test_a_restart_begins_from_the_snapshot(cluster: ql.LocalCluster) -> None:
    name = follower_of(cluster)
    fill(cluster.leader(), 0, 300)
    newest = cluster.leader().applied
    cluster.group(name).wait_applied(newest, timeout=PATIENCE)
    cluster.group(name).snapshot(timeout=PATIENCE)
    last = fill(cluster.leader(), 300, 310) + 9
    cluster.group(name).wait_applied(last, timeout=PATIENCE)
    cluster.stop(name)
    group = cluster.start(name)
    group.wait_applied(last, timeout=PATIENCE)
    machine = cluster.machines[name]
    assert isinstance(machine, Table)
    assert machine.restored == [newest]
    assert machine.applied_entries == 10                     # only what lies behind it
    assert group.read(b"k299", timeout=PATIENCE) == b"v299"
    assert group.read(b"k309", timeout=PATIENCE) == b"v309"


def test_who_fell_behind_the_head_gets_a_snapshot_without_any_traffic(cluster: ql.LocalCluster) -> None:
    name = fall_behind(cluster)
    newest = cluster.leader().applied
    group = cluster.start(name)
    group.wait_applied(newest, timeout=PATIENCE)
    assert group.status().snapshots_installed == 1
    machine = cluster.machines[name]
    assert isinstance(machine, Table)
    assert machine.restored == [newest]
    assert group.read(b"k499", timeout=PATIENCE) == b"v499"
    assert fill(group, 500, 501) == newest + 1               # and it goes on with the log
    group.wait_applied(newest + 1, timeout=PATIENCE)


def test_an_installed_snapshot_outlives_a_restart(cluster: ql.LocalCluster) -> None:
    name = fall_behind(cluster)
    newest = cluster.leader().applied
    cluster.start(name).wait_applied(newest, timeout=PATIENCE)
    cluster.stop(name)
    group = cluster.start(name)
    group.wait_applied(newest, timeout=PATIENCE)
    assert group.status().snapshots_installed == 0           # it is here
    assert group.read(b"k123", timeout=PATIENCE) == b"v123"


def test_a_retried_proposal_is_applied_once_across_a_snapshot(cluster: ql.LocalCluster) -> None:
    """The session table lies in the snapshot: who begins from it knows what was applied."""
    name = fall_behind(cluster)
    leader = cluster.leader()
    group = cluster.start(name)
    group.wait_applied(leader.applied, timeout=PATIENCE)
    others = [one for one in cluster.names if one not in (name, leader.node_name)]
    cluster.stop(others[0])                                  # the one that installed is needed now
    applied = leader.propose(b"after=1", timeout=PATIENCE)
    group.wait_applied(applied.index, timeout=PATIENCE)
    machine, theirs = cluster.machines[name], cluster.machines[leader.node_name]
    assert isinstance(machine, Table)
    assert isinstance(theirs, Table)
    assert dict(machine.table) == dict(theirs.table)


def test_a_damaged_snapshot_is_fetched_again(cluster: ql.LocalCluster) -> None:
    name = fall_behind(cluster)
    newest = cluster.leader().applied
    cluster.start(name).wait_applied(newest, timeout=PATIENCE)
    cluster.stop(name)
    (file,) = files_of(cluster, name)
    with open(file, "r+b") as opened:
        opened.seek(700)
        byte = opened.read(1)
        opened.seek(700)
        opened.write(bytes([byte[0] ^ 1]))
    group = cluster.start(name)
    group.wait_applied(newest, timeout=PATIENCE)
    status = group.status()
    assert status.snapshots_installed == 1
    assert status.snapshot_needed == 0
    assert group.read(b"k7", timeout=PATIENCE) == b"v7"


def test_without_peers_a_damaged_snapshot_is_an_error(tmp_path: Any) -> None:
    with ql.LocalCluster(1, Table, options=SMALL, raft=BY_HAND, path=tmp_path) as cluster:
        fill(cluster.leader(), 0, 100)
        cluster.leader().snapshot(timeout=PATIENCE)
        cluster.stop("n1")
        (file,) = files_of(cluster, "n1")
        os.truncate(file, 300)
        with pytest.raises(ql.Corrupt):
            cluster.start("n1")


def test_a_group_without_a_machine_is_compacted_too() -> None:
    with ql.LocalCluster(3, options=SMALL, raft=BY_HAND) as cluster:
        name = fall_behind(cluster)
        newest = cluster.leader().applied
        group = cluster.start(name)
        group.wait_applied(newest, timeout=PATIENCE)
        assert group.status().snapshots_installed == 1
        assert group.propose(b"x", timeout=PATIENCE).index == newest + 1


def test_the_log_is_compacted_by_itself() -> None:
    options = ql.RaftOptions(
        election_timeout=0.15, heartbeat=0.03, snapshot_log_bytes=200_000, retained_log_bytes=50_000)
    with ql.LocalCluster(3, Table, options=SMALL, raft=options) as cluster:
        leader = cluster.leader()
        for number in range(120):
            leader.propose(b"k%d=%s" % (number, bytes(10_000)), timeout=PATIENCE)
        for group in cluster.groups:
            group.wait_applied(leader.applied, timeout=PATIENCE)
            wait_until(lambda group=group: group.status().first > 50)
            assert group.status().snapshot_log_bytes < 1_000_000
        assert leader.read(b"k3", timeout=PATIENCE) == bytes(10_000)


def wait_until(holds: Any) -> None:
    """Polls; its bound is only there for a test that hangs."""
    pause = threading.Event()
    for _ in range(int(PATIENCE * 100)):
        if holds():
            return
        pause.wait(0.01)
    raise AssertionError("it never came")


class Slow(Table):
    """Its view waits for a permission after the first piece."""

    allowed = threading.Event()
    begun = threading.Event()

    def snapshot(self) -> Iterator[bytes]:
        frozen = self.table.freeze()

        def view() -> Iterator[bytes]:
            self.begun.set()
            self.allowed.wait(PATIENCE)
            yield from ql.pack_items(frozen)

        return view()


def test_applying_goes_on_while_a_view_is_written() -> None:
    Slow.allowed.clear()
    Slow.begun.clear()
    with ql.LocalCluster(1, Slow, options=SMALL, raft=BY_HAND) as cluster:
        group = cluster.leader()
        fill(group, 0, 20)
        at = group.applied
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(group.snapshot(timeout=PATIENCE)))
        thread.start()
        assert Slow.begun.wait(PATIENCE)
        later = fill(group, 20, 40)                          # applied, although the view is not through
        assert group.read(b"k39", timeout=PATIENCE) == b"v39"
        with pytest.raises(ql.ReadTimeout):
            group.snapshot(timeout=0.01)                     # joins the one that is being made
        Slow.allowed.set()
        thread.join(PATIENCE)
        assert found == [at]
        cluster.stop("n1")
        group = cluster.start("n1")
        group.wait_applied(later + 19, timeout=PATIENCE)
        machine = cluster.machines["n1"]
        assert isinstance(machine, Table)
        assert machine.restored == [at]
        assert dict(machine.table) == {b"k%d" % n: b"v%d" % n for n in range(40)}


class Broken(Table):
    def snapshot(self) -> Iterator[bytes]:
        yield b"some"
        raise KeyError("a view that fails")


def test_a_view_that_raises_is_told_and_does_no_harm() -> None:
    with ql.LocalCluster(1, Broken, options=SMALL, raft=BY_HAND) as cluster:
        group = cluster.leader()
        fill(group, 0, 20)
        with pytest.raises(ql.SnapshotFailed) as raised:
            group.snapshot(timeout=PATIENCE)
        assert isinstance(raised.value.__cause__, KeyError)
        assert files_of(cluster, "n1") == []
        assert group.propose(b"k=v", timeout=PATIENCE).index > 20
        assert group.status().first == 1


class Forgetful(ql.StateMachine):
    def apply_one(self, index: int, payload: bytes) -> None:
        return None


def test_without_snapshot_and_restore_the_log_is_kept() -> None:
    with ql.LocalCluster(1, Forgetful, options=SMALL, raft=BY_HAND) as cluster:
        group = cluster.leader()
        fill(group, 0, 20)
        with pytest.raises(ql.UsageError, match="snapshot and restore"):
            group.snapshot(timeout=PATIENCE)


class Durable(Table):
    """As if its state lay in a database: the same object comes back with its node."""

    kept: Durable | None = None

    def __init__(self) -> None:
        super().__init__()
        self.newest = 0
        if Durable.kept is not None:
            self.table, self.newest = Durable.kept.table, Durable.kept.newest
        self.applied_index = self.newest
        Durable.kept = self

    def apply_one(self, index: int, payload: bytes) -> int:
        self.newest = index
        return super().apply_one(index, payload)


def test_a_durable_machine_says_how_far_it_is() -> None:
    Durable.kept = None
    with ql.LocalCluster(1, Durable, options=SMALL, raft=BY_HAND) as cluster:
        group = cluster.leader()
        fill(group, 0, 20)
        group.snapshot(timeout=PATIENCE)
        last = fill(group, 20, 30) + 9
        cluster.stop("n1")
        group = cluster.start("n1")
        group.wait_applied(last, timeout=PATIENCE)
        machine = cluster.machines["n1"]
        assert isinstance(machine, Durable)
        assert machine.restored == []
        assert machine.applied_entries == 0
        group.propose(b"k99=v", timeout=PATIENCE)
        assert machine.applied_entries == 1
        assert len(machine.table) == 31


def test_coroutines_make_snapshots_too() -> None:
    async def run() -> tuple[int, int]:
        async with ql.aio.LocalCluster(1, Table, options=SMALL, raft=BY_HAND) as cluster:
            group = await cluster.leader()
            applied = await group.propose(b"k=v", timeout=PATIENCE)
            return await group.snapshot(timeout=PATIENCE), applied.index

    index, applied = asyncio.run(run())
    assert index == applied


def test_closing_does_not_wait_for_a_view() -> None:
    Slow.allowed.clear()
    Slow.begun.clear()
    cluster = ql.LocalCluster(1, Slow, options=SMALL, raft=BY_HAND)
    with cluster:
        group = cluster.leader()
        fill(group, 0, 20)

        def ask() -> None:
            with pytest.raises(ql.QuorumlogError):
                group.snapshot(timeout=PATIENCE)

        thread = threading.Thread(target=ask)
        thread.start()
        assert Slow.begun.wait(PATIENCE)
        closer = threading.Thread(target=cluster.stop, args=("n1",))
        closer.start()
        Slow.allowed.set()
        closer.join(PATIENCE)
        thread.join(PATIENCE)
        assert not closer.is_alive()
        assert not thread.is_alive()
