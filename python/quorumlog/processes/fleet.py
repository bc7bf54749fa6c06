"""The parent's side of a cluster of node processes: directories, ports, start, kill, restart."""

from __future__ import annotations

import secrets
import sys
import time
import uuid
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any

import quorumlog as ql
from quorumlog.cluster import free_addresses
from quorumlog.processes.channel import RemoteError, Worker, WorkerGone

POLL_SECONDS = 0.005
OPEN_SECONDS = 60.0


class FleetError(RuntimeError):
    """The cluster did not get where it should in time; the text says what was seen last."""


def create_nodes(root: Path, names: list[str]) -> None:
    """A data directory with an identity for each, all of one new cluster."""
    cluster, token = uuid.uuid4(), secrets.token_bytes(32)
    for name in names:
        ql.Node.create(root / name, name, cluster=cluster, token=token)


class Fleet:
    """Node processes n1, n2, … on loopback, each running `module` (`python -m module`)."""

    def __init__(
        self,
        root: Path,
        count: int,
        module: str,
        *,
        group: str,
        machine: str,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.root = root
        self.names = [f"n{number}" for number in range(1, count + 1)]
        self.group = group
        self._module, self._machine, self._options = module, machine, options or {}
        root.mkdir(parents=True, exist_ok=True)
        create_nodes(root, self.names)
        self._addresses = dict(zip(self.names, free_addresses(count), strict=True))
        self.workers: dict[str, Worker] = {}

    def __enter__(self) -> Fleet:
        try:
            for name in self.names:
                self.workers[name] = self._spawn(name)
            for opening in [self._open(self.workers[name], name) for name in self.names]:
                opening.result(OPEN_SECONDS)
        except BaseException:
            self.kill_all()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.kill_all()

    def _spawn(self, name: str) -> Worker:
        return Worker([sys.executable, "-m", self._module], self.root / f"{name}.log")

    def _open(self, worker: Worker, name: str) -> Future[Any]:
        return worker.start_call(
            "open",
            directory=str(self.root / name),
            listen=self._addresses[name],
            peers=self._addresses,
            group=self.group,
            machine=self._machine,
            options=self._options,
        )

    def kill(self, name: str) -> None:
        self.workers[name].kill()

    def restart(self, name: str) -> None:
        """A new process over the same data directory and address, in its place once it is open."""
        worker = self._spawn(name)
        try:
            self._open(worker, name).result(OPEN_SECONDS)
        except BaseException:
            worker.kill()
            raise
        self.workers[name] = worker

    def close(self) -> None:
        """Ends all cleanly; a child that could not is an error."""
        codes = {name: worker.close() for name, worker in self.workers.items() if worker.alive}
        bad = [f"{name} ended with {code}" for name, code in codes.items() if code]
        if bad:
            raise FleetError(f"{', '.join(bad)}; what they said is in {self.root}/*.log")

    def kill_all(self) -> None:
        for worker in self.workers.values():
            worker.kill()

    def statuses(self) -> dict[str, dict[str, Any]]:
        """Of all that answer."""
        asked = {name: worker.start_call("status") for name, worker in self.workers.items() if worker.alive}
        answers = {}
        for name, future in asked.items():
            try:
                answers[name] = future.result(10)
            except (WorkerGone, RemoteError, TimeoutError):
                continue
        return answers

    def leader(self, timeout: float = 30.0, *, other_than: str | None = None) -> str:
        """The node that says itself that it leads."""
        deadline = time.monotonic() + timeout
        while True:
            statuses = self.statuses()
            for name, status in statuses.items():
                if status["leader"] == name and name != other_than:
                    return name
            if time.monotonic() > deadline:
                raise FleetError(f"no leader within {timeout} s; the nodes say {statuses}")
            time.sleep(POLL_SECONDS)
