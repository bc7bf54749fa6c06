"""See decisions.pxd."""

from quorumlog._core.base.bytes cimport (
    Reader, Writer, read_bytes, read_u8, read_u16, read_u32, read_u64, reader_left, reader_open, write_bytes,
    write_u8, write_u16, write_u32, write_u64, writer_open,
)
from quorumlog._core.base.checks cimport check
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport ERR_MEMORY, ERR_USAGE, OK
from quorumlog._core.engine.txids cimport (
    TXID_NOWHERE, txid_before, txids_close, txids_drop, txids_find, txids_open, txids_put,
)

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef enum:
    DECISION_MAGIC = 0x4451        # QD
    DECISION_VERSION = 1
    NONE = 0xFFFFFFFF


# --- bytes ------------------------------------------------------------------------------------

cdef uint64_t name_hash(const uint8_t* name, uint32_t size) noexcept nogil:
    """FNV-1a; never 0."""
    cdef uint64_t value = 0xCBF29CE484222325ULL
    cdef uint32_t i
    for i in range(size):
        value = (value ^ name[i]) * 0x100000001B3ULL
    return value | 1


cdef uint32_t decision_encode(const DecisionRecord* record, uint8_t* out) noexcept nogil:
    cdef Writer w
    cdef uint32_t i
    writer_open(&w, out, DECISION_BYTES_MAX)
    write_u16(&w, DECISION_MAGIC)
    write_u8(&w, DECISION_VERSION)
    write_u8(&w, record.kind)
    write_u8(&w, record.outcome)
    write_u8(&w, record.branch_count)
    write_u16(&w, <uint16_t>record.text_bytes)
    write_u64(&w, record.txid.coordinator)
    write_u32(&w, record.txid.incarnation)
    write_u32(&w, record.txid.nonce)
    write_u64(&w, record.txid.number)
    write_u64(&w, record.extra)
    for i in range(record.branch_count):
        write_u64(&w, record.branches[i])
    write_bytes(&w, record.text, record.text_bytes)
    check(not w.failed, b"Q-DECISION-01 a decision fits its largest size")
    return <uint32_t>w.position


cdef bint decision_decode(const uint8_t* data, uint32_t size, DecisionRecord* out) noexcept nogil:
    cdef Reader r
    cdef uint32_t i
    memset(out, 0, sizeof(DecisionRecord))
    reader_open(&r, data, size)
    if read_u16(&r) != DECISION_MAGIC or read_u8(&r) != DECISION_VERSION:
        return False
    out.kind = read_u8(&r)
    out.outcome = read_u8(&r)
    out.branch_count = read_u8(&r)
    out.text_bytes = read_u16(&r)
    out.txid.coordinator = read_u64(&r)
    out.txid.incarnation = read_u32(&r)
    out.txid.nonce = read_u32(&r)
    out.txid.number = read_u64(&r)
    out.extra = read_u64(&r)
    if out.kind < DECISION_INCARNATION or out.kind > DECISION_KEPT_OUTCOME or out.branch_count > BRANCHES_MAX \
            or out.outcome > VERDICT_ABORT or out.text_bytes > DECISION_TEXT_MAX:
        return False
    for i in range(out.branch_count):
        out.branches[i] = read_u64(&r)
    out.text = read_bytes(&r, out.text_bytes)
    return not r.failed and reader_left(&r) == 0


# --- the table --------------------------------------------------------------------------------

cdef int decisions_open(Decisions* decisions, uint32_t unfinished_max, uint32_t remembered_max) noexcept nogil:
    cdef uint32_t i
    cdef int status
    memset(decisions, 0, sizeof(Decisions))
    if unfinished_max == 0 or unfinished_max > 1 << 22 or remembered_max > 1 << 22:
        return ERR_USAGE
    decisions.capacity = unfinished_max + remembered_max
    decisions.remembered_max = remembered_max
    status = txids_open(&decisions.index, decisions.capacity)
    if status != OK:
        return status
    decisions.decided = <Decided*>calloc(decisions.capacity, sizeof(Decided))
    if decisions.decided == NULL:
        decisions_close(decisions)
        return ERR_MEMORY
    for i in range(decisions.capacity):
        decisions.decided[i].next = i + 1
    decisions.decided[decisions.capacity - 1].next = NONE
    decisions.ended_first = decisions.ended_last = NONE
    return OK


