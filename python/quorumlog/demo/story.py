"""The demo from beginning to end: elect, propose, kill, go on, restart, catch up, compare."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from quorumlog.demo.lines import page_of
from quorumlog.demo.proposers import Proposers
from quorumlog.demo.show import Show
from quorumlog.demo.source import BadInput, chunked, read_lines
from quorumlog.demo.verdict import NodeState, problems
from quorumlog.processes.channel import RemoteError, Worker, WorkerGone
from quorumlog.processes.fleet import Fleet, FleetError

NODES = 3
PAGE = 100_000
STEP_SECONDS = 0.02
PATIENCE_SECONDS = 60.0
SEGMENT_BYTES = 16 << 20


class DemoFailed(RuntimeError):
    """Something was lost, doubled or different, or the cluster did not get going again."""


@dataclass(frozen=True)
class DemoOptions:
    input_path: Path | None = None
    directory: Path | None = None
    proposers: int = 4
    batch: int = 64
    only_json: bool = False


@dataclass
class Syncs:
    """Syncs of each node over its lives: a restarted process counts from zero again."""

    total: dict[str, int] = field(default_factory=dict)
    _last: dict[str, int] = field(default_factory=dict)

    def saw(self, statuses: dict[str, dict[str, Any]]) -> None:
        for name, status in statuses.items():
            before, now = self._last.get(name), status["syncs"]
            if before is not None:
                gone = now - before if now >= before else now
                self.total[name] = self.total.get(name, 0) + gone
            self._last[name] = now


class Story:
    def __init__(self, options: DemoOptions, lines: list[bytes], root: Path, show: Show) -> None:
        self._lines = lines
        self._root = root
        self._show = show
        self._killed_event = threading.Event()
        self._killed = ""
        self._killed_term = 0
        self._killed_at = 0.0
        self._kill_failure: Exception | None = None
        self._syncs = Syncs()
        self._fleet = Fleet(
            root,
            NODES,
            "quorumlog.demo.worker",
            group="lines",
            machine="lines",
            options={"segment_bytes": SEGMENT_BYTES},
        )
        self._proposers = Proposers(
            chunked(lines, options.batch), self._alive, options.proposers, self._kill_leader
        )

    def _alive(self) -> list[Worker]:
        return [worker for worker in list(self._fleet.workers.values()) if worker.alive]

    def tell(self) -> dict[str, Any]:
        # The processes end first: then no proposer waits for an answer any more.
        try:
            with self._fleet as fleet:
                return self._tell(fleet)
        finally:
            self._proposers.stop()

    def _tell(self, fleet: Fleet) -> dict[str, Any]:
        self._show.say(f"three node processes are up; their data lies in {self._root}")
        leader = fleet.leader(PATIENCE_SECONDS)
        self._show.say(f"{leader} leads; proposing {len(self._lines):,} lines")
        began = time.perf_counter()
        self._proposers.start()
        self._until(self._killed_event.is_set, "half of the lines to be acknowledged")
        if self._kill_failure is not None:
            raise DemoFailed(f"the leader could not be found to be killed: {self._kill_failure}")
        self._show.say(f"{self._killed} led and was killed with SIGKILL")
        successor = fleet.leader(PATIENCE_SECONDS, other_than=self._killed)
        elected = time.perf_counter() - self._killed_at
        self._proposers.release()
        self._show.say(f"{successor} leads after {elected * 1000:,.0f} ms")
        self._until(lambda: self._resumed() is not None or self._proposers.done, "the new leader to commit")
        resumed = self._resumed()  # None: all was acknowledged before (an input of one proposal)
        without_leader = elected if resumed is None else resumed - self._killed_at
        restarted = time.perf_counter()
        fleet.restart(self._killed)
        self._show.say(f"{self._killed} is restarted and catches up")
        self._until(lambda: self._proposers.done, "all lines to be acknowledged")
        seconds = time.perf_counter() - began
        self._catch_up(fleet)
        caught_up = time.perf_counter() - restarted
        self._show.say("all lines are acknowledged, all nodes have caught up; comparing")
        states = [self._state(name) for name in fleet.names]
        found = problems(states, self._proposers.acknowledged, self._lines)
        self._syncs.saw(fleet.statuses())
        return self._result(seconds, elected, without_leader, caught_up, states, found)

    # ---- the death of the leader ----

    def _kill_leader(self) -> None:
        """Called by the proposer whose acknowledgement made it half."""
        try:
            self._killed = self._fleet.leader(PATIENCE_SECONDS)
            self._killed_term = self._fleet.workers[self._killed].call("status")["term"]
            self._killed_at = time.perf_counter()
            self._fleet.kill(self._killed)
        except (FleetError, WorkerGone, RemoteError) as error:
            self._kill_failure = error
        finally:
            self._killed_event.set()

    def _resumed(self) -> float | None:
        """When a proposal of a later term was first acknowledged."""
        later = [at for term, at in self._proposers.first_in_term.items() if term > self._killed_term]
        return min(later, default=None)

    # ---- waiting ----

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        before = len(self._proposers.acknowledged)
        while not condition():
            if self._proposers.failure is not None:
                raise DemoFailed(f"a proposer failed: {self._proposers.failure!r}")
            statuses = self._fleet.statuses()
            self._syncs.saw(statuses)
            now = len(self._proposers.acknowledged)
            self._show.update(now, len(self._lines), statuses)
            if now > before:  # patience is with standing still, not with large inputs
                before, deadline = now, time.monotonic() + PATIENCE_SECONDS
            if time.monotonic() > deadline:
                raise DemoFailed(f"waited {PATIENCE_SECONDS:g} s for {what}; the nodes say {statuses}")
            time.sleep(STEP_SECONDS)
        self._show.update(len(self._proposers.acknowledged), len(self._lines), self._fleet.statuses())

    def _catch_up(self, fleet: Fleet) -> None:
        for name, worker in fleet.workers.items():
            try:
                worker.call(
                    "wait_applied",
                    timeout=PATIENCE_SECONDS + 5,
                    index=self._proposers.last_index,
                    seconds=PATIENCE_SECONDS,
                )
            except RemoteError as error:
                raise DemoFailed(
                    f"{name} did not apply index {self._proposers.last_index}: {error}"
                ) from error

    # ---- the end ----

    def _state(self, name: str) -> NodeState:
        worker = self._fleet.workers[name]
        report = worker.call("report")
        order: list[int] = []
        while len(order) < report["lines"]:
            order += page_of(worker.call("order", start=len(order), count=PAGE))
        return NodeState(name, order, report["passed_over"], report["hash"])

    def _result(
        self,
        seconds: float,
        elected: float,
        without_leader: float,
        caught_up: float,
        states: list[NodeState],
        found: list[str],
    ) -> dict[str, Any]:
        proposers = self._proposers
        took = np.array([one for one, _ in proposers.latencies]) * 1e6
        weights = np.array([count for _, count in proposers.latencies])
        p50, p99, p999 = (round(float(v), 1) for v in np.percentile(np.repeat(took, weights), [50, 99, 99.9]))
        return {
            "lines": len(self._lines),
            "acknowledged": len(proposers.acknowledged),
            "seconds": round(seconds, 3),
            "entries_per_second": round(len(self._lines) / seconds, 1),
            "entries_per_second_with_a_leader": round(
                len(self._lines) / max(seconds - without_leader, 1e-9), 1
            ),
            "latency_us": {"p50": p50, "p99": p99, "p999": p999},
            "syncs_per_second": round(sum(self._syncs.total.values()) / seconds, 1),
            "syncs_by_node": dict(sorted(self._syncs.total.items())),
            "killed": self._killed,
            "new_leader_ms": round(elected * 1000, 1),
            "without_leader_ms": round(without_leader * 1000, 1),
            "caught_up_ms": round(caught_up * 1000, 1),
            "retried_with_unknown_outcome": proposers.retried_unknown,
            "retried_after_refusal": proposers.retried_refused,
            "passed_over_as_repeated": {one.name: one.passed_over for one in states},
            "state_hash": {one.name: one.hash for one in states},
            "data": str(self._root),
            "problems": found,
            "ok": not found,
        }


def run_demo(options: DemoOptions) -> dict[str, Any]:
    """Tells the story and shows it; DemoFailed when the end is not as it must be."""
    try:
        lines = read_lines(options.input_path)
    except (BadInput, OSError) as error:
        raise DemoFailed(str(error)) from error
    root = _empty_directory(options.directory)
    with Show(quiet=options.only_json) as show:
        try:
            result = Story(options, lines, root, show).tell()
        except (FleetError, WorkerGone, RemoteError) as error:
            raise DemoFailed(f"{error}; the data lies in {root}") from error
    if options.only_json:
        print(json.dumps(result), flush=True)
    else:
        show.result(result)
    if result["problems"]:
        raise DemoFailed("; ".join(result["problems"]) + f"; the data lies in {root}")
    return result


def _empty_directory(directory: Path | None) -> Path:
    if directory is None:
        return Path(tempfile.mkdtemp(prefix="quorumlog-demo-"))
    if directory.exists() and any(directory.iterdir()):
        raise DemoFailed(f"{directory} is not empty; name another one, or none for a new one in /tmp")
    directory.mkdir(parents=True, exist_ok=True)
    return directory
