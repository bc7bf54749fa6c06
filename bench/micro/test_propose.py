"""What a proposal costs its caller: the call itself, and the way to a quorum's disks and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import quorumlog as ql


def test_submit(benchmark: Any, leader: ql.Group) -> None:
    """The call of submit(bytes) alone; each round settles before the next."""
    payload = b"x" * 16
    pending: list[ql.Submission] = []

    def settle() -> None:
        for one in pending[-1:]:
            one.result(30)
        pending.clear()

    def submit() -> None:
        for _ in range(1000):
            pending.append(leader.submit(payload))

    benchmark.extra_info.update(calls=1000, entries=1000)
    benchmark.pedantic(submit, setup=settle, rounds=50)
    settle()


@pytest.mark.parametrize(("count", "payload"), [(64, 16), (4096, 16), (1024, 1024)])
def test_submit_many_buffer(benchmark: Any, leader: ql.Group, count: int, payload: int) -> None:
    """The call of submit_many((buffer, offsets)) alone: one copy and one checksum."""
    buffer = np.zeros(count * payload, np.uint8)
    offsets = np.arange(count + 1, dtype=np.uint32) * np.uint32(payload)
    pending: list[ql.Submission] = []

    def settle() -> None:
        for one in pending:
            one.result(30)
        pending.clear()

    benchmark.extra_info.update(bytes=count * payload, entries=count)
    benchmark.pedantic(
        lambda: pending.append(leader.submit_many((buffer, offsets))), setup=settle, rounds=200
    )
    settle()


def test_submit_many_list(benchmark: Any, leader: ql.Group) -> None:
    payloads = [b"x" * 16] * 4096
    pending: list[ql.Submission] = []

    def settle() -> None:
        for one in pending:
            one.result(30)
        pending.clear()

    benchmark.extra_info["entries"] = len(payloads)
    benchmark.pedantic(lambda: pending.append(leader.submit_many(payloads)), setup=settle, rounds=100)
    settle()


def test_propose(benchmark: Any, leader: ql.Group) -> None:
    """One entry to a quorum's disks and back."""
    benchmark.extra_info["entries"] = 1
    benchmark(leader.propose, b"x" * 16, timeout=30)


def test_linearizable_read_barrier(benchmark: Any, leader: ql.Group) -> None:
    benchmark(leader.read_barrier)


def test_status(benchmark: Any, leader: ql.Group) -> None:
    benchmark(leader.status)
