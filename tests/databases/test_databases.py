"""Two-phase commit over real PostgreSQL and MariaDB: what their documents say, and what they do."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import MariaDB, PostgreSQL, running

import quorumlog as ql
from quorumlog.twophase import DBAPI, XA, Coordinator, Gid, Txid, Vote

HERE = Path(__file__).parent
TOTAL = 3000
pytestmark = pytest.mark.processes


class Bank:
    """Three databases, a decision log, and what must hold between them."""

    def __init__(self, postgresql: PostgreSQL, mariadb: MariaDB, log_path: Path) -> None:
        self.postgresql, self.mariadb, self.log_path = postgresql, mariadb, log_path
        self.a = DBAPI("bank_a", lambda: postgresql.connect("bank_a"))
        self.b = DBAPI("bank_b", lambda: postgresql.connect("bank_b"))
        self.m = XA("bank_m", lambda: mariadb.connect("bank_m"))
        self.all = (self.a, self.b, self.m)

    def sessions(self) -> tuple[Any, ...]:
        return (
            self.postgresql.connect("bank_a"), self.postgresql.connect("bank_b"), self.mariadb.connect("bank_m")
        )

    def fill(self) -> None:
        for connection in self.sessions():
            cursor = connection.cursor()
            cursor.execute("DELETE FROM account")
            cursor.execute("INSERT INTO account VALUES (1, 1000)")
            connection.commit()
            connection.close()

    def balances(self) -> list[int]:
        found = []
        for connection in self.sessions():
            cursor = connection.cursor()
            cursor.execute("SELECT SUM(balance) FROM account")
            found.append(int(cursor.fetchone()[0]))
            connection.close()
        return found

    def prepared(self) -> list[Gid]:
        return [gid for participant in self.all for gid in participant.recover()]

    @contextlib.contextmanager
    def coordinator(self) -> Iterator[Coordinator]:
        with (
            ql.Log.open(self.log_path) as log,
            Coordinator(log=log, participants=self.all, recover_every_s=None) as coordinator,
        ):
            yield coordinator


@pytest.fixture
def bank(postgresql: PostgreSQL, mariadb: MariaDB, tmp_path: Path) -> Iterator[Bank]:
    made = Bank(postgresql, mariadb, tmp_path / "decisions")
    made.fill()
    yield made
    with made.coordinator():
        pass
    for participant in made.all:
        for gid in participant.recover():          # of a test that failed
            participant.rollback_prepared(gid)
        participant.close()


def add(branch: Any, amount: int) -> None:
    branch.execute("UPDATE account SET balance = balance + %s WHERE id = 1", (amount,))


def test_a_transfer_between_three_databases(bank: Bank) -> None:
    with bank.coordinator() as coordinator:
        with coordinator.transaction(timeout=60) as txn:
            for participant, amount in zip(bank.all, (-30, 10, 20), strict=True):
                add(txn.enlist(participant), amount)
        assert txn.outcome == (txn.txid, ())
        assert coordinator.outcome(txn.txid) == "commit"
        assert coordinator.status()["in_hand"] == 0
    assert bank.balances() == [970, 1010, 1020]
    assert bank.prepared() == []


def test_an_exception_in_the_block_rolls_back(bank: Bank) -> None:
    with bank.coordinator() as coordinator, pytest.raises(ZeroDivisionError), coordinator.transaction() as txn:
        add(txn.enlist(bank.a), -30)
        add(txn.enlist(bank.m), 30)
        raise ZeroDivisionError
    assert bank.balances() == [1000, 1000, 1000]
    assert bank.prepared() == []


def test_one_participant_needs_one_phase(bank: Bank) -> None:
    with bank.coordinator() as coordinator:
        for participant in bank.all:
            with coordinator.transaction() as txn:
                add(txn.enlist(participant), 5)
            assert coordinator.outcome(txn.txid) in ("abort", "commit")
    assert bank.balances() == [1005, 1005, 1005]


def test_prepare_of_a_failed_transaction_is_a_no(bank: Bank) -> None:
    """PostgreSQL answers PREPARE TRANSACTION of a failed transaction with success, and ROLLBACK as its tag."""
    with bank.coordinator() as coordinator:
        with pytest.raises(ql.TransactionAborted, match="did not agree"), coordinator.transaction() as txn:
            a, m = txn.enlist(bank.a), txn.enlist(bank.m)
            add(m, 30)
            with pytest.raises(Exception, match="division by zero"):
                a.execute("SELECT 1 / 0")
        assert coordinator.outcome(txn.txid) == "abort"
    assert bank.balances() == [1000, 1000, 1000]
    assert bank.prepared() == []


def test_a_refused_prepare_aborts_and_names_its_cause(bank: Bank) -> None:
    """Temporary tables can't be prepared (0A000)."""
    with bank.coordinator() as coordinator:
        with pytest.raises(ql.TransactionAborted) as caught, coordinator.transaction() as txn:
            a, b = txn.enlist(bank.a), txn.enlist(bank.b)
            add(b, 1)
            a.execute("CREATE TEMPORARY TABLE t (i int)")
        assert "temporary" in str(caught.value.__cause__)
        assert caught.value.definite
    assert bank.balances() == [1000, 1000, 1000]
    assert bank.prepared() == []


