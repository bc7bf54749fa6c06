"""A group's batches as they lie on a node's disk after a run, every checksum verified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from quorumlog.logfiles import BATCH_KINDS, Record, broken_chain, read_segments
from quorumlog.names import id_of


@dataclass(frozen=True)
class StoredBatch:
    first: int
    count: int
    term: int
    body_crc: int
    payload: Callable[[], npt.NDArray[np.uint8]]


def read_group(directory: Path, group: str) -> list[StoredBatch]:
    """The log of `group` as its records make it, in order.

    Raises ValueError for any damage: the nodes were closed in peace, so there must be none.
    """
    number = id_of(group)
    records: dict[int, Record] = {}
    groups = []
    for segment in read_segments(directory):
        for damage in segment.damage:
            raise ValueError(f"{damage.path} at {damage.offset}: {damage.what}")
        groups += segment.groups
        for one in segment.groups:
            records.update({r.wsn: r for r in one.records if r.group == number})
            one.records.clear()
    for damage in broken_chain(groups):
        raise ValueError(f"{damage.path} at {damage.offset}: {damage.what}")
    log: list[StoredBatch] = []
    for wsn in sorted(records):
        record = records[wsn]
        if record.kind in ("truncate", *BATCH_KINDS):
            while log and log[-1].first >= record.first:
                log.pop()
        if record.kind in BATCH_KINDS:
            log.append(_stored(record))
    return log


def _stored(record: Record) -> StoredBatch:
    def payload() -> npt.NDArray[np.uint8]:
        body = record.body()
        offsets = np.frombuffer(body, "<u4", record.count + 1)
        start = (4 * (record.count + 1) + 7) // 8 * 8
        return np.frombuffer(body, np.uint8, int(offsets[-1]), start)

    return StoredBatch(record.first, record.count, record.term, record.body_crc, payload)
