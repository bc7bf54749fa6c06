"""Bit rot in the simulated cluster; see rot.pxd."""

from quorumlog._core.base.checks cimport check
from quorumlog._core.base.prng cimport prng_below
from quorumlog._core.base.status cimport OK
from quorumlog._core.engine.protocol cimport EVENT_FAULTY, Event
from quorumlog._core.simulation.disk cimport Disk
from quorumlog._core.simulation.host cimport host_step
from quorumlog._core.simulation.ledger cimport Account, Kept, ledger_kept
from quorumlog._core.simulation.pages cimport PagedFile, paged_overwrite, paged_read
from quorumlog._core.simulation.world_state cimport THE_GROUP
from quorumlog._core.storage.batch cimport IDENTITY_BYTES, batch_drop
from quorumlog._core.storage.wal cimport wal_read

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memset


cdef bint gone(const World* world) noexcept nogil:
    """Truncated or compacted, where it was bad."""
    cdef const Kept* kept = ledger_kept(world.ledger, world.rot.host - 1, world.rot.first)
    return kept == NULL or kept.first != world.rot.first or kept.term != world.rot.term


cdef uint32_t copies_elsewhere(const World* world, uint32_t number, const Kept* entry) noexcept nogil:
    cdef const Kept* other
    cdef uint32_t i
    cdef uint32_t copies = 0
    for i in range(world.options.node_count):
        other = ledger_kept(world.ledger, i, entry.first)
        if i != number and other != NULL and other.term == entry.term \
                and other.wsn <= world.ledger.accounts[i].flushed:
            copies += 1
    return copies


cdef bint flip(PagedFile* file, const Batch* batch, World* world) noexcept nogil:
    """One bit of the newest record of this batch in the file, if it is there and nothing of the file is unsynced."""
    cdef uint8_t* image
    cdef uint64_t at, found, chosen
    cdef bint there = False
    if file.dirty_count != 0 or file.size < IDENTITY_BYTES:
        return False
    image = <uint8_t*>malloc(file.size)
    check(image != NULL, b"Q-ROT-01 there is memory for a file's image")
    paged_read(file, image, file.size, 0, False)
    found = 0
    for at in range(0, file.size - IDENTITY_BYTES, 8):
        if image[at] == batch.identity[0] and memcmp(image + at, batch.identity, IDENTITY_BYTES) == 0:
            found = at
            there = True
    if there:
        # In the identity or the body: a list names the record in either case.
        chosen = found + prng_below(&world.prng, IDENTITY_BYTES + batch.body_bytes)
        image[chosen] ^= <uint8_t>(1 << prng_below(&world.prng, 8))
        paged_overwrite(file, image + chosen, 1, chosen)
    free(image)
    return there


cdef void rot_turn(World* world, Host* host) noexcept nogil:
    cdef const Account* account = &world.ledger.accounts[host.number]
    cdef const Kept* entry
    cdef Batch* batch
    cdef Disk* disk = host.disk
    cdef uint32_t i
    cdef bint done = False
    if world.rot.host != 0 and gone(world):
        world.rot.host = 0
    if world.rot.host != 0 or not host.up or account.kept_count == 0:
        return
    entry = &account.kept[account.kept_count - 1 - prng_below(&world.prng, min(account.kept_count, <uint32_t>8))]
    # Below F by what is durable: above it the same bit would make an unproved tail.
    if entry.wsn == 0 or entry.wsn > host.proved \
            or 2 * copies_elsewhere(world, host.number, entry) <= world.options.node_count:
        return
    if wal_read(host.wal, THE_GROUP, entry.first, host.pool, &batch) != OK:
        return
    for i in range(disk.inode_count):
        if not done and flip(&disk.inodes[i].content, batch, world):
            done = True
    batch_drop(batch)
    if not done:
        return
    world.rotten += 1
    world.rot.host = host.number + 1
    world.rot.first = entry.first
    world.rot.term = entry.term
    world.rot.repair_wsn = 0


cdef void rot_found(World* world, Host* host, index_t index) noexcept nogil:
    cdef Event event
    memset(&event, 0, sizeof(Event))
    event.kind = EVENT_FAULTY
    event.first = index
    host_step(world, host, &event)


cdef bint rot_holds(const World* world, const Host* host, index_t index) noexcept nogil:
    return world.rot.host == host.number + 1 and world.rot.first == index


cdef void rot_came_back(World* world, const Host* host, const Batch* batch) noexcept nogil:
    if not rot_holds(world, host, batch.first):
        return
    world.rot.repair_wsn = 0
    world.rot.host = 0
    world.repaired += 1 if batch.term == world.rot.term else 0


cdef void rot_mended(World* world, Host* host, const Batch* batch, wsn_t wsn) noexcept nogil:
    if world.rot.host == host.number + 1 and world.rot.first == batch.first and world.rot.term == batch.term:
        world.rot.repair_wsn = wsn


cdef void rot_look(World* world, Host* host) noexcept nogil:
    if world.rot.host == host.number + 1 and world.rot.repair_wsn != 0 and world.rot.repair_wsn <= host.flushed:
        world.rot.host = 0
        world.repaired += 1
