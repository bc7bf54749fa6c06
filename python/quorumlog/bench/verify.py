"""`verified`: what all nodes have on disk after a run, against what was acknowledged.

Every log is read back with each checksum verified; as far as was acknowledged all logs hold the
same batches (first index, count, term and body checksum); and the first of them holds, at the index
of each acknowledgement, the very bytes that were proposed.  Where logs were compacted while they were written
(`--steady`) all that holds from the first index that all of them keep.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quorumlog.bench.payloads import template
from quorumlog.bench.readback import StoredBatch, read_group


@dataclass(frozen=True)
class Verdict:
    """`problem` is empty when all is well."""

    verified: bool
    acknowledged_entries: int
    stored_entries: int
    problem: str = ""


class Different(Exception):
    """What is on disk is not what it must be; the text says where."""


def verify_run(
    directories: list[Path], group: str, acknowledged: npt.NDArray[Any], payload: int, batch: int
) -> Verdict:
    rows = np.sort(acknowledged, order="index")
    entries = int(rows["count"].sum())
    last = int((rows["index"] + rows["count"]).max(initial=1)) - 1
    stored = 0
    try:
        head = _head(directories, group)
        rows = rows[rows["index"] >= head]
        reference: npt.NDArray[np.uint64] | None = None
        for directory in directories:
            batches = _kept(read_group(directory, group), head)
            if reference is None:
                identities = _checked(batches, rows, payload, batch, last, head)
            else:
                identities = _identities(batches, last, head)
            stored = int(identities[:, 1].sum()) if len(identities) else 0
            if reference is None:
                reference = identities
            elif not np.array_equal(reference, identities):
                raise Different(_first_difference(directories[0], directory, reference, identities))
    except (Different, OSError, ValueError) as problem:
        return Verdict(False, entries, stored, str(problem))
    return Verdict(True, entries, stored)


def _head(directories: list[Path], group: str) -> int:
    """The first index that all of them keep: 1, unless logs were compacted."""
    return max(next((one.first for one in read_group(directory, group)), 1) for directory in directories)


def _kept(batches: Iterable[StoredBatch], head: int) -> Iterable[StoredBatch]:
    return (one for one in batches if one.first >= head)


def _identities(batches: Iterable[StoredBatch], last: int, head: int) -> npt.NDArray[np.uint64]:
    """(first, count, term, body checksum) of each batch up to the last acknowledged index."""
    rows = []
    expected = head
    for one in batches:
        if one.first != expected:
            raise Different(f"batch at index {one.first}, expected one at {expected}")
        expected = one.first + one.count
        if one.first <= last:
            rows.append((one.first, one.count, one.term, one.body_crc))
    if expected <= last:
        raise Different(f"the log ends at {expected - 1}, but {last} was acknowledged")
    return np.array(rows, dtype=np.uint64).reshape(-1, 4)


def _checked(
    batches: Iterable[StoredBatch],
    rows: npt.NDArray[Any],
    payload: int,
    batch: int,
    last: int,
    head: int,
) -> npt.NDArray[np.uint64]:
    whole = template(payload, batch)
    # Contiguous and of one type with what is searched for: otherwise each search would copy it.
    index = np.ascontiguousarray(rows["index"])
    found = 0

    def watched() -> Iterable[StoredBatch]:
        nonlocal found
        for one in batches:
            span = np.array([one.first, one.first + one.count], np.uint64)
            low, high = np.searchsorted(index, span).tolist()
            if low < high:
                _check_batch(one, rows[low:high], whole, payload)
                found += high - low
            yield one

    identities = _identities(watched(), last, head)
    if found != len(rows):
        raise Different(f"{len(rows) - found} of {len(rows)} acknowledged proposals are not there")
    return identities


def _check_batch(
    one: StoredBatch, rows: npt.NDArray[Any], whole: npt.NDArray[np.uint8], payload: int
) -> None:
    """The acknowledged proposals that lie in this batch: each entry's bytes, stamp and all."""
    content = one.payload()
    if len(content) != one.count * payload:
        raise Different(f"batch at {one.first} has {len(content)} bytes for {one.count} entries")
    entries = content.reshape(one.count, payload)
    stamp = min(8, payload)
    if len(rows) == 1 and rows["count"][0] > 1:
        expected = whole.reshape(-1, payload)
        if rows["count"][0] != one.count or one.count != len(expected):
            raise Different(f"batch at {one.first} has {one.count} entries, acknowledged were more or fewer")
        same = np.array_equal(content[stamp:], whole[stamp:])
        stamps = entries[:1, :stamp]
    else:
        at = rows["index"] - np.uint64(one.first)
        mine = entries[at]
        same = bool((mine[:, stamp:] == whole[stamp:payload]).all())
        stamps = mine[:, :stamp]
    wanted = rows["stamp"].astype("<u8").view(np.uint8).reshape(-1, 8)[:, :stamp]
    if not same or not np.array_equal(stamps, wanted):
        raise Different(f"batch at {one.first} does not hold what was acknowledged there")


def _first_difference(
    one: Path, other: Path, left: npt.NDArray[np.uint64], right: npt.NDArray[np.uint64]
) -> str:
    for mine, yours in zip(left.tolist(), right.tolist(), strict=False):
        if mine != yours:
            return (
                f"{one.name} and {other.name} differ: (first, count, term, body checksum) {mine} and {yours}"
            )
    return f"{one.name} holds {len(left)} batches, {other.name} {len(right)}"
