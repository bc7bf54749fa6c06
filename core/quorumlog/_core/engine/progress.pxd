"""What a leader knows of one peer: match, next, and a window in bytes.

probe: one message outstanding, to find where the logs meet.  stream: `next` runs
ahead of `match`, bounded by the window.  snapshot: it lacks what is compacted here
(engine/transfer).  The window follows twice rate x round
trip, clamped (DESIGN 4.6).  Lost messages: an answer to a heartbeat frees a
paused probe (hard case A-R21).
"""

from quorumlog._core.base.types cimport index_t, node_t

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    WINDOW_BYTES_MIN = 256 << 10
    WINDOW_BYTES_MAX = 8 << 20
    IN_FLIGHT_MESSAGES_MAX = 256

# One append message on its way.
cdef struct InFlight:
    index_t last
    uint64_t bytes
    uint64_t sent_ns

cdef struct Progress:
    node_t node
    uint8_t state              # PeerState
    bint active                # heard from since the last check-quorum round
    bint reachable
    bint probe_sent            # probe mode: waiting for the answer
    bint query                 # probe mode: where the logs meet is unknown, ask without batches
    bint fetching              # waiting for a Fetch
    index_t match
    index_t next
    uint64_t window_bytes
    uint64_t in_flight_bytes
    InFlight in_flight[IN_FLIGHT_MESSAGES_MAX]   # ring
    uint32_t in_flight_head
    uint32_t in_flight_count
    uint64_t probe_sent_ns
    uint64_t round_trip_ns     # smoothed
    uint64_t rate_bytes_per_s  # smoothed
    uint64_t acked_bytes       # in this measuring interval
    uint64_t interval_ns
    uint64_t heard_ns          # last message from it
    uint64_t round_acked       # highest heartbeat round it answered (reads, check-quorum)
    uint64_t answered_ns       # when that began, by the leader's clock
    uint64_t lease_until_ns    # it promised to help nobody else before then, by the leader's clock
    uint64_t mark              # of its newest answer, to be echoed (raft_freshness)


cdef void progress_open(Progress* p, node_t node, index_t next) noexcept nogil
cdef bint progress_may_send(const Progress* p) noexcept nogil
cdef void progress_sent(Progress* p, index_t last, uint64_t bytes, uint64_t now_ns) noexcept nogil
# An append up to `match` was acknowledged; True if match moved.
cdef bint progress_acked(Progress* p, index_t match, uint64_t now_ns) noexcept nogil
cdef void progress_to_probe(Progress* p, index_t next) noexcept nogil
# A snapshot is sent to it: no appends.
cdef void progress_to_snapshot(Progress* p) noexcept nogil
cdef void progress_to_stream(Progress* p) noexcept nogil
