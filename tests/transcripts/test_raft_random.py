"""Random plays: anything may be late, lost, doubled or reordered, nodes crash, writes wait.

The world checks its invariants after every step (world.py).  Then it heals, and must
elect a leader, commit something new and end with equal logs.  One seed, one play.
"""

from __future__ import annotations

import random

import pytest
from world import World

SEEDS = range(60)


class Play:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        count = self.random.choice([1, 2, 3, 3, 3, 5])
        self.world = World(
            count,
            manual=self.random.random() < 0.7,
            seed=seed,
            append_bytes_max=self.random.choice([1, 300, 1 << 20]),
            cache_limit_bytes=self.random.choice([0, 100, 1 << 20]),
        )
        self.read = 0
        self.chances = {
            "loss": self.random.choice([0, 0, 0.1, 0.3]),
            "double": self.random.choice([0, 0.1, 0.3]),
            "crash": self.random.choice([0, 0.01, 0.03]),
            "cut": self.random.choice([0, 0.02]),
        }

    def someone(self) -> int | None:
        up = [n for n in self.world.numbers if self.world.nodes[n].up]
        return self.random.choice(up) if up else None

    def act(self) -> None:
        world, draw = self.world, self.random
        if draw.random() < self.chances["crash"]:
            self.crash_or_start()
        if draw.random() < self.chances["cut"]:
            if world.cuts:
                world.heal()
            else:
                world.cut(
                    draw.choice(world.numbers),
                    draw.choice(world.numbers),
                    one_way=draw.random() < 0.3,
                )
        number = self.someone()
        if number is None:
            return
        what = draw.random()
        if what < 0.55 and world.network:
            self.deliver_one()
        elif what < 0.75:
            world.flush(number, draw.choice([1, 1, 2, None]))
        elif what < 0.85:
            world.advance(draw.choice([1, 5, 20]))
        elif what < 0.95:
            target = world.leader() if draw.random() < 0.8 else number
            world.propose(target or number, *[b"%d" % draw.randrange(1000)] * draw.choice([1, 1, 3]))
        elif what < 0.98:
            self.read += 1
            world.read(number, self.read)
        else:
            peer = draw.choice(world.numbers)
            if peer != number:
                world.reachable(number, peer, draw.random() < 0.7)

    def deliver_one(self) -> None:
        world, draw = self.world, self.random
        letter = draw.choice(world.network[:20] if draw.random() < 0.5 else world.network)
        if draw.random() >= self.chances["double"]:
            world.take(letter)
        if draw.random() >= self.chances["loss"]:
            world.hand_over(letter)

    def crash_or_start(self) -> None:
        world, draw = self.world, self.random
        number = draw.choice(world.numbers)
        node = world.nodes[number]
        if not node.up:
            world.start(number)
        elif node.pending and draw.random() < 0.5:
            # A power cut that tears: some of what was pending is there, the rest is unproved.
            ends = [record.last for _, record in node.pending if record.kind in ("entries", "blank")]
            world.crash(number, keep=draw.randrange(len(node.pending)))
            end = world.end_on_disk(number)
            world.start(number, unproved_last=max([e for e in ends if e > end], default=0))
        else:
            world.crash(number)

    def heal(self) -> None:
        world = self.world
        world.heal()
        for number in world.numbers:
            if not world.nodes[number].up:
                world.start(number)
            for peer in world.numbers:
                if peer != number:
                    world.reachable(number, peer, True)
        world.live(2000)
        leader = world.leader()
        assert leader is not None, "\n".join(world.story[-60:])
        world.propose(leader, b"the end")
        world.live(400)
        for number in world.numbers:
            assert world.payloads(number)[-1] == b"the end"
            assert world.payloads(number) == world.payloads(leader)
            assert world.nodes[number].status()["peer_errors"] == 0
        assert None not in world.reads.values(), "every read is answered, or its node died"


@pytest.mark.parametrize("seed", SEEDS)
def test_random_play(seed: int) -> None:
    play = Play(seed)
    for _ in range(600):
        play.act()
    play.heal()
