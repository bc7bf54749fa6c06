from collections.abc import Callable, Iterable
from typing import Any

class Machines:
    live: dict[int, Any]
    error: BaseException | None
    def __init__(
        self,
        factory: Callable[[], Any],
        command_of: Callable[[int, int], Iterable[bytes]],
        look: Callable[[Any], None] | None = None,
    ) -> None: ...
    def payloads_of(self, session: int, sequence: int) -> list[bytes]: ...
