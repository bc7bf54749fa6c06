"""Connections of a participant: a few idle ones are kept, and never one that may have state."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Sessions"]


class Sessions:
    """Thread-safe.  `connect` makes a new DB-API connection."""

    def __init__(self, connect: Callable[[], Any], idle_max: int) -> None:
        self._connect = connect
        self._idle_max = idle_max
        self._idle: list[Any] = []
        self._lock = threading.Lock()

    def take(self) -> Any:
        """One that has no transaction."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def fresh(self) -> Any:
        """A new one, for what must not come from a session with a past."""
        return self._connect()

    def give_back(self, connection: Any) -> None:
        """After a transaction that ended cleanly."""
        with self._lock:
            if len(self._idle) < self._idle_max:
                self._idle.append(connection)
                return
        self.drop(connection)

    @staticmethod
    def drop(connection: Any) -> None:
        # Its server may be gone: there is nothing left to be done then.
        with contextlib.suppress(Exception):
            connection.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            self.drop(connection)
