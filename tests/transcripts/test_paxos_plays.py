"""The Paxos cases of the literature (A-P1 to A-P7), played with the compiled protocol."""

from __future__ import annotations

import pytest
from paxos_world import CORE, World


def elected(world: World, node: int, group: tuple[int, ...] = (1, 2, 3)) -> None:
    world.rest()
    world.campaign(node)
    world.settle(group)
    assert world.leads(node)


def values(world: World) -> dict[int, bytes]:
    return {slot: value for slot, (kind, value) in world.chosen.items() if kind == "value"}


def test_a_value_is_chosen_and_known() -> None:
    world = World()
    elected(world, 1)
    world.propose(1, b"v")
    world.settle()
    assert values(world) == {1: b"v"}
    assert world.commit(1) == 1


def test_a_p1_nothing_is_said_before_it_is_durable() -> None:
    """atlasdb #1508: an acceptor that crashes after its answer, and before its disk, would accept an older ballot."""
    world = World()
    world.campaign(1)
    world.flush(1)
    world.deliver(world.find("prepare", target=2))
    assert not [x for x in world.letters if x.name == "promise"]
    world.crash(2)
    assert not [x for x in world.letters if x.name == "promise"]
    elected(world, 1)
    world.propose(1, b"v")
    world.deliver(world.find("accept", target=2))
    assert not [x for x in world.letters if x.name == "accepted"]
    world.flush(2)
    assert [x for x in world.letters if x.name == "accepted"]


def test_a_p2_a_ballot_is_never_used_twice() -> None:
    """phxpaxos #145: proposed, restarted, and old promises come again."""
    world = World()
    world.campaign(1)
    world.flush(1)
    world.deliver(world.find("prepare", target=3))
    world.flush(3)
    promise = world.find("promise", sender=3)
    world.deliver(promise)
    assert world.leads(1)
    world.propose(1, b"first")
    world.flush(1)
    world.deliver(world.find("accept", target=3))
    world.flush(3)
    before = world.nodes[0].status[1]
    world.crash(1)
    world.campaign(1)
    assert world.nodes[0].status[1] > before
    world.deliver(promise, again=True)
    world.flush(1)
    assert not world.leads(1)
    world.settle()
    world.propose(1, b"second")
    world.settle()
    assert world.chosen[1] == ("value", b"first")


def test_a_p3_every_slot_is_recovered_over_all_answers_and_pages() -> None:
    """A slot that one acceptor alone reports, behind others; and a gap, which gets a no-op."""
    world = World()
    elected(world, 1)
    for value in (b"a", b"b", b"c"):
        world.propose(1, value)
    world.flush(1)
    accepts = [x for x in world.letters if x.name == "accept"]
    for letter in accepts:
        if letter.target == 2 and letter.batches[0].told[1] != 2:
            world.deliver(letter)
    world.flush(2)
    world.letters = []
    elected(world, 3, (2, 3))
    world.settle((2, 3))
    assert [world.chosen[slot] for slot in (1, 2, 3)] == [("value", b"a"), ("no-op", b""), ("value", b"c")]


def test_a_p3_the_highest_ballot_counts_and_not_the_last_heard() -> None:
    """Node 3 has the chosen value itself, and hears of an older one afterwards."""
    world = World()
    elected(world, 1)
    world.propose(1, b"old")
    world.flush(1)
    world.letters = []
    elected(world, 2, (2, 3))
    world.propose(2, b"new")
    world.settle((2, 3))
    assert world.chosen[1] == ("value", b"new")
    world.letters = []
    world.crash(3)                     # so that it doesn't know what is chosen
    elected(world, 3, (1, 3))
    assert values(world) == {1: b"new"}


def test_a_p4_an_empty_promise_of_a_higher_node_overrides_nothing() -> None:
    world = World()
    elected(world, 1)
    world.propose(1, b"v")
    world.flush(1)
    world.deliver(world.find("accept", target=2))
    world.flush(2)
    world.letters = []
    elected(world, 3, (2, 3))
    assert world.chosen[1] == ("value", b"v")


