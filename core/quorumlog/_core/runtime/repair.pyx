"""See repair.pxd."""

from quorumlog._core.base.atomics cimport load_u64, store_u64
from quorumlog._core.base.types cimport index_t
from quorumlog._core.engine.protocol cimport EVENT_FAULTY, Event
from quorumlog._core.runtime.dispatch cimport group_step, node_group, wake_applier
from quorumlog._core.runtime.node_state cimport APPLIER_PYTHON
from quorumlog._core.runtime.scrubber cimport scrubber_found
from quorumlog._core.storage.scrub cimport ScrubFault

from libc.string cimport memset


cdef bint repair_waits(HostedGroup* hosted) noexcept nogil:
    return load_u64(&hosted.apply.faulty) != 0 and not hosted.fault_told


cdef void tell(Node* node, HostedGroup* hosted, index_t first, index_t last) noexcept nogil:
    cdef Event event
    memset(&event, 0, sizeof(Event))
    event.kind = EVENT_FAULTY
    event.first = first
    event.last = last
    group_step(node, hosted, &event)


cdef void repair_scrubbed(Node* node) noexcept nogil:
    cdef ScrubFault fault
    cdef HostedGroup* hosted
    while scrubber_found(&node.scrubber, &fault):
        node.scrub_faults += 1
        hosted = node_group(node, fault.group)
        # Without peers there is no other copy: whoever reads it is told.  A group that isn't open is read later.
        if hosted != NULL and hosted.apply.repairable:
            tell(node, hosted, fault.first, fault.last)


cdef bint repair_group(Node* node, HostedGroup* hosted) noexcept nogil:
    cdef index_t index = load_u64(&hosted.apply.faulty)
    if not hosted.fault_told:
        hosted.fault_told = True
        tell(node, hosted, index, 0)
    if hosted.faulty_first != 0 and hosted.faulty_first <= index:
        return False
    # Repaired and durable (or never bad on a second look): it is read again.
    hosted.fault_told = False
    store_u64(&hosted.apply.faulty, 0)
    if hosted.applier == APPLIER_PYTHON:
        wake_applier(node)
    return True
