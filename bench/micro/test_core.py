"""What the core's pieces cost: checksums, the quorum's arithmetic, and the log alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quorumlog as ql
from quorumlog._core.bridge.checksum import crc32c_of
from quorumlog._core.bridge.testing_engine import acked_by_rule


@pytest.mark.parametrize("size", [64, 4096, 65536, 1 << 20])
def test_crc32c(benchmark: Any, size: int) -> None:
    data = np.arange(size, dtype=np.uint64).astype(np.uint8)
    benchmark.extra_info["bytes"] = size
    benchmark(crc32c_of, data)


@pytest.mark.parametrize("nodes", [3, 7])
def test_quorum_acked(benchmark: Any, nodes: int) -> None:
    """The index a majority has, from Python: mostly the way there and back."""
    majority = ("majority", (1 << nodes) - 1, 0, [])
    match = list(range(100, 100 + nodes))
    assert benchmark(acked_by_rule, majority, match) == 100 + nodes // 2


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ql.Log]:
    with ql.Log.open(tmp_path / "log") as opened:
        yield opened


@pytest.mark.parametrize(("count", "payload"), [(1, 16), (4096, 16), (1024, 1024)])
def test_log_append_and_sync(benchmark: Any, log: ql.Log, count: int, payload: int) -> None:
    """A batch made durable on this disk, by one process and no network."""
    buffer = np.zeros(count * payload, np.uint8)
    offsets = np.arange(count + 1, dtype=np.uint32) * np.uint32(payload)

    def append() -> None:
        log.append_many((buffer, offsets))
        log.sync()

    benchmark.extra_info["bytes"] = count * payload
    benchmark.pedantic(append, rounds=300, warmup_rounds=10)


def test_log_iterate(benchmark: Any, log: ql.Log) -> None:
    """64 MiB in batches of 64 KiB, read back, verified and summed."""
    buffer = np.ones(65536, np.uint8)
    offsets = np.arange(4097, dtype=np.uint32) * np.uint32(16)
    for _ in range(1024):
        log.append_many((buffer, offsets))
    log.sync()
    total = benchmark.pedantic(
        lambda: sum(int(batch.payload.sum(dtype=np.uint64)) for batch in log), rounds=5
    )
    assert total == 65536 * 1024
