"""Databases whose driver has PEP 249's two-phase calls (`tpc_begin` and the rest): psycopg 3, psycopg2, oracledb."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quorumlog.errors import UsageError
from quorumlog.twophase.participant import Vote
from quorumlog.twophase.sessions import Sessions
from quorumlog.twophase.txid import FORMAT_ID, Gid, check_participant

__all__ = ["DBAPI", "DBAPIBranch"]

# psycopg's ConnectionInfo.transaction_status: libpq's numbers.
IN_ERROR = 3


class DBAPI:
    """A participant over connections that `connect()` makes.

    Args:
        name: of the database, the same wherever its transactions may be recovered.
        connect: makes a new connection; it is not shared, and not in autocommit mode.
        idle_max: connections kept for further transactions.

    PostgreSQL refuses PREPARE TRANSACTION unless `max_prepared_transactions` is set (it is 0 by default, and needs a
    restart): `quorumlog txn doctor` and `check()` say so.
    """

    def __init__(self, name: str, connect: Callable[[], Any], *, idle_max: int = 8) -> None:
        self._name = check_participant(name)
        self._sessions = Sessions(connect, idle_max)

    @property
    def name(self) -> str:
        return self._name

    def begin(self, gid: Gid) -> DBAPIBranch:
        """A branch; its connection has begun the transaction `gid`."""
        connection = self._sessions.take()
        try:
            connection.tpc_begin(xid_of(connection, gid))
        except AttributeError as error:
            Sessions.drop(connection)
            raise UsageError(f"{type(connection).__module__} has no two-phase calls (PEP 249 tpc_*)") from error
        except BaseException:
            Sessions.drop(connection)
            raise
        return DBAPIBranch(self, self._sessions, connection, gid)

    def commit_prepared(self, gid: Gid) -> None:
        self._finish(gid, commit=True)

    def rollback_prepared(self, gid: Gid) -> None:
        self._finish(gid, commit=False)

    def recover(self) -> list[Gid]:
        connection = self._sessions.fresh()
        try:
            return self._listed(connection)
        finally:
            Sessions.drop(connection)

    def check(self) -> list[str]:
        """What stands in the way of two-phase commit at this server, in words; empty: nothing."""
        connection = self._sessions.fresh()
        try:
            if not type(connection).__module__.startswith("psycopg"):
                return []
            (allowed,) = connection.execute("SHOW max_prepared_transactions").fetchone()
            if int(allowed) == 0:
                return ["max_prepared_transactions is 0: set it, at least to the connections there are, and restart"]
            return []
        finally:
            Sessions.drop(connection)

    def close(self) -> None:
        """Closes the idle connections."""
        self._sessions.close()

    def _listed(self, connection: Any) -> list[Gid]:
        found = []
        for xid in connection.tpc_recover():
            format_id, gtrid, bqual = xid[0], xid[1], xid[2]
            gid = Gid.of(format_id or 0, gtrid or "", bqual or "")
            database = getattr(xid, "database", None)
            # PostgreSQL lists those of all its databases, and finishes only the own one's.
            if gid is not None and gid.participant == self._name and database in (None, database_of(connection)):
                found.append(gid)
        return found

    def _finish(self, gid: Gid, commit: bool) -> None:
        """By a session of its own.  "No such transaction" is believed only when the listing agrees."""
        connection = self._sessions.fresh()
        try:
            try:
                xid = xid_of(connection, gid)
                (connection.tpc_commit if commit else connection.tpc_rollback)(xid)
                return
            except Exception as error:
                refused = error
            Sessions.drop(connection)
            connection = self._sessions.fresh()
            if gid in self._listed(connection):
                raise refused
        finally:
            Sessions.drop(connection)


def xid_of(connection: Any, gid: Gid) -> Any:
    return connection.xid(FORMAT_ID, gid.gtrid, gid.bqual)


def database_of(connection: Any) -> str | None:
    info = getattr(connection, "info", None)
    name = getattr(info, "dbname", None)
    return None if name is None else str(name)


class DBAPIBranch:
    """A branch in one connection.  Work with `execute`, `cursor` or `connection`, and never commit there."""

    def __init__(self, participant: DBAPI, sessions: Sessions, connection: Any, gid: Gid) -> None:
        self._participant = participant
        self._sessions = sessions
        self._connection = connection
        self._prepared = False
        self.gid = gid

    @property
    def connection(self) -> Any:
        """The driver's connection; not to be used after the transaction, nor for commit and rollback."""
        if self._connection is None or self._prepared:
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
        if self._in_error():
            # PREPARE of a failed transaction succeeds, as a ROLLBACK: the driver doesn't look at the command tag.
            self._connection.tpc_rollback()
            self._done()
            return Vote.NO
        self._connection.tpc_prepare()
        self._prepared = True
        return Vote.YES

    def commit_one_phase(self) -> Vote:
        if self._in_error():
            self._connection.tpc_rollback()
            self._done()
            return Vote.NO
        self._connection.tpc_commit()
        self._done()
        return Vote.YES

    def commit(self) -> None:
        """In the connection that prepared, which nobody has used since; if that fails, from another."""
        self._finish(commit=True)

    def rollback(self) -> None:
        self._finish(commit=False)

    def close(self) -> None:
        if self._connection is not None:
            Sessions.drop(self._connection)
            self._connection = None

    def _finish(self, commit: bool) -> None:
        connection = self._connection
        if connection is not None:
            try:
                (connection.tpc_commit if commit else connection.tpc_rollback)()
                self._done()
                return
            except Exception:
                self.close()
        if commit:
            self._participant.commit_prepared(self.gid)
        else:
            self._participant.rollback_prepared(self.gid)

    def _in_error(self) -> bool:
        info = getattr(self._connection, "info", None)
        return getattr(info, "transaction_status", None) == IN_ERROR

    def _done(self) -> None:
        self._sessions.give_back(self._connection)
        self._connection = None
