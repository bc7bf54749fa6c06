"""The send queue against a model: order within a lane, right of way, bounds, and nothing kept."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_oracle import Body, Frame, body, split

from quorumlog._core.bridge import testing_wire as core

OK, ERR_OVERLOADED = 0, 11
CONTROL_LANE_BYTES = 256 << 10


def control(number: int) -> Frame:
    return Frame(number, 7, 1, 2, 0, (number,) * 8)


def bulk(number: int, sizes: list[int]) -> Frame:
    bodies = tuple(Body(7, 1, 1, 1, body([bytes([number % 256]) * size])) for size in sizes)
    return Frame(number, 7, 1, 2, 0, (number,) * 8, bodies)


pushes = st.lists(st.integers(0, 4000), max_size=4)  # sizes of the bodies; none: control
steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), pushes),
        st.tuples(st.just("write"), st.integers(1, 9000), st.integers(1, 9)),
    ),
    max_size=60,
)


@given(steps)
@settings(max_examples=300)
def test_what_is_written_is_a_stream_of_whole_frames_with_control_first(
    todo: list[tuple[object, ...]],
) -> None:
    queue = core.Queue(1 << 30)
    waiting: tuple[list[bytes], list[bytes]] = ([], [])  # control, bulk: the model
    rest = b""  # of the frame that was begun
    written = expected = b""
    frames = 0
    for number, step in enumerate([*todo, ("write", 1 << 30, 64), ("write", 1 << 30, 64)]):
        if step[0] == "push":
            sizes: list[int] = step[1]  # type: ignore[assignment]
            made = bulk(number, sizes) if sizes else control(number)
            assert queue.push(made.native()) == OK
            waiting[len(sizes) > 0].append(made.encode())
            continue
        data, done = queue.write(step[1], step[2])
        written += data
        frames += done
        left = len(data)
        while left:
            if not rest:
                rest = (waiting[0] or waiting[1]).pop(0)
            expected += rest[:left]
            rest, left = rest[left:], left - len(rest[:left])
        assert written == expected
        assert queue.queued_bytes == len(rest) + sum(len(f) for lane in waiting for f in lane)
    while queue.queued_bytes:
        data, done = queue.write(1 << 30)
        written, frames = written + data, frames + done
    assert frames == len(list(split(written))) == sum(step[0] == "push" for step in todo)
    assert queue.pool.used_bytes == 0


def test_a_heartbeat_passes_all_that_is_queued_but_the_begun_frame() -> None:
    queue = core.Queue(1 << 30)
    for number in range(20):
        queue.push(bulk(number, [80_000]).native())
    begun, _ = queue.write(1000)
    queue.push(control(99).native())
    rest, _ = queue.write(1 << 20)
    kinds = [kind for kind, _, _ in split(begun + rest) if kind]
    assert kinds[0] == 99  # kind 0 is the begun one


def test_each_lane_has_a_bound_of_its_own() -> None:
    queue = core.Queue(100_000)
    accepted = 0
    while queue.push(bulk(accepted, [1000]).native()) == OK:
        accepted += 1
    per_frame = len(bulk(0, [1000]).encode())
    assert accepted == 100_000 // per_frame
    assert queue.pool.used_bytes > 0
    assert queue.push(bulk(1, [1000]).native()) == ERR_OVERLOADED
    heartbeats = 0
    while queue.push(control(1).native()) == OK:
        heartbeats += 1
    assert heartbeats == CONTROL_LANE_BYTES // 120
    assert queue.push(bulk(1, [1000]).native()) == ERR_OVERLOADED
    assert queue.clear() == accepted + heartbeats
    assert queue.pool.used_bytes == 0
    assert queue.push(bulk(1, [10]).native()) == OK


def test_a_refused_message_leaves_no_reference() -> None:
    queue = core.Queue(1)
    # Alone it goes whatever its size: it could never be sent otherwise.
    assert queue.push(bulk(0, [5000]).native()) == OK
    before = queue.pool.used_bytes
    assert queue.push(bulk(1, [5000]).native()) == ERR_OVERLOADED
    assert queue.pool.used_bytes == before


def test_references_are_dropped_as_bodies_are_written() -> None:
    queue = core.Queue(1 << 30)
    queue.push(bulk(0, [500_000, 500_000]).native())
    assert queue.pool.used_bytes > 1_000_000
    queue.write(120 + 160 + 500_100)
    assert 500_000 < queue.pool.used_bytes < 600_000
    queue.write(1 << 20)
    assert queue.pool.used_bytes == 0


def test_clearing_inside_a_frame_starts_the_next_stream_at_a_frame() -> None:
    queue = core.Queue(1 << 30)
    queue.push(bulk(1, [5000]).native())
    queue.write(700)
    queue.push(control(2).native())
    assert queue.clear() == 2
    queue.push(bulk(3, [100]).native())
    queue.push(control(4).native())
    data, done = queue.write(1 << 20)
    assert (data, done) == (control(4).encode() + bulk(3, [100]).encode(), 2)


@pytest.mark.parametrize("count", [1, 2, 300])
def test_small_frames_go_out_in_one_run(count: int) -> None:
    queue = core.Queue(1 << 30)
    for number in range(count):
        queue.push(control(number).native())
    data, done = queue.write(1 << 20, 1)
    assert done == count
    assert data == b"".join(control(number).encode() for number in range(count))
