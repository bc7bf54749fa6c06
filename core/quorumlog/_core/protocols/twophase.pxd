"""Two-phase commit: a coordinator and its participants decide one outcome for a transaction.

Sources: Gray 1978; Gray and Reuter 1993, chapter 10; Mohan, Lindsay and Obermarck 1986 (presumed abort);
X/Open XA 1991 (one phase, read-only); Gray and Lamport 2006 (what a replicated decision log changes).

    a participant says YES only once its prepared record is durable, and from then on waits
    the coordinator commits only if all say YES or READ_ONLY (the quorum engine's rule *all*)
    COMMIT leaves only once the decision log has it; the log's answer is the decision, not the vote
    nothing is written for an abort: its absence says so, where the log is whole and the incarnation fenced
    END, and with it forgetting, only after every branch that voted YES has acknowledged
    a late PREPARE finds a tombstone, or a number below what is known to be finished
    no timeout decides but one: the coordinator may abort what it has not yet asked the log to commit

Events and effects: engine/transactions.  The decision log: engine/decisions.
"""

from quorumlog._core.engine.transactions cimport TransactionProtocol

cdef const TransactionProtocol* twophase_protocol() noexcept nogil