cdef void decisions_close(Decisions* decisions) noexcept nogil:
    txids_close(&decisions.index)
    free(decisions.decided)
    memset(decisions, 0, sizeof(Decisions))


cdef KnownCoordinator* decisions_coordinator(Decisions* decisions, uint64_t id) noexcept nogil:
    cdef uint32_t i
    for i in range(decisions.coordinator_count):
        if decisions.coordinators[i].id == id:
            return &decisions.coordinators[i]
    return NULL


cdef KnownCoordinator* named(Decisions* decisions, uint64_t name) noexcept nogil:
    cdef uint32_t i
    for i in range(decisions.coordinator_count):
        if decisions.coordinators[i].name_hash == name:
            return &decisions.coordinators[i]
    return NULL


cdef KnownCoordinator* add_coordinator(Decisions* decisions, uint64_t id, uint64_t name) noexcept nogil:
    cdef KnownCoordinator* known
    if decisions.coordinator_count == COORDINATORS_MAX or id == 0:
        return NULL
    known = &decisions.coordinators[decisions.coordinator_count]
    decisions.coordinator_count += 1
    memset(known, 0, sizeof(KnownCoordinator))
    known.id = id
    known.name_hash = name
    return known


cdef const Decided* decisions_find(const Decisions* decisions, const Txid* txid) noexcept nogil:
    cdef uint32_t place = txids_find(&decisions.index, txid)
    return &decisions.decided[place] if place != TXID_NOWHERE else NULL


cdef Decided* add_decided(Decisions* decisions, const DecisionRecord* record, uint8_t outcome) noexcept nogil:
    """NULL: full."""
    cdef uint32_t place = decisions.free_first
    cdef uint32_t i
    cdef Decided* entry
    if decisions.unfinished >= decisions.capacity - decisions.remembered_max or place == NONE:
        return NULL
    entry = &decisions.decided[place]
    decisions.free_first = entry.next
    memset(entry, 0, sizeof(Decided))
    entry.txid = record.txid
    entry.outcome = outcome
    entry.branch_count = record.branch_count
    entry.next = NONE
    for i in range(record.branch_count):
        entry.branches[i] = record.branches[i]
    txids_put(&decisions.index, &record.txid, place)
    decisions.unfinished += 1
    return entry


cdef void forget_oldest(Decisions* decisions) noexcept nogil:
    """Of those that ended; how far outcomes can no longer be told moves with it."""
    cdef uint32_t place = decisions.ended_first
    cdef Decided* entry = &decisions.decided[place]
    cdef KnownCoordinator* known = decisions_coordinator(decisions, entry.txid.coordinator)
    if known != NULL and not txid_before(&entry.txid, known.forgotten_incarnation, known.forgotten_number):
        known.forgotten_incarnation = entry.txid.incarnation
        known.forgotten_number = entry.txid.number
    decisions.ended_first = entry.next
    if decisions.ended_first == NONE:
        decisions.ended_last = NONE
    decisions.ended_count -= 1
    txids_drop(&decisions.index, &entry.txid)
    entry.txid.number = 0
    entry.next = decisions.free_first
    decisions.free_first = place


cdef void end(Decisions* decisions, Decided* entry) noexcept nogil:
    cdef uint32_t place = <uint32_t>(entry - decisions.decided)
    if entry.ended:
        return
    entry.ended = True
    entry.next = NONE
    decisions.unfinished -= 1
    decisions.ended_count += 1
    if decisions.ended_last == NONE:
        decisions.ended_first = place
    else:
        decisions.decided[decisions.ended_last].next = place
    decisions.ended_last = place
    while decisions.ended_count > decisions.remembered_max:
        forget_oldest(decisions)


# --- records ----------------------------------------------------------------------------------

