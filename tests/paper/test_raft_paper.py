"""Sentences of "In Search of an Understandable Consensus Algorithm", one test each.

Figures 7 and 8 are plays: tests/transcripts/repair_figure_7.txt, commit_figure_8*.txt.
"""

from __future__ import annotations

import pytest
from world import MS, World

from quorumlog._core.bridge.testing_raft import Letter


def status(world: World, number: int, key: str) -> int:
    return int(world.nodes[number].status()[key])


def filled(logs: dict[int, list[int]], terms: dict[int, int], *, start: bool = True) -> World:
    world = World(len(logs))
    for number in world.numbers:
        world.crash(number)
        world.nodes[number].disk = []
        world.fill(number, logs[number], term=terms[number])
        if start:
            world.start(number)
    return world


# 5.1 Raft basics


@pytest.mark.parametrize("role", ["follower", "candidate", "leader"])
def test_5_1_a_larger_term_is_taken_on_and_makes_a_follower(role: str) -> None:
    world = World(3)
    if role == "leader":
        world.elect(1)
    elif role == "candidate":
        world.timeout(1)
        world.deliver(name="pre-vote")
        world.deliver(name="pre-vote-reply")
    else:
        world.live(0)
    assert world.role(1) == role
    world.hand_over(Letter.forge("heartbeat", 2, 1, 9, round=1))
    assert (world.role(1), status(world, 1, "term"), status(world, 1, "leader")) == (
        "follower",
        9,
        2,
    )


def test_5_1_a_request_of_a_stale_term_is_rejected() -> None:
    world = World(3)
    world.elect(1)
    world.hand_over(Letter.forge("heartbeat", 2, 3, 9, round=1))
    world.network.clear()
    world.advance(10, [1])
    world.deliver(1, 3)
    answers = {x.name for x in world.waiting(3, 1)}
    assert answers == {"stale-term"}
    world.settle()
    assert world.role(1) == "follower"
    assert status(world, 1, "term") == 9


# 5.2 Leader election


def test_5_2_servers_start_as_followers() -> None:
    world = World(3)
    assert [world.role(n) for n in world.numbers] == ["follower"] * 3


def test_5_2_a_follower_that_hears_nothing_for_an_election_timeout_begins_an_election() -> None:
    world = World(3)
    world.advance(99)
    assert {world.role(n) for n in world.numbers} == {"follower"}
    world.advance(101)
    assert {world.role(n) for n in world.numbers} == {"pre-candidate"}


def test_5_2_timeouts_are_random_from_a_fixed_interval() -> None:
    drawn = set()
    for seed in range(40):
        world = World(3, seed=seed)
        deadlines = [world.nodes[n].deadline_ns for n in world.numbers]
        assert all(100 * MS <= d < 200 * MS for d in deadlines)
        assert len(set(deadlines)) == 3, "nodes given one seed draw different timeouts"
        drawn |= set(deadlines)
    assert len(drawn) == 120
    assert min(drawn) < 110 * MS
    assert max(drawn) > 190 * MS


def test_5_2_a_candidate_increments_its_term_votes_for_itself_and_asks_all() -> None:
    world = World(5)
    world.timeout(1)
    world.deliver(name="pre-vote")
    world.deliver(name="pre-vote-reply")
    assert (world.role(1), status(world, 1, "term"), status(world, 1, "vote")) == (
        "candidate",
        1,
        1,
    )
    asked = world.waiting(1, name="vote")
    assert [x.target for x in asked] == [2, 3, 4, 5]
    assert {x.term for x in asked} == {1}


@pytest.mark.parametrize(
    ("count", "votes", "wins"),
    [
        (3, 1, True),
        (5, 1, False),
        (5, 2, True),
        (7, 2, False),
        (7, 3, True),
        (4, 1, False),
        (4, 2, True),
    ],
)
def test_5_2_a_majority_of_votes_wins(count: int, votes: int, wins: bool) -> None:
    world = World(count)
    world.timeout(1)
    world.deliver(name="pre-vote")
    world.deliver(name="pre-vote-reply")
    world.deliver(name="vote")
    for letter in world.waiting(name="vote-reply")[:votes]:
        world.hand_over(letter)
    assert (world.role(1) == "leader") == wins


