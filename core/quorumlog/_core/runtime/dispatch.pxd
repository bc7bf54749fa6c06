"""Carrying out what a protocol step wants: the runtime's half of DESIGN 4.2 and 4.3."""

from quorumlog._core.base.types cimport node_t
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.protocol cimport Event
from quorumlog._core.runtime.node_state cimport HostedGroup, Node
from quorumlog._core.storage.batch cimport Batch

from libc.stdint cimport uint64_t


# Steps the group's protocol and carries out its outbox.
cdef void group_step(Node* node, HostedGroup* hosted, Event* event) noexcept nogil
cdef void group_time(Node* node, HostedGroup* hosted) noexcept nogil
# Proposes a batch (its reference is taken over): OK, or why the protocol refused it.
cdef int group_propose(Node* node, HostedGroup* hosted, Batch* batch, node_t proposer) noexcept nogil
# Reads one span of cold batches that the protocol asked for, and hands it over.
cdef void group_fetch(Node* node, HostedGroup* hosted) noexcept nogil
# `wsn` and all before it are durable: tell the groups, let held messages go.
cdef void node_flushed(Node* node) noexcept nogil
cdef void wake_applier(Node* node) noexcept nogil
cdef HostedGroup* node_group(Node* node, uint64_t group) noexcept nogil
# A message of the runtime's own (kind >= 100), through the transport.
cdef int node_send(Node* node, Message* message) noexcept nogil
cdef void ticket_done(void* ticket, int status) noexcept nogil
# Any thread: the Python applier has something to do.
cdef void wake_applier(Node* node) noexcept nogil
