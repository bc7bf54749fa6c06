"""Which compiled simulation belongs to which protocol."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["PROTOCOLS", "simulation_of"]

PROTOCOLS = {
    "raft": "quorumlog._core.bridge.testing_simulation",
    "paxos": "quorumlog._core.bridge.testing_simulation",
    "twophase": "quorumlog._core.bridge.testing_transactions",
}


def simulation_of(protocol: str) -> ModuleType:
    """The module with `run` and MARK_NAMES; ImportError where the build has left it out."""
    return importlib.import_module(PROTOCOLS[protocol])
