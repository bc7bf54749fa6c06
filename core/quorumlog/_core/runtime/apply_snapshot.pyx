"""See apply_snapshot.pxd."""

from quorumlog._core.base.atomics cimport (
    add_u32, cas_u64, exchange_ptr, fence, futex_wake, load_u64, store_u64)
from quorumlog._core.base.bell cimport notices_ring
from quorumlog._core.base.checks cimport check2
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport ERR_MEMORY, ERR_OVERTAKEN, OK
from quorumlog._core.base.types cimport SNAPSHOT_MEMBERSHIP_BYTES_MAX
from quorumlog._core.engine.receipt cimport Receipt, receipt_drop, receipt_fail
from quorumlog._core.engine.sessions cimport (
    sessions_decode, sessions_encode, sessions_encoded_bytes, sessions_last)
from quorumlog._core.runtime.apply cimport NOT_THERE_YET, PENDING_MAX
from quorumlog._core.runtime.intake cimport intake_release
from quorumlog._core.storage.batch cimport KIND_MEMBERSHIP

from libc.stdint cimport uint64_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy, memset


cdef void apply_note(Apply* apply, const Batch* batch) noexcept nogil:
    apply.applied_term = batch.term
    apply.log_time_ns = batch.leader_time_ns
    if batch.kind == KIND_MEMBERSHIP:
        check2(batch.body_bytes <= SNAPSHOT_MEMBERSHIP_BYTES_MAX, b"Q-APLY-05 a membership record fits a snapshot",
               batch.body_bytes, batch.first)
        apply.membership_index = batch.first
        apply.membership_bytes = batch.body_bytes
        memcpy(apply.membership, batch.body, batch.body_bytes)


cdef int apply_meta(Apply* apply, SnapshotMeta* meta, uint8_t** records) noexcept nogil:
    cdef uint64_t sessions_bytes = sessions_encoded_bytes(&apply.sessions)
    cdef uint8_t* room = <uint8_t*>malloc(SNAPSHOT_MEMBERSHIP_BYTES_MAX + sessions_bytes)
    records[0] = room
    if room == NULL:
        return ERR_MEMORY
    memset(meta, 0, sizeof(SnapshotMeta))
    memcpy(room, apply.membership, apply.membership_bytes)
    sessions_encode(&apply.sessions, room + SNAPSHOT_MEMBERSHIP_BYTES_MAX)
    meta.group = apply.group
    meta.id.index = load_u64(&apply.applied)
    meta.id.term = apply.applied_term
    meta.log_time_ns = apply.log_time_ns
    meta.membership_index = apply.membership_index
    meta.membership_bytes = apply.membership_bytes
    meta.membership = room
    meta.sessions_bytes = sessions_bytes
    meta.sessions = room + SNAPSHOT_MEMBERSHIP_BYTES_MAX
    return OK


cdef void settle_overtaken(Apply* apply) noexcept nogil:
    cdef uint64_t last = sessions_last(&apply.sessions, apply.session)
    cdef uint64_t sequence = load_u64(&apply.settled)
    cdef Receipt* receipt
    while sequence < last:
        sequence += 1
        receipt = <Receipt*>exchange_ptr(&apply.receipts[sequence & (PENDING_MAX - 1)], NULL)
        if receipt != NULL:
            intake_release(apply.intake, receipt.bytes)
            receipt_fail(receipt, ERR_OVERTAKEN, False)
            receipt_drop(receipt)
        store_u64(&apply.settled, sequence)


cdef int apply_resume(Apply* apply, const SnapshotMeta* meta) noexcept nogil:
    cdef int status = OK
    if not mutant(b"install-forgets-sessions"):
        status = sessions_decode(&apply.sessions, meta.sessions, meta.sessions_bytes)
    if status != OK:
        return status
    apply.applied_term = meta.id.term
    apply.log_time_ns = meta.log_time_ns
    apply.membership_index = meta.membership_index
    apply.membership_bytes = meta.membership_bytes
    memcpy(apply.membership, meta.membership, meta.membership_bytes)
    settle_overtaken(apply)
    store_u64(&apply.applied, meta.id.index)
    add_u32(&apply.moved, 1)
    futex_wake(&apply.moved, 1 << 30)
    fence()
    notices_ring(&apply.notices, False)
    return OK


cdef void apply_install(Apply* apply, index_t index) noexcept nogil:
    if index > load_u64(&apply.applied) or load_u64(&apply.restore) == NOT_THERE_YET:
        store_u64(&apply.restore, index)


cdef void apply_restored(Apply* apply, index_t index) noexcept nogil:
    cas_u64(&apply.restore, index, 0)
