"""Whole transports on loopback: delivery, refusals, back-pressure, reconnects, floods, bounds."""

import contextlib
import dataclasses
import itertools
import os
import resource
import socket
from pathlib import Path
from typing import Any

import pytest
from fake_peer import MILLISECOND, SECOND, World, dial, dialer_hello
from wire_oracle import Body, Frame, body

OK, ERR_USAGE, ERR_OVERLOADED, ERR_CONNECTION_LOST = 0, 1, 11, 22
TURN_BYTES_MAX = 1 << 20


def heartbeat(number: int = 1, sender: int = 1, target: int = 2) -> Frame:
    return Frame(number, 7, sender, target, 3, (number,) * 8)


def append(number: int, *sizes: int, sender: int = 1, target: int = 2) -> Frame:
    bodies = tuple(Body(7, 3, 1 + number, 2, body([bytes([number % 251]) * size, b"end"])) for size in sizes)
    return Frame(number, 7, sender, target, 3, (number,) * 8, bodies)


def pair(world: World, **options: Any) -> tuple[Any, Any]:
    one, two = world.node(1, **options), world.node(2)
    assert one.add_peer(2, two.port) == OK
    assert two.add_peer(1, one.port) == OK
    world.pump(lambda: one.reachable(2) and two.reachable(1))
    return one, two


# ---- delivery


def test_messages_of_all_sizes_arrive_whole_and_in_order(world: World) -> None:
    one, two = pair(world, send_queue_bytes_max=64 << 20)
    sent = [
        append(1, 10),
        append(2, 80_000),
        append(3, 3_000_000, 20, 200_000),
        append(4, *[700] * 200),
        append(5, 15_000_000),
        append(6, 1),
    ]
    for made in sent:
        assert one.send(made.native()) == OK
    world.pump(lambda: len(two.messages) == len(sent))
    assert two.messages == [made.delivered() for made in sent]
    assert one.pool.used_bytes == two.pool.used_bytes == 0
    expected = sum(len(made.encode()) for made in sent)
    assert one.status()["sent_bytes"] == two.status()["received_bytes"] == expected
    assert one.status()["sent_frames"] == two.status()["received_frames"] == len(sent)


def test_both_directions_at_once(world: World) -> None:
    one, two = pair(world)
    for number in range(50):
        one.send(append(number, 80_000).native())
        two.send(append(number, 80_000, sender=2, target=1).native())
    world.pump(lambda: len(one.messages) == len(two.messages) == 50)
    assert [m[0] for m in one.messages] == [m[0] for m in two.messages] == list(range(50))


def test_heartbeats_pass_a_large_transfer(world: World) -> None:
    one, two = pair(world, send_queue_bytes_max=256 << 20)
    for number in range(60):
        one.send(append(number, 1_000_000).native())
    one.step(world.now_ns)  # the socket is full now
    one.send(heartbeat(999).native())
    world.pump(lambda: len(two.messages) == 61)
    kinds = [message[0] for message in two.messages]
    # In front of it: what had gone to the kernel, bounded by its buffers, and the begun frame.
    assert kinds.index(999) < 20
    assert [kind for kind in kinds if kind != 999] == list(range(60))


def test_nothing_is_written_before_flush(world: World) -> None:
    one, _ = pair(world)
    for number in range(100):
        one.send(heartbeat(number).native())
    assert one.status()["sent_frames"] == 0
    one.step(world.now_ns)
    assert one.status()["sent_frames"] == 100


def test_ipv6(world: World) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    one, two = world.node(1, host="::1"), world.node(2, host="::1")
    one.add_peer(2, two.port, "::1")
    two.add_peer(1, one.port, "::1")
    world.pump(lambda: one.reachable(2) and two.reachable(1))
    one.send(append(1, 100_000).native())
    world.pump(lambda: two.messages)


# ---- queue bounds


