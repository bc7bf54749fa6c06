"""The language of the log's plays: the real write-ahead log over a virtual disk, one line, one command.

Like the plays of stage.py: lines that begin with "> " are commands, the indented lines behind
one are what happened, all else is prose, and `pytest --rewrite` writes what happens now.

    log                       a new disk, and on it a log with one group, open and flushed
    append TERM WORD...       one batch with these entries, behind the last
    fill TERM BYTES           one batch of one large entry
    vote TERM NODE            a hard state
    truncate TERM FIRST       what lies at FIRST and behind is superseded
    compact FIRST             entries before FIRST are not needed any more
    plan                      the next write: its number
    write N                   plan N's bytes go into the page cache
    complete N                it is synced and reported; plans may complete in any order
    settle                    plan, write and complete all there is
    prepare                   spare segments are made ready, heads that nobody needs are used again
    fail write|sync|read [ENOSPC]     the next call of that kind fails
    crash                     the process alone: the page cache stays
    power kept|lost|SEED      the power too: what is not synced is all kept, all lost, or each as drawn
    corrupt WORD              a bit of the entry WORD changes on the disk
    open                      recovery, and what it found
    read INDEX                the batch that holds it, from the disk, verified
"""

from __future__ import annotations

import errno

from quorumlog._core.bridge.testing_disk import VirtualDisk
from quorumlog._core.bridge.testing_disk_log import DiskLog, LogRefused

GROUP = 1
SEGMENT_BYTES = 64 << 10
STATUS = {40: "an I/O error", 42: "corrupt", 52: "not found"}
KEPT, OLD = 1, 0


class LogStage:
    def __init__(self) -> None:
        self.disk = VirtualDisk(seed=1)
        self.disk.make_directory("wal")
        self.disk.sync_directory("/")
        self.log: DiskLog | None = None
        self.last = 0
        self.terms: dict[int, int] = {0: 0}

    def command(self, line: str) -> list[str]:
        words = line.split()
        said = getattr(self, "do_" + words[0])(*words[1:])
        return said if isinstance(said, list) else [said] if said else []

    @property
    def running(self) -> DiskLog:
        assert self.log is not None, "the log is open"
        return self.log

    # The log

    def do_log(self) -> list[str]:
        self.__init__()  # type: ignore[misc]
        self.log = DiskLog(self.disk, segment_bytes=SEGMENT_BYTES)
        self.log.open_group(GROUP, "play")
        self.log.settle()
        return []

    def do_append(self, term: str, *entries: str) -> str:
        wsn = self.running.append(GROUP, int(term), self.last + 1, [entry.encode() for entry in entries])
        if wsn == 0:
            return "refused: the log is poisoned"
        first, self.last = self.last + 1, self.last + len(entries)
        self.terms.update({index: int(term) for index in range(first, self.last + 1)})
        return f"entries {first}..{self.last} are WSN {wsn}" if first != self.last else f"entry {first} is WSN {wsn}"

    def do_fill(self, term: str, size: str) -> str:
        return self.do_append(term, "x" * int(size))

    def do_vote(self, term: str, node: str) -> str:
        return f"the vote is WSN {self.running.hard_state(GROUP, int(term), int(node))}"

    def do_truncate(self, term: str, first: str) -> str:
        self.last = int(first) - 1
        return f"the truncation is WSN {self.running.truncate(GROUP, int(term), int(first))}"

    def do_compact(self, first: str) -> str:
        wsn = self.running.compact(GROUP, int(first), self.terms[int(first) - 1])
        return f"the new head is WSN {wsn}"

    # Writing

    def do_plan(self) -> str:
        try:
            number = self.running.plan()
        except LogRefused:
            return "refused: the log is poisoned"
        return "nothing to write, or two in flight" if number is None else f"plan {number}"

    def do_write(self, number: str) -> str:
        return self.failure(self.running.write(int(number)))

    def do_complete(self, number: str) -> list[str]:
        error = self.running.finish(int(number))
        said = [self.failure(error)] if error else []
        poisoned = ", and the log is poisoned" if self.running.poisoned else ""
        return [*said, f"flushed up to WSN {self.running.flushed}{poisoned}"]

    def do_settle(self) -> str:
        self.running.settle()
        self.running.settle(mark=True)
        return f"flushed up to WSN {self.running.flushed}"

    def do_prepare(self) -> str:
        before = len(self.segments())
        self.running.prepare()
        return f"segments: {before}, then {len(self.segments())}"

    def segments(self) -> list[str]:
        return [path for path in self.disk.paths() if path.endswith(".qlog")]

    def failure(self, error: int) -> str:
        return f"fails: {errno.errorcode[error]}" if error else ""

    # The disk

    def do_fail(self, operation: str, error: str = "EIO") -> None:
        self.disk.fail(operation, getattr(errno, error))

    def do_crash(self) -> None:
        self.running.abandon()
        self.log = None

    def do_power(self, fate: str) -> str:
        if self.log is not None:
            self.do_crash()
        if fate.isdigit():
            self.disk.power_cut(int(fate))
            return ""
        fates = len(self.disk.fates())
        kept = fate == "kept"
        changes = self.disk.pending_changes if kept else 0
        self.disk.cut_as(bytes([KEPT if kept else OLD]) * fates, changes)
        return f"{fates} unsynced sectors are {fate}" if fates else "everything was synced"

    def do_corrupt(self, word: str) -> str:
        for path in sorted(self.disk.paths()):
            content = bytes(self.disk.content(path)) if path.endswith(".qlog") else b""
            at = content.find(word.encode())
            if at >= 0:
                self.disk.overwrite(path, at, bytes([content[at] ^ 1]))
                return f"in {path}"
        raise AssertionError(f"no file holds {word}")

    # Finding again

    def do_open(self) -> list[str]:
        try:
            self.log = DiskLog(self.disk, segment_bytes=SEGMENT_BYTES)
        except LogRefused as refused:
            return [f"refuses to open: {refused.args[1]}"]
        found = self.log.groups.get(GROUP)
        if found is None:
            return ["no group is left"]
        self.last = found["last"]
        said = [f"entries {found['first']}..{found['last']}"]
        if found["hard_state"] != (0, 0):
            said.append("a vote for {1} in term {0}".format(*found["hard_state"]))
        if found["unproved_last"]:
            said.append(f"perhaps acknowledged up to {found['unproved_last']}")
        if found["faulty"][0]:
            said.append(f"corrupt: entries {found['faulty'][0]}..{found['faulty'][1]}, {self.log.detail}")
        return said

    def do_read(self, index: str) -> str:
        status, _, term, first, entries = self.running.read(GROUP, int(index))
        if status:
            return f"refused: {STATUS.get(status, status)}"
        words = " ".join(entry.decode() if len(entry) < 80 else f"{len(entry)} bytes" for entry in entries)
        return f"{words} of term {term}, from {first} on"


def perform(text: str) -> str:
    """The same play with what happens now."""
    stage = LogStage()
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("> "):
            lines.append(line)
            lines += ["  " + said for said in stage.command(line[2:])]
        elif not line.startswith("  "):
            lines.append(line)
    return "\n".join(lines) + "\n"
