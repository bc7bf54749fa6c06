"""Random plays with bad records and wiped nodes, as long as a quorum of intact copies exists (P4)."""

from __future__ import annotations

from typing import Any

import pytest
from disk import replay
from test_raft_random import Play

SEEDS = range(120)


class DamagedPlay(Play):
    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.chances["crash"] = max(self.chances["crash"], 0.01)
        self.chances["rot"] = self.random.choice([0.03, 0.1])
        self.chances["wipe"] = self.random.choice([0, 0.01, 0.03])
        self.spoilt = self.wiped = 0

    def intact(self, number: int) -> set[tuple[Any, ...]]:
        node = self.world.nodes[number]
        return {b.identity for b in replay(node.disk)[2] if (b.first, b.term) not in node.bad}

    def copies_elsewhere(self, number: int, identity: tuple[Any, ...]) -> int:
        return sum(identity in self.intact(n) for n in self.world.numbers if n != number)

    def quorum(self) -> int:
        return len(self.world.numbers) // 2 + 1

    def act(self) -> None:
        if self.random.random() < self.chances["rot"]:
            self.rot()
        if self.random.random() < self.chances["wipe"]:
            self.wipe()
        super().act()

    def rot(self) -> None:
        world, draw = self.world, self.random
        number = draw.choice(world.numbers)
        log = replay(world.nodes[number].disk)[2]
        if not log:
            return
        batch = draw.choice(log[-6:] if draw.random() < 0.7 else log)
        if self.copies_elsewhere(number, batch.identity) < self.quorum():
            return
        world.spoil(number, batch.first)
        self.spoilt += 1
        if world.nodes[number].up and draw.random() < 0.5:
            world.find(number, batch.first, batch.last if draw.random() < 0.5 else 0)

    def wipe(self) -> None:
        world = self.world
        number = self.random.choice(world.numbers)
        if not self.may_be_wiped(number):
            return
        world.crash(number)
        world.network = [letter for letter in world.network if number not in (letter.sender, letter.target)]
        world.wipe(number)
        world.start(number)
        self.wiped += 1

    def may_be_wiped(self, number: int) -> bool:
        world = self.world
        weak = sum(node.listening or node.rejoins for node in world.nodes.values() if node.number != number)
        return weak + 1 <= len(world.numbers) - self.quorum() and all(
            self.copies_elsewhere(number, identity) >= self.quorum() for identity in world.committed
        )

    def heal(self) -> None:
        super().heal()
        for node in self.world.nodes.values():
            assert not node.known_bad
            assert not node.listening


@pytest.mark.parametrize("seed", SEEDS)
def test_random_play_with_damage(seed: int) -> None:
    play = DamagedPlay(seed)
    for _ in range(600):
        play.act()
    play.heal()


def test_the_plays_do_break_something() -> None:
    spoilt = wiped = 0
    for seed in SEEDS[:30]:
        play = DamagedPlay(seed)
        for _ in range(600):
            play.act()
        spoilt += play.spoilt
        wiped += play.wiped
    assert spoilt > 15
    assert wiped > 5
