"""What clients were told, and what they did: the part of the ledger that looks from outside."""

from quorumlog._core.base.types cimport index_t
from quorumlog._core.simulation.ledger cimport Ledger

from libc.stdint cimport uint32_t, uint64_t

# A command of a client's session took effect at `index`, or is said to have done so.
cdef void ledger_command(Ledger* ledger, uint32_t node, uint64_t session, uint64_t sequence,
                         index_t index) noexcept nogil
# A client was told that its batch, which ends at `last`, is done.
cdef void ledger_acked(Ledger* ledger, index_t last, uint64_t now_ns) noexcept nogil
# The highest index that somebody had been told of by then.
cdef index_t ledger_acked_by(const Ledger* ledger, uint64_t at_ns) noexcept nogil
# `kind`: ReadKind of engine/protocol.
cdef void ledger_read(Ledger* ledger, uint32_t node, int kind, index_t index, index_t at_least) noexcept nogil
cdef void ledger_forget_clients(Ledger* ledger) noexcept nogil
