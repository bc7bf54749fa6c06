"""The language of the plays: one line, one command, and what the nodes do about it.

A play is a text file.  Lines that begin with "> " are commands; the indented lines
behind one are what happened; all else is prose.  `pytest --rewrite` writes what happens
now into the files, for a reader of the diff to judge.

    nodes N [manual] [small] [leases]    a new world; manual: writes wait for `flush`;
                                small: one batch a message; leases: clocks may be off by 5 %
    timeout N                   N's clock reaches its deadline
    elect N                     N times out when nobody has heard a leader; milestones only
    pass MS                     time goes by, everything is delivered; milestones only
    tick MS [N]                 clocks go on (one node's only), nothing is delivered
    deliver [A] [to B] [KIND]   what lies in the network now
    settle                      deliver and sync until all is quiet; milestones only
    drop | double [A] [to B] [KIND]
    reorder [A] [to B] [KIND]     the newest of these goes to the front
    remember [A] [to B] [KIND]    somebody keeps a copy of these
    replay                        and all that was kept comes again
    propose N WORD...           one batch with these entries
    read N NUMBER [lease | as-of]
    break N                     N's lease, as before a transfer of leadership
    transfer N [A]              leadership is to go to A, or to whom it fits best
    flush N [K]                 all (the oldest K) waiting writes become durable
    crash N | start N [unproved I] | tear N K
    restart N [K]                 crash and start; K waiting writes reached the disk
    fill N TERM... [; term T]   a crashed node's disk
    cut A B | oneway A B | isolate N | heal
    nodes? | logs | network     what is there
"""

from __future__ import annotations

from typing import Any

from world import World

from quorumlog._core.bridge.testing_raft import Letter

REFUSALS = {
    1: "there is no such voter",
    10: "not leader",
    11: "overloaded",
    14: "busy",
    15: "handing over",
    22: "nobody is there to take over",
}
QUIET = ("elect", "pass", "settle")


def milestone(line: str) -> bool:
    return (
        " hears " not in line
        and " never hears " not in line
        and "writes hard" not in line
        and (" is " in line or " commits " in line or " answers " in line or "truncate" in line)
    )


