"""The Python coordinator over a real log and participants in memory, which fail when they are told to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import quorumlog as ql
from quorumlog.twophase import Coordinator, Gid, Participant, Txid, Vote


class Lost(Exception):
    """The connection is gone."""


class Store:
    """What is prepared and committed outlives its branches; `fails` are calls that raise once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.prepared: set[Gid] = set()
        self.committed: list[Gid] = []
        self.fails: list[str] = []
        self.vote = Vote.YES

    def fail(self, call: str) -> None:
        if call in self.fails:
            self.fails.remove(call)
            raise Lost(call)

    def begin(self, gid: Gid) -> StoreBranch:
        return StoreBranch(self, gid)

    def commit_prepared(self, gid: Gid) -> None:
        self.fail("commit_prepared")
        if gid in self.prepared:
            self.prepared.remove(gid)
            self.committed.append(gid)

    def rollback_prepared(self, gid: Gid) -> None:
        self.fail("rollback_prepared")
        self.prepared.discard(gid)

    def recover(self) -> list[Gid]:
        self.fail("recover")
        return sorted(self.prepared)


class StoreBranch:
    def __init__(self, store: Store, gid: Gid) -> None:
        self.store, self.gid = store, gid

    def prepare(self) -> Vote:
        self.store.fail("prepare")
        if self.store.vote is Vote.YES:
            self.store.prepared.add(self.gid)
        self.store.fail("prepared")                # done, and the answer is lost
        return self.store.vote

    def commit_one_phase(self) -> Vote:
        self.store.fail("one_phase")
        if self.store.vote is Vote.YES:
            self.store.committed.append(self.gid)
        return self.store.vote

    def commit(self) -> None:
        self.store.fail("commit")
        self.store.commit_prepared(self.gid)

    def rollback(self) -> None:
        self.store.fail("rollback")
        self.store.rollback_prepared(self.gid)

    def close(self) -> None:
        pass


@pytest.fixture
def stores() -> list[Store]:
    return [Store("one"), Store("two")]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ql.Log]:
    with ql.Log.open(tmp_path / "decisions") as opened:
        yield opened


def opened(log: ql.Log, stores: list[Store]) -> Coordinator:
    return Coordinator(log=log, participants=stores, recover_every_s=None)


def transfer(coordinator: Coordinator, stores: list[Store]) -> ql.twophase.Transaction:
    with coordinator.transaction(timeout=60) as txn:
        for store in stores:
            txn.enlist(store)
    return txn


def test_the_protocol_is_published(stores: list[Store]) -> None:
    assert all(isinstance(store, Participant) for store in stores)


def test_committed_at_both_and_the_outcome_is_known(log: ql.Log, stores: list[Store]) -> None:
    with opened(log, stores) as coordinator:
        txn = transfer(coordinator, stores)
        assert txn.outcome == (txn.txid, ())
        assert [[gid.txid for gid in store.committed] for store in stores] == [[txn.txid]] * 2
        assert coordinator.outcome(txn.txid) == "commit"


@pytest.mark.parametrize("failure", ["prepare", "prepared"])
def test_a_lost_prepare_aborts_and_nothing_stays(log: ql.Log, stores: list[Store], failure: str) -> None:
    with opened(log, stores) as coordinator:
        stores[1].fails = [failure]
        with pytest.raises(ql.TransactionAborted) as caught:
            transfer(coordinator, stores)
        assert isinstance(caught.value.__cause__, Lost)
        assert coordinator.outcome(caught.value.txid) == "abort"
        assert [store.prepared for store in stores] == [set(), set()]
        assert coordinator.status()["in_hand"] == 0


def test_a_no_aborts_and_read_only_is_out_of_it(log: ql.Log, stores: list[Store]) -> None:
    with opened(log, stores) as coordinator:
        stores[0].vote = Vote.READ_ONLY
        txn = transfer(coordinator, stores)
        assert (stores[0].committed, len(stores[1].committed)) == ([], 1)
        assert coordinator.outcome(txn.txid) == "commit"
        stores[1].vote = Vote.NO
        with pytest.raises(ql.TransactionAborted, match="two"):
            transfer(coordinator, stores)


