"""One Raft node at a time for the tests: every event as a call, every effect as Python objects.

tests/transcripts/world.py makes a world of these, with a network and disks that do
what the test says.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from quorumlog._core.base.bytes cimport get_u64, put_u32, put_u64
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.types cimport SnapshotId
from quorumlog._core.engine.faults cimport Fault
from quorumlog._core.engine.log cimport (
    GroupLog, LogRun, log_batch, log_close, log_compact, log_open, log_pin, log_restore, log_term)
from quorumlog._core.engine.membership cimport (
    MEMBERSHIP_DELTA, MEMBERSHIP_SET, ROSTER_BYTES_MAX, Roster, roster_decode, roster_encode)
from quorumlog._core.engine.message cimport MESSAGE_BATCHES_MAX, MESSAGE_FIELDS, PROTOCOL_RAFT, Message
from quorumlog._core.engine.outbox cimport Outbox, outbox_clear, outbox_close, outbox_open
from quorumlog._core.engine.protocol cimport (
    EVENT_FAULTY, EVENT_FETCHED, EVENT_FLUSHED, EVENT_MEMBERSHIP, EVENT_MESSAGE, EVENT_PROPOSE, EVENT_REACHABLE,
    EVENT_READ, EVENT_SNAPSHOT_MADE, EVENT_SNAPSHOT_READ, EVENT_SNAPSHOT_STORED, EVENT_TIME, EVENT_TRANSFER,
    EVENT_UNREACHABLE, ROLE_CANDIDATE, ROLE_FOLLOWER, ROLE_LEADER, ROLE_LEARNER, ROLE_PRE_CANDIDATE, Event,
    GroupStatus, Protocol)
from quorumlog._core.protocols.raft cimport RaftOptions, raft_open, raft_protocol
from quorumlog._core.protocols.raft_lease cimport lease_break
from quorumlog._core.protocols.raft_state cimport Raft
from quorumlog._core.storage.batch cimport (
    KIND_BLANK, KIND_COMPACT, KIND_ENTRIES, KIND_HARD_STATE, KIND_MEMBERSHIP, KIND_SNAPSHOT, KIND_TRUNCATE, Batch,
    BatchPool, batch_drop, batch_keep,
    batch_last,
    batch_new, batch_offsets, batch_payload, batch_stamp, offsets_bytes, pool_close, pool_open)

GROUP = 7
KINDS = {KIND_ENTRIES: "entries", KIND_BLANK: "blank", KIND_HARD_STATE: "hard state",
         KIND_TRUNCATE: "truncate", KIND_MEMBERSHIP: "membership", KIND_COMPACT: "compact", KIND_SNAPSHOT: "piece"}
STAGES = {1: "simple", 2: "joint", 3: "left"}
GOALS = {0: "gone", 1: "voter", 2: "learner"}
ROLES = {ROLE_FOLLOWER: "follower", ROLE_PRE_CANDIDATE: "pre-candidate", ROLE_CANDIDATE: "candidate",
         ROLE_LEADER: "leader", ROLE_LEARNER: "learner"}
MESSAGES = {1: "pre-vote", 2: "pre-vote-reply", 3: "vote", 4: "vote-reply", 5: "append", 6: "append-reply",
            7: "heartbeat", 8: "heartbeat-reply", 9: "commit", 10: "read-index", 11: "read-index-reply",
            12: "stale-term", 13: "fetch", 14: "fetch-reply", 15: "barrier", 16: "barrier-reply",
            17: "snapshot", 18: "snapshot-reply", 22: "timeout-now", 23: "removed"}
MESSAGE_NUMBERS = {name: number for number, name in MESSAGES.items()}
FIELDS = {
    "pre-vote": ("last_index", "last_term", "proposed", "tail", "transfer", "membership"),
    "vote": ("last_index", "last_term", "proposed", "tail", "transfer", "membership"),
    "pre-vote-reply": ("granted", "proposed", "last_index", "last_term"),
    "vote-reply": ("granted", "proposed", "last_index", "last_term"),
    "append": ("prev_index", "prev_term", "commit"),
    "append-reply": ("rejected", "match", "prev_index", "hint_index", "hint_term", "withheld"),
    "heartbeat": ("round", "commit", "sent_ns", "mark", "age_ns", "newest"),
    "heartbeat-reply": ("round", "verified", "sent_ns", "listening", "mark", "holds_ns", "priority"),
    "commit": ("commit",),
    "read-index": ("request", "by_lease"),
    "read-index-reply": ("request", "index", "status"),
    "stale-term": (),
    "fetch": ("index", "entry_term", "body_crc", "identified"),
    "fetch-reply": ("index", "found"),
    "barrier": ("request",),
    "barrier-reply": ("request", "index"),
    "snapshot": ("index", "entry_term", "writer", "number", "file_bytes", "offset"),
    "snapshot-reply": ("index", "writer", "number", "offset", "restart"),
    "timeout-now": ("last_index",),
    "removed": ("index",),
}

WHEN_NOT_ZERO = ("tail", "transfer", "withheld", "listening", "wants", "priority", "holds_ns", "by_lease", "membership")


cdef class Pool:
    """Where the tests' batches come from."""
    cdef BatchPool* pool

    def __cinit__(self):
        self.pool = pool_open(64 << 20)
        if self.pool == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.pool != NULL:
            pool_close(self.pool)

    def piece(self, id, bytes data, *, uint64_t group=GROUP):
        """A piece of a snapshot's file, as storage reads it."""
        cdef Batch* batch = batch_new(self.pool, len(data))
        if batch == NULL:
            raise MemoryError
        memcpy(batch.body, <const char*>data, len(data))
        batch.kind, batch.group, batch.first, batch.term, batch.count = KIND_SNAPSHOT, group, id[0], id[1], 0
        batch.body_crc = crc32c(0, batch.body, batch.body_bytes)
        batch_stamp(batch)
        return take(batch)

    def make(self, payloads, *, uint8_t kind=KIND_ENTRIES, uint64_t term=0, uint64_t first=0,
             uint64_t group=GROUP,
             uint64_t session=0, uint64_t sequence=0, uint64_t vote=0, bint stamp=False):
        """A batch of some payloads."""
        cdef uint32_t count = len(payloads)
        cdef uint32_t head = offsets_bytes(count)
        cdef uint32_t at = 0
        cdef uint32_t i = 0
        cdef Batch* batch
        cdef bytes packed = b"".join(payloads)
        batch = batch_new(self.pool, 16 if kind == KIND_HARD_STATE else (head + len(packed) + 7) & ~7)
        if batch == NULL:
            raise MemoryError
        memset(batch.body, 0, batch.body_bytes)
        for payload in payloads:
            at += <uint32_t>len(payload)
            i += 1
            put_u32(batch.body + 4 * i, at)
        memcpy(batch.body + head, <const uint8_t*>packed, len(packed))
        if kind == KIND_HARD_STATE:
            put_u64(batch.body, vote)
        batch.kind = kind
        batch.count = count
        batch.group = group
        batch.term = term
        batch.first = first
        batch.session = session
        batch.sequence = sequence
        batch.body_crc = crc32c(0, batch.body, batch.body_bytes)
        if stamp:
            batch_stamp(batch)
        return take(batch)


