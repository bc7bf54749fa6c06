"""See apply.pxd."""

from quorumlog._core.base.atomics cimport (
    add_u32, add_u64, exchange_ptr, fence, futex_wait, futex_wake, load_ptr, load_u32, load_u64,
    store_u32, store_u64, store_u64_relaxed, sub_u32, sub_u64)
from quorumlog._core.base.bell cimport notice_leave, notices_ring
from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.rings cimport ring_close, ring_open, ring_pop, ring_push
from quorumlog._core.base.status cimport (
    ERR_AGAIN, ERR_COMPACTED, ERR_CORRUPT, ERR_DROPPED, ERR_FENCED, ERR_IO, ERR_MEMORY, ERR_NOT_FOUND, ERR_OVERTAKEN,
    ERR_REUSED, ERR_SESSION_EXPIRED, ERR_STOPPED, ERR_TIMEOUT, ERR_UNANSWERED, ERR_USAGE, OK)
from quorumlog._core.engine.last_word cimport is_last_word
from quorumlog._core.engine.receipt cimport receipt_apply, receipt_drop, receipt_fail
from quorumlog._core.engine.clients cimport (
    CLIENT_APPLY, CLIENT_DONE, CLIENT_EXPIRED, CLIENT_FULL, CLIENT_NONSENSE, CLIENT_OTHER, CLIENT_REPEATED,
    CLIENT_SETTLED, STAMP_COMMAND, STAMP_RESUME, STAMP_SETTLE, Clients, Stamp, clients_admit, clients_remember,
    clients_time)
from quorumlog._core.engine.sessions cimport (
    ADMIT_APPLY, ADMIT_EXPIRED, ADMIT_GAP, SESSIONS_MAX, sessions_admit, sessions_close, sessions_last,
    sessions_open)
from quorumlog._core.runtime.apply_snapshot cimport apply_note
from quorumlog._core.runtime.intake cimport intake_release
from quorumlog._core.storage.batch cimport (
    BATCH_BEGINS, BATCH_STAMPED, KIND_ENTRIES, batch_drop, batch_keep, batch_last, pool_close, pool_open)
from quorumlog._core.storage.wal cimport wal_read

from libc.errno cimport ETIMEDOUT
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef enum:
    READ_BYTES_A_TURN = 4 << 20    # read back from disk before the reactor sees to its other work


cdef int apply_open(Apply* apply, group_t group, Wal* wal, Intake* intake, uint64_t session, index_t applied,
                    uint64_t pool_bytes) noexcept nogil:
    memset(apply, 0, sizeof(Apply))
    apply.group = group
    apply.wal = wal
    apply.intake = intake
    apply.session = session
    apply.recent_limit_bytes = RECENT_BYTES_MAX
    store_u64(&apply.applied, applied)
    store_u64(&apply.commit, applied)
    apply.pool = pool_open(pool_bytes)
    apply.receipts = <atomic_ptr*>calloc(PENDING_MAX, sizeof(atomic_ptr))
    if (apply.pool == NULL or apply.receipts == NULL or not ring_open(&apply.recent, RECENT_BATCHES_MAX)
            or sessions_open(&apply.sessions, SESSIONS_MAX) != OK):
        return ERR_MEMORY
    return OK


cdef void apply_close(Apply* apply, int status) noexcept nogil:
    cdef Batch* batch
    cdef Receipt* receipt
    cdef uint64_t slot
    if apply.receipts != NULL:
        for slot in range(PENDING_MAX):
            receipt = <Receipt*>exchange_ptr(&apply.receipts[slot], NULL)
            if receipt != NULL:
                intake_release(apply.intake, receipt.bytes)
                receipt_fail(receipt, status, False)
                receipt_drop(receipt)
        free(apply.receipts)
    if apply.taken != NULL:
        batch_drop(apply.taken)
    if apply.early != NULL:
        batch_drop(apply.early)
    if apply.recent.slots != NULL:
        batch = <Batch*>ring_pop(&apply.recent)
        while batch != NULL:
            batch_drop(batch)
            batch = <Batch*>ring_pop(&apply.recent)
        ring_close(&apply.recent)
    sessions_close(&apply.sessions)
    if apply.pool != NULL:
        pool_close(apply.pool)


cdef void apply_offer(Apply* apply, Batch* batch) noexcept nogil:
    if load_u64(&apply.recent_bytes) > apply.recent_limit_bytes:
        return                       # the applying thread will read it back from the log
    batch_keep(batch)
    if ring_push(&apply.recent, batch):
        add_u64(&apply.recent_bytes, batch.body_bytes)
    else:
        batch_drop(batch)


cdef void apply_commit(Apply* apply, index_t commit) noexcept nogil:
    check2(commit >= load_u64(&apply.commit), b"Q-APLY-01 the commit index never falls", commit,
           load_u64(&apply.commit))
    store_u64(&apply.commit, commit)


