"""Per-peer progress: the ring of appends in flight, and the window that follows rate x round trip.

While the window is what limits, the rate measured is window / round trip, so that a
window of twice rate x round trip doubles with every interval until something else
limits (the peer's disk, the network); then it stays at twice what is in use.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memset

from quorumlog._core.base.checks cimport check2
from quorumlog._core.base.types cimport index_t, node_t
from quorumlog._core.engine.protocol cimport PEER_PROBE, PEER_SNAPSHOT, PEER_STREAM

cdef enum:
    INTERVAL_NS_MIN = 5000000          # a rate over less than this is noise
    NS_PER_S = 1000000000


cdef void progress_open(Progress* p, node_t node, index_t next) noexcept nogil:
    check2(next >= 1, b"Q-PROGRESS-01 next lies behind the log's start", node, next)
    memset(p, 0, sizeof(Progress))
    p.node = node
    p.state = PEER_PROBE
    p.reachable = True
    p.next = next
    p.window_bytes = WINDOW_BYTES_MIN


cdef bint progress_may_send(const Progress* p) noexcept nogil:
    if p.fetching or not p.reachable:
        return False
    if p.state == PEER_PROBE:
        return not p.probe_sent
    if p.state == PEER_STREAM:
        return p.in_flight_bytes < p.window_bytes and p.in_flight_count < IN_FLIGHT_MESSAGES_MAX
    return False


cdef void progress_sent(Progress* p, index_t last, uint64_t bytes, uint64_t now_ns) noexcept nogil:
    cdef InFlight* slot
    if p.state == PEER_PROBE:
        p.probe_sent = True
        p.probe_sent_ns = now_ns
        return
    check2(p.in_flight_count < IN_FLIGHT_MESSAGES_MAX, b"Q-PROGRESS-02 appends in flight are bounded",
           p.in_flight_count, last)
    check2(last >= p.next, b"Q-PROGRESS-03 an append in stream mode moves next", last, p.next)
    if p.in_flight_count == 0 and p.acked_bytes == 0:
        p.interval_ns = now_ns         # idle time does not count against the rate
    slot = &p.in_flight[(p.in_flight_head + p.in_flight_count) % IN_FLIGHT_MESSAGES_MAX]
    slot.last = last
    slot.bytes = bytes
    slot.sent_ns = now_ns
    p.in_flight_count += 1
    p.in_flight_bytes += bytes
    p.next = last + 1


cdef uint64_t smoothed(uint64_t old, uint64_t new) noexcept nogil:
    """A quarter of the new; all of it when there was none."""
    return new if old == 0 else old - old // 4 + new // 4


cdef void resize_window(Progress* p, uint64_t now_ns) noexcept nogil:
    cdef uint64_t elapsed = now_ns - p.interval_ns
    cdef uint64_t wanted
    if elapsed < INTERVAL_NS_MIN or elapsed < p.round_trip_ns:
        return
    # acked_bytes * 1e9 fits for 18 GB an interval; in doubles there is nothing to overflow.
    p.rate_bytes_per_s = smoothed(p.rate_bytes_per_s, <uint64_t>(<double>p.acked_bytes * NS_PER_S / elapsed))
    wanted = <uint64_t>(2.0 * <double>p.rate_bytes_per_s * <double>p.round_trip_ns / NS_PER_S)
    p.window_bytes = min(max(wanted, <uint64_t>WINDOW_BYTES_MIN), <uint64_t>WINDOW_BYTES_MAX)
    p.acked_bytes = 0
    p.interval_ns = now_ns


cdef bint progress_acked(Progress* p, index_t match, uint64_t now_ns) noexcept nogil:
    cdef InFlight* slot
    cdef uint64_t sent_ns = 0
    while p.in_flight_count > 0:
        slot = &p.in_flight[p.in_flight_head]
        if slot.last > match:
            break
        p.in_flight_bytes -= slot.bytes
        p.acked_bytes += slot.bytes
        sent_ns = slot.sent_ns
        p.in_flight_head = (p.in_flight_head + 1) % IN_FLIGHT_MESSAGES_MAX
        p.in_flight_count -= 1
    if sent_ns != 0 and now_ns >= sent_ns:
        p.round_trip_ns = smoothed(p.round_trip_ns, max(now_ns - sent_ns, <uint64_t>1))
        resize_window(p, now_ns)
    if match <= p.match:
        return False
    p.match = match
    p.next = max(p.next, match + 1)
    return True


cdef void forget_in_flight(Progress* p) noexcept nogil:
    p.in_flight_head = 0
    p.in_flight_count = 0
    p.in_flight_bytes = 0
    p.acked_bytes = 0


cdef void progress_to_probe(Progress* p, index_t next) noexcept nogil:
    check2(next > p.match, b"Q-PROGRESS-04 next lies behind match", next, p.match)
    p.state = PEER_PROBE
    p.probe_sent = False
    p.query = False
    p.next = next
    forget_in_flight(p)


cdef void progress_to_snapshot(Progress* p) noexcept nogil:
    p.state = PEER_SNAPSHOT
    p.probe_sent = False
    p.query = False
    p.fetching = False
    forget_in_flight(p)


cdef void progress_to_stream(Progress* p) noexcept nogil:
    p.state = PEER_STREAM
    p.probe_sent = False
    p.query = False
    p.next = p.match + 1
    forget_in_flight(p)
