"""The protocol's own records and messages, so that nothing leaves before its term is durable."""

from quorumlog._core.base.types cimport index_t, node_t, term_t, wsn_t
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.protocols.raft_state cimport Raft
from quorumlog._core.storage.batch cimport Batch

from libc.stdint cimport uint16_t

# Tops up the batches for the step's own records; False: not enough memory for a whole step.
cdef bint raft_refill(Raft* raft) noexcept nogil
cdef void raft_drop_spares(Raft* raft) noexcept nogil
# Puts a batch into the outbox: the WSN that its record will get.
cdef wsn_t raft_write(Raft* raft, Outbox* out, Batch* batch) noexcept nogil
# Takes on a term and vote, with their record in front of everything that carries the term (A-R6).
cdef void raft_save_hard_state(Raft* raft, Outbox* out, term_t term, node_t vote) noexcept nogil
# The record that drops entries from `first` on; the log in memory is the caller's business.
cdef void raft_write_truncate(Raft* raft, Outbox* out, index_t first) noexcept nogil
# The head of the log goes: entries before `first`; behind the log's end if a snapshot takes the place of all.
# The log in memory is the caller's business.
cdef void raft_write_compact(Raft* raft, Outbox* out, index_t first, term_t term_before_first) noexcept nogil
# A snapshot takes the place of the whole log, which begins anew at `first`; what lies at and behind
# `truncate_first` (0: nothing does) is of another history than the snapshot's.
cdef void raft_write_reset(Raft* raft, Outbox* out, index_t truncate_first, index_t first,
                           term_t term_before_first) noexcept nogil
# A leader's first batch: one empty entry behind the log's last; one reference for the caller.
cdef Batch* raft_blank(Raft* raft) noexcept nogil
# A new message in the outbox with the current term, held back until that term is durable.
cdef Message* raft_message(Raft* raft, Outbox* out, uint16_t kind, node_t target) noexcept nogil
