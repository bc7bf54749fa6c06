"""What awaited verbs return: the same as the blocking ones, in order, for any number of tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gate import SMALL, Gate, Run, until

import quorumlog as ql


class Recorder(Gate):
    def __init__(self) -> None:
        super().__init__()
        self.opened.set()

    def query(self, question: Any) -> Any:
        if question == "fail":
            raise KeyError("no such question")
        return super().query(question)


@pytest.fixture(scope="module")
def cluster() -> Iterator[ql.LocalCluster]:
    raft = ql.RaftOptions(election_timeout=0.15, heartbeat=0.03)
    with ql.LocalCluster(3, Recorder, options=SMALL, raft=raft) as made:
        made.leader()
        yield made


@pytest.mark.parametrize("node", [0, 1, 2])
def test_a_proposal_on_any_node_returns_what_its_machine_said(
    cluster: ql.LocalCluster, run: Run, node: int
) -> None:
    group = ql.aio.Group(cluster.groups[node])

    async def main() -> None:
        one = await group.propose(b"abc", timeout=20)
        assert (one.result, one.count) == (b"cba", 1)
        many = await group.propose_many([b"12", b"34"], timeout=20)
        assert (many.count, list(many.result)) == (2, [b"21", b"43"])
        packed = (b"123456", np.array([0, 1, 3, 6], np.uint32))
        assert (await group.propose_many(packed, timeout=20)).count == 3
        assert many.index > one.index
        assert group.applied > many.index

    run(main())


def test_a_submission_can_be_awaited_before_and_after_and_again(cluster: ql.LocalCluster, run: Run) -> None:
    blocking = cluster.leader()
    group = ql.aio.Group(blocking)

    async def main() -> None:
        first = group.submit(b"first")
        done = await first
        assert done.result == b"tsrif"
        assert await first == done
        assert first.result(0) == done
        batch = group.submit_many([b"x", b"y"])
        assert (await batch).count == 2
        theirs = blocking.submit(b"blocking")
        assert (await theirs).result == b"gnikcolb"
        assert (await blocking.submit(b"last")).index > done.index

    run(main())


def test_tasks_and_submissions_in_any_number_are_applied_once_each(cluster: ql.LocalCluster, run: Run) -> None:
    group = ql.aio.Group(cluster.leader())

    async def main() -> None:
        before = len(await group.read(None, timeout=20))
        indexes: list[int] = []

        async def proposing() -> None:
            mine = [(await group.propose(b"p", timeout=20)).index for _ in range(3)]
            assert mine == sorted(mine)
            indexes.extend(mine)

        async def submitting() -> None:
            futures = [group.submit(b"s") for _ in range(500)]
            mine = [(await future).index for future in reversed(futures)]
            assert mine == sorted(mine, reverse=True)
            indexes.extend(mine)

        await asyncio.gather(*(proposing() for _ in range(2000)), *(submitting() for _ in range(4)))
        assert len(set(indexes)) == len(indexes) == 8000
        assert len(await group.read(None, timeout=20)) == before + 8000

    run(main())


def test_submissions_go_into_what_asyncio_makes_of_awaitables(cluster: ql.LocalCluster, run: Run) -> None:
    group = ql.aio.Group(cluster.leader())

    async def main() -> None:
        gathered = await asyncio.gather(*(group.submit(b"%d" % number) for number in range(50)))
        assert [done.result for done in gathered] == [b"%d" % number for number in range(0)] + [
            (b"%d" % number)[::-1] for number in range(50)
        ]
        assert (await asyncio.wait_for(group.submit(b"ab"), 20)).result == b"ba"
        async with asyncio.TaskGroup() as tasks:
            proposing = tasks.create_task(group.propose(b"cd", timeout=20))
        assert proposing.result().result == b"dc"

    run(main())


def test_reads_and_waits(cluster: ql.LocalCluster, run: Run) -> None:
    async def main() -> None:
        for blocking in cluster.groups:
            group = ql.aio.Group(blocking)
            done = await group.propose(b"seen", timeout=20)
            assert b"seen" in await group.read(None, timeout=20)
            assert b"seen" in await group.read(None, consistency=ql.STALE, timeout=20)
            barrier = await group.read_barrier(timeout=20)
            assert barrier >= done.index
            await group.wait_applied(barrier, timeout=20)
            assert group.applied >= barrier
            with pytest.raises(KeyError, match="no such question"):
                await group.read("fail", timeout=20)
            with pytest.raises(ql.UsageError, match="consistency"):
                await group.read(None, consistency="eventual")  # type: ignore[arg-type]

    run(main())


def test_wait_applied_wakes_when_a_later_entry_comes(cluster: ql.LocalCluster, run: Run) -> None:
    group = ql.aio.Group(cluster.leader())

    async def main() -> None:
        waiting = asyncio.ensure_future(group.wait_applied(group.applied + 5, timeout=20))
        while not waiting.done():
            await group.propose(b"one more", timeout=20)
        await waiting

    run(main())


def test_status_says_what_the_blocking_one_says(cluster: ql.LocalCluster, run: Run) -> None:
    blocking = cluster.leader()
    group = ql.aio.Group(blocking)

    async def main() -> None:
        status = await group.status(timeout=20)
        assert (status.role, status.term) == ("leader", blocking.status().term)
        assert len(status.peers) == 2
        assert await group.is_leader()
        assert await group.wait_leader(20) == status.leader
        assert repr(group) == f"<aio.Group 'main' on {status.leader!r}>"

    run(main())


def test_many_waiters_of_one_batch_leave_the_loop_room(run: Run, group: ql.aio.Group, gate: Gate) -> None:
    """At most 1,024 are woken before the loop sees to what else is ready."""

    async def main() -> None:
        submission = group.submit_many([b"1", b"2"])
        woken = 0

        async def wait() -> None:
            nonlocal woken
            await submission
            woken += 1

        tasks = [asyncio.ensure_future(wait()) for _ in range(5000)]
        await asyncio.sleep(0)
        gate.opened.set()
        steps = []
        while woken < len(tasks):
            before = woken
            await asyncio.sleep(0)
            steps.append(woken - before)
        assert max(steps) <= 1024
        await asyncio.gather(*tasks)

    run(main())


def test_waiters_are_woken_in_the_order_in_which_they_came(run: Run, group: ql.aio.Group, gate: Gate) -> None:
    async def main() -> None:
        order: list[int] = []

        async def wait(number: int) -> None:
            await group.propose(b"%d" % number)
            order.append(number)

        tasks = [asyncio.ensure_future(wait(number)) for number in range(3000)]
        await until(lambda: group.blocking._core.outstanding_bytes >= 3000)
        gate.opened.set()
        await asyncio.gather(*tasks)
        assert order == sorted(order)
        assert gate.payloads == [b"%d" % number for number in range(3000)]

    run(main())
