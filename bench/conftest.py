"""What every benchmark says beside its times: the machine, the revision, entries a second, syncs.

In `--benchmark-json FILE` it is the `extra_info` of each: `entries` and `syncs` (of one node) are a round's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from quorumlog.bench.machine_facts import machine_facts


@pytest.fixture(scope="session")
def machine() -> dict[str, Any]:
    """Kernel, processor, disk sync latency and revision: measured once."""
    return machine_facts()


@pytest.fixture(autouse=True)
def described(request: pytest.FixtureRequest, machine: dict[str, Any]) -> Iterator[None]:
    """A benchmark that says in `extra_info["entries"]` what one round handles gets entries a second."""
    if "benchmark" not in request.fixturenames:
        yield
        return
    benchmark = request.getfixturevalue("benchmark")
    benchmark.extra_info.update(machine)
    yield
    if benchmark.stats is not None and "entries" in benchmark.extra_info:
        median = benchmark.stats.stats.median
        benchmark.extra_info["entries_per_second"] = round(benchmark.extra_info["entries"] / median, 1)
        benchmark.extra_info["ns_per_entry"] = round(median * 1e9 / benchmark.extra_info["entries"], 3)
