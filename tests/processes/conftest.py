"""Fleets of real node processes on loopback, in temporary directories."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from quorumlog.processes.fleet import Fleet


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    options = {"segment_bytes": 4 << 20, "spare_segments": 1}
    with Fleet(tmp_path, 3, "chaos_worker", group="chaos", machine="memory", options=options) as made:
        yield made
