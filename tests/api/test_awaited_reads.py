"""The reads of quorumlog.aio: the same answers and errors, without blocking the loop."""

from __future__ import annotations

import asyncio
import secrets
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import quorumlog as ql
import quorumlog.aio

SMALL = ql.NodeOptions(segment_bytes=8 << 20, spare_segments=1)
NOBODY = {"n2": "127.0.0.1:1", "n3": "127.0.0.1:2"}  # a quorum that is never there


class Machine(ql.StateMachine):
    def __init__(self) -> None:
        self.count = 0
        self.inside, self.go_on = threading.Event(), threading.Event()

    def apply(self, batch: ql.Batch) -> None:
        self.count += batch.count if batch.is_entries else 0

    def query(self, question: Any) -> Any:
        if question == "wait":
            self.inside.set()
            self.go_on.wait(20)
        return question + self.count


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ql.Node]:
    ql.Node.create(tmp_path / "n1", "n1", cluster=uuid.uuid4(), token=secrets.token_bytes(32))
    with ql.Node.open(tmp_path / "n1", peers=NOBODY, options=SMALL) as opened:
        yield opened


def own(node: ql.Node, machine: Machine) -> ql.aio.Group:
    return ql.aio.Group(node.raft("own", machine, voters=["n1"]))


def test_many_coroutines_read_at_once(node: ql.Node) -> None:
    group = own(node, Machine())

    async def one(number: int) -> None:
        applied = await group.propose(b"x")
        assert await group.read(number) >= number + 1
        assert await group.read_barrier() >= applied.index

    async def all_of_them() -> list[Any]:
        await asyncio.gather(*(one(number) for number in range(500)))
        return [*await group.read_many([1, 2, 3]), await group.read(0, consistency=ql.STALE)]

    assert asyncio.run(all_of_them()) == [501, 502, 503, 500]


def test_errors_are_those_of_the_blocking_verbs(node: ql.Node) -> None:
    group = own(node, Machine())
    lonely = ql.aio.Group(node.raft("lonely", Machine()))

    async def check() -> None:
        with pytest.raises(ql.QueriesFailed) as caught:
            await group.read_many([1, None])
        assert caught.value.answers[0] == 1
        with pytest.raises(TypeError):
            await group.read(None)
        with pytest.raises(ql.UsageError):
            await group.read(1, consistency="eventual")  # type: ignore[arg-type]
        with pytest.raises(ql.UsageError):
            await group.read_many("text")
        with pytest.raises(ql.ReadTimeout, match=r"not confirmed within 0\.05 s: no leader is known"):
            await lonely.read(1, timeout=0.05)

    asyncio.run(check())


def test_cancelling_gives_up_the_answer_and_nothing_else(node: ql.Node) -> None:
    machine = Machine()
    group = own(node, machine)

    async def check() -> None:
        waiting = asyncio.create_task(group.read("wait"))
        await asyncio.to_thread(machine.inside.wait, 20)
        behind = asyncio.create_task(group.read_many([1, 2]))
        late = asyncio.create_task(group.read(1, timeout=0.05))
        with pytest.raises(ql.ReadTimeout, match=r"did not answer|not confirmed"):
            await late
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        machine.go_on.set()
        assert list(await behind) == [1, 2]

    asyncio.run(check())


def test_closing_ends_awaited_reads(node: ql.Node) -> None:
    lonely = ql.aio.Group(node.raft("lonely", Machine()))

    async def check() -> None:
        reads = [
            asyncio.create_task(one)
            for one in (lonely.read(1, timeout=None), lonely.read_many([1], timeout=None), lonely.read_barrier(None))
        ]
        await asyncio.sleep(0)
        await asyncio.to_thread(node.close)
        for read in reads:
            with pytest.raises(ql.Closed):
                await read

    asyncio.run(check())