cdef int take_incarnation(Decisions* decisions, DecisionRecord* record) noexcept nogil:
    cdef uint64_t name = name_hash(record.text, record.text_bytes)
    cdef KnownCoordinator* known = named(decisions, name)
    if known == NULL:
        if decisions_coordinator(decisions, record.txid.coordinator) != NULL:
            return VERDICT_MALFORMED       # an id that is taken: draw another
        known = add_coordinator(decisions, record.txid.coordinator, name)
        if known == NULL:
            return VERDICT_FULL
    known.fenced = known.incarnation
    known.incarnation += 1
    known.nonces[known.incarnation % NONCES_KEPT] = record.txid.nonce
    record.txid.coordinator = known.id
    record.txid.incarnation = known.incarnation
    return VERDICT_TAKEN


cdef int take_commit(Decisions* decisions, const DecisionRecord* record) noexcept nogil:
    cdef int said = decisions_presume(decisions, &record.txid)
    cdef const Decided* entry = decisions_find(decisions, &record.txid)
    if entry != NULL and entry.outcome == VERDICT_COMMIT:
        return VERDICT_COMMIT              # written twice
    if said == VERDICT_ABORT and not mutant(b"twophase-fenced-commit-taken"):
        # Fenced, or resolved so.  Or somebody else has long finished it, and this table has forgotten which way.
        if entry == NULL and decisions_outcome(decisions, &record.txid) == VERDICT_FORGOTTEN \
                and not mutant(b"twophase-forgotten-is-aborted"):
            return VERDICT_FORGOTTEN
        return VERDICT_ABORT
    if said != VERDICT_LIVE and said != VERDICT_ABORT:
        return VERDICT_MALFORMED
    return VERDICT_COMMIT if add_decided(decisions, record, VERDICT_COMMIT) != NULL else VERDICT_FULL


cdef int take_fence(Decisions* decisions, const DecisionRecord* record) noexcept nogil:
    cdef KnownCoordinator* known = decisions_coordinator(decisions, record.txid.coordinator)
    if known == NULL or record.txid.incarnation > known.incarnation:
        return VERDICT_MALFORMED
    known.fenced = max(known.fenced, record.txid.incarnation)
    return VERDICT_TAKEN


cdef int take_resolution(Decisions* decisions, const DecisionRecord* record) noexcept nogil:
    """An operator decides what nobody else can, and never against what is decided."""
    cdef int said = decisions_presume(decisions, &record.txid)
    cdef const Decided* known = decisions_find(decisions, &record.txid)
    cdef Decided* entry
    if known != NULL:
        said = known.outcome
    if record.outcome == 0 or said == VERDICT_FOREIGN:
        return VERDICT_MALFORMED
    if said == VERDICT_COMMIT or said == VERDICT_ABORT:
        if said != record.outcome:
            decisions.contrary += 1
            return VERDICT_CONTRARY
        return said
    if said == VERDICT_LIVE and record.outcome == VERDICT_COMMIT:
        return VERDICT_LIVE                # not all may have voted yes
    entry = add_decided(decisions, record, record.outcome)
    if entry == NULL:
        return VERDICT_FULL
    entry.resolved = True
    return record.outcome


cdef int take_end(Decisions* decisions, const DecisionRecord* record) noexcept nogil:
    cdef Decided* entry = <Decided*>decisions_find(decisions, &record.txid)
    if entry != NULL:
        end(decisions, entry)
    return VERDICT_TAKEN


cdef int take_doubt(Decisions* decisions, const DecisionRecord* record) noexcept nogil:
    """A part of this log, or the whole log of another coordinator, is lost."""
    cdef KnownCoordinator* known = decisions_coordinator(decisions, record.txid.coordinator)
    if known == NULL:
        known = add_coordinator(decisions, record.txid.coordinator, 0)
        if known == NULL:
            return VERDICT_FULL
        known.incarnation = record.txid.incarnation
    if record.txid.incarnation > known.incarnation:
        return VERDICT_MALFORMED
    known.doubtful = max(known.doubtful, record.txid.incarnation)
    known.fenced = max(known.fenced, record.txid.incarnation)
    return VERDICT_TAKEN


