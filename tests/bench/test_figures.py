"""What is made of the samples: percentiles with enough behind them, medians and spreads of pairs."""

from __future__ import annotations

from typing import Any

import pytest

from quorumlog.bench.measured import percentiles_us
from quorumlog.bench.pairs import compared


@pytest.mark.parametrize(("samples", "has"), [(0, False), (99_999, False), (100_000, True), (250_000, True)])
def test_p9999_is_told_only_with_ten_samples_beyond_it(samples: int, has: bool) -> None:
    found = percentiles_us(list(range(1000, 1000 + samples)))
    assert ("p9999" in found) == has
    assert set(found) >= {"p50", "p90", "p99", "p999"}


def test_percentiles_are_of_all_samples_in_us() -> None:
    found = percentiles_us([1000 * n for n in range(1001)])
    assert found == {"p50": 500.0, "p90": 900.0, "p99": 990.0, "p999": 999.0}


def cluster(rate: float, p50: float, p99: float, **more: Any) -> dict[str, Any]:
    return {
        "entries_per_second": rate,
        "latency_us": {"p50": p50, "p99": p99},
        "verified": "problem" not in more,
        **more,
    }


def limit(rate: float, p50: float, p99: float) -> dict[str, Any]:
    one = {**cluster(rate, p50, p99), "variant": "direct", "syncs_per_second": 1.0, "cpu_seconds": 1.0}
    one["seconds"] = 1.0
    return {**one, "variants": [dict(one)]}


def test_batches_are_compared_by_entries_a_second() -> None:
    result = compared(
        [cluster(50, 1, 1), cluster(80, 1, 1), cluster(60, 1, 1)],
        [limit(100, 1, 1), limit(100, 1, 1), limit(120, 1, 1)],
        single=False,
    )
    assert result["entries_per_second"] == 60
    assert result["fraction_of_limit"] == 0.6
    assert result["pairs"] == [0.5, 0.8, 0.5]
    assert result["spread"] == {"entries_per_second": [0.5, 0.5, 0.8]}
    assert "p50_ratio" not in result
    assert result["verified"] is True


def test_one_at_a_time_is_compared_by_latency_too() -> None:
    result = compared(
        [cluster(5, 200, 900), cluster(4, 240, 600), cluster(3, 300, 600)],
        [limit(10, 200, 300), limit(10, 200, 300), limit(10, 200, 400)],
        single=True,
    )
    assert result["latency_us"]["p50"] == 240
    assert result["p50_ratio"] == 1.2
    assert result["p99_ratio"] == 2.0
    assert result["spread"]["p50_ratio"] == [1.0, 1.2, 1.5]
    assert result["spread"]["p99_ratio"] == [1.5, 2.0, 3.0]


def test_one_run_that_is_not_verified_spoils_all() -> None:
    result = compared(
        [cluster(5, 1, 1), cluster(5, 1, 1, problem="a batch is gone")],
        [limit(10, 1, 1), limit(10, 1, 1)],
        single=False,
    )
    assert result["verified"] is False
    assert result["problem"] == "a batch is gone"
