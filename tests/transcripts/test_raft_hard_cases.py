"""What has broken other implementations, by the ids of the list of hard cases (A-R).

Not here: A-R8 (vote and up-to-date check are one step: there is no window to test), A-R9
and A-R22 (membership changes), A-R15 (leases), A-R20 (a failed
disk stops the node: runtime), A-R23 (sessions: tests/engine), A-R28 (wiped nodes: identity).
"""

from __future__ import annotations

from typing import Any

import pytest
from world import MS, World

from quorumlog._core.bridge.testing_raft import Letter, RaftNode, Record

NOT_LEADER, OVERLOADED = 10, 11


def follower(terms: list[int], term: int, **options: Any) -> World:
    """Node 1 alone with a log; nodes 2 and 3 are only heard through forged letters."""
    world = World(3, **options)
    for number in world.numbers:
        world.crash(number)
    world.nodes[1].disk = []
    world.fill(1, terms, term=term)
    world.start(1)
    return world


def entry(world: World, index: int, term: int, **options: Any) -> Record:
    """As World.fill makes it, so that the same index and term is the same entry."""
    return world.pool.make([b"%d@%d" % (index, term)], term=term, first=index, stamp=True, **options)


def append(
    world: World,
    prev: int,
    prev_term: int,
    terms: list[int],
    *,
    term: int,
    commit: int = 0,
    sender: int = 2,
) -> Letter:
    batches = [entry(world, prev + 1 + i, t) for i, t in enumerate(terms)]
    return Letter.forge(
        "append",
        sender,
        1,
        term,
        prev_index=prev,
        prev_term=prev_term,
        commit=commit,
        batches=batches,
    )


def hear(world: World, letter: Letter) -> list[Letter]:
    """Node 1's answers."""
    world.network.clear()
    world.hand_over(letter)
    return list(world.network)


def terms_of(world: World, number: int = 1) -> list[int]:
    raft = world.nodes[number].raft
    assert raft is not None
    return list(raft.terms())


def errors(world: World) -> int:
    return int(world.nodes[1].status()["peer_errors"])


def commit(world: World, number: int = 1) -> int:
    return int(world.nodes[number].status()["commit"])


# Appends received


def test_a_r2_commit_stays_within_what_this_request_verified() -> None:
    world = follower([1] * 9 + [2] * 3, 3)
    world.committed = [batch.identity for batch in world.nodes[1].log[:9]]
    hear(world, append(world, 9, 1, [], term=3, commit=12))
    assert commit(world) == 9
    hear(world, Letter.forge("heartbeat", 2, 1, 3, round=1, commit=12))
    assert commit(world) == 9
    hear(world, Letter.forge("commit", 2, 1, 3, commit=12))
    assert commit(world) == 9


def test_a_r3_a_conflict_deletes_all_behind_it() -> None:
    world = follower([1, 1, 1, 2, 2], 3)
    (reply,) = hear(world, append(world, 3, 1, [3], term=3))
    assert terms_of(world) == [1, 1, 1, 3]
    assert reply.fields["match"] == 4
    kinds = [record.kind for _, record in world.nodes[1].disk[-2:]]
    assert kinds == ["truncate", "entries"], "the truncation is on record before what replaces it"


@pytest.mark.parametrize("prev", [0, 2])
def test_a_r4_a_late_append_that_matches_truncates_nothing(prev: int) -> None:
    world = follower([1] * 6, 1)
    (reply,) = hear(world, append(world, prev, 1 if prev else 0, [1], term=1))
    assert terms_of(world) == [1] * 6
    assert reply.fields["match"] == prev + 1


def test_a_r5_an_ack_covers_the_request_and_no_more() -> None:
    world = follower([1] * 3 + [2] * 6, 3)
    (reply,) = hear(world, append(world, 2, 1, [1], term=3))
    assert reply.fields["match"] == 3
    (reply,) = hear(world, append(world, 3, 1, [], term=3))
    assert reply.fields["match"] == 3


