from typing import Any, final

from typing_extensions import disjoint_base

from quorumlog._core.bridge.node import NodeCore

@disjoint_base
class SnapshotSource:
    @property
    def index(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...
    def __iter__(self) -> SnapshotSource: ...
    def __next__(self) -> bytes: ...

@final
class Writing:
    def __call__(self, *args: Any, **kwargs: Any) -> None: ...

@final
class Restoring:
    def __call__(self, *args: Any, **kwargs: Any) -> None: ...

def run_snapshots(core: NodeCore) -> None: ...
