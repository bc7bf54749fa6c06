"""Histories and their check; see history.pxd.

The operations of one value (its write and the reads that saw it) are a cluster.  In any
linearization they stand together: the write, the reads, then another value's write.  Let
`ends_first` be the earliest return in a cluster and `begins_last` its latest call.  If
ends_first < begins_last the register certainly held the value all that time: a forward
zone.  Otherwise the whole cluster can stand at any one instant of [begins_last,
ends_first]: a backward zone.  A history is linearizable exactly if every read returns
after its write's call, no two forward zones overlap, and no backward zone lies within a
forward one.
"""

from quorumlog._core.base.checks cimport check

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc

cdef enum:
    NEVER = 0x7FFFFFFFFFFFFFFF

cdef struct Zone:
    uint32_t key
    bint forward
    uint64_t low
    uint64_t high
    uint32_t operation         # one of the cluster


cdef void history_close(History* history) noexcept nogil:
    free(history.operations)
    history.operations = NULL
    history.count = 0
    history.capacity = 0


cdef uint32_t history_call(History* history, uint32_t client, uint8_t kind, uint32_t key, uint64_t value,
                           uint64_t now_ns) noexcept nogil:
    cdef Operation* operation
    if history.count == history.capacity:
        history.capacity = 2 * history.capacity + 256
        history.operations = <Operation*>realloc(history.operations, history.capacity * sizeof(Operation))
        check(history.operations != NULL, b"Q-HISTORY-01 there is memory for a history")
    operation = &history.operations[history.count]
    operation.client = client
    operation.node = 0
    operation.kind = kind
    operation.key = key
    operation.value = value
    operation.call_ns = now_ns
    operation.return_ns = 0
    history.count += 1
    return history.count - 1


cdef void history_return(History* history, uint32_t number, uint32_t node, uint64_t value,
                         uint64_t now_ns) noexcept nogil:
    check(number < history.count, b"Q-HISTORY-02 an operation that returns was called")
    history.operations[number].node = node
    history.operations[number].value = value
    history.operations[number].return_ns = now_ns


# The check ------------------------------------------------------------------------------

cdef int by_value(const void* left, const void* right) noexcept nogil:
    """By key, then value, the write first."""
    cdef const Operation* a = (<const Operation**>left)[0]
    cdef const Operation* b = (<const Operation**>right)[0]
    if a.key != b.key:
        return -1 if a.key < b.key else 1
    if a.value != b.value:
        return -1 if a.value < b.value else 1
    if a.kind != b.kind:
        return -1 if a.kind < b.kind else 1
    return -1 if a.call_ns < b.call_ns else (1 if a.call_ns > b.call_ns else 0)


cdef int by_time(const void* left, const void* right) noexcept nogil:
    cdef const Zone* a = <const Zone*>left
    cdef const Zone* b = <const Zone*>right
    if a.key != b.key:
        return -1 if a.key < b.key else 1
    if a.low != b.low:
        return -1 if a.low < b.low else 1
    return -1 if a.high < b.high else (1 if a.high > b.high else 0)


cdef uint64_t end_of(const Operation* operation) noexcept nogil:
    return operation.return_ns if operation.return_ns != 0 else NEVER


cdef bint counts(const Operation* operation) noexcept nogil:
    return operation.kind == OPERATION_WRITE or operation.return_ns != 0


