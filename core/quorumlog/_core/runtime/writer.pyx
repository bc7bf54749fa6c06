"""The log writer: a plan is carried out by a thread, or by the kernel through io_uring.

At most one fdatasync is under way: a write-back error is told to one fdatasync
per descriptor only, so of two at once the wrong one might succeed (P5).  After
a failure nothing more is written; what is still to come fails with it.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from quorumlog._core.base.atomics cimport (
    atomic_u32, exchange_u32, fence, futex_wait, futex_wake, load_u32, store_u32,
)
from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.rings cimport Ring, ring_close, ring_count, ring_open, ring_pop, ring_push
from quorumlog._core.base.status cimport ERR_AGAIN, ERR_IO, ERR_MEMORY, ERR_USAGE, OK
from quorumlog._core.runtime.threads cimport thread_join, thread_start, thread_step_back, thread_t
from quorumlog._core.runtime.uring cimport (
    Uring, uring_close, uring_completed, uring_open, uring_sync, uring_wait, uring_write,
)
from quorumlog._core.storage.wal cimport (
    WRITES_IN_FLIGHT_MAX, Wal, WritePlan, wal_execute, wal_prepare, wal_prepare_can_wait,
)

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int start, int flags)
    int EFD_CLOEXEC, EFD_NONBLOCK

cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd)
    ssize_t c_read "read"(int fd, void* data, size_t size)
    ssize_t c_write "write"(int fd, const void* data, size_t size)

cdef enum SlotState:
    SLOT_FREE = 0
    SLOT_THREAD = 1            # the thread has it
    SLOT_SYNCING = 2           # the kernel has it, up to its sync
    SLOT_DIRECT = 3            # the kernel has it, and the write itself is the sync
    SLOT_WRITING = 4           # the kernel has it, without its sync
    SLOT_WRITTEN = 5           # waits until it may be synced
    SLOT_REDO = 6              # fell short or was not taken: waits until it may be carried out here
    SLOT_DONE = 7

cdef enum:
    PREPARE_RETRY_NS = 1000000000      # after a failure, such as a full disk
    PREPARE_NICE = 10
    STEPS_A_LOOK = 16                  # of at most 1 MiB, between two looks at what the log writes
    LOOK_NS = 5000000

cdef struct Slot:
    int state
    int error
    WritePlan plan

cdef struct Writer:
    Wal* wal
    int kind
    int event_fd
    int failed                     # errno of the first failure
    atomic_u32* sleeping           # the reactor's
    Slot slots[WRITES_IN_FLIGHT_MAX]
    Uring uring
    Ring requests                  # of Slot*, to the thread
    Ring results                   # of Slot*, from it
    atomic_u32 asleep              # the thread's
    atomic_u32 stopping
    bint has_thread
    thread_t thread
    uint64_t newest_offset         # of the plan submitted last
    atomic_u32 prepare_wanted
    bint has_preparer
    thread_t preparer


# --- The thread -----------------------------------------------------------------------------


cdef void carry_out(Writer* writer, Slot* slot) noexcept nogil:
    slot.error = writer.failed
    if slot.error == 0:
        slot.error = writer.failed = wal_execute(writer.wal, &slot.plan)


cdef void tell_reactor(Writer* writer) noexcept nogil:
    """It stores `sleeping`, fences, looks at `results`; we stored a result, fence, look at `sleeping`."""
    cdef uint64_t one = 1
    fence()
    if load_u32(writer.sleeping):
        c_write(writer.event_fd, &one, 8)          # fails only when it is readable anyway


cdef void* write_plans(void* argument) noexcept nogil:
    cdef Writer* writer = <Writer*>argument
    cdef Slot* slot
    while True:
        slot = <Slot*>ring_pop(&writer.requests)
        if slot != NULL:
            carry_out(writer, slot)
            check(ring_push(&writer.results, slot), b"Q-WRITER-01 there is room for each result")
            tell_reactor(writer)
            continue
        if load_u32(&writer.stopping):
            return NULL
        store_u32(&writer.asleep, 1)
        fence()
        if ring_count(&writer.requests) == 0 and not load_u32(&writer.stopping):
            futex_wait(&writer.asleep, 1, -1)
        store_u32(&writer.asleep, 0)


cdef void wake_thread(Writer* writer) noexcept nogil:
    fence()
    if load_u32(&writer.asleep) and exchange_u32(&writer.asleep, 0):
        futex_wake(&writer.asleep, 1)


# --- io_uring -------------------------------------------------------------------------------


cdef bint sync_under_way(const Writer* writer) noexcept nogil:
    cdef int i
    for i in range(WRITES_IN_FLIGHT_MAX):
        if writer.slots[i].state == SLOT_SYNCING:
            return True
    return False


cdef void settle(Writer* writer, Slot* slot, int error) noexcept nogil:
    slot.state = SLOT_DONE
    slot.error = error
    if error != 0 and writer.failed == 0:
        writer.failed = error


cdef void begin(Writer* writer, Slot* slot) noexcept nogil:
    cdef const WritePlan* plan = &slot.plan
    cdef bint sync = not plan.synced_by_write and not sync_under_way(writer)
    if plan.synced_by_write:
        slot.state = SLOT_DIRECT
    else:
        slot.state = SLOT_SYNCING if sync else SLOT_WRITING
    if uring_write(&writer.uring, plan.fd, plan.parts, plan.part_count, plan.offset, sync,
                   <uint32_t>(slot - writer.slots)) != 0:
        slot.state = SLOT_REDO


cdef void go_on(Writer* writer) noexcept nogil:
    """Syncs or repeats what waits for it, one at a time."""
    cdef Slot* slot
    cdef int i
    for i in range(WRITES_IN_FLIGHT_MAX):
        slot = &writer.slots[i]
        if slot.state != SLOT_WRITTEN and slot.state != SLOT_REDO:
            continue
        if writer.failed:
            settle(writer, slot, writer.failed)
        elif not sync_under_way(writer):
            if slot.state == SLOT_WRITTEN and uring_sync(&writer.uring, slot.plan.fd, <uint32_t>i) == 0:
                slot.state = SLOT_SYNCING
            else:
                # Rare, so it may hold up the reactor.  The same bytes at the same place once more.
                settle(writer, slot, wal_execute(writer.wal, &slot.plan))


cdef void take_completions(Writer* writer) noexcept nogil:
    cdef uint32_t token = 0
    cdef int result = 0
    cdef Slot* slot
    while uring_completed(&writer.uring, &token, &result):
        check2(token < WRITES_IN_FLIGHT_MAX, b"Q-WRITER-02 a completion names a slot", token, result)
        slot = &writer.slots[token]
        check2(SLOT_SYNCING <= slot.state <= SLOT_WRITING,
               b"Q-WRITER-03 a completion is of a slot in the kernel", token, slot.state)
        if result > 0:
            settle(writer, slot, result)
        elif result < 0:
            slot.state = SLOT_REDO
        elif slot.state == SLOT_WRITING:
            slot.state = SLOT_WRITTEN
        else:
            settle(writer, slot, 0)
    go_on(writer)


cdef bint in_kernel(const Writer* writer) noexcept nogil:
    cdef int i
    for i in range(WRITES_IN_FLIGHT_MAX):
        if SLOT_SYNCING <= writer.slots[i].state <= SLOT_WRITING:
            return True
    return False


# --- Preparing segments ---------------------------------------------------------------------


cdef void wait_for_a_lull(Writer* writer) noexcept nogil:
    """While the log is being written, preparing more than what is needed next would take its disk."""
    cdef uint64_t seen_bytes = 0
    while wal_prepare_can_wait(writer.wal, &seen_bytes) and not load_u32(&writer.stopping):
        futex_wait(&writer.stopping, 0, LOOK_NS)


cdef void* prepare_segments(void* argument) noexcept nogil:
    cdef Writer* writer = <Writer*>argument
    cdef uint32_t step = 0
    cdef int status
    thread_step_back(PREPARE_NICE)
    while not load_u32(&writer.stopping):
        store_u32(&writer.prepare_wanted, 0)
        fence()
        status = OK
        while status == OK and not load_u32(&writer.stopping):
            if step % STEPS_A_LOOK == 0:
                wait_for_a_lull(writer)
            step += 1
            status = wal_prepare(writer.wal)
        if not load_u32(&writer.stopping):
            futex_wait(&writer.prepare_wanted, 0, -1 if status == ERR_AGAIN else PREPARE_RETRY_NS)
    return NULL


cdef void writer_prepare(Writer* writer) noexcept nogil:
    if load_u32(&writer.prepare_wanted) == 0 and exchange_u32(&writer.prepare_wanted, 1) == 0:
        futex_wake(&writer.prepare_wanted, 1)


# --- Opening, closing, and the reactor's side -----------------------------------------------


cdef int open_uring(Writer* writer, int kind) noexcept nogil:
    """Sets `writer.kind`.  Whatever keeps us from io_uring, a thread does the same."""
    writer.uring.fd = -1
    writer.kind = WRITER_THREAD
    if kind == WRITER_THREAD:
        return OK
    if uring_open(&writer.uring) == 0:
        writer.kind = WRITER_URING
        return OK
    return OK if kind == WRITER_AUTO else ERR_USAGE


cdef int start_threads(Writer* writer) noexcept nogil:
    if writer.kind == WRITER_THREAD:
        if not ring_open(&writer.requests, WRITES_IN_FLIGHT_MAX):
            return ERR_MEMORY
        if not ring_open(&writer.results, WRITES_IN_FLIGHT_MAX):
            return ERR_MEMORY
        if thread_start(&writer.thread, b"ql-writer", write_plans, writer) != 0:
            return ERR_MEMORY
        writer.has_thread = True
    if thread_start(&writer.preparer, b"ql-prepare", prepare_segments, writer) != 0:
        return ERR_MEMORY
    writer.has_preparer = True
    return OK


cdef int writer_open(Wal* wal, int kind, atomic_u32* sleeping, Writer** out) noexcept nogil:
    cdef Writer* writer
    cdef int status
    out[0] = NULL
    if kind < WRITER_AUTO or kind > WRITER_URING:
        return ERR_USAGE
    writer = <Writer*>calloc(1, sizeof(Writer))
    if writer == NULL:
        return ERR_MEMORY
    writer.wal = wal
    writer.sleeping = sleeping
    writer.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    if writer.event_fd < 0:
        free(writer)
        return ERR_IO
    status = open_uring(writer, kind)
    if status == OK:
        status = start_threads(writer)
    if status != OK:
        writer_close(writer)
        return status
    out[0] = writer
    return OK


cdef void writer_close(Writer* writer) noexcept nogil:
    store_u32(&writer.stopping, 1)
    if writer.has_thread:
        wake_thread(writer)
        thread_join(writer.thread)                 # it empties `requests` first
    while writer.kind == WRITER_URING and in_kernel(writer):
        uring_wait(&writer.uring)
        take_completions(writer)
    if writer.has_preparer:
        exchange_u32(&writer.prepare_wanted, 1)
        futex_wake(&writer.prepare_wanted, 1)
        thread_join(writer.preparer)
    uring_close(&writer.uring)
    c_close(writer.event_fd)
    ring_close(&writer.requests)
    ring_close(&writer.results)
    free(writer)


cdef int writer_event_fd(const Writer* writer) noexcept nogil:
    return writer.uring.fd if writer.kind == WRITER_URING else writer.event_fd


cdef void writer_noticed(Writer* writer) noexcept nogil:
    cdef uint64_t count
    if writer.kind == WRITER_THREAD:
        c_read(writer.event_fd, &count, 8)


cdef int writer_kind(const Writer* writer) noexcept nogil:
    return writer.kind


cdef void writer_submit(Writer* writer, const WritePlan* plan) noexcept nogil:
    cdef Slot* slot = NULL
    cdef int i
    for i in range(WRITES_IN_FLIGHT_MAX):
        if writer.slots[i].state == SLOT_FREE:
            slot = &writer.slots[i]
            break
    check2(slot != NULL, b"Q-WRITER-04 at most two plans are outstanding", plan.number, 0)
    slot.plan = plan[0]
    slot.error = 0
    if plan.offset < writer.newest_offset:         # a new segment was begun, so a spare one is gone
        writer_prepare(writer)
    writer.newest_offset = plan.offset
    if writer.kind == WRITER_THREAD:
        slot.state = SLOT_THREAD
        check(ring_push(&writer.requests, slot), b"Q-WRITER-05 there is room for each request")
        wake_thread(writer)
    elif writer.failed:
        settle(writer, slot, writer.failed)
    else:
        begin(writer, slot)
        go_on(writer)


cdef bint writer_completed(Writer* writer, uint64_t* number, int* error) noexcept nogil:
    cdef Slot* slot = NULL
    cdef int i
    if writer.kind == WRITER_THREAD:
        slot = <Slot*>ring_pop(&writer.results)
    else:
        take_completions(writer)
        for i in range(WRITES_IN_FLIGHT_MAX):
            if writer.slots[i].state == SLOT_DONE:
                if slot == NULL or writer.slots[i].plan.number < slot.plan.number:
                    slot = &writer.slots[i]
    if slot == NULL:
        return False
    number[0] = slot.plan.number
    error[0] = slot.error
    slot.state = SLOT_FREE
    return True
