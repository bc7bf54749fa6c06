"""Clients with sessions of their own (engine/clients), which they retry through any node.

Their batches have no session of a node, so that the stamp alone keeps a repetition from being
applied: every copy passes the table of nodes' sessions.  A command's answer is the index where it
was applied; whoever hears of it, after however many copies, must hear the same.
"""

from quorumlog._core.simulation.world_state cimport Client, Host, World
from quorumlog._core.storage.batch cimport Batch

from libc.stdint cimport uint32_t, uint64_t

# What a client proposes as `sequence`; 0: that its session be opened.
cdef Batch* stamped_batch(World* world, Host* host, const Client* client, uint64_t sequence) noexcept nogil
# Whose batch it is, and its sequence; NULL: of a session that its client has given up.
cdef Client* stamped_client(World* world, const Batch* batch, uint64_t* sequence) noexcept nogil
# Decides, applies, remembers; tells the client what it waits for.
cdef void stamped_apply(World* world, Host* host, Batch* batch) noexcept nogil
