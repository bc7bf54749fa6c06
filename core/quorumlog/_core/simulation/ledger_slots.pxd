"""What must hold of a Paxos group after every event; the part of the ledger that knows slots and ballots.

Its own account: who wrote which value into which slot in which ballot, and when that was flushed.  A value is chosen
when a commit quorum has durably accepted it in one ballot, whatever any node believes; from then on it is for ever.
"""

from quorumlog._core.base.types cimport index_t, wsn_t
from quorumlog._core.engine.protocol cimport GroupStatus
from quorumlog._core.simulation.ledger cimport Ledger
from quorumlog._core.simulation.slot_account cimport SlotLedger
from quorumlog._core.storage.batch cimport Batch

from libc.stdint cimport uint32_t, uint64_t

cdef SlotLedger* slots_open() noexcept nogil
cdef void slots_close(SlotLedger* slots) noexcept nogil
cdef void slots_wrote(Ledger* ledger, uint32_t node, const Batch* batch, wsn_t wsn) noexcept nogil
cdef void slots_flushed(Ledger* ledger, uint32_t node, wsn_t wsn) noexcept nogil
cdef void slots_stepped(Ledger* ledger, uint32_t node, const GroupStatus* status, wsn_t wsn_last) noexcept nogil
cdef void slots_back(Ledger* ledger, uint32_t node, index_t first) noexcept nogil
cdef void slots_found(Ledger* ledger, uint32_t node, const Batch* batch) noexcept nogil
cdef void slots_back_end(Ledger* ledger, uint32_t node) noexcept nogil
cdef void slots_compacted(Ledger* ledger, uint32_t node, index_t first) noexcept nogil