def test_a_participant_that_is_down_is_told_later(log: ql.Log, stores: list[Store]) -> None:
    with opened(log, stores) as coordinator:
        stores[1].fails = ["commit", "commit_prepared"]
        txn = transfer(coordinator, stores)
        assert txn.outcome is not None
        assert txn.outcome.pending == ("two",)
        while coordinator.status()["in_hand"]:
            coordinator.recover()
        assert len(stores[1].committed) == 1


def test_the_next_life_finishes_commits_and_rolls_back_the_rest(log: ql.Log, stores: list[Store]) -> None:
    first = opened(log, stores)
    stores[1].fails = ["commit"]
    committed = transfer(first, stores).txid
    orphan = Gid(Txid(*first.self_txid[:3], 77), "one")
    stores[0].prepared.add(orphan)
    first.close()
    second = opened(log, stores)
    assert second.self_txid.incarnation == first.self_txid.incarnation + 1
    assert [gid.txid for gid in stores[1].committed] == [committed]
    assert second.last_recovery.rolled_back == (orphan,)
    assert second.outcome(committed) == "commit"
    with pytest.raises(ql.Closed):
        transfer(first, stores)
    second.close()


def test_strangers_and_live_ones_are_left_alone(log: ql.Log, stores: list[Store]) -> None:
    stranger = Gid(Txid(5, 1, 1, 1), "one")
    stores[0].prepared.add(stranger)
    with opened(log, stores) as coordinator, coordinator.transaction() as txn:
        branch = txn.enlist(stores[1])
        branch.prepare()
        assert coordinator.recover() == ((), (), (), {})
        txn.rollback()
    assert stores[0].prepared == {stranger}
    assert stores[1].prepared == set()


def test_in_doubt_until_an_operator_says(log: ql.Log, stores: list[Store]) -> None:
    with opened(log, stores) as coordinator:
        lost = Gid(Txid(coordinator.self_txid.coordinator, 9, 3, 4), "two")
        stores[1].prepared.add(lost)
        assert [found.txid for found in coordinator.in_doubt()] == [lost.txid]
        with pytest.raises(ql.UsageError):
            coordinator.resolve(lost.txid, "commit", "  ")
        coordinator.resolve(lost.txid, "commit", "paid, says the bank")
        assert stores[1].committed == [lost]
        with pytest.raises(ql.UsageError, match="says contrary"):
            coordinator.resolve(lost.txid, "abort", "second thoughts")


def test_an_error_in_recovery_is_told_and_does_not_stop_it(log: ql.Log, stores: list[Store]) -> None:
    with opened(log, stores) as coordinator:
        stores[0].fails = ["recover"]
        assert coordinator.recover().errors == {"one": "Lost('recover')"}


def test_one_phase_without_an_answer_is_in_doubt(log: ql.Log, stores: list[Store]) -> None:
    with opened(log, stores) as coordinator:
        stores[0].fails = ["one_phase"]
        with pytest.raises(ql.TransactionInDoubt) as caught:
            transfer(coordinator, stores[:1])
        assert not caught.value.definite


def test_a_participant_takes_part_once(log: ql.Log, stores: list[Store]) -> None:
    with opened(log, stores) as coordinator, coordinator.transaction() as txn:
        txn.enlist(stores[0])
        with pytest.raises(ql.UsageError, match="already"):
            txn.enlist(stores[0])
    with pytest.raises(ql.UsageError):
        txn.enlist(stores[1])


def test_ids_read_as_they_are_written() -> None:
    txid = Txid(0xC0FFEE, 3, 0xBAD, 42)
    assert Txid.parse(str(txid)) == txid
    for text in ("", "c0ffee-3-bad-2a", str(txid) + " ", "x" * 40):
        with pytest.raises(ql.UsageError):
            Txid.parse(text)
