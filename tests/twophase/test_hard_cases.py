"""The cases of two-phase commit that have broken implementations (A-T1 to A-T10), and some of our own."""

from __future__ import annotations

from play import A, B, C, Coordinator, DecisionLog

from quorumlog._core.bridge.testing_transactions import ParticipantCore
from quorumlog._core.bridge.twophase import VOTES

YES, NO, READ_ONLY = VOTES["yes"], VOTES["no"], VOTES["read_only"]
COMMITTED, ABORTED = 1, 2
X = (9, 1, 7, 5)


def prepared_participant(wsn: int = 10) -> ParticipantCore:
    participant = ParticipantCore()
    assert participant.step("prepare", X) == [("resource_prepare", 5, None, 0)]
    participant.step("voted", X, vote=YES, wsn_next=wsn)
    return participant


# --- the coordinator --------------------------------------------------------------------------


def test_t2_commit_leaves_only_after_the_decision_log_has_it() -> None:
    coordinator = Coordinator(DecisionLog())
    txid = coordinator.prepared(A, B)
    assert coordinator.told("vote", txid, participant=A, vote="yes") == []
    assert coordinator.told("vote", txid, participant=B, vote="yes") == [("decide", 0)]
    assert coordinator.told("decision", txid, verdict="commit") == [
        ("commit", A), ("commit", B), ("settle", ("commit", "none")),
    ]


def test_the_log_decides_and_not_the_votes() -> None:
    coordinator = Coordinator(DecisionLog())
    txid = coordinator.prepared(A, B)
    for participant in (A, B):
        coordinator.told("vote", txid, participant=participant, vote="yes")
    assert coordinator.told("decision", txid, verdict="abort") == [
        ("rollback", A), ("rollback", B), ("settle", ("abort", "fenced")),
    ]


def test_one_no_aborts_and_who_said_no_is_left_alone() -> None:
    coordinator = Coordinator(DecisionLog())
    txid = coordinator.prepared(A, B, C)
    coordinator.told("vote", txid, participant=A, vote="yes")
    assert coordinator.told("vote", txid, participant=B, vote="no") == [
        ("rollback", A), ("rollback", C), ("settle", ("abort", "vote")),
    ]


def test_a_call_that_failed_may_have_prepared() -> None:
    coordinator = Coordinator(DecisionLog())
    txid = coordinator.prepared(A, B)
    assert coordinator.told("vote", txid, participant=A, vote="unknown") == [
        ("rollback", A), ("rollback", B), ("settle", ("abort", "vote")),
    ]


def test_t5_a_sweep_meets_a_live_transaction() -> None:
    coordinator = Coordinator(DecisionLog())
    txid = coordinator.prepared(A, B)
    coordinator.told("vote", txid, participant=A, vote="yes")
    assert coordinator.told("inquiry", txid, participant=A) == [("report", "live")]
    coordinator.told("vote", txid, participant=B, vote="yes")
    assert coordinator.told("inquiry", txid, participant=A) == [("report", "live")]


def test_t5_another_coordinator_s_is_live_until_it_is_fenced() -> None:
    log = DecisionLog()
    first, second = Coordinator(log, b"a"), Coordinator(log, b"b")
    txid = first.prepared(A, B)
    assert second.told("inquiry", txid, participant=A) == [("report", "live")]
    assert log.write("fence", txid) == "taken"
    assert second.told("inquiry", txid, participant=A) == [("rollback", A)]
    # And its own coordinator, which was only slow, is told so.
    assert log.write("commit", txid, branches=(A, B)) == "abort"


def test_who_takes_over_finds_the_commit_that_came_first() -> None:
    log = DecisionLog()
    first, second = Coordinator(log, b"a"), Coordinator(log, b"b")
    txid = first.prepared(A, B)
    assert log.write("commit", txid, branches=(A, B)) == "commit"
    assert log.write("fence", txid) == "taken"
    assert second.told("inquiry", txid, participant=A) == [("commit", A)]


