"""State machines for benchmarks: none at all, or one that does a little NumPy work per batch."""

from __future__ import annotations

from typing import Any

import numpy as np

import quorumlog as ql


class SumMachine(ql.StateMachine):
    """Counts entries and sums the payload's 64-bit words modulo 2**64, a batch at a time."""

    def __init__(self) -> None:
        self.entries = 0
        self.total = 0

    def apply(self, batch: ql.Batch) -> None:
        if not batch.is_entries:
            return
        payload = batch.payload
        words = payload[: len(payload) // 8 * 8].view(np.uint64)
        self.entries += batch.count
        self.total = (self.total + int(words.sum(dtype=np.uint64))) % 2**64

    def query(self, question: Any) -> tuple[int, int]:
        return self.entries, self.total


def make_machine(name: str) -> ql.StateMachine | None:
    return SumMachine() if name == "python" else None


def state_of(machine: ql.StateMachine | None) -> list[int]:
    return [machine.entries, machine.total] if isinstance(machine, SumMachine) else []
