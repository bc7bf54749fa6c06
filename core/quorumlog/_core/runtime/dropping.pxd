"""Groups that are dropped: by an entry of their own log, once and for all (ADR 0026; engine/last_word).

A node that applies the entry writes the group's id to the file `dropped`, closes the group and lets its
log go.  One that was away meanwhile, or did not hear of the commit, still calls for its peers: they
answer that the group is dropped, and it does the same.  One peer's word is enough, since only what was
committed is dropped.  All of it is the reactor's.
"""

from quorumlog._core.base.types cimport group_t
from quorumlog._core.engine.message cimport Message
from quorumlog._core.runtime.node_state cimport HostedGroup, Node

# Numbers of runtime/proposals' RuntimeMessage.
cdef enum:
    MESSAGE_DROP = 117             # to the leader: propose it
    MESSAGE_DROPPED = 118          # the group that you speak of is dropped

# A caller's wish, proposed here or handed to the leader; asking again is harmless.  ERR_DROPPED: it is done;
# OK: it is on its way; ERR_NOT_LEADER: not now, ask again; ERR_OVERLOADED: no more groups can be dropped.
cdef int drop_ask(Node* node, HostedGroup* hosted) noexcept nogil
# False: the message is about something else.
cdef bint drop_on_message(Node* node, HostedGroup* hosted, const Message* message) noexcept nogil
# A message for a group that is not open: who speaks of a dropped one is told.  False: it is none.
cdef bint drop_tell(Node* node, const Message* message) noexcept nogil
# Whether `drop_close` has something to do.
cdef bint drop_waits(HostedGroup* hosted) noexcept nogil
# Closes the groups that were dropped since the last turn; True if there were any.
cdef bint drop_close(Node* node) noexcept nogil
# Removes the snapshots of a group, if it is dropped: one may have been finished since.
cdef void drop_files(Node* node, group_t group) noexcept nogil
# When the node opens: what a crash has left in the log.
cdef void drop_leftovers(Node* node) noexcept nogil