cdef class Record:
    """A reference to a batch."""
    cdef Batch* batch

    def __dealloc__(self):
        if self.batch != NULL:
            batch_drop(self.batch)

    @property
    def kind(self):
        return KINDS[self.batch.kind]

    @property
    def term(self):
        return self.batch.term

    @property
    def first(self):
        return self.batch.first

    @property
    def count(self):
        return self.batch.count

    @property
    def last(self):
        return batch_last(self.batch)

    @property
    def vote(self):
        return get_u64(self.batch.body)

    @property
    def body_crc(self):
        return self.batch.body_crc

    @property
    def listening(self):
        """Of a hard state."""
        return bool(get_u64(self.batch.body + 8))

    @property
    def identity(self):
        """What is the same on every node."""
        return (self.batch.first, self.batch.count, self.batch.term, self.batch.kind, self.batch.body_crc)

    @property
    def roster(self):
        """Of a membership record: its stage, and of each node (role, before, goal)."""
        cdef Roster roster
        if roster_decode(&roster, self.batch.body, self.batch.body_bytes) != 0:
            raise ValueError("no roster")
        return STAGES.get(roster.stage, roster.stage), {
            roster.members[i].node: (GOALS[roster.members[i].role], GOALS[roster.members[i].before],
                                     GOALS[roster.members[i].goal]) for i in range(roster.count)}

    @property
    def body(self):
        return <bytes>self.batch.body[:self.batch.body_bytes]

    @property
    def payloads(self):
        cdef const uint32_t* offsets = batch_offsets(self.batch)
        cdef const uint8_t* payload = batch_payload(self.batch)
        return [payload[offsets[i]:offsets[i + 1]] for i in range(self.batch.count)]

    def __repr__(self):
        if self.batch.kind == KIND_HARD_STATE:
            return f"hard state term {self.term} vote {self.vote}"
        if self.batch.kind == KIND_TRUNCATE:
            return f"truncate from {self.first}"
        if self.batch.kind == KIND_COMPACT:
            return f"compact to {self.first}, before it term {self.term}"
        if self.batch.kind == KIND_SNAPSHOT:
            return f"piece of {self.batch.body_bytes} bytes"
        what = "" if self.batch.kind == KIND_ENTRIES else " " + KINDS[self.batch.kind]
        if self.batch.kind == KIND_MEMBERSHIP:
            stage, members = self.roster
            what = f" {stage}:" + "".join(f" {node} {role}" if role == goal else f" {node} {role} to be {goal}"
                                          for node, (role, _, goal) in sorted(members.items()))
        where = f"{self.first}" if self.count == 1 else f"{self.first}..{self.last}"
        return f"{where}@{self.term}{what}"


