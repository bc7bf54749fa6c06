"""What must hold of transactions, whoever says otherwise; `failure` tells the first that did not."""

from quorumlog._core.engine.txids cimport Txid
from quorumlog._core.simulation.transaction_state cimport Node, Transfer, TransactionWorld

from libc.stdint cimport uint32_t, uint64_t

cdef void world_fail(TransactionWorld* world, const char* what, uint32_t node, uint64_t a, uint64_t b) noexcept nogil
cdef void world_note(TransactionWorld* world, uint64_t a, uint64_t b) noexcept nogil    # into the hash
cdef Transfer* transfer_of(TransactionWorld* world, const Txid* txid) noexcept nogil     # NULL: never begun
cdef uint32_t branch_at(const Transfer* transfer, uint32_t node) noexcept nogil
# A commit is durable in the decision log.
cdef void ledger_decided(TransactionWorld* world, const Txid* txid) noexcept nogil
# COMMIT leaves a coordinator.
cdef void ledger_commit_leaves(TransactionWorld* world, uint32_t node, const Txid* txid) noexcept nogil
cdef void ledger_told(TransactionWorld* world, uint32_t node, const Txid* txid, int outcome) noexcept nogil
# A vote or acknowledgement leaves a participant whose log is flushed so far.
cdef void ledger_yes_leaves(TransactionWorld* world, Node* node, const Txid* txid) noexcept nogil
cdef void ledger_ack_leaves(TransactionWorld* world, Node* node, const Txid* txid) noexcept nogil
cdef void ledger_branch_commits(TransactionWorld* world, Node* node, const Txid* txid) noexcept nogil
cdef void ledger_branch_rolls_back(TransactionWorld* world, Node* node, const Txid* txid) noexcept nogil
# A participant's locks are those of its prepared branches, one for one.
cdef void ledger_look_at_locks(TransactionWorld* world, Node* node) noexcept nogil
# When all is healed: every transaction has one outcome at all its participants, nothing is prepared or in
# hand, no money was made or lost.
cdef void ledger_end(TransactionWorld* world) noexcept nogil
