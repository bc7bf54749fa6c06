"""See reads.pxd."""

from quorumlog._core.base.atomics cimport (
    add_u32, cas_ptr, exchange_ptr, fence, futex_wait, futex_wake, load_ptr, load_u32, store_u32, sub_u32)
from quorumlog._core.base.bell cimport notice_ring
from quorumlog._core.base.checks cimport check
from quorumlog._core.base.status cimport ERR_NOT_LEADER, ERR_OVERLOADED, ERR_STALE, OK
from quorumlog._core.engine.protocol cimport READ_AS_OF, READ_BY_LEASE, READ_BY_ROUND, READ_KINDS

from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef enum:
    RETRY_NS = 1000000             # a refused read is not handed over again before
    SWEEP_NS = 50000000            # how often those are let go that nobody waits for, while there is no leader


# One read

cdef Read* read_new(Wanted wanted, void* owner) noexcept nogil:
    cdef Read* read = <Read*>calloc(1, sizeof(Read))
    if read != NULL:
        store_u32(&read.references, 1)
        read.wanted = wanted
        read.owner = owner
    return read


cdef void read_drop(Read* read) noexcept nogil:
    if sub_u32(&read.references, 1) == 1:
        free(read)


cdef void read_wait(Read* read, int64_t timeout_ns) noexcept nogil:
    cdef uint32_t state
    add_u32(&read.waiters, 1)
    fence()
    state = load_u32(&read.state)
    if state != READ_DONE:
        futex_wait(&read.state, state, timeout_ns)
    sub_u32(&read.waiters, 1)


cdef void publish(Reads* reads, Read* read, int status) noexcept nogil:
    check(load_u32(&read.state) != READ_DONE, b"Q-READ-01 a read ends once")
    read.status = status
    store_u32(&read.state, READ_DONE)
    sub_u32(&reads.count, 1)


cdef void wake(Read* read) noexcept nogil:
    """After it was published; it may be gone afterwards."""
    if read.notice != NULL:
        notice_ring(read.notice)
    fence()
    if load_u32(&read.waiters):
        futex_wake(&read.state, 1 << 30)
    read_drop(read)


cdef bint forsaken(Read* read) noexcept nogil:
    """The reference that came with it is the last: its caller gave up."""
    return load_u32(&read.references) == 1


# Lists

cdef void push(atomic_ptr* stack, Read* read) noexcept nogil:
    cdef void* top
    while True:
        top = load_ptr(stack)
        read.next = <Read*>top
        if cas_ptr(stack, top, read):
            return


cdef void append(ReadList* queue, Read* read) noexcept nogil:
    read.next = NULL
    if queue.last != NULL:
        queue.last.next = read
    else:
        queue.first = read
    queue.last = read


cdef void take_stack(atomic_ptr* stack, ReadList* queue) noexcept nogil:
    """All of it to the queue's end, oldest first."""
    cdef Read* read
    cdef Read* oldest = NULL
    cdef Read* following
    if load_ptr(stack) == NULL:
        return
    read = <Read*>exchange_ptr(stack, NULL)
    while read != NULL:
        following = read.next
        read.next = oldest
        oldest = read
        read = following
    while oldest != NULL:
        following = oldest.next
        append(queue, oldest)
        oldest = following


cdef Read* take_all(ReadList* queue) noexcept nogil:
    cdef Read* first = queue.first
    queue.first = NULL
    queue.last = NULL
    return first


cdef Read* pop(ReadList* queue) noexcept nogil:
    cdef Read* read = queue.first
    if read != NULL:
        queue.first = read.next
        if queue.first == NULL:
            queue.last = NULL
    return read


cdef void end_all(Reads* reads, Read* read, int status) noexcept nogil:
    cdef Read* following
    while read != NULL:
        following = read.next
        publish(reads, read, status)
        wake(read)
        read = following


# Any thread