def test_a_full_queue_refuses_and_says_so(world: World) -> None:
    one, two = pair(world, send_queue_bytes_max=1 << 20)
    accepted = 0
    while one.send(append(accepted, 100_000).native()) == OK:
        accepted += 1
    assert accepted == 10
    assert one.status()["dropped_messages"] == 1
    assert one.send(heartbeat().native()) == OK
    world.pump(lambda: len(two.messages) == accepted + 1)


def test_a_message_to_nobody_reachable_is_dropped(world: World) -> None:
    node = world.node(1)
    node.add_peer(2, 1)
    assert node.send(append(1, 1000).native()) == ERR_CONNECTION_LOST
    assert node.send(heartbeat(target=9).native()) == ERR_CONNECTION_LOST
    assert node.status()["dropped_messages"] == 2
    assert node.pool.used_bytes == 0


def test_closing_with_full_queues_frees_everything(world: World) -> None:
    one, two = pair(world)
    pool = one.pool
    for number in range(20):
        one.send(append(number, 200_000).native())
    one.step(world.now_ns)
    two.step(world.now_ns)
    assert pool.used_bytes > 0
    one.close()
    two.close()
    assert pool.used_bytes == two.pool.used_bytes == 0


# ---- connections come and go


def test_a_lost_peer_is_told_once_and_found_again(world: World) -> None:
    one, two = pair(world)
    for number in range(5):
        one.send(append(number, 1_000_000).native())
    port = two.port
    two.close()
    world.nodes.remove(two)
    world.pump(lambda: not one.reachable(2))
    assert one.changes == [(2, True), (2, False)]
    assert one.pool.used_bytes == 0
    again = world.node(2, port=port)
    again.add_peer(1, one.port)
    world.pump(lambda: one.reachable(2) and again.reachable(1), advance_ns=MILLISECOND)
    assert one.changes == [(2, True), (2, False), (2, True)]
    one.send(append(9, 10).native())
    world.pump(lambda: again.messages)
    assert again.messages == [append(9, 10).delivered()]  # nothing of before


