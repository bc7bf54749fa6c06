"""engine/explain: what stands in commit's way, from given standings.  This node is 1, its peers 2, 3, ..."""

from __future__ import annotations

from typing import Any

import pytest

from quorumlog._core.bridge.testing_explain import explained

EVEN = {"match": 100}
BEHIND = {"match": 90}


def findings(**said: Any) -> list[tuple[str, bool, int]]:
    """(kind, blocks, node) of each."""
    said = {"commit": 100, "last": 100, "peers": [EVEN, EVEN]} | said
    return [(kind, blocks, node) for kind, blocks, node, _, _, _ in explained(said)]


def blocking(**said: Any) -> set[tuple[str, int]]:
    return {(kind, node) for kind, blocks, node in findings(**said) if blocks}


def test_an_idle_leader_has_nothing_to_do() -> None:
    assert findings() == [("nothing", False, 0)]


def test_a_straggler_does_not_block_what_is_committed() -> None:
    assert findings(peers=[EVEN, BEHIND]) == [("peer idle", False, 3), ("nothing", False, 0)]


@pytest.mark.parametrize(
    ("peer", "kind"),
    [
        ({"reachable": False}, "peer cut"),
        ({"listening": True}, "peer listening"),
        ({"state": "snapshot"}, "peer snapshot"),
        ({"fetching": True}, "peer fetched"),
        ({"state": "probe"}, "peer probed"),
        ({"asked_ns": 5}, "peer sent"),
        ({}, "peer idle"),
    ],
)
def test_what_holds_up_a_peer(peer: dict[str, Any], kind: str) -> None:
    late = BEHIND | peer
    assert blocking(last=110, flushed=110, peers=[late, late]) - {("no quorum", 0)} == {(kind, 2), (kind, 3)}


def test_numbers_and_times_of_a_late_peer() -> None:
    late = BEHIND | {"asked_ns": 1_000}
    found = explained({"commit": 100, "last": 110, "now_ns": 3_000, "peers": [late, late]})
    assert ("peer sent", True, 2, 90, 20, 2_000) in found


def test_the_own_disk_blocks_like_any_other() -> None:
    late = EVEN | {"asked_ns": 1}
    assert blocking(last=110, flushed=100, disk_ns=7, peers=[late, late]) == {
        ("disk", 0),
        ("peer sent", 2),
        ("peer sent", 3),
    }


def test_a_disk_that_owes_nothing_is_not_blamed() -> None:
    assert ("disk", False, 0) not in findings(last=110, flushed=110, disk_ns=7)
    assert ("disk", True, 0) not in findings(last=110, flushed=110, disk_ns=7)


def test_no_segment_ready() -> None:
    assert ("no segment", 0) in blocking(last=110, flushed=100, starved_ns=7)


def test_what_a_quorum_has_acknowledged_blocks_nothing() -> None:
    """A moment before commit moves: the own disk is slow, the two others have it."""
    both = {"match": 110}
    assert blocking(last=110, flushed=100, disk_ns=7, peers=[both, both]) == set()


def test_one_of_two_late_peers_is_enough() -> None:
    """Both are named while neither has acknowledged; one that has lifts the block."""
    assert blocking(last=110, peers=[EVEN, EVEN]) == {("peer idle", 2), ("peer idle", 3)}
    assert blocking(last=110, peers=[{"match": 110}, EVEN]) == set()


def test_learners_block_nobody() -> None:
    assert ("peer idle", 3) not in blocking(last=110, peers=[EVEN, EVEN], voters=0b011)


def test_no_quorum_is_counted_with_oneself() -> None:
    cut = EVEN | {"reachable": False}
    found = explained({"commit": 100, "last": 100, "peers": [cut, cut]})
    assert found[0] == ("no quorum", True, 0, 0, 1, 0)
    assert ("no quorum", True, 0) not in findings(peers=[EVEN, cut])


def test_the_entry_of_the_own_term_comes_first() -> None:
    assert ("own term", False, 0) in findings(last=110, term_first=110)
    assert ("own term", False, 0) not in findings(last=110, term_first=100)


def test_no_leader() -> None:
    found = explained({"commit": 9, "last": 9, "leads": False, "leader": 0, "heard_leader_ns": 5, "now_ns": 8,
                       "peers": [{}, {}]})
    assert found == [("no leader", True, 0, 0, 0, 3)]


def test_a_follower_points_at_its_leader() -> None:
    said = {"leads": False, "leader": 2}
    assert findings(**said) == [("follows", False, 2)]
    cut = {"reachable": False}
    assert findings(**said, peers=[cut, {}]) == [("leader cut", False, 2), ("follows", False, 2)]


def test_a_follower_with_a_stalled_disk_says_so() -> None:
    assert findings(leads=False, leader=2, flushed=90, disk_ns=1) == [("follows", False, 2), ("disk", False, 0)]


@pytest.mark.parametrize(
    ("said", "kind", "blocks"),
    [
        ({"failure": 40}, "failed", True),
        ({"stopped": 23}, "machine stopped", False),
        ({"listening": True, "leads": False, "leader": 2}, "listening", False),
        ({"unproved_last": 120, "leads": False, "leader": 0}, "unproved", True),
        ({"unproved_last": 120, "leads": False, "leader": 2}, "unproved", False),
        ({"faulty": 3}, "faulty", True),
        ({"faulty": 3, "leads": False, "leader": 2}, "faulty", False),
        ({"uncommitted": (9, 9)}, "full", False),
        ({"membership": 77}, "membership", False),
        ({"proposals": 2}, "proposals", False),
        ({"applied": 50}, "applying", False),
    ],
)
def test_what_else_is_said(said: dict[str, Any], kind: str, blocks: bool) -> None:
    assert (kind, blocks, 0) in findings(**said)


def test_a_faulty_leader_is_not_forgiven() -> None:
    """What a leader can't read it doesn't commit, whoever else has it."""
    assert ("faulty", 0) in blocking(last=110, faulty=1, peers=[{"match": 110}, {"match": 110}])


def test_everything_at_once_fits() -> None:
    late = BEHIND | {"reachable": False}
    found = explained({
        "commit": 100, "last": 200, "flushed": 90, "failure": 40, "stopped": 23, "listening": True,
        "unproved_last": 300, "faulty": 9, "disk_ns": 1, "starved_ns": 1, "term_first": 150, "uncommitted": (1, 1),
        "membership": 5, "proposals": 1, "applied": 1, "peers": [late] * 15,
    })
    assert len(found) == 15 + 12
