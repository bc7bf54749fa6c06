"""How a node notices what is bad; see mending.pxd."""

from quorumlog._core.base.checks cimport check
from quorumlog._core.base.prng cimport prng_below
from quorumlog._core.base.status cimport ERR_AGAIN, ERR_CORRUPT, OK
from quorumlog._core.base.types cimport index_t
from quorumlog._core.engine.protocol cimport EVENT_FAULTY, Event
from quorumlog._core.simulation.host cimport host_step
from quorumlog._core.simulation.host_apply cimport host_apply
from quorumlog._core.simulation.ledger_back cimport ledger_bad
from quorumlog._core.simulation.marks cimport MARK_FAULT_SCRUBBED, mark
from quorumlog._core.simulation.occurring cimport occur_later
from quorumlog._core.simulation.schedule cimport OCCURS_SCRUB
from quorumlog._core.simulation.trace cimport TRACE_BAD, trace_note
from quorumlog._core.simulation.world_state cimport Host, World
from quorumlog._core.storage.scrub cimport (
    ScrubFault, scrub_close, scrub_open, scrub_restart, scrub_step,
)

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

cdef enum:
    SCRUB_STEPS = 32           # records that are looked at in one turn


cdef void tell(World* world, Host* host, index_t first, index_t last) noexcept nogil:
    cdef Event event
    memset(&event, 0, sizeof(Event))
    event.kind = EVENT_FAULTY
    event.first = first
    event.last = last
    host_step(world, host, &event)


# What the state machine waits for ----------------------------------------------------

cdef void mend_turn(World* world, Host* host) noexcept nogil:
    cdef index_t index = host.waits_for
    if index == 0:
        return
    if not host.told:
        host.told = True
        tell(world, host, index, 0)
    if not host.up or (host.faulty_first != 0 and host.faulty_first <= index):
        return
    # Repaired and durable, or never bad on a second look.
    host.waits_for = 0
    host_apply(world, host)


# The scrub ------------------------------------------------------------------------------

cdef void scrub_later(World* world, Host* host) noexcept nogil:
    occur_later(world, host.number, OCCURS_SCRUB, 1 + prng_below(&world.prng, 2 * world.options.scrub_ns), 0, 0)


cdef void mend_start(World* world, Host* host) noexcept nogil:
    host.waits_for = 0
    host.faulty_first = 0
    host.told = False
    if world.options.scrub_ns == 0 or world.ledger.slots != NULL:
        return
    check(scrub_open(&host.scrub, host.wal) == OK, b"Q-MEND-01 there is memory for a scrub")
    host.scrubbing = True
    scrub_later(world, host)


cdef void mend_stop(Host* host) noexcept nogil:
    if host.scrubbing:
        scrub_close(&host.scrub)
        host.scrubbing = False


cdef void scrubbed(World* world, Host* host, const ScrubFault* fault) noexcept nogil:
    """Bad, or not to be read twice in a row."""
    mark(world.marks, MARK_FAULT_SCRUBBED)
    trace_note(&world.trace, world.now_ns, TRACE_BAD, host.number, 0, 0, fault.first, 1, 0)
    ledger_bad(world.ledger, host.number, fault.first)
    if world.options.node_count > 1:
        tell(world, host, fault.first, fault.last)


cdef void mend_scrub(World* world, Host* host) noexcept nogil:
    cdef ScrubFault fault
    cdef uint64_t read_bytes = 0
    cdef uint32_t _step
    cdef int status
    for _step in range(SCRUB_STEPS):
        status = scrub_step(&host.scrub, &read_bytes, &fault)
        if status == ERR_AGAIN:
            scrub_restart(&host.scrub)
            break
        if status == ERR_CORRUPT:
            scrubbed(world, host, &fault)
            if world.ledger.failure[0] != 0:
                return
    scrub_later(world, host)