cdef void apply_expect(Apply* apply, uint64_t sequence, Receipt* receipt) noexcept nogil:
    cdef void* before = exchange_ptr(&apply.receipts[sequence & (PENDING_MAX - 1)], receipt)
    check(before == NULL, b"Q-APLY-02 a sequence's place is free when it is given out")


cdef Batch* next_recent(Apply* apply, index_t index) noexcept nogil:
    """The batch that starts at `index` if the ring has it; older ones fall out."""
    cdef Batch* batch = apply.early
    apply.early = NULL
    while True:
        if batch == NULL:
            batch = <Batch*>ring_pop(&apply.recent)
            if batch == NULL:
                return NULL
            sub_u64(&apply.recent_bytes, batch.body_bytes)
        if batch.first == index:
            return batch
        if batch.first > index:
            apply.early = batch      # there is a hole before it; its turn comes later
            return NULL
        batch_drop(batch)
        batch = NULL


cdef int apply_next(Apply* apply, bint may_read) noexcept nogil:
    cdef index_t index = load_u64(&apply.applied) + 1
    cdef index_t commit = load_u64(&apply.commit)      # first: an install shows in `restore` before it does here
    cdef Batch* batch
    cdef int status
    if load_u32(&apply.stopped) or load_u64(&apply.restore):
        return ERR_AGAIN
    if index > commit or load_u64(&apply.faulty):
        return ERR_AGAIN
    batch = next_recent(apply, index)
    if batch == NULL:
        if not may_read:
            return ERR_NOT_FOUND
        status = wal_read(apply.wal, apply.group, index, apply.pool, &batch)
        if status == ERR_NOT_FOUND or status == ERR_MEMORY:
            return ERR_AGAIN         # committed by others and not yet flushed here, or too much on loan
        if status == ERR_COMPACTED and load_u64(&apply.restore):
            return ERR_AGAIN         # a snapshot was installed meanwhile
        if apply.repairable and (status == ERR_CORRUPT or status == ERR_IO):
            store_u64(&apply.faulty, index)      # the reactor has it repaired, and clears this
            return ERR_AGAIN
        if status != OK:
            return status
    check2(batch.first == index, b"Q-APLY-03 batches are applied in order, whole", batch.first, index)
    check2(batch_last(batch) <= commit, b"Q-APLY-04 only committed batches are applied",
           batch_last(batch), commit)
    apply.taken = batch
    apply.verdict = 0
    clients_time(&apply.sessions.clients, batch.leader_time_ns)
    if batch.kind == KIND_ENTRIES:
        apply.admission = sessions_admit(&apply.sessions, batch.session, batch.sequence,
                                         (batch.flags & BATCH_BEGINS) != 0, index)
        if batch.flags & BATCH_STAMPED and apply.admission == ADMIT_APPLY:
            apply.verdict = clients_admit(&apply.sessions.clients, batch)
            look_at_node_session(apply)
    else:
        apply.admission = 0
    return OK


cdef Receipt* apply_receipt(Apply* apply) noexcept nogil:
    cdef Batch* batch = apply.taken
    if apply.admission != ADMIT_APPLY or batch.session != apply.session:
        return NULL
    return <Receipt*>exchange_ptr(&apply.receipts[batch.sequence & (PENDING_MAX - 1)], NULL)


cdef void apply_done(Apply* apply) noexcept nogil:
    cdef Batch* batch = apply.taken
    apply.taken = NULL
    apply_note(apply, batch)
    if batch.kind == KIND_ENTRIES and batch.session == apply.session:
        if apply.admission == ADMIT_APPLY:
            store_u64(&apply.settled, batch.sequence)
        elif apply.admission == ADMIT_GAP:
            store_u32(&apply.rewind, REWIND_GAP)
        elif apply.admission == ADMIT_EXPIRED:
            store_u32(&apply.rewind, REWIND_EXPIRED)
    store_u64_relaxed(&apply.session_count, apply.sessions.count)
    store_u64(&apply.applied, batch_last(batch))
    if is_last_word(batch):
        apply_stop(apply, ERR_DROPPED)
    batch_drop(batch)
    fence()
    if load_u32(&apply.waiters):
        add_u32(&apply.moved, 1)
        futex_wake(&apply.moved, 1 << 30)
    if load_ptr(&apply.notices) != NULL:
        notices_ring(&apply.notices, False)


cdef void apply_settle(Apply* apply, Receipt* receipt, const Settled* settled) noexcept nogil:
    intake_release(apply.intake, receipt.bytes)
    if settled.status == OK:
        if settled.count != 0:
            receipt.count = settled.count
        receipt_apply(receipt, settled.index, settled.term)
    else:
        receipt_fail(receipt, settled.status, settled.definite)
    receipt_drop(receipt)


