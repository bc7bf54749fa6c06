"""Threads that propose every chunk until it is acknowledged, whatever happens to the nodes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from quorumlog.demo.source import Chunk
from quorumlog.processes.channel import RemoteError, Worker, WorkerGone, to_text

PROPOSE_SECONDS = 3.0
PAUSE_SECONDS = 0.01


class Proposers:
    """Proposes through any node that is there, in turn.

    The last quarter of the chunks is held back until `release`, so that the middle of the work is
    where the leader dies. `at_half` is called once, by the thread whose acknowledgement makes it
    half, while the others go on proposing.
    """

    def __init__(
        self,
        chunks: list[Chunk],
        workers: Callable[[], list[Worker]],
        count: int,
        at_half: Callable[[], None],
    ) -> None:
        self._workers = workers
        self._at_half = at_half
        self._todo = deque(chunks)
        self._held_back = max(len(chunks) // 4, 1) if len(chunks) > 1 else 0
        self._lock = threading.Condition()
        self._stop = False
        self._half_of_lines = sum(len(chunk.lines) for chunk in chunks) / 2
        self._half_reached = False
        self.total_lines = sum(len(chunk.lines) for chunk in chunks)
        self.acknowledged: list[int] = []  # ids, in the order of their acknowledgements
        self.last_index = 0
        self.latencies: list[tuple[float, int]] = []  # seconds from first try to the answer, lines
        self.first_in_term: dict[int, float] = {}  # when a proposal of that term was first answered
        self.retried_unknown = 0
        self.retried_refused = 0
        self.failure: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"proposer {number}", daemon=True)
            for number in range(count)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def release(self) -> None:
        with self._lock:
            self._held_back = 0
            self._lock.notify_all()

    def stop(self) -> None:
        """Gives up what is not acknowledged yet."""
        with self._lock:
            self._stop = True
            self._lock.notify_all()
        for thread in self._threads:
            if thread.ident is not None:  # it was started
                thread.join(PROPOSE_SECONDS * 3)

    @property
    def done(self) -> bool:
        return len(self.acknowledged) == self.total_lines

    def _take(self) -> Chunk | None:
        with self._lock:
            while not self._stop and len(self._todo) <= self._held_back and self._todo:
                self._lock.wait()
            return None if self._stop or not self._todo else self._todo.popleft()

    def _run(self, number: int) -> None:
        try:
            turn = number
            while (chunk := self._take()) is not None:
                turn = self._propose(chunk, turn)
        except BaseException as error:
            self.failure = error
            raise

    def _propose(self, chunk: Chunk, turn: int) -> int:
        lines = [to_text(line) for line in chunk.lines]
        began = time.perf_counter()
        while not self._stop:
            workers = self._workers()
            turn += 1
            if workers:
                worker = workers[turn % len(workers)]
                try:
                    answer = worker.call(
                        "propose",
                        timeout=PROPOSE_SECONDS * 2,
                        first_id=chunk.first_id,
                        lines=lines,
                        timeout_seconds=PROPOSE_SECONDS,
                    )
                except RemoteError as error:
                    # Definite: it did not happen.  Otherwise it may have: the same ids make both
                    # safe to retry.
                    self._count_retry(error.definite)
                except (WorkerGone, FutureTimeout):
                    self._count_retry(False)
                else:
                    self._acknowledge(chunk, answer, began)
                    return turn
            with self._lock:
                self._lock.wait_for(lambda: self._stop, PAUSE_SECONDS)
        return turn

    def _count_retry(self, definite: bool) -> None:
        with self._lock:
            if definite:
                self.retried_refused += 1
            else:
                self.retried_unknown += 1

    def _acknowledge(self, chunk: Chunk, answer: dict[str, Any], began: float) -> None:
        now = time.perf_counter()
        with self._lock:
            count = len(chunk.lines)
            self.acknowledged.extend(range(chunk.first_id, chunk.first_id + count))
            self.latencies.append((now - began, count))
            self.first_in_term.setdefault(answer["term"], now)
            self.last_index = max(self.last_index, answer["index"] + count - 1)
            half = len(self.acknowledged) >= self._half_of_lines and not self._half_reached
            self._half_reached |= half
        if half:
            self._at_half()
