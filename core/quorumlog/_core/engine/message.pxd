"""Messages between nodes: one fixed envelope for all protocols, plus batches.

The wire form is this struct, field by field (docs/format.md 8.2), so a protocol
needs no codec; what `fields` mean is declared beside each protocol as a struct
laid over them.  A message owns a reference to each of its batches.
"""

from quorumlog._core.base.types cimport group_t, node_t, term_t, wsn_t
from quorumlog._core.storage.batch cimport Batch, batch_drop

from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef enum:
    MESSAGE_FIELDS = 8
    MESSAGE_BATCHES_MAX = 256
    FRAME_BYTES_MAX = 32 << 20

cdef enum ProtocolNumber:
    PROTOCOL_RAFT = 1
    PROTOCOL_PAXOS = 2

cdef struct Message:
    uint16_t kind
    uint16_t batch_count
    uint32_t protocol
    group_t group
    node_t sender
    node_t target
    term_t term
    uint64_t fields[MESSAGE_FIELDS]
    Batch** batches                # batch_count references, in storage of the outbox or the decoder
    wsn_t after_io                 # not on the wire: may leave once this WSN is flushed; 0 = at once


cdef inline void message_drop_batches(Message* message) noexcept nogil:
    cdef uint16_t i
    for i in range(message.batch_count):
        batch_drop(message.batches[i])
    message.batch_count = 0
