"""Damage; see damage.pxd."""

from quorumlog._core.base.checks cimport check
from quorumlog._core.base.prng cimport Prng, prng_below, prng_chance, prng_next
from quorumlog._core.base.status cimport OK
from quorumlog._core.simulation.atlas cimport atlas_has_room, atlas_lets_rot, atlas_lets_wipe, atlas_note
from quorumlog._core.simulation.disk cimport Disk, Name, disk_inode
from quorumlog._core.simulation.disk_cut cimport disk_power_cut
from quorumlog._core.simulation.fault_kinds cimport (
    FAULT_BIT_ROT, FAULT_LOST_TAIL, FAULT_MISDIRECTED, FAULT_ROTTEN_BATCH, FAULT_STALE, FAULT_ZEROED,
    PROFILE_BEYOND,
)
from quorumlog._core.simulation.host_life cimport host_is_hurt, host_stop
from quorumlog._core.simulation.ledger cimport Account, Committed, Kept, ledger_intact, ledger_kept
from quorumlog._core.simulation.ledger_back cimport ledger_bad
from quorumlog._core.simulation.marks cimport MARK_ALL_ROTTEN, mark
from quorumlog._core.simulation.operators cimport operators_replace
from quorumlog._core.simulation.pages cimport (
    PAGE_SECTORS, SECTOR_BYTES, PagedFile, paged_clean_sector, paged_overwrite, paged_read,
)
from quorumlog._core.simulation.world_state cimport THE_GROUP, Host, World
from quorumlog._core.storage.batch cimport IDENTITY_BYTES, Batch, batch_drop
from quorumlog._core.storage.wal cimport WalStatus, wal_read, wal_status

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset, strcmp, strstr

cdef enum:
    TRIES = 32
    PROVED_PAGES = 16          # so many written pages behind one: later headers say that it is flushed
    TAIL_PAGES_MAX = 6


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


cdef uint8_t* draw_sector(const World* world, Disk* disk, uint32_t behind, Prng* prng) noexcept nogil:
    """Some written sector of some file that rots, with `behind` written pages after it; NULL: none was found."""
    cdef const Name* name
    cdef PagedFile* file
    cdef uint32_t pages
    cdef uint32_t tries = TRIES
    cdef uint8_t* sector
    while tries > 0:
        tries -= 1
        if disk.cached.count == 0:
            return NULL
        name = &disk.cached.names[prng_below(prng, disk.cached.count)]
        if name.inode == 0 or (strstr(name.path, b"snapshot-") != NULL) != world.options.snapshots_rot:
            continue
        file = &disk_inode(disk, name.inode).content
        pages = written_pages(file)
        if pages <= behind:
            continue
        sector = paged_clean_sector(file, prng_below(prng, (pages - behind) * PAGE_SECTORS))
        if sector != NULL and not is_zero(sector):
            return sector
    return NULL


cdef bint damage_sector(const World* world, Disk* disk, int kind, uint32_t behind, Prng* prng) noexcept nogil:
    cdef uint8_t* sector
    cdef const uint8_t* other
    cdef uint32_t i
    if kind == FAULT_STALE:
        # The next sync reports success, and one sector is not on the platter.
        disk.lose_sector = True
        return True
    sector = draw_sector(world, disk, behind, prng)
    if sector == NULL:
        return False
    if kind == FAULT_ZEROED:
        memset(sector, 0, SECTOR_BYTES)
    elif kind == FAULT_MISDIRECTED:
        other = draw_sector(world, disk, 0, prng)
        if other == NULL or other == sector:
            return False
        memcpy(sector, other, SECTOR_BYTES)
    elif prng_chance(prng, 1, 2):
        sector[prng_below(prng, SECTOR_BYTES)] ^= <uint8_t>(1 << prng_below(prng, 8))
    else:
        for i in range(SECTOR_BYTES):
            sector[i] = <uint8_t>(prng_next(prng) >> 32)
    return True


# A lost tail ----------------------------------------------------------------------------

