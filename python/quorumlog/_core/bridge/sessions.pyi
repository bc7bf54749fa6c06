from quorumlog._core.bridge.node import GroupCore
from quorumlog._core.bridge.submission import Applied, Submission

WINDOW: int

def submit(group: GroupCore, payloads: list[bytes], stamp: bytes, whole: bool) -> Submission: ...
def propose(
    group: GroupCore, payloads: list[bytes], stamp: bytes, whole: bool, timeout: float | None
) -> Applied: ...
