"""Changes of the membership: joint consensus, learners, removal.

Hard cases A-M1, A-M3 to A-M5, A-M12, A-M13, A-R9 and A-R22.
"""

from __future__ import annotations

import random

import pytest
from node import halves_of
from world import MS, World

from quorumlog._core.bridge.testing_raft import Letter

OK, USAGE, NOT_LEADER, BUSY, AGAIN = 0, 1, 10, 14, 51


def led(count: int, voters: list[int], **options: object) -> World:
    world = World(count, voters=voters, **options)
    world.elect(voters[0])
    return world


def voters(world: World, number: int) -> set[int]:
    status = world.nodes[number].status()
    assert status["stage"] != "joint"
    return {node for node, (role, _, _) in status["members"].items() if role == "voter"}


def learners(world: World, number: int) -> set[int]:
    members = world.nodes[number].status()["members"]
    return {node for node, (role, _, _) in members.items() if role == "learner"}


def finish(world: World, leader: int, goals: dict[int, str], *, whole: bool = False) -> None:
    """Asks until it is so."""
    for _ in range(200):
        if world.change(leader, goals, whole=whole) == OK:
            return
        world.live(5)
    raise AssertionError(world.nodes[leader].status())


def until_stage(world: World, leader: int, stage: str, *, deaf: int = 0) -> None:
    """Letter by letter; `deaf` hears no append of a joint membership or later."""
    for _ in range(2000):
        status = world.nodes[leader].status()
        if status["stage"] == stage:
            return
        letters = [x for x in world.network if x.target != deaf or x.name != "append" or status["stage"] != "joint"]
        if letters:
            world.hand_over(world.take(letters[0]))
        else:
            world.timeout(leader)
    raise AssertionError(world.nodes[leader].status())


def test_a_group_grows_and_shrinks() -> None:
    world = led(5, [1])
    world.propose(1, b"a")
    finish(world, 1, {2: "voter", 3: "voter"})
    assert voters(world, 1) == {1, 2, 3}
    world.propose(1, b"b")
    finish(world, 1, {4: "voter", 5: "voter"})
    assert voters(world, 1) == {1, 2, 3, 4, 5}
    world.live(50)
    for number in world.numbers:
        assert voters(world, number) == {1, 2, 3, 4, 5}
        assert world.payloads(number) == [b"a", b"b"]
    finish(world, 1, {1: "voter", 5: "voter", 4: "voter"}, whole=True)
    finish(world, 1, {4: "gone", 5: "gone"})
    assert voters(world, 1) == {1}
    world.propose(1, b"c")
    world.settle()
    assert world.payloads(1) == [b"a", b"b", b"c"]


def test_a_learner_gets_the_log_and_has_no_say() -> None:
    world = led(4, [1, 2, 3])
    finish(world, 1, {4: "learner"})
    assert learners(world, 1) == {4}
    world.cut(1, 2)
    world.cut(1, 3)
    world.propose(1, b"a")
    world.settle()
    assert world.nodes[4].log[-1].payloads == [b"a"]
    assert b"a" not in world.payloads(1)
    world.heal()
    world.live(100)
    assert world.role(4) == "learner"
    assert world.payloads(4) == [b"a"]


def test_a_learner_never_campaigns() -> None:
    world = led(4, [1, 2, 3])
    finish(world, 1, {4: "learner"})
    world.live(50)
    for number in (1, 2, 3):
        world.crash(number)
    world.live(2000)
    assert world.nodes[4].status()["elections"] == 0


def test_a_dead_node_is_replaced_in_one_call() -> None:
    world = led(4, [1, 2, 3])
    world.propose(1, b"a")
    world.settle()
    world.crash(3)
    finish(world, 1, {3: "gone", 4: "voter"})
    assert voters(world, 1) == {1, 2, 4}
    world.cut(1, 2)
    world.propose(1, b"b")
    world.live(50)
    assert world.payloads(4) == [b"a", b"b"]


def test_who_lags_is_promoted_when_it_has_caught_up_and_not_before() -> None:
    world = led(4, [1, 2, 3])
    world.cut(1, 4)
    assert world.change(1, {4: "voter"}) == AGAIN
    world.live(300)
    assert voters(world, 1) == {1, 2, 3}
    assert learners(world, 1) == {4}
    world.heal()
    world.live(300)
    assert voters(world, 1) == {1, 2, 3, 4}


