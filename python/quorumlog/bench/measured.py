"""What a load came to: counts, latencies, and the list of all that was acknowledged."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# A percentile is told when at least so many samples lie beyond it: p99.99 from 100,000 samples on.
SAMPLES_BEYOND = 10
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9}
RARE_PERCENTILES = {"p9999": 99.99}

# What was acknowledged: the number stamped into a proposal, its first index, how many entries.
Numbers = Any  # a list or an array of integers
ACKNOWLEDGED = np.dtype([("stamp", "<u8"), ("index", "<u8"), ("count", "<u4")])


@dataclass
class Measured:
    """What the measured part of a run came to; the acknowledged list covers the warm-up too."""

    entries: int = 0
    unknown: int = 0
    refused: int = 0
    seconds: float = 0.0
    not_started: int = 0  # of an open loop: due in the measured time, but not called in it
    latencies_ns: Numbers = field(default_factory=list)
    lateness_ns: list[int] = field(default_factory=list)  # of an open loop
    stamps: Numbers = field(default_factory=list)
    indexes: Numbers = field(default_factory=list)
    counts: Numbers = field(default_factory=list)

    def acknowledged(self) -> npt.NDArray[Any]:
        rows = np.empty(len(self.stamps), ACKNOWLEDGED)
        rows["stamp"], rows["index"], rows["count"] = self.stamps, self.indexes, self.counts
        return rows

    def latency_us(self) -> dict[str, float]:
        return percentiles_us(self.latencies_ns)

    def lateness_us(self) -> dict[str, float]:
        """How late an open loop's calls came: percentiles and the worst."""
        worst = max(self.lateness_ns, default=0) / 1000
        return {**percentiles_us(self.lateness_ns), "max": round(worst, 1)}


def percentiles_us(values_ns: Numbers) -> dict[str, float]:
    """p50, p90, p99, p99.9, and p99.99 (`p9999`) if there are enough samples; zeros when there are none."""
    wanted = dict(PERCENTILES)
    for name, percent in RARE_PERCENTILES.items():
        # The share as a fraction of ten thousand: 1 - 0.9999 in floating point is a little less.
        if len(values_ns) * round(1e4 - percent * 100) >= SAMPLES_BEYOND * 10_000:
            wanted[name] = percent
    if not len(values_ns):
        return dict.fromkeys(wanted, 0.0)
    found = np.percentile(np.asarray(values_ns), list(wanted.values())) / 1000
    return {name: round(float(value), 1) for name, value in zip(wanted, found, strict=True)}


def save_acknowledged(path: Path, rows: npt.NDArray[Any]) -> None:
    rows.tofile(path)


def load_acknowledged(path: Path) -> npt.NDArray[Any]:
    return np.fromfile(path, ACKNOWLEDGED)
