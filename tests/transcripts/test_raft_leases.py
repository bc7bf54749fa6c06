"""Reads by lease and reads as of a time: what the promises of peers are worth, and when they end.

The world's timeouts are 100 ms and its heartbeats 10 ms; with clocks off by at most 5 % a promise of 100 ms is good
for 90.476 ms.
"""

from __future__ import annotations

from typing import Any

import pytest
from world import MS, World

from quorumlog._core.bridge.testing_raft import Letter

NOT_LEADER = 10
STALE = 17
SHARE_NS = 90_476_100                  # of 100 ms: (1 - 0.05) / (1 + 0.05), in millionths rounded down


def leasing(count: int = 3, **options: Any) -> World:
    return World(count, leases=True, clock_drift_ppm=50_000, **options)


def led(count: int = 3, **options: Any) -> World:
    """Node 1 leads, and its newest round was answered by all."""
    world = leasing(count, **options)
    world.elect(1)
    answered_round(world)
    return world


def answered_round(world: World) -> None:
    """A round, and its answers at the same moment."""
    world.timeout(1)
    world.deliver(name="heartbeat")
    world.deliver(name="heartbeat-reply")


def lease_left(world: World, number: int = 1) -> int:
    node = world.nodes[number]
    return max(0, int(node.status()["lease_until_ns"]) - node.clock_ns)


def answered(world: World, number: int, read: int, kind: str = "lease") -> tuple[int, int] | None:
    """Asks, and delivers nothing."""
    world.read(number, read, kind)
    return world.reads[read]


def test_a_lease_lasts_as_long_as_the_promise_less_the_drift_of_two_clocks() -> None:
    world = led()
    assert lease_left(world) == SHARE_NS
    assert answered(world, 1, 1) == (1, 0)
    assert not world.network, "nobody was asked"


def test_a_lease_counts_from_the_start_of_the_round_and_not_from_its_answers() -> None:
    world = led()
    world.timeout(1)
    world.deliver(name="heartbeat")
    world.advance(60)
    world.drop(1)
    world.deliver(name="heartbeat-reply")
    assert lease_left(world) == SHARE_NS - 60 * MS


def test_the_oldest_promise_that_a_quorum_needs_decides() -> None:
    world = led(5)
    assert lease_left(world) == SHARE_NS
    world.timeout(1)
    world.deliver(1, 2)
    world.deliver(2, 1)
    assert lease_left(world) == SHARE_NS - 10 * MS, "one of four, and two are needed"
    world.deliver(1, 3)
    world.deliver(3, 1)
    assert lease_left(world) == SHARE_NS


def test_without_a_lease_a_read_by_lease_takes_a_round() -> None:
    world = led()
    world.isolate(1)
    world.advance(91, [1])
    assert lease_left(world) == 0
    assert answered(world, 1, 1) is None
    world.heal()
    world.settle()
    assert world.reads[1] == (1, 0)


def test_a_leader_that_has_committed_nothing_of_its_term_has_no_lease() -> None:
    world = leasing(manual=True)
    for number in world.numbers:
        world.nodes[number].clock_ns += 150 * MS
    world.timeout(1)
    for _ in range(4):                 # until it leads: its blank entry stays unsynced everywhere
        world.deliver(name="pre-vote")
        world.deliver(name="pre-vote-reply")
        if world.role(1) == "candidate":
            world.flush(1)
        world.deliver(name="vote")
        for number in (2, 3):
            world.flush(number)
        world.deliver(name="vote-reply")
    assert world.role(1) == "leader"
    world.deliver(name="heartbeat")
    world.deliver(name="heartbeat-reply")
    assert lease_left(world) == 0
    assert answered(world, 1, 1) is None


def test_without_the_option_nobody_promises_anything() -> None:
    world = World(3)
    world.elect(1)
    world.advance(10)
    world.deliver(name="heartbeat")
    assert {x.fields["holds_ns"] for x in world.waiting(name="heartbeat-reply")} == {0}
    world.settle()
    assert lease_left(world) == 0
    assert answered(world, 1, 1) is None


def ask_for_vote(world: World, number: int, term: int) -> bool:
    """Whether a node gives its vote to node 3, whose log is as good as any."""
    last = world.nodes[number].log[-1]
    letter = Letter.forge(
        "vote", 3, number, term, last_index=last.last + 5, last_term=last.term + 5, proposed=term
    )
    world.hand_over(letter)
    replies = world.drop(number, 3, "vote-reply")
    return any(reply.fields["granted"] for reply in replies)


def test_a_promise_is_about_time_whatever_the_term() -> None:
    """The node learns a later term from somebody and forgets who leads; it must not forget its promise."""
    world = led()
    world.hand_over(Letter.forge("stale-term", 3, 2, 2))
    assert world.nodes[2].status()["term"] == 2
    assert not ask_for_vote(world, 2, 2)
    assert not ask_for_vote(world, 2, 3)
    world.advance(99, [2])
    world.drop()
    assert not ask_for_vote(world, 2, 4)
    world.advance(1, [2])
    world.drop()
    assert ask_for_vote(world, 2, 5)


def test_a_promise_outlives_the_process() -> None:
    world = led()
    world.crash(2)
    world.start(2)
    assert not ask_for_vote(world, 2, 2)
    world.advance(99, [2])
    world.drop()
    assert not ask_for_vote(world, 2, 3)
    world.advance(1, [2])
    world.drop()
    assert ask_for_vote(world, 2, 4)


