"""The whole of it in one thread and one seed: real protocol, real log, virtual disk, network and time.

How many seeds: QUORUMLOG_SIMULATION_SEEDS (2,000).  From which on: QUORUMLOG_SIMULATION_FIRST (1).
One seed again: make sim SEED=n, or `python tests/simulation/run_seeds.py n`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from quorumlog._core.bridge.testing_simulation import run

HERE = Path(__file__).parent
SEEDS = int(os.environ.get("QUORUMLOG_SIMULATION_SEEDS", "2000"))
FIRST = int(os.environ.get("QUORUMLOG_SIMULATION_FIRST", "1"))
WORKERS = max(1, min(os.cpu_count() or 1, 8))
PERMANENT = [
    int(line.split()[0])
    for line in (HERE / "seeds.txt").read_text().splitlines()
    if line.strip() and not line.startswith("#")
]


def start(first: int, count: int, stride: int, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(HERE / "run_seeds.py"), str(first), str(count), str(stride)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def results_of(worker: subprocess.Popen[str]) -> list[dict[str, object]]:
    """What a worker ran; a seed that was begun and not ended aborted, and its message is the failure."""
    out, err = worker.communicate()
    lines = [json.loads(line) for line in out.splitlines()]
    results = [line for line in lines if "begins" not in line]
    if lines and "begins" in lines[-1]:
        results.append({"seed": lines[-1]["begins"], "failure": f"aborted: {err.strip()[-600:]}"})
    elif not lines:
        raise AssertionError(f"the worker did not start: {err}")
    return results


def explain(failed: list[dict[str, object]]) -> str:
    return "\n".join(f"seed {r['seed']}: {r['failure']}   again: make sim SEED={r['seed']}" for r in failed)


def test_the_same_seed_is_the_same_run() -> None:
    for seed in (2, 7, 20):
        first = run(seed, safety_ms=1000)
        assert first == run(seed, safety_ms=1000)
        assert first["hash"] != run(seed + 1, safety_ms=1000)["hash"]


def test_a_run_does_not_depend_on_its_process() -> None:
    hashes = {results_of(start(42, 1, 1, PYTHONHASHSEED=seed))[0]["hash"] for seed in ("1", "2")}
    assert hashes == {run(42)["hash"]}


def test_without_faults_everything_proposed_is_acknowledged() -> None:
    for nodes in (1, 3, 5):
        result = run(99, nodes=nodes, faults=False, safety_ms=2000)
        assert result["failure"] == ""
        assert isinstance(result["acked"], int)
        assert result["acked"] > 100


@pytest.mark.parametrize("seed", PERMANENT)
def test_a_seed_that_once_failed(seed: int) -> None:
    failed = [r for r in results_of(start(seed, 1, 1)) if r["failure"]]
    assert not failed, explain(failed)


@pytest.mark.slow
def test_thousands_of_seeds() -> None:
    workers = [start(FIRST + i, (SEEDS - i + WORKERS - 1) // WORKERS, WORKERS) for i in range(WORKERS)]
    results = [result for worker in workers for result in results_of(worker)]
    failed = [r for r in results if r["failure"]]
    assert not failed, explain(failed)
    assert len(results) == SEEDS
    # What must have happened somewhere, or the runs showed nothing.
    for what, per_thousand in {
        "truncations": 200,
        "unproved_tails": 50,
        "fetches": 500,
        "compactions": 200,
        "recovery_crashes": 50,
        "disk_errors": 50,
        "reads_served": 10_000,
        "messages_lost": 10_000,
        "messages_duplicated": 10_000,
        "power_cuts": 1000,
        "process_crashes": 1000,
        "acked": 100_000,
    }.items():
        seen = sum(int(str(r[what])) for r in results)
        assert seen * 1000 >= per_thousand * SEEDS, f"{what}: only {seen} in {SEEDS} seeds"
