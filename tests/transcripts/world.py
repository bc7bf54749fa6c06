"""A tiny world for Raft: some nodes, a network and disks that do what the test says.

After every step of a node the world checks what must hold at all times: one leader
per term, equal logs where index and term are equal, committed entries that agree and
lie on the disks of a majority, no promise before it is durable, none at all for what a
node knows to be faulty or while it listens.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from disk import Repair, Violated, replay, require

from quorumlog._core.bridge.testing_raft import Letter, Pool, RaftNode, Record

MS = 1_000_000
READ_KINDS = ("round", "lease", "as-of")
CORRUPT = 42


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


class World:
    def __init__(self, count: int = 3, *, manual: bool = False, fetch: bool = True, **options: Any) -> None:
        self.pool = Pool()
        self.options = options
        self.manual = manual  # the test says when writes are synced
        self.fetch = fetch  # answer fetches at once
        self.numbers = list(range(1, count + 1))
        self.nodes = {number: Node(number) for number in self.numbers}
        self.network: list[Letter] = []
        self.cuts: set[tuple[int, int]] = set()
        self.story: list[str] = []
        self.reads: dict[int, tuple[int, int] | None] = {}  # read: (index, status)
        self.as_of: dict[int, int] = {}  # read: as of when, by the clock of the node that was asked
        self.read_floor: dict[int, int] = {}  # read: what was committed when it began
        self.read_owner: dict[int, int] = {}
        self.refusals: list[tuple[int, int]] = []
        self.leaders: dict[int, int] = {}  # term: node
        self.asked: dict[tuple[int, int], tuple[int, int]] = {}  # candidate and term: where its log ends
        self.committed: list[tuple[Any, ...]] = []  # identities of committed batches, in order
        for number in self.numbers:
            self.start(number)

    # Life and death

    def start(self, number: int, *, unproved_last: int = 0, identified: bool = True, lost: bool = False) -> None:
        """`lost`: its hard states are bad, or it lost something whose place is not known."""
        node = self.nodes[number]
        require(not node.up, "only a crashed node starts")
        term, vote, log = replay(node.disk)
        runs: list[tuple[int, int]] = []
        for batch in log:
            if not runs or runs[-1][1] != batch.term:
                runs.append((batch.first, batch.term))
        wsn = node.disk[-1][0] + 1000 if node.disk else 1
        standings = [record.listening for _, record in node.disk if record.kind == "hard state"]
        node.listening = lost or (standings[-1] if standings else node.rejoins)
        present = {(batch.first, batch.term) for batch in log}
        node.bad &= present
        node.known_bad = set(node.bad)
        faults = [
            (batch.first, batch.last, batch.term, batch.body_crc if identified else None)
            for batch in log
            if (batch.first, batch.term) in node.bad
        ]
        node.raft = RaftNode(
            number,
            self.numbers,
            now_ns=node.clock_ns,
            term=term,
            vote=vote,
            last=log[-1].last if log else 0,
            runs=runs,
            unproved_last=unproved_last,
            faults=faults,
            listening=node.listening,
            wsn_next=wsn,
            **{"seed": number, **self.options},
        )
        node.log, node.hard, node.commit, node.role = log, (term, vote), 0, "follower"
        node.flushed, node.pending, node.held, node.fetches = wsn - 1, [], [], []
        node.repair_fetches = []
        node.unproved_last = unproved_last
        node.deadline_ns = node.clock_ns
        self.carry_out(node, node.raft.flushed(node.clock_ns, node.flushed))

    def crash(self, number: int, *, keep: int = 0) -> None:
        """A power cut: what is not synced is lost, but for the first `keep` records."""
        node = self.nodes[number]
        node.disk += node.pending[:keep]
        node.raft, node.pending, node.held, node.fetches = None, [], [], []
        # Who asked died with the node.
        self.reads = {r: answer for r, answer in self.reads.items() if answer or self.read_owner[r] != number}

    def spoil(self, number: int, *firsts: int) -> None:
        """The batches at these indexes can't be read from a node's disk any more."""
        node = self.nodes[number]
        _, _, log = replay(node.disk)
        for batch in log:
            if any(batch.first <= first <= batch.last for first in firsts):
                node.bad.add((batch.first, batch.term))

    def find(self, number: int, first: int, last: int = 0) -> None:
        """A read finds that a batch is bad."""
        node = self.nodes[number]
        assert node.raft is not None
        log = replay(node.disk)[2]
        node.known_bad |= {(b.first, b.term) for b in log if b.first <= first <= b.last} & node.bad
        self.carry_out(node, node.raft.faulty(node.clock_ns, first, last))

    def wipe(self, number: int) -> None:
        """A new, empty directory under the old name, made to rejoin."""
        node = self.nodes[number]
        require(not node.up, "only a crashed node is wiped")
        node.forgotten |= {batch.identity for batch in replay(node.disk)[2]}
        node.disk, node.hard, node.rejoins = [], (0, 0), True
        node.bad, node.known_bad = set(), set()

    def fill(self, number: int, terms: Iterable[int], *, term: int, vote: int = 0) -> None:
        """A crashed node's disk: one entry of each of these terms, and a hard state."""
        node = self.nodes[number]
        require(not node.up and not node.disk, "only a crashed node's empty disk is filled")
        records = [self.pool.make([], kind=3, term=term, vote=vote, stamp=True)]
        for index, entry_term in enumerate(terms, 1):
            payload = b"%d@%d" % (index, entry_term)
            records.append(self.pool.make([payload], term=entry_term, first=index, stamp=True))
        node.disk = list(enumerate(records, 1))

    def tear(self, number: int, count: int) -> int:
        """Damages the newest `count` batches on a crashed node's disk; what the log reached to."""
        node = self.nodes[number]
        require(not node.up, "only a crashed node's disk is damaged")
        _, _, log = replay(node.disk)
        lost = log[len(log) - count :]
        bad = {id(batch) for batch in lost}
        node.disk = [(wsn, record) for wsn, record in node.disk if id(record) not in bad]
        return int(lost[-1].last)

    def end_on_disk(self, number: int) -> int:
        _, _, log = replay(self.nodes[number].disk)
        return int(log[-1].last) if log else 0

    # Time

    def timeout(self, number: int) -> None:
        """One node's clock reaches its deadline."""
        node = self.nodes[number]
        assert node.raft is not None
        node.clock_ns = max(node.clock_ns, node.deadline_ns)
        self.carry_out(node, node.raft.time(node.clock_ns))

    def advance(self, ms: int, numbers: Iterable[int] | None = None) -> None:
        """All clocks (or some) go on; deadlines on the way come due in order."""
        chosen = list(self.numbers if numbers is None else numbers)
        until = {number: self.nodes[number].clock_ns + ms * MS for number in chosen}
        while True:
            due = [
                (self.nodes[n].deadline_ns, n)
                for n in chosen
                if self.nodes[n].up and 0 < self.nodes[n].deadline_ns <= until[n]
            ]
            if not due:
                break
            self.timeout(min(due)[1])
        for number in chosen:
            self.nodes[number].clock_ns = until[number]

    def live(self, ms: int, *, step_ms: int = 5) -> None:
        """Time passes while the network delivers."""
        for _ in range(0, ms, step_ms):
            self.advance(step_ms)
            self.settle()

    # Events

    def propose(self, number: int, *payloads: bytes, proposer: int = 0) -> Record:
        """A batch at `number`, on behalf of `proposer`'s callers."""
        node = self.nodes[number]
        assert node.raft is not None
        record = self.pool.make(list(payloads))
        self.carry_out(node, node.raft.propose(node.clock_ns, record, proposer))
        return record

    def read(self, number: int, read: int, kind: str = "round") -> None:
        """`kind`: by a round, by lease, or as of when this node knows (no promise about how old that is)."""
        node = self.nodes[number]
        assert node.raft is not None
        self.reads[read] = None
        self.read_floor[read] = 0 if kind == "as-of" else self.committed_last
        self.read_owner[read] = number
        self.carry_out(node, node.raft.read(node.clock_ns, read, READ_KINDS.index(kind)))

    def break_lease(self, number: int) -> None:
        node = self.nodes[number]
        assert node.raft is not None
        node.raft.break_lease()

    def transfer(self, number: int, target: int = 0) -> int:
        """Asks `number` to hand over leadership; the Status it answers."""
        node = self.nodes[number]
        assert node.raft is not None
        effects = node.raft.transfer(node.clock_ns, target)
        self.carry_out(node, effects)
        return int(effects["answer"])

    def flush(self, number: int, count: int | None = None) -> None:
        """The oldest `count` (or all) pending writes of a node become durable."""
        node = self.nodes[number]
        assert node.raft is not None
        count = len(node.pending) if count is None else count
        done, node.pending = node.pending[:count], node.pending[count:]
        if not done:
            return
        node.disk += done
        for _, record in done:
            if record.kind == "hard state":
                node.hard = (record.term, record.vote)
            elif record.kind == "repair":
                node.bad.discard((record.record.first, record.record.term))
                node.known_bad.discard((record.record.first, record.record.term))
        node.flushed = done[-1][0]
        self.carry_out(node, node.raft.flushed(node.clock_ns, node.flushed))

    def answer_fetch(self, number: int, *, status: int = 0) -> None:
        node = self.nodes[number]
        assert node.raft is not None
        peer, first, bytes_max = node.fetches.pop(0)
        _, _, log = replay(node.disk)
        found: list[Record] = []
        for batch in log:
            if batch.last >= first and (batch.first, batch.term) in node.bad:
                status = status if found else CORRUPT
                node.known_bad.add((batch.first, batch.term))
                break
            if batch.last >= first and sum(80 + b.count * 8 for b in found) < bytes_max and len(found) < 256:
                found.append(batch)
        effects = node.raft.fetched(node.clock_ns, peer, [] if status else found, status, first=first)
        self.carry_out(node, effects)

    def answer_repair_fetch(self, number: int) -> None:
        """The disk is read for a peer's repair."""
        node = self.nodes[number]
        assert node.raft is not None
        peer, first = node.repair_fetches.pop(0)
        _, _, log = replay(node.disk)
        found = [batch for batch in log if batch.first <= first <= batch.last]
        status = CORRUPT if any((batch.first, batch.term) in node.bad for batch in found) else 0
        node.known_bad |= {(b.first, b.term) for b in found if status}
        effects = node.raft.fetched(
            node.clock_ns, peer, [] if status else found, status, first=first, repair=True
        )
        self.carry_out(node, effects)

    def reachable(self, number: int, peer: int, is_reachable: bool) -> None:
        node = self.nodes[number]
        assert node.raft is not None
        self.carry_out(node, node.raft.reachable(node.clock_ns, peer, is_reachable))

    # The network

    def cut(self, a: int, b: int, *, one_way: bool = False) -> None:
        self.cuts.add((a, b))
        if not one_way:
            self.cuts.add((b, a))

    def isolate(self, number: int) -> None:
        for other in self.numbers:
            if other != number:
                self.cut(number, other)

    def heal(self) -> None:
        self.cuts.clear()

    def waiting(
        self, sender: int | None = None, target: int | None = None, name: str | None = None
    ) -> list[Letter]:
        return [
            letter
            for letter in self.network
            if sender in (None, letter.sender)
            and target in (None, letter.target)
            and name in (None, letter.name)
        ]

    def take(self, letter: Letter) -> Letter:
        self.network = [other for other in self.network if other is not letter]
        return letter

    def drop(
        self, sender: int | None = None, target: int | None = None, name: str | None = None
    ) -> list[Letter]:
        lost = self.waiting(sender, target, name)
        for letter in lost:
            self.take(letter)
        return lost

    def hand_over(self, letter: Letter) -> None:
        """Delivers a letter, whether or not it still lies in the network."""
        if (letter.sender, letter.target) in self.cuts:
            self.tell(f"{letter.target} never hears {letter.sender}: {letter!r}")
            return
        node = self.nodes[letter.target]
        if not node.up:
            return
        assert node.raft is not None
        self.tell(f"{letter.target} hears {letter.sender}: {letter!r}")
        self.carry_out(node, node.raft.receive(node.clock_ns, letter))

    def deliver(self, sender: int | None = None, target: int | None = None, name: str | None = None) -> None:
        """What lies in the network now, oldest first."""
        for letter in self.waiting(sender, target, name):
            self.hand_over(self.take(letter))

    def settle(self) -> None:
        """Delivers (and in manual worlds syncs) until nothing is under way."""
        for _ in range(10_000):
            if self.network:
                self.hand_over(self.take(self.network[0]))
                continue
            busy = [n for n in self.numbers if self.nodes[n].up and self.nodes[n].pending]
            if not busy:
                # A leader that still has to tell of a commit does so within a millisecond.
                busy_leaders = [n for n in self.numbers if self.has_something_to_say(self.nodes[n])]
                if not busy_leaders:
                    return
                self.timeout(busy_leaders[0])
                continue
            for number in busy:
                self.flush(number)
        raise Violated("the network comes to rest")

    def has_something_to_say(self, node: Node) -> bool:
        return node.up and node.role == "leader" and 0 < node.deadline_ns - node.clock_ns <= MS

    # Effects

    def tell(self, line: str) -> None:
        self.story.append(line)

    def carry_out(self, node: Node, effects: dict[str, Any]) -> None:
        assert node.raft is not None
        for place, (wsn, record) in enumerate(effects["writes"]):
            if place == effects["repair"]:
                self.tell(f"{node.number} repairs {record!r}")
                node.pending.append((wsn, Repair(record)))
                continue
            self.tell(f"{node.number} writes {record!r}")
            node.pending.append((wsn, record))
            if record.kind == "truncate":
                require(record.first > node.commit, "what is committed is never truncated")
                node.log = [batch for batch in node.log if batch.last < record.first]
                node.bad = {(first, term) for first, term in node.bad if first < record.first}
                node.known_bad &= node.bad
            elif record.kind != "hard state":
                node.log.append(record)
        node.listening = node.status()["listening"]
        for letter in effects["letters"]:
            self.check_promise(node, letter)
        node.held += effects["letters"]
        node.deadline_ns = effects["deadline_ns"]
        self.refusals += [(node.number, status) for status in effects["refusals"]]
        for read, index, status in effects["reads"]:
            require(self.reads.get(read, 0) is None, f"read {read} was asked once and is answered once")
            require(
                status != 0 or index >= self.read_floor[read],
                f"read {read} sees all that was committed when it began",
            )
            self.reads[read] = (index, status)
            self.as_of[read] = effects["as_of"][read]
            self.tell(
                f"{node.number} answers read {read}: " + (f"from index {index}" if status == 0 else "refused")
            )
        node.fetches += effects["fetches"]
        node.repair_fetches += effects["repair_fetches"]
        self.check(node, effects["commit"])
        self.release(node)
        if not self.manual and node.pending:
            self.flush(node.number)
        while self.fetch and node.fetches:
            self.answer_fetch(node.number)
        while self.fetch and node.repair_fetches:
            self.answer_repair_fetch(node.number)

    def release(self, node: Node) -> None:
        """Letters whose write is durable leave, and must keep what they promise."""
        ready = [letter for letter in node.held if letter.after_io <= node.flushed]
        node.held = [letter for letter in node.held if letter.after_io > node.flushed]
        for letter in ready:
            term, vote = node.hard
            require(
                letter.term == 0 or term >= letter.term,
                f"{node.number} speaks in term {letter.term} before it is durable",
            )
            if letter.name == "vote-reply" and letter.fields["granted"]:
                require(
                    term > letter.term or vote == letter.target,
                    f"{node.number} grants a vote before it is durable",
                )
            if letter.name == "append-reply" and not letter.fields["rejected"]:
                _, _, durable = replay(node.disk)
                end = durable[-1].last if durable else 0
                require(
                    end >= letter.fields["match"] or term > letter.term,
                    f"{node.number} acknowledges {letter.fields['match']} before it is durable",
                )
            self.network.append(letter)

    # What must hold

    def check_promise(self, node: Node, letter: Letter) -> None:
        """When it is made; when it may leave, release looks at."""
        if letter.name == "vote":
            self.asked[node.number, letter.term] = (letter.fields["last_term"], letter.fields["last_index"])
        elif letter.name == "vote-reply" and letter.fields["granted"]:
            self.check_grant(node, letter)
        elif letter.name == "append-reply" and not letter.fields["rejected"]:
            self.check_acknowledged(node, letter)

    def check_grant(self, node: Node, letter: Letter) -> None:
        require(not node.listening, f"{node.number} grants a vote while it listens")
        mine = node.log[-1] if node.log else None
        theirs = self.asked.get((letter.target, letter.term))
        require(
            mine is None or theirs is None or theirs >= (mine.term, mine.last),
            f"{node.number} grants a vote to a log that is behind its own, faulty entries counted",
        )

    def check_acknowledged(self, node: Node, letter: Letter) -> None:
        counted = letter.fields["match"] - letter.fields["withheld"]
        require(not (node.listening and counted), f"{node.number} acknowledges {counted} while it listens")
        bad = [first for first, _ in node.known_bad]
        require(counted < min(bad, default=counted + 1), f"{node.number} acknowledges {counted}, {bad} being faulty")

    def check(self, node: Node, commit: int) -> None:
        assert node.raft is not None
        status = node.status()
        if status["role"] != node.role:
            node.role = status["role"]
            self.tell(f"{node.number} is {node.role} in term {status['term']}")
            if node.role == "leader":
                other = self.leaders.setdefault(status["term"], node.number)
                require(
                    other == node.number,
                    f"term {status['term']} has one leader, not {other} and {node.number}",
                )
                require(not node.known_bad, f"leader {node.number} has nothing faulty when it is elected")
                require(not node.listening, f"{node.number} does not lead while it listens")
                held = [batch.identity for batch in node.log]
                require(
                    held[: len(self.committed)] == self.committed,
                    f"leader {node.number} holds all that is committed",
                )
        require(
            [t for batch in node.log for t in [batch.term] * batch.count] == node.raft.terms(),
            f"the log of {node.number} is what it wrote",
        )
        self.check_commit(node, commit)
        for other in self.nodes.values():
            if other.up and other is not node:
                self.check_logs_match(node.log, other.log)

    def check_commit(self, node: Node, commit: int) -> None:
        require(commit >= node.commit, f"the commit index of {node.number} never falls")
        if commit == node.commit:
            return
        ends = [batch.last for batch in node.log]
        require(
            commit in ends,
            f"{node.number} commits whole batches up to the end of its log, not {commit} of {ends}",
        )
        mine = [batch.identity for batch in node.log[: ends.index(commit) + 1]]
        shared = min(len(mine), len(self.committed))
        require(
            mine[:shared] == self.committed[:shared],
            f"{node.number} commits what others have committed",
        )
        for identity in mine[shared:]:
            holders = sum(
                identity in [b.identity for b in replay(other.disk)[2]] or identity in other.forgotten
                for other in self.nodes.values()
            )
            require(
                2 * holders > len(self.nodes),
                f"committed index {identity[0]} lies on the disks of a majority",
            )
            self.committed.append(identity)
        node.commit = commit
        self.tell(f"{node.number} commits up to {commit}")

    def check_logs_match(self, a: list[Record], b: list[Record]) -> None:
        """5.3: the same index and term means the same entry, and the same log before it."""
        ours, theirs = [x.identity for x in a], [x.identity for x in b]
        meet = 0
        for i in range(min(len(ours), len(theirs))):
            if ours[i][:1] == theirs[i][:1] and ours[i][2] == theirs[i][2]:
                meet = i + 1
        require(ours[:meet] == theirs[:meet], f"logs that share an entry share all before it: {a} {b}")

    # Asking

    @property
    def committed_last(self) -> int:
        return int(self.committed[-1][0] + self.committed[-1][1] - 1) if self.committed else 0

    def role(self, number: int) -> str:
        return str(self.nodes[number].status()["role"])

    def leader(self) -> int | None:
        """The leader of the highest term, if a node leads."""
        leading = [
            (self.nodes[n].status()["term"], n)
            for n in self.numbers
            if self.nodes[n].up and self.role(n) == "leader"
        ]
        return max(leading)[1] if leading else None

    def elect(self, number: int) -> None:
        """Makes a node leader, the others having forgotten any other one."""
        for other in self.numbers:
            self.nodes[other].clock_ns += 150 * MS
        self.timeout(number)
        self.settle()
        require(self.role(number) == "leader", f"{number} was elected")

    def payloads(self, number: int) -> list[bytes]:
        """Committed entries of a node."""
        node = self.nodes[number]
        return [
            payload
            for batch in node.log
            if batch.last <= node.commit and batch.kind == "entries"
            for payload in batch.payloads
        ]