cdef uint32_t used_pages(PagedFile* file) noexcept nogil:
    """Up to the last one that is not all zeros."""
    cdef uint32_t pages = written_pages(file)
    cdef uint32_t i
    cdef uint8_t* sector
    while pages > 0:
        for i in range(PAGE_SECTORS):
            sector = paged_clean_sector(file, (pages - 1) * PAGE_SECTORS + i)
            if sector == NULL or not is_zero(sector):
                return pages
        pages -= 1
    return 0


cdef PagedFile* sealed_file(Host* host, Prng* prng) noexcept nogil:
    """Some segment that is not written any more; NULL: none was drawn.  Names rise with age, and spares, which may
    be old segments with all that was in them, lie behind those in use."""
    cdef const Disk* disk = host.disk
    cdef const Name* drawn
    cdef WalStatus status
    cdef uint64_t older = 0
    cdef uint32_t i
    wal_status(host.wal, &status)
    if disk.cached.count == 0 or status.segments != host.segments:
        return NULL                # a segment was begun just now: nothing is known of what lies before it
    drawn = &disk.cached.names[prng_below(prng, disk.cached.count)]
    for i in range(disk.cached.count):
        if disk.cached.names[i].inode != 0 and strcmp(disk.cached.names[i].path, drawn.path) < 0:
            older += 1
    if drawn.inode == 0 or older + 1 >= status.segments:
        return NULL
    return &disk_inode(disk, drawn.inode).content


cdef bint lose_tail(World* world, Host* host) noexcept nogil:
    """Pages up to the last used one of a sealed segment: what they held lies below what later headers call flushed."""
    cdef PagedFile* file = NULL
    cdef uint32_t pages, count, sector
    cdef uint8_t* bytes
    cdef bint lost = False
    if not host.up or host.proved < host.rolled:
        return False
    file = sealed_file(host, &world.prng)
    if file == NULL or file.dirty_count != 0:
        return False
    pages = used_pages(file)
    if pages == 0:
        return False
    count = 1 + <uint32_t>prng_below(&world.prng, min(pages, <uint32_t>TAIL_PAGES_MAX))
    for sector in range((pages - count) * PAGE_SECTORS, pages * PAGE_SECTORS):
        bytes = paged_clean_sector(file, sector)
        if bytes != NULL:
            memset(bytes, 0, SECTOR_BYTES)
            lost = True
    return lost


# One batch ------------------------------------------------------------------------------

cdef bint flip(PagedFile* file, const Batch* batch, Prng* prng) noexcept nogil:
    """One bit of the newest record of this batch in the file, if it is there and nothing of the file is unsynced."""
    cdef uint8_t* image
    cdef uint64_t at, chosen
    cdef uint64_t found = 0
    cdef bint there = False
    if file.dirty_count != 0 or file.size < IDENTITY_BYTES:
        return False
    image = <uint8_t*>malloc(file.size)
    check(image != NULL, b"Q-DAMAGE-01 there is memory for a file's image")
    paged_read(file, image, file.size, 0, False)
    for at in range(0, file.size - IDENTITY_BYTES, 8):
        if image[at] == batch.identity[0] and memcmp(image + at, batch.identity, IDENTITY_BYTES) == 0:
            found = at
            there = True
    if there:
        # In the identity or the body: a list names the record in either case.
        chosen = found + prng_below(prng, IDENTITY_BYTES + batch.body_bytes)
        image[chosen] ^= <uint8_t>(1 << prng_below(prng, 8))
        paged_overwrite(file, image + chosen, 1, chosen)
    free(image)
    return there


cdef bint rot(World* world, Host* host, const Kept* entry) noexcept nogil:
    """All its records on this disk but superseded ones: what moved or was mended lies there twice."""
    cdef Batch* batch
    cdef uint32_t i
    cdef bint hit = False
    if wal_read(host.wal, THE_GROUP, entry.first, host.pool, &batch) != OK:
        return False               # a read error, once
    for i in range(host.disk.inode_count):
        hit = flip(&host.disk.inodes[i].content, batch, &world.prng) or hit
    batch_drop(batch)
    if hit:
        atlas_note(world, host, False)
        ledger_bad(world.ledger, host.number, entry.first)
    return hit


