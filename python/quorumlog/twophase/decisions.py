"""The decision log over `quorumlog.Log`: durable before it is believed, one sync for all who decide at once."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from quorumlog._core.bridge.twophase import DECISIONS, VERDICTS, DecisionTable, decode_decision, encode_decision
from quorumlog.errors import StorageError
from quorumlog.log import Log
from quorumlog.machine import Batch
from quorumlog.names import id_of
from quorumlog.twophase.txid import Txid

__all__ = ["DecisionLog", "InDoubt"]

NOBODY = Txid(0, 0, 0, 0)
UNFINISHED_MAX = 16384
REMEMBERED_MAX = 16384
# Records beyond those that matter, from which on the log's head is let go when it is opened.
SURPLUS_MAX = 100_000


class InDoubt(NamedTuple):
    """A branch that is prepared and that nobody can decide but an operator (`Coordinator.resolve`)."""

    txid: Txid
    participant: str
    why: str


class DecisionLog:
    """What has been decided, by the records of one log.  Thread-safe.

    Classic two-phase commit: while the process that has the log is down, what is prepared waits for it.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._pending: list[tuple[int, bytes]] = []       # appended, in order; not yet known durable
        self._said: dict[int, tuple[int, int, int]] = {}   # by index, for whoever waits
        self.table = DecisionTable(UNFINISHED_MAX, REMEMBERED_MAX)
        self.names: dict[int, str] = {}
        self._coordinator_names: dict[int, bytes] = {}
        for batch in log:
            for record in entries(batch):
                self._apply(record)
        self._drop_head()

    def open_coordinator(self, name: str) -> Txid:
        """A new life of the coordinator of this name, which fences its earlier ones; durable when it returns."""
        nonce = secrets.randbits(32) | 1
        drawn = Txid(secrets.randbits(64) | 1, 0, nonce, 0)
        said, coordinator, incarnation = self._write(
            encode_decision(DECISIONS["incarnation"], drawn.parts, text=name.encode())
        )
        if said != VERDICTS["taken"]:
            raise StorageError(f"the decision log has no room for the coordinator {name!r}")
        return Txid(coordinator, incarnation, nonce, 0)

    def commit(self, txid: Txid, participants: Iterable[str]) -> int:
        """Asks for a commit; what the log says (`VERDICTS`), durable when it returns."""
        names = tuple(participants)
        return self._write(
            encode_decision(
                DECISIONS["commit"],
                txid.parts,
                branches=tuple(id_of(name) for name in names),
                text=b"\0".join(name.encode() for name in names),
            )
        )[0]

    def end(self, txid: Txid) -> None:
        """Every branch has committed.  Durable with the next sync: until then it would be found unfinished again."""
        self._append(encode_decision(DECISIONS["end"], txid.parts))

    def resolve(self, txid: Txid, verdict: int, reason: str) -> int:
        """An operator's decision; what the log says, durable when it returns."""
        return self._write(
            encode_decision(DECISIONS["resolve"], txid.parts, outcome=verdict, text=reason.encode()[:4096])
        )[0]

    def doubt(self, txid: Txid) -> int:
        """Nothing is presumed any more of the transactions of this coordinator, up to this incarnation."""
        return self._write(encode_decision(DECISIONS["doubt"], txid.parts))[0]

    def unfinished(self) -> list[tuple[Txid, tuple[int, ...]]]:
        """Commits whose end is not written: (id, ids of the participants)."""
        commit = VERDICTS["commit"]
        return [
            (Txid(*txid), branches)
            for txid, outcome, ended, resolved, branches in self.table.decided()
            if outcome == commit and not ended and not resolved
        ]

    def outcome(self, txid: Txid) -> int:
        """What became of it, as a verdict."""
        return self.table.outcome(txid.parts)

    def close(self) -> None:
        """Makes the ends durable.  The log stays open: it is its owner's."""
        if self._pending:
            self._log.sync()

    def _append(self, record: bytes) -> int:
        with self._lock:
            index = self._log.append(record)
            self._pending.append((index, record))
            return index

    def _write(self, record: bytes) -> tuple[int, int, int]:
        index = self._append(record)
        with self._lock:
            self._said[index] = (0, 0, 0)
        self._log.sync()
        with self._lock:
            while self._pending and self._pending[0][0] <= index:
                at, durable = self._pending.pop(0)
                said = self._apply(durable)
                if at in self._said:
                    self._said[at] = said
            return self._said.pop(index)

    def _apply(self, record: bytes) -> tuple[int, int, int]:
        kind, txid, _, _, branches, text = decode_decision(record)
        said = self.table.apply(record)
        if kind in (DECISIONS["commit"], DECISIONS["kept_outcome"]) and text:
            self.names.update(zip(branches, (part.decode() for part in text.split(b"\0")), strict=True))
        elif kind == DECISIONS["incarnation"]:
            self._coordinator_names[said[1]] = text
        elif kind == DECISIONS["kept_coordinator"]:
            self._coordinator_names[txid[0]] = text
        return said

    def _drop_head(self) -> None:
        """Says again what still matters, in one batch, and lets go of what lies before it."""
        if len(self._log) < SURPLUS_MAX:
            return
        span = self._log.append_many(list(self._kept()))
        self._log.sync()
        self._log.compact(span.first)

    def _kept(self) -> Iterator[bytes]:
        for coordinator, _, fenced, doubtful, nonces in self.table.coordinators():
            for incarnation, nonce in nonces.items():
                yield encode_decision(
                    DECISIONS["kept_coordinator"],
                    (coordinator, incarnation, nonce, 2**64 - 1),
                    extra=fenced | doubtful << 32,
                    text=self._coordinator_names.get(coordinator, b""),
                )
        for txid, outcome, ended, resolved, branches in self.table.decided():
            yield encode_decision(
                DECISIONS["kept_outcome"],
                txid,
                outcome=outcome,
                extra=ended | resolved << 1,
                branches=branches,
                text=b"\0".join(self.names[branch].encode() for branch in branches),
            )


def entries(batch: Batch) -> Iterator[bytes]:
    """The records of a batch of the log."""
    offsets = batch.offsets
    payload = batch.payload
    for place in range(len(offsets) - 1):
        yield payload[offsets[place] : offsets[place + 1]].tobytes()
