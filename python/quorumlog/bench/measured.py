"""What a load came to: counts, latencies, and the list of all that was acknowledged."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# What was acknowledged: the number stamped into a proposal, its first index, how many entries.
ACKNOWLEDGED = np.dtype([("stamp", "<u8"), ("index", "<u8"), ("count", "<u4")])


@dataclass
class Measured:
    """What the measured part of a run came to; the acknowledged list covers the warm-up too."""

    entries: int = 0
    unknown: int = 0
    refused: int = 0
    seconds: float = 0.0
    latencies_ns: list[int] = field(default_factory=list)
    stamps: list[int] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def acknowledged(self) -> npt.NDArray[Any]:
        rows = np.empty(len(self.stamps), ACKNOWLEDGED)
        rows["stamp"], rows["index"], rows["count"] = self.stamps, self.indexes, self.counts
        return rows

    def latency_us(self) -> dict[str, float]:
        if not self.latencies_ns:
            return {"p50": 0.0, "p99": 0.0, "p999": 0.0}
        values = np.percentile(np.asarray(self.latencies_ns), [50, 99, 99.9]) / 1000
        return dict(zip(("p50", "p99", "p999"), (round(float(v), 1) for v in values), strict=True))


def save_acknowledged(path: Path, rows: npt.NDArray[Any]) -> None:
    rows.tofile(path)


def load_acknowledged(path: Path) -> npt.NDArray[Any]:
    return np.fromfile(path, ACKNOWLEDGED)
