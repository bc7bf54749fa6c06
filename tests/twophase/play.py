"""A coordinator and its decision log in words, for the cases of the literature."""

from __future__ import annotations

from quorumlog._core.bridge.twophase import (
    DECISIONS,
    EFFECTS,
    EVENTS,
    REASONS,
    VERDICTS,
    VOTES,
    CoordinatorCore,
    DecisionTable,
    encode_decision,
)

NAMES = {number: name for name, number in EFFECTS.items()}
VERDICT_NAMES = {number: name for name, number in VERDICTS.items()}
REASON_NAMES = {number: name for name, number in REASONS.items()}
Txid = tuple[int, int, int, int]
A, B, C = 101, 102, 103


class DecisionLog:
    """The table, and the verdicts by name."""

    def __init__(self, remembered: int = 16) -> None:
        self.table = DecisionTable(64, remembered)

    def write(self, kind: str, txid: Txid = (0, 0, 0, 0), **more: object) -> str:
        if "outcome" in more:
            more["outcome"] = VERDICTS[str(more["outcome"])]
        return VERDICT_NAMES[self.table.apply(encode_decision(DECISIONS[kind], txid, **more))[0]]

    def begin(self, name: bytes = b"a", nonce: int = 7) -> Txid:
        drawn = 900 + sum(name)
        verdict, coordinator, incarnation = self.table.apply(
            encode_decision(DECISIONS["incarnation"], (drawn, 0, nonce, 0), text=name)
        )
        assert VERDICT_NAMES[verdict] == "taken"
        return coordinator, incarnation, nonce, 0

    def presume(self, txid: Txid) -> str:
        return VERDICT_NAMES[self.table.presume(txid)]

    def outcome(self, txid: Txid) -> str:
        return VERDICT_NAMES[self.table.outcome(txid)]


class Coordinator:
    """Effects as (name, participant or outcome)."""

    def __init__(self, log: DecisionLog, name: bytes = b"a", nonce: int = 7, **options: object) -> None:
        self.log = log
        self.own = log.begin(name, nonce)
        self.core = CoordinatorCore(log.table, self.own, **{"retry_ns": 10, "retry_max_ns": 40, **options})
        self.now_ns = 1
        self.txids: list[Txid] = []

    def told(self, event: str, txid: Txid = (0, 0, 0, 0), **more: object) -> list[tuple[str, object]]:
        for key, names in (("vote", VOTES), ("verdict", VERDICTS)):
            if key in more:
                more[key] = names[str(more[key])]
        effects = []
        for kind, about, _, participant, outcome, reason, _ in self.core.step(EVENTS[event], self.now_ns, txid, **more):
            name = NAMES[kind]
            if name == "begin":
                self.txids.append(about)
            elif name == "settle":
                effects.append((name, (VERDICT_NAMES[outcome], REASON_NAMES[reason])))
            elif name == "report":
                effects.append((name, VERDICT_NAMES[outcome]))
            else:
                effects.append((name, participant))
        return effects

    def begin(self, *participants: int, deadline_ns: int = 0) -> Txid:
        self.told("begin", deadline_ns=deadline_ns)
        for participant in participants:
            assert self.told("enlist", self.txids[-1], participant=participant) == []
        return self.txids[-1]

    def prepared(self, *participants: int, deadline_ns: int = 0) -> Txid:
        """Begun and asked to commit."""
        txid = self.begin(*participants, deadline_ns=deadline_ns)
        assert self.told("commit", txid) == [("prepare", p) for p in participants]
        return txid