def test_a_change_can_be_given_up_while_it_waits_for_a_learner() -> None:
    world = led(4, [1, 2, 3])
    world.cut(1, 4)
    assert world.change(1, {4: "voter"}) == AGAIN
    world.live(50)
    finish(world, 1, {4: "gone"})
    assert learners(world, 1) == set()
    assert voters(world, 1) == {1, 2, 3}


def test_one_record_at_a_time() -> None:
    world = led(4, [1, 2, 3])
    world.isolate(1)
    assert world.change(1, {4: "learner"}) == AGAIN
    assert world.change(1, {3: "gone"}) == BUSY
    assert world.change(1, {4: "learner"}) == AGAIN
    assert world.change(2, {4: "learner"}) == NOT_LEADER


def test_a_m1_no_record_before_an_entry_of_the_own_term() -> None:
    world = World(3, manual=True)
    world.elect(1)
    world.settle()
    world.isolate(1)
    for number in (2, 3):
        world.nodes[number].clock_ns += 300 * MS
    world.timeout(2)
    while world.role(2) != "leader":
        for number in (2, 3):
            world.flush(number)
        world.deliver()
    assert world.change(2, {1: "gone"}) == BUSY
    world.settle()
    assert world.change(2, {1: "gone"}) == AGAIN


def test_a_m3_joint_takes_a_majority_of_each_half() -> None:
    """Of {1, 2, 3} and {3, 4, 5} together, three of the union are not enough."""
    world = led(5, [1, 2, 3])
    finish(world, 1, {4: "learner", 5: "learner"})
    world.cut(1, 2)
    world.cut(1, 3)
    assert world.change(1, {1: "gone", 2: "gone", 4: "voter", 5: "voter"}) == AGAIN
    world.deliver()
    world.settle()
    assert world.nodes[1].status()["stage"] == "simple"
    world.heal()
    world.live(30)
    world = led(5, [1, 2, 3])
    finish(world, 1, {4: "learner", 5: "learner"})
    world.change(1, {1: "gone", 2: "gone", 4: "voter", 5: "voter"})
    until_stage(world, 1, "joint")
    joint = world.nodes[1].status()["membership_index"]
    assert halves_of(world.nodes[1].status()) == [{3, 4, 5}, {1, 2, 3}]
    world.cut(1, 2)
    world.cut(1, 3)
    world.settle()
    assert world.nodes[4].log[-1].first == joint
    assert world.nodes[1].commit < joint
    world.heal()
    world.live(300)
    assert voters(world, 3) == {3, 4, 5}


def test_a_m4_a_new_leader_leaves_a_joint_membership() -> None:
    world = led(5, [1, 2, 3])
    finish(world, 1, {4: "learner", 5: "learner"})
    world.change(1, {1: "gone", 2: "gone", 4: "voter", 5: "voter"})
    until_stage(world, 1, "joint")
    for number in (2, 3, 4, 5):
        world.deliver(1, number)
    world.crash(1)
    world.live(800)
    leader = world.leader()
    assert leader in (3, 4, 5)
    assert voters(world, leader) == {3, 4, 5}


def test_a_m5_an_uncommitted_membership_is_in_force() -> None:
    world = led(4, [1, 2, 3])
    finish(world, 1, {4: "learner"})
    world.live(20)
    world.change(1, {4: "voter"})
    until_stage(world, 1, "joint")
    world.deliver(1, 2)
    assert world.nodes[2].status()["stage"] == "joint"
    assert world.nodes[2].commit < world.nodes[2].status()["membership_index"]


def test_a_truncated_membership_is_taken_back() -> None:
    world = led(4, [1, 2, 3])
    world.settle()
    world.isolate(1)
    assert world.change(1, {4: "learner"}) == AGAIN
    assert learners(world, 1) == {4}
    world.live(600)
    leader = world.leader()
    assert leader in (2, 3)
    world.heal()
    world.live(200)
    assert learners(world, 1) == set()
    assert voters(world, 1) == {1, 2, 3}
    world.crash(1)
    world.start(1)
    assert voters(world, 1) == {1, 2, 3}


def test_a_membership_survives_a_restart() -> None:
    world = led(4, [1, 2, 3])
    finish(world, 1, {3: "gone", 4: "voter"})
    world.live(20)
    for number in world.numbers:
        world.crash(number)
        world.start(number)
    for number in (1, 2, 4):
        assert voters(world, number) == {1, 2, 4}
    world.live(1000)
    assert world.leader() in (1, 2, 4)


