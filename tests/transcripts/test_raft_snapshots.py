"""Snapshots in the pure protocol: section 7 of the paper, and the cases A-M6 to A-M11 of hard-cases.md."""

from __future__ import annotations

from typing import Any

import pytest

from quorumlog._core.bridge.testing_raft import Letter, Pool, RaftNode

MS = 1_000_000
POOL = Pool()
VOTERS = [1, 2, 3]
OK, ERR_CORRUPT, ERR_NOT_FOUND = 0, 42, 52


def snapshot(index: int, term: int = 1, *, number: int = 1, file_bytes: int = 160) -> tuple[int, ...]:
    return (index, term, 1, number, file_bytes)


def leader(entries: int = 0, **options: Any) -> tuple[RaftNode, int]:
    """Node 1 leads term 2, everything acknowledged; and the time."""
    node = RaftNode(1, VOTERS, term=1, **options)
    now = 500 * MS
    node.time(now)
    node.receive(now, Letter.forge("pre-vote-reply", 2, 1, 1, granted=1, proposed=2))
    node.flushed(now, node.wsn_next - 1)
    node.receive(now, Letter.forge("vote-reply", 2, 1, 2, granted=1, proposed=2))
    for number in range(entries):
        node.propose(now, POOL.make([b"%d" % number]))
    node.flushed(now, node.wsn_next - 1)
    acknowledge(node, now, 2)
    return node, now


def acknowledge(node: RaftNode, now: int, peer: int) -> dict[str, Any]:
    last = node.status()["last"]
    effects: dict[str, Any] = node.receive(
        now, Letter.forge("append-reply", peer, node.node, node.status()["term"], match=last, prev_index=last))
    return effects


def letters(effects: dict[str, Any], name: str, to: int | None = None) -> list[Letter]:
    return [one for one in effects["letters"] if one.name == name and to in (None, one.target)]


def refused(node: RaftNode, now: int, peer: int = 3) -> dict[str, Any]:
    """The peer has nothing at all: asked at the head of the log, it refuses."""
    node.time(now)
    (probe,) = letters(node.receive(now, Letter.forge("heartbeat-reply", peer, 1, 2, round=1, sent_ns=now)),
                       "append", peer)
    head = probe.fields["prev_index"]
    assert head == node.status()["first"] - 1
    effects: dict[str, Any] = node.receive(
        now, Letter.forge("append-reply", peer, 1, 2, rejected=1, prev_index=head, hint_index=0))
    return effects


def compacted_leader(**options: Any) -> tuple[RaftNode, int, tuple[int, ...]]:
    node, now = leader(9, **options)
    made = snapshot(10, 2)
    effects = node.snapshot_made(now, made)
    assert [repr(record) for _, record in effects["writes"]] == ["compact to 11, before it term 2"]
    return node, now + 20 * MS, made


def there(offset: int) -> Letter:
    return Letter.forge("snapshot-reply", 3, 1, 2, index=10, writer=1, number=1, offset=offset, restart=1)


# Making them


def test_the_head_goes_only_when_the_snapshot_is_durable() -> None:
    node, now = leader(9)
    assert node.status()["first"] == 1
    assert node.snapshot_made(now, snapshot(5, 2), status=40)["writes"] == []
    assert node.status()["first"] == 1
    effects = node.snapshot_made(now, snapshot(5, 2))
    assert [repr(record) for _, record in effects["writes"]] == ["compact to 6, before it term 2"]
    assert node.status()["first"] == 6
    assert node.terms() == [2] * 5
    assert node.snapshot_made(now, snapshot(3, 2))["writes"] == [], "an older one says nothing new"


def test_one_is_due_by_the_growth_of_the_log_followers_first() -> None:
    due = {}
    for number in (1, 2, 3):
        node, now = leader(0, snapshot_log_bytes=10_000) if number == 1 else (follower(number, 10_000), 500 * MS)
        for count in range(1, 400):
            effects = node.propose(now, POOL.make([bytes(100)])) if number == 1 else grow(node, now, count)
            node.flushed(now, node.wsn_next - 1)
            if number == 1:
                effects = acknowledge(node, now, 2)
            if effects["snapshot_due"]:
                due[number] = count
                break
    assert due[2] < due[3] < due[1]


def follower(number: int, snapshot_log_bytes: int) -> RaftNode:
    return RaftNode(number, VOTERS, term=2, snapshot_log_bytes=snapshot_log_bytes)


def grow(node: RaftNode, now: int, index: int) -> dict[str, Any]:
    batch = POOL.make([bytes(100)], term=2, first=index, stamp=True)
    node.receive(now, Letter.forge("append", 1, node.node, 2, prev_index=index - 1, prev_term=2 if index > 1 else 0,
                                   commit=index - 1, batches=[batch]))
    effects: dict[str, Any] = node.receive(now, Letter.forge("commit", 1, node.node, 2, commit=index))
    return effects


