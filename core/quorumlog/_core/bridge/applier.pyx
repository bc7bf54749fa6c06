"""The Python applier: one thread of a node that runs all its Python state machines in turn.

It takes everything that is available per GIL hold, because with a busy neighbour
thread getting the GIL back costs 5 ms (cython-facts.md Q5); only reading back from
disk and sleeping happen without it.
"""

from quorumlog._core.base.atomics cimport add_u32, fence, futex_wait, load_u32, load_u64, sub_u32
from quorumlog._core.base.clock cimport monotonic_ns
from quorumlog._core.base.status cimport ERR_AGAIN, ERR_NOT_FOUND, ERR_STOPPED, OK
from quorumlog._core.bridge.batch cimport BatchView, view_of
from quorumlog._core.bridge.errors cimport simple_error
from quorumlog._core.bridge.node cimport GroupCore, NodeCore, Query
from quorumlog._core.bridge.submission cimport attach_result
from quorumlog._core.engine.receipt cimport Receipt
from quorumlog._core.engine.sessions cimport ADMIT_APPLY
from quorumlog._core.runtime.apply cimport (
    Apply, apply_done, apply_next, apply_receipt, apply_settle, apply_stop)
from quorumlog._core.runtime.node cimport node_wake
from quorumlog._core.runtime.node_state cimport Node
from quorumlog._core.storage.batch cimport KIND_ENTRIES

from libc.stdint cimport uint32_t, uint64_t

import logging

from quorumlog import errors

cdef enum:
    TURN_NS = 20000000             # how long one group may keep the others waiting
    SLEEP_NS = 100000000

cdef object logger = logging.getLogger("quorumlog")


cdef int check_results(object results, BatchView view) except -1:
    """None, or one result per entry."""
    if results is None:
        return 0
    if len(results) != view.batch.count:
        raise errors.UsageError(
            f"apply returned {len(results)} results for {view.batch.count} entries; "
            "return None, or one result per entry")
    return 0


cdef int stop_replica(GroupCore group, Apply* apply, object error) except -1:
    index = apply.taken.first
    group.stopped_error = (
        f"the state machine of group {group.hosted.name.decode()!r} raised at index {index}: {error!r}; this "
        "replica applies nothing more (reject by result, not by exception)", index)
    apply_stop(apply, ERR_STOPPED)
    logger.error("%s", group.stopped_error[0], exc_info=error)
    for query in drain(group):
        query.finish(None, errors.ReplicaStopped(*group.stopped_error))
    return 0


cdef list drain(GroupCore group):
    taken = list(group.queries)
    group.queries.clear()
    return taken


cdef int apply_taken(GroupCore group, Apply* apply) except -1:
    """Applies or skips the batch at hand; -1 never: a failing machine stops its replica."""
    cdef Receipt* receipt
    cdef BatchView view
    cdef uint64_t index = apply.taken.first
    cdef uint64_t term = apply.taken.term
    results = None
    if apply.taken.kind == KIND_ENTRIES and apply.admission == ADMIT_APPLY:
        view = view_of(apply.taken)
        try:
            results = group.machine.apply(view)
            check_results(results, view)
        except BaseException as error:
            stop_replica(group, apply, error)
            return 0
    receipt = apply_receipt(apply)
    apply_done(apply)
    if receipt != NULL:
        attach_result(receipt, results)
        apply_settle(apply, receipt, index, term)
    return 0


cdef bint apply_some(GroupCore group) except -1:
    """Everything this group has, for at most TURN_NS; True if there is more."""
    cdef Apply* apply = &group.hosted.apply
    cdef uint64_t stop_ns = monotonic_ns() + TURN_NS
    cdef int status
    cdef bint moved = False
    while not load_u32(&apply.stopped):
        status = apply_next(apply, False)
        if status == ERR_NOT_FOUND:
            with nogil:
                status = apply_next(apply, True)
        if status == ERR_AGAIN:
            break
        if status != OK:
            group.stopped_error = (f"reading the log back failed: {simple_error(status, 'apply')}",
                                   load_u64(&apply.applied) + 1)
            apply_stop(apply, status)
            logger.error("%s", group.stopped_error[0])
            break
        apply_taken(group, apply)
        moved = True
        answer_queries(group, apply)
        if monotonic_ns() > stop_ns:
            break
    answer_queries(group, apply)
    if moved and (load_u32(&apply.rewind) or load_u32(&apply.starving)):
        node_wake(group.core.node)
    return not load_u32(&apply.stopped) and load_u64(&apply.applied) < load_u64(&apply.commit)


cdef int answer_queries(GroupCore group, Apply* apply) except -1:
    cdef Query query
    cdef uint64_t applied = load_u64(&apply.applied)
    cdef Py_ssize_t left = len(group.queries)
    while left:
        left -= 1
        query = group.queries.popleft()
        if query.index > applied:
            group.queries.append(query)
            continue
        if load_u32(&apply.stopped):
            query.finish(None, errors.ReplicaStopped(*group.stopped_error))
            continue
        try:
            answer = group.machine.query(query.question)
        except Exception as error:
            query.finish(None, error)
        else:
            query.finish(answer, None)
    return 0


def run_applier(NodeCore core):
    """Body of the applier thread; returns when the node was closed."""
    cdef Node* node = core.node
    cdef uint32_t seen
    cdef bint more
    while not core.closed:
        seen = load_u32(&node.apply_signal)
        more = False
        for group in list(core.groups):
            if (<GroupCore>group).machine is not None:
                more |= apply_some(<GroupCore>group)
        if more:
            continue
        with nogil:
            add_u32(&node.apply_waiting, 1)
            fence()
            futex_wait(&node.apply_signal, seen, SLEEP_NS)
            sub_u32(&node.apply_waiting, 1)
    for group in list(core.groups):
        for query in drain(<GroupCore>group):
            query.finish(None, errors.Closed("the node was closed"))
