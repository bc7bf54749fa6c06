"""Inspection of a node's disk; see inspection.pxd."""

from quorumlog._core.base.checks cimport check
from quorumlog._core.base.prng cimport Prng, prng_seed
from quorumlog._core.base.status cimport OK
from quorumlog._core.simulation.disk cimport Disk, disk_clone, disk_close
from quorumlog._core.simulation.disk_cut cimport disk_cut_as, disk_fates
from quorumlog._core.simulation.host_life cimport host_wal_options, recovered_group
from quorumlog._core.simulation.ledger cimport Account, Kept, content_of, ledger_intact
from quorumlog._core.simulation.world_state cimport THE_GROUP, Host, World
from quorumlog._core.storage.batch cimport Batch, BatchPool, batch_drop, batch_last, pool_close, pool_open
from quorumlog._core.storage.wal cimport (
    RecoveredGroup, Wal, WalOptions, WalReport, wal_close, wal_open, wal_read,
)

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free

cdef enum:
    POOL_BYTES = 1 << 26


cdef bint holds(Wal* wal, BatchPool* pool, const Kept* entry) noexcept nogil:
    cdef Batch* batch
    cdef bint same
    if wal_read(wal, THE_GROUP, entry.first, pool, &batch) != OK:
        return False
    same = (batch.first == entry.first and batch_last(batch) == entry.last and batch.term == entry.term
            and content_of(batch) == entry.content)
    batch_drop(batch)
    return same


cdef bint holds_all(const World* world, const Host* host, Wal* wal, const RecoveredGroup* group) noexcept nogil:
    cdef const Account* account = &world.ledger.accounts[host.number]
    cdef BatchPool* pool = pool_open(POOL_BYTES)
    cdef bint whole = True
    cdef uint32_t i
    check(pool != NULL, b"Q-INSP-01 there is memory for an inspection")
    for i in range(account.kept_count):
        if account.kept[i].wsn > account.flushed or account.kept[i].first < group.first or not whole:
            continue
        whole = ledger_intact(world.ledger, host.number, &account.kept[i]) and holds(wal, pool, &account.kept[i])
    pool_close(pool)
    return whole


cdef void cut(Disk* disk) noexcept nogil:
    """What was never synced is gone, and what a sync lost without a word."""
    cdef uint32_t count = disk_fates(disk, NULL, 0)
    cdef uint8_t* fates = <uint8_t*>calloc(count + 1, 1)
    cdef Prng nothing_drawn
    check(fates != NULL, b"Q-INSP-02 there is memory for fates")
    prng_seed(&nothing_drawn, 0)
    disk_cut_as(disk, fates, count, 0, &nothing_drawn)
    free(fates)


cdef bint disk_is_whole(World* world, const Host* host) noexcept nogil:
    cdef Disk* disk = disk_clone(host.disk, host.incarnation)
    cdef const WalReport* report
    cdef const RecoveredGroup* group
    cdef WalOptions options
    cdef Wal* wal
    cdef int status = OK
    cdef bint whole = False
    cut(disk)
    host_wal_options(world, &options)
    wal = wal_open(&disk.files, b"wal", &options, &report, &status)
    if wal != NULL:
        group = recovered_group(report)
        whole = (group != NULL and group.hole_count == 0 and not group.boundless and not group.listening
                 and holds_all(world, host, wal, group))
        disk.halt_at = 1
        wal_close(wal)
    disk_close(disk)
    return whole