def test_time_runs_out_before_it_is_decided(bank: Bank) -> None:
    with bank.coordinator() as coordinator:
        with pytest.raises(ql.TransactionAborted, match="time ran out"), coordinator.transaction(timeout=0) as txn:
            add(txn.enlist(bank.a), 1)
            add(txn.enlist(bank.m), -1)
    assert bank.balances() == [1000, 1000, 1000]


def gid_of(bank: Bank, coordinator: Coordinator, participant: Any, number: int) -> Gid:
    return Gid(Txid(*coordinator.self_txid[:3], number), participant.name)


def test_not_found_is_not_taken_for_done_while_the_preparing_session_lives(bank: Bank) -> None:
    """MariaDB's error 1397 means two things."""
    with bank.coordinator() as coordinator:
        gid = gid_of(bank, coordinator, bank.m, 12)
        branch = bank.m.begin(gid)
        add(branch, 7)
        assert branch.prepare() is Vote.YES
        assert bank.m.recover() == [gid]
        with pytest.raises(Exception, match="1397"):
            bank.m.commit_prepared(gid)
        branch.close()                             # the server ends the session, some time
        while bank.m.recover():
            with contextlib.suppress(Exception):
                bank.m.commit_prepared(gid)
        bank.m.commit_prepared(gid)                # and again: it is not there any more
    assert bank.balances() == [1000, 1000, 1007]


def test_finishing_what_is_not_there_is_done(bank: Bank) -> None:
    with bank.coordinator() as coordinator:
        for participant in bank.all:
            gid = gid_of(bank, coordinator, participant, 9999)
            participant.commit_prepared(gid)
            participant.rollback_prepared(gid)


def test_sql_after_prepare_does_not_hinder_the_commit(bank: Bank) -> None:
    """At PostgreSQL it begins a transaction, in which COMMIT PREPARED fails: another session does it."""
    with bank.coordinator() as coordinator:
        gid = gid_of(bank, coordinator, bank.a, 3)
        branch = bank.a.begin(gid)
        connection = branch.connection
        add(branch, 4)
        assert branch.prepare() is Vote.YES
        with pytest.raises(ql.UsageError):
            branch.execute("SELECT 1")
        connection.cursor().execute("SELECT 1")
        branch.commit()
        assert bank.a.recover() == []
    assert bank.balances() == [1004, 1000, 1000]


def test_recovery_touches_its_own_only_and_nothing_live(bank: Bank) -> None:
    stranger = Gid(Txid(0xABCDEF, 1, 5, 1), "bank_a")
    with bank.coordinator() as coordinator, coordinator.transaction() as txn:
        branch = bank.a.begin(stranger)
        branch.execute("SELECT 1")
        branch.prepare()
        branch.close()
        m = txn.enlist(bank.m)
        add(m, 1)
        own = txn.enlist(bank.b)
        add(own, -1)
        assert own.prepare() is Vote.YES           # as between the two calls of a commit
        found = coordinator.recover()
        assert (found.committed, found.rolled_back, found.in_doubt) == ((), (), ())
        assert bank.prepared() == [stranger, own.gid]
        own.rollback()
        txn.rollback()
    assert bank.prepared() == [stranger]
    bank.a.rollback_prepared(stranger)


def test_presumed_abort_after_the_coordinator_s_death(bank: Bank) -> None:
    with bank.coordinator() as coordinator:
        gids = [gid_of(bank, coordinator, participant, 1) for participant in bank.all]
        for participant, gid in zip(bank.all, gids, strict=True):
            branch = participant.begin(gid)
            add(branch, 1)
            branch.prepare()
            branch.close()
    with bank.coordinator() as coordinator:        # another life: the first is fenced
        while bank.prepared():
            coordinator.recover()
        assert coordinator.outcome(gids[0].txid) == "abort"
    assert bank.balances() == [1000, 1000, 1000]