def test_some_of_the_log_before_it_stays() -> None:
    node, now = leader(0, snapshot_log_bytes=8000, retained_log_bytes=1000)
    for _ in range(40):
        node.propose(now, POOL.make([bytes(100)]))
        node.flushed(now, node.wsn_next - 1)
        acknowledge(node, now, 2)
        acknowledge(node, now, 3)
    last = node.status()["commit"]
    node.snapshot_made(now, snapshot(last, 2))
    kept = last - node.status()["first"] + 1
    assert 4 <= kept <= 15, "a thousand bytes are about five of these"


# Sending them


def test_a_peer_behind_the_head_is_asked_where_it_is_and_gets_the_file_in_pieces() -> None:
    node, now, made = compacted_leader()
    (question,) = letters(refused(node, now), "snapshot", 3)
    assert question.batches == []
    assert question.fields["index"] == 10
    assert node.status()["peers"][3]["state"] == "snapshot"
    effects = node.receive(now, there(0))
    assert effects["piece_reads"] == [(3, made, 0, 64), (3, made, 64, 64), (3, made, 128, 32)]
    (piece,) = letters(node.piece_read(now, 3, made, 64, POOL.piece(made, bytes(64))), "snapshot")
    assert piece.fields["offset"] == 64
    assert piece.fields["file_bytes"] == 160
    (installed,) = [acknowledged(node, now, 3, 10)]
    assert node.status()["peers"][3]["state"] == "stream"
    assert installed["piece_reads"] == []


def acknowledged(node: RaftNode, now: int, peer: int, match: int) -> dict[str, Any]:
    effects: dict[str, Any] = node.receive(now, Letter.forge("append-reply", peer, 1, 2, match=match, prev_index=match))
    return effects


def test_a_transfer_goes_on_where_the_peer_is() -> None:
    node, now, _ = compacted_leader()
    refused(node, now)
    effects = node.receive(now, there(64))
    assert [read[2] for read in effects["piece_reads"]] == [64, 128]
    # A piece was lost: the peer says where it is, and it goes on there.
    effects = node.receive(now, there(64))
    assert [read[2] for read in effects["piece_reads"]] == [64, 128]


def test_silence_is_answered_by_a_question() -> None:
    node, now, _ = compacted_leader()
    refused(node, now)
    node.time(now + 60 * MS)
    node.receive(now + 60 * MS, Letter.forge("heartbeat-reply", 2, 1, 2, round=2, sent_ns=now + 60 * MS))
    (question,) = letters(node.time(now + 101 * MS), "snapshot", 3)
    assert question.batches == []


