"""One Paxos node at a time for the tests: every event as a call, every effect as Python objects.

tests/transcripts/paxos_world.py makes worlds of these.  What lies on a node's disk is a list of records; a node
that starts again is given them.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from quorumlog._core.base.bytes cimport get_u64
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.engine.log cimport GroupLog, LogRun, log_close, log_open, log_pin, log_restore
from quorumlog._core.engine.message cimport MESSAGE_BATCHES_MAX, MESSAGE_FIELDS, PROTOCOL_PAXOS, Message
from quorumlog._core.engine.outbox cimport Outbox, outbox_clear, outbox_close, outbox_open
from quorumlog._core.engine.protocol cimport (
    EVENT_FETCHED, EVENT_FLUSHED, EVENT_MESSAGE, EVENT_PROPOSE, EVENT_READ, EVENT_TIME, Event, GroupStatus, Protocol)
from quorumlog._core.protocols.paxos cimport PaxosOptions, paxos_open, paxos_protocol
from quorumlog._core.protocols.paxos_state cimport PAXOS_CANVASS
from quorumlog._core.storage.batch cimport (
    KIND_BLANK, KIND_CHOSEN, KIND_ENTRIES, KIND_HARD_STATE, Batch, BatchPool, batch_drop, batch_new,
    batch_payload, offsets_bytes, pool_close, pool_open)

GROUP = 7
KINDS = {KIND_ENTRIES: "value", KIND_BLANK: "no-op", KIND_HARD_STATE: "promise", KIND_CHOSEN: "chosen"}
MESSAGES = (                           # from PAXOS_CANVASS on
    "canvass", "canvass-reply", "prepare", "promise", "accept", "accepted", "reject", "heartbeat", "heartbeat-reply",
    "chosen", "learn", "taught", "fetch", "fetch-reply", "read-index", "read-index-reply",
)


cdef class Record:
    """A reference to a batch."""
    cdef Batch* batch

    def __dealloc__(self):
        if self.batch != NULL:
            batch_drop(self.batch)

    @property
    def told(self):
        """(kind, slot, ballot, value): of a promise the slot is 0, of a mark the last slot that is chosen."""
        cdef const uint8_t* payload = batch_payload(self.batch)
        kind = KINDS[self.batch.kind]
        if kind == "promise":
            return kind, 0, (self.batch.term, get_u64(self.batch.body)), b""
        if kind == "chosen":
            return kind, self.batch.first - 1, (0, 0), b""
        size = (<uint32_t*>self.batch.body)[self.batch.count]
        return kind, self.batch.first, (self.batch.term, self.batch.ballot_node), payload[:size]

    def __repr__(self):
        return repr(self.told)


cdef Record take(Batch* batch):
    cdef Record record = Record.__new__(Record)
    record.batch = batch
    return record


cdef class Letter:
    """A message, to be delivered never, once or often."""
    cdef readonly int kind
    cdef readonly uint64_t sender, target, term, after_io
    cdef readonly list batches
    cdef uint64_t values[MESSAGE_FIELDS]

    @property
    def name(self):
        return MESSAGES[self.kind - PAXOS_CANVASS]

    @property
    def values_told(self):
        return tuple(self.values[i] for i in range(<int>MESSAGE_FIELDS))

    @property
    def told(self):
        """All that it says, to be compared; the identities in a page by their bytes."""
        return self.name, self.sender, self.target, self.term, self.values_told, \
            tuple(record.told for record in self.batches)

    def __repr__(self):
        return f"{self.name} {self.sender}->{self.target} round {self.term} {self.batches}"


cdef class PaxosNode:
    """One node's Paxos; `disk` are the records that it finds, in the order written."""
    cdef GroupLog log
    cdef void* paxos
    cdef const Protocol* protocol
    cdef Outbox* out
    cdef BatchPool* pool
    cdef bint log_opened
    cdef public uint64_t wsn_next
    cdef readonly uint64_t node
    cdef readonly list answers         # to reads: (read, index, status)

    def __cinit__(self, uint64_t node, uint32_t voters, *, uint64_t now_ns=0, disk=(), uint64_t wsn_next=1,
                  uint32_t page_slots=1, uint32_t mark_slots=1, uint32_t window_slots=8):
        cdef PaxosOptions options
        cdef Record record
        cdef LogRun run
        cdef dict newest = {}
        cdef uint64_t chosen = 0
        memset(&options, 0, sizeof(options))
        self.pool = pool_open(64 << 20)
        if self.pool == NULL or log_open(&self.log, GROUP, 1 << 30) != 0:
            raise MemoryError
        self.log_opened = True
        self.log.slots = True
        for record in disk:
            kind, slot, ballot, _ = record.told
            if kind == "promise":
                options.promised_round, options.promised_node = ballot
            elif kind == "chosen":
                chosen = slot
            else:
                newest[slot] = record
        run.first, run.term = 1, 1
        if log_restore(&self.log, 1, 0, chosen, &run, 1 if chosen else 0) != 0:
            raise ValueError("not a log")
        accepted = [newest[slot] for slot in sorted(newest) if slot > chosen]
        options.accepted = <Batch**>calloc(len(accepted) + 1, sizeof(Batch*))
        for record in accepted:
            options.accepted[options.accepted_count] = record.batch
            options.accepted_count += 1
        options.group = GROUP
        options.self = node
        options.voter_count = voters
        for i in range(voters):
            options.voters[i] = i + 1
        options.election_timeout_ns = 100_000_000
        options.heartbeat_ns = 10_000_000
        options.accept_bytes_max = 1 << 20
        options.uncommitted_bytes_max = 1 << 30
        options.window_slots = window_slots
        options.mark_slots = mark_slots
        options.page_slots = page_slots
        options.seed = 1
        options.copies = self.pool
        self.node = node
        self.answers = []
        self.wsn_next = wsn_next
        self.protocol = paxos_protocol()
        self.out = outbox_open()
        self.paxos = paxos_open(&options, &self.log, now_ns)
        free(options.accepted)
        if self.paxos == NULL:
            raise ValueError("options that make no sense")

    def __dealloc__(self):
        if self.paxos != NULL:
            self.protocol.close(self.paxos)
        if self.out != NULL:
            outbox_close(self.out)
        if self.log_opened:
            log_close(&self.log)
        if self.pool != NULL:
            pool_close(self.pool)

    cdef tuple step(self, Event* event):
        """([(wsn, record)], [letter], [(peer, first slot) to be read from the disk])."""
        cdef uint32_t i
        cdef uint16_t j
        cdef Letter letter
        cdef Message* message
        event.wsn_next = self.wsn_next
        event.wall_ns = 1
        self.protocol.step(self.paxos, event, self.out)
        writes, letters = [], []
        for i in range(self.out.write_count):
            writes.append((self.wsn_next + i, take(self.out.writes[i])))
        self.wsn_next += self.out.write_count
        for i in range(self.out.message_count):
            message = &self.out.messages[i]
            letter = Letter.__new__(Letter)
            letter.kind, letter.sender, letter.target = message.kind, message.sender, message.target
            letter.term, letter.after_io = message.term, message.after_io
            letter.batches = []
            for j in range(message.batch_count):
                letter.batches.append(take(message.batches[j]))
            memcpy(letter.values, message.fields, sizeof(letter.values))
            letters.append(letter)
        for i in range(self.out.refusal_count):
            batch_drop(self.out.refusals[i].batch)
        fetches = [(self.out.fetches[i].peer, self.out.fetches[i].first) for i in range(self.out.fetch_count)]
        for i in range(self.out.read_count):
            self.answers.append((self.out.reads[i].read, self.out.reads[i].index, self.out.reads[i].status))
        outbox_clear(self.out)
        log_pin(&self.log, self.out.commit + 1)
        return writes, letters, fetches

    def time(self, uint64_t now_ns):
        cdef Event event
        memset(&event, 0, sizeof(event))
        event.kind, event.now_ns = EVENT_TIME, now_ns
        return self.step(&event)

    def receive(self, uint64_t now_ns, Letter letter):
        cdef Event event
        cdef Message message
        cdef Batch* batches[MESSAGE_BATCHES_MAX]
        cdef Record record
        memset(&event, 0, sizeof(event))
        memset(&message, 0, sizeof(message))
        message.kind, message.sender, message.target = letter.kind, letter.sender, letter.target
        message.term, message.group, message.protocol = letter.term, GROUP, PROTOCOL_PAXOS
        message.batch_count = len(letter.batches)
        message.batches = batches
        for i, record in enumerate(letter.batches):
            batches[i] = record.batch
        memcpy(message.fields, letter.values, sizeof(letter.values))
        event.kind, event.now_ns, event.message = EVENT_MESSAGE, now_ns, &message
        return self.step(&event)

    def propose(self, uint64_t now_ns, bytes value):
        cdef Event event
        cdef uint32_t head = offsets_bytes(1)
        cdef Batch* batch = batch_new(self.pool, (head + len(value) + 7) & ~7)
        if batch == NULL:
            raise MemoryError
        memset(batch.body, 0, batch.body_bytes)
        (<uint32_t*>batch.body)[1] = len(value)
        memcpy(batch.body + head, <const uint8_t*>value, len(value))
        batch.kind, batch.count, batch.group = KIND_ENTRIES, 1, GROUP
        batch.body_crc = crc32c(0, batch.body, batch.body_bytes)
        memset(&event, 0, sizeof(event))
        event.kind, event.now_ns, event.batch = EVENT_PROPOSE, now_ns, batch
        return self.step(&event)

    def flushed(self, uint64_t now_ns, uint64_t wsn):
        cdef Event event
        memset(&event, 0, sizeof(event))
        event.kind, event.now_ns, event.wsn = EVENT_FLUSHED, now_ns, wsn
        return self.step(&event)

    def read(self, uint64_t now_ns, uint64_t read):
        cdef Event event
        memset(&event, 0, sizeof(event))
        event.kind, event.now_ns, event.read = EVENT_READ, now_ns, read
        return self.step(&event)

    def fetched(self, uint64_t now_ns, uint64_t peer, list records):
        cdef Event event
        cdef Batch* batches[MESSAGE_BATCHES_MAX]
        cdef Record record
        memset(&event, 0, sizeof(event))
        for record in records[:MESSAGE_BATCHES_MAX]:
            batches[event.batch_count] = record.batch
            event.batch_count += 1
        event.kind, event.now_ns, event.peer, event.batches = EVENT_FETCHED, now_ns, peer, batches
        return self.step(&event)

    @property
    def status(self):
        """(role, promise, chosen and durable here, leader): roles as in engine/protocol."""
        cdef GroupStatus status
        self.protocol.status(self.paxos, &status)
        return status.role, (status.term, status.vote), status.commit, status.leader

    @property
    def peer_errors(self):
        cdef GroupStatus status
        self.protocol.status(self.paxos, &status)
        return status.peer_errors