# Clients' sessions

cdef inline bint is_of_a_node(uint64_t session) noexcept nogil:
    """Their ids have the top bit; those of clients are indexes of the log."""
    return session >> 63 != 0


cdef void look_at_node_session(Apply* apply) noexcept nogil:
    """Asked about a proposal of a node's session: it was applied if the session has got so far."""
    cdef const Stamp* stamp = &apply.sessions.clients.stamp
    if apply.verdict == CLIENT_EXPIRED and stamp.kind == STAMP_SETTLE and is_of_a_node(stamp.session) \
            and sessions_last(&apply.sessions, stamp.session) >= stamp.sequence and stamp.sequence != 0:
        apply.verdict = CLIENT_DONE


cdef void settled_done(const Clients* clients, Settled* settled) noexcept nogil:
    """Opened: its index is the session.  Resumed: the highest sequence, and the new life.  Settled: index 0."""
    if clients.stamp.kind == STAMP_RESUME:
        settled.index = clients.at.highest
        settled.term = clients.at.life
    elif clients.stamp.kind == STAMP_SETTLE and not is_of_a_node(clients.stamp.session):
        settled.index = 0


cdef void apply_settled(const Apply* apply, Settled* settled) noexcept nogil:
    cdef const Clients* clients = &apply.sessions.clients
    memset(settled, 0, sizeof(Settled))
    settled.index = apply.taken.first
    settled.term = apply.taken.term
    if apply.verdict == CLIENT_DONE:
        settled_done(clients, settled)
    elif apply.verdict == CLIENT_REPEATED:
        settled.index = clients.answer.index
        settled.term = clients.answer.term
        settled.count = clients.answer.count
        if clients.answer.lost and clients.stamp.kind == STAMP_COMMAND:
            settled.status = ERR_OVERTAKEN             # it was applied, and what it returned is not known
    elif apply.verdict == CLIENT_EXPIRED:
        settled.status = ERR_SESSION_EXPIRED
    elif apply.verdict == CLIENT_SETTLED:
        settled.status = ERR_FENCED
    elif apply.verdict == CLIENT_OTHER:
        settled.status = ERR_REUSED
    elif apply.verdict == CLIENT_FULL:
        settled.status = ERR_UNANSWERED
    elif apply.verdict == CLIENT_NONSENSE:
        settled.status = ERR_USAGE
    settled.definite = settled.status != ERR_SESSION_EXPIRED and settled.status != ERR_OVERTAKEN


cdef int apply_nothing(Apply* apply, uint32_t batches) noexcept nogil:
    cdef Receipt* receipt
    cdef Settled settled
    cdef int status
    cdef uint32_t _done
    cdef uint64_t read_bytes = 0
    for _done in range(batches):
        status = apply_next(apply, False)
        if status == ERR_NOT_FOUND:
            if read_bytes >= READ_BYTES_A_TURN:
                return OK
            status = apply_next(apply, True)
            if status == OK:
                read_bytes += apply.taken.body_bytes
        if status != OK:
            return status
        receipt = apply_receipt(apply)
        if apply.verdict == CLIENT_APPLY:
            clients_remember(&apply.sessions.clients, apply.taken, NULL, 0)
        apply_settled(apply, &settled)
        apply_done(apply)
        if receipt != NULL:
            apply_settle(apply, receipt, &settled)
    return OK


cdef int apply_wait(Apply* apply, index_t index, int64_t timeout_ns) noexcept nogil:
    cdef uint32_t seen
    cdef int result = 0
    if load_u64(&apply.applied) >= index:
        return OK
    add_u32(&apply.waiters, 1)
    fence()
    seen = load_u32(&apply.moved)
    if load_u64(&apply.applied) < index and not load_u32(&apply.stopped):
        result = futex_wait(&apply.moved, seen, timeout_ns)
    sub_u32(&apply.waiters, 1)
    if load_u64(&apply.applied) >= index:
        return OK
    if load_u32(&apply.stopped):
        return ERR_STOPPED
    if result == ETIMEDOUT:
        return ERR_TIMEOUT
    return ERR_AGAIN


cdef bint apply_notice(Apply* apply, index_t index, Notice* notice) noexcept nogil:
    if load_u64(&apply.applied) >= index or load_u32(&apply.stopped):
        return False
    notice_leave(&apply.notices, notice)
    fence()
    if load_u64(&apply.applied) >= index or load_u32(&apply.stopped):
        notices_ring(&apply.notices, False)      # it may have come too late for the one who moved it
    return True


cdef void apply_stop(Apply* apply, int status) noexcept nogil:
    store_u32(&apply.stopped, <uint32_t>status)
    add_u32(&apply.moved, 1)
    futex_wake(&apply.moved, 1 << 30)
    fence()
    notices_ring(&apply.notices, False)
