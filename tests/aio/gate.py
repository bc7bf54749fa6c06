"""State machines and nodes whose proposals stay pending until the test lets them go."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import quorumlog as ql

Run = Callable[[Coroutine[Any, Any, Any]], Any]

SMALL = ql.NodeOptions(segment_bytes=8 << 20, spare_segments=1)
NOBODY = {"n2": "127.0.0.1:1", "n3": "127.0.0.1:2"}  # a quorum that is never there


class Gate(ql.StateMachine):
    """Applies nothing until it is opened; keeps every entry; the result is the entry reversed."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Event()
        self.payloads: list[bytes] = []

    def apply_one(self, index: int, payload: bytes) -> bytes:
        self.entered.set()
        assert self.opened.wait(60)
        self.payloads.append(payload)
        return payload[::-1]

    def query(self, question: Any) -> Any:
        return list(self.payloads)


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop run until it holds; a test that hangs is ended by its timeout."""
    while not condition():
        await asyncio.sleep(0)


def alive(*names: str) -> int:
    """Objects of the bridge of these types that the collector still sees."""
    gc.collect()
    return sum(type(thing).__name__ in names for thing in gc.get_objects())


PENDING_MAX = 1 << 16
"""Batches of one group that a node takes and keeps until they are settled (runtime/apply)."""


def crowd(submit_many: Callable[[list[bytes]], object]) -> None:
    """More batches than a node without a quorum takes: what is proposed behind them stays with the caller."""
    for _ in range(PENDING_MAX + 1):
        submit_many([b"x"])
