"""Snapshots of Python state machines: taken between two batches, written and restored by a thread of their own."""

from quorumlog._core.bridge.node cimport GroupCore, NodeCore
from quorumlog._core.runtime.apply cimport Apply

# The applier's turn: False while the group's state is being restored, when nothing may be applied or read.
cdef bint snapshot_turn(GroupCore group, Apply* apply) except -1
# At opening, in the opening thread: the state that the group begins with.
cdef int restore_at_opening(NodeCore core, GroupCore group) except -1
