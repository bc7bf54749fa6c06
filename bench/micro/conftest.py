"""Fixtures of the micro benchmarks: one real cluster for all that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import quorumlog as ql


@pytest.fixture(scope="module")
def leader() -> Iterator[ql.Group]:
    """The leader's group of three nodes in this process, without a state machine."""
    with ql.LocalCluster(3) as cluster:
        yield cluster.leader(timeout=30)
