"""Every test of coroutines runs on asyncio's own loop and under uvloop."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop
from gate import SMALL, Gate, Run

import quorumlog as ql


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return asyncio.run if request.param == "asyncio" else uvloop.run


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    ql.Node.create(tmp_path / "n1", "n1", cluster=uuid.uuid4(), token=b"a token of enough bytes")
    return tmp_path / "n1"


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


@pytest.fixture
def group(directory: Path, gate: Gate) -> Iterator[ql.aio.Group]:
    """A group on one node, whose machine waits for the gate."""
    with ql.Node.open(directory, options=SMALL) as node:
        raft = ql.RaftOptions(election_timeout=0.05, heartbeat=0.01, in_flight_bytes=1 << 20)
        made = node.raft("gated", gate, options=raft)
        made.wait_leader()
        yield ql.aio.Group(made)
        gate.opened.set()