cdef Record take(Batch* batch):
    """Takes over a reference."""
    cdef Record record = Record.__new__(Record)
    record.batch = batch
    return record


cdef tuple id_told(const SnapshotId* id):
    return (id.index, id.term, id.writer, id.number, id.file_bytes)


cdef SnapshotId id_of(told):
    cdef SnapshotId id
    id.index, id.term, id.writer, id.number, id.file_bytes = told
    return id


cdef class Letter:
    """A message, to be delivered never, once or often."""
    cdef readonly int kind
    cdef readonly uint64_t sender, target, term, after_io, group
    cdef readonly uint32_t protocol
    cdef readonly list batches
    cdef uint64_t values[MESSAGE_FIELDS]

    @staticmethod
    def forge(kind, uint64_t sender, uint64_t target, uint64_t term, *, batches=(), uint64_t group=GROUP,
              uint32_t protocol=PROTOCOL_RAFT, **fields):
        """Any message, also one that no node would send."""
        cdef Letter letter = Letter.__new__(Letter)
        letter.kind = MESSAGE_NUMBERS.get(kind, kind) if isinstance(kind, str) else kind
        letter.sender, letter.target, letter.term, letter.group = sender, target, term, group
        letter.protocol = protocol
        letter.batches = list(batches)
        for name, value in fields.items():
            letter.values[FIELDS[MESSAGES[letter.kind]].index(name)] = value
        return letter

    def value(self, int position):
        return self.values[position]

    def set_value(self, int position, uint64_t value):
        self.values[position] = value

    @property
    def name(self):
        return MESSAGES.get(self.kind, f"kind {self.kind}")

    @property
    def fields(self):
        return {name: self.values[i] for i, name in enumerate(FIELDS.get(self.name, ()))}

    def __repr__(self):
        hidden = {"sent_ns", "request", "mark", "age_ns", "newest"}
        if not self.fields.get("rejected", 1):
            hidden |= {"rejected", "hint_index", "hint_term"}
        elif self.fields.get("rejected"):
            hidden |= {"rejected", "match"}
        hidden |= {name for name in WHEN_NOT_ZERO if not self.fields.get(name, 1)}
        if self.fields.get("rejected"):
            hidden.add("withheld")
        words = [f"{name.replace('_', ' ')} {value}"
                 for name, value in self.fields.items() if name not in hidden]
        if self.fields.get("rejected"):
            words.insert(0, "rejected")
        words += [repr(batch) for batch in self.batches]
        return f"{self.name} term {self.term}" + (": " + ", ".join(words) if words else "")


