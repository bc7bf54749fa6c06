"""Blocking calls that open or close things, in a thread beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from threading import Lock
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["Opening", "in_thread"]

T = TypeVar("T")


async def in_thread(call: Callable[[], T], undo: Callable[[T], object] = lambda made: None) -> T:
    """Awaits `call` in a thread.  When the await is cancelled the call goes on, and what it makes is
    undone there."""
    lock, given_up = Lock(), False
    made: list[T] = []

    def run() -> T:
        result = call()
        with lock:
            made.append(result)
            wanted = not given_up
        if not wanted:
            undo(result)
        return result

    loop = asyncio.get_running_loop()
    running = loop.run_in_executor(None, run)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        running.add_done_callback(_look_at)
        with lock:
            given_up = True
        if made:
            loop.run_in_executor(None, undo, made[0])
        raise


def _look_at(running: asyncio.Future[T]) -> None:
    """An error of a call that nobody waits for any more is nobody's."""
    if not running.cancelled():
        running.exception()


class Closable(Protocol):
    async def close(self) -> None: ...


C = TypeVar("C", bound=Closable)


class Opening(Generic[C]):
    """Something being opened: `await` it and close it later, or use it in `async with`."""

    def __init__(self, opener: Callable[[], Coroutine[Any, Any, C]]) -> None:
        self._opener = opener
        self._opened: C | None = None

    def __await__(self) -> Generator[Any, Any, C]:
        return self._opener().__await__()

    async def __aenter__(self) -> C:
        self._opened = await self
        return self._opened

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._opened is not None:
            await self._opened.close()
