"""What the core's pieces cost, driven in C many turns a round, so that no Python call is in the figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quorumlog.bench.hot_paths import HOT_PATHS

TURNS = 200
ROUNDS = 50


@pytest.mark.parametrize("name", HOT_PATHS)
def test_hot_path(benchmark: Any, name: str, tmp_path: Path) -> None:
    path = HOT_PATHS[name](tmp_path)
    benchmark.extra_info["turns"] = TURNS
    benchmark.extra_info["entries"] = TURNS * path.entries
    benchmark.pedantic(path.run, args=(TURNS,), setup=lambda: path.prepare(TURNS), rounds=ROUNDS, warmup_rounds=2)
