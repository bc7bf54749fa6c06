"""The simulated cluster: one thread, virtual time, one seed (DESIGN section 12).

A safety phase in which anything may break, then a healed phase in which clients
must get on: `progress` batches acknowledged within `healed_ns`, and in the end
every node holding all that is committed, in equal state machines, and the clients having
seen what one register for each key could have answered.
"""

from quorumlog._core.simulation.world_state cimport World, WorldOptions

cdef World* world_open(const WorldOptions* options) noexcept nogil
cdef void world_close(World* world) noexcept nogil
# The whole run.  world.ledger.failure is empty if everything held.
cdef void world_run(World* world) noexcept nogil
