"""Wrong behaviours (base/mutants.pxd), and what sees each: `make mutants`.

First the simulation, the default and the hot profile in turns; what survives that meets
the tests named beside it.  Each must die by an invariant or a test, not by a crash.
Needs the build profile `mutants` in front on PYTHONPATH; see the Makefile.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from quorumlog.testing.campaign import Campaign, Verdict

ROOT = Path(__file__).resolve().parents[2]
SEEDS = int(os.environ.get("QUORUMLOG_MUTANT_SEEDS", "480"))
CHUNK = 40


@dataclass(frozen=True)
class Mutant:
    """`tests` are asked when the simulation says nothing."""

    name: str
    area: str
    what: str
    tests: str = ""
    protocol: str = "raft"


HARD_CASES = "tests/transcripts/test_raft_hard_cases.py"
TAILS = "tests/transcripts/test_raft_tails.py"
REPAIR = "tests/transcripts/test_raft_repair.py"
MEMBERSHIP = "tests/transcripts/test_raft_membership.py"
TRANSFER = "tests/transcripts/test_raft_transfer.py"
LEASES = "tests/transcripts/test_raft_leases.py"
TWOPHASE = "tests/twophase/test_hard_cases.py"
PAXOS_PLAYS = "tests/transcripts/test_paxos_plays.py"
SNAPSHOTS = "tests/transcripts/test_raft_snapshots.py"
ADMISSION = "tests/transcripts/test_raft_admission.py"


def paxos(name: str, what: str) -> Mutant:
    return Mutant(f"paxos-{name}", "paxos", what, PAXOS_PLAYS, "paxos")


MUTANTS = (
    Mutant("commit-by-counting-alone", "raft", "an entry of an older term is committed by counting (A-R1)",
           "tests/transcripts/test_plays.py"),
    Mutant("own-append-counts-at-once", "raft", "the leader's own append counts before it is flushed (A-R17, A-R18)"),
    Mutant("vote-not-saved", "raft", "the hard state on disk has no vote (A-R6)"),
    Mutant("speak-before-saved", "raft", "messages of a term leave before its hard state is flushed (A-R6)"),
    Mutant("commit-beyond-verified", "raft", "a follower commits beyond what the request covered (A-R2)", HARD_CASES),
    Mutant("truncate-on-match", "raft", "a matching append truncates (A-R4)"),
    Mutant("ack-the-last-index", "raft", "an append is answered with the log's end (A-R5)"),
    Mutant("ack-before-flushed", "raft", "an append is answered before it is flushed"),
    Mutant("prev-not-checked", "raft", "an append is taken though the entry before it differs"),
    Mutant("read-on-a-fresh-leader", "raft", "a read before an entry of the own term is committed (A-R13)", HARD_CASES),
    Mutant("read-without-a-round", "raft", "a read without asking a quorum (A-R14)", HARD_CASES),
    Mutant("read-joins-the-round", "raft", "a round begun before the read confirms it (A-R14)", HARD_CASES),
    Mutant("lease-from-the-answer", "raft", "a lease is counted from when the answers came (A-R15)", LEASES),
    Mutant("lease-outlives-a-transfer", "raft", "a lease goes on when its leader asks somebody to campaign (A-R15)",
           LEASES),
    Mutant("lease-on-a-fresh-leader", "raft", "a read by lease before an entry of the own term is committed (A-R13)",
           LEASES),
    Mutant("lease-promise-forgotten", "raft", "a promise to a lease ends with the term, the process or the connection",
           LEASES),
    Mutant("freshness-from-receipt", "raft", "what a late heartbeat says is taken for fresh", LEASES),
    Mutant("freshness-of-any-leader", "raft", "a leader whose quorum is gone makes its followers fresh", LEASES),
    Mutant("reads-forgotten", "raft", "a leader that steps down leaves its reads waiting (A-R24)", HARD_CASES),
    Mutant("vote-for-any-log", "raft", "a vote for a log that is behind"),
    Mutant("vote-twice", "raft", "a second vote in a term", HARD_CASES),
    Mutant("votes-counted-twice", "raft", "a doubled vote is two votes (A-R7)", HARD_CASES),
    Mutant("pre-vote-takes-the-term", "raft", "a pre-vote has side effects (A-R29)", HARD_CASES),
    Mutant("refusal-teaches-no-term", "raft", "a refused pre-vote does not teach the term (A-R10)", HARD_CASES),
    Mutant("leader-not-heard", "raft", "a vote although a leader was heard just now (A-R11)", HARD_CASES),
    Mutant("no-check-quorum", "raft", "a leader without a quorum goes on leading (A-R12)",
           f"{HARD_CASES} tests/paper tests/transcripts/test_plays.py"),
    Mutant("deposed-keeps-its-role", "raft", "the new term comes before the end of the old role (A-R25)", HARD_CASES),
    Mutant("old-answers-count", "raft", "an answer of an earlier term counts", "tests/transcripts/test_plays.py"),
    Mutant("window-stays-shut", "raft", "a window of lost messages never opens again (A-R21)", HARD_CASES),
    Mutant("unproved-campaigns", "raft", "a node with an unproved tail campaigns (rule 4)", TAILS),
    Mutant("unproved-votes-freely", "raft", "and votes for logs that don't reach it (rule 4)", TAILS),
    Mutant("unproved-dropped-at-once", "raft", "and drops the tail before a quorum spoke (rule 4)", TAILS),
    Mutant("acknowledge-what-is-faulty", "raft", "an acknowledgement covers a faulty entry (rule 10)", REPAIR),
    Mutant("campaign-while-faulty", "raft", "a node with a faulty entry campaigns (rule 10)", REPAIR),
    Mutant("vote-without-the-faulty", "raft", "a vote that doesn't count faulty entries (rule 10)", REPAIR),
    Mutant("repair-with-anything", "raft", "a repair takes any batch of that place (rule 10)", REPAIR),
    Mutant("vote-while-listening", "raft", "a readmitted node votes before it is admitted (A-R28)", ADMISSION),
    Mutant("acknowledge-while-listening", "raft", "and acknowledges (A-R28)", ADMISSION),
    Mutant("barrier-at-once", "raft", "a leader admits it before the barrier is committed (A-R28)", ADMISSION),
    paxos("promise-not-saved", "a promise is not written down (A-P1)"),
    paxos("speaks-before-saved", "messages of a ballot leave before its promise is flushed (A-P1)"),
    paxos("accepted-before-flushed", "an accept is spoken of before it is flushed (A-P1)"),
    paxos("ballot-again", "a ballot is used a second time after a restart (A-P2)"),
    paxos("one-page-is-enough", "phase 1 reads the first page of an answer alone (A-P3)"),
    paxos("proposes-anything", "phase 1 adopts nothing: no-ops where values were accepted (A-P3)"),
    paxos("forgets-its-own-accepts", "a candidate doesn't count its own accepts as heard (A-P3)"),
    paxos("adopts-the-last-heard", "phase 1 adopts the value heard last, not that of the highest ballot (A-P3)"),
    paxos("leads-before-caught-up", "a leader proposes in slots that others call chosen"),
    paxos("learns-any-ballot", "what was accepted in any ballot counts as the chosen value (A-P5)"),
    paxos("chosen-by-one", "one acceptor is enough"),
    paxos("own-accept-counts-at-once", "the leader's own accept counts before it is flushed"),
    paxos("accepts-below-promise", "an acceptor takes what its promise forbids"),
    paxos("accept-is-no-promise", "an accept of a higher ballot leaves the promise as it was (A-P6)"),
    paxos("marks-too-much", "slots are marked as chosen that are only accepted"),
    paxos("lost-accepts-stay-lost", "a lost accept message is never sent again"),
    paxos("read-on-a-fresh-leader", "a read before all that phase 1 found is chosen (A-R13)"),
    paxos("read-without-a-round", "a read without asking a quorum (A-R14)"),
    paxos("read-joins-the-round", "a round begun before the read confirms it (A-R14)"),
    Mutant("bad-accept-forgotten", "storage", "recovery forgets a bad accept below F (rule 4)",
           "tests/storage/test_slots.py", "paxos"),
    Mutant("transfer-never-cleared", "raft", "a hand-over that fails is never given up (A-R16)", TRANSFER),
    Mutant("transfer-to-who-lags", "raft", "who lacks entries is told to take over (A-R16)", TRANSFER),
    Mutant("change-before-own-term", "raft", "a membership record before an entry of the own term (A-M1)", MEMBERSHIP),
    Mutant("promoted-before-caught-up", "raft", "a learner gets a vote before it has the log", MEMBERSHIP),
    Mutant("membership-survives-truncation", "raft", "a truncated membership stays in force (A-M5)", MEMBERSHIP),
    Mutant("joint-by-the-new-half", "quorum", "in a joint membership the new half alone decides (A-M3)", MEMBERSHIP),
    Mutant("learner-counts", "membership", "a learner counts as a voter", MEMBERSHIP),
    Mutant("stalled-disk-leads", "raft", "a leader whose disk stands still leads on (hashicorp 503)", TRANSFER),
    Mutant("head-dropped-before-durable", "snapshots", "the head goes when a snapshot is due, not when it is durable"),
    Mutant("term-of-the-head-lost", "snapshots", "a compaction names another term than its last entry has"),
    Mutant("suffix-kept-on-mismatch", "snapshots", "a log of another history is kept behind a snapshot (A-M6)",
           SNAPSHOTS),
    Mutant("old-snapshot-installed", "snapshots", "a snapshot older than what is committed is taken in (A-M7)",
           SNAPSHOTS),
    Mutant("chunk-offset-not-checked", "snapshots", "a piece is taken in wherever it lies (A-M10)", SNAPSHOTS),
    Mutant("piece-of-any-snapshot", "snapshots", "pieces of two snapshots make one (A-M10)", SNAPSHOTS),
    Mutant("install-forgets-sessions", "snapshots", "who begins from a snapshot has an empty session table (A-R23)",
           "tests/api/test_snapshots.py"),
    Mutant("snapshot-not-synced", "snapshots", "a snapshot gets its name before it is durable (A-M11)",
           "tests/storage/test_snapshot_files.py"),
    Mutant("chunk-not-verified", "snapshots", "a damaged chunk is given out", "tests/storage/test_snapshot_files.py"),
    Mutant("install-without-verifying", "snapshots", "what came in is installed unread",
           "tests/storage/test_snapshot_files.py"),
    Mutant("apply-repeated", "sessions", "a repeated proposal is applied again (A-R23)"),
    Mutant("session-begins-again", "sessions", "a copy of a forgotten session's first batch begins it again (ADR 21)",
           "tests/engine/test_sessions.py"),
    Mutant("client-applies-again", "sessions", "a client's repeated command is applied again (A-R23)",
           "tests/api/test_client_sessions.py"),
    Mutant("client-never-expires", "sessions", "a client's session is never too old",
           "tests/api/test_client_sessions.py"),
    Mutant("client-life-not-fenced", "sessions", "what an earlier process had under way is applied after a resumption",
           "tests/api/test_client_sessions.py"),
    Mutant("client-sequence-for-another", "sessions", "another command under a used sequence gets its answer",
           "tests/api/test_client_sessions.py"),
    Mutant("gap-is-applied", "sessions", "a batch is applied though an earlier one of its session is missing",
           "tests/engine/test_sessions.py"),
    Mutant("flushed-is-the-newest", "storage", "a write counts as flushed though one before it is not"),
    Mutant("failed-sync-counts", "storage", "a failed write or sync counts as done (A-W5)"),
    Mutant("trust-the-page-cache", "storage", "recovery believes cached reads after a failed sync (rule 8, A-W5)",
           "tests/storage/test_disk_faults.py"),
    Mutant("directory-not-synced", "storage", "a new segment's name is not synced (A-W4)",
           "tests/storage/test_crash_states.py"),
    Mutant("spare-not-synced", "storage", "a new segment's zeros are not synced (rule 1)",
           "tests/storage/test_crash_states.py tests/storage/test_wal.py"),
    Mutant("checkpoint-not-awaited", "storage", "a head segment goes before the next one's checkpoint (rule 7)",
           "tests/transcripts/test_log_plays.py"),
    Mutant("head-dropped-early", "storage", "a head segment goes before the compaction is flushed (rule 7)",
           "tests/storage/test_crash_states.py tests/storage/test_wal.py"),
    Mutant("death-not-awaited", "storage", "a move lets the head go before what calls its records dead is flushed",
           "tests/storage/test_moving.py"),
    Mutant("corrupt-is-torn", "storage", "a bad record below F is taken for a torn one (rule 4, A-W3)",
           "tests/storage/test_damage.py"),
    Mutant("unproved-is-dropped", "storage", "a bad record above F is forgotten (rule 4)",
           "tests/storage/test_damage.py"),
    Mutant("truncation-not-replayed", "storage", "recovery passes truncations by (rule 6, A-W12)",
           "tests/storage/test_wal.py"),
    Mutant("second-vote-copy-ignored", "storage", "the second writing of a vote is of no use (rule 5)",
           "tests/storage/test_wal.py"),
    Mutant("boot-not-raised", "storage", "writing goes on under the old boot number (rule 8)",
           "tests/storage/test_wal.py tests/storage/test_damage.py"),
    Mutant("body-not-verified", "storage", "recovery takes a record whose body is damaged (A-W1)",
           "tests/storage/test_damage.py"),
    Mutant("cold-read-not-verified", "storage", "a damaged record is served (A-W14)", "tests/storage/test_wal.py"),
    Mutant("twophase-commit-before-decided", "twophase", "COMMIT leaves before the decision is durable (A-T2)",
           protocol="twophase"),
    Mutant("twophase-majority-commits", "twophase", "a majority of YES is enough", protocol="twophase"),
    Mutant("twophase-late-yes-commits", "twophase", "a YES after the abort turns it into a commit (A-T8)",
           protocol="twophase"),
    Mutant("twophase-end-at-first-ack", "twophase", "END after one acknowledgement (A-T6)", protocol="twophase"),
    Mutant("twophase-fenced-commit-taken", "twophase", "a fenced incarnation still decides", protocol="twophase"),
    Mutant("twophase-forgotten-is-aborted", "twophase", "what the table has forgotten is told ABORTED (A-T10)",
           TWOPHASE, protocol="twophase"),
    Mutant("twophase-sweep-live", "twophase", "a sweep decides about what is being prepared (A-T5)", TWOPHASE,
           protocol="twophase"),
    Mutant("twophase-presume-unfenced", "twophase", "abort is presumed though a commit may still come (A-T5)",
           protocol="twophase"),
    Mutant("twophase-damaged-log-presumes", "twophase", "abort is presumed from a log that lost something",
           protocol="twophase"),
    Mutant("twophase-time-aborts-decided", "twophase", "the client's time-out aborts what the log was asked about",
           protocol="twophase"),
    Mutant("twophase-yes-before-durable", "twophase", "YES before the prepared record is durable (A-T1)",
           protocol="twophase"),
    Mutant("twophase-prepared-gives-up", "twophase", "a prepared branch rolls back by itself (A-T3)",
           protocol="twophase"),
    Mutant("twophase-no-tombstones", "twophase", "a late PREPARE is taken (A-T4)", TWOPHASE, protocol="twophase"),
    Mutant("twophase-commit-twice", "twophase", "a doubled COMMIT is carried out twice (A-T7)", protocol="twophase"),
    Mutant("twophase-ack-before-durable", "twophase", "a commit is acknowledged before it is durable",
           protocol="twophase"),
    Mutant("twophase-forgotten-ack-at-once", "twophase", "a forgotten commit is acknowledged before it is durable",
           TWOPHASE, protocol="twophase"),
    Mutant("twophase-one-phase-no-before-durable", "twophase", "NO in one phase is said before it is durable",
           TWOPHASE, protocol="twophase"),
    Mutant("second-list-ignored", "storage", "the list at a group's end is not looked for (rule 3)",
           "tests/storage/test_corruption_matrix.py"),
)


@dataclass(frozen=True)
class Death:
    mutant: Mutant
    by: str                        # empty: it survived
    cpu_seconds: float

    @property
    def is_proper(self) -> bool:
        return bool(self.by) and "aborted:" not in self.by


def by_simulation(mutant: Mutant) -> tuple[str, float]:
    """The first seed that sees it, in words, and the CPU time until then."""
    cpu_seconds = 0.0
    for first in range(0, SEEDS, CHUNK):
        profile = "hot" if first // CHUNK % 2 else "swarm"
        campaign = Campaign(first, CHUNK, protocol=mutant.protocol, profile=profile,
                            environment={"QUORUMLOG_MUTANT": mutant.name}, stop_at_failure=True)
        found: Verdict | None = None
        for verdict in campaign.results():
            if verdict.failure and (found is None or verdict.seed < found.seed):
                found = verdict
        cpu_seconds += campaign.cpu_seconds
        if found is not None:
            return f"seed {found.seed} of {profile}: {found.failure}", cpu_seconds
    return "", cpu_seconds


def by_tests(mutant: Mutant) -> str:
    """The test that fails, of those named."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutant.tests.split()],
        capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, "QUORUMLOG_MUTANT": mutant.name},
    )
    failed = [line for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if failed:
        return failed[0].removeprefix("FAILED ").split(" - ")[0]
    said = [line for line in (ran.stderr + ran.stdout).splitlines() if "InvariantViolation" in line]
    return f"{mutant.tests.split()[0]}: {said[0]}" if said else ""


def kill(mutant: Mutant) -> Death:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    by, _ = by_simulation(mutant)
    if not by and mutant.tests:
        by = by_tests(mutant)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Death(mutant, by, spent)


def in_rotation(count: int, day: int) -> tuple[Mutant, ...]:
    """Some of them, others every day, so that all are met."""
    start = day * count % len(MUTANTS)
    return tuple(MUTANTS[(start + i) % len(MUTANTS)] for i in range(min(count, len(MUTANTS))))


def main(arguments: list[str]) -> int:
    from quorumlog._core.bridge.testing_simulation import has_mutants

    if not has_mutants():
        print("this is not the build profile `mutants`: make mutants", file=sys.stderr)
        return 2
    if arguments[:1] == ["--rotation"]:
        chosen = in_rotation(int(arguments[1]), int(time.time() // 86400))
    else:
        chosen = tuple(m for m in MUTANTS if not arguments or m.name in arguments)
    survivors = 0
    for mutant in chosen:
        death = kill(mutant)
        survivors += not death.is_proper
        print(f"{mutant.area:<9}{mutant.name:<27}{death.cpu_seconds:7.1f} s  {death.by or 'SURVIVES'}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants die by an invariant or a test")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
