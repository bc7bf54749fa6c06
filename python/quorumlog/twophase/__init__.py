"""Two-phase commit over real databases, with a decision log that survives its coordinator.

    coordinator = ql.twophase.Coordinator(log=ql.Log.open("var/decisions"), participants=[bank_a, bank_b])
    with coordinator.transaction(timeout=5) as txn:
        a, b = txn.enlist(bank_a), txn.enlist(bank_b)
        a.execute("UPDATE account SET balance = balance - %s WHERE id = %s", (10, 1))
        b.execute("UPDATE account SET balance = balance + %s WHERE id = %s", (10, 7))
    # committed on both, or on neither

What decides is the state machine of the core (`protocols/twophase`); what is here carries out what it wants.
"""

from quorumlog.twophase.coordinator import Coordinator, Outcome, Recovery, Transaction
from quorumlog.twophase.dbapi import DBAPI
from quorumlog.twophase.decisions import DecisionLog, InDoubt
from quorumlog.twophase.participant import Branch, Participant, Vote
from quorumlog.twophase.txid import Gid, Txid
from quorumlog.twophase.xa import XA

__all__ = [
    "DBAPI",
    "XA",
    "Branch",
    "Coordinator",
    "DecisionLog",
    "Gid",
    "InDoubt",
    "Outcome",
    "Participant",
    "Recovery",
    "Transaction",
    "Txid",
    "Vote",
]
