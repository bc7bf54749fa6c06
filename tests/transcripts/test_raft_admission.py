"""A node that may have forgotten what it promised (A-R28): it listens until a leader's barrier admits it."""

from __future__ import annotations

import pytest
from world import MS, World

from quorumlog._core.bridge.testing_raft import Letter


def status(world: World, number: int) -> dict[str, object]:
    return world.nodes[number].status()


def working(count: int = 3, entries: int = 6, **options: object) -> World:
    world = World(count, **options)
    world.elect(1)
    for number in range(entries):
        world.propose(1, b"%d" % number)
        world.settle()
    return world


def reborn(world: World, number: int, *, lost: bool = False) -> None:
    world.crash(number)
    if not lost:
        world.wipe(number)
    world.start(number, lost=lost)


def listening(world: World, number: int) -> bool:
    return bool(status(world, number)["listening"])


@pytest.mark.parametrize("lost", [False, True])
def test_it_listens_until_it_has_caught_up_past_the_barrier_and_is_a_voter_again(lost: bool) -> None:
    world = working()
    before = world.nodes[1].commit
    reborn(world, 3, lost=lost)
    assert listening(world, 3)
    world.live(100)
    assert not listening(world, 3)
    assert world.payloads(3) == world.payloads(1)
    assert world.nodes[1].commit == before + 1, "the barrier is a blank batch"
    # For good, and with a say: 1 and 3 are a quorum.
    world.crash(3)
    world.start(3)
    assert not listening(world, 3)
    world.crash(2)
    world.propose(1, b"with 3")
    world.live(50)
    assert world.payloads(3)[-1] == b"with 3"
    assert world.nodes[1].commit == before + 2


def test_a_wiped_node_elects_nobody_who_lacks_what_it_acknowledged() -> None:
    """1 and 2 committed; 2 is wiped and 1 down: 3 must not be elected with 2's vote."""
    world = working()
    world.crash(3)
    world.propose(1, b"without 3")
    world.live(30)
    world.crash(1)
    reborn(world, 2)
    world.start(3)
    world.live(3000)
    assert world.leader() is None
    assert listening(world, 2)
    world.start(1)
    world.live(1000)
    assert world.leader() is not None
    assert not listening(world, 2)
    assert all(b"without 3" in world.payloads(n) for n in world.numbers)


def test_it_answers_no_vote_request_at_all() -> None:
    """Not even with a no: where its log ends is no evidence of what it held."""
    world = working()
    world.crash(1)
    reborn(world, 3)
    world.network.clear()
    for kind in ("pre-vote", "vote"):
        for tail in (0, 1):
            world.nodes[3].clock_ns += 500 * MS
            term = 5 if kind == "vote" else 4
            world.hand_over(
                Letter.forge(kind, 2, 3, term, last_index=99, last_term=4, proposed=5, tail=tail)
            )
    assert not world.network
    assert status(world, 3)["term"] == 0


def test_it_does_not_campaign() -> None:
    world = working()
    world.crash(1)
    world.crash(2)
    reborn(world, 3)
    world.live(1000)
    assert status(world, 3)["elections"] == 0


@pytest.mark.parametrize("lost", [False, True])
def test_without_a_quorum_of_others_there_is_no_barrier(lost: bool) -> None:
    """Only 1 and the listening 3 are up: what 3 holds counts for nothing, and 1 doesn't lead for long."""
    world = working()
    world.crash(2)
    before = world.nodes[1].commit
    reborn(world, 3, lost=lost)
    world.live(60)
    world.propose(1, b"alone")
    world.live(1000)
    assert listening(world, 3)
    assert world.nodes[1].commit == before
    assert world.role(1) != "leader", "its quorum is not heard"
    world.start(2)
    world.live(1000)
    assert not listening(world, 3)


def test_its_answers_confirm_no_read() -> None:
    """It may have voted for a leader of a later term and forgotten that."""
    world = working()
    world.crash(2)
    reborn(world, 3)
    world.live(20)
    world.read(1, 77)
    world.live(60)
    assert world.reads[77] is None or world.reads[77][1] != 0


def test_a_restart_in_the_middle_does_not_end_it() -> None:
    world = working(manual=True)
    reborn(world, 3)
    for _ in range(40):
        assert listening(world, 3)
        world.advance(3)
        world.deliver()
        for number in (1, 2):
            world.flush(number)
        world.flush(3, 1)
        if world.nodes[3].disk and world.end_on_disk(3) >= 3:
            break
    assert any(record.kind == "hard state" for _, record in world.nodes[3].disk)
    world.crash(3)
    world.nodes[3].rejoins = False  # its hard state alone has to say so
    world.start(3)
    assert listening(world, 3)
    world.live(150)
    assert not listening(world, 3)


