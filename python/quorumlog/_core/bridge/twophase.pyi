from collections.abc import Sequence

Txid = tuple[int, int, int, int]
Effect = tuple[int, Txid, int, int, int, int, int]

EVENTS: dict[str, int]
EFFECTS: dict[str, int]
VOTES: dict[str, int]
REASONS: dict[str, int]
VERDICTS: dict[str, int]
DECISIONS: dict[str, int]
BRANCHES_LIMIT: int

def encode_decision(
    kind: int, txid: Txid, outcome: int = ..., extra: int = ..., branches: Sequence[int] = ..., text: bytes = ...
) -> bytes: ...
def decode_decision(data: bytes) -> tuple[int, Txid, int, int, tuple[int, ...], bytes]: ...

class DecisionTable:
    def __init__(self, unfinished_max: int, remembered_max: int) -> None: ...
    def apply(self, data: bytes) -> tuple[int, int, int]: ...
    def presume(self, txid: Txid) -> int: ...
    def outcome(self, txid: Txid) -> int: ...
    def is_resolved(self, txid: Txid) -> bool: ...
    def decided(self) -> list[tuple[Txid, int, bool, bool, tuple[int, ...]]]: ...
    def coordinators(self) -> list[tuple[int, int, int, int, dict[int, int]]]: ...
    @property
    def unfinished(self) -> int: ...
    @property
    def contradictions(self) -> int: ...

class CoordinatorCore:
    @property
    def decisions(self) -> DecisionTable: ...
    @property
    def deadline_ns(self) -> int: ...
    def __init__(
        self,
        decisions: DecisionTable,
        self_txid: Txid,
        *,
        in_hand_max: int = ...,
        retry_ns: int = ...,
        retry_max_ns: int = ...,
        retransmit: bool = ...,
        one_phase: bool = ...,
    ) -> None: ...
    def step(
        self,
        kind: int,
        now_ns: int,
        txid: Txid = ...,
        *,
        participant: int = ...,
        vote: int = ...,
        verdict: int = ...,
        deadline_ns: int = ...,
        cookie: int = ...,
        branches: Sequence[int] = ...,
    ) -> list[Effect]: ...
    def renew(self, self_txid: Txid) -> None: ...
    def status(self) -> dict[str, int]: ...
