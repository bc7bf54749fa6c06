"""One simulated node's life: starting it from its disk, ending it, stopping it for good."""

from quorumlog._core.simulation.world_state cimport Host, World

from libc.stdint cimport uint32_t

from quorumlog._core.storage.wal cimport RecoveredGroup, WalOptions, WalReport

# Something of its disk was destroyed, by the atlas, and it is not known to be whole again.
cdef inline bint host_is_hurt(const World* world, const Host* host) noexcept nogil:
    return world.ledger.accounts[host.number].damaged


cdef void host_create(World* world, uint32_t number) noexcept nogil
cdef void host_destroy(World* world, Host* host) noexcept nogil
# A new and empty directory, made to rejoin, in place of the one it had.
cdef void host_new_directory(World* world, Host* host) noexcept nogil
# How its log is opened, and what recovery found of the one group (NULL: nothing).
cdef void host_wal_options(const World* world, WalOptions* options) noexcept nogil
cdef const RecoveredGroup* recovered_group(const WalReport* report) noexcept nogil
# Recovers and opens.  False: a fault hit the recovery, which is then to be tried again.  A host that
# nobody can help refuses.
cdef bint host_start(World* world, Host* host) noexcept nogil
# The process dies at once; what was being written stays as it is.
cdef void host_stop(World* world, Host* host) noexcept nogil
