"""How fast a snapshot is written, sent and installed, and what proposals notice of it.

    python bench/snapshot.py --mib 512

Three nodes of one process over loopback and the disk of the temporary directory; one caller that proposes 64 bytes
at a time and waits.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import quorumlog as ql

MIB = 1 << 20


class Large(ql.StateMachine):
    """Beside what is applied it has a state of so many MiB, of which a snapshot gives out views."""

    mib = 0
    block = memoryview(bytes(range(256)) * (MIB // 256))

    def __init__(self) -> None:
        self.restored_bytes = 0

    def apply_one(self, index: int, payload: bytes) -> None:
        return None

    def snapshot(self) -> Iterator[memoryview]:
        return (self.block for _ in range(self.mib))

    def restore(self, source: Iterable[bytes]) -> None:
        self.restored_bytes = sum(map(len, source))


def quantiles(seconds: list[float]) -> dict[str, float]:
    seconds.sort()
    return {
        "proposals": len(seconds),
        "p50_ms": round(seconds[len(seconds) // 2] * 1e3, 3),
        "p99_ms": round(seconds[len(seconds) * 99 // 100] * 1e3, 3),
        "max_ms": round(seconds[-1] * 1e3, 3),
    }


def propose_until(group: ql.Group, ended: threading.Event) -> list[float]:
    seconds = []
    while not ended.is_set():
        before = time.perf_counter()
        group.propose(bytes(64), timeout=60)
        seconds.append(time.perf_counter() - before)
    return seconds


def timed(group: ql.Group, work: Any) -> tuple[float, dict[str, float]]:
    """Seconds that the work took in a thread of its own, and the latencies of proposals meanwhile."""
    ended = threading.Event()
    took = []

    def run() -> None:
        before = time.perf_counter()
        work()
        took.append(time.perf_counter() - before)
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    seconds = propose_until(group, ended)
    thread.join()
    return took[0], quantiles(seconds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", type=int, default=512, help="size of the state")
    parser.add_argument("--rate-mib", type=int, default=0, help="bound of the sending rate in MiB/s; 0: none")
    arguments = parser.parse_args()
    Large.mib = arguments.mib
    options = ql.RaftOptions(
        snapshot_log_bytes=0, retained_log_bytes=0, snapshot_bytes_per_s=arguments.rate_mib * MIB, election_timeout=2)
    with ql.LocalCluster(3, Large, raft=options) as cluster:
        leader = cluster.leader()
        late = next(name for name in cluster.names if name != leader.node_name)
        pause = threading.Event()
        _, idle = timed(leader, lambda: pause.wait(3))
        cluster.stop(late)
        made, while_made = timed(leader, lambda: leader.snapshot(timeout=600))

        while leader.status().first <= leader.status().snapshot_index - 100:      # the head waited for the late one
            leader.propose(bytes(64))
            leader.snapshot(timeout=600)

        def catch_up() -> None:
            group = cluster.start(late)
            group.wait_applied(leader.status().snapshot_index, timeout=600)

        installed, while_sent = timed(leader, catch_up)
    print(json.dumps({
        "state_mib": arguments.mib,
        "made_mb_per_s": round(arguments.mib * MIB / made / 1e6),
        "sent_and_installed_mb_per_s": round(arguments.mib * MIB / installed / 1e6),
        "idle": idle, "while_made": while_made, "while_sent": while_sent,
    }, indent=2))


if __name__ == "__main__":
    main()
