"""The drivers of the hot paths do what they say, and always the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

import quorumlog as ql
from quorumlog._core.bridge import testing_bench, testing_bench_raft
from quorumlog.bench.hot_paths import HOT_PATHS
from quorumlog.bench.machines import SumMachine


@pytest.mark.parametrize("name", HOT_PATHS)
def test_each_path_makes_its_turns(name: str, tmp_path: Path) -> None:
    path = HOT_PATHS[name](tmp_path)
    for turns in (3, 5):
        path.prepare(turns)
        path.run(turns)
    assert path.entries >= 1
    with pytest.raises(ValueError, match="prepared are 0"):
        path.run(1)


@pytest.mark.parametrize("nodes", [1, 3, 9])
def test_a_leaders_turn_is_a_commit(nodes: int) -> None:
    leader = testing_bench_raft.Leader(nodes, 8, 16)
    before = leader.status()
    leader.prepare(10)
    leader.run(10)
    after = leader.status()
    assert after["last"] - before["last"] == after["commit"] - before["commit"] == 80
    assert (after["role"], after["term"]) == (before["role"], before["term"])


def test_a_followers_turn_is_a_batch_on_its_disk_and_commits_the_one_before() -> None:
    follower = testing_bench_raft.Follower(3, 8, 16)
    follower.prepare(10)
    follower.run(10)
    assert follower.status()["last"] == 80
    assert follower.status()["commit"] == 72


def test_the_acked_index_is_the_middle_one() -> None:
    path = testing_bench.Acked(5)
    path.prepare(5)
    path.run(5)
    assert path.acked == 3


def test_applying_hands_over_all_entries() -> None:
    machine = SumMachine()
    path = testing_bench.ApplyPython(machine, 64, 16)
    path.prepare(4)
    path.run(4)
    assert machine.entries == 256


class Failing(ql.StateMachine):
    def apply(self, batch: ql.Batch) -> None:
        raise RuntimeError("no")

    def query(self, question: Any) -> None:
        return None


def test_a_turn_that_fails_ends_the_run() -> None:
    path = testing_bench.ApplyPython(cast(Any, Failing()), 64, 16)
    path.prepare(2)
    with pytest.raises(RuntimeError, match="ApplyPython: status"):
        path.run(2)