def test_t6_the_decision_is_kept_until_all_have_acknowledged() -> None:
    log = DecisionLog()
    coordinator = Coordinator(log)
    txid = coordinator.prepared(A, B)
    for participant in (A, B):
        coordinator.told("vote", txid, participant=participant, vote="yes")
    log.write("commit", txid, branches=(A, B))
    coordinator.told("decision", txid, verdict="commit")
    assert coordinator.told("ack", txid, participant=A) == []
    assert coordinator.told("failure", txid, participant=B) == []      # A-T9: told again, not forgotten
    assert log.presume(txid) == "commit"
    coordinator.now_ns = coordinator.core.deadline_ns
    assert coordinator.told("time") == [("commit", B)]
    assert coordinator.told("ack", txid, participant=B) == [("end", 0)]


def test_t7_doubled_acknowledgements_and_votes_change_nothing() -> None:
    coordinator = Coordinator(DecisionLog())
    txid = coordinator.prepared(A, B)
    for _ in range(2):
        assert coordinator.told("vote", txid, participant=A, vote="yes") == []
    coordinator.told("vote", txid, participant=B, vote="yes")
    assert coordinator.told("vote", txid, participant=B, vote="yes") == []
    coordinator.told("decision", txid, verdict="commit")
    for _ in range(2):
        assert coordinator.told("ack", txid, participant=A) == []
    assert coordinator.told("vote", txid, participant=77, vote="yes") == []       # of nobody's


def test_t8_a_yes_after_the_abort_is_told_to_roll_back() -> None:
    coordinator = Coordinator(DecisionLog())
    txid = coordinator.prepared(A, B, deadline_ns=100)
    coordinator.told("vote", txid, participant=A, vote="yes")
    coordinator.now_ns = 100
    assert ("settle", ("abort", "time")) in coordinator.told("time")
    assert coordinator.told("vote", txid, participant=B, vote="yes") == [("rollback", B)]
    coordinator.told("ack", txid, participant=A)
    coordinator.told("ack", txid, participant=B)
    # Forgotten; a copy of the vote is answered from the log.
    assert coordinator.told("vote", txid, participant=B, vote="yes") == [("rollback", B)]


def test_t10_time_runs_out_while_the_log_decides_and_the_client_is_in_doubt() -> None:
    coordinator = Coordinator(DecisionLog())
    txid = coordinator.prepared(A, B, deadline_ns=100)
    for participant in (A, B):
        coordinator.told("vote", txid, participant=participant, vote="yes")
    coordinator.now_ns = 100
    assert coordinator.told("time") == [("settle", ("in_doubt", "time"))]
    assert coordinator.told("decision", txid, verdict="commit") == [("commit", A), ("commit", B)]


def test_t10_what_became_of_it_is_never_told_wrong() -> None:
    """A commit that ended and was forgotten is FORGOTTEN, also for a coordinator that asks once more."""
    log = DecisionLog(remembered=1)
    own = log.begin()
    txids = [(*own[:3], number) for number in (1, 2, 3)]
    for txid in txids[:2]:
        assert log.write("commit", txid, branches=(A,)) == "commit"
        log.write("end", txid)
    assert [log.outcome(txid) for txid in txids] == ["forgotten", "commit", "live"]
    log.begin()
    assert log.write("commit", txids[0], branches=(A,)) == "forgotten"
    assert log.write("commit", txids[1], branches=(A,)) == "commit"
    assert log.write("commit", txids[2], branches=(A,)) == "abort"


def test_a_silent_log_is_asked_again_and_nothing_is_guessed() -> None:
    coordinator = Coordinator(DecisionLog())
    txid = coordinator.prepared(A, B)
    for participant in (A, B):
        coordinator.told("vote", txid, participant=participant, vote="yes")
    assert coordinator.told("decision", txid, verdict="unknown") == []
    assert coordinator.told("abort", txid) == []
    coordinator.now_ns = coordinator.core.deadline_ns
    assert coordinator.told("time") == [("decide", 0)]


