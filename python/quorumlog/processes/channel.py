"""The control channel between a parent and its child: JSON lines over stdin and stdout.

Requests carry a number and may be answered in any order. Bytes travel as Latin-1 text, which maps
them one to one. The child lives no longer than its parent: the end of its stdin ends it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

LINE_BYTES_MAX = 64 << 20


class WorkerGone(ConnectionError):
    """The child ended while an answer was awaited: what was asked may or may not have happened."""


class RemoteError(RuntimeError):
    """The child answered with an exception: its class's name, its text, and what it says of the
    outcome.
    """

    def __init__(self, kind: str, text: str, definite: bool, retryable: bool) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.definite = definite
        self.retryable = retryable


def to_text(data: bytes) -> str:
    return data.decode("latin-1")


def from_text(text: str) -> bytes:
    return text.encode("latin-1")


class Worker:
    """The parent's side of one child.  Its stderr is appended to `log`."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.log = log
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
            )
        self._lock = threading.Lock()
        self._next = 0
        self._waiting: dict[int, Future[Any]] = {}
        self._gone = False
        self._reader = threading.Thread(target=self._read, name="worker answers", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not self._gone

    def start_call(self, do: str, **arguments: Any) -> Future[Any]:
        """Sends a request; the future gets the answer, RemoteError or WorkerGone."""
        future: Future[Any] = Future()
        stdin = self._process.stdin
        assert stdin is not None
        with self._lock:
            if self._gone:
                future.set_exception(self._ended())
                return future
            self._next += 1
            number = self._next
            self._waiting[number] = future
            line = json.dumps({"id": number, "do": do, **arguments}).encode() + b"\n"
            try:
                stdin.write(line)
                stdin.flush()
            except OSError:  # the reader sees the end too, and settles the future
                pass
        return future

    def call(self, do: str, *, timeout: float = 30.0, **arguments: Any) -> Any:
        return self.start_call(do, **arguments).result(timeout)

    def kill(self) -> None:
        """SIGKILL, and waits until the process is really gone."""
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def close(self, timeout: float = 30.0) -> int:
        """Asks the child to end by closing its stdin; its return code.  Killed when it takes too
        long.
        """
        stdin = self._process.stdin
        assert stdin is not None
        with self._lock, contextlib.suppress(OSError):
            stdin.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        return self._process.returncode

    def _ended(self) -> WorkerGone:
        return WorkerGone(
            f"process {self.pid} has ended (code {self._process.poll()}); what it said is in {self.log}"
        )

    def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        for line in iter(lambda: stdout.readline(LINE_BYTES_MAX), b""):
            answer = json.loads(line)
            with self._lock:
                future = self._waiting.pop(answer["id"])
            if "error" in answer:
                future.set_exception(RemoteError(**answer["error"]))
            else:
                future.set_result(answer["result"])
        self._process.wait()
        with self._lock:
            self._gone = True
            left, self._waiting = self._waiting, {}
        for future in left.values():
            future.set_exception(self._ended())
        stdout.close()


def serve(handlers: Mapping[str, Callable[..., Any]], *, threads: int = 8) -> None:
    """The child's side: answers until stdin ends.  Handlers run side by side on a few threads."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which closes us
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a stray print can't spoil the channel
    lock = threading.Lock()
    with ThreadPoolExecutor(threads) as pool:
        for line in iter(lambda: sys.stdin.buffer.readline(LINE_BYTES_MAX), b""):
            request = json.loads(line)
            pool.submit(_answer, handlers, request, answers, lock)


def _answer(
    handlers: Mapping[str, Callable[..., Any]],
    request: dict[str, Any],
    answers: BinaryIO,
    lock: threading.Lock,
) -> None:
    number, do = request.pop("id"), request.pop("do")
    answer: dict[str, Any] = {"id": number}
    try:
        answer["result"] = handlers[do](**request)
    except Exception as error:
        answer["error"] = {
            "kind": type(error).__name__,
            "text": str(error),
            "definite": bool(getattr(error, "definite", False)),
            "retryable": bool(getattr(error, "retryable", False)),
        }
    line = json.dumps(answer).encode() + b"\n"
    with lock, contextlib.suppress(BrokenPipeError):
        answers.write(line)
        answers.flush()