cdef bint admit(Reads* reads, Read* read) noexcept nogil:
    if add_u32(&reads.count, 1) >= READS_MAX:
        sub_u32(&reads.count, 1)
        return False
    add_u32(&read.references, 1)
    return True


cdef bint reads_ask(Reads* reads, Read* read) noexcept nogil:
    if not admit(reads, read):
        return False
    push(&reads.asked, read)
    return True


cdef bint reads_ask_stale(Reads* reads, Read* read) noexcept nogil:
    check(not read.wanted.barrier, b"Q-READ-02 a barrier is confirmed")
    if not admit(reads, read):
        return False
    store_u32(&read.state, READ_CONFIRMED)
    push(&reads.confirmed, read)
    return True


cdef bint reads_asked(Reads* reads) noexcept nogil:
    return load_ptr(&reads.asked) != NULL


# The reactor

cdef void sort_asked(Reads* reads) noexcept nogil:
    """What was asked since the last look, oldest first, each to its kind."""
    cdef ReadList asked
    cdef Read* read
    cdef Read* following
    memset(&asked, 0, sizeof(ReadList))
    take_stack(&reads.asked, &asked)
    read = asked.first
    while read != NULL:
        following = read.next
        append(&reads.waiting[read.wanted.kind], read)
        read = following


cdef void let_go_of(Reads* reads, ReadList* waiting) noexcept nogil:
    cdef Read* read = take_all(waiting)
    cdef Read* following
    while read != NULL:
        following = read.next
        if forsaken(read):
            publish(reads, read, ERR_NOT_LEADER)
            wake(read)
        else:
            append(waiting, read)
        read = following


cdef void let_go(Reads* reads) noexcept nogil:
    """Without a leader nothing else would ever end what nobody waits for."""
    let_go_of(reads, &reads.waiting[<int>READ_BY_ROUND])
    let_go_of(reads, &reads.waiting[<int>READ_BY_LEASE])


cdef Read* hand_over(Reads* reads, ReadList* waiting) noexcept nogil:
    cdef Read* read = take_all(waiting)
    read.before = NULL
    read.behind = reads.under_way
    if reads.under_way != NULL:
        reads.under_way.before = read
    reads.under_way = read
    return read


cdef bint need_a_leader(const Reads* reads) noexcept nogil:
    return (reads.waiting[<int>READ_BY_ROUND].first != NULL
            or reads.waiting[<int>READ_BY_LEASE].first != NULL)


cdef Read* reads_next(Reads* reads, bint leader_known, uint64_t now_ns) noexcept nogil:
    sort_asked(reads)
    if reads.waiting[<int>READ_AS_OF].first != NULL:
        return hand_over(reads, &reads.waiting[<int>READ_AS_OF])
    if not need_a_leader(reads):
        return NULL
    if not leader_known:
        if now_ns >= reads.look_ns:
            let_go(reads)
            reads.look_ns = now_ns + SWEEP_NS
            reads.held_back = False
        return NULL
    if reads.held_back and now_ns < reads.look_ns:
        return NULL
    reads.held_back = False
    if reads.waiting[<int>READ_BY_LEASE].first != NULL:
        return hand_over(reads, &reads.waiting[<int>READ_BY_LEASE])
    return hand_over(reads, &reads.waiting[<int>READ_BY_ROUND])


cdef void leave_under_way(Reads* reads, Read* read) noexcept nogil:
    if read.before != NULL:
        read.before.behind = read.behind
    else:
        check(reads.under_way == read, b"Q-READ-03 an answered read was under way")
        reads.under_way = read.behind
    if read.behind != NULL:
        read.behind.before = read.before


cdef void hold_back(Reads* reads, Read* read, int status, uint64_t now_ns) noexcept nogil:
    """Refused: before those that came later, once more in a while."""
    cdef ReadList* waiting = &reads.waiting[read.wanted.kind]
    cdef Read* later = take_all(waiting)
    cdef Read* following
    while read != NULL:
        following = read.next
        store_u32(&read.refused, <uint32_t>status)
        append(waiting, read)
        read = following
    while later != NULL:
        following = later.next
        append(waiting, later)
        later = following
    let_go(reads)
    reads.held_back = True
    reads.look_ns = now_ns + RETRY_NS


