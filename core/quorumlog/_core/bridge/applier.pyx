"""The Python applier: one thread of a node that runs all its Python state machines in turn.

It takes everything that is available per GIL hold, because with a busy neighbour
thread getting the GIL back costs 5 ms (cython-facts.md Q5); only reading back from
disk and sleeping happen without it.
"""

from quorumlog._core.base.atomics cimport add_u32, fence, futex_wait, load_u32, load_u64, sub_u32
from quorumlog._core.base.clock cimport monotonic_ns
from quorumlog._core.base.status cimport ERR_AGAIN, ERR_DROPPED, ERR_NOT_FOUND, ERR_STOPPED, OK
from quorumlog._core.bridge.batch cimport BatchView, pinned_bytes, view_of
from quorumlog._core.bridge.errors cimport simple_error
from quorumlog._core.bridge.node cimport GroupCore, NodeCore
from quorumlog._core.bridge.reads cimport answer_reads
from quorumlog._core.bridge.snapshots cimport snapshot_turn
from quorumlog._core.bridge.submission cimport attach_result
from quorumlog._core.engine.receipt cimport Receipt
from quorumlog._core.engine.clients cimport (
    ANSWER_BYTES_MAX, CLIENT_APPLY, CLIENT_REPEATED, Answer, clients_remember)
from quorumlog._core.engine.sessions cimport ADMIT_APPLY
from quorumlog._core.runtime.apply cimport (
    Apply, Settled, apply_done, apply_next, apply_receipt, apply_settle, apply_settled, apply_stop)
from quorumlog._core.runtime.node cimport node_wake
from quorumlog._core.runtime.node_state cimport Node
from quorumlog._core.runtime.reads cimport ReadList, reads_wake
from quorumlog._core.storage.batch cimport (
    KIND_ENTRIES, Batch, BatchPool, batch_copy, batch_drop, batch_last, pool_open)

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

import logging

from quorumlog import errors
from quorumlog.results import decode_results, encode_results

cdef enum:
    TURN_NS = 20000000             # how long one group may keep the others waiting
    SLEEP_NS = 100000000
    PINNED_BYTES_MAX = 16 << 20        # views hold at most so much, or an eighth of the node's pool

cdef object logger = logging.getLogger("quorumlog")
# Copies for machines that keep views: the machine's memory, so without a bound.  The GIL is its lock.
cdef BatchPool* copies = pool_open(<uint64_t>1 << 62)


cdef int check_results(object results, BatchView view) except -1:
    """None, or one result per entry."""
    if results is None:
        return 0
    if len(results) != view.entries:
        raise errors.UsageError(
            f"apply returned {len(results)} results for {view.entries} entries; "
            "return None, or one result per entry")
    return 0


cdef object said_of(object error):
    """A user's exception in words; its own may fail."""
    try:
        return repr(error)
    except BaseException:
        return type(error).__name__


cdef int stop_replica(GroupCore group, int status, str text, uint64_t index, object error) except -1:
    """Nothing that a user's code raises may keep it from stopping, or end the applier."""
    group.stopped_error = (text, index)
    apply_stop(&group.hosted.apply, status)
    node_wake(group.core.node)           # it settles what waits
    try:
        logger.error("%s", text, exc_info=error)
    except BaseException:
        pass                             # a handler or filter of the user's, or the exception's own text
    return 0


cdef int stop_by_machine(GroupCore group, uint64_t index, object error) except -1:
    return stop_replica(
        group, ERR_STOPPED,
        f"the state machine of group {group.hosted.name.decode()!r} raised at index {index}: {said_of(error)}; "
        "this replica applies nothing more (reject by result, not by exception)", index, error)


