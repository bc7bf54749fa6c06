"""What a commit quorum has answered, the leader itself included: the newest heartbeat round, and since when.

Any commit quorum meets every elect quorum: who has heard from one knows of every leader elected before.
"""

from quorumlog._core.engine.membership cimport Membership
from quorumlog._core.engine.progress cimport Progress

from libc.stdint cimport uint64_t

# `newest`: the round that the leader began last.  A slot that is nobody's: the leader is no member any more.
cdef uint64_t rounds_acked(const Membership* membership, const Progress* progress, int self_slot,
                           uint64_t newest) noexcept nogil
# The same arithmetic over times: a commit quorum was heard at or after this.
cdef uint64_t rounds_heard_ns(const Membership* membership, const Progress* progress, int self_slot,
                              uint64_t now_ns) noexcept nogil
