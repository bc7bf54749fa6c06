"""The atlas; see atlas.pxd."""

from quorumlog._core.simulation.host_life cimport host_is_hurt
from quorumlog._core.simulation.inspection cimport disk_is_whole
from quorumlog._core.simulation.ledger cimport Kept, ledger_intact, ledger_kept
from quorumlog._core.simulation.marks cimport MARK_DAMAGED, MARK_WHOLE_AGAIN, mark
from quorumlog._core.simulation.fault_kinds cimport PROFILE_BEYOND
from quorumlog._core.simulation.world_state cimport Host, World

from libc.stdint cimport uint32_t


cdef bint looks_well(const Host* host) noexcept nogil:
    return (host.up and host.status.faulty == 0 and not host.status.listening and host.status.unproved_last == 0
            and host.waits_for == 0 and not host.disk.lose_sector)


cdef void atlas_look(World* world) noexcept nogil:
    cdef Host* host
    cdef uint32_t i
    for i in range(world.options.node_count):
        host = &world.hosts[i]
        if host_is_hurt(world, host) and not host.snapshot_hurt and looks_well(host) and disk_is_whole(world, host):
            world.ledger.accounts[i].damaged = False
            host.deep = False
            mark(world.marks, MARK_WHOLE_AGAIN)


cdef uint32_t others_hurt(const World* world, const Host* host) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t count = 0
    for i in range(world.options.node_count):
        if i != host.number and host_is_hurt(world, &world.hosts[i]):
            count += 1
    return count


cdef bint begins_like_all(const World* world, const Host* host) noexcept nogil:
    """Whatever it loses of its log, the others have."""
    cdef uint32_t i
    for i in range(world.options.node_count):
        if world.ledger.accounts[i].head > world.ledger.accounts[host.number].head:
            return False
    return True


cdef bint may_be_next(World* world, const Host* host) noexcept nogil:
    """With it, no more than so many would have lost something; an inspection may say that others are whole again."""
    if others_hurt(world, host) >= world.options.damaged_nodes_max:
        atlas_look(world)
    return others_hurt(world, host) < world.options.damaged_nodes_max


cdef bint atlas_has_room(World* world, const Host* host) noexcept nogil:
    if host.ended or host.damages != 0 or world.ledger.slots != NULL:
        return False
    if world.options.profile == PROFILE_BEYOND:
        return True
    if not world.options.snapshots_rot and not begins_like_all(world, host):
        return False
    return may_be_next(world, host)


cdef bint atlas_lets_wipe(World* world, const Host* host) noexcept nogil:
    cdef uint32_t i
    if host.ended or world.wipes == world.options.wipes_max or world.ledger.slots != NULL:
        return False
    for i in range(world.options.node_count):
        if world.ledger.accounts[i].head != 1:
            return False
    return may_be_next(world, host)


cdef bint atlas_lets_rot(World* world, const Host* host, const Kept* entry) noexcept nogil:
    cdef const Kept* other
    cdef uint32_t i
    cdef uint32_t copies = 0
    if world.ledger.slots != NULL or host.ended or host.deep or entry.wsn > host.proved \
            or not ledger_intact(world.ledger, host.number, entry):
        return False
    for i in range(world.options.node_count):
        other = ledger_kept(world.ledger, i, entry.first)
        if i != host.number and not world.hosts[i].deep and other != NULL and other.term == entry.term \
                and ledger_intact(world.ledger, i, other):
            copies += 1
    return 2 * copies > world.options.node_count


cdef void atlas_note(World* world, Host* host, bint deep) noexcept nogil:
    world.ledger.accounts[host.number].damaged = True
    host.deep = host.deep or deep
    mark(world.marks, MARK_DAMAGED)
