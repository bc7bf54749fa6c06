"""The hot paths by name, each as an object that makes many turns of it in a row (bridge/testing_bench.pxd).

Deterministic: no cluster, no thread, no clock, no random number. Measured in time by bench/micro, and in
instructions by `bench instructions`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from quorumlog.bench.machines import SumMachine


class HotPath(Protocol):
    entries: int

    def prepare(self, turns: int) -> None:
        """Makes what the next so many turns use up."""

    def run(self, turns: int, measured: bool = True) -> None:
        """Makes so many turns; in callgrind's sight if `measured`."""


def _bench() -> Any:
    # By name: the modules for tests have no place in the package's types.
    return importlib.import_module("quorumlog._core.bridge.testing_bench")


def _raft() -> Any:
    return importlib.import_module("quorumlog._core.bridge.testing_bench_raft")


def _packed(entries: int, payload: int) -> Any:
    offsets = np.arange(entries + 1, dtype=np.uint32) * np.uint32(payload)
    return np.zeros(entries * payload, np.uint8), offsets


# Each maker is given an empty directory of its own.
HOT_PATHS: dict[str, Callable[[Path], HotPath]] = {
    "seal packed 4096 x 16 B": lambda directory: _bench().Seal(_packed(4096, 16)),
    "seal packed 64 x 16 B": lambda directory: _bench().Seal(_packed(64, 16)),
    "seal list 4096 x 16 B": lambda directory: _bench().Seal([b"x" * 16] * 4096),
    "seal list 1 x 16 B": lambda directory: _bench().Seal([b"x" * 16]),
    "crc32c 64 B": lambda directory: _bench().Checksum(64),
    "crc32c 64 KiB": lambda directory: _bench().Checksum(65536),
    "frame encode": lambda directory: _bench().FrameEncode(64, 16),
    "frame decode 64 x 16 B": lambda directory: _bench().FrameDecode(64, 16),
    "frame decode 4096 x 16 B": lambda directory: _bench().FrameDecode(4096, 16),
    "acked index of 3": lambda directory: _bench().Acked(3),
    "acked index of 5": lambda directory: _bench().Acked(5),
    "acked index of 7": lambda directory: _bench().Acked(7),
    "acked index of 9": lambda directory: _bench().Acked(9),
    "log append and plan": lambda directory: _bench().LogWrite(str(directory), 64, 16),
    "raft leader of 3": lambda directory: _raft().Leader(3, 64, 16),
    "raft leader of 5": lambda directory: _raft().Leader(5, 64, 16),
    "raft follower": lambda directory: _raft().Follower(3, 64, 16),
    "apply python 4096 x 16 B": lambda directory: _bench().ApplyPython(SumMachine(), 4096, 16),
}