def test_a_rate_spaces_the_pieces() -> None:
    node, now, _ = compacted_leader(snapshot_bytes_per_s=64_000)
    refused(node, now)
    effects = node.receive(now, there(0))
    assert len(effects["piece_reads"]) == 1
    assert node.time(now + MS // 2)["piece_reads"] == []
    assert [read[2] for read in node.time(now + MS)["piece_reads"]] == [64]


def test_the_head_waits_for_who_takes_in_a_snapshot() -> None:
    node, now, _ = compacted_leader()
    refused(node, now)
    for number in range(3):
        node.propose(now, POOL.make([b"%d" % number]))
    node.flushed(now, node.wsn_next - 1)
    acknowledge(node, now, 2)
    assert node.snapshot_made(now, snapshot(13, 2, number=2))["writes"] == [], "entries 11 to 13 come next for it"
    acknowledged(node, now, 3, 10)
    acknowledge(node, now, 3)
    effects = node.snapshot_made(now, snapshot(13, 2, number=3))
    assert [repr(record) for _, record in effects["writes"]] == ["compact to 14, before it term 2"]


def test_a_m8_a_snapshot_at_the_very_end_of_the_log_leads_to_streaming() -> None:
    node, now, _ = compacted_leader()
    assert node.status()["last"] == 10
    refused(node, now)
    acknowledged(node, now, 3, 10)
    assert node.status()["peers"][3]["state"] == "stream"
    (append,) = letters(node.propose(now, POOL.make([b"x"])), "append", 3)
    assert append.fields["prev_index"] == 10


@pytest.mark.parametrize("status", [ERR_CORRUPT, ERR_NOT_FOUND])
def test_a_damaged_file_is_not_sent_and_a_new_one_is_due(status: int) -> None:
    node, now, made = compacted_leader()
    refused(node, now)
    node.receive(now, there(0))
    effects = node.piece_read(now, 3, made, 0, None, status)
    assert letters(effects, "snapshot") == []
    assert effects["snapshot_due"]
    assert node.status()["snapshot_index"] == 0
    again = snapshot(10, 2, number=2)
    assert not node.snapshot_made(now, again)["snapshot_due"]
    (question,) = letters(refused(node, now + 20 * MS), "snapshot", 3)
    assert question.fields["number"] == 2


# Taking them in


def behind(last: int = 3, **options: Any) -> RaftNode:
    """Node 3 with a log of term 1."""
    return RaftNode(3, VOTERS, term=1, last=last, runs=[(1, 1)] if last else (), **options)


def piece_of(made: tuple[int, ...], offset: int, size: int = 64, *, term: int = 2, sender: int = 1) -> Letter:
    fields = dict(zip(("index", "entry_term", "writer", "number", "file_bytes"), made, strict=True))
    batches = [POOL.piece(made, bytes(size))] if size else []
    return Letter.forge("snapshot", sender, 3, term, batches=batches, offset=offset, **fields)


def take_in(node: RaftNode, made: tuple[int, ...], now: int = MS) -> dict[str, Any]:
    for offset in range(0, made[4], 64):
        effects = node.receive(now, piece_of(made, offset, min(64, made[4] - offset)))
        stored = effects["piece_store"]
        assert stored is not None
        assert stored[1] == offset
    last: dict[str, Any] = node.piece_stored(now, made, made[4], whole=True)
    return last


def test_an_install_takes_the_place_of_the_log() -> None:
    node = behind(3)
    made = snapshot(10)
    effects = take_in(node, made)
    assert [repr(record) for _, record in effects["writes"]] == ["compact to 11, before it term 1"]
    assert effects["install"] == made
    assert effects["commit"] == 10
    (reply,) = letters(effects, "append-reply")
    assert reply.fields["match"] == 10
    status = node.status()
    assert (status["first"], status["last"], status["snapshot_index"]) == (11, 10, 10)
    # And it goes on with the log behind it.
    batch = POOL.make([b"x"], term=2, first=11, stamp=True)
    node.receive(MS, Letter.forge("append", 1, 3, 2, prev_index=10, prev_term=1, commit=10, batches=[batch]))
    assert node.status()["last"] == 11


def test_a_m6_a_log_of_another_history_goes_with_all_behind_it() -> None:
    node = behind(12)                       # entries of term 1; the snapshot says that entry 10 is of term 2
    made = snapshot(10, 2)
    effects = take_in(node, made)
    assert [repr(record) for _, record in effects["writes"]] == [
        "truncate from 1", "compact to 11, before it term 2"]
    assert (node.status()["first"], node.status()["last"]) == (11, 10)


def test_section_7_what_follows_a_matching_entry_is_kept() -> None:
    node = behind(12)
    effects = node.receive(MS, piece_of(snapshot(10), 0))
    assert effects["piece_store"] is None, "the log holds all of it"
    assert effects["commit"] == 10
    (reply,) = letters(effects, "append-reply")
    assert reply.fields["match"] == 10
    assert (node.status()["first"], node.status()["last"]) == (1, 12)


def test_a_m7_an_old_snapshot_is_ignored_and_acknowledged() -> None:
    node = behind(0)
    take_in(node, snapshot(10))
    for made in (snapshot(10), snapshot(6, number=9)):
        effects = node.receive(MS, piece_of(made, 0))
        assert effects["piece_store"] is None
        assert effects["install"] is None
        (reply,) = letters(effects, "append-reply")
        assert reply.fields["match"] == 10
    assert node.status()["commit"] == 10


def test_a_m9_an_append_before_the_head_is_no_conflict() -> None:
    node = behind(0)
    take_in(node, snapshot(10))
    batch = POOL.make([b"old"], term=1, first=5, stamp=True)
    effects = node.receive(MS, Letter.forge("append", 1, 3, 2, prev_index=4, prev_term=1, commit=10, batches=[batch]))
    assert effects["writes"] == []
    assert (node.status()["first"], node.status()["last"]) == (11, 10)


def test_a_m10_a_gap_or_a_piece_of_another_file_never_joins_in() -> None:
    node = behind(0)
    made = snapshot(10)
    assert node.receive(MS, piece_of(made, 0))["piece_store"] is not None
    effects = node.receive(MS, piece_of(made, 128, 32))
    assert effects["piece_store"] is None
    (reply,) = letters(effects, "snapshot-reply")
    assert (reply.fields["offset"], reply.fields["restart"]) == (64, 1)
    # The same entry, written by another node: from the beginning, or not at all.
    other = (10, 1, 2, 1, 160)
    effects = node.receive(MS, piece_of(other, 64))
    assert effects["piece_store"] is None
    (reply,) = letters(effects, "snapshot-reply")
    assert (reply.fields["writer"], reply.fields["offset"]) == (2, 0)
    assert node.receive(MS, piece_of(other, 0))["piece_store"] is not None
    # What was stored of the first one says nothing any more.
    assert node.piece_stored(MS, made, 160, whole=True)["install"] is None


def test_a_late_piece_of_an_older_one_changes_nothing() -> None:
    node = behind(0)
    newer = snapshot(20, number=2)
    node.receive(MS, piece_of(newer, 0))
    effects = node.receive(MS, piece_of(snapshot(10), 0))
    assert effects["piece_store"] is None
    assert effects["letters"] == []
    assert node.receive(MS, piece_of(newer, 64))["piece_store"] is not None


def test_a_new_leader_with_the_same_file_goes_on() -> None:
    node = behind(0)
    made = snapshot(10)
    node.receive(MS, piece_of(made, 0))
    node.piece_stored(MS, made, 64)
    effects = node.receive(2 * MS, piece_of(made, 0, 0, term=3, sender=2))
    (reply,) = letters(effects, "snapshot-reply")
    assert (reply.target, reply.fields["offset"]) == (2, 64)


def test_a_disk_that_refuses_begins_anew() -> None:
    node = behind(0)
    made = snapshot(10)
    node.receive(MS, piece_of(made, 0))
    (reply,) = letters(node.piece_stored(MS, made, 64, status=40), "snapshot-reply")
    assert (reply.fields["offset"], reply.fields["restart"]) == (0, 1)
    take_in(node, made)
    assert node.status()["commit"] == 10


@pytest.mark.parametrize("broken", [
    {"index": 0}, {"entry_term": 0}, {"entry_term": 9}, {"file_bytes": 0}, {"file_bytes": 60}, {"offset": 1000},
    {"index": 1 << 63},
])
def test_nonsense_is_counted_and_dropped(broken: dict[str, int]) -> None:
    node = behind(0)
    fields = {"index": 10, "entry_term": 1, "writer": 1, "number": 1, "file_bytes": 160, "offset": 0} | broken
    made = snapshot(10)
    effects = node.receive(MS, Letter.forge("snapshot", 1, 3, 2, batches=[POOL.piece(made, bytes(64))], **fields))
    assert effects["piece_store"] is None
    assert effects["letters"] == []
    assert node.status()["peer_errors"] == 1


# Crashes and loss


def test_a_m11_an_install_cut_short_is_done_again_at_opening() -> None:
    """The file is durable, the log still as before: of another history, or too short."""
    node = RaftNode(3, VOTERS, term=2, last=4, runs=[(1, 1)], snapshot=snapshot(10, 2))
    effects = node.time(MS)
    assert [repr(record) for _, record in effects["writes"]] == ["compact to 11, before it term 2"]
    assert (node.status()["first"], node.status()["last"], node.status()["commit"]) == (11, 10, 10)
    node = RaftNode(3, VOTERS, term=2, last=12, runs=[(1, 1)], snapshot=snapshot(10, 2))
    effects = node.time(MS)
    assert [repr(record) for _, record in effects["writes"]] == [
        "truncate from 1", "compact to 11, before it term 2"]
    assert (node.status()["first"], node.status()["last"]) == (11, 10)


def test_at_opening_a_log_that_reaches_beyond_its_snapshot_is_kept() -> None:
    node = RaftNode(3, VOTERS, term=2, last=12, runs=[(1, 1)], snapshot=snapshot(10))
    effects = node.time(MS)
    assert effects["writes"] == []
    assert node.status()["commit"] == 10
    assert (node.status()["first"], node.status()["last"]) == (1, 12)


def test_who_lost_its_snapshot_asks_and_does_not_campaign() -> None:
    node = RaftNode(3, VOTERS, term=2, first=11, term_before_first=1, last=12, runs=[(11, 2)], snapshot_needed=10)
    assert letters(node.time(1000 * MS), "pre-vote") == []
    (reply,) = letters(node.receive(1000 * MS, Letter.forge("heartbeat", 1, 3, 2, round=1)), "heartbeat-reply")
    assert reply.value(7) == 10
    assert node.receive(1000 * MS, piece_of(snapshot(8), 0))["piece_store"] is None, "of no use"
    made = snapshot(10)
    effects = take_in(node, made, 1000 * MS)
    assert effects["install"] == made
    assert effects["writes"] == [], "its log is whole"
    assert (node.status()["last"], node.status()["snapshot_needed"]) == (12, 0)
    assert letters(node.time(3000 * MS), "pre-vote") != []


def test_a_leader_whose_snapshot_is_too_old_for_a_peer_makes_one() -> None:
    node, now, made = compacted_leader()
    answer = Letter.forge("heartbeat-reply", 3, 1, 2, round=1)
    answer.set_value(7, 12)
    effects = node.receive(now, answer)
    assert effects["snapshot_due"]
    assert letters(effects, "snapshot") == []
    answer.set_value(7, made[0])
    assert letters(node.receive(now, answer), "snapshot", 3) != []
