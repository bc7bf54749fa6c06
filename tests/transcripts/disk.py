"""What lies on a simulated disk, and what must hold there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from quorumlog._core.bridge.testing_raft import Record


class Violated(AssertionError):
    pass


def require(condition: object, sentence: str) -> None:
    if not condition:
        raise Violated(sentence)


class Repair:
    """On a disk: what the log has there already, once more."""

    kind = "repair"

    def __init__(self, record: Record) -> None:
        self.record = record

    def __repr__(self) -> str:
        return f"{self.record!r} once more"


def replay(records: Iterable[tuple[int, Any]]) -> tuple[int, int, list[Record]]:
    """Term, vote and log that a disk holds."""
    term = vote = 0
    log: list[Record] = []
    for _, record in records:
        if record.kind == "hard state":
            require(record.term >= term, "a hard state on disk never goes back")
            require(record.term > term or vote in (0, record.vote), "a node votes once in a term")
            term, vote = record.term, record.vote
        elif record.kind == "repair":
            there = [batch.identity for batch in log if batch.first == record.record.first]
            require(there == [record.record.identity], f"{record!r} is what lies there: {there}")
        elif record.kind == "truncate":
            log = [batch for batch in log if batch.last < record.first]
        else:
            end = log[-1].last if log else 0
            require(record.first == end + 1, f"{record!r} on disk continues the log that ends at {end}")
            log.append(record)
    return term, vote, log
