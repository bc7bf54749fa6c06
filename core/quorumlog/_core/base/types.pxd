"""Integers with names, and the bounds everything below agrees on.  Header only."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

ctypedef uint64_t index_t    # position of an entry in its group's log, 1-based; 0 is "before the first"
ctypedef uint64_t term_t     # Raft term, Paxos round, primary epoch; 0 is "none"
ctypedef uint64_t wsn_t      # write sequence number of a log record, never reused; 0 is "none"
ctypedef uint64_t node_t     # stable id of a node: see bridge/names; 0 is "nobody"
ctypedef uint64_t group_t    # stable id of a group; 0 is the log itself

# Which snapshot of a group's state, to the byte: two nodes may write the same state in different orders.
cdef struct SnapshotId:
    index_t index              # of the last entry it holds; 0: no snapshot
    term_t term                # of that entry
    node_t writer              # the node that wrote it
    uint64_t number            # of the writing there, never reused
    uint64_t file_bytes

cdef enum:
    BLOCK_BYTES = 4096              # sync groups start and end on it
    NODES_MAX = 16                  # voters and learners of one group
    GROUPS_MAX = 1024               # live groups of one node
    BATCH_ENTRIES_MAX = 1 << 20
    BATCH_BODY_BYTES_MAX = 16 << 20
    GROUP_NAME_BYTES_MAX = 255
    SNAPSHOT_PIECE_BYTES_MAX = 1 << 20  # of a snapshot's file in one message
    SNAPSHOT_MEMBERSHIP_BYTES_MAX = 4096    # of the membership record in a snapshot


cdef inline bint same_snapshot(const SnapshotId* one, const SnapshotId* other) noexcept nogil:
    return (one.index == other.index and one.term == other.term and one.writer == other.writer
            and one.number == other.number and one.file_bytes == other.file_bytes)