def test_what_a_lost_log_decided_is_in_doubt_until_somebody_resolves_it(bank: Bank) -> None:
    with bank.coordinator() as coordinator:
        with coordinator.transaction():
            pass                                   # number 1, over
        gid = gid_of(bank, coordinator, bank.a, 1)
        branch = bank.a.begin(gid)
        add(branch, 9)
        branch.prepare()
        branch.close()
        # As if the log had forgotten: the id of a life that it has not had.
        future = Gid(Txid(gid.txid.coordinator, gid.txid.incarnation + 5, 1, 1), "bank_b")
        branch = bank.b.begin(future)
        add(branch, 9)
        branch.prepare()
        branch.close()
        assert [found.txid for found in coordinator.in_doubt()] == [future.txid]
        assert coordinator.outcome(future.txid) == "in_doubt"
        coordinator.resolve(future.txid, "commit", "bank a says that it was paid")
        assert future not in bank.prepared()
        with pytest.raises(ql.UsageError, match="can't be resolved"):
            coordinator.resolve(future.txid, "abort", "second thoughts")
    with bank.coordinator() as coordinator:
        while bank.prepared():
            coordinator.recover()
    assert bank.balances() == [1000, 1009, 1000]


def test_checks_name_what_stands_in_the_way(bank: Bank, server_directory: Path, mariadb: MariaDB) -> None:
    assert [participant.check() for participant in bank.all] == [[], [], []]
    connection = mariadb.connect("bank_m")
    connection.cursor().execute("CREATE TABLE old_habits (i int) ENGINE=MyISAM")
    assert bank.m.check() == ["table bank_m.old_habits is MyISAM: its rows are not rolled back"]
    connection.cursor().execute("DROP TABLE old_habits")
    connection.close()


STEPS = ("begun", "worked", "prepared_1", "prepared_2", "prepared_3", "decided", "committed_1", "committed_2", "over")


@pytest.mark.parametrize("step", STEPS)
def test_kill_9_of_the_coordinator_between_every_pair_of_steps(bank: Bank, step: str) -> None:
    command = [sys.executable, str(HERE / "doomed_coordinator.py"), step, str(bank.log_path),
               str(bank.postgresql.port), f"{bank.mariadb.data}/socket"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == -9, done.stderr
    with bank.coordinator() as coordinator:
        while bank.prepared():                     # a server may still hold the dead process's session
            coordinator.recover()
        coordinator.recover()
        assert coordinator.status()["in_hand"] == 0
    decided = STEPS.index(step) >= STEPS.index("decided")
    assert bank.balances() == ([970, 1010, 1020] if decided else [1000, 1000, 1000])
    assert sum(bank.balances()) == TOTAL


@pytest.mark.parametrize("victim", ["postgresql", "mariadb"])
def test_kill_9_of_a_server_between_prepare_and_commit(bank: Bank, victim: str) -> None:
    server = getattr(bank, victim)
    with bank.coordinator() as coordinator:
        with coordinator.transaction() as txn:
            for participant, amount in zip(bank.all, (-30, 10, 20), strict=True):
                add(txn.enlist(participant), amount)
            decide = txn._decide

            def decide_and_kill(names: list[str]) -> int:
                server.kill()
                return decide(names)

            txn._decide = decide_and_kill           # type: ignore[method-assign]
        assert txn.outcome is not None
        assert set(txn.outcome.pending) == ({"bank_m"} if victim == "mariadb" else {"bank_a", "bank_b"})
        assert coordinator.recover().errors
        server.start()
        while bank.prepared():
            coordinator.recover()
        coordinator.recover()
    assert bank.balances() == [970, 1010, 1020]


def test_prepared_transactions_are_off_by_default(
    tmp_path: Path, postgresql: PostgreSQL, server_directory: Path
) -> None:
    place = server_directory / "off"
    place.mkdir(mode=0o711)
    off = PostgreSQL(place, postgresql.tools, prepared_max=0)
    with running(off), ql.Log.open(tmp_path / "log") as log:
        one = DBAPI("one", lambda: off.connect())
        two = DBAPI("two", lambda: off.connect())
        assert "max_prepared_transactions is 0" in one.check()[0]
        with Coordinator(log=log, recover_every_s=None) as coordinator:
            with pytest.raises(ql.TransactionAborted) as caught, coordinator.transaction() as txn:
                txn.enlist(one).execute("SELECT 1")
                txn.enlist(two).execute("SELECT 1")
            assert "prepared transactions are disabled" in str(caught.value.__cause__)
