"""Unproved tails: what a torn write leaves behind.

After a power cut the records above the log's known-flushed mark may be bad.  The node
may have acknowledged them (they were synced, then damaged) or not (they were never
synced).  Until that is settled it doesn't campaign, and votes only for candidates
whose log reaches as far.  It is settled when

- a leader's batches reach the end of the tail, or one of a term above any in the tail
  lands within it: that leader was elected by a quorum, so it holds all that is committed;
- a round in a new term shows that no commit quorum can hold the tail.  In a new term,
  because who answers in it will acknowledge nothing to leaders of earlier ones.  The
  evidence is taken from every vote request and reply of the term, so that nodes torn
  at the same place settle together (P6).

A single voter's tail can only have been acknowledged to its own clients, and there is no
other copy to repair it from: it is dropped, as a torn write (docs/divergence.md).
"""

from libc.stdint cimport uint32_t

from quorumlog._core.base.checks cimport check2
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.types cimport index_t, term_t
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.engine.quorum cimport TALLY_WON, tally_commit
from quorumlog._core.protocols.raft_records cimport raft_write_truncate
from quorumlog._core.protocols.raft_state cimport Raft, slot_bit


cdef bint tail_unproved(const Raft* raft) noexcept nogil:
    return raft.unproved_last > raft.log.last


cdef void tail_forget(Raft* raft) noexcept nogil:
    raft.tail_heard = 0
    raft.tail_holds = 0


cdef void tail_heard(Raft* raft, int slot, index_t last, term_t last_term) noexcept nogil:
    if not tail_unproved(raft) or raft.term <= raft.unproved_term_max:
        return
    raft.tail_heard |= slot_bit(slot)
    # A log that ends in an earlier term than the tail's last entry has never held it.
    if last >= raft.unproved_last and last_term >= raft.unproved_term:
        raft.tail_holds |= slot_bit(slot)


cdef bint tail_decide(Raft* raft, Outbox* out) noexcept nogil:
    cdef uint32_t voters = raft.membership.voters
    cdef uint32_t may_hold
    if not tail_unproved(raft):
        return True
    if raft.term <= raft.unproved_term_max:
        return False
    # Those not heard of, and those whose log reaches as far; our own copy is not intact.
    may_hold = (voters & ~raft.tail_heard & ~slot_bit(raft.self_slot)) | raft.tail_holds
    if tally_commit(&raft.membership.quorum, may_hold, voters & ~may_hold) == TALLY_WON \
            and not mutant(b"unproved-dropped-at-once"):
        return False
    truncate_once(raft, out)
    raft.unproved_last = 0
    return True


cdef void truncate_once(Raft* raft, Outbox* out) noexcept nogil:
    """On disk the bad records still lie behind the log's end: what follows must supersede them."""
    if not raft.tail_truncated:
        raft_write_truncate(raft, out, raft.log.last + 1)
        raft.tail_truncated = True


cdef void tail_before_append(Raft* raft, Outbox* out) noexcept nogil:
    if raft.unproved_last != 0:
        truncate_once(raft, out)


cdef void tail_after_append(Raft* raft, index_t last, term_t term) noexcept nogil:
    check2(last <= raft.log.last, b"Q-RAFT-30 an appended batch lies in the log", last, raft.log.last)
    if raft.unproved_last != 0 and (last >= raft.unproved_last or term > raft.unproved_term_max):
        raft.unproved_last = 0