cdef bint confirm(Reads* reads, Read* read, index_t index) noexcept nogil:
    """True if the applying thread has it now."""
    read.index = index
    if read.wanted.barrier:
        publish(reads, read, OK)
        wake(read)
        return False
    store_u32(&read.state, READ_CONFIRMED)
    push(&reads.confirmed, read)
    return True


cdef bint judge(Reads* reads, Read* read, const ReadReady* ready, uint64_t now_ns) noexcept nogil:
    """READ_AS_OF: each knows for itself how old it may be."""
    read.lag_ns = NEVER_HEARD
    if ready.status == OK:
        read.lag_ns = now_ns - min(ready.as_of_ns, now_ns)
    if read.lag_ns <= read.wanted.max_lag_ns:
        return confirm(reads, read, ready.index)
    publish(reads, read, ERR_STALE)
    wake(read)
    return False


cdef bint reads_answered(Reads* reads, const ReadReady* ready, uint64_t now_ns) noexcept nogil:
    cdef Read* read = <Read*>ready.read
    cdef Read* following
    cdef bint to_applying = False
    leave_under_way(reads, read)
    if ready.status == ERR_NOT_LEADER or ready.status == ERR_OVERLOADED:
        hold_back(reads, read, ready.status, now_ns)
        return False
    if ready.status != OK and read.wanted.kind != READ_AS_OF:
        end_all(reads, read, ready.status)
        return False
    while read != NULL:
        following = read.next
        if read.wanted.kind == READ_AS_OF:
            to_applying |= judge(reads, read, ready, now_ns)
        else:
            to_applying |= confirm(reads, read, ready.index)
        read = following
    return to_applying


cdef uint64_t reads_deadline(const Reads* reads) noexcept nogil:
    return reads.look_ns if need_a_leader(reads) else 0


cdef void reads_fail(Reads* reads, int status) noexcept nogil:
    cdef Read* read
    cdef int kind
    sort_asked(reads)
    for kind in range(<int>READ_KINDS):
        end_all(reads, take_all(&reads.waiting[kind]), status)
    while reads.under_way != NULL:
        read = reads.under_way
        leave_under_way(reads, read)
        end_all(reads, read, status)


# The applying thread

cdef void sort_early(Reads* reads, index_t applied) noexcept nogil:
    """Those that `applied` is enough for move on."""
    cdef Read* read = take_all(&reads.early)
    cdef Read* following
    reads.early_least = <index_t>-1
    while read != NULL:
        following = read.next
        if read.index <= applied:
            append(&reads.ready, read)
        else:
            reads.early_least = min(reads.early_least, read.index)
            append(&reads.early, read)
        read = following


cdef Read* reads_ready(Reads* reads, index_t applied) noexcept nogil:
    if load_ptr(&reads.confirmed) != NULL:
        take_stack(&reads.confirmed, &reads.early)
        sort_early(reads, applied)
    elif reads.early.first != NULL and applied >= reads.early_least:
        sort_early(reads, applied)
    return pop(&reads.ready)


cdef void reads_end(Reads* reads, Read* read, int status, ReadList* ended) noexcept nogil:
    publish(reads, read, status)
    append(ended, read)


cdef void reads_wake(ReadList* ended) noexcept nogil:
    cdef Read* read = take_all(ended)
    cdef Read* following
    while read != NULL:
        following = read.next
        wake(read)
        read = following


cdef void reads_close(Reads* reads, int status) noexcept nogil:
    reads_fail(reads, status)
    take_stack(&reads.confirmed, &reads.early)
    end_all(reads, take_all(&reads.early), status)
    end_all(reads, take_all(&reads.ready), status)