def test_a_peer_that_dials_us_is_dialed_at_once(world: World) -> None:
    probe = socket.create_server(("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    one = world.node(1)
    one.add_peer(2, port)
    for _ in range(30):
        world.turn(advance_ns=2 * SECOND)  # the back-off has grown to its most
    two = world.node(2, port=port)
    two.add_peer(1, one.port)
    world.pump(lambda: one.reachable(2) and two.reachable(1))  # time stands still


def test_dials_back_off_and_differ_by_seed(world: World) -> None:
    schedules = []
    for seed in (1, 2):
        node = world.node(seed, seed=seed)
        node.add_peer(9, 1)  # refuses at once
        now, waits = SECOND, []
        while len(waits) < 9:
            due = node.step(now, 1)
            for _ in range(50):
                due = node.step(now, 1)
                if due - now < 2 * SECOND:  # not the opening's deadline: the dial has failed
                    break
            waits.append(due - now)
            now = due
        schedules.append(waits)
        assert 10 * MILLISECOND <= waits[0] < 20 * MILLISECOND
        assert all(640 * MILLISECOND <= wait < 1280 * MILLISECOND for wait in waits[6:])
        assert all(b > a / 2 for a, b in itertools.pairwise(waits))
    assert schedules[0] != schedules[1]


@pytest.mark.parametrize(
    ("node", "host", "port"),
    [
        (0, "127.0.0.1", 1),
        (1, "127.0.0.1", 1),
        (2, "127.0.0.1", 0),
        (2, "localhost", 1),
        (2, "", 1),
    ],
)
def test_peers_that_make_no_sense(world: World, node: int, host: str, port: int) -> None:
    assert world.node(1).add_peer(node, port, host) == ERR_USAGE


@pytest.mark.parametrize(
    "options",
    [
        {"host": "no address"},
        {"connections_max": 15},
        {"send_queue_bytes_max": 0},
        {"incarnation": 0},
    ],
)
def test_options_that_make_no_sense(world: World, options: dict[str, Any]) -> None:
    with pytest.raises(OSError) as caught:
        world.node(1, **options)
    assert caught.value.errno == ERR_USAGE
    assert caught.value.strerror


def test_a_port_in_use_says_so(world: World) -> None:
    port = world.node(1).port
    said = f"cannot listen on 127.0.0.1 port {port}: Address already in use"
    with pytest.raises(OSError, match=said):
        world.node(2, port=port)


# ---- what an authenticated peer may not do

WRONG_STREAMS = {
    "foreign sender": heartbeat(sender=3, target=1).encode(),
    "foreign target": heartbeat(sender=2, target=3).encode(),
    "foreign protocol": dataclasses.replace(heartbeat(sender=2, target=1), protocol=9).encode(),
    "oversized": dataclasses.replace(append(1, 9, sender=2, target=1), length=(32 << 20) + 1).encode(),
    "garbage": b"\xff" * 200,
    "zeros": bytes(200),
    "a second hello": dialer_hello().encode(),
}


@pytest.mark.parametrize("name", WRONG_STREAMS)
def test_a_wrong_frame_closes_its_connection_and_no_other(world: World, name: str) -> None:
    node = world.node(1)
    node.add_peer(2, 1)
    node.add_peer(3, 1)
    other = dial(world, node, dialer_hello(3))
    peer = dial(world, node, dialer_hello(2))
    before, behind = heartbeat(5, 2, 1), heartbeat(6, 2, 1)
    world.send(peer, before.encode() + WRONG_STREAMS[name] + behind.encode())
    world.closed(peer)
    assert node.messages == [before.delivered()]
    assert node.status()["refused_frames"] == 1
    world.send(other, heartbeat(7, 3, 1).encode())
    world.pump(lambda: len(node.messages) == 2)
    assert node.pool.used_bytes == 0


@pytest.mark.parametrize("missing", [1, 16, 100, 130])
def test_a_frame_cut_by_an_orderly_close_is_refused(world: World, missing: int) -> None:
    node = world.node(1)
    node.add_peer(2, 1)
    peer = dial(world, node, dialer_hello())
    world.send(peer, append(1, 30, sender=2, target=1).encode()[:-missing])
    peer.close()
    world.pump(lambda: node.status()["refused_frames"] == 1)
    assert node.messages == []
    assert node.pool.used_bytes == 0


def test_a_frame_that_stalls_is_given_up(world: World) -> None:
    node = world.node(1)
    node.add_peer(2, 1)
    peer = dial(world, node, dialer_hello())
    world.send(peer, append(1, 100_000, sender=2, target=1).encode()[:1000])
    world.pump(lambda: node.pool.used_bytes > 100_000)
    world.now_ns += 10 * SECOND - 1
    world.settle()
    assert node.pool.used_bytes > 0
    world.now_ns += 1
    world.closed(peer)
    assert node.status()["refused_frames"] == 1
    assert node.pool.used_bytes == 0


def test_nothing_is_due_while_all_is_quiet(world: World) -> None:
    one, two = pair(world)
    world.turn(1, advance_ns=10 * SECOND)  # the deadlines of the openings have gone by
    assert one.step(world.now_ns) == two.step(world.now_ns) == 0


def test_an_idle_connection_stays(world: World) -> None:
    one, two = pair(world)
    for _ in range(10):
        world.turn(1, advance_ns=60 * SECOND)
    assert one.reachable(2)
    assert two.reachable(1)
    one.send(heartbeat().native())
    world.pump(lambda: two.messages)


# ---- back-pressure


def test_a_pool_at_its_limit_stops_reading_and_nothing_is_lost(world: World) -> None:
    one = world.node(1, send_queue_bytes_max=64 << 20)
    two = world.node(2, pool_limit=4 << 20)
    one.add_peer(2, two.port)
    two.add_peer(1, one.port)
    world.pump(lambda: one.reachable(2) and two.reachable(1))
    held = two.pool.hold(3_900_000)
    for number in range(40):
        one.send(append(number, 400_000).native())
    for _ in range(300):
        world.turn(advance_ns=2 * MILLISECOND)
    assert two.messages == []
    assert two.pool.used_bytes <= 4 << 20
    assert two.status()["refused_frames"] == 0
    # Bytes wait in its socket, and must not make the reactor spin.
    assert two.ready_count() == 0
    assert two.step(world.now_ns) > world.now_ns
    held.release()
    world.pump(lambda: len(two.messages) == 40, advance_ns=MILLISECOND)
    assert [message[0] for message in two.messages] == list(range(40))
    assert one.reachable(2)


def test_one_turn_reads_a_bounded_number_of_bytes(world: World) -> None:
    node = world.node(1)
    node.add_peer(2, 1)
    peer = dial(world, node, dialer_hello())
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
    data = heartbeat(1, 2, 1).encode() * 60_000
    at = 0
    most = before = 0
    while node.status()["received_bytes"] < len(data):
        with contextlib.suppress(BlockingIOError):
            at += peer.send(data[at:])
        node.step(world.now_ns, 1)
        received = node.status()["received_bytes"]
        most, before = max(most, received - before), received
    assert most <= TURN_BYTES_MAX + (256 << 10)
    assert most > 100_000
    assert len(node.messages) == 60_000


# ---- strangers


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
def test_a_thousand_hostile_connections(world: World, source: str) -> None:
    """Memory and descriptors stay bounded, and known peers still get in and stay in."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2500:
        pytest.skip("too few descriptors allowed on this machine")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2500), hard))
    node = world.node(1, connections_max=64)
    node.add_peer(2, 1)
    node.add_peer(3, 1)
    first = dial(world, node, dialer_hello(2))
    before = resident_bytes()
    most = 0
    for number in range(1000):
        stranger = world.connect(node.port, source)
        stranger.send((b"", os.urandom(100), dialer_hello().encode())[number % 3])
        node.step(world.now_ns)
        most = max(most, node.status()["connections"])
    world.settle()
    assert most <= 64 + 2  # and its own two dials
    second = dial(world, node, dialer_hello(3))
    for peer, number in ((first, 2), (second, 3)):
        world.send(peer, heartbeat(number, number, 1).encode())
    world.pump(lambda: len(node.messages) == 2)
    grown = resident_bytes() - before
    assert grown < 8 << 20  # Python's own sockets are in it
    assert node.status()["refused_openings"] > 900
    world.now_ns += 6 * SECOND
    world.settle()
    assert node.status()["connections"] <= 4
    assert node.status()["refused_openings"] == 1000


def test_strangers_elsewhere_do_not_take_the_places_of_peers(world: World) -> None:
    node = world.node(1, connections_max=16)
    node.add_peer(2, 1)
    half_open = world.connect(node.port)
    hello = dialer_hello().encode()
    world.send(half_open, hello[:60])
    world.settle()
    for _ in range(200):
        world.connect(node.port, "127.0.0.2")
        node.step(world.now_ns)
    world.settle()
    world.send(half_open, hello[60:])  # still there
    assert len(world.receive(half_open, 128)) == 128


def test_running_out_of_descriptors_does_not_spin(world: World) -> None:
    node = world.node(1)
    node.add_peer(2, 1)
    peer = dial(world, node, dialer_hello())
    world.settle()  # its own dial has failed: that descriptor is free now
    waiting = socket.socket()
    world.sockets.append(waiting)
    waiting.setblocking(False)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        waiting.connect_ex(("127.0.0.1", node.port))
        assert node.ready_count() == 1
        node.step(world.now_ns, 1)
        assert node.status()["connections"] == 1
        # Nothing is readable any more although a connection waits: the listener is not watched.
        assert node.ready_count() == 0
        world.send(peer, heartbeat(1, 2, 1).encode())
        world.pump(lambda: node.messages)
        assert node.step(world.now_ns) <= world.now_ns + 2 * SECOND
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    world.now_ns += SECOND
    waiting.setblocking(False)
    world.send(waiting, dialer_hello().encode())
    assert len(world.receive(waiting, 128)) == 128
