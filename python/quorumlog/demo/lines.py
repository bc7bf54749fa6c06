"""The demo's state machine: lines in the order of the log, each once, whatever was proposed twice.

An entry is the line's id (u64, little-endian) and its bytes. A proposer whose outcome is unknown
proposes again under the same id; an id that was applied before is passed over. That makes retries
safe without the proposer's asking first, and works across nodes and their restarts.
"""

from __future__ import annotations

import base64
import hashlib
from array import array
from collections.abc import Iterable
from typing import Any

import quorumlog as ql

ID_BYTES = 8


def entry_of(line_id: int, line: bytes) -> bytes:
    return line_id.to_bytes(ID_BYTES, "little") + line


class Digest:
    """The hash of entries in order, lengths included: no two sequences look alike."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, entries: Iterable[bytes]) -> None:
        for entry in entries:
            self._hash.update(len(entry).to_bytes(4, "little"))
            self._hash.update(entry)

    def text(self) -> str:
        return self._hash.hexdigest()


class Lines(ql.StateMachine):
    def __init__(self) -> None:
        self._order = array("Q")
        self._seen: set[int] = set()
        self._digest = Digest()
        self._passed_over = 0

    def apply(self, batch: ql.Batch) -> None:
        if not batch.is_entries:  # what a new leader begins with
            return
        new = []
        for entry in batch:
            line_id = int.from_bytes(entry[:ID_BYTES], "little")
            if line_id in self._seen:
                self._passed_over += 1
                continue
            self._seen.add(line_id)
            self._order.append(line_id)
            new.append(entry)
        self._digest.add(new)

    def query(self, question: Any) -> Any:
        """`"report"`, or (start, count) for a page of the order of ids."""
        if question == "report":
            return {
                "lines": len(self._order),
                "passed_over": self._passed_over,
                "hash": self._digest.text(),
            }
        start, count = question
        page = self._order[start : start + count]
        return base64.b64encode(page.tobytes()).decode()


def page_of(text: str) -> list[int]:
    page = array("Q")
    page.frombytes(base64.b64decode(text))
    return page.tolist()