def test_a_r26_a_gap_into_an_empty_log_is_refused() -> None:
    world = follower([], 1)
    letter = Letter.forge("append", 2, 1, 1, prev_index=0, prev_term=0, batches=[entry(world, 9, 1)])
    assert hear(world, letter) == []
    assert (terms_of(world), errors(world)) == ([], 1)
    (reply,) = hear(world, append(world, 8, 1, [1], term=1))
    assert reply.fields["rejected"]
    assert reply.fields["hint_index"] == 0
    assert terms_of(world) == []


def test_a_r27_batches_must_follow_prev() -> None:
    world = follower([1, 1], 1)
    letter = Letter.forge("append", 2, 1, 1, prev_index=0, prev_term=0, batches=[entry(world, 3, 1)])
    assert hear(world, letter) == []
    letter = Letter.forge(
        "append",
        2,
        1,
        1,
        prev_index=2,
        prev_term=1,
        batches=[entry(world, 3, 1), entry(world, 5, 1)],
    )
    assert hear(world, letter) == []
    assert (terms_of(world), errors(world)) == ([1, 1], 2)


def test_a_m9_what_lies_before_the_head_is_skipped_and_acknowledged() -> None:
    world = World(1)
    node = RaftNode(1, [1, 2, 3], term=1, first=11, term_before_first=1, last=12, runs=[(11, 1)])
    for prev, last in [(5, 13), (0, 9), (10, 12), (3, 3)]:
        batches = [entry(world, i, 1) for i in range(prev + 1, last + 1)]
        letter = Letter.forge(
            "append", 2, 1, 1, prev_index=prev, prev_term=min(prev, 1), commit=99, batches=batches
        )
        effects = node.receive(0, letter)
        assert [record.first for _, record in effects["writes"]] == ([13] if last == 13 else [])
        assert [x.fields["match"] for x in effects["letters"]] == [last]
        assert effects["commit"] >= 10
    across = world.pool.make([b"a"] * 4, term=1, first=9, stamp=True)
    effects = node.receive(0, Letter.forge("append", 2, 1, 1, prev_index=8, prev_term=1, batches=[across]))
    assert effects["letters"] == []
    assert node.status()["peer_errors"] == 1


def test_what_is_committed_is_never_truncated() -> None:
    world = follower([1, 1, 1], 1)
    world.committed = [batch.identity for batch in world.nodes[1].log]
    hear(world, append(world, 3, 1, [], term=1, commit=3))
    assert commit(world) == 3
    assert hear(world, append(world, 1, 1, [2], term=2)) == []
    assert (terms_of(world), errors(world)) == ([1, 1, 1], 1)


def test_the_same_index_and_term_with_other_contents_is_a_peer_error() -> None:
    world = follower([1, 1], 1)
    hear(world, append(world, 2, 1, [1], term=1))
    longer = world.pool.make([b"3@1", b"4@1"], term=1, first=3, stamp=True)
    assert hear(world, Letter.forge("append", 2, 1, 1, prev_index=2, prev_term=1, batches=[longer])) == []
    other = world.pool.make([b"other"], term=1, first=3, stamp=True)
    assert hear(world, Letter.forge("append", 2, 1, 1, prev_index=2, prev_term=1, batches=[other])) == []
    assert (terms_of(world), errors(world)) == ([1, 1, 1], 2)


def test_a_batch_is_never_split_by_a_peer() -> None:
    world = follower([1], 1)
    triple = world.pool.make([b"a", b"b", b"c"], term=1, first=2, stamp=True)
    hear(world, Letter.forge("append", 2, 1, 1, prev_index=1, prev_term=1, batches=[triple]))
    assert hear(world, append(world, 2, 1, [2], term=2)) == []
    assert (terms_of(world), errors(world)) == ([1] * 4, 1)


# Terms and votes


