"""Handing over leadership (hard case A-R16): asked for, to a higher priority, from a disk that stands still."""

from __future__ import annotations

import pytest
from world import MS, World

from quorumlog._core.bridge.testing_raft import Letter

OK, USAGE, NOT_LEADER, BUSY, TRANSFERRING, NOBODY = 0, 1, 10, 14, 15, 22


def led(count: int = 3, **options: int) -> World:
    world = World(count, **options)
    world.elect(1)
    return world


def test_the_target_leads_the_next_term_and_holds_the_whole_log() -> None:
    world = led()
    world.propose(1, b"a")
    world.settle()
    assert world.transfer(1, 2) == OK
    world.settle()
    assert world.role(2) == "leader"
    assert world.nodes[2].status()["term"] == 2
    assert world.payloads(2) == [b"a"]


def test_with_nobody_named_the_longest_log_takes_over() -> None:
    world = led()
    world.cut(1, 2)
    world.propose(1, b"a")
    world.settle()
    world.heal()
    assert world.transfer(1) == OK
    world.settle()
    assert world.role(3) == "leader"


def test_only_a_voter_that_is_there_takes_over() -> None:
    world = led()
    assert world.transfer(1, 9) == USAGE
    assert world.transfer(2, 3) == NOT_LEADER
    assert world.transfer(1, 1) == OK
    world.reachable(1, 2, False)
    assert world.transfer(1, 2) == NOBODY
    world.reachable(1, 3, False)
    assert world.transfer(1) == NOBODY
    assert world.nodes[1].status()["transfers"] == 0


def test_proposals_are_refused_meanwhile_and_taken_again_afterwards() -> None:
    world = led()
    world.cut(1, 2)
    world.propose(1, b"a")
    world.settle()
    assert world.transfer(1, 2) == OK
    world.propose(1, b"b")
    assert world.refusals == [(1, TRANSFERRING)]
    assert world.transfer(1, 2) == OK
    assert world.transfer(1, 3) == BUSY
    world.live(120)
    assert world.nodes[1].status()["transfer"] == 0
    assert world.nodes[1].status()["transfers_failed"] == 1
    world.propose(1, b"b")
    world.settle()
    assert world.payloads(1) == [b"a", b"b"]


def test_no_target_is_told_before_it_has_all() -> None:
    world = led()
    world.cut(1, 2)
    world.propose(1, b"a")
    world.settle()
    world.heal()
    assert world.transfer(1, 2) == OK
    assert not world.waiting(name="timeout-now")
    world.live(60)
    assert world.role(2) == "leader"


def test_a_lost_timeout_now_is_said_again() -> None:
    world = led()
    world.transfer(1, 2)
    assert len(world.drop(name="timeout-now")) == 1
    world.live(30)
    assert world.role(2) == "leader"


@pytest.mark.parametrize("ms", [99, 250, 1000])
def test_an_attempt_ends_within_an_election_timeout(ms: int) -> None:
    """Whatever else keeps the leader busy, and with no time event at all."""
    world = led()
    world.transfer(1, 2)
    world.drop(name="timeout-now")
    node = world.nodes[1]
    node.clock_ns += ms * MS
    world.propose(1, b"a")
    assert (node.status()["transfer"] == 0) == (ms >= 100)


def test_a_leader_deposed_meanwhile_hands_nothing_over() -> None:
    world = led()
    world.transfer(1, 2)
    world.drop()
    world.hand_over(Letter.forge("append-reply", 3, 1, 7, match=1))
    assert world.nodes[1].status()["transfer"] == 0
    assert world.nodes[1].status()["transfers_failed"] == 0
    world.live(400)
    assert world.leader() is not None


def test_who_listens_or_has_something_faulty_does_not_take_over() -> None:
    world = led()
    world.propose(1, b"a")
    world.settle()
    world.spoil(2, 2)
    world.find(2, 2)
    world.cut(2, 1)
    world.cut(2, 3)
    world.hand_over(Letter.forge("timeout-now", 1, 2, 1, last_index=2))
    assert world.role(2) == "follower"


def test_it_is_said_by_the_leader_alone() -> None:
    world = led()
    world.settle()
    before = world.nodes[2].status()["peer_errors"]
    world.hand_over(Letter.forge("timeout-now", 3, 2, 1, last_index=1))
    assert world.nodes[2].status()["peer_errors"] == before + 1
    world.hand_over(Letter.forge("timeout-now", 1, 2, 1, last_index=99))
    assert world.role(2) == "follower"


# Priorities


def test_leadership_goes_to_the_highest_priority_that_is_caught_up() -> None:
    world = World(3)
    world.crash(3)
    world.options["priority"] = 7
    world.start(3)
    world.options.clear()
    world.elect(1)
    world.live(300)
    assert world.role(1) == "leader"
    world.live(400)
    assert world.role(3) == "leader"
    world.live(1000)
    assert world.role(3) == "leader"
    assert sum(node.status()["transfers"] for node in world.nodes.values()) == 1


def test_a_priority_alone_delays_no_election() -> None:
    world = World(3)
    world.crash(3)
    world.options["priority"] = 7
    world.start(3)
    world.options.clear()
    world.isolate(3)
    world.elect(1)
    world.live(2000)
    assert world.role(1) == "leader"


# Disks


def test_a_leader_whose_disk_stands_still_gives_up_within_a_bound() -> None:
    world = World(3, manual=True)
    world.elect(1)
    world.settle()
    world.propose(1, b"a")
    sleeper = world.nodes[1]
    for _ in range(60):
        world.advance(5)
        for _ in range(5):
            world.deliver()
            world.flush(2)
            world.flush(3)
    assert sleeper.status()["disk_stalls"] == 1
    assert world.leader() in (2, 3)
    assert sleeper.status()["role"] == "follower"
    assert sleeper.pending, "nothing of it was synced"


def test_a_slow_disk_that_moves_costs_no_leadership() -> None:
    world = World(3, manual=True)
    world.elect(1)
    world.settle()
    for step in range(60):
        world.propose(1, b"%d" % step)
        world.advance(5)
        world.deliver()
        world.flush(2)
        world.flush(3)
        world.deliver()
        if step % 20 == 19:
            world.flush(1)
    assert world.nodes[1].status()["disk_stalls"] == 0
    assert world.role(1) == "leader"


def test_a_candidate_whose_disk_stands_still_leaves_the_others_alone() -> None:
    world = World(3, manual=True)
    world.elect(1)
    world.settle()
    world.propose(1, b"a")
    world.deliver()
    assert world.nodes[2].pending
    world.isolate(2)
    for _ in range(80):
        world.advance(5)
        world.deliver()
        world.flush(1)
        world.flush(3)
    assert world.role(2) == "follower"
    assert world.nodes[2].status()["term"] == 1