def test_a_promise_outlives_the_connection() -> None:
    """Without leases a lost connection makes its node campaign soon, and lets it vote at once."""
    world = led()
    before = world.nodes[2].deadline_ns
    world.reachable(2, 1, False)
    assert world.nodes[2].deadline_ns == before
    assert not ask_for_vote(world, 2, 2)


def test_who_is_bound_does_not_campaign() -> None:
    world = led()
    world.crash(2)
    world.start(2)
    assert world.nodes[2].deadline_ns - world.nodes[2].clock_ns >= 100 * MS


def test_nobody_is_elected_while_the_lease_lasts() -> None:
    """The leader is cut off with its clock 5 % slow, theirs 5 % fast."""
    world = led()
    world.isolate(1)
    for _ in range(40):
        before = lease_left(world)
        world.advance(19, [1])
        world.advance(21, [2, 3])
        for _ in range(10):
            world.deliver(2)
            world.deliver(3)
        others = {world.role(2), world.role(3)}
        assert not (lease_left(world) and "leader" in others), before
        if "leader" in others:
            return
    pytest.fail("the others elect a leader in the end")


def test_a_broken_lease_stays_broken_in_its_term() -> None:
    world = led()
    world.break_lease(1)
    assert lease_left(world) == 0
    world.live(50)
    assert lease_left(world) == 0
    assert answered(world, 1, 1) is None
    world.settle()
    assert world.reads[1] == (1, 0)


def test_a_new_leadership_has_a_lease_of_its_own() -> None:
    world = led()
    world.break_lease(1)
    for number in world.numbers:
        world.nodes[number].clock_ns += 200 * MS
    world.timeout(1)                   # the quorum is gone
    assert world.role(1) == "follower"
    world.drop()
    world.elect(1)
    world.live(20)
    assert lease_left(world) > 0


def test_a_follower_asks_by_lease_only_if_that_is_good_enough_for_all() -> None:
    world = led()
    world.read(2, 1, "lease")
    world.read(2, 2, "round")
    world.read(2, 3, "lease")
    world.deliver(2, 1)
    world.deliver(1, 2)                # the first is answered at once; the others' request follows
    assert (world.reads[1], world.reads[2], world.reads[3]) == ((1, 0), None, None)
    asked = world.waiting(2, 1, "read-index")
    assert [letter.fields["by_lease"] for letter in asked] == [0]
    world.settle()
    assert world.reads[2] == world.reads[3] == (1, 0)


# As of when


def age(world: World, number: int, read: int) -> int:
    """How old what a node knows is, by its own clock; the read itself is answered at once."""
    _, status = answered(world, number, read, "as-of") or (0, STALE)
    assert status == 0, status
    return int(world.nodes[number].clock_ns - world.as_of[read])


def test_a_node_that_knows_nothing_says_so() -> None:
    world = World(3)
    assert answered(world, 1, 1, "as-of") == (0, STALE)
    world.elect(1)
    assert answered(world, 2, 2, "as-of") == (0, STALE), "nothing it said was echoed yet"


def test_a_follower_knows_as_of_its_echoed_answer() -> None:
    world = World(3)
    world.elect(1)
    world.live(40, step_ms=10)
    assert age(world, 2, 1) == 20 * MS, "its answer ten ago was echoed now, and the leader's own proof is ten old then"
    world.propose(1, b"x")
    world.settle()
    world.live(20, step_ms=10)
    world.read(2, 2, "as-of")
    assert world.reads[2] == (2, 0)


def test_a_late_heartbeat_is_not_fresh() -> None:
    world = World(3)
    world.elect(1)
    world.live(40, step_ms=10)
    world.advance(10)
    late = world.drop(1, 2, "heartbeat")
    world.settle()
    world.advance(80, [2])
    before = age(world, 2, 1)
    world.hand_over(late[0])
    world.hand_over(late[0])
    assert age(world, 2, 2) >= before - 20 * MS >= 80 * MS


def test_a_leader_that_no_quorum_answers_makes_nobody_fresh() -> None:
    world = World(5)
    world.elect(1)
    world.live(40, step_ms=10)
    for number in (3, 4, 5):
        world.cut(1, number)
        world.cut(2, number)
    begin = age(world, 2, 1)
    world.live(60, step_ms=10)
    assert world.role(1) == "leader"
    assert age(world, 2, 2) >= begin + 50 * MS
    assert age(world, 1, 3) >= 60 * MS


def test_the_leader_is_as_fresh_as_its_newest_answered_round() -> None:
    world = World(3)
    world.elect(1)
    answered_round(world)
    assert age(world, 1, 1) == 0
    world.isolate(1)
    world.advance(35, [1])
    assert age(world, 1, 2) == 35 * MS


def test_an_echo_for_an_earlier_life_says_nothing() -> None:
    world = World(3)
    world.elect(1)
    world.live(40, step_ms=10)
    world.advance(10)
    old = world.drop(1, 2, "heartbeat")[0]
    world.settle()
    world.crash(2)
    world.start(2)
    world.hand_over(old)
    assert answered(world, 2, 1, "as-of") == (0, STALE)
