"""Repair from peers (DESIGN section 5, rule 10): who is asked, what is taken, and what waits until then."""

from __future__ import annotations

import itertools

import pytest
from disk import replay
from world import MS, World

from quorumlog._core.bridge.testing_raft import Letter


def written(count: int = 3, entries: int = 8, **options: object) -> World:
    """A cluster that has committed some entries, and then went down with all nodes."""
    world = World(count, **options)
    world.elect(1)
    for number in range(entries):
        world.propose(1, b"%d" % number)
        world.settle()
    world.live(50)
    for number in world.numbers:
        world.crash(number)
    return world


def status(world: World, number: int) -> dict[str, object]:
    return world.nodes[number].status()


def whole(world: World) -> bool:
    return not any(node.bad for node in world.nodes.values())


def held(world: World, entries: int = 8) -> list[bytes]:
    return [b"%d" % number for number in range(entries)]


@pytest.mark.parametrize("identified", [True, False])
@pytest.mark.parametrize("places", [*list(itertools.permutations((2, 5, 9))), (9, 8, 7), (1, 2, 3), (3, 2, 1)])
def test_three_nodes_with_one_bad_record_each_recover(places: tuple[int, ...], identified: bool) -> None:
    """No leader can be elected before it is repaired, and none is needed for that."""
    world = written()
    for number, place in zip(world.numbers, places, strict=True):
        world.spoil(number, place)
    for number in world.numbers:
        world.start(number, identified=identified)
    assert [status(world, n)["faulty"] for n in world.numbers] == [1, 1, 1]
    world.live(800)
    assert whole(world)
    assert world.leader() is not None
    assert all(world.payloads(n) == held(world) for n in world.numbers)
    assert [status(world, n)["faults_repaired"] for n in world.numbers] == [1, 1, 1]


def test_it_needs_no_leader_and_changes_no_term() -> None:
    world = written()
    world.spoil(1, 3)
    world.spoil(2, 6)
    world.start(1)
    world.start(2)
    before = [status(world, n)["term"] for n in (1, 2)]
    while not whole(world):
        world.live(5)
        assert [status(world, n)["term"] for n in (1, 2)] == before
    assert list(world.leaders) == before[:1], "none since they came back"


def test_while_anything_is_faulty_nobody_campaigns() -> None:
    world = written()
    world.spoil(1, 3)
    world.start(1)
    world.live(1000)
    assert status(world, 1)["elections"] == 0
    assert world.role(1) == "follower"
    assert not world.waiting(1, name="pre-vote")
    world.start(2)
    world.live(1000)
    assert whole(world)
    assert world.leader() is not None


@pytest.mark.parametrize("down", [1, 3])
def test_a_corrupt_last_acknowledged_record_loses_nothing(down: int) -> None:
    """1 and 2 committed index 9, 3 lacks it; 2's copy is bad: it counts where 2 is asked for its vote."""
    world = World(3)
    world.elect(1)
    for number in range(7):
        world.propose(1, b"%d" % number)
        world.settle()
    world.crash(3)
    world.propose(1, b"7")
    world.live(50)
    assert world.committed_last == 9
    world.crash(1)
    world.crash(2)
    world.spoil(2, 9)
    for number in (2, 3) if down == 1 else (1, 2):
        world.start(number)
    world.live(2000)
    if down == 1:
        assert world.leader() is None, "only node 1 has an intact copy: wait for it"
        assert all(world.nodes[n].commit < 9 for n in (2, 3))
        world.start(1)
        world.live(2000)
    assert whole(world)
    leader = world.leader()
    assert leader is not None
    world.propose(leader, b"on")
    world.live(100)
    assert world.payloads(2) == [*held(world), b"on"]


def test_a_vote_is_refused_to_a_log_that_lacks_the_faulty_entry() -> None:
    world = written()
    world.spoil(1, 9)
    world.start(1)
    for last, last_term, granted in [(8, 1, 0), (9, 1, 1), (4, 2, 1)]:
        world.network.clear()
        world.nodes[1].clock_ns += 300 * MS
        term = int(str(status(world, 1)["term"])) + 1
        world.nodes[2].log = []
        letter = Letter.forge("pre-vote", 2, 1, term - 1, last_index=last, last_term=last_term, proposed=term)
        world.hand_over(letter)
        (reply,) = [x for x in world.network if x.name == "pre-vote-reply"]
        assert reply.fields["granted"] == granted, (last, last_term)


