from collections.abc import Sequence
from typing import Self

_Txid = tuple[int, int, int, int]
_Effect = tuple[int, _Txid, int, int, int, int, int]

EVENTS: dict[str, int]
EFFECTS: dict[str, int]
VOTES: dict[str, int]
REASONS: dict[str, int]
VERDICTS: dict[str, int]
DECISIONS: dict[str, int]
BRANCHES_LIMIT: int

def encode_decision(
    kind: int, txid: _Txid, outcome: int = ..., extra: int = ..., branches: Sequence[int] = ..., text: bytes = ...
) -> bytes: ...
def decode_decision(data: bytes) -> tuple[int, _Txid, int, int, tuple[int, ...], bytes]: ...

class DecisionTable:
    def __new__(cls, unfinished_max: int, remembered_max: int) -> Self: ...
    def apply(self, data: bytes) -> tuple[int, int, int]: ...
    def presume(self, txid: _Txid) -> int: ...
    def outcome(self, txid: _Txid) -> int: ...
    def is_resolved(self, txid: _Txid) -> bool: ...
    def decided(self) -> list[tuple[_Txid, int, bool, bool, tuple[int, ...]]]: ...
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
    def __new__(
        cls,
        decisions: DecisionTable,
        self_txid: _Txid,
        *,
        in_hand_max: int = ...,
        retry_ns: int = ...,
        retry_max_ns: int = ...,
        retransmit: bool = ...,
        one_phase: bool = ...,
    ) -> Self: ...
    def step(
        self,
        kind: int,
        now_ns: int,
        txid: _Txid = ...,
        *,
        participant: int = ...,
        vote: int = ...,
        verdict: int = ...,
        deadline_ns: int = ...,
        cookie: int = ...,
        branches: Sequence[int] = ...,
    ) -> list[_Effect]: ...
    def renew(self, self_txid: _Txid) -> None: ...
    def status(self) -> dict[str, int]: ...
