"""Raft's steps for benchmarks: one real Raft whose peers answer yes to everything, at once and in here.

A leader's turn is a proposal, its flush, and the answers of its peers; a follower's is an append and its flush.
What the driver adds (clearing the outbox, making the answers) is in the figures.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from quorumlog._core.base.status cimport ERR_MEMORY, ERR_NOT_LEADER, ERR_OVERLOADED, ERR_PEER, OK
from quorumlog._core.bridge.testing_bench cimport Path, Turn, batch_of
from quorumlog._core.engine.log cimport GroupLog, log_close, log_open, log_pin
from quorumlog._core.engine.message cimport PROTOCOL_RAFT, Message
from quorumlog._core.engine.outbox cimport Outbox, outbox_clear, outbox_close, outbox_open
from quorumlog._core.engine.protocol cimport (
    EVENT_FLUSHED, EVENT_MESSAGE, EVENT_PROPOSE, EVENT_REACHABLE, EVENT_TIME, ROLE_LEADER, Event, GroupStatus,
    Protocol)
from quorumlog._core.protocols.raft cimport RaftOptions, raft_open, raft_protocol
from quorumlog._core.protocols.raft_state cimport (
    RAFT_APPEND, RAFT_APPEND_REPLY, RAFT_HEARTBEAT, RAFT_HEARTBEAT_REPLY, RAFT_PRE_VOTE, RAFT_PRE_VOTE_REPLY, RAFT_VOTE,
    RAFT_VOTE_REPLY, AppendFields, AppendReplyFields, HeartbeatFields, HeartbeatReplyFields, VoteFields,
    VoteReplyFields)
from quorumlog._core.storage.batch cimport Batch, batch_drop, batch_last, batch_stamp

cdef enum:
    GROUP = 7
    SELF = 1
    LEADER = 2                         # of a follower
    TERM = 1
    ANSWERS = 64                       # power of two: on their way to this node at most
    CACHE_BYTES = 1 << 20
    TURN_NS = 1000                     # of the clock that Raft is told, far below a heartbeat in all turns


cdef class RaftPath(Path):
    cdef GroupLog log
    cdef bint log_opened
    cdef void* raft
    cdef const Protocol* protocol
    cdef Outbox* out
    cdef uint64_t now_ns
    cdef uint64_t wsn_next
    cdef Message answers[ANSWERS]      # ring
    cdef uint64_t answers_begin
    cdef uint64_t answers_end
    cdef uint32_t payload

    def __init__(self, uint32_t nodes, uint32_t entries, uint32_t payload):
        cdef RaftOptions options
        cdef uint32_t i
        self.entries = entries
        self.payload = payload
        self.wsn_next = 1
        if log_open(&self.log, GROUP, CACHE_BYTES) != OK:
            raise MemoryError
        self.log_opened = True
        memset(&options, 0, sizeof(options))
        options.group = GROUP
        options.self = SELF
        options.voter_count = nodes
        for i in range(nodes):
            options.voters[i] = SELF + i
        options.election_timeout_ns = 1_000_000_000_000
        options.heartbeat_ns = 100_000_000_000
        options.append_bytes_max = 1 << 20
        options.uncommitted_bytes_max = 1 << 30
        options.seed = 1
        self.protocol = raft_protocol()
        self.out = outbox_open()
        self.raft = raft_open(&options, &self.log, 0)
        if self.raft == NULL or self.out == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.raft != NULL:
            self.protocol.close(self.raft)
        if self.out != NULL:
            outbox_close(self.out)
        if self.log_opened:
            log_close(&self.log)

    def status(self) -> dict:
        """Where it stands: {"role", "term", "last", "commit"}."""
        cdef GroupStatus status
        self.protocol.status(self.raft, &status)
        return {"role": status.role, "term": status.term, "last": status.last, "commit": status.commit}


cdef int step(RaftPath path, Event* event) noexcept:
    """One event, and what it wants done: writes are flushed and answers given by `settle`."""
    cdef uint32_t i
    cdef int status = OK
    event.now_ns = event.wall_ns = path.now_ns
    event.wsn_next = path.wsn_next
    path.protocol.step(path.raft, event, path.out)
    path.wsn_next += path.out.write_count
    for i in range(path.out.message_count):
        answer(path, &path.out.messages[i])
    for i in range(path.out.refusal_count):
        batch_drop(path.out.refusals[i].batch)
        status = ERR_OVERLOADED
    outbox_clear(path.out)
    log_pin(&path.log, path.out.commit + 1)
    return status


cdef int settle(RaftPath path) noexcept:
    """All that was written is flushed, and every answer arrives."""
    cdef Event event
    cdef uint64_t flushed = 0
    cdef int status = OK
    while status == OK:
        memset(&event, 0, sizeof(event))
        if flushed != path.wsn_next - 1:
            flushed = path.wsn_next - 1
            event.kind = EVENT_FLUSHED
            event.wsn = flushed
        elif path.answers_begin != path.answers_end:
            event.kind = EVENT_MESSAGE
            event.message = &path.answers[path.answers_begin % ANSWERS]
            path.answers_begin += 1
        else:
            return OK
        status = step(path, &event)
    return status


cdef void answer(RaftPath path, const Message* asked) noexcept:
    """What a peer that agrees with everything says; nothing, where nothing is asked."""
    cdef Message* reply = &path.answers[path.answers_end % ANSWERS]
    cdef VoteReplyFields* vote
    cdef AppendReplyFields* append
    cdef HeartbeatReplyFields* beat
    cdef const HeartbeatFields* round_asked
    memset(reply, 0, sizeof(Message))
    reply.protocol = PROTOCOL_RAFT
    reply.group = GROUP
    reply.sender = asked.target
    reply.target = SELF
    reply.term = asked.term
    if asked.kind == RAFT_PRE_VOTE or asked.kind == RAFT_VOTE:
        vote = <VoteReplyFields*>reply.fields
        reply.kind = RAFT_PRE_VOTE_REPLY if asked.kind == RAFT_PRE_VOTE else RAFT_VOTE_REPLY
        vote.granted = 1
        vote.proposed = (<const VoteFields*>asked.fields).proposed
    elif asked.kind == RAFT_APPEND:
        append = <AppendReplyFields*>reply.fields
        reply.kind = RAFT_APPEND_REPLY
        append.prev_index = append.match = (<const AppendFields*>asked.fields).prev_index
        if asked.batch_count > 0:
            append.match = batch_last(asked.batches[asked.batch_count - 1])
    elif asked.kind == RAFT_HEARTBEAT:
        beat = <HeartbeatReplyFields*>reply.fields
        round_asked = <const HeartbeatFields*>asked.fields
        reply.kind = RAFT_HEARTBEAT_REPLY
        beat.round, beat.verified, beat.sent_ns = round_asked.round, round_asked.commit, round_asked.sent_ns
    else:
        return
    path.answers_end += 1


cdef class Leader(RaftPath):
    """One proposal to its commit, on the leader of so many nodes."""

    def __init__(self, uint32_t nodes, uint32_t entries, uint32_t payload):
        cdef Event event
        cdef uint32_t peer
        RaftPath.__init__(self, nodes, entries, payload)
        for peer in range(SELF + 1, SELF + nodes):
            memset(&event, 0, sizeof(event))
            event.kind = EVENT_REACHABLE
            event.peer = peer
            step(self, &event)
        memset(&event, 0, sizeof(event))
        event.kind = EVENT_TIME
        self.now_ns = 10_000_000_000_000
        step(self, &event)
        settle(self)
        if self.status()["role"] != ROLE_LEADER:
            raise RuntimeError(f"not elected: {self.status()}")

    cdef Batch* make(self, uint64_t at):
        return batch_of(self.pool, self.entries, self.payload)

    cdef Turn turn(self):
        return leader_turn


cdef int leader_turn(void* context, uint64_t at) noexcept:
    cdef Leader path = <Leader>context
    cdef Event event
    cdef int status
    memset(&event, 0, sizeof(event))
    event.kind = EVENT_PROPOSE
    event.batch = path.take(at)
    if event.batch == NULL:
        return ERR_MEMORY
    event.batch.session = 1
    event.batch.sequence = at + 1
    path.now_ns += TURN_NS
    status = step(path, &event)
    if status == OK:
        status = settle(path)
    return status if status != OK or path.out.commit == path.log.last else ERR_NOT_LEADER


cdef class Follower(RaftPath):
    """One append of the leader's, to the answer that it is on this node's disk."""
    cdef Batch* sent                   # what the message of a turn points at

    cdef Batch* make(self, uint64_t at):
        cdef Batch* batch = batch_of(self.pool, self.entries, self.payload)
        if batch != NULL:
            batch.term = TERM
            batch.first = 1 + at * self.entries
            batch.session = 1
            batch.sequence = at + 1
            batch_stamp(batch)
        return batch

    cdef Turn turn(self):
        return follower_turn


cdef int follower_turn(void* context, uint64_t at) noexcept:
    cdef Follower path = <Follower>context
    cdef Event event
    cdef Message message
    cdef AppendFields* fields = <AppendFields*>message.fields
    cdef int status
    path.sent = path.take(at)
    if path.sent == NULL:
        return ERR_MEMORY
    memset(&message, 0, sizeof(message))
    message.kind = RAFT_APPEND
    message.protocol = PROTOCOL_RAFT
    message.group = GROUP
    message.sender = LEADER
    message.target = SELF
    message.term = TERM
    fields.prev_index = path.sent.first - 1
    fields.prev_term = TERM if fields.prev_index > 0 else 0
    fields.commit = fields.prev_index
    message.batch_count = 1
    message.batches = &path.sent
    memset(&event, 0, sizeof(event))
    event.kind = EVENT_MESSAGE
    event.message = &message
    path.now_ns += TURN_NS
    status = step(path, &event)
    batch_drop(path.sent)
    if status == OK:
        status = settle(path)
    return status if status != OK or path.log.flushed == path.log.last else ERR_PEER