def leading(spoilt: int, *places: int) -> World:
    """1 leads and 2 follows; `spoilt` has come back with bad records, and its fetches are held up."""
    world = World(3)
    world.elect(1)
    for number in range(8):
        world.propose(1, b"%d" % number)
        world.settle()
    world.crash(spoilt)
    world.spoil(spoilt, *places)
    world.start(spoilt)
    return world


def test_an_acknowledgement_stops_before_the_first_faulty_entry() -> None:
    world = leading(3, 4)
    world.drop(3, name="fetch")
    world.propose(1, b"more")
    world.deliver(1, 3)
    world.reachable(1, 3, False)
    world.reachable(1, 3, True)
    world.deliver(1, 3)
    replies = world.waiting(3, 1, "append-reply")
    assert replies
    assert {x.fields["match"] - x.fields["withheld"] for x in replies} == {3}
    assert max(x.fields["match"] for x in replies) >= 9, "what was received is said, so that the window moves"
    world.live(300)
    assert whole(world)
    assert world.payloads(3) == [*held(world), b"more"]


def test_a_follower_with_a_fault_is_no_part_of_a_quorum() -> None:
    world = leading(3, 4)
    world.crash(2)
    world.cut(3, 2)
    world.drop(name="fetch")
    world.drop(name="fetch-reply")
    before = world.nodes[1].commit
    world.propose(1, b"more")
    world.drop(3, name="fetch")
    for _ in range(8):
        world.drop(3, name="fetch")
        world.deliver()
    assert world.nodes[1].commit == before
    world.live(300)
    assert world.nodes[1].commit > before, "once it is repaired"


def test_a_leader_repairs_what_it_finds() -> None:
    world = leading(3, 9)
    world.live(200)
    world.spoil(1, 4)
    world.find(1, 4)
    term = status(world, 1)["term"]
    assert status(world, 1)["faulty"] == 1
    world.propose(1, b"while it is faulty")
    world.live(100)
    assert whole(world)
    assert (world.role(1), status(world, 1)["term"]) == ("leader", term)
    assert world.payloads(2)[-1] == b"while it is faulty"


def test_a_leader_that_can_not_repair_steps_down() -> None:
    world = World(3)
    world.elect(1)
    world.propose(1, b"x")
    world.settle()
    world.spoil(1, 2)
    world.find(1, 2)
    for _ in range(30):
        world.drop(1, name="fetch")
        world.advance(5)
        world.drop(1, name="fetch")
        world.deliver()
    assert world.role(1) != "leader"
    world.live(1000)
    assert whole(world)
    assert world.leader() is not None


def test_a_leader_never_sends_from_a_bad_record() -> None:
    world = World(3, cache_limit_bytes=0)
    world.elect(1)
    for number in range(8):
        world.propose(1, b"%d" % number)
        world.settle()
    for number in (2, 3):
        world.crash(number)
    world.spoil(1, 4)
    world.nodes[3].disk = world.nodes[3].disk[:4]
    world.start(3)
    world.live(60)
    assert status(world, 1)["faulty"] == 1, "found when it was read for 3"
    assert world.end_on_disk(3) == 3
    world.live(1000)
    assert world.end_on_disk(3) == 3
    assert world.leader() is None
    world.start(2)
    world.live(1500)
    assert world.end_on_disk(3) >= 9
    assert whole(world)


def test_a_lost_request_is_asked_again_of_another_peer() -> None:
    world = written()
    world.spoil(3, 4)
    for number in world.numbers:
        world.start(number)
    (first,) = world.drop(3, name="fetch")
    world.timeout(3)
    world.timeout(3)
    (second,) = world.waiting(3, name="fetch")
    assert second.target != first.target
    world.settle()
    assert whole(world)


def test_a_peer_that_has_a_bad_copy_itself_says_so_and_the_next_is_asked() -> None:
    world = written(5)
    for number in (1, 2, 3):
        world.spoil(number, 4)
    for number in world.numbers:
        world.start(number)
    world.settle()
    world.live(1500)
    assert whole(world)


def test_a_bad_copy_found_for_a_peer_is_repaired_too() -> None:
    world = written()
    world.spoil(3, 4)
    for number in world.numbers:
        world.start(number)
    world.spoil(2, 4)
    world.live(800)
    assert whole(world)
    assert status(world, 2)["faults_found"] == 1
    assert all(world.payloads(n) == held(world) for n in world.numbers)


