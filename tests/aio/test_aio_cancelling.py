"""Cancelling an await stops the waiting and nothing else; deadlines; no trace is left of either."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from gate import NOBODY, SMALL, Gate, Run, alive, crowd, until

import quorumlog as ql

OURS = ("AwaitedReceipt", "AwaitedTicket", "AwaitedMove", "AwaitedQuery", "Settling", "Room")


def test_a_cancelled_proposal_is_applied_all_the_same(run: Run, group: ql.aio.Group, gate: Gate) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(group.propose(b"gone but not undone"))
        await until(lambda: group.blocking._core.outstanding_bytes > 0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.opened.set()
        await group.propose(b"after")
        assert gate.payloads == [b"gone but not undone", b"after"]

    run(main())


def test_cancelling_one_of_two_concerns_the_other_not(run: Run, group: ql.aio.Group, gate: Gate) -> None:
    async def main() -> None:
        submission = group.submit(b"both")

        async def wait() -> ql.Applied:
            return await submission

        one, other = asyncio.ensure_future(wait()), asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        one.cancel()
        await asyncio.sleep(0)
        assert one.cancelled()
        assert not other.done()
        gate.opened.set()
        assert (await other).result == b"htob"
        assert (await submission).result == b"htob"

    run(main())


def test_a_timeout_of_asyncio_leaves_the_submission_to_be_awaited_again(
    run: Run, group: ql.aio.Group, gate: Gate
) -> None:
    async def main() -> None:
        submission = group.submit(b"slow")
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(submission, 0.01)
        assert not submission.done
        gate.opened.set()
        assert (await submission).result == b"wols"

    run(main())


def test_ten_thousand_cancelled_awaits_leave_nothing_behind(run: Run, group: ql.aio.Group, gate: Gate) -> None:
    futures_before = alive("Future", "Task")

    async def main() -> None:
        tasks = [asyncio.ensure_future(group.propose(b"x", timeout=60)) for _ in range(10_000)]
        tasks += [asyncio.ensure_future(group.read(None, ql.STALE, timeout=60)) for _ in range(100)]
        tasks += [asyncio.ensure_future(group.wait_applied(1 << 40, timeout=60)) for _ in range(100)]
        await until(lambda: group.blocking._core.outstanding_bytes >= 10_000)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
        tasks.clear()
        del task
        assert alive("Future") <= futures_before + 10      # while all is still pending
        gate.opened.set()
        await group.propose(b"last")
        assert len(gate.payloads) == 10_001

    run(main())
    assert alive(*OURS) == 0
    assert alive("Future", "Task") <= futures_before


async def taken_and_timed_out(group: ql.aio.Group) -> ql.ProposalTimeout:
    """A busy machine may end the time before the node took the proposal, which is then withdrawn: once more."""
    while True:
        try:
            await group.propose(b"1", timeout=0.05)
        except ql.Withdrawn:
            continue
        except ql.ProposalTimeout as error:
            return error


def test_the_time_runs_out_as_promised(run: Run, directory: Path) -> None:
    async def main() -> None:
        with ql.Node.open(directory, peers=NOBODY, options=SMALL) as node:
            group = ql.aio.Group(node.raft("lonely", Gate()))
            error = await taken_and_timed_out(group)
            assert isinstance(error, TimeoutError)
            assert not error.definite
            assert error.proposal_id is not None
            with pytest.raises(ql.ReadTimeout):
                await group.read_barrier(timeout=0.05)
            with pytest.raises(ql.ReadTimeout):
                await group.read(None, timeout=0.05)
            with pytest.raises(ql.ReadTimeout, match="newest is 0"):
                await group.wait_applied(1, timeout=0.05)
            with pytest.raises(ql.ReadTimeout, match="no leader"):
                await group.wait_leader(timeout=0.05)
            for wrong in (-1, float("nan")):
                with pytest.raises(ql.UsageError, match="timeout"):
                    await group.propose(b"1", timeout=wrong)

    run(main())


def test_what_the_node_had_not_taken_is_withdrawn(run: Run, directory: Path) -> None:
    async def main() -> None:
        with ql.Node.open(directory, peers=NOBODY, options=SMALL) as node:
            group = ql.aio.Group(node.raft("lonely", Gate()))
            crowd(group.submit_many)
            before = group.blocking._core.outstanding_bytes
            while True:         # the first ones may still be taken
                with pytest.raises(TimeoutError) as caught:
                    await group.propose(b"late", timeout=0.05)
                if isinstance(caught.value, ql.Withdrawn):
                    break
            assert caught.value.definite
            assert isinstance(caught.value, ql.Rejected)
            after = group.blocking._core.outstanding_bytes
            with pytest.raises(ql.Withdrawn):
                await group.propose(b"later", timeout=0.05)
            assert group.blocking._core.outstanding_bytes == after >= before

    run(main())


def test_a_stalled_machine_lets_reads_time_out(run: Run, group: ql.aio.Group, gate: Gate) -> None:
    async def main() -> None:
        submission = group.submit(b"in the way")
        await until(gate.entered.is_set)
        with pytest.raises(ql.ReadTimeout):
            await group.read(None, timeout=0.05)
        await taken_and_timed_out(group)
        gate.opened.set()
        await submission
        assert b"1" in await group.read(None)

    run(main())


def test_the_nearest_deadline_comes_first(run: Run, group: ql.aio.Group) -> None:
    async def main() -> None:
        timeouts = [None, 60.0, 0.2, 0.05, 30.0, 0.1]
        ended: list[float | None] = []

        async def wait(timeout: float | None) -> None:
            try:
                await group.propose(b"never in time", timeout=timeout)
            finally:
                ended.append(timeout)

        tasks = [asyncio.ensure_future(wait(timeout)) for timeout in timeouts]
        await until(lambda: len(ended) == 3)
        assert ended == [0.05, 0.1, 0.2]
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(outcome, (ql.ProposalTimeout, ql.Withdrawn)) for outcome in outcomes) == 3

    run(main())


def fill(group: ql.aio.Group) -> list[ql.Submission]:
    """Everything that the group takes, until it refuses."""
    taken: list[ql.Submission] = []
    with pytest.raises(ql.Overloaded):
        taken.extend(group.submit(bytes(64 << 10)) for _ in range(1000))
    return taken


def test_without_room_a_proposal_waits_its_turn(run: Run, group: ql.aio.Group, gate: Gate) -> None:
    async def main() -> None:
        taken = fill(group)
        # more than there will ever be room for at once
        big = [bytes([number]) * (64 << 10) for number in range(40)]
        tasks = [asyncio.ensure_future(group.propose(payload, timeout=60)) for payload in big]
        tasks.append(asyncio.ensure_future(group.propose_many(iter([b"last"]), timeout=60)))  # type: ignore[arg-type]
        with pytest.raises(ql.Overloaded) as caught:
            await group.propose(big[0], timeout=0.05)
        assert caught.value.limit == 1 << 20
        assert caught.value.definite
        gate.opened.set()
        await asyncio.gather(*tasks)
        assert gate.payloads[len(taken) :] == [*big, b"last"]

    run(main())


def test_cancelling_what_waits_for_room_gives_it_up(run: Run, group: ql.aio.Group, gate: Gate) -> None:
    async def main() -> None:
        taken = fill(group)
        tasks = [asyncio.ensure_future(group.propose(bytes(64 << 10))) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for task in tasks[:2]:
            task.cancel()
        gate.opened.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [*[asyncio.CancelledError] * 2, ql.Applied]
        assert len(gate.payloads) == len(taken) + 1

    run(main())
