"""A coordinator that kills itself with SIGKILL at a step:  doomed_coordinator.py STEP LOG PORT SOCKET."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import psycopg
import pymysql

import quorumlog as ql
from quorumlog.twophase import DBAPI, XA, Coordinator


def main(wanted: str, log_path: str, port: str, socket: str) -> None:
    def reach(step: str) -> None:
        if step == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    def connect(database: str) -> Any:
        return psycopg.connect(host="127.0.0.1", port=int(port), user="quorumlog", dbname=database)

    participants = (
        DBAPI("bank_a", lambda: connect("bank_a")),
        DBAPI("bank_b", lambda: connect("bank_b")),
        XA("bank_m", lambda: pymysql.connect(unix_socket=socket, user="root", database="bank_m")),
    )
    with (
        ql.Log.open(log_path) as log,
        Coordinator(log=log, participants=participants, recover_every_s=None) as coordinator,
    ):
        with coordinator.transaction() as txn:
            branches = [txn.enlist(participant) for participant in participants]
            reach("begun")
            for branch, amount in zip(branches, (-30, 10, 20), strict=True):
                branch.execute("UPDATE account SET balance = balance + %s WHERE id = 1", (amount,))
            reach("worked")
            follow(branches, "prepare", "prepared", reach)
            follow(branches, "commit", "committed", reach)
            decide = txn._decide

            def decide_and_reach(names: list[str]) -> int:
                verdict = decide(names)
                reach("decided")
                return verdict

            txn._decide = decide_and_reach          # type: ignore[method-assign]
        reach("over")
    raise SystemExit(f"the step {wanted} was not reached")


def follow(branches: list[Any], verb: str, past: str, reach: Any) -> None:
    """Each branch tells when it has done `verb`."""
    for number, branch in enumerate(branches, 1):
        do = getattr(branch, verb)

        def done(do: Any = do, number: int = number) -> Any:
            result = do()
            reach(f"{past}_{number}")
            return result

        setattr(branch, verb, done)


main(*sys.argv[1:])