def test_a_r6_a_vote_is_durable_before_anybody_hears_of_it() -> None:
    world = World(3, manual=True)
    world.timeout(1)
    world.deliver()
    world.deliver(3, 1)
    assert world.role(1) == "candidate"
    assert world.waiting(1, name="vote") == [], "not even the request leaves before the own vote is on disk"
    world.flush(1)
    world.deliver(1, 2, "vote")
    assert world.waiting(2, name="vote-reply") == []
    world.crash(2)
    world.start(2)
    assert world.nodes[2].status()["term"] == 0
    world.deliver(1, 3, "vote")
    world.flush(3)
    world.crash(3)
    world.start(3)
    assert (world.nodes[3].status()["term"], world.nodes[3].status()["vote"]) == (1, 1)
    asked = Letter.forge("vote", 2, 3, 1, last_index=9, last_term=1, proposed=1)
    world.network.clear()
    world.hand_over(asked)
    assert [x.fields["granted"] for x in world.waiting(3, 2)] == [0], "one vote in a term, restarts included"


def test_a_r7_a_doubled_vote_is_one_vote() -> None:
    world = World(5)
    world.timeout(1)
    world.deliver(name="pre-vote")
    world.deliver(name="pre-vote-reply")
    world.deliver(1, 2, "vote")
    (grant,) = world.waiting(2, 1, "vote-reply")
    for _ in range(3):
        world.hand_over(grant)
    assert world.role(1) == "candidate"


def test_a_r7_a_vote_of_an_earlier_term_is_none() -> None:
    world = World(3)
    world.timeout(1)
    world.deliver(name="pre-vote")
    world.deliver(name="pre-vote-reply")
    world.deliver(1, 2, "vote")
    (grant,) = world.waiting(2, 1, "vote-reply")
    world.network.clear()
    world.timeout(1)
    world.deliver(name="pre-vote")
    world.deliver(name="pre-vote-reply")
    assert world.nodes[1].status()["term"] == 2
    world.hand_over(grant)
    assert world.role(1) == "candidate"


def test_a_r10_a_refused_pre_vote_teaches_the_term() -> None:
    world = follower([1, 1], 1)
    world.timeout(1)
    hear(world, Letter.forge("pre-vote-reply", 2, 1, 5, granted=0, proposed=2))
    status = world.nodes[1].status()
    assert (status["term"], status["vote"], status["role"]) == (5, 0, "follower")


def test_a_r11_a_disruptive_node_changes_nothing_while_a_leader_is_heard() -> None:
    world = World(3)
    world.elect(1)
    world.live(50)
    for number in (1, 2):
        world.hand_over(Letter.forge("vote", 3, number, 50, last_index=99, last_term=49, proposed=50))
        world.hand_over(Letter.forge("pre-vote", 3, number, 50, last_index=99, last_term=49, proposed=51))
    assert [world.nodes[n].status()["term"] for n in (1, 2)] == [1, 1]
    assert world.role(1) == "leader"


@pytest.mark.parametrize("leader", [1, 2, 3])
@pytest.mark.parametrize(("a", "b"), [(1, 2), (1, 3), (2, 3), (2, 1), (3, 1), (3, 2)])
@pytest.mark.parametrize("one_way", [False, True])
def test_a_r12_one_cut_link_stops_nobody(leader: int, a: int, b: int, one_way: bool) -> None:
    world = World(3)
    world.elect(leader)
    world.cut(a, b, one_way=one_way)
    world.live(1000)
    first = world.nodes[1].status()["term"]
    now_leader = world.leader()
    assert now_leader is not None
    before = world.committed_last
    world.propose(now_leader, b"through")
    world.live(500)
    assert world.committed_last > before
    assert world.nodes[1].status()["term"] <= first + 1, "elections end"


def test_a_lost_connection_to_the_leader_brings_the_election_forward() -> None:
    world = World(3)
    world.elect(1)
    world.live(50)
    world.crash(1)
    for number in (2, 3):
        world.reachable(number, 1, False)
        assert world.nodes[number].deadline_ns < world.nodes[number].clock_ns + 121 * MS
    world.live(130)
    assert world.leader() in (2, 3)


def test_a_lost_connection_to_a_living_leader_deposes_nobody() -> None:
    world = World(3)
    world.elect(1)
    for _ in range(20):
        world.reachable(3, 1, False)
        world.live(25)
    assert world.role(1) == "leader"
    assert {world.nodes[n].status()["term"] for n in world.numbers} == {1}
    world.cut(1, 3)
    world.reachable(3, 1, False)
    world.live(1000)
    assert world.role(1) == "leader"
    assert {world.nodes[n].status()["term"] for n in world.numbers} == {1}