def test_a_p5_accepts_of_two_ballots_are_not_two_of_one() -> None:
    world = World()
    elected(world, 1)
    world.letters = []
    world.propose(1, b"one")
    world.flush(1)
    world.letters = []
    elected(world, 3, (2, 3))
    world.propose(3, b"other")
    world.flush(3)
    assert world.chosen == {}
    assert world.commit(3) == 0
    world.settle((2, 3))
    assert values(world) == {1: b"other"}


def test_a_p6_an_accept_is_a_promise() -> None:
    """An acceptor that never saw the prepare request, and then one of a lower ballot."""
    world = World()
    elected(world, 1, (1, 2))
    world.letters = []
    world.propose(1, b"old")
    old = world.find("accept", target=3)
    world.letters = []
    elected(world, 2, (1, 2))
    world.propose(2, b"new")
    world.deliver(world.find("accept", sender=2, target=3))
    world.flush(3)
    world.deliver(old, again=True)
    world.flush(3)
    assert {record.told[2] for record in world.disks[2] if record.told[0] == "value"} == {world.nodes[1].status[1]}
    assert world.find("reject", sender=3, target=1)


def test_a_p7_a_working_leader_is_left_alone() -> None:
    """A node that was cut off raises no ballot while others hear the leader."""
    world = World(carried=("prepare", "promise", "accept", "accepted", "reject", "heartbeat", "heartbeat-reply",
                           "canvass", "canvass-reply"))
    elected(world, 1)
    before = world.nodes[0].status[1]
    world.nodes[2].time(world.now_ns)
    writes, letters, _ = world.nodes[2].time(world.now_ns + 250_000_000)
    assert [x.name for x in letters] == ["canvass", "canvass"]
    assert not [record for _, record in writes]
    for letter in letters:
        _, answers, _ = world.nodes[letter.target - 1].receive(world.now_ns, letter)
        world.nodes[2].receive(world.now_ns + 250_000_000, answers[0])
    assert world.nodes[2].status[1] == before
    assert world.leads(1)


def test_a_learner_takes_no_value_of_an_earlier_ballot_for_the_chosen_one() -> None:
    """Node 1 has its own value in slot 1; another is chosen there, and it hears only that slot 1 is chosen."""
    world = World(carried=("prepare", "promise", "accept", "accepted", "reject", "heartbeat", "learn", "taught"))
    elected(world, 1)
    world.letters = []
    world.propose(1, b"mine")
    world.flush(1)
    world.letters = []
    elected(world, 3, (2, 3))
    world.propose(3, b"theirs")
    world.settle((2, 3))
    world.letters = []
    world.nodes[2].time(world.now_ns)
    world._took(3, world.nodes[2].time(world.now_ns + 20_000_000))
    world.deliver(world.find("heartbeat", sender=3, target=1))
    assert world.commit(1) == 0
    world.settle()
    assert world.commit(1) == 1
    assert [record.told[3] for record in world.disks[0] if record.told[0] == "value"] == [b"mine", b"theirs"]


@pytest.mark.parametrize("crashed", [1, 2, 3])
def test_any_node_may_win_and_recovers_what_was_chosen(crashed: int) -> None:
    world = World()
    elected(world, 1)
    for value in (b"a", b"b"):
        world.propose(1, value)
    world.settle()
    world.crash(crashed)
    for node in (3, 2, 1):
        elected(world, node)
        world.settle()
    assert values(world) == {1: b"a", 2: b"b"}


def test_a_r14_a_read_waits_for_a_round_that_began_after_it() -> None:
    world = World(carried=(*CORE, "heartbeat", "heartbeat-reply"))
    elected(world, 1)
    world.settle()
    world.read(1, 5)
    assert world.answered(1) == []
    world.read(1, 6)                   # while the round of the first is under way
    world.deliver(world.find("heartbeat", target=2))
    world.flush(2)
    world.deliver(world.find("heartbeat-reply", sender=2))
    assert world.answered(1) == [5]
    world.settle()
    assert world.answered(1) == [5, 6]


def test_a_r14_a_deposed_leader_answers_no_read() -> None:
    world = World(carried=(*CORE, "heartbeat", "heartbeat-reply"))
    elected(world, 1)
    world.letters = []
    world.campaign(3)
    world.settle((2, 3))
    assert world.leads(3)
    assert world.leads(1)
    world.read(1, 5)
    world.settle()
    assert world.answered(1) == []
    assert not world.leads(1)
