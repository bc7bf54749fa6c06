"""What decides whether a benchmark is verified and a demo passed: each kind of harm must be found."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quorumlog.bench import verify
from quorumlog.bench.measured import ACKNOWLEDGED
from quorumlog.bench.payloads import stamp_bytes, template
from quorumlog.bench.readback import StoredBatch
from quorumlog.demo.lines import Digest, entry_of
from quorumlog.demo.verdict import NodeState, problems

PAYLOAD = 12
BATCH = 3
NODES = [Path("n1"), Path("n2"), Path("n3")]


def stored(first: int, count: int, content: bytes, term: int = 1) -> StoredBatch:
    return StoredBatch(
        first=first,
        count=count,
        term=term,
        body_crc=zlib.crc32(content),
        payload=lambda: np.frombuffer(content, np.uint8),
    )


def batch_at(first: int, stamp: int) -> StoredBatch:
    content = bytearray(template(PAYLOAD, BATCH).tobytes())
    content[:8] = stamp_bytes(stamp, PAYLOAD)
    return stored(first, BATCH, bytes(content))


def singles_at(first: int, stamps: list[int]) -> StoredBatch:
    rest = template(PAYLOAD, 1).tobytes()[8:]
    return stored(first, len(stamps), b"".join(stamp_bytes(s, PAYLOAD) + rest for s in stamps))


BLANK = stored(1, 1, b"")
LOG = [BLANK, batch_at(2, 0), batch_at(5, 1), batch_at(8, 2)]
ACKED = np.array([(0, 2, BATCH), (1, 5, BATCH), (2, 8, BATCH)], ACKNOWLEDGED)


def verdict(
    monkeypatch: pytest.MonkeyPatch,
    logs: list[list[StoredBatch]],
    acknowledged: Any = ACKED,
    batch: int = BATCH,
) -> verify.Verdict:
    by_path = dict(zip(NODES, logs, strict=True))
    monkeypatch.setattr(verify, "read_group", lambda path, group: iter(by_path[path]))
    return verify.verify_run(NODES, "bench", acknowledged, PAYLOAD, batch)


def test_equal_logs_with_all_that_was_acknowledged_are_verified(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = verdict(monkeypatch, [LOG, LOG, LOG])
    assert found == verify.Verdict(True, 9, 10)


def test_entries_submitted_one_by_one_are_looked_up_inside_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = [BLANK, singles_at(2, [0, 1, 2]), singles_at(5, [3])]
    acked = np.array([(0, 2, 1), (2, 4, 1), (3, 5, 1)], ACKNOWLEDGED)
    assert verdict(monkeypatch, [log] * 3, acked, batch=1).verified
    swapped = [BLANK, singles_at(2, [0, 2, 1]), singles_at(5, [3])]
    found = verdict(monkeypatch, [swapped] * 3, acked, batch=1)
    assert "batch at 2 does not hold" in found.problem


def test_a_tail_nobody_acknowledged_may_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdict(monkeypatch, [LOG, [*LOG, batch_at(11, 3)], LOG]).verified


def altered() -> StoredBatch:
    content = bytearray(LOG[2].payload().tobytes())
    content[-1] ^= 1
    return stored(5, BATCH, bytes(content))


@pytest.mark.parametrize(
    ("logs", "said"),
    [
        ([LOG[:-1], LOG, LOG], "ends at 7, but 10 was acknowledged"),
        ([LOG, LOG, LOG[:-1]], "ends at 7, but 10 was acknowledged"),
        ([LOG, [BLANK, LOG[1], LOG[3]], LOG], "batch at index 8, expected one at 5"),
        ([LOG, [BLANK, LOG[1], altered(), LOG[3]], LOG], "n1 and n2 differ"),
        ([[BLANK, LOG[1], altered(), LOG[3]]] * 3, "batch at 5 does not hold"),
        ([[BLANK, LOG[1], batch_at(5, 7), LOG[3]]] * 3, "batch at 5 does not hold"),
        ([[BLANK, batch_at(2, 1), batch_at(5, 0), LOG[3]]] * 3, "batch at 2 does not hold"),
    ],
)
def test_each_harm_is_found(
    logs: list[list[StoredBatch]], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = verdict(monkeypatch, logs)
    assert not found.verified
    assert said in found.problem


# ---- the demo's ----

LINES = [b"one", b"", b"three", b"one"]


def state(name: str, order: list[int], lines: list[bytes] = LINES) -> NodeState:
    digest = Digest()
    digest.add(entry_of(line_id, lines[line_id]) for line_id in order)
    return NodeState(name, order, 0, digest.text())


GOOD = [state(name, [2, 0, 1, 3]) for name in ("n1", "n2", "n3")]


def test_equal_machines_with_every_line_once_have_no_problems() -> None:
    assert problems(GOOD, [0, 1, 2, 3], LINES) == []


@pytest.mark.parametrize(
    ("order", "lines", "said"),
    [
        ([2, 0, 1], LINES, "n3 lost 1 acknowledged lines, first id 3"),
        ([2, 0, 1, 3, 0], LINES, "n3 has 1 lines twice, first id 0"),
        ([0, 2, 1, 3], LINES, "n1 and n3 have different orders"),
        ([2, 0, 1, 3], [b"one", b"", b"thrEe", b"one"], "n3 has other bytes than were proposed"),
        ([2, 0, 1, 3, 4], [*LINES, b"?"], "n3 has 1 lines nobody proposed"),
    ],
)
def test_each_harm_to_one_machine_is_found(order: list[int], lines: list[bytes], said: str) -> None:
    assert said in problems([*GOOD[:2], state("n3", order, lines)], [0, 1, 2, 3], LINES)


def test_the_digest_tells_where_one_line_ends() -> None:
    one, other = Digest(), Digest()
    one.add([b"ab", b"c"])
    other.add([b"a", b"bc"])
    assert one.text() != other.text()
