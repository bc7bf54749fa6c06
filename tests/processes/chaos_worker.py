"""A node process for the chaos tests: it proposes, remembers, and can be made to hold the GIL."""

from __future__ import annotations

import ctypes
import hashlib
from typing import Any

import quorumlog as ql
from quorumlog.processes.channel import from_text, serve
from quorumlog.processes.node import NodeWorker


class Memory(ql.StateMachine):
    """Counts how often each command was applied, in order."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []

    def apply(self, batch: ql.Batch) -> None:
        self.commands.extend(batch)

    def query(self, question: Any) -> Any:
        return len(self.commands)


class ChaosWorker(NodeWorker):
    def handlers(self) -> dict[str, Any]:
        return {
            **super().handlers(),
            "propose": self.propose,
            "read_count": lambda: self.group.read("count", timeout=20),
            "commands": self.commands,
            "digest": self.digest,
            "hold_gil": self.hold_gil,
        }

    def propose(self, payload: str, seconds: float) -> int:
        return self.group.propose(from_text(payload), seconds).index

    def commands(self) -> list[str]:
        assert isinstance(self.machine, Memory)
        return [command.decode("latin-1") for command in self.machine.commands]

    def digest(self) -> str:
        assert isinstance(self.machine, Memory)
        return hashlib.sha256(b"\0".join(self.machine.commands)).hexdigest()

    def hold_gil(self, seconds: int) -> int:
        """C code that keeps the GIL all that time: no other Python thread of the process runs."""
        return int(ctypes.PyDLL(None).sleep(seconds))


if __name__ == "__main__":
    worker = ChaosWorker({"memory": Memory})
    serve(worker.handlers())
    worker.close()
