from typing import Any

from quorumlog._core.bridge.node import GroupCore, NodeCore

def open_raft(
    core: NodeCore, group: int, name: bytes, voters: list[int], machine: Any, o: dict[str, Any]
) -> GroupCore: ...
