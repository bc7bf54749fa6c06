from collections.abc import Collection, Sequence
from typing import Any, final

from quorumlog._core.bridge.node import GroupCore

@final
class Reading: ...

def read(
    group: GroupCore, question: Any, consistency: int, max_lag: float | None, timeout: float | None
) -> Any: ...
def read_many(
    group: GroupCore,
    questions: Collection[Any],
    consistency: int,
    max_lag: float | None,
    timeout: float | None,
) -> Sequence[Any]: ...
def read_barrier(group: GroupCore, consistency: int, timeout: float | None) -> int: ...