@pytest.mark.parametrize("wrong", ["term", "body", "place", "nothing"])
def test_what_is_not_the_batch_is_not_taken(wrong: str) -> None:
    world = written()
    world.spoil(3, 4)
    world.start(3)
    (asked,) = world.drop(3, name="fetch")
    right = next(batch for batch in replay(world.nodes[1].disk)[2] if batch.first == 4)
    term, first, payload = right.term, 4, right.payloads[0]
    term += wrong == "term"
    first += wrong == "place"
    payload += b"!" if wrong == "body" else b""
    batch = world.pool.make([payload], term=term, first=first, stamp=True)
    batches = [] if wrong == "nothing" else [batch]
    reply = Letter.forge("fetch-reply", asked.target, 3, 1, index=4, found=1, batches=batches)
    world.hand_over(reply)
    assert world.nodes[3].bad
    assert status(world, 3)["peer_errors"] == 1


def test_requests_in_flight_are_bounded() -> None:
    world = written(entries=40)
    world.spoil(3, *range(2, 40))
    world.start(3)
    asked = world.waiting(3, name="fetch")
    assert len(asked) == 4
    for number in (1, 2):
        world.start(number)
    while world.network:
        world.hand_over(world.take(world.network[0]))
        assert len(world.waiting(3, name="fetch") + world.waiting(target=3, name="fetch-reply")) <= 4
    assert whole(world)


def test_a_crash_before_the_repair_is_durable_repairs_again() -> None:
    world = written(manual=True)
    world.spoil(3, 4)
    for number in world.numbers:
        world.start(number)
    world.deliver(3)
    world.deliver(target=3)
    assert any("repairs" in line for line in world.story)
    assert status(world, 3)["faulty"] == 1, "not before it is durable"
    world.crash(3)
    world.start(3)
    world.live(500)
    assert whole(world)


def test_what_a_leader_truncates_needs_no_repair() -> None:
    world = World(3)
    for number in world.numbers:
        world.crash(number)
    world.fill(1, [1, 1, 1], term=2)
    world.spoil(1, 3)
    world.start(1)
    batches = [world.pool.make([b"new"], term=3, first=3, stamp=True)]
    world.hand_over(Letter.forge("append", 2, 1, 3, prev_index=2, prev_term=1, batches=batches))
    assert status(world, 1)["faulty"] == 0
    (reply,) = world.waiting(1, 2, "append-reply")
    assert (reply.fields["match"], reply.fields["withheld"]) == (3, 0)


def test_a_peer_of_another_term_is_answered_and_learns_nothing() -> None:
    world = written()
    world.start(1)
    before = status(world, 1)
    for term in (1, 50):
        world.hand_over(Letter.forge("fetch", 2, 1, term, index=4, entry_term=1))
    found = world.waiting(1, 2, "fetch-reply")
    assert [x.fields["found"] for x in found] == [1, 1]
    assert status(world, 1) == before


def test_an_entry_of_another_term_is_not_an_answer() -> None:
    world = written()
    world.start(1)
    world.hand_over(Letter.forge("fetch", 2, 1, 1, index=4, entry_term=7))
    world.hand_over(Letter.forge("fetch", 2, 1, 1, index=400, entry_term=1))
    assert [x.fields["found"] for x in world.waiting(1, 2, "fetch-reply")] == [0, 0]


def test_a_single_voter_does_not_open_with_something_faulty() -> None:
    world = World(1)
    world.advance(10)
    world.propose(1, b"x")
    world.crash(1)
    world.spoil(1, 2)
    with pytest.raises(ValueError, match="make no sense"):
        world.start(1)


@pytest.mark.parametrize("spoilt", [(1, 1, 1), (2, 0, 2), (3, 1, 0)])
@pytest.mark.parametrize("torn", [(1, 0, 0), (1, 1, 1), (0, 2, 1)])
def test_torn_tails_and_bad_records_together(spoilt: tuple[int, ...], torn: tuple[int, ...]) -> None:
    """Each index before the tails is intact on a majority: everything committed there survives."""
    world = written()
    reached = {}
    for number, count in zip(world.numbers, torn, strict=True):
        reached[number] = world.tear(number, count) if count else 0
    places = iter((2, 3, 4, 5, 6))
    for number, count in zip(world.numbers, spoilt, strict=True):
        world.spoil(number, *itertools.islice(places, count))
    for number in world.numbers:
        world.start(number, unproved_last=reached[number])
    world.committed = [batch for batch in world.committed if batch[0] <= 9 - max(torn)]
    world.live(3000)
    assert whole(world)
    leader = world.leader()
    assert leader is not None
    world.propose(leader, b"on")
    world.live(100)
    assert all(world.payloads(n)[: 8 - max(torn)] == held(world)[: 8 - max(torn)] for n in world.numbers)
    assert all(world.payloads(n)[-1] == b"on" for n in world.numbers)