cdef void mark_all_rotten(World* world) noexcept nogil:
    cdef const Account* account
    cdef uint32_t i, k
    cdef bint rotten
    for i in range(world.options.node_count):
        account = &world.ledger.accounts[i]
        rotten = False
        for k in range(account.kept_count):
            rotten = rotten or not (account.kept[k].mended <= account.flushed)
        if not rotten:
            return
    mark(world.marks, MARK_ALL_ROTTEN)


cdef bint rot_some(World* world, Host* host) noexcept nogil:
    cdef const Account* account = &world.ledger.accounts[host.number]
    cdef const Kept* entry
    cdef uint32_t tries = TRIES
    if not host.up or account.kept_count == 0:
        return False
    while tries > 0:
        tries -= 1
        entry = &account.kept[prng_below(&world.prng, account.kept_count)]
        if atlas_lets_rot(world, host, entry):
            return rot(world, host, entry)
    return False


cdef bint rot_batches(World* world, Host* host) noexcept nogil:
    """One, or one of each node."""
    cdef uint32_t i
    cdef bint done = rot_some(world, host)
    if prng_chance(&world.prng, 1, 2):
        for i in range(world.options.node_count):
            if i != host.number:
                done = rot_some(world, &world.hosts[i]) or done
    mark_all_rotten(world)
    return done


# Turns ----------------------------------------------------------------------------------

cdef bint damage_sectors(World* world, Host* host, int kind) noexcept nogil:
    cdef uint32_t behind = 0
    cdef bint done
    if not atlas_has_room(world, host):
        return False
    if world.options.profile == PROFILE_BEYOND:
        behind = PROVED_PAGES
        kind = FAULT_BIT_ROT if kind == FAULT_STALE else kind
    if kind == FAULT_LOST_TAIL:
        done = lose_tail(world, host)
    else:
        done = damage_sector(world, host.disk, kind, behind, &world.prng)
    if done:
        host.damages += 1
        host.snapshot_hurt = world.options.snapshots_rot
        atlas_note(world, host, True)
    return done


cdef bint damage_turn(World* world, Host* host, int kind) noexcept nogil:
    if kind == FAULT_ROTTEN_BATCH:
        return rot_batches(world, host)
    return damage_sectors(world, host, kind)


cdef bint damage_wipe(World* world, Host* host) noexcept nogil:
    if not atlas_lets_wipe(world, host):
        return False
    operators_replace(world, host)
    return True


# Beyond the atlas -----------------------------------------------------------------------

cdef bint all_know(const World* world, const Committed* committed) noexcept nogil:
    """Every node is up, holds it, and has it said in a header that it is flushed."""
    cdef const Host* host
    cdef const Kept* entry
    cdef uint32_t i
    for i in range(world.options.node_count):
        host = &world.hosts[i]
        entry = ledger_kept(world.ledger, i, committed.first)
        if not host.up or entry == NULL or entry.term != committed.term or entry.wsn > host.proved \
                or not ledger_intact(world.ledger, i, entry):
            return False
    return True


cdef bint rot_everywhere(World* world) noexcept nogil:
    """The newest batch that every node has and knows to have."""
    cdef int64_t k = <int64_t>world.ledger.committed_count - 1
    cdef uint32_t i
    while k >= 0 and not all_know(world, &world.ledger.committed[k]):
        k -= 1
    if k < 0:
        return False
    for i in range(world.options.node_count):
        rot(world, &world.hosts[i], ledger_kept(world.ledger, i, world.ledger.committed[k].first))
    return True


cdef void damage_all(World* world) noexcept nogil:
    cdef Host* host
    cdef uint32_t i
    cdef bint same = rot_everywhere(world)
    for i in range(world.options.node_count):
        host = &world.hosts[i]
        if not same and not host_is_hurt(world, host):
            damage_sectors(world, host, FAULT_BIT_ROT)
        host_stop(world, host)
        disk_power_cut(host.disk, &world.prng)
