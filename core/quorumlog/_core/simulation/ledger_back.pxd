"""The ledger's account of a node's return, and of what its disk lost: no more than the atlas took, and known to it."""

from quorumlog._core.base.types cimport index_t, node_t, term_t, wsn_t
from quorumlog._core.simulation.ledger cimport Ledger
from quorumlog._core.storage.batch cimport Batch

from libc.stdint cimport uint32_t

# A node came back: hard state first, then its log batch by batch, then the end.
cdef void ledger_back(Ledger* ledger, uint32_t node, term_t term, node_t vote, index_t first,
                      bint listening) noexcept nogil
cdef void ledger_found(Ledger* ledger, uint32_t node, const Batch* batch) noexcept nogil
# A batch of its log that can't be read; where it ends.
cdef index_t ledger_found_bad(Ledger* ledger, uint32_t node, index_t first, term_t term) noexcept nogil
# It may have had entries up to `unproved_last`: a damaged node may miss what was flushed if it says so.
cdef void ledger_back_end(Ledger* ledger, uint32_t node, index_t unproved_last, term_t unproved_term) noexcept nogil
# It refused to start while its log was read.
cdef void ledger_refused(Ledger* ledger, uint32_t node) noexcept nogil
# Its directory is empty.
cdef void ledger_wiped(Ledger* ledger, uint32_t node) noexcept nogil

# The batch that holds `index` is bad on its disk.
cdef void ledger_bad(Ledger* ledger, uint32_t node, index_t index) noexcept nogil
# It writes that batch once more.
cdef void ledger_mended(Ledger* ledger, uint32_t node, const Batch* batch, wsn_t wsn) noexcept nogil
