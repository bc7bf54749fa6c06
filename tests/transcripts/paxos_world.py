"""A small world of Paxos nodes for plays and for exhaustive search: letters, disks, and an account of its own.

A world is a function of the choices made in it.  What a node has seen, in order, and what is on its way make up its
state, so that two ways to the same are found.
"""

from __future__ import annotations

from quorumlog._core.bridge.testing_paxos import Letter, PaxosNode, Record

MS = 1_000_000
LEADER = 4
CORE = ("prepare", "promise", "accept", "accepted", "reject", "learn", "taught", "fetch", "fetch-reply")
Ballot = tuple[int, int]
Value = tuple[str, bytes]


class Violated(AssertionError):
    pass


def require(condition: object, sentence: str) -> None:
    if not condition:
        raise Violated(sentence)


class World:
    """`carried`: which letters the network carries; others are lost."""

    def __init__(self, count: int = 3, carried: tuple[str, ...] = CORE) -> None:
        self.count = count
        self.carried = carried
        self.now_ns = 0
        self.disks: list[list[Record]] = [[] for _ in range(count)]
        self.pending: list[list[tuple[int, Record]]] = [[] for _ in range(count)]
        self.held: list[list[Letter]] = [[] for _ in range(count)]
        self.flushed = [0] * count
        self.letters: list[Letter] = []
        self.seen: list[list[object]] = [[] for _ in range(count)]  # by each node
        self.said: list[Ballot] = [(0, 0)] * count  # highest promise that was durable
        self.values: dict[tuple[int, Ballot], Value] = {}
        self.accepted: dict[tuple[int, Ballot], set[int]] = {}  # durably, ever
        self.chosen: dict[int, Value] = {}
        self.nodes = [PaxosNode(i + 1, count) for i in range(count)]

    # What happens

    def campaign(self, node: int) -> None:
        """Everybody's leader falls silent for long, and this node's timer runs out first; the canvass is heard."""
        self.now_ns += 1000 * MS
        self.seen[node - 1].append("campaign")
        asked = self._took(node, self.nodes[node - 1].time(self.now_ns), ("canvass",))
        for question in asked:
            answers = self._took(question.target, self.nodes[question.target - 1].receive(self.now_ns, question),
                                 ("canvass-reply",))
            for answer in answers:
                self._took(node, self.nodes[node - 1].receive(self.now_ns, answer))

    def rest(self) -> None:
        """A second in which nobody hears anybody: leaders give up."""
        self.now_ns += 1000 * MS
        for node in range(1, self.count + 1):
            if self.leads(node):
                self.seen[node - 1].append("rest")
                self._took(node, self.nodes[node - 1].time(self.now_ns))

    def deliver(self, letter: Letter, *, again: bool = False) -> None:
        if not again:
            self.letters.remove(letter)
        self.seen[letter.target - 1].append(letter.told)
        self._took(letter.target, self.nodes[letter.target - 1].receive(self.now_ns, letter))

    def propose(self, node: int, value: bytes) -> None:
        self.seen[node - 1].append(("propose", value))
        self._took(node, self.nodes[node - 1].propose(self.now_ns, value))

    def read(self, node: int, number: int) -> None:
        self._took(node, self.nodes[node - 1].read(self.now_ns, number))

    def answered(self, node: int) -> list[int]:
        """Reads of the node that were confirmed."""
        return [number for number, _, status in self.nodes[node - 1].answers if status == 0]

    def flush(self, node: int) -> None:
        """All that was written is durable; what waited for it leaves."""
        at = node - 1
        self.seen[at].append("flush")
        self.flushed[at] = max((wsn for wsn, _ in self.pending[at]), default=self.flushed[at])
        for _, record in self.pending[at]:
            self._durable(node, record)
        self.pending[at] = []
        held, self.held[at] = self.held[at], []
        self._took(node, self.nodes[at].flushed(self.now_ns, self.flushed[at]))
        self._send(node, held)

    def crash(self, node: int) -> None:
        """It starts again from what was durable."""
        at = node - 1
        self.seen[at].append("crash")
        self.pending[at] = []
        self.held[at] = []
        self.nodes[at] = PaxosNode(node, self.count, now_ns=self.now_ns, disk=self.disks[at],
                                   wsn_next=self.flushed[at] + 100)
        _, promise, _, _ = self.nodes[at].status
        require(promise >= self.said[at], f"node {node} forgot its promise {self.said[at]}")

    def settle(self, only: tuple[int, ...] = ()) -> None:
        """Flushes and delivers, in order, until nothing is on its way (between these nodes)."""
        group = only or tuple(range(1, self.count + 1))
        for _ in range(1000):
            for node in group:
                self.flush(node)
            due = [x for x in self.letters if x.sender in group and x.target in group]
            if not due and not any(self.held[node - 1] or self.pending[node - 1] for node in group):
                return
            for letter in due:
                self.deliver(letter)
        raise Violated("the world doesn't come to rest")

    def find(self, name: str, sender: int = 0, target: int = 0) -> Letter:
        return next(x for x in self.letters if x.name == name and sender in (0, x.sender) and target in (0, x.target))

    def leads(self, node: int) -> bool:
        return self.nodes[node - 1].status[0] == LEADER

    def commit(self, node: int) -> int:
        commit: int = self.nodes[node - 1].status[2]
        return commit

    # What must hold

    def _took(self, node: int, effects: tuple[list[tuple[int, Record]], list[Letter], list[tuple[int, int]]],
              wanted: tuple[str, ...] = ()) -> list[Letter]:
        writes, letters, fetches = effects
        for wsn, record in writes:
            self._written(node, record)
            self.pending[node - 1].append((wsn, record))
        self._look(node)
        self._send(node, [x for x in letters if x.name not in wanted])
        for peer, first in fetches:
            read = self.nodes[node - 1].fetched(self.now_ns, peer, self._read(node, first))
            self._took(node, read)
        return [x for x in letters if x.name in wanted]

    def _read(self, node: int, first: int) -> list[Record]:
        """The newest record of each slot from `first` to the end of what is chosen there."""
        newest = {record.told[1]: record for record in self.disks[node - 1] if record.told[0] in ("value", "no-op")}
        return [newest[slot] for slot in range(first, self.commit(node) + 1)]

    def _send(self, node: int, letters: list[Letter]) -> None:
        for letter in letters:
            if letter.name not in self.carried:
                continue
            (self.held[node - 1] if letter.after_io > self.flushed[node - 1] else self.letters).append(letter)

    def _written(self, node: int, record: Record) -> None:
        kind, slot, ballot, value = record.told
        if kind not in ("value", "no-op"):
            return
        at = (slot, ballot)
        require(self.values.setdefault(at, (kind, value)) == (kind, value), f"two values in slot and ballot {at}")
        _, promise, _, _ = self.nodes[node - 1].status
        known = self.chosen.get(slot)
        require(ballot >= promise or known == (kind, value), f"P1a: {at} accepted below the promise {promise}")
        said = self.said[node - 1]
        require(ballot >= said or known == (kind, value), f"P1a: {at}, and {said} was said")

    def _durable(self, node: int, record: Record) -> None:
        self.disks[node - 1].append(record)
        kind, slot, ballot, value = record.told
        if kind == "promise":
            self.said[node - 1] = max(self.said[node - 1], ballot)
        if kind not in ("value", "no-op"):
            return
        voters = self.accepted.setdefault((slot, ballot), set())
        voters.add(node)
        if 2 * len(voters) > self.count:
            require(self.chosen.setdefault(slot, (kind, value)) == (kind, value), f"two values chosen in slot {slot}")

    def _look(self, node: int) -> None:
        """What a node calls chosen is; nobody breaks the protocol."""
        _, _, commit, _ = self.nodes[node - 1].status
        require(all(slot in self.chosen for slot in range(1, commit + 1)), f"node {node} calls slot {commit} chosen")
        require(self.nodes[node - 1].peer_errors == 0, f"node {node} was told what no node says")

    def key(self) -> int:
        """Equal where all nodes have seen the same, and the same is on its way."""
        on_way = tuple(sorted(repr(x.told) for x in self.letters))
        return hash((tuple(tuple(map(repr, seen)) for seen in self.seen), on_way))
