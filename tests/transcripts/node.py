"""A node of the tiny world, and what it knows of who decides."""

from __future__ import annotations

from typing import Any

from quorumlog._core.bridge.testing_raft import Letter, RaftNode, Record


class Node:
    def __init__(self, number: int) -> None:
        self.number = number
        self.raft: RaftNode | None = None
        self.clock_ns = 0
        self.deadline_ns = 0
        self.disk: list[tuple[int, Any]] = []  # what survives a power cut
        self.pending: list[tuple[int, Any]] = []  # written, not synced
        self.bad: set[tuple[int, int]] = set()  # first index and term of batches that can't be read
        self.known_bad: set[tuple[int, int]] = set()  # of these, what the node knows of
        self.rejoins = False  # an empty directory under a known name
        self.forgotten: set[tuple[Any, ...]] = set()  # identities that it had before it was wiped
        self.listening = False
        self.repair_fetches: list[tuple[int, int]] = []
        self.halves: list[set[int]] = []  # whose majorities decide, as it knew before its newest step
        self.held: list[Letter] = []  # waiting for their after_io
        self.log: list[Record] = []  # as the node should have it in memory
        self.hard: tuple[int, int] = (0, 0)  # term and vote on disk
        self.flushed = 0
        self.commit = 0
        self.role = "follower"
        self.unproved_last = 0
        self.fetches: list[tuple[int, int, int]] = []

    @property
    def up(self) -> bool:
        return self.raft is not None

    def status(self) -> dict[str, Any]:
        assert self.raft is not None
        return dict(self.raft.status())


def halves_of(status: dict[str, Any]) -> list[set[int]]:
    """The sets of voters of which a majority each decides."""
    members = status["members"].items()
    now = {number for number, (role, _, _) in members if role == "voter"}
    before = {number for number, (_, role, _) in members if role == "voter"}
    return [now, before] if status["stage"] == "joint" else [now]
