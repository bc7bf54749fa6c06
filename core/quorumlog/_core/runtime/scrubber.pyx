"""See scrubber.pxd."""

from quorumlog._core.base.atomics cimport (
    add_u32, add_u64_relaxed, fence, futex_wait, futex_wake, load_u32, store_u32)
from quorumlog._core.base.clock cimport monotonic_ns
from quorumlog._core.base.status cimport ERR_AGAIN, ERR_CORRUPT, ERR_MEMORY, OK
from quorumlog._core.runtime.threads cimport thread_join, thread_start, thread_step_back
from quorumlog._core.storage.scrub cimport scrub_close, scrub_open, scrub_restart, scrub_step

from libc.stdint cimport int64_t, uint32_t

cdef enum:
    NICE = 19
    STRIDE_BYTES = 256 << 10       # read in one go before the rate is looked at
    NS_PER_S = 1000000000
    LOOK_NS = NS_PER_S             # how often to look for newly sealed segments
    LOOKS_A_PASS = 3600            # after so many all is read again


cdef bint pause_for(Scrubber* scrubber, uint32_t seen, int64_t ns) noexcept nogil:
    """False: it is to stop."""
    if load_u32(&scrubber.stopping) == 0 and ns > 0:
        futex_wait(&scrubber.signal, seen, ns)
    return load_u32(&scrubber.stopping) == 0


cdef bint hand_over(Scrubber* scrubber, const ScrubFault* fault) noexcept nogil:
    """Waits for room; False: it is to stop."""
    cdef uint32_t count = load_u32(&scrubber.found_count)
    while count - load_u32(&scrubber.taken_count) == SCRUB_FOUND_MAX:
        if not pause_for(scrubber, load_u32(&scrubber.signal), LOOK_NS):
            return False
    scrubber.found[count % SCRUB_FOUND_MAX] = fault[0]
    store_u32(&scrubber.found_count, count + 1)
    scrubber.wake(scrubber.context)
    return True


cdef int read_stride(Scrubber* scrubber, uint64_t* read_bytes) noexcept nogil:
    """ERR_AGAIN: all that is sealed was read."""
    cdef ScrubFault fault
    cdef uint64_t before_bytes
    cdef int status = OK
    while read_bytes[0] < STRIDE_BYTES and status != ERR_AGAIN and load_u32(&scrubber.stopping) == 0:
        before_bytes = read_bytes[0]
        status = scrub_step(&scrubber.scrub, read_bytes, &fault)
        add_u64_relaxed(&scrubber.scrubbed_bytes, read_bytes[0] - before_bytes)
        if status == ERR_CORRUPT and not hand_over(scrubber, &fault):
            break
    return status


cdef void* scrub_forever(void* context) noexcept nogil:
    cdef Scrubber* scrubber = <Scrubber*>context
    cdef uint32_t requests = load_u32(&scrubber.signal)
    cdef uint32_t looks = 0
    cdef uint32_t seen
    cdef uint64_t began_ns, read_bytes, due_ns
    cdef bint behind = True            # something was read since the last time that all was
    cdef bint going = True
    cdef int status
    thread_step_back(NICE)
    while going and load_u32(&scrubber.stopping) == 0:
        seen = load_u32(&scrubber.signal)
        if seen != requests or looks == LOOKS_A_PASS:
            requests = seen
            looks = 0
            behind = True
            scrub_restart(&scrubber.scrub)
        began_ns = monotonic_ns()
        read_bytes = 0
        status = read_stride(scrubber, &read_bytes)
        behind = behind or read_bytes > 0
        if status == ERR_AGAIN:
            if behind:
                add_u64_relaxed(&scrubber.passes, 1)
            behind = False
            looks += 1
            going = pause_for(scrubber, seen, LOOK_NS)
        else:
            due_ns = began_ns + read_bytes * NS_PER_S // scrubber.bytes_per_s
            going = pause_for(scrubber, seen, <int64_t>(due_ns - monotonic_ns()))
    return NULL


cdef int scrubber_start(Scrubber* scrubber, Wal* wal, uint64_t bytes_per_s, ScrubWake wake,
                        void* context) noexcept nogil:
    if bytes_per_s == 0:
        return OK
    scrubber.bytes_per_s = bytes_per_s
    scrubber.wake = wake
    scrubber.context = context
    if scrub_open(&scrubber.scrub, wal) != OK:
        return ERR_MEMORY
    scrubber.started = True
    if thread_start(&scrubber.thread, b"ql-scrub", scrub_forever, scrubber) != 0:
        scrubber.started = False
        scrub_close(&scrubber.scrub)
        return ERR_MEMORY
    return OK


cdef void scrubber_stop(Scrubber* scrubber) noexcept nogil:
    if not scrubber.started:
        return
    store_u32(&scrubber.stopping, 1)
    scrubber_wanted(scrubber)
    thread_join(scrubber.thread)
    scrub_close(&scrubber.scrub)
    scrubber.started = False


cdef void scrubber_wanted(Scrubber* scrubber) noexcept nogil:
    add_u32(&scrubber.signal, 1)
    fence()
    futex_wake(&scrubber.signal, 1)


cdef bint scrubber_waits(Scrubber* scrubber) noexcept nogil:
    return load_u32(&scrubber.found_count) != load_u32(&scrubber.taken_count)


cdef bint scrubber_found(Scrubber* scrubber, ScrubFault* fault) noexcept nogil:
    cdef uint32_t taken = load_u32(&scrubber.taken_count)
    if taken == load_u32(&scrubber.found_count):
        return False
    fault[0] = scrubber.found[taken % SCRUB_FOUND_MAX]
    store_u32(&scrubber.taken_count, taken + 1)
    return True