cdef int take_kept_coordinator(Decisions* decisions, const DecisionRecord* record) noexcept nogil:
    """One for each nonce that is kept, the newest incarnation last."""
    cdef KnownCoordinator* known = decisions_coordinator(decisions, record.txid.coordinator)
    if known == NULL:
        known = add_coordinator(decisions, record.txid.coordinator, name_hash(record.text, record.text_bytes))
    if known == NULL:
        return VERDICT_FULL
    if record.text_bytes == 0:
        known.name_hash = 0                # only its transactions are known here
    known.incarnation = max(known.incarnation, record.txid.incarnation)
    known.fenced = max(known.fenced, <uint32_t>record.extra)
    known.doubtful = max(known.doubtful, <uint32_t>(record.extra >> 32))
    known.nonces[record.txid.incarnation % NONCES_KEPT] = record.txid.nonce
    # What ended before the log's head went is not said again.
    known.forgotten_incarnation = known.incarnation
    known.forgotten_number = record.txid.number
    return VERDICT_TAKEN


cdef int take_kept_outcome(Decisions* decisions, const DecisionRecord* record) noexcept nogil:
    cdef Decided* entry = <Decided*>decisions_find(decisions, &record.txid)
    if entry == NULL:
        entry = add_decided(decisions, record, record.outcome)
    if entry == NULL:
        return VERDICT_FULL
    if record.extra & 2:
        entry.resolved = True
    if record.extra & 1:
        end(decisions, entry)
    return entry.outcome


cdef int decisions_apply(Decisions* decisions, DecisionRecord* record) noexcept nogil:
    if record.kind == DECISION_INCARNATION:
        return take_incarnation(decisions, record)
    if record.kind == DECISION_FENCE:
        return take_fence(decisions, record)
    if record.kind == DECISION_DOUBT:
        return take_doubt(decisions, record)
    if record.kind == DECISION_KEPT_COORDINATOR:
        return take_kept_coordinator(decisions, record)
    if record.txid.number == 0 or record.txid.coordinator == 0:
        return VERDICT_MALFORMED
    if record.kind == DECISION_COMMIT:
        return take_commit(decisions, record)
    if record.kind == DECISION_END:
        return take_end(decisions, record)
    if record.kind == DECISION_RESOLVE:
        return take_resolution(decisions, record)
    if record.kind == DECISION_KEPT_OUTCOME and record.outcome != 0:
        return take_kept_outcome(decisions, record)
    return VERDICT_MALFORMED


# --- questions --------------------------------------------------------------------------------

cdef int undecided(const Decisions* decisions, const Txid* txid) noexcept nogil:
    """What the absence of a decision means."""
    cdef const KnownCoordinator* known = decisions_coordinator(<Decisions*>decisions, txid.coordinator)
    cdef uint32_t nonce
    if known == NULL:
        return VERDICT_FOREIGN
    if txid.incarnation <= known.doubtful and not mutant(b"twophase-damaged-log-presumes"):
        return VERDICT_IN_DOUBT
    if txid.incarnation == 0 or txid.incarnation > known.incarnation:
        return VERDICT_IN_DOUBT            # this log has lost that incarnation
    nonce = known.nonces[txid.incarnation % NONCES_KEPT]
    if known.incarnation - txid.incarnation < NONCES_KEPT and nonce != 0 and nonce != txid.nonce:
        return VERDICT_IN_DOUBT            # and has begun another in its place
    if txid.incarnation <= known.fenced or mutant(b"twophase-presume-unfenced"):
        return VERDICT_ABORT
    return VERDICT_LIVE


cdef int decisions_presume(const Decisions* decisions, const Txid* txid) noexcept nogil:
    cdef const Decided* entry = decisions_find(decisions, txid)
    if entry != NULL and (not entry.ended or entry.resolved):
        return entry.outcome
    return undecided(decisions, txid)


cdef int decisions_outcome(const Decisions* decisions, const Txid* txid) noexcept nogil:
    cdef const Decided* entry = decisions_find(decisions, txid)
    cdef const KnownCoordinator* known
    if entry != NULL:
        return entry.outcome
    known = decisions_coordinator(<Decisions*>decisions, txid.coordinator)
    if known != NULL and (txid_before(txid, known.forgotten_incarnation, known.forgotten_number)
                          or (txid.incarnation == known.forgotten_incarnation
                              and txid.number == known.forgotten_number)):
        return VERDICT_FORGOTTEN
    return undecided(decisions, txid)