def test_read_only_branches_are_out_of_it() -> None:
    coordinator = Coordinator(DecisionLog())
    txid = coordinator.prepared(A, B)
    coordinator.told("vote", txid, participant=A, vote="read_only")
    assert coordinator.told("vote", txid, participant=B, vote="yes") == [("decide", 0)]
    assert coordinator.told("decision", txid, verdict="commit") == [("commit", B), ("settle", ("commit", "none"))]
    other = coordinator.prepared(A, B)
    coordinator.told("vote", other, participant=A, vote="read_only")
    assert coordinator.told("vote", other, participant=B, vote="read_only") == [("settle", ("commit", "none"))]


def test_a_single_branch_needs_one_phase_and_no_record() -> None:
    coordinator = Coordinator(DecisionLog())
    txid = coordinator.begin(A)
    assert coordinator.told("commit", txid) == [("commit_one_phase", A)]
    assert coordinator.told("ack", txid, participant=A) == [("settle", ("commit", "none"))]
    lost = coordinator.begin(A)
    coordinator.told("commit", lost)
    assert coordinator.told("vote", lost, participant=A, vote="unknown") == [("settle", ("in_doubt", "vote"))]


def test_an_unfinished_commit_is_carried_on_after_a_crash() -> None:
    log = DecisionLog()
    before = Coordinator(log)
    txid = before.prepared(A, B)
    log.write("commit", txid, branches=(A, B))
    after = Coordinator(log)
    assert after.told("unfinished", txid, branches=(A, B)) == [("commit", A), ("commit", B)]
    after.told("ack", txid, participant=B)
    assert after.told("ack", txid, participant=A) == [("end", 0)]


def test_too_many_in_hand_are_refused() -> None:
    coordinator = Coordinator(DecisionLog(), in_hand_max=2)
    coordinator.begin(A)
    coordinator.begin(A)
    coordinator.told("begin")
    assert coordinator.txids[-1] == (0, 0, 0, 0)


# --- the decision log -------------------------------------------------------------------------


def test_a_log_restored_from_an_old_copy_presumes_nothing() -> None:
    log = DecisionLog()
    coordinator, incarnation, nonce, _ = log.begin(nonce=7)
    assert log.presume((coordinator, incarnation + 1, nonce, 1)) == "in_doubt"
    log.begin(nonce=8)                             # the same incarnation once more, with another nonce
    assert log.presume((coordinator, incarnation + 1, 3, 1)) == "in_doubt"
    assert log.presume((coordinator, incarnation, nonce, 1)) == "abort"


def test_a_damaged_log_presumes_nothing_and_an_operator_decides() -> None:
    log = DecisionLog()
    old = log.begin()
    txid = (*old[:3], 1)
    assert log.write("doubt", old) == "taken"
    log.begin()
    assert log.presume(txid) == "in_doubt"
    assert log.write("commit", txid, branches=(A,)) == "malformed"
    assert log.write("resolve", txid, outcome="commit", text=b"the bank says so") == "commit"
    assert log.presume(txid) == "commit"
    assert log.write("resolve", txid, outcome="abort", text=b"second thoughts") == "contrary"
    assert log.table.contradictions == 1
    assert log.presume(txid) == "commit"


def test_an_operator_may_abort_what_is_live_but_not_commit_it() -> None:
    log = DecisionLog()
    txid = (*log.begin()[:3], 1)
    assert log.write("resolve", txid, outcome="commit", text=b"?") == "live"
    assert log.write("resolve", txid, outcome="abort", text=b"it hangs") == "abort"
    assert log.write("commit", txid, branches=(A,)) == "abort"


def test_strangers_are_not_touched() -> None:
    log = DecisionLog()
    log.begin()
    assert log.presume((12345, 1, 1, 1)) == "foreign"


# --- participants -----------------------------------------------------------------------------


def test_t1_yes_waits_for_the_prepared_record() -> None:
    participant = ParticipantCore()
    participant.step("prepare", X)
    effects = participant.step("voted", X, vote=YES, wsn_next=41)
    assert effects == [("write", 5, "prepared", 0), ("send", 5, ("vote", YES), 41)]


