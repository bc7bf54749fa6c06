"""Many seeds of the simulation on all cores, and what they add up to."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from quorumlog.testing.simulations import simulation_of

__all__ = ["Campaign", "Verdict", "faults_wanted", "marks_wanted"]

# From so many seeds on, a run of the default profile must have met every mark.
SEEDS_FOR_ALL_MARKS = 1000
# In a worker's life; a new process now and then bounds what an aborting seed takes with it.
SEEDS_PER_WORKER = 500


@dataclass(frozen=True)
class Verdict:
    """One seed's outcome: `failure` is empty if everything held."""

    seed: int
    failure: str
    numbers: dict[str, Any]


@dataclass
class Campaign:
    """Runs seeds `first` to `first + count - 1`; `results` yields them as they come, then the sums are there."""

    first: int
    count: int
    protocol: str = "raft"
    profile: str = "swarm"
    nodes: int = 0
    workers: int = field(default_factory=lambda: max(1, min(os.cpu_count() or 1, 16)))
    environment: dict[str, str] = field(default_factory=dict)
    stop_at_failure: bool = False

    def __post_init__(self) -> None:
        self.failures: list[Verdict] = []
        self.seeds = 0
        self.cpu_seconds = 0.0
        self.virtual_ms = 0
        self.timeouts_to_progress = 0.0
        self.faults: Counter[str] = Counter()
        self.marks: Counter[str] = Counter()
        self.sums: Counter[str] = Counter()
        self.combinations: set[frozenset[str]] = set()
        self._hashes: dict[int, int] = {}

    # Running

    def results(self) -> Iterator[Verdict]:
        """One verdict for each seed, in no particular order."""
        at = self.first
        end = self.first + self.count
        while at < end and not (self.stop_at_failure and self.failures):
            count = min(end - at, SEEDS_PER_WORKER * self.workers)
            yield from self._batch(at, count)
            at += count

    def _batch(self, first: int, count: int) -> Iterator[Verdict]:
        running = []
        for number in range(min(self.workers, count)):
            share = (count - number + self.workers - 1) // self.workers
            running.append(self._start(first + number, share, self.workers))
        for process in running:
            yield from self._read(process)

    def _start(self, first: int, count: int, step: int) -> subprocess.Popen[str]:
        arguments = [self.protocol, self.profile, *map(str, (self.nodes, first, count, step))]
        return subprocess.Popen(
            [sys.executable, "-m", "quorumlog.testing.worker", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.environment},
        )

    def _read(self, process: subprocess.Popen[str]) -> Iterator[Verdict]:
        out, err = process.communicate()
        begun: int | None = None
        for text in out.splitlines():
            line = json.loads(text)
            if "begins" in line:
                begun = int(line["begins"])
            elif "cpu_seconds" in line:
                self.cpu_seconds += float(line["cpu_seconds"])
                return
            else:
                begun = None
                yield self._take(line)
        if begun is None:
            raise RuntimeError(f"a worker of the simulation did not run: {err.strip()[-600:]}")
        # A seed that was begun and not ended aborted; its last words are the failure.
        said = [text for text in err.splitlines() if "InvariantViolation" in text]
        words = said[-1].removeprefix("quorumlog: ") if said else f"aborted: {err.strip()[-300:]}"
        yield self._take({"seed": begun, "failure": words})

    def _take(self, numbers: dict[str, Any]) -> Verdict:
        verdict = Verdict(int(numbers["seed"]), str(numbers["failure"]), numbers)
        self.seeds += 1
        self._hashes[verdict.seed] = int(numbers.get("hash", 0))
        self.virtual_ms += int(numbers.get("virtual_ms", 0))
        self.timeouts_to_progress = max(
            self.timeouts_to_progress, float(numbers.get("timeouts_to_progress") or 0.0)
        )
        self.faults.update(numbers.get("faults", {}))
        self.marks.update(numbers.get("marks", {}))
        self.combinations.add(frozenset(numbers.get("marks", {})))
        self.sums.update({name: value for name, value in numbers.items() if name in SUMMED})
        if verdict.failure:
            self.failures.append(verdict)
        return verdict

    # What it adds up to

    @property
    def event_hash(self) -> str:
        """Of the hashes of all seeds, in the order of seeds: equal for equal campaigns."""
        digest = hashlib.sha256()
        for seed in sorted(self._hashes):
            digest.update(self._hashes[seed].to_bytes(8, "little"))
        return digest.hexdigest()[:16]

    @property
    def missing_marks(self) -> list[str]:
        """Rare paths that nobody took, when there were seeds enough for all of them."""
        if self.profile != "swarm" or self.nodes or self.count < SEEDS_FOR_ALL_MARKS:
            return []
        return [name for name in marks_wanted(self.protocol) if not self.marks[name]]

    def report(self) -> dict[str, Any]:
        """As `quorumlog sim --json` prints it."""
        return {
            "protocol": self.protocol,
            "profile": self.profile,
            "first_seed": self.first,
            "seeds": self.seeds,
            "violations": len(self.failures),
            "failures": [{"seed": v.seed, "failure": v.failure} for v in self.failures],
            "simulated_hours": round(self.virtual_ms / 3_600_000, 4),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "max_timeouts_to_progress": round(self.timeouts_to_progress, 2),
            **{name: self.sums[name] for name in SUMMED},
            "faults": dict(sorted(self.faults.items())),
            "marks": {name: self.marks[name] for name in marks_wanted(self.protocol)},
            "mark_combinations": len(self.combinations),
            "missing_marks": self.missing_marks,
            "event_hash": self.event_hash,
        }


