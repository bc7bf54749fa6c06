"""MariaDB and MySQL by their XA statements, over a driver that has no two-phase calls (PyMySQL, mysqlclient)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quorumlog.errors import UsageError
from quorumlog.twophase.participant import Vote
from quorumlog.twophase.sessions import Sessions
from quorumlog.twophase.txid import FORMAT_ID, Gid, check_participant

__all__ = ["XA", "XABranch"]

TRANSACTIONAL = ("InnoDB", "ROCKSDB")
UNTRANSACTIONAL = """
    SELECT table_schema, table_name, engine FROM information_schema.tables
    WHERE table_schema = DATABASE() AND engine IS NOT NULL AND engine NOT IN ('InnoDB', 'ROCKSDB')
"""


class XA:
    """A participant over connections that `connect()` makes.

    Args:
        name: of the database, the same wherever its transactions may be recovered.
        connect: makes a new connection to the database (schema) of this participant.
        idle_max: connections kept for further transactions.

    Tables of engines without transactions (MyISAM) are NOT rolled back, and the server says nothing: `check()` and
    `quorumlog txn doctor` name them.
    """

    def __init__(self, name: str, connect: Callable[[], Any], *, idle_max: int = 8) -> None:
        self._name = check_participant(name)
        self._sessions = Sessions(connect, idle_max)

    @property
    def name(self) -> str:
        return self._name

    def begin(self, gid: Gid) -> XABranch:
        """A branch; its connection is inside XA START."""
        connection = self._sessions.take()
        try:
            run(connection, f"XA START {quoted(gid)}")
        except BaseException:
            Sessions.drop(connection)
            raise
        return XABranch(self, self._sessions, connection, gid)

    def commit_prepared(self, gid: Gid) -> None:
        self._finish(gid, "COMMIT")

    def rollback_prepared(self, gid: Gid) -> None:
        self._finish(gid, "ROLLBACK")

    def recover(self) -> list[Gid]:
        connection = self._session()
        try:
            return self._listed(connection)
        finally:
            Sessions.drop(connection)

    def check(self) -> list[str]:
        """What stands in the way of two-phase commit in this database, in words; empty: nothing."""
        connection = self._session()
        try:
            return [
                f"table {schema}.{table} is {engine}: its rows are not rolled back"
                for schema, table, engine in run(connection, UNTRANSACTIONAL)
            ]
        finally:
            Sessions.drop(connection)

    def close(self) -> None:
        """Closes the idle connections."""
        self._sessions.close()

    def _session(self) -> Any:
        """A new one, in no transaction: in another, XA COMMIT may be refused (1400)."""
        connection = self._sessions.fresh()
        run(connection, "SET autocommit = 1")
        return connection

    def _listed(self, connection: Any) -> list[Gid]:
        found = []
        for format_id, gtrid_bytes, bqual_bytes, data in run(connection, "XA RECOVER"):
            glued = data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")
            gtrid, bqual = glued[:gtrid_bytes], glued[gtrid_bytes : gtrid_bytes + bqual_bytes]
            gid = Gid.of(format_id, gtrid.decode("latin-1"), bqual.decode("latin-1"))
            if gid is not None and gid.participant == self._name:
                found.append(gid)
        return found

    def _finish(self, gid: Gid, verb: str) -> None:
        """By a session of its own.  Error 1397 means that there is no such transaction, or that the session that
        prepared it still lives: it is believed only when the listing agrees."""
        connection = self._session()
        try:
            try:
                run(connection, f"XA {verb} {quoted(gid)}")
                return
            except Exception as error:
                refused = error
            Sessions.drop(connection)
            connection = self._session()
            if gid in self._listed(connection):
                raise refused
        finally:
            Sessions.drop(connection)


def quoted(gid: Gid) -> str:
    """As hexadecimal literals: nothing in it is taken for SQL."""
    return f"0x{gid.gtrid.encode().hex()}, 0x{gid.bqual.encode().hex()}, {FORMAT_ID}"


def run(connection: Any, statement: str) -> list[Any]:
    cursor = connection.cursor()
    try:
        cursor.execute(statement)
        return list(cursor.fetchall())
    finally:
        cursor.close()


class XABranch:
    """A branch in one connection.  Work with `execute`, `cursor` or `connection`, and never commit there."""

    def __init__(self, participant: XA, sessions: Sessions, connection: Any, gid: Gid) -> None:
        self._participant = participant
        self._sessions = sessions
        self._connection = connection
        self._state = "active"
        self.gid = gid

    @property
    def connection(self) -> Any:
        """The driver's connection; not to be used after the transaction, nor for commit and rollback."""
        if self._connection is None or self._state != "active":
            raise UsageError(f"{self._participant.name}: the transaction {self.gid.txid} is over")
        return self._connection

    def cursor(self) -> Any:
        return self.connection.cursor()

    def execute(self, statement: str, parameters: Any = None) -> Any:
        """Runs one statement and returns its cursor."""
        cursor = self.cursor()
        cursor.execute(statement, parameters)
        return cursor

    def prepare(self) -> Vote:
        self._end()
        run(self._connection, f"XA PREPARE {quoted(self.gid)}")
        self._state = "prepared"
        return Vote.YES

    def commit_one_phase(self) -> Vote:
        self._end()
        run(self._connection, f"XA COMMIT {quoted(self.gid)} ONE PHASE")
        self._done()
        return Vote.YES

    def commit(self) -> None:
        self._finish("COMMIT")

    def rollback(self) -> None:
        self._finish("ROLLBACK")

    def close(self) -> None:
        if self._connection is not None:
            Sessions.drop(self._connection)
            self._connection = None

    def _end(self) -> None:
        run(self._connection, f"XA END {quoted(self.gid)}")
        self._state = "idle"

    def _finish(self, verb: str) -> None:
        """In the connection that prepared: as long as it lives, no other can.  If that fails, from another."""
        if self._connection is not None:
            try:
                if self._state == "active":
                    self._end()
                run(self._connection, f"XA {verb} {quoted(self.gid)}")
                self._done()
                return
            except Exception:
                self.close()
        if verb == "COMMIT":
            self._participant.commit_prepared(self.gid)
        else:
            self._participant.rollback_prepared(self.gid)

    def _done(self) -> None:
        self._sessions.give_back(self._connection)
        self._connection = None
