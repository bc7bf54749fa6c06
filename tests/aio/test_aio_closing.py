"""Nodes and loops that close while coroutines wait, machines that fail, processes that fork."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from gate import NOBODY, SMALL, Gate, Run, alive, until

import quorumlog as ql


def test_closing_a_node_ends_every_await(run: Run, directory: Path) -> None:
    async def main() -> None:
        node = await ql.aio.Node.open(directory, peers=NOBODY, options=SMALL)
        group = await node.raft("lonely", Gate())
        waits: list[Any] = [
            group.propose(b"1", timeout=None),
            group.propose_many([b"2", b"3"], timeout=None),
            group.submit(b"4"),
            group.wait_applied(9, timeout=None),
            group.read(None, timeout=None),
            group.read_barrier(timeout=None),
        ]
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        await until(lambda: group.blocking._core.outstanding_bytes > 0)
        await node.close()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, ql.Unknown | ql.Closed) for outcome in outcomes), outcomes
        for call in (group.propose(b"5"), group.read(None), group.status(), group.wait_applied(1), node.status()):
            with pytest.raises(ql.Closed):
                await call
        with pytest.raises(ql.Closed):
            group.submit(b"6")
        await node.close()
        assert node.closed

    run(main())
    with ql.Node.open(directory, options=SMALL):  # it was closed to the end
        pass


def test_what_waits_for_room_ends_with_the_node(run: Run, directory: Path) -> None:
    async def main() -> None:
        node = await ql.aio.Node.open(directory, peers=NOBODY, options=SMALL)
        group = await node.raft("full", options=ql.RaftOptions(in_flight_bytes=1 << 16))
        group.submit(bytes(60_000))
        tasks = [asyncio.ensure_future(group.propose(bytes(60_000), timeout=None)) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await node.close()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, ql.Closed)

    run(main())


def test_a_failing_machine_reaches_those_who_wait(run: Run, directory: Path) -> None:
    class Failing(Gate):
        def apply(self, batch: ql.Batch) -> Any:
            if batch.is_entries and b"bad" in batch.payload.tobytes():
                raise ValueError("no")
            return super().apply(batch)

    async def main() -> None:
        machine = Failing()
        machine.opened.set()
        async with ql.aio.Node.open(directory, options=SMALL) as node:
            group = await node.raft("failing", machine)
            assert (await group.propose(b"good")).result == b"doog"
            waiting = asyncio.ensure_future(group.wait_applied(1000))
            with pytest.raises(ql.Unknown):
                await group.propose(b"bad")
            with pytest.raises(ql.ReplicaStopped, match="ValueError"):
                await group.propose(b"good again")
            with pytest.raises(ql.ReplicaStopped, match="ValueError"):
                await waiting
            with pytest.raises(ql.ReplicaStopped):
                await group.read(None, consistency=ql.STALE)

    run(main())


def test_a_loop_that_is_closed_in_the_middle_harms_nobody(run: Run, directory: Path) -> None:
    gate = Gate()
    with ql.Node.open(directory, options=SMALL) as node:
        group = ql.aio.Group(node.raft("gated", gate))
        for _ in range(3):
            loop = asyncio.new_event_loop()
            waiting = [loop.create_task(group.propose(b"left behind", timeout=None)) for _ in range(10)]
            loop.run_until_complete(until(lambda: group.blocking._core.outstanding_bytes > 0))
            assert not any(task.done() for task in waiting)
            for task in waiting:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
            loop.close()
            del loop, waiting, task
        gate.opened.set()
        assert run(group.propose(b"next")).result == b"txen"
        assert gate.payloads == [b"left behind"] * 30 + [b"next"]
    assert alive("AwaitedReceipt") == 0


def test_several_loops_in_several_threads_share_a_node(run: Run, directory: Path) -> None:
    gate = Gate()
    with ql.Node.open(directory, options=SMALL) as node:
        group = ql.aio.Group(node.raft("shared", gate))
        shared = group.submit(b"shared")
        seen: list[int] = []
        waiting = threading.Barrier(5)

        async def work(number: int) -> None:
            first = asyncio.ensure_future(asyncio.wait_for(shared, None))
            mine = [asyncio.ensure_future(group.propose(b"%d" % number)) for _ in range(200)]
            await asyncio.sleep(0)
            waiting.wait(60)
            seen.append((await first).index)
            indexes = [done.index for done in await asyncio.gather(*mine)]
            assert indexes == sorted(set(indexes))

        failures: list[BaseException] = []

        def body(number: int) -> None:
            try:
                run(work(number))
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=body, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        waiting.wait(60)
        gate.opened.set()
        for thread in threads:
            thread.join(60)
        assert failures == []
        assert len(seen) == 4
        assert len(set(seen)) == 1
        assert sorted(gate.payloads[1:]) == sorted(b"%d" % number for number in range(4) for _ in range(200))


def test_a_forked_child_is_told(directory: Path) -> None:
    gate = Gate()
    with ql.Node.open(directory, options=SMALL) as node:
        group = ql.aio.Group(node.raft("forked", gate))
        pending = group.submit(b"pending")

        async def in_child() -> int:
            for call in (group.propose(b"1"), group.status(), group.wait_applied(9), pending, group.read(None)):
                try:
                    await call
                except ql.UsageError as error:
                    if "forked" not in str(error):
                        return 2
                else:
                    return 3
            return 0

        async def in_parent() -> None:
            task = asyncio.ensure_future(group.propose(b"2"))
            await asyncio.sleep(0)
            pid = os.fork()
            if pid == 0:
                try:
                    asyncio.events._set_running_loop(None)
                    code = asyncio.new_event_loop().run_until_complete(in_child())
                    try:
                        pending.result(60)
                    except ql.UsageError:
                        os._exit(code)
                finally:
                    os._exit(4)
            _, status = os.waitpid(pid, 0)
            assert os.waitstatus_to_exitcode(status) == 0
            gate.opened.set()
            assert (await task).result == b"2"

        asyncio.run(in_parent())


def test_cancelled_opening_gives_the_directory_back(run: Run, directory: Path) -> None:
    async def main() -> None:
        for turns in range(3):
            opening = asyncio.ensure_future(ql.aio.Node.open(directory, options=SMALL))
            for _ in range(turns):
                await asyncio.sleep(0)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            # The thread of the cancelled opening closes what it opened; until then it is locked.
            opened = False
            while not opened:
                with contextlib.suppress(ql.UsageError):
                    async with ql.aio.Node.open(directory, options=SMALL):
                        opened = True

    run(main())


def test_opening_fails_as_the_blocking_one_does(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(ql.UsageError, match="no data directory"):
            await ql.aio.Node.open(tmp_path / "nowhere")
        with pytest.raises(ql.UsageError, match="no data directory"):
            async with ql.aio.Node.open(tmp_path / "nowhere"):
                pass

    run(main())


def test_a_local_cluster_for_coroutines(run: Run) -> None:
    def machine() -> Gate:
        made = Gate()
        made.opened.set()
        return made

    async def main() -> None:
        async with ql.aio.LocalCluster(3, machine, options=SMALL) as cluster:
            leader = await cluster.leader(timeout=20)
            done = await leader.propose(b"one", timeout=20)
            assert [node.name for node in cluster.nodes] == cluster.names == ["n1", "n2", "n3"]
            for group in cluster.groups:
                await group.wait_applied(done.index, timeout=20)
                assert await group.read(None, timeout=20) == [b"one"]
            others = await cluster.raft("second", machine)
            assert (await others[0].propose(b"2", timeout=20)).result == b"2"
            assert set(cluster.nodes[0].groups) == {"main", "second"}
            await cluster.stop("n3")
            with pytest.raises(ql.UsageError, match="not running"):
                cluster.group("n3")
            again = await cluster.start("n3")
            await again.wait_applied(done.index, timeout=20)
            assert (await cluster.nodes[0].status(timeout=20)).boot == 1
            assert cluster.nodes[0].recovery.boot == 1
            assert cluster.nodes[0].address
        with pytest.raises(ql.Closed):
            await leader.propose(b"after")

    run(main())


def test_it_works_in_the_debug_mode_of_asyncio(group: ql.aio.Group, gate: Gate) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(group.propose(b"debug"))
        await asyncio.sleep(0)
        gate.opened.set()
        assert (await task).result == b"gubed"

    asyncio.run(main(), debug=True)