def test_it_is_admitted_only_when_the_barrier_is_durable_on_its_own_disk() -> None:
    world = working(manual=True)
    reborn(world, 3)
    for _ in range(60):
        world.advance(3, [1, 2])
        for number in (1, 2):
            world.flush(number)
        if world.nodes[3].pending and world.nodes[3].pending[0][1].kind == "hard state":
            world.flush(3, 1)
        world.deliver()
    barrier = status(world, 1)["last"]
    assert status(world, 3)["last"] == barrier
    assert status(world, 1)["commit"] == barrier
    assert world.end_on_disk(3) < barrier
    assert listening(world, 3)
    world.live(100)
    assert not listening(world, 3)


def test_acknowledgements_of_its_former_life_count_no_more() -> None:
    world = working()
    world.cut(1, 2)
    record = world.propose(1, b"x")
    world.deliver(1, 3)
    (late,) = world.drop(3, 1, "append-reply")
    assert late.fields["match"] - late.fields["withheld"] == record.first
    before = world.nodes[1].commit
    reborn(world, 3)
    while not world.waiting(3, 1, "barrier"):
        world.advance(5, [1])
        world.deliver(1, 3)
    world.deliver(3, 1, "barrier")
    world.hand_over(late)
    world.hand_over(late)
    assert world.nodes[1].commit == before
    world.heal()
    world.live(200)
    assert not listening(world, 3)
    assert world.payloads(3)[-1] == b"x"


def test_a_change_of_leaders_needs_another_barrier() -> None:
    world = working()
    reborn(world, 3)
    while not world.waiting(3, 1, "barrier"):
        world.advance(5, [1])
        world.deliver(1, 3)
    world.deliver(3, 1, "barrier")
    world.settle()
    (asked,) = world.waiting(3, 1, "barrier") or [None]
    while asked is None or not world.waiting(1, 3, "barrier-reply"):
        world.advance(5, [1])
        world.deliver(1, 2)
        world.deliver(2, 1)
        world.deliver(3, 1)
        world.deliver(1, 3, "heartbeat")
        asked = next(iter(world.waiting(3, 1, "barrier")), asked)
    (late,) = world.drop(1, 3, "barrier-reply")[:1]
    world.crash(1)
    world.network.clear()
    world.start(1)
    for number in (2, 3):
        world.nodes[number].clock_ns += 300 * MS
    world.elect(1)
    assert status(world, 3)["term"] == 2
    while listening(world, 3):
        world.hand_over(late)  # of the former term
        world.hand_over(Letter.forge("barrier-reply", 1, 3, 2, request=asked.fields["request"], index=1))
        world.live(5)
    kinds = [record.kind for _, record in world.nodes[3].disk]
    assert kinds[-1] == "hard state"
    assert world.nodes[3].hard == (2, 1)
    barriers = [batch for batch in world.nodes[3].log if batch.kind == "blank" and batch.term == 2]
    assert len(barriers) == 2, "of the election, and the barrier"


def test_once_admitted_it_votes_for_nobody_else_in_that_term() -> None:
    world = working()
    reborn(world, 3)
    world.live(100)
    assert not listening(world, 3)
    term, leader = world.nodes[3].hard
    assert (term, leader) == (1, 1)


def test_two_of_five_are_admitted() -> None:
    world = working(5)
    for number in (4, 5):
        world.crash(number)
        world.wipe(number)
    for number in (4, 5):
        world.start(number)
    world.live(200)
    assert not listening(world, 4)
    assert not listening(world, 5)
    world.crash(2)
    world.crash(3)
    world.propose(1, b"with both")
    world.live(100)
    assert world.payloads(5)[-1] == b"with both"


def test_two_of_three_are_not() -> None:
    world = working()
    for number in (2, 3):
        world.crash(number)
        world.wipe(number)
    for number in (2, 3):
        world.start(number)
    world.live(2000)
    assert world.leader() is None
    assert listening(world, 2)
    assert listening(world, 3)


def test_barriers_are_bounded() -> None:
    """However often a peer asks with another number: one that is not committed at a time."""
    world = working(manual=True)
    last = int(str(status(world, 1)["last"]))
    for request in range(1, 100):
        world.hand_over(Letter.forge("barrier", 3, 1, 1, request=request))
    assert status(world, 1)["last"] == last + 1


def test_a_bad_batch_is_repaired_before_it_is_admitted() -> None:
    world = working()
    world.crash(3)
    world.spoil(3, 4)
    world.start(3, lost=True)
    for _ in range(40):
        world.advance(5)
        world.drop(3, name="fetch")
        world.settle()
        world.drop(3, name="fetch")
    assert listening(world, 3) or not world.nodes[3].bad
    world.live(300)
    assert not listening(world, 3)
    assert not world.nodes[3].bad