cdef BatchView view_for(GroupCore group, Batch* batch):
    """The batch itself, or a copy in memory of its own once views hold too much of the node's."""
    cdef Batch* copy
    cdef BatchView view
    if pinned_bytes() < min(group.core.node.pool.limit_bytes // 8, <uint64_t>PINNED_BYTES_MAX):
        return view_of(batch)
    if not group.warned:
        group.warned = True
        logger.warning(
            "group %r: views of batches hold %d bytes; while they do, its batches are copied. "
            "Keep copies of what you need, not views.", group.hosted.name.decode(), pinned_bytes())
    copy = batch_copy(copies, batch)
    if copy == NULL:
        raise MemoryError(f"no memory to copy a batch of {batch.body_bytes} bytes")
    view = view_of(copy)
    batch_drop(copy)
    return view


cdef int remember(Apply* apply, object results) except -1:
    """What a client's command returned, for its repetitions, here and on every replica."""
    cdef bytes kept
    if apply.verdict == CLIENT_APPLY:
        kept = encode_results(results)
        clients_remember(&apply.sessions.clients, apply.taken, <const uint8_t*><char*>kept, len(kept))
    return 0


cdef object remembered(Apply* apply):
    cdef const Answer* answer = apply.sessions.clients.answer
    return decode_results((<const char*>answer.result)[:answer.bytes])


cdef int apply_taken(GroupCore group, Apply* apply) except -1:
    """Applies or skips the batch at hand; -1 never: a failing machine stops its replica."""
    cdef Receipt* receipt
    cdef BatchView view
    cdef Settled settled
    cdef uint64_t index = apply.taken.first
    results = None
    if index <= apply.machine_applied < batch_last(apply.taken):
        stop_by_machine(group, index, errors.UsageError(
            f"applied_index {apply.machine_applied} of the state machine lies within the batch "
            f"{index}..{batch_last(apply.taken)}: a batch is applied whole"))
        return 0
    if apply.verdict == CLIENT_APPLY and index <= apply.machine_applied:
        # The machine has it from an earlier life, and its result went with that.
        clients_remember(&apply.sessions.clients, apply.taken, NULL, ANSWER_BYTES_MAX + 1)
    elif apply.taken.kind == KIND_ENTRIES and apply.admission == ADMIT_APPLY and index > apply.machine_applied \
            and apply.verdict in (0, CLIENT_APPLY):
        try:
            view = view_for(group, apply.taken)
            results = group.machine.apply(view)
            check_results(results, view)
            remember(apply, results)
        except BaseException as error:
            stop_by_machine(group, index, error)
            return 0
    elif apply.verdict == CLIENT_REPEATED:
        results = remembered(apply)
    receipt = apply_receipt(apply)
    apply_settled(apply, &settled)
    apply_done(apply)
    if receipt != NULL:
        if settled.status == OK:
            attach_result(receipt, results)
        apply_settle(apply, receipt, &settled)
    return 0


cdef bint apply_some(GroupCore group, ReadList* ended) except -1:
    """Everything this group has, for at most TURN_NS; True if there is more to do at once."""
    cdef Apply* apply = &group.hosted.apply
    cdef uint64_t stop_ns = monotonic_ns() + TURN_NS
    cdef int status
    cdef bint moved = False
    cdef bint more = False
    if not snapshot_turn(group, apply):
        return False                     # its state is being restored: there is nothing to read or to apply to
    while not load_u32(&apply.stopped):
        status = apply_next(apply, False)
        if status == ERR_NOT_FOUND:
            with nogil:
                status = apply_next(apply, True)
        if status == ERR_AGAIN:
            break
        if status != OK:
            stop_replica(group, status, f"reading the log back failed: {simple_error(status, 'apply')}",
                         load_u64(&apply.applied) + 1, None)
            break
        apply_taken(group, apply)
        moved = True
        if load_u32(&apply.snapshot_asked):
            snapshot_turn(group, apply)
        more = answer_reads(group, ended, stop_ns)
        if more or monotonic_ns() > stop_ns:
            more = True
            break
    more |= answer_reads(group, ended, stop_ns)
    if load_u32(&apply.stopped) == <uint32_t>ERR_DROPPED:
        node_wake(group.core.node)       # which closes it
    if load_u64(&apply.faulty):
        node_wake(group.core.node)       # which has it repaired
    if moved and (load_u32(&apply.rewind) or load_u32(&apply.starving)):
        node_wake(group.core.node)
    return more                          # what can't be read yet is tried again after a sleep


def run_applier(NodeCore core):
    """Body of the applier thread; returns when the node was closed."""
    try:
        apply_until_closed(core)
    finally:
        core.applier_ended.set()         # from here on the node's memory may go


cdef int apply_until_closed(NodeCore core) except -1:
    cdef Node* node = core.node
    cdef uint32_t seen
    cdef bint more
    cdef ReadList ended                  # of all groups: answered, and their readers not woken yet
    memset(&ended, 0, sizeof(ReadList))
    while not core.closed:
        seen = load_u32(&node.apply_signal)
        more = False
        for group in list(core.groups):
            if (<GroupCore>group).machine is not None:
                more |= apply_some(<GroupCore>group, &ended)
        if more:
            if ended.first != NULL:
                with nogil:
                    reads_wake(&ended)
            continue
        # Whoever is woken wants the GIL next: wake him when it is free.
        with nogil:
            reads_wake(&ended)
            add_u32(&node.apply_waiting, 1)
            fence()
            futex_wait(&node.apply_signal, seen, SLEEP_NS)
            sub_u32(&node.apply_waiting, 1)
    reads_wake(&ended)
    return 0