# What only runs of one protocol can meet.
MARKS_OF = {
    "raft": frozenset((
        # Logs that are truncated, tails that nobody can prove
        *("truncated", "truncated_many", "old_term_committed", "unproved_tail", "tail_settled"),
        # Leases, ages of what is known, leadership handed over
        *("read_by_lease", "read_bounded", "handed_over", "transfer_given_up", "disk_stalled"),
        # Snapshots, and heads that go
        *("compacted", "segment_retired", "snapshot_made", "snapshot_failed", "snapshot_installed", "suffix_kept"),
        *("snapshot_restored", "snapshot_crashed", "snapshot_damaged", "snapshot_needed", "install_redone"),
        "pieces_resumed",
        # What is lost, and comes back
        *("damaged", "damage_found", "damage_outlived", "hole_found", "listens", "admitted", "admitted_wiped"),
        *("fault_read", "fault_scrubbed", "repair_served", "repaired", "repaired_leading", "stood_down_faulty"),
        *("all_rotten", "whole_again"),
    )),
    "paxos": frozenset(("proposed_again",)),
}
FAULTS_OF_RAFT = frozenset((
    *("wipe", "bit_rot", "zeroed_sector", "misdirected_sector", "stale_sector", "lost_tail", "rotten_batch"),
))

SUMMED = ("events", "operations", "acked", "reads_served", "messages", "recoveries", "leader_changes", "truncations")


def marks_wanted(protocol: str = "raft") -> tuple[str, ...]:
    """The names of all marks that runs of the protocol can meet."""
    names: tuple[str, ...] = simulation_of(protocol).MARK_NAMES
    others = frozenset[str]().union(*(marks for of, marks in MARKS_OF.items() if of != protocol))
    return tuple(name for name in names if protocol not in MARKS_OF or name not in others)


def faults_wanted(protocol: str = "raft") -> tuple[str, ...]:
    """The names of all faults that befall Raft or Paxos: disks of groups of slots are not damaged yet."""
    names: tuple[str, ...] = simulation_of(protocol).FAULTS
    return tuple(name for name in names if protocol == "raft" or name not in FAULTS_OF_RAFT)
