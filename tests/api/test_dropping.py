"""group.drop(): gone on all nodes, for ever; who was away learns of it, and what he held doesn't come back."""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import quorumlog as ql
from quorumlog._core.bridge.checksum import crc32c_of
from quorumlog.names import id_of

SMALL = ql.NodeOptions(segment_bytes=1 << 20, spare_segments=1)
FAST = ql.RaftOptions(election_timeout=0.15, heartbeat=0.03)
SECONDS = 60.0


class Keeper(ql.StateMachine):
    def __init__(self) -> None:
        self.held: list[bytes] = []

    def apply(self, batch: ql.Batch) -> None:
        self.held.extend(batch)

    def query(self, question: object) -> list[bytes]:
        return list(self.held)


def until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.005)


@pytest.fixture(params=[None, Keeper], ids=["bare", "machine"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ql.LocalCluster]:
    with ql.LocalCluster(3, request.param, path=tmp_path, options=SMALL, raft=FAST) as made:
        made.leader(timeout=SECONDS)
        yield made


def all_dropped(cluster: ql.LocalCluster) -> None:
    for group in cluster.groups:
        until(lambda group=group: group.dropped, f"dropped on {group.node_name}")


@pytest.mark.parametrize("by", ["leader", "follower"])
def test_a_dropped_group_is_gone_everywhere(cluster: ql.LocalCluster, by: str) -> None:
    leader = cluster.leader(timeout=SECONDS)
    chosen = leader if by == "leader" else next(g for g in cluster.groups if g is not leader)
    chosen.propose(b"x", timeout=SECONDS)
    others = cluster.raft("other", options=FAST)
    chosen.drop(SECONDS)
    all_dropped(cluster)
    for call in (
        lambda: chosen.propose(b"y"),
        lambda: chosen.submit_many([b"y"]),
        lambda: chosen.read_barrier(),
        lambda: chosen.wait_applied(10_000),
        chosen.status,
        chosen.explain,
    ):
        with pytest.raises(ql.GroupDropped, match="not used again"):
            call()
    chosen.drop(SECONDS)
    assert asyncio.run(ql.aio.Group(chosen).drop(SECONDS)) is None
    for node in cluster.nodes:
        until(lambda node=node: set(node.groups) == {"other"}, "it is not listed")
        with pytest.raises(ql.GroupDropped):
            node.raft("main", options=FAST)
    assert others[0].propose(b"the others go on", timeout=SECONDS).index > 0


def test_a_restart_does_not_bring_it_back(cluster: ql.LocalCluster) -> None:
    cluster.leader(timeout=SECONDS).drop(SECONDS)
    all_dropped(cluster)
    for name in cluster.names:
        cluster.stop(name)
    for _ in range(2):
        for name in cluster.names:
            with ql.Node.open(Path(cluster.path) / name, options=SMALL) as node, pytest.raises(ql.GroupDropped):
                node.raft("main", options=FAST)


def test_who_was_away_learns_of_it_and_his_entries_stay_gone(cluster: ql.LocalCluster) -> None:
    leader = cluster.leader(timeout=SECONDS)
    leader.propose_many([b"old %d" % number for number in range(100)], timeout=SECONDS)
    away = next(group.node_name for group in cluster.groups if group is not leader)
    cluster.group(away).wait_applied(leader.status().commit, SECONDS)
    cluster.stop(away)
    cluster.leader(timeout=SECONDS).drop(SECONDS)
    all_dropped(cluster)
    back = cluster.start(away)
    until(lambda: back.dropped, "he is told")
    with pytest.raises(ql.GroupDropped):
        back.propose(b"new", timeout=SECONDS)
    cluster.stop(away)
    with ql.Node.open(Path(cluster.path) / away, options=SMALL) as node, pytest.raises(ql.GroupDropped):
        node.raft("main", options=FAST)


def test_a_node_that_never_had_it_is_told_too(cluster: ql.LocalCluster) -> None:
    """A name that was dropped is nobody's: two nodes know it, the third opens it for the first time."""
    first, second, third = cluster.nodes
    names = [node.name for node in cluster.nodes]
    pair = [node.raft("brief", voters=names, options=FAST) for node in (first, second)]
    pair[0].propose(b"x", timeout=SECONDS)
    pair[0].drop(SECONDS)
    until(lambda: pair[1].dropped, "the second")
    late = third.raft("brief", voters=names, options=FAST)
    until(lambda: late.dropped, "the third")


def test_without_a_quorum_nothing_is_dropped(cluster: ql.LocalCluster) -> None:
    leader = cluster.leader(timeout=SECONDS)
    for group in cluster.groups:
        if group is not leader:
            cluster.stop(group.node_name)
    with pytest.raises(ql.ProposalTimeout, match="may still be"):
        leader.drop(0.2)
    assert not leader.dropped
    name = next(name for name in cluster.names if name != leader.node_name)
    cluster.start(name)
    leader.drop(SECONDS)          # what was proposed before may have done it meanwhile
    all_dropped(cluster)


def test_proposals_in_flight_end_and_are_not_told_as_refused(cluster: ql.LocalCluster) -> None:
    """Those applied before the drop are applied, the rest ends as unknown, or surely not if it never left."""
    leader = cluster.leader(timeout=SECONDS)
    futures = [leader.submit(b"%d" % number) for number in range(2000)]
    leader.drop(SECONDS)
    outcomes = [future.exception(SECONDS) for future in futures]
    for error in outcomes:
        assert error is None or isinstance(error, (ql.Unknown, ql.GroupDropped))


def test_what_a_crash_left_in_the_log_goes_when_the_node_opens(tmp_path: Path) -> None:
    """The file `dropped` was written, and the log's own record was not."""
    with ql.LocalCluster(1, Keeper, path=tmp_path, options=SMALL, raft=FAST) as cluster:
        cluster.leader(timeout=SECONDS).propose(b"x", timeout=SECONDS)
        cluster.stop("n1")
        body = struct.pack("<IIIQ", 0x44474C51, 1, 1, id_of("main"))
        (tmp_path / "n1" / "dropped").write_bytes(struct.pack("<I", crc32c_of(body)) + body)
        for _ in range(2):
            with pytest.raises(ql.GroupDropped):
                cluster.start("n1")
            cluster.stop("n1")


@pytest.mark.parametrize(
    "content",
    [b"", b"short", bytes(16), struct.pack("<IIIII", 0, 0x44474C51, 1, 0, 0)],
    ids=["empty", "short", "zeros", "checksum"],
)
def test_a_damaged_list_of_dropped_groups_is_not_taken_for_none(tmp_path: Path, content: bytes) -> None:
    with ql.LocalCluster(1, path=tmp_path, options=SMALL, raft=FAST) as cluster:
        cluster.leader(timeout=SECONDS)
        cluster.stop("n1")
        (tmp_path / "n1" / "dropped").write_bytes(content)
        with pytest.raises(ql.Corrupt, match="open"):
            ql.Node.open(tmp_path / "n1", options=SMALL)


def test_many_groups_come_and_go(tmp_path: Path) -> None:
    with ql.LocalCluster(1, path=tmp_path, options=SMALL, raft=FAST) as cluster:
        (node,) = cluster.nodes
        for number in range(100):
            group = node.raft(f"g{number}", options=FAST)
            group.propose(b"x" * 1000, timeout=SECONDS)
            group.drop(SECONDS)
        assert set(node.groups) == {"main"}
        cluster.stop("n1")
        cluster.start("n1")
        (node,) = cluster.nodes
        for number in range(100):
            with pytest.raises(ql.GroupDropped):
                node.raft(f"g{number}", options=FAST)


def test_its_snapshots_go_with_it(tmp_path: Path) -> None:
    """And a log whose head was dropped is no obstacle to being told that the name is not used again."""
    with ql.LocalCluster(1, path=tmp_path, options=SMALL, raft=FAST) as cluster:
        group = cluster.leader(timeout=SECONDS)
        group.propose_many([b"x"] * 100, timeout=SECONDS)
        group.snapshot(timeout=SECONDS)
        assert list((tmp_path / "n1").glob("snapshot-*"))
        cluster.stop("n1")
        group = cluster.start("n1")
        group.drop(SECONDS)
        (node,) = cluster.nodes
        for _ in range(2):
            with pytest.raises(ql.GroupDropped):
                node.raft("main", options=FAST)
        assert not list((tmp_path / "n1").glob("snapshot-*"))
