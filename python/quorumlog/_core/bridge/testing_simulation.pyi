from typing import Any

from quorumlog._core.bridge.testing_machine import Machines

FAULTS: tuple[str, ...]
KINDS: dict[int, str]
MARK_NAMES: tuple[str, ...]
MESSAGES: tuple[str, ...]
PAXOS_MESSAGES: tuple[str, ...]
PROFILES: dict[str, int]
OPERATION_NAMES: tuple[str, ...]
ROLES: tuple[str, ...]
TRACED: tuple[str, ...]

def has_mutants() -> bool: ...
def history_holds(operations: Any) -> bool: ...
def run(
    seed: int,
    *,
    profile: str = "swarm",
    nodes: int = 0,
    safety_ms: int = 0,
    healed_ms: int = 0,
    progress: int = 0,
    keep_disks: bool = False,
    history: bool = False,
    trace: bool = False,
    machines: Machines | None = None,
    protocol: str = "raft",
) -> dict[str, Any]: ...
