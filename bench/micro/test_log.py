"""The log alone: what one process without a network makes durable, and reads back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quorumlog as ql


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ql.Log]:
    with ql.Log.open(tmp_path / "log") as opened:
        yield opened


@pytest.mark.parametrize(("count", "payload"), [(1, 16), (4096, 16), (1024, 1024)])
def test_log_append_and_sync(benchmark: Any, log: ql.Log, count: int, payload: int) -> None:
    """A batch made durable on this disk."""
    buffer = np.zeros(count * payload, np.uint8)
    offsets = np.arange(count + 1, dtype=np.uint32) * np.uint32(payload)

    def append() -> None:
        log.append_many((buffer, offsets))
        log.sync()

    benchmark.extra_info.update(bytes=count * payload, entries=count, syncs=1)
    benchmark.pedantic(append, rounds=300, warmup_rounds=10)


def test_log_iterate(benchmark: Any, log: ql.Log) -> None:
    """64 MiB in batches of 64 KiB, read back, verified and summed."""
    buffer = np.ones(65536, np.uint8)
    offsets = np.arange(4097, dtype=np.uint32) * np.uint32(16)
    for _ in range(1024):
        log.append_many((buffer, offsets))
    log.sync()
    benchmark.extra_info["entries"] = 1024 * 4096
    total = benchmark.pedantic(
        lambda: sum(int(batch.payload.sum(dtype=np.uint64)) for batch in log), rounds=5
    )
    assert total == 65536 * 1024