def test_5_2_each_server_votes_for_at_most_one_candidate_in_a_term_first_come_first_served() -> None:
    world = World(3)
    for candidate, expected in [(1, 1), (2, 0), (1, 1)]:
        world.network.clear()
        world.hand_over(Letter.forge("vote", candidate, 3, 4, last_index=0, last_term=0, proposed=4))
        assert [x.fields["granted"] for x in world.waiting(3)] == [expected]
    assert status(world, 3, "vote") == 1


def test_5_2_a_candidate_that_hears_from_the_leader_of_its_term_follows_it() -> None:
    world = World(3)
    world.timeout(1)
    world.deliver(name="pre-vote")
    world.deliver(name="pre-vote-reply")
    world.hand_over(Letter.forge("append", 2, 1, 1, prev_index=0, prev_term=0, commit=0))
    assert (world.role(1), status(world, 1, "leader")) == ("follower", 2)


def test_5_2_a_split_vote_is_resolved_in_a_new_term() -> None:
    world = World(4)
    for number in (1, 2):
        world.timeout(number)
    world.deliver(name="pre-vote")
    world.deliver(name="pre-vote-reply")
    assert [world.role(n) for n in (1, 2)] == ["candidate", "candidate"]
    world.deliver(1, 3, "vote")
    world.deliver(2, 4, "vote")
    world.deliver(name="vote")
    world.deliver(name="vote-reply")
    assert world.leader() is None
    world.live(1500)
    assert world.leader() is not None


def test_5_2_a_leader_sends_heartbeats_to_all() -> None:
    world = World(3)
    world.elect(1)
    for _ in range(3):
        world.network.clear()
        world.advance(10, [1])
        assert [x.target for x in world.waiting(1, name="heartbeat")] == [2, 3]


# 5.3 Log replication


def test_5_3_an_entry_is_committed_once_a_majority_has_replicated_it() -> None:
    world = World(5)
    world.elect(1)
    world.propose(1, b"a")
    world.deliver(1, 2, "append")
    world.deliver(2, 1)
    assert status(world, 1, "commit") == 1
    world.deliver(1, 3, "append")
    world.deliver(3, 1)
    assert status(world, 1, "commit") == 2


def commit_by_hand(world: World) -> None:
    """Until the leader has committed what it sent last and everything is delivered; no clock moves."""
    while world.network:
        world.hand_over(world.take(world.network[0]))


def test_5_3_followers_learn_of_a_commit_from_the_next_append() -> None:
    world = World(3)
    world.elect(1)
    world.propose(1, b"a")
    commit_by_hand(world)
    assert [status(world, n, "commit") for n in world.numbers] == [2, 1, 1]
    world.propose(1, b"b")
    commit_by_hand(world)
    assert [status(world, n, "commit") for n in world.numbers] == [3, 2, 2]


def test_5_3_followers_learn_of_a_commit_within_a_millisecond_of_silence() -> None:
    world = World(3)
    world.elect(1)
    world.propose(1, b"a")
    commit_by_hand(world)
    world.advance(1, [1])
    assert [letter.name for letter in world.network] == ["commit", "commit"]
    commit_by_hand(world)
    assert [status(world, n, "commit") for n in world.numbers] == [2, 2, 2]
    world.advance(5, [1])
    assert not world.network, "told once"


def test_5_3_a_node_whose_callers_wait_learns_of_the_commit_at_once() -> None:
    world = World(3)
    world.elect(1)
    world.propose(1, b"a", proposer=3)
    commit_by_hand(world)
    assert [status(world, n, "commit") for n in world.numbers] == [2, 1, 2]