cdef class RaftNode:
    """One node's Raft over a fresh or recovered log."""
    cdef GroupLog log
    cdef void* raft
    cdef const Protocol* protocol
    cdef Outbox* out
    cdef bint log_opened
    cdef public uint64_t wsn_next
    cdef readonly uint64_t node

    def __cinit__(self, uint64_t node, voters, *, uint64_t now_ns=0, uint64_t election_timeout_ns=100_000_000,
                  uint64_t heartbeat_ns=10_000_000, uint64_t append_bytes_max=1 << 20,
                  uint64_t uncommitted_bytes_max=1 << 30, uint64_t seed=1, uint64_t term=0, uint64_t vote=0,
                  uint64_t first=1, uint64_t term_before_first=0, uint64_t last=0, runs=(),
                  uint64_t unproved_last=0, snapshot=None, uint64_t snapshot_needed=0,
                  uint64_t snapshot_log_bytes=0, uint64_t retained_log_bytes=0, uint64_t snapshot_bytes_per_s=0,
                  faults=(), bint listening=False, uint8_t priority=0,
                  bint joining=False, bytes membership=None, uint64_t membership_index=0,
                  uint64_t disk_patience_ns=0, bint leases=False, uint32_t clock_drift_ppm=0,
                  uint64_t cache_limit_bytes=1 << 30, uint64_t wsn_next=1):
        cdef RaftOptions options
        cdef LogRun* c_runs
        cdef Fault* c_faults
        cdef int status
        memset(&options, 0, sizeof(options))
        if log_open(&self.log, GROUP, cache_limit_bytes) != 0:
            raise MemoryError
        self.log_opened = True
        c_runs = <LogRun*>calloc(len(runs) + 1, sizeof(LogRun))
        for i, (run_first, run_term) in enumerate(runs):
            c_runs[i].first = run_first
            c_runs[i].term = run_term
        status = log_restore(&self.log, first, term_before_first, last, c_runs, len(runs))
        free(c_runs)
        if status != 0:
            raise ValueError("not a log")
        options.group = GROUP
        options.self = node
        options.voter_count = len(voters)
        for i, voter in enumerate(voters):
            options.voters[i] = voter
        options.election_timeout_ns = election_timeout_ns
        options.heartbeat_ns = heartbeat_ns
        options.append_bytes_max = append_bytes_max
        options.uncommitted_bytes_max = uncommitted_bytes_max
        options.seed = seed
        options.hard_state_term = term
        options.vote = vote
        options.unproved_last = unproved_last
        options.listening = listening
        if snapshot is None and first > 1 and not snapshot_needed:
            snapshot = (first - 1, term_before_first, node, 1, 64)     # what the head of the log went for
        if snapshot is not None:
            options.snapshot = id_of(snapshot)
        options.snapshot_needed = snapshot_needed
        options.snapshot_log_bytes = snapshot_log_bytes
        options.retained_log_bytes = retained_log_bytes
        options.snapshot_bytes_per_s = snapshot_bytes_per_s
        options.piece_bytes = 64
        options.priority = priority
        options.joining, options.heeds_strangers = joining, True
        if membership is not None:
            options.membership, options.membership_bytes = membership, len(membership)
            options.membership_index = membership_index
        options.disk_patience_ns = disk_patience_ns
        options.leases = leases
        options.clock_drift_ppm = clock_drift_ppm
        c_faults = <Fault*>calloc(len(faults) + 1, sizeof(Fault))
        for i, (fault_first, fault_last, fault_term, body_crc) in enumerate(faults):
            c_faults[i].first, c_faults[i].last, c_faults[i].term = fault_first, fault_last, fault_term
            c_faults[i].identified = body_crc is not None
            c_faults[i].body_crc = body_crc or 0
        options.faults, options.fault_count = c_faults, len(faults)
        self.node = node
        self.wsn_next = wsn_next
        self.protocol = raft_protocol()
        self.out = outbox_open()
        self.raft = raft_open(&options, &self.log, now_ns)
        free(c_faults)
        if self.raft == NULL:
            raise ValueError("options that make no sense")

    def __dealloc__(self):
        if self.raft != NULL:
            self.protocol.close(self.raft)
        if self.out != NULL:
            outbox_close(self.out)
        if self.log_opened:
            log_close(&self.log)

    cdef dict step(self, Event* event):
        cdef uint32_t i
        cdef uint16_t j
        cdef Letter letter
        cdef Message* message
        event.wsn_next = self.wsn_next
        self.protocol.step(self.raft, event, self.out)
        repair = self.out.repair
        writes, letters, refusals, reads, fetches, repair_fetches = [], [], [], [], [], []
        as_of = {}
        for i in range(self.out.write_count):
            writes.append((self.wsn_next + i, take(self.out.writes[i])))
        self.wsn_next += self.out.write_count
        for i in range(self.out.message_count):
            message = &self.out.messages[i]
            letter = Letter.__new__(Letter)
            letter.kind, letter.sender, letter.target = message.kind, message.sender, message.target
            letter.term, letter.after_io, letter.group = message.term, message.after_io, message.group
            letter.protocol = message.protocol
            letter.batches = []
            for j in range(message.batch_count):
                letter.batches.append(take(message.batches[j]))
            memcpy(letter.values, message.fields, sizeof(letter.values))
            letters.append(letter)
        for i in range(self.out.refusal_count):
            batch_drop(self.out.refusals[i].batch)
            refusals.append(self.out.refusals[i].status)
        for i in range(self.out.read_count):
            reads.append((self.out.reads[i].read, self.out.reads[i].index, self.out.reads[i].status))
            as_of[self.out.reads[i].read] = self.out.reads[i].as_of_ns
        for i in range(self.out.fetch_count):
            if self.out.fetches[i].repair:
                repair_fetches.append((self.out.fetches[i].peer, self.out.fetches[i].first))
            else:
                fetches.append((self.out.fetches[i].peer, self.out.fetches[i].first,
                                self.out.fetches[i].bytes_max))
        effects = {
            "writes": writes, "letters": letters, "refusals": refusals, "reads": reads, "as_of": as_of,
            "fetches": fetches,
            "repair_fetches": repair_fetches, "repair": repair - 1 if repair else None,
            "answer": self.out.answer,
            "faulty_first": self.out.faulty_first,
            "piece_reads": [(self.out.piece_reads[i].peer, id_told(&self.out.piece_reads[i].id),
                             self.out.piece_reads[i].offset, self.out.piece_reads[i].size)
                            for i in range(self.out.piece_read_count)],
            "piece_store": None if self.out.piece_store.batch == NULL else (
                id_told(&self.out.piece_store.id), self.out.piece_store.offset, take(self.out.piece_store.batch),
                bool(self.out.piece_store.last)),
            "snapshot_due": bool(self.out.snapshot_due),
            "install": id_told(&self.out.install) if self.out.install.index else None,
            "deadline_ns": self.out.deadline_ns, "commit": self.out.commit,
            "leader_changed": bool(self.out.leader_changed),
        }
        outbox_clear(self.out)
        log_pin(&self.log, self.out.commit + 1)
        return effects

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
        message.term, message.group, message.protocol = letter.term, letter.group, letter.protocol
        message.batch_count = len(letter.batches)
        message.batches = batches
        for i, record in enumerate(letter.batches):
            batches[i] = record.batch
        memcpy(message.fields, letter.values, sizeof(letter.values))
        event.kind, event.now_ns, event.message = EVENT_MESSAGE, now_ns, &message
        return self.step(&event)

    def propose(self, uint64_t now_ns, Record record, uint64_t proposer=0):
        cdef Event event
        memset(&event, 0, sizeof(event))
        event.kind, event.now_ns, event.batch = EVENT_PROPOSE, now_ns, batch_keep(record.batch)
        event.peer = proposer
        event.wall_ns = now_ns
        return self.step(&event)

    def flushed(self, uint64_t now_ns, uint64_t wsn):
        cdef Event event
        memset(&event, 0, sizeof(event))
        event.kind, event.now_ns, event.wsn = EVENT_FLUSHED, now_ns, wsn
        return self.step(&event)

    def read(self, uint64_t now_ns, uint64_t read, uint8_t kind=0):
        cdef Event event
        memset(&event, 0, sizeof(event))
        event.kind, event.now_ns, event.read, event.read_kind = EVENT_READ, now_ns, read, kind
        return self.step(&event)

    def faulty(self, uint64_t now_ns, uint64_t first, uint64_t last=0):
        """A read of the log found this batch bad."""
        cdef Event event
        memset(&event, 0, sizeof(event))
        event.kind, event.now_ns, event.first, event.last = EVENT_FAULTY, now_ns, first, last
        return self.step(&event)

    def transfer(self, uint64_t now_ns, uint64_t target):
        """Leadership is to go to `target` (0: to whom it fits best); `answer` of the effects is a Status."""
        cdef Event event
        memset(&event, 0, sizeof(event))
        event.kind, event.now_ns, event.peer = EVENT_TRANSFER, now_ns, target
        return self.step(&event)

    def change(self, uint64_t now_ns, goals, bint whole=False):
        """What these nodes ({node: "voter"}) are to become; `whole`: all others go.  `answer` is a Status."""
        cdef Event event
        cdef Roster roster
        cdef Batch* batch
        cdef BatchPool* pool = pool_open(1 << 20)
        memset(&roster, 0, sizeof(Roster))
        roster.stage = MEMBERSHIP_SET if whole else MEMBERSHIP_DELTA
        for node, goal in goals.items():
            roster.members[roster.count].node = node
            roster.members[roster.count].goal = {word: number for number, word in GOALS.items()}[goal]
            roster.count += 1
        batch = batch_new(pool, ROSTER_BYTES_MAX)
        batch.body_bytes = roster_encode(&roster, batch.body)
        memset(&event, 0, sizeof(event))
        event.kind, event.now_ns, event.batch = EVENT_MEMBERSHIP, now_ns, batch
        effects = self.step(&event)
        batch_drop(batch)
        pool_close(pool)
        return effects

    def fetched(self, uint64_t now_ns, uint64_t peer, list records, int status=0, *, uint64_t first=0,
                bint repair=False):
        cdef Event event
        cdef Batch* batches[MESSAGE_BATCHES_MAX]
        cdef Record record
        memset(&event, 0, sizeof(event))
        for i, record in enumerate(records):
            batches[i] = record.batch
        event.kind, event.now_ns, event.peer, event.status = EVENT_FETCHED, now_ns, peer, status
        event.first, event.repair = first, repair
        event.batches, event.batch_count = batches, len(records)
        return self.step(&event)

    def reachable(self, uint64_t now_ns, uint64_t peer, bint is_reachable):
        cdef Event event
        memset(&event, 0, sizeof(event))
        event.kind = EVENT_REACHABLE if is_reachable else EVENT_UNREACHABLE
        event.now_ns, event.peer = now_ns, peer
        return self.step(&event)

    def snapshot_made(self, uint64_t now_ns, id, int status=0):
        """This node's own snapshot is durable, or failed."""
        cdef Event event
        cdef SnapshotId c_id = id_of(id)
        memset(&event, 0, sizeof(event))
        event.kind, event.now_ns, event.status, event.snapshot = EVENT_SNAPSHOT_MADE, now_ns, status, &c_id
        return self.step(&event)

    def piece_read(self, uint64_t now_ns, uint64_t peer, id, uint64_t offset, Record piece, int status=0):
        cdef Event event
        cdef SnapshotId c_id = id_of(id)
        memset(&event, 0, sizeof(event))
        event.kind, event.now_ns, event.peer, event.status = EVENT_SNAPSHOT_READ, now_ns, peer, status
        event.snapshot, event.offset = &c_id, offset
        event.batch = piece.batch if piece is not None else NULL
        return self.step(&event)

    def piece_stored(self, uint64_t now_ns, id, uint64_t offset, *, bint whole=False, int status=0):
        """All of what comes in before `offset` is stored; `whole`: and durable."""
        cdef Event event
        cdef SnapshotId c_id = id_of(id)
        memset(&event, 0, sizeof(event))
        event.kind, event.now_ns, event.status, event.snapshot = EVENT_SNAPSHOT_STORED, now_ns, status, &c_id
        event.offset, event.whole = offset, whole
        return self.step(&event)

    def compact(self, uint64_t first):
        log_compact(&self.log, first)

    def break_lease(self):
        """As before a transfer of leadership."""
        lease_break(<Raft*>self.raft)

    def status(self):
        cdef GroupStatus status
        self.protocol.status(self.raft, &status)
        return {
            "role": ROLES[status.role], "term": status.term, "leader": status.leader, "vote": status.vote,
            "first": status.first, "last": status.last, "flushed": status.flushed, "commit": status.commit,
            "lease_until_ns": status.lease_until_ns, "as_of_ns": status.as_of_ns,
            "unproved_last": status.unproved_last, "elections": status.elections,
            "leader_changes": status.leader_changes, "peer_errors": status.peer_errors,
            "listening": bool(status.listening), "faulty": status.faulty,
            "membership_index": status.membership_index, "stage": STAGES[status.membership_stage],
            "removed": bool(status.removed),
            "members": {status.members[i].node: (GOALS[status.members[i].role], GOALS[status.members[i].before],
                                                 GOALS[status.members[i].goal]) for i in range(status.member_count)},
            "transfer": status.transfer, "transfers": status.transfers,
            "transfers_failed": status.transfers_failed, "disk_stalls": status.disk_stalls,
            "faults_found": status.faults_found, "faults_repaired": status.faults_repaired,
            "snapshot_index": status.snapshot_index, "snapshot_needed": status.snapshot_needed,
            "peers": {status.peers[i].node: {
                "state": {0: "", 1: "probe", 2: "stream", 3: "snapshot"}[status.peers[i].state],
                "match": status.peers[i].match,
                "next": status.peers[i].next, "window_bytes": status.peers[i].window_bytes,
                "in_flight_bytes": status.peers[i].in_flight_bytes} for i in range(status.peer_count)},
        }

    def terms(self):
        """Terms of first..last."""
        cdef uint64_t term
        found = []
        for index in range(self.log.first, self.log.last + 1):
            if log_term(&self.log, index, &term) != 0:
                raise AssertionError(f"no term for {index}")
            found.append(term)
        return found

    def cached(self, uint64_t index):
        """The batch in memory that holds an index, or None."""
        cdef Batch* batch = log_batch(&self.log, index)
        return None if batch == NULL else take(batch_keep(batch))