def test_a_r25_a_deposed_leader_stamps_nothing_with_the_new_term() -> None:
    world = World(3)
    world.elect(1)
    world.nodes[1].clock_ns += 1
    world.hand_over(Letter.forge("append-reply", 2, 1, 2, rejected=1, prev_index=1))
    assert (world.role(1), world.nodes[1].status()["term"]) == ("follower", 2)
    world.propose(1, b"late")
    assert world.refusals == [(1, NOT_LEADER)]
    assert world.waiting(1, name="append") == []
    assert terms_of(world) == [1]


def test_a_r29_a_pre_vote_has_no_side_effects() -> None:
    world = follower([1], 1)
    node = world.nodes[1]
    before, deadline = node.status(), node.deadline_ns
    node.clock_ns += 50 * MS
    (reply,) = hear(world, Letter.forge("pre-vote", 2, 1, 7, last_index=5, last_term=5, proposed=8))
    assert reply.fields["granted"]
    assert (node.status(), node.deadline_ns, node.pending) == (before, deadline, [])


def test_a_r30_the_sender_is_who_the_envelope_says() -> None:
    world = follower([1], 1)
    for sender in (1, 9, 0):
        assert (
            hear(world, Letter.forge("pre-vote", sender, 1, 1, last_index=5, last_term=5, proposed=2)) == []
        )
    assert errors(world) == 3


# The leader


def test_a_r14_a_leader_in_a_minority_answers_no_read() -> None:
    world = World(3)
    world.elect(1)
    world.live(50)
    world.isolate(1)
    world.read(1, 1)
    world.live(60)
    assert world.reads[1] is None
    world.live(300)
    assert world.reads[1] == (0, NOT_LEADER)


def test_a_r14_a_round_begun_before_the_read_confirms_nothing() -> None:
    world = World(3)
    world.elect(1)
    world.advance(10)
    old = world.waiting(name="heartbeat")
    assert old
    world.deliver(1, 2, "heartbeat")
    world.read(1, 1)
    world.deliver(2, 1, "heartbeat-reply")
    assert world.reads[1] is None
    world.settle()
    assert world.reads[1] == (1, 0)


def test_many_reads_share_a_round() -> None:
    world = World(3)
    world.elect(1)
    for read in range(100):
        world.read(1, read)
    assert len(world.waiting(name="heartbeat")) == 2
    world.settle()
    assert set(world.reads.values()) == {(1, 0)}
    assert int(world.story[-1].split("round ")[1].split(",")[0]) <= 4


def test_too_many_reads_are_refused() -> None:
    world = World(3)
    world.elect(1)
    for read in range(4100):
        world.read(1, read)
    assert sum(answer == (0, OVERLOADED) for answer in world.reads.values()) == 4
    world.settle()
    assert sum(answer == (1, 0) for answer in world.reads.values()) == 4096


def test_a_r17_a_single_voter_commits_only_what_it_flushed() -> None:
    world = World(1, manual=True)
    world.timeout(1)
    assert world.role(1) == "candidate"
    world.flush(1)
    assert (world.role(1), commit(world)) == ("leader", 0)
    world.propose(1, b"a")
    world.flush(1, 1)
    assert commit(world) == 1
    world.flush(1)
    assert commit(world) == 2


def test_a_r18_the_leaders_own_match_is_what_it_flushed() -> None:
    world = World(3, manual=True)
    world.timeout(1)
    world.deliver()
    world.deliver()
    world.flush(1)
    world.deliver()
    world.flush(2)
    world.flush(3)
    world.deliver()
    world.deliver(1, 2)
    world.flush(2)
    world.drop(3, 1)
    world.deliver(2, 1)
    assert world.role(1) == "leader"
    assert commit(world) == 0, "one follower and an unsynced leader are no majority"
    world.flush(1)
    assert commit(world) == 1


