"""propose, submit, submit_many, read and status on a running cluster."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import quorumlog as ql


def followers(cluster: ql.LocalCluster) -> list[ql.Group]:
    leader = cluster.leader()
    return [group for group in cluster.groups if group is not leader]


def same_everywhere(cluster: ql.LocalCluster, index: int) -> list[bytes]:
    """What all state machines hold once they have applied `index`; the same on each."""
    for group in cluster.groups:
        group.wait_applied(index)
    held = [cluster.machines[node.name].payloads for node in cluster.nodes]
    assert held[0] == held[1] == held[2]
    return held[0]


def test_propose_gives_index_term_and_result(cluster: ql.LocalCluster) -> None:
    leader = cluster.leader()
    first = leader.propose(b"one")
    second = leader.propose(b"two")
    assert second.index == first.index + 1
    assert (first.result, second.result) == (b"eno", b"owt")
    assert first.term == leader.status().term
    assert same_everywhere(cluster, second.index)[-2:] == [b"one", b"two"]


@pytest.mark.parametrize("size", [0, 1, 7, 8, 4096, 300_000, 3 << 20])
def test_payloads_of_any_size_come_back_whole(cluster: ql.LocalCluster, size: int) -> None:
    payload = bytes(range(256)) * (size // 256 + 1)
    applied = cluster.leader().propose(payload[:size])
    assert applied.result == payload[:size][::-1]
    assert same_everywhere(cluster, applied.index)[-1] == payload[:size]


def test_a_follower_forwards(cluster: ql.LocalCluster) -> None:
    follower = followers(cluster)[0]
    applied = follower.propose(b"from a follower")
    assert applied.result == b"from a follower"[::-1]
    assert same_everywhere(cluster, applied.index)[-1] == b"from a follower"


def test_submissions_settle_in_order(cluster: ql.LocalCluster) -> None:
    leader = cluster.leader()
    payloads = [b"s%d" % number for number in range(2000)]
    submissions = [leader.submit(payload) for payload in payloads]
    applied = [submission.result(10) for submission in submissions]
    assert [one.result for one in applied] == [payload[::-1] for payload in payloads]
    assert [one.index for one in applied] == list(range(applied[0].index, applied[0].index + 2000))
    assert all(submission.done and submission.exception(0) is None for submission in submissions)
    assert same_everywhere(cluster, applied[-1].index)[-2000:] == payloads


def test_a_batch_as_a_list_and_as_a_buffer_with_offsets(cluster: ql.LocalCluster) -> None:
    leader = cluster.leader()
    payloads = [b"x" * (number % 50) for number in range(1000)]
    listed = leader.submit_many(payloads).result(10)
    offsets = np.cumsum([0, *map(len, payloads)]).astype(np.uint32)
    buffer = np.frombuffer(b"".join(payloads), dtype=np.uint8)
    packed = leader.submit_many((buffer, offsets)).result(10)
    assert listed.count == packed.count == 1000
    assert packed.index == listed.index + 1000
    assert same_everywhere(cluster, packed.index + 999)[-2000:] == payloads + payloads
    assert packed.result == [payload[::-1] for payload in payloads]


@pytest.mark.parametrize(
    ("payloads", "said"),
    [
        ([], "at least one entry"),
        ([b"a", "b"], "entry 1 is str"),
        (b"abc", "list of bytes"),
        ((b"abc", np.array([0, 4], dtype=np.uint32)), "behind the buffer"),
        ((b"abc", np.array([0, 2, 1], dtype=np.uint32)), "never fall"),
        ((b"abc", np.array([1, 2], dtype=np.uint32)), "must be 0"),
        ((b"abc", np.array([0], dtype=np.uint32)), "at least 2"),
        ((b"abc", np.array([0, 3], dtype=np.int64)), "uint32"),
        ([b"x" * (17 << 20)], "split it"),
    ],
)
def test_bad_batches_are_refused_and_nothing_happens(cluster, payloads, said) -> None:  # type: ignore[no-untyped-def]
    leader = cluster.leader()
    before = leader.propose(b"before").index
    with pytest.raises(ql.UsageError, match=said) as caught:
        leader.submit_many(payloads)
    assert caught.value.definite
    assert leader.propose(b"after").index == before + 1


def test_a_command_must_be_bytes(cluster: ql.LocalCluster) -> None:
    with pytest.raises(ql.UsageError, match="bytes, not str"):
        cluster.leader().propose("text")  # type: ignore[arg-type]


def test_reads_see_what_was_acknowledged(cluster: ql.LocalCluster) -> None:
    leader = cluster.leader()
    for group in [leader, *followers(cluster)]:
        applied = leader.propose(b"read me on " + group.name.encode())
        assert group.read("all")[-1] == b"read me on " + group.name.encode()
        assert group.applied >= applied.index
    count = leader.read("count", consistency=ql.STALE)
    assert count == len(cluster.machines[leader._node.name].payloads)  # type: ignore[attr-defined]


def test_an_exception_of_a_query_comes_to_the_reader_alone(cluster: ql.LocalCluster) -> None:
    leader = cluster.leader()
    with pytest.raises(KeyError, match="no such question"):
        leader.read("fail")
    assert leader.propose(b"still alive").result == b"evila llits"


def test_status_speaks_of_one_leader_and_equal_logs(cluster: ql.LocalCluster) -> None:
    leader = cluster.leader()
    applied = leader.propose(b"status")
    same_everywhere(cluster, applied.index)
    status = leader.status()
    assert status.role == "leader"
    assert status.commit >= applied.index
    assert status.last >= status.commit >= status.applied >= applied.index
    assert sorted(peer.name for peer in status.peers) == sorted(
        node.name for node in cluster.nodes if node.name != status.leader
    )
    for group in followers(cluster):
        assert group.status().leader == status.leader
        assert group.status().term == status.term
    node = cluster.nodes[0].status()
    assert node.wal.syncs > 0
    assert node.wal.flushed <= node.wal.appended
    assert not node.failed


def test_many_threads_propose_at_once(cluster: ql.LocalCluster) -> None:
    groups = cluster.groups
    results: list[ql.Applied] = []

    def work(number: int) -> None:
        group = groups[number % len(groups)]
        results.extend(group.propose(b"t%d.%d" % (number, turn)) for turn in range(50))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.index for one in results}) == 300
    held = same_everywhere(cluster, max(one.index for one in results))
    for number in range(6):
        mine = [payload for payload in held if payload.startswith(b"t%d." % number)]
        assert mine == [b"t%d.%d" % (number, turn) for turn in range(50)]
