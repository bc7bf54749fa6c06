"""A fast durable log for one process: the write-ahead log of a node, alone.

with Log.open("var/events") as log:
    log.append_many([b"a", b"b"])
    log.sync()                      # durable from here on
    for batch in log:
        print(batch.first, batch.payload)
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from quorumlog._core.bridge.log import LogCore
from quorumlog.errors import UsageError
from quorumlog.machine import Batch

__all__ = ["Log", "LogStatus", "Span"]

MIB = 1 << 20


class Span(NamedTuple):
    """Indexes from `first` up to, but without, `end`."""

    first: int
    end: int


class LogStatus(NamedTuple):
    """Figures of a log.  Write sequence numbers (WSN) count records, not entries."""

    appended_wsn: int
    flushed_wsn: int
    pending_bytes: int
    syncs: int
    bytes_written: int
    segments: int
    spare_segments: int


class Log:
    """Entries by index, from 1, in batches that are kept or lost as a whole.

    One process at a time may have a directory open.  Calls may come from any thread.
    """

    def __init__(self, core: LogCore) -> None:
        self._core = core

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        segment_bytes: int = 64 * MIB,
        spare_segments: int = 2,
        memory_bytes: int = 256 * MIB,
        cache_bytes: int = 16 * MIB,
        direct: bool = True,
    ) -> Self:
        """Opens the log in a directory, which is made if it isn't there.

        Args:
            path: the directory.
            segment_bytes: size of one file of the log, 1 MiB to 2 GiB; one batch takes at most half of it.
            spare_segments: files made ready ahead of use by a thread of the log's own, at most 8.
            memory_bytes: bound for batches appended and not yet written, and as much again for views that
                were read and are still held.
            cache_bytes: bound for indexes of files kept for reading.
            direct: small writes go past the page cache where the file system allows it.
        """
        if segment_bytes % MIB or segment_bytes < MIB:
            raise UsageError(f"segment_bytes is {segment_bytes}; it must be a multiple of 1 MiB")
        return cls(LogCore(os.fspath(path), segment_bytes, spare_segments, memory_bytes, cache_bytes, direct))

    def append(self, payload: bytes | bytearray | memoryview) -> int:
        """Appends one entry and returns its index.  It is durable after `sync`."""
        return self._core.append(payload)

    def append_many(self, payloads: Sequence[bytes] | tuple[Any, Any]) -> Span:
        """Appends one batch: a list of bytes, or (buffer, offsets as uint32[count + 1])."""
        return Span(*self._core.append_many(payloads))

    def sync(self) -> None:
        """Everything appended before the call is durable when it returns."""
        self._core.sync()

    @property
    def first(self) -> int:
        """The first index kept."""
        return self._core.first

    @property
    def last(self) -> int:
        """The last index, first - 1 when the log is empty."""
        return self._core.last

    def __len__(self) -> int:
        return self.last - self.first + 1

    def read(self, index: int) -> Batch:
        """The batch that holds `index`, verified; its arrays are read-only views of it."""
        return self._core.read(index)

    def iterate(self, index: int | None = None) -> Iterator[Batch]:
        """The batches from the one that holds `index` (default: the first) to the end of the log."""
        at = self.first if index is None else index
        while at <= self.last:
            batch = self.read(at)
            yield batch
            at = batch.last + 1

    def __iter__(self) -> Iterator[Batch]:
        return self.iterate()

    def truncate(self, first: int) -> None:
        """Drops the entries from `first` on, which must begin a batch.  Durable after `sync`."""
        self._core.truncate(first)

    def compact(self, first: int) -> None:
        """Drops the entries before `first`, which must begin a batch or be the end; files that nobody needs
        any more are used again once that is durable."""
        self._core.compact(first)

    def status(self) -> LogStatus:
        return LogStatus(*self._core.status())

    @property
    def closed(self) -> bool:
        return self._core.closed

    def close(self) -> None:
        """Makes everything durable and lets go of the directory."""
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        core = getattr(self, "_core", None)
        if core is not None and not core.closed:
            warnings.warn(
                f"the log in {core.path} was not closed; use `with Log.open(...)`",
                ResourceWarning,
                stacklevel=2,
            )
            core.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.first}..{self.last}"
        return f"<Log {self._core.path} {state}>"