def test_5_3_the_consistency_check_refuses_an_append_that_does_not_meet_the_log() -> None:
    world = filled({1: [1, 1], 2: [1], 3: [1]}, {1: 2, 2: 2, 3: 2})
    for prev, prev_term in [(3, 1), (2, 2)]:
        world.network.clear()
        batch = world.pool.make([b"x"], term=2, first=prev + 1, stamp=True)
        world.hand_over(
            Letter.forge("append", 2, 1, 2, prev_index=prev, prev_term=prev_term, batches=[batch])
        )
        assert [x.fields["rejected"] for x in world.waiting(1)] == [1]
        assert status(world, 1, "last") == 2


def test_5_3_a_rejection_skips_a_whole_term_at_once() -> None:
    ours = [1, 1] + [4] * 10
    world = filled({1: ours, 2: [1, 1] + [2] * 40 + [3] * 40, 3: ours}, {1: 4, 2: 4, 3: 4})
    world.timeout(1)
    world.settle()
    world.live(100)
    assert world.role(1) == "leader"
    assert status(world, 2, "commit") == 13
    refused = [line for line in world.story if line.startswith("1 hears 2") and "rejected" in line]
    assert len(refused) <= 3


def test_5_3_a_leader_never_overwrites_or_deletes_its_own_entries() -> None:
    world = filled({1: [1, 2, 2], 2: [1], 3: [1, 1, 1, 1]}, {1: 3, 2: 3, 3: 3})
    before = [batch.identity for batch in world.nodes[1].log]
    world.timeout(1)
    world.settle()
    world.live(100)
    assert world.role(1) == "leader"
    assert [batch.identity for batch in world.nodes[1].log][:3] == before


# 5.4 Safety


@pytest.mark.parametrize(
    ("candidate", "voter", "granted"),
    [
        ([1, 1], [1, 1], True),
        ([1, 1, 1], [1, 1], True),
        ([1], [1, 1], False),
        ([1, 2], [1, 1, 1], True),  # the later term is more up to date
        ([1, 1, 1], [1, 2], False),
        ([], [1], False),
        ([1], [], True),
    ],
)
def test_5_4_1_a_vote_only_for_a_log_at_least_as_up_to_date(
    candidate: list[int], voter: list[int], granted: bool
) -> None:
    world = filled({1: voter, 2: [], 3: []}, {1: 3, 2: 3, 3: 3})
    last_term = candidate[-1] if candidate else 0
    for kind, term, proposed in [("pre-vote", 3, 4), ("vote", 4, 4)]:
        world.network.clear()
        world.hand_over(
            Letter.forge(kind, 2, 1, term, last_index=len(candidate), last_term=last_term, proposed=proposed)
        )
        assert [x.fields["granted"] for x in world.waiting(1)] == [granted]


# 5.5 Follower and candidate crashes


def test_5_5_requests_are_idempotent() -> None:
    world = World(3)
    world.elect(1)
    world.propose(1, b"a")
    letters = world.waiting(1, 2)
    for _ in range(3):
        for letter in letters:
            world.hand_over(letter)
    world.settle()
    assert world.payloads(2) == [b"a"]
    assert status(world, 2, "last") == 2


def test_5_5_a_crashed_follower_catches_up() -> None:
    world = World(3)
    world.elect(1)
    world.crash(3)
    for i in range(50):
        world.propose(1, b"%d" % i)
        world.settle()
    world.start(3)
    world.live(300)
    assert world.payloads(3) == [b"%d" % i for i in range(50)]


# 8 Client interaction


def test_8_a_leader_commits_a_blank_entry_at_the_start_of_its_term() -> None:
    world = World(3)
    world.elect(2)
    assert [(batch.kind, batch.term) for batch in world.nodes[3].log] == [("blank", 1)]
    assert status(world, 2, "commit") == 1


def test_8_a_read_waits_for_a_round_of_heartbeats() -> None:
    world = World(3)
    world.elect(1)
    world.read(1, 1)
    assert world.reads[1] is None
    world.deliver(1, 2, "heartbeat")
    world.deliver(2, 1, "heartbeat-reply")
    assert world.reads[1] == (1, 0)