def test_a_r9_who_does_not_know_that_it_votes_votes() -> None:
    world = led(3, [1, 2])
    finish(world, 1, {3: "learner"})
    world.live(20)
    world.change(1, {3: "voter"})
    until_stage(world, 1, "left", deaf=3)
    assert world.role(3) == "learner"
    world.drop(target=3)
    world.nodes[3].clock_ns += 300 * MS
    world.hand_over(Letter.forge("vote", 2, 3, 9, last_index=99, last_term=9, proposed=9, membership=99))
    replies = world.waiting(3, 2, "vote-reply")
    assert replies
    assert replies[-1].fields["granted"] == 1


def test_a_r22_a_removed_leader_counts_itself_no_more_and_steps_down() -> None:
    world = led(3, [1, 2, 3])
    world.live(20)
    finish_removed(world)
    world.live(100)
    assert world.leader() in (2, 3)
    assert world.role(1) == "follower"
    assert world.nodes[1].status()["removed"]
    elections = world.nodes[1].status()["elections"]
    world.live(2000)
    assert world.nodes[1].status()["elections"] == elections
    assert voters(world, 2) == {2, 3}


def finish_removed(world: World) -> None:
    world.change(1, {1: "gone"})
    for _ in range(200):
        if world.role(1) != "leader":
            return
        world.live(5)
    raise AssertionError("the removed leader steps down")


def test_a_m12_a_removed_node_is_told_so_and_is_quiet() -> None:
    world = led(4, [1, 2, 3, 4])
    world.live(20)
    world.isolate(4)
    finish(world, 1, {4: "gone"})
    world.live(500)
    term = world.nodes[1].status()["term"]
    world.heal()
    world.live(500)
    assert world.nodes[4].status()["removed"]
    elections = world.nodes[4].status()["elections"]
    world.live(3000)
    assert world.nodes[4].status()["elections"] == elections
    assert world.nodes[1].status()["term"] == term
    finish(world, 1, {4: "voter"})
    world.live(100)
    assert not world.nodes[4].status()["removed"]
    assert voters(world, 4) == {1, 2, 3, 4}


def test_a_m13_who_joins_learns_of_old_memberships_without_harm() -> None:
    world = led(4, [1, 2, 3])
    finish(world, 1, {3: "learner"})
    finish(world, 1, {3: "voter"})
    finish(world, 1, {4: "voter"})
    world.live(50)
    assert not world.nodes[4].status()["removed"]
    assert voters(world, 4) == {1, 2, 3, 4}


def test_what_says_removed_of_the_past_is_not_believed() -> None:
    world = led(3, [1, 2, 3])
    finish(world, 1, {3: "learner"})
    world.live(20)
    world.hand_over(Letter.forge("removed", 2, 3, 1, index=1))
    assert not world.nodes[3].status()["removed"]


@pytest.mark.parametrize("goals", [{}, {1: "gone", 2: "gone", 3: "gone"}, dict.fromkeys(range(4, 18), "voter")])
def test_what_makes_no_membership_is_refused(goals: dict[int, str]) -> None:
    world = led(3, [1, 2, 3])
    assert world.change(1, goals) == USAGE


@pytest.mark.parametrize("seed", range(25))
def test_random_changes_keep_what_must_hold(seed: int) -> None:
    """The world's invariants judge: nodes cut, crashed and changed at random; then all is healed and goes on."""
    draw = random.Random(seed)
    world = World(5, voters=[1, 2, 3], seed=seed)
    for step in range(120):
        world.live(draw.choice((5, 10, 40)))
        leader = world.leader()
        turn = draw.random()
        if turn < 0.3 and leader is not None:
            world.propose(leader, b"%d" % step)
        elif turn < 0.55 and leader is not None:
            goals = {draw.randint(1, 5): draw.choice(("voter", "voter", "learner", "gone")) for _ in range(2)}
            world.change(leader, goals)
        elif turn < 0.65:
            world.isolate(draw.randint(1, 5))
        elif turn < 0.75:
            world.heal()
        elif turn < 0.85 and leader is not None:
            world.transfer(leader, 0)
        else:
            number = draw.randint(1, 5)
            if world.nodes[number].up:
                world.crash(number)
            else:
                world.start(number)
    world.heal()
    for number in world.numbers:
        if not world.nodes[number].up:
            world.start(number)
    world.live(1500)
    leader = world.leader()
    assert leader is not None
    world.propose(leader, b"end")
    world.live(200)
    leader = world.leader()
    assert leader is not None
    for number in voters(world, leader):
        assert world.payloads(number)[-1] == b"end"
