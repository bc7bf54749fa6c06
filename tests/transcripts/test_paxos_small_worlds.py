"""Small worlds, exhaustively: three acceptors, two proposers, every interleaving and crash to a depth.

A world is built anew for each way through it, from its choices; ways that show every node the same, with the same
on its way, are one.  Letters may stay undelivered for ever, so loss is in it.  QUORUMLOG_DEPTH=deep goes further.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from paxos_world import World

DEEP = os.environ.get("QUORUMLOG_DEPTH") == "deep"
Choice = tuple[str, int]


def prepared() -> World:
    """Node 1 led and proposed; nothing of that has arrived anywhere."""
    world = World()
    world.campaign(1)
    world.settle()
    world.propose(1, b"one")
    return world


def torn() -> World:
    """Node 1's value lies durably at node 2 as well, and nobody knows."""
    world = prepared()
    world.flush(1)
    world.deliver(world.find("accept", target=2))
    return world


def duel() -> World:
    """Both prepare at once."""
    world = World()
    world.campaign(1)
    world.campaign(2)
    return world


def choices(world: World, made: tuple[Choice, ...]) -> list[Choice]:
    """What can happen next.  At most two crashes and two campaigns, and one proposal by each who leads."""
    found: list[Choice] = [("deliver", i) for i in range(len(world.letters))]
    found += [("flush", node) for node in (1, 2, 3) if world.pending[node - 1]]
    if sum(kind == "crash" for kind, _ in made) < 2:
        found += [("crash", node) for node in (1, 2, 3) if not made or made[-1] != ("crash", node)]
    if sum(kind == "campaign" for kind, _ in made) < 2:
        found += [("campaign", node) for node in (1, 2) if ("campaign", node) not in made]
    return found + [("propose", node) for node in (1, 2) if world.leads(node) and ("propose", node) not in made]


def act(world: World, choice: Choice) -> None:
    kind, number = choice
    if kind == "deliver":
        world.deliver(world.letters[number])
    elif kind == "propose":
        world.propose(number, b"of %d" % number)
    else:
        {"flush": world.flush, "crash": world.crash, "campaign": world.campaign}[kind](number)


def after(begin: Callable[[], World], made: tuple[Choice, ...]) -> World:
    world = begin()
    for choice in made:
        act(world, choice)
    return world


def explore(begin: Callable[[], World], depth: int) -> tuple[int, int]:
    """Worlds met, and how many of them had a slot chosen.  Violated carries the choices that led there."""
    met = {begin().key()}
    with_choice = 0
    layer: list[tuple[Choice, ...]] = [()]
    for _ in range(depth):
        following: list[tuple[Choice, ...]] = []
        for made in layer:
            for choice in choices(after(begin, made), made):
                try:
                    world = after(begin, (*made, choice))
                except AssertionError as error:
                    raise AssertionError(f"{error}: {[*made, choice]}") from error
                key = world.key()
                if key not in met:
                    met.add(key)
                    with_choice += bool(world.chosen)
                    following.append((*made, choice))
        layer = following
    return len(met), with_choice


@pytest.mark.parametrize(("begin", "depth"), [(prepared, 4), (torn, 5), (duel, 5)])
def test_every_way_through(begin: Callable[[], World], depth: int) -> None:
    met, _ = explore(begin, depth + 2 if DEEP else depth)
    assert met > 200
