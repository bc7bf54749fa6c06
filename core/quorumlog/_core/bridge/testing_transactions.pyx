"""The simulation of two-phase commit, and a participant's state machine, for tests and `quorumlog sim`."""

from quorumlog._core.base.mutants cimport mutants_built
from quorumlog._core.engine.transactions cimport (
    BRANCH_ASKED, BRANCH_ASKED_ONE_PHASE, BRANCH_COMMITTED, BRANCH_FREE, BRANCH_PREPARED, BRANCH_READ_ONLY,
    BRANCH_ROLLED_BACK, DO_ALARM, DO_RESOURCE_COMMIT, DO_RESOURCE_PREPARE, DO_RESOURCE_ROLLBACK, DO_SEND, DO_WRITE,
    PARTICIPANT_TIME, RESOURCE_VOTED, RESTORED, TELL_ACK, TELL_INQUIRY, TELL_VOTE, TOLD_COMMIT, TOLD_COMMIT_ONE_PHASE,
    TOLD_PREPARE, TOLD_ROLLBACK, Effect, Effects, ParticipantOptions, ParticipantStatus, TransactionEvent,
    TransactionProtocol,
)
from quorumlog._core.engine.txids cimport Txid
from quorumlog._core.protocols.twophase cimport twophase_protocol
from quorumlog._core.simulation.transaction_run cimport (
    transactions_close, transactions_draw, transactions_open, transactions_run)
from quorumlog._core.simulation.transaction_state cimport TransactionOptions, TransactionWorld

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

FAULT_NAMES = (
    "loss", "duplication", "delay", "reordering", "replay", "partition", "one_way", "clog", "crash", "power_cut",
    "disk_error", "late_write", "log_silent", "lost_decisions",
)
MARK_NAMES = (
    "late_yes", "late_prepare", "in_doubt_told", "one_phase", "read_only", "all_read_only", "refused", "timed_out",
    "inquired", "unfinished_resumed", "taken_over", "fenced", "resolved", "prepared_restored",
    "poisoned", "decided_unheard",
)
EVENTS = {
    "prepare": TOLD_PREPARE, "commit": TOLD_COMMIT, "rollback": TOLD_ROLLBACK,
    "commit_one_phase": TOLD_COMMIT_ONE_PHASE, "voted": RESOURCE_VOTED, "restored": RESTORED, "time": PARTICIPANT_TIME,
}
EFFECTS = {
    DO_RESOURCE_PREPARE: "resource_prepare", DO_RESOURCE_COMMIT: "resource_commit",
    DO_RESOURCE_ROLLBACK: "resource_rollback", DO_WRITE: "write", DO_SEND: "send", DO_ALARM: "alarm",
}
MESSAGES = {TELL_VOTE: "vote", TELL_ACK: "ack", TELL_INQUIRY: "inquiry"}
STATES = {
    BRANCH_FREE: "none", BRANCH_ASKED: "asked", BRANCH_ASKED_ONE_PHASE: "asked", BRANCH_PREPARED: "prepared",
    BRANCH_COMMITTED: "committed", BRANCH_ROLLED_BACK: "rolled_back", BRANCH_READ_ONLY: "read_only",
}


def has_mutants():
    return bool(mutants_built)


def run(uint64_t seed, *, str protocol="twophase", str profile="swarm", uint32_t nodes=0, uint32_t coordinators=0):
    """Runs one seed: `failure` is empty if all invariants held and nothing stayed prepared."""
    cdef TransactionOptions options
    cdef TransactionWorld* world
    memset(&options, 0, sizeof(options))
    options.seed = seed
    options.quiet = profile == "quiet"
    options.coordinator_count = coordinators
    options.participant_count = nodes
    transactions_draw(&options)
    options.protocol = twophase_protocol()
    with nogil:
        world = transactions_open(&options)
        transactions_run(world)
    result = {
        "seed": seed,
        "failure": (<bytes>world.failure).decode(),
        "coordinators": options.coordinator_count,
        "participants": options.participant_count,
        "virtual_ms": world.now_ns // 1000000,
        "events": world.events,
        "transactions": world.transfer_count,
        "acked": world.committed,
        "aborted": world.aborted,
        "in_doubt": world.in_doubt,
        "messages": world.network.sent,
        "recoveries": world.recoveries,
        "resolutions": world.resolutions,
        "faults": {name: world.faults[<int>kind] for kind, name in enumerate(FAULT_NAMES) if world.faults[<int>kind]},
        "marks": {name: world.marks[<int>kind] for kind, name in enumerate(MARK_NAMES) if world.marks[<int>kind]},
        "hash": world.hash,
    }
    with nogil:
        transactions_close(world)
    return result


cdef class ParticipantCore:
    """A participant's state machine, for plays.  Effects are tuples (name, txid number, what, after_io)."""
    cdef const TransactionProtocol* protocol
    cdef void* state
    cdef Effects effects
    cdef readonly uint64_t deadline_ns

    def __cinit__(self, uint32_t branches_max=64, uint64_t inquire_ns=1000):
        cdef ParticipantOptions options
        options.branches_max = branches_max
        options.inquire_ns = inquire_ns
        self.protocol = twophase_protocol()
        self.state = self.protocol.participant_open(&options)
        if self.state == NULL:
            raise MemoryError(f"no participant of {branches_max}")

    def __dealloc__(self):
        if self.state != NULL:
            self.protocol.participant_close(self.state)

    def step(self, str kind, tuple txid=(0, 0, 0, 0), *, uint64_t now_ns=1, uint64_t sender=1, int vote=0,
             tuple low=(0, 0), uint64_t wsn_next=1, int state=0):
        cdef TransactionEvent event
        cdef const Effect* effect
        memset(&event, 0, sizeof(event))
        event.kind = EVENTS[kind]
        event.txid.coordinator, event.txid.incarnation, event.txid.nonce, event.txid.number = txid
        event.now_ns = now_ns
        event.sender = sender
        event.vote = vote
        event.low_incarnation, event.low_number = low
        event.wsn_next = wsn_next
        event.state = state
        self.effects.count = 0
        self.protocol.participant_step(self.state, &event, &self.effects)
        self.deadline_ns = self.effects.deadline_ns
        told = []
        for place in range(self.effects.count):
            effect = &self.effects.items[place]
            if effect.kind == DO_SEND:
                what = (MESSAGES[effect.message], effect.outcome)
            elif effect.kind == DO_WRITE:
                what = STATES[effect.outcome]
            else:
                what = None
            told.append((EFFECTS[effect.kind], effect.txid.number, what, effect.after_io))
        return told

    def state_of(self, tuple txid not None):
        cdef Txid wanted
        wanted.coordinator, wanted.incarnation, wanted.nonce, wanted.number = txid
        return STATES[self.protocol.participant_state_of(self.state, &wanted)]

    def status(self):
        cdef ParticipantStatus status
        memset(&status, 0, sizeof(status))
        self.protocol.participant_status(self.state, &status)
        return {"asked": status.asked, "prepared": status.prepared, "tombstones": status.tombstones,
                "refused_late": status.refused_late, "inquiries": status.inquiries, "alarms": status.alarms}