cdef bint cluster_zone(const Operation** cluster, uint32_t count, Zone* zone, uint32_t* culprit) noexcept nogil:
    """The zone of one value's operations.  False: one of its reads can't have seen it."""
    cdef const Operation* first = cluster[0]
    cdef uint64_t ends_first = NEVER
    cdef uint64_t begins_last = 0
    cdef uint32_t i
    if first.kind == OPERATION_WRITE:
        ends_first = end_of(first)
        begins_last = first.call_ns
    else:
        culprit[0] = 0
        if first.value != 0:
            return False               # nobody wrote it
        if first.kind == OPERATION_LOOK:
            zone.low = 0               # looks alone: nothing that has a place
            return True
        ends_first = 0                 # the value before all writes: written before all time
    for i in range(1 if first.kind == OPERATION_WRITE else 0, count):
        if cluster[i].kind == OPERATION_LOOK:
            if first.kind == OPERATION_WRITE and cluster[i].return_ns < first.call_ns:
                culprit[0] = i
                return False           # seen before it was written
            continue
        if cluster[i].kind == OPERATION_WRITE:
            culprit[0] = i
            return False               # two writes of one value: not a history of ours
        if first.kind == OPERATION_WRITE and cluster[i].return_ns < first.call_ns:
            culprit[0] = i
            return False               # read before it was written
        ends_first = min(ends_first, cluster[i].return_ns)
        begins_last = max(begins_last, cluster[i].call_ns)
    zone.key = first.key
    zone.forward = ends_first < begins_last
    zone.low = min(ends_first, begins_last)
    zone.high = max(ends_first, begins_last)
    return True


cdef bint zones_fit(Zone* zones, uint32_t count, uint32_t* culprit) noexcept nogil:
    """No two forward zones of a key overlap, no backward zone lies within a forward one."""
    cdef const Zone* reach = NULL      # the forward zone of this key that ends last so far
    cdef uint32_t i
    qsort(zones, count, sizeof(Zone), by_time)
    # Forward zones that begin at or before a backward one are all seen before it but for ties in `low`,
    # where the backward zone has to be strictly within anyway.
    for i in range(count):
        if reach != NULL and reach.key != zones[i].key:
            reach = NULL
        if reach != NULL:
            if zones[i].forward and zones[i].low < reach.high:
                culprit[0] = zones[i].operation
                return False
            if not zones[i].forward and zones[i].low > reach.low and zones[i].high < reach.high:
                culprit[0] = zones[i].operation
                return False
        if zones[i].forward and (reach == NULL or zones[i].high > reach.high):
            reach = &zones[i]
    return True


cdef bint has_place(const Operation** cluster, uint32_t count) noexcept nogil:
    """Not if it is looks alone, or an unanswered write that nothing but looks saw: those may be anywhere."""
    return cluster[0].kind != OPERATION_LOOK and (
        cluster[0].return_ns != 0 or (count > 1 and cluster[1].kind == OPERATION_READ))


cdef bint check_clusters(const History* history, const Operation** sorted, Zone* zones,
                         uint32_t* culprit) noexcept nogil:
    cdef uint32_t begin = 0
    cdef uint32_t used = 0
    cdef uint32_t total = 0
    cdef uint32_t end, i
    for i in range(history.count):
        if counts(&history.operations[i]):
            sorted[total] = &history.operations[i]
            total += 1
    qsort(sorted, total, sizeof(Operation*), by_value)
    while begin < total:
        end = begin + 1
        while end < total and sorted[end].key == sorted[begin].key and sorted[end].value == sorted[begin].value:
            end += 1
        # A write without an answer that nobody saw need not have happened.
        if end - begin > 1 or sorted[begin].return_ns != 0:
            if not cluster_zone(sorted + begin, end - begin, &zones[used], culprit):
                culprit[0] = <uint32_t>(sorted[begin + culprit[0]] - history.operations)
                return False
            zones[used].operation = <uint32_t>(sorted[begin] - history.operations)
            if has_place(sorted + begin, end - begin):
                used += 1
        begin = end
    return zones_fit(zones, used, culprit)


cdef bint history_is_linearizable(const History* history, uint32_t* culprit) noexcept nogil:
    cdef const Operation** sorted = <const Operation**>malloc((history.count + 1) * sizeof(Operation*))
    cdef Zone* zones = <Zone*>malloc((history.count + 1) * sizeof(Zone))
    cdef bint holds
    check(sorted != NULL and zones != NULL, b"Q-HISTORY-03 there is memory to check a history")
    holds = check_clusters(history, sorted, zones, culprit)
    free(sorted)
    free(zones)
    return holds
