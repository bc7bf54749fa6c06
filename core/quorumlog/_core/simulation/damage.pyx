"""Damage and the atlas; see damage.pxd."""

from quorumlog._core.base.prng cimport Prng, prng_below, prng_chance, prng_next
from quorumlog._core.simulation.disk cimport Disk
from quorumlog._core.simulation.disk_cut cimport disk_power_cut
from quorumlog._core.simulation.fault_kinds cimport (
    FAULT_BIT_ROT, FAULT_MISDIRECTED, FAULT_STALE, FAULT_ZEROED, PROFILE_BEYOND,
)
from quorumlog._core.simulation.host_life cimport host_stop
from quorumlog._core.simulation.marks cimport MARK_DAMAGED, mark
from quorumlog._core.simulation.pages cimport PAGE_SECTORS, SECTOR_BYTES, PagedFile, paged_clean_sector
from quorumlog._core.simulation.trace cimport TRACE_OUT, trace_note
from quorumlog._core.simulation.world_state cimport STOP_BYTES, Host, World

from libc.stdint cimport uint8_t, uint32_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy, memset

cdef enum:
    TRIES = 32
    PROVED_PAGES = 16          # so many written pages behind one: later headers say that it is flushed


cdef uint32_t written_pages(const PagedFile* file) noexcept nogil:
    """Up to the last page that was ever written with something."""
    cdef uint32_t count = file.page_count
    while count > 0 and file.pages[count - 1].current == NULL:
        count -= 1
    return count


cdef bint is_zero(const uint8_t* sector) noexcept nogil:
    cdef uint32_t i
    for i in range(SECTOR_BYTES):
        if sector[i] != 0:
            return False
    return True


cdef uint8_t* draw_sector(Disk* disk, uint32_t behind, Prng* prng) noexcept nogil:
    """Some written sector of some file, with `behind` written pages after it; NULL: none was found."""
    cdef PagedFile* file
    cdef uint32_t pages
    cdef uint32_t tries = TRIES
    cdef uint8_t* sector
    while tries > 0:
        tries -= 1
        if disk.inode_count == 0:
            return NULL
        file = &disk.inodes[prng_below(prng, disk.inode_count)].content
        pages = written_pages(file)
        if pages <= behind:
            continue
        sector = paged_clean_sector(file, prng_below(prng, (pages - behind) * PAGE_SECTORS))
        if sector != NULL and not is_zero(sector):
            return sector
    return NULL


cdef bint damage_sector(Disk* disk, int kind, uint32_t behind, Prng* prng) noexcept nogil:
    cdef uint8_t* sector
    cdef const uint8_t* other
    cdef uint32_t i
    if kind == FAULT_STALE:
        # The next sync reports success, and one sector is not on the platter.
        disk.lose_sector = True
        return True
    sector = draw_sector(disk, behind, prng)
    if sector == NULL:
        return False
    if kind == FAULT_ZEROED:
        memset(sector, 0, SECTOR_BYTES)
    elif kind == FAULT_MISDIRECTED:
        other = draw_sector(disk, 0, prng)
        if other == NULL or other == sector:
            return False
        memcpy(sector, other, SECTOR_BYTES)
    elif prng_chance(prng, 1, 2):
        sector[prng_below(prng, SECTOR_BYTES)] ^= <uint8_t>(1 << prng_below(prng, 8))
    else:
        for i in range(SECTOR_BYTES):
            sector[i] = <uint8_t>(prng_next(prng) >> 32)
    return True


cdef bint has_room(const World* world, const Host* host) noexcept nogil:
    return not host.ended and host.damages == 0 and world.damaged_nodes < world.options.damaged_nodes_max


cdef void note_damaged(World* world, Host* host) noexcept nogil:
    host.damages += 1
    world.damaged_nodes += 1
    world.ledger.accounts[host.number].damaged = True
    mark(world.marks, MARK_DAMAGED)


cdef bint damage_turn(World* world, Host* host, int kind) noexcept nogil:
    cdef uint32_t behind = 0
    if not has_room(world, host):
        return False
    if world.options.profile == PROFILE_BEYOND:
        behind = PROVED_PAGES
        kind = FAULT_BIT_ROT if kind == FAULT_STALE else kind
    if not damage_sector(host.disk, kind, behind, &world.prng):
        return False
    note_damaged(world, host)
    return True


cdef void damage_all(World* world) noexcept nogil:
    cdef Host* host
    cdef uint32_t i
    for i in range(world.options.node_count):
        host = &world.hosts[i]
        if has_room(world, host) and damage_sector(host.disk, FAULT_BIT_ROT, PROVED_PAGES, &world.prng):
            note_damaged(world, host)
        host_stop(world, host)
        disk_power_cut(host.disk, &world.prng)


cdef bint wipe(World* world, Host* host) noexcept nogil:
    if not has_room(world, host):
        return False
    note_damaged(world, host)
    host_stop(world, host)
    host.ended = True
    snprintf(host.stop, STOP_BYTES, b"wiped: this incarnation is not known")
    trace_note(&world.trace, world.now_ns, TRACE_OUT, host.number, 0, 0, 0, 0, 0)
    return True
