"""Where decisions are written: a coordinator's own log, or a replicated one.

The replicated log is what a Raft group promises (Raft has a simulation of its own): records in one order, each
caller hears its record's verdict from its own replica of the table, late, or not at all; a record may be taken
and its caller never hear of it; replicas lag.
"""

from quorumlog._core.engine.decisions cimport DecisionRecord
from quorumlog._core.simulation.schedule cimport Occurrence
from quorumlog._core.simulation.transaction_state cimport Node, TransactionWorld

from libc.stdint cimport uint8_t, uint32_t

# Answered by coordinator_verdict.
cdef void propose(TransactionWorld* world, Node* node, const DecisionRecord* record) noexcept nogil
# The own log's flushed WSN moved.
cdef void decisions_flushed(TransactionWorld* world, Node* node) noexcept nogil
cdef void shared_proposed(TransactionWorld* world, const Occurrence* occurrence) noexcept nogil
cdef void shared_answered(TransactionWorld* world, const Occurrence* occurrence) noexcept nogil
# A replica catches up to what lies before `end`.
cdef void shared_apply(TransactionWorld* world, Node* node, uint32_t end) noexcept nogil
# A record of the own log comes back.
cdef void decisions_restore(TransactionWorld* world, Node* node, const uint8_t* data, uint32_t size) noexcept nogil