def test_a_r19_a_late_completion_of_a_superseded_write_acknowledges_nothing() -> None:
    world = follower([1], 1, manual=True)
    hear(world, append(world, 1, 1, [1], term=1))
    hear(world, append(world, 1, 1, [2], term=2))
    hear(world, append(world, 1, 1, [3], term=3, sender=3))
    node = world.nodes[1]
    # The writes: 2@1, term 2, truncate, 2@2, term 3, truncate, 2@3.
    assert len(node.pending) == 7
    flushed = []
    for _ in range(7):
        world.network.clear()
        world.flush(1, 1)
        flushed.append(node.status()["flushed"])
    assert flushed == [1, 1, 1, 1, 1, 1, 2]
    assert [x.fields["match"] for x in world.waiting(1, 3)] == [2]


def test_a_r21_a_full_window_of_lost_messages_opens_again() -> None:
    world = World(3)
    world.elect(1)
    world.isolate(2)
    for _ in range(300):
        world.propose(1, b"x" * 2000)
        world.deliver()
    assert world.nodes[1].status()["peers"][2]["in_flight_bytes"] > 0
    world.heal()
    world.live(600)
    assert commit(world, 2) == world.committed_last == 301


def test_a_lost_probe_is_sent_again() -> None:
    world = World(3)
    world.timeout(1)
    world.deliver(name="pre-vote")
    world.deliver(name="pre-vote-reply")
    world.deliver(name="vote")
    world.deliver(name="vote-reply")
    assert len(world.drop(name="append")) == 2
    world.live(60)
    assert commit(world, 2) == commit(world, 3) == 1


def test_a_r24_a_leader_that_steps_down_loses_no_waiting_read() -> None:
    world = World(3)
    world.elect(1)
    world.read(3, 7)
    world.deliver(3, 1)
    world.isolate(1)
    world.live(500)
    assert world.reads[7] == (0, NOT_LEADER)


def test_a_r27_a_read_error_aborts_the_send() -> None:
    world = World(3, fetch=False, cache_limit_bytes=0)
    world.elect(1)
    world.isolate(3)
    for _ in range(20):
        world.propose(1, b"x")
        world.deliver()
    world.live(60)
    world.reachable(1, 3, False)
    world.heal()
    world.reachable(1, 3, True)
    node = world.nodes[1]
    assert [fetch[0] for fetch in node.fetches] == [3]
    world.answer_fetch(1, status=40)
    assert world.waiting(1, 3, "append") == []
    assert node.fetches == [], "no busy loop over a failing disk"
    world.live(20)
    assert [fetch[0] for fetch in node.fetches] == [3], "an answered heartbeat tries again"
    world.fetch = True
    world.answer_fetch(1)
    world.live(100)
    assert commit(world, 3) == 21


def test_proposals_above_the_bound_are_refused() -> None:
    world = World(3, uncommitted_bytes_max=1000)
    world.elect(1)
    for _ in range(12):
        world.propose(1, b"x" * 100)
    accepted = 12 - len(world.refusals)
    assert 2 <= accepted <= 6
    assert set(world.refusals) == {(1, OVERLOADED)}
    world.settle()
    world.refusals.clear()
    world.propose(1, b"y" * 5000)
    assert world.refusals == [], "one at a time always fits"


# What no peer would send

HUGE = (1 << 64) - 1


@pytest.mark.parametrize("value", [0, 1, 5, 1 << 62, HUGE])
@pytest.mark.parametrize("kind", range(16))
@pytest.mark.parametrize("role", ["follower", "leader"])
def test_nonsense_neither_crashes_nor_harms(role: str, kind: int, value: int) -> None:
    world = World(3)
    if role == "leader":
        world.elect(1)
    else:
        world.elect(2)
    world.live(20)
    before = terms_of(world)
    for term in (0, 1, HUGE):
        for position in range(8):
            letter = Letter.forge(kind, 3, 1, term)
            letter.set_value(position, value)
            world.hand_over(letter)
        letter = Letter.forge(kind, 3, 1, term)
        for position in range(8):
            letter.set_value(position, value)
        world.hand_over(letter)
    world.network.clear()
    assert terms_of(world)[: len(before)] == before
    world.live(1500)
    leader = world.leader()
    assert leader is not None
    world.propose(leader, b"fine")
    world.live(200)
    assert all(world.payloads(n) == [b"fine"] for n in world.numbers)
