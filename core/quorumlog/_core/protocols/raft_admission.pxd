"""A node that may have forgotten what it promised (A-R28): it listens until a leader admits it.

Its directory is new under a known name, or both its hard states are bad, or what its log lost has
no known place.  *Listening* is a part of its hard state, so it stays so over restarts.  It
follows and takes over entries; it neither votes nor campaigns, its acknowledgements are
withheld, and its answers to heartbeats confirm nothing.  It asks the leader for a barrier:

- the leader forgets what the node ever acknowledged and appends a blank batch, the barrier, for
  which the node's acknowledgements don't count;
- when the barrier is committed it says so;
- when the node, in the same term, holds the log up to the barrier durably and whole, it writes a hard
  state that says that it listens no more, with a vote for the leader of the term.

Why that is enough: whatever was committed with the help of a forgotten acknowledgement lies
before the barrier.  A candidate of a later term that has a forgotten vote can't win any more: its elect
quorum would meet the quorum that committed the barrier in a node other than this one, which
either had that later term already and didn't acknowledge the barrier, or holds it and votes for no
log without it; and the candidate, who left the leader's term before, has none.
"""

from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.protocols.raft_state cimport Raft

# Listening: the leader was heard; asks for a barrier, again and again until it has one.
cdef void admission_ask(Raft* raft, Outbox* out) noexcept nogil
# Leader: a listening node asks.
cdef void admission_on_barrier(Raft* raft, Outbox* out, int slot, const Message* message) noexcept nogil
cdef bint admission_on_reply(Raft* raft, Outbox* out, const Message* message) noexcept nogil
# A new term: its leader has to be asked anew.
cdef void admission_new_term(Raft* raft) noexcept nogil
# Listening: begins a step, and enters the group if all is there.
cdef void admission_turn(Raft* raft, Outbox* out) noexcept nogil