class Stage:
    def __init__(self) -> None:
        self.world = World(1)
        self.remembered: list[Letter] = []

    def command(self, line: str) -> list[str]:
        """What one command makes happen."""
        words = line.split()
        before = len(self.world.story)
        old = self.world
        said = getattr(self, "do_" + words[0].rstrip("?"))(words[1:]) or []
        story = self.world.story[before if self.world is old else 0 :]
        return [s for s in story if words[0] not in QUIET or milestone(s)] + said

    def do_nodes(self, words: list[str]) -> list[str]:
        if not words:
            return [self.describe(n) for n in self.world.numbers]
        options: dict[str, Any] = {"append_bytes_max": 1} if "small" in words else {}
        if "leases" in words:
            options |= {"leases": True, "clock_drift_ppm": 50_000}
        self.world = World(int(words[0]), manual="manual" in words, **options)
        return []

    def describe(self, number: int) -> str:
        node = self.world.nodes[number]
        if not node.up:
            return f"{number}: down"
        status = node.status()
        leader = f", follows {status['leader']}" if status["leader"] not in (0, number) else ""
        unproved = f", unproved to {status['unproved_last']}" if status["unproved_last"] else ""
        said = f"{status['role']} in term {status['term']}{leader}, commit {status['commit']}"
        return f"{number}: {said}{unproved}"

    def do_logs(self, words: list[str]) -> list[str]:
        found = []
        for number in self.world.numbers:
            node = self.world.nodes[number]
            terms = (
                " ".join(str(batch.term) for batch in node.log for _ in range(batch.count))
                if node.up
                else "down"
            )
            found.append(f"{number}: {terms}")
        return found

    def do_network(self, words: list[str]) -> list[str]:
        return [f"{x.sender} to {x.target}: {x!r}" for x in self.world.network]

    def do_timeout(self, words: list[str]) -> None:
        self.world.timeout(int(words[0]))

    def do_elect(self, words: list[str]) -> None:
        self.world.elect(int(words[0]))

    def do_pass(self, words: list[str]) -> None:
        self.world.live(int(words[0]))

    def do_tick(self, words: list[str]) -> None:
        self.world.advance(int(words[0]), [int(w) for w in words[1:]] or None)

    def do_settle(self, words: list[str]) -> None:
        self.world.settle()

    def route(self, words: list[str]) -> tuple[int | None, int | None, str | None]:
        sender = target = kind = None
        while words:
            word, words = words[0], words[1:]
            if word == "to":
                target, words = int(words[0]), words[1:]
            elif word.isdigit():
                sender = int(word)
            else:
                kind = word
        return sender, target, kind

    def do_deliver(self, words: list[str]) -> None:
        self.world.deliver(*self.route(words))

    def do_drop(self, words: list[str]) -> list[str]:
        return [f"lost from {x.sender} to {x.target}: {x!r}" for x in self.world.drop(*self.route(words))]

    def do_double(self, words: list[str]) -> list[str]:
        twice = self.world.waiting(*self.route(words))
        self.world.network += twice
        return [f"twice from {x.sender} to {x.target}: {x!r}" for x in twice]

    def do_reorder(self, words: list[str]) -> None:
        first = self.world.waiting(*self.route(words))[-1]
        self.world.network = [first, *(x for x in self.world.network if x is not first)]

    def do_remember(self, words: list[str]) -> list[str]:
        kept = self.world.waiting(*self.route(words))
        self.remembered += kept
        return [f"kept from {x.sender} to {x.target}: {x!r}" for x in kept]

    def do_replay(self, words: list[str]) -> None:
        self.world.network += self.remembered
        self.remembered = []
        self.world.deliver()

    def do_restart(self, words: list[str]) -> None:
        self.world.crash(int(words[0]), keep=int(words[1]) if len(words) > 1 else 0)
        self.world.start(int(words[0]))

    def do_propose(self, words: list[str]) -> list[str]:
        refused = len(self.world.refusals)
        self.world.propose(int(words[0]), *[word.encode() for word in words[1:]])
        return [
            f"{n} refuses: " + REFUSALS[status] for n, status in self.world.refusals[refused:]
        ]

    def do_transfer(self, words: list[str]) -> list[str]:
        status = self.world.transfer(*[int(word) for word in words])
        return [f"{words[0]} refuses: {REFUSALS[status]}"] if status else []

    def do_read(self, words: list[str]) -> None:
        self.world.read(int(words[0]), int(words[1]), *words[2:])

    def do_break(self, words: list[str]) -> None:
        self.world.break_lease(int(words[0]))

    def do_flush(self, words: list[str]) -> None:
        self.world.flush(int(words[0]), int(words[1]) if len(words) > 1 else None)

    def do_crash(self, words: list[str]) -> None:
        for word in words:
            self.world.crash(int(word))

    def do_start(self, words: list[str]) -> None:
        unproved = int(words[words.index("unproved") + 1]) if "unproved" in words else 0
        self.world.start(int(words[0]), unproved_last=unproved)

    def do_tear(self, words: list[str]) -> list[str]:
        reached = self.world.tear(int(words[0]), int(words[1]))
        return [f"{words[0]} loses the end of its log, which reached {reached}"]

    def do_fill(self, words: list[str]) -> None:
        line = " ".join(words)
        entries, _, term = line.partition("; term")
        number, *terms = [int(word) for word in entries.split()]
        self.world.fill(number, terms, term=int(term) if term else max([0, *terms]))

    def do_cut(self, words: list[str]) -> None:
        self.world.cut(int(words[0]), int(words[1]))

    def do_oneway(self, words: list[str]) -> None:
        self.world.cut(int(words[0]), int(words[1]), one_way=True)

    def do_isolate(self, words: list[str]) -> None:
        self.world.isolate(int(words[0]))

    def do_heal(self, words: list[str]) -> None:
        self.world.heal()


def perform(text: str) -> str:
    """The same play with what happens now."""
    stage = Stage()
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("> "):
            lines.append(line)
            lines += ["  " + said for said in stage.command(line[2:])]
        elif not line.startswith("  "):
            lines.append(line)
    return "\n".join(lines) + "\n"
