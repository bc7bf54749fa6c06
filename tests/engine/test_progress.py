from quorumlog._core.bridge.testing_log import Peer

MS = 1_000_000
KIB = 1 << 10
MIB = 1 << 20


def streaming(match: int = 0) -> Peer:
    peer = Peer(match + 1)
    if match:
        peer.acked(match, 0)
    peer.to_stream()
    return peer


def test_a_probe_waits_for_its_answer() -> None:
    peer = Peer(5)
    assert peer.may_send()
    peer.sent(9, 100, 0)
    assert not peer.may_send()
    assert peer.state["next"] == 5, "a probe does not run ahead"
    peer.acked(9, 1)
    peer.to_stream()
    assert peer.may_send()
    assert peer.state["next"] == 10


def test_a_stream_runs_ahead_within_its_window() -> None:
    peer = streaming()
    sent = 0
    while peer.may_send():
        sent += 1
        peer.sent(sent, 64 * KIB, 0)
    assert sent == 4
    assert peer.state["next"] == 5
    assert peer.acked(1, 1)
    assert peer.may_send()
    assert peer.state["in_flight_bytes"] == 3 * 64 * KIB


def test_messages_in_flight_are_bounded() -> None:
    peer = streaming()
    sent = 0
    while peer.may_send():
        sent += 1
        peer.sent(sent, 1, 0)
    assert sent == 256


def test_an_old_answer_moves_nothing() -> None:
    peer = streaming(7)
    assert not peer.acked(5, 1)
    assert (peer.state["match"], peer.state["next"]) == (7, 8)


def test_going_back_to_probe_forgets_what_is_on_its_way() -> None:
    peer = streaming(7)
    peer.sent(9, 1000, 0)
    peer.to_probe(8)
    assert peer.state["in_flight_bytes"] == 0
    assert peer.state["next"] == 8
    assert peer.may_send()


def test_nothing_is_sent_to_who_cannot_be_reached() -> None:
    peer = streaming()
    peer.set_reachable(False)
    assert not peer.may_send()


def drive(
    peer: Peer, rate_bytes_per_ms: int, round_trip_ms: int, ms: int, window_full: bool
) -> None:
    """A peer that acknowledges what was sent a round trip ago."""
    size = 16 * KIB
    now, last = 0, 0
    pending: list[tuple[int, int]] = []
    for now in range(1, ms):
        budget = rate_bytes_per_ms
        while peer.may_send() and (window_full or budget > 0):
            last += 1
            budget -= size
            peer.sent(last, size, now * MS)
            pending.append((now + round_trip_ms, last))
        while pending and pending[0][0] <= now:
            peer.acked(pending.pop(0)[1], now * MS)


def test_the_window_grows_while_it_is_what_limits() -> None:
    peer = streaming()
    drive(peer, 0, 20, 2000, window_full=True)
    # 256 messages of 16 KiB are all that may be on their way: 4 MiB, of which twice is the window.
    assert 7 * MIB < peer.state["window_bytes"] <= 8 * MIB


def test_the_window_stays_at_twice_rate_times_round_trip() -> None:
    peer = streaming()
    drive(peer, 64 * KIB, 10, 2000, window_full=False)
    # 64 KiB a millisecond for 10 ms are 640 KiB in flight.
    assert 1000 * KIB < peer.state["window_bytes"] < 1700 * KIB


def test_the_window_is_never_below_its_minimum() -> None:
    peer = streaming()
    drive(peer, 1 * KIB, 1, 1000, window_full=False)
    assert peer.state["window_bytes"] == 256 * KIB