def test_t3_a_prepared_branch_asks_and_never_decides() -> None:
    participant = prepared_participant()
    now_ns = 1
    for _ in range(50):
        now_ns += 1000
        assert participant.step("time", now_ns=now_ns) == [("send", 5, ("inquiry", 0), 10)]
    assert participant.state_of(X) == "prepared"


def test_t4_prepare_after_rollback_finds_a_tombstone() -> None:
    participant = ParticipantCore()
    assert participant.step("rollback", X) == [("send", 5, ("ack", ABORTED), 0)]
    assert participant.step("prepare", X) == [("send", 5, ("vote", NO), 0)]


def test_t4_tombstones_outlive_the_messages_and_are_bounded() -> None:
    participant = ParticipantCore(branches_max=4)
    for number in range(1, 100):
        txid = (9, 1, 7, number)
        assert participant.step("prepare", txid, low=(1, number))[0][0] == "resource_prepare"
        participant.step("voted", txid, vote=NO)
    # Forgotten, and still refused: it lies below what is known to be finished.
    assert participant.state_of((9, 1, 7, 3)) == "none"
    assert participant.step("prepare", (9, 1, 7, 3), low=(1, 3)) == [("send", 3, ("vote", NO), 0)]
    assert participant.status()["tombstones"] <= 4


def test_prepares_of_an_earlier_incarnation_are_refused() -> None:
    participant = ParticipantCore()
    participant.step("prepare", (9, 2, 8, 1))
    assert participant.step("prepare", X) == [("send", 5, ("vote", NO), 0)]


def test_t7_a_doubled_commit_is_acknowledged_and_not_repeated() -> None:
    participant = prepared_participant()
    assert participant.step("commit", X, wsn_next=11) == [
        ("write", 5, "committed", 0), ("resource_commit", 5, None, 0), ("send", 5, ("ack", COMMITTED), 11),
    ]
    assert participant.step("commit", X, wsn_next=12) == [("send", 5, ("ack", COMMITTED), 11)]
    assert participant.step("prepare", X) == []
    assert participant.step("rollback", X) == []
    assert participant.state_of(X) == "committed"


def test_a_forgotten_commit_is_acknowledged_when_all_is_flushed() -> None:
    participant = ParticipantCore()
    participant.step("prepare", (9, 2, 7, 8), low=(2, 8))
    assert participant.step("commit", X, wsn_next=31) == [("send", 5, ("ack", COMMITTED), 30)]


def test_commit_of_what_was_rolled_back_raises_the_alarm() -> None:
    participant = prepared_participant()
    participant.step("rollback", X, wsn_next=11)
    assert participant.step("commit", X, wsn_next=12) == [("alarm", 5, None, 0)]
    assert participant.step("commit", (9, 1, 7, 6), wsn_next=12) == [("alarm", 6, None, 0)]


def test_a_prepared_branch_survives_a_restart_and_asks_at_once() -> None:
    participant = ParticipantCore()
    participant.step("restored", X, state=3, now_ns=5)
    assert participant.state_of(X) == "prepared"
    assert participant.deadline_ns == 5
    assert participant.step("time", now_ns=5) == [("send", 5, ("inquiry", 0), 0)]


def test_no_in_one_phase_is_the_decision_and_durable_first() -> None:
    participant = ParticipantCore()
    participant.step("commit_one_phase", X)
    assert participant.step("voted", X, vote=NO, wsn_next=21) == [
        ("write", 5, "rolled_back", 0), ("send", 5, ("vote", NO), 21),
    ]


def test_read_only_is_said_at_once_and_again() -> None:
    participant = ParticipantCore()
    participant.step("prepare", X)
    assert participant.step("voted", X, vote=READ_ONLY) == [("send", 5, ("vote", READ_ONLY), 0)]
    assert participant.step("prepare", X) == [("send", 5, ("vote", READ_ONLY), 0)]
