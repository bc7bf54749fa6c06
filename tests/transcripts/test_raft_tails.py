"""Unproved tails (DESIGN section 5, rule 4): what settles one, and what does not."""

from __future__ import annotations

import pytest
from world import World

from quorumlog._core.bridge.testing_raft import Letter


def torn(count: int = 3, *, term: int = 5, unproved_last: int = 4) -> World:
    """Node 1 has two entries intact and a tail to `unproved_last`; the others are letters only."""
    world = World(count)
    for number in world.numbers:
        world.crash(number)
    world.fill(1, [1, 1], term=term)
    world.start(1, unproved_last=unproved_last)
    return world


def unproved(world: World) -> int:
    return int(world.nodes[1].status()["unproved_last"])


def kinds(world: World) -> list[str]:
    return [record.kind for _, record in world.nodes[1].disk]


def ask(world: World, sender: int, term: int, last: int, *, tail: bool = True) -> list[Letter]:
    """A vote request, and node 1's answer."""
    world.network.clear()
    world.hand_over(
        Letter.forge("vote", sender, 1, term, last_index=last, last_term=1, proposed=term, tail=tail)
    )
    return list(world.network)


def append(world: World, first: int, terms: list[int], *, term: int, prev_term: int = 1) -> None:
    batches = [
        world.pool.make([b"%d" % (first + i)], term=t, first=first + i, stamp=True)
        for i, t in enumerate(terms)
    ]
    world.hand_over(
        Letter.forge("append", 2, 1, term, prev_index=first - 1, prev_term=prev_term, batches=batches)
    )


def test_it_grants_nobody_whose_log_is_shorter_than_its_tail() -> None:
    world = torn()
    for term, last, granted in [(6, 3, 0), (7, 4, 1)]:
        (reply,) = ask(world, 2, term, last, tail=False)
        assert reply.fields["granted"] == granted
        if not granted:
            assert unproved(world) == 0, "and yet: of two others one is known not to hold it"
            world = torn()


def test_nobody_grants_a_tail_round() -> None:
    world = World(3)
    world.network.clear()
    world.hand_over(Letter.forge("vote", 2, 1, 3, last_index=9, last_term=2, proposed=3, tail=1))
    (reply,) = world.network
    assert reply.fields["granted"] == 0
    assert (world.nodes[1].status()["term"], world.nodes[1].status()["vote"]) == (3, 0)


@pytest.mark.parametrize("term", [5, 6])
def test_only_a_new_term_is_evidence(term: int) -> None:
    """In the old one, a leader may still be there and replicate what the answering node lacks."""
    world = torn()
    ask(world, 2, term, 2)
    ask(world, 3, term, 2)
    assert unproved(world) == (4 if term == 5 else 0)
    assert ("truncate" in kinds(world)) == (term == 6)


def test_evidence_of_an_earlier_round_does_not_add_up() -> None:
    world = torn(5)
    ask(world, 2, 6, 2)
    ask(world, 3, 7, 2)
    assert unproved(world) == 4, "three of five may hold it: one was heard in this term"
    ask(world, 4, 7, 2)
    assert unproved(world) == 0


def test_the_same_voter_twice_is_one_voter() -> None:
    world = torn(5)
    for _ in range(3):
        ask(world, 2, 6, 2)
    assert unproved(world) == 4


def test_those_whose_logs_reach_as_far_may_hold_it() -> None:
    world = torn()
    ask(world, 2, 6, 4)
    ask(world, 3, 6, 9)
    assert unproved(world) == 4
    world.timeout(1)
    assert world.role(1) == "pre-candidate"
    assert [x.fields["tail"] for x in world.waiting(1, name="pre-vote")] == [1, 1]


def test_a_leader_that_reaches_its_end_settles_it() -> None:
    world = torn()
    append(world, 3, [5], term=5)
    assert unproved(world) == 4, "of the same term and short of the end: nothing is known yet"
    assert kinds(world)[-2:] == ["truncate", "entries"]
    append(world, 4, [5], term=5, prev_term=5)
    assert unproved(world) == 0
    assert kinds(world).count("truncate") == 1


def test_an_entry_of_a_later_term_within_it_settles_it() -> None:
    world = torn()
    append(world, 3, [6], term=6)
    assert unproved(world) == 0
    assert kinds(world)[-3:] == ["hard state", "truncate", "entries"]


def test_a_conflict_before_it_drops_it_too() -> None:
    world = torn()
    append(world, 2, [6], term=6)
    assert unproved(world) == 0
    assert kinds(world).count("truncate") == 1
    assert world.nodes[1].status()["last"] == 2


def test_a_single_voter_drops_it() -> None:
    world = World(1)
    world.crash(1)
    world.nodes[1].disk = []
    world.fill(1, [1, 1], term=1)
    world.start(1, unproved_last=3)
    assert world.role(1) == "follower"
    world.advance(10)
    assert world.role(1) == "leader"
    assert kinds(world).index("truncate") == 4
    assert world.nodes[1].status()["commit"] == 3


def test_the_same_leader_repairs_a_follower_that_lost_what_it_acknowledged() -> None:
    world = World(3)
    world.elect(1)
    for payload in (b"a", b"b", b"c"):
        world.propose(1, payload)
        world.settle()
    world.crash(3)
    reached = world.tear(3, 2)
    world.start(3, unproved_last=reached)
    world.live(90)
    assert world.role(1) == "leader"
    assert world.nodes[1].status()["term"] == 1
    assert world.payloads(3) == [b"a", b"b", b"c"]
    assert world.nodes[3].status()["unproved_last"] == 0


@pytest.mark.parametrize("torn_nodes", [[1], [1, 2], [1, 2, 3], [2, 3], [3]])
@pytest.mark.parametrize("down", [0, 1, 2, 3])
def test_progress_comes_back_with_two_of_three(torn_nodes: list[int], down: int) -> None:
    world = World(3)
    for number in world.numbers:
        world.crash(number)
        world.nodes[number].disk = []
        world.fill(number, [1, 1] if number in torn_nodes else [1, 1, 1], term=1)
    for number in world.numbers:
        if number != down:
            world.start(number, unproved_last=3 if number in torn_nodes else 0)
    world.live(2000)
    leader = world.leader()
    assert leader is not None
    world.propose(leader, b"on")
    world.live(100)
    assert all(world.payloads(n)[-1] == b"on" for n in world.numbers if n != down)


def test_memory_for_own_records_is_bounded() -> None:
    """A peer that raises the term without end, while the disk stands still."""
    world = World(3, manual=True)
    for term in range(1, 6000):
        world.hand_over(Letter.forge("heartbeat", 2, 1, term, round=1))
    held = int(world.nodes[1].status()["term"])
    assert 1000 < held < 5999, "what there is no memory for is as good as lost"
    world.propose(1, b"x")
    assert world.refusals[-1] == (1, 11)
    world.flush(1)
    world.nodes[1].disk = world.nodes[1].disk[-1:]
    world.hand_over(Letter.forge("heartbeat", 2, 1, 7000, round=1))
    assert world.nodes[1].status()["term"] == 7000
