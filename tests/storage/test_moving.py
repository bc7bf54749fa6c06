"""Moving what is alive forward, so that the head of the log can go (storage/moving)."""

import random

import pytest

OK, NOT_FOUND = 0, 52
MIB = 1 << 20
GROUP = 7


def entries(count, size=10, seed=0):
    return [random.Random(seed * 1000 + i).randbytes(size) for i in range(count)]


def planned(log):
    status, number, *_ = log.plan()
    assert status == OK
    return number


def test_a_slow_group_doesnt_pin_the_head(open_log):
    """Its live tail is moved forward, keeping its WSNs, and is found there."""
    log = open_log(segment_bytes=MIB)
    log.open_group(GROUP, b"fast")
    log.open_group(8, b"slow")
    log.hard_state(8, 6, 5)
    slow = [log.append(8, 2 + i, i + 1, [b"slow %d" % i]) for i in range(5)]
    log.settle()
    at = 1
    for i in range(300):
        log.append(GROUP, 1, at, entries(3, 10_000, i))
        at += 3
        log.settle(mark=i % 2 == 0)
        if i % 30 == 29:
            log.compact(GROUP, at - 30, 1)
            log.settle()
        while log.prepare() == OK:
            pass
    assert log.status()["segments"] <= 6
    assert [log.read(8, i + 1) for i in range(5)] == [
        (OK, i + 1, 2 + i, [b"slow %d" % i], slow[i]) for i in range(5)
    ]
    log.close()
    for _ in range(2):
        log = open_log(segment_bytes=MIB)
        assert log.report()["corrupt"] == 0
        found = log.report()["groups"][8]
        assert (found["first"], found["last"], found["hard_state"]) == (1, 5, (6, 5))
        assert found["runs"] == [(i + 1, 2 + i) for i in range(5)]
        assert [log.read(8, i + 1)[4] for i in range(5)] == slow
        log.close()
    # A truncation of what was moved counts, wherever the moved records lie.
    log = open_log(segment_bytes=MIB)
    log.truncate(8, 9, 4)
    log.append(8, 9, 4, [b"instead"])
    log.settle()
    assert log.read(8, 4)[3] == [b"instead"]
    log.close()
    log = open_log(segment_bytes=MIB)
    assert log.report()["groups"][8]["last"] == 4
    assert log.read(8, 4)[3] == [b"instead"]
    assert log.read(8, 3)[3] == [b"slow 2"]


def test_what_is_moved_a_second_time_is_read_where_it_lies(open_log):
    """The newest copy counts only once it is written: until then it is on its way, and the older one is intact."""
    log = open_log(segment_bytes=MIB)
    log.open_group(GROUP, b"fast")
    log.open_group(8, b"slow")
    log.append(8, 1, 1, [b"slow"])
    at = 1
    planned = 0
    for _ in range(2):
        moved = False
        while not moved:
            log.append(GROUP, 1, at, entries(3, 10_000, at))
            at += 3
            log.settle()
            if log.status()["segments"] < 4:
                continue
            log.compact(GROUP, at, 1)
            log.settle()
            while log.prepare() == OK:
                pass
            status, number, *_ = log.plan()
            moved = status == OK
            if moved:
                assert log.read(8, 1)[::3] == (OK, [b"slow"])
                log.execute(number)
                log.complete(number)
                log.settle()
                planned += 1
        assert log.read(8, 1)[::3] == (OK, [b"slow"])
    assert planned == 2


@pytest.mark.parametrize("when", ["before reading", "before writing", "in flight"])
def test_a_truncation_calls_a_move_off(open_log, when):
    log = open_log(segment_bytes=MIB)
    log.open_group(GROUP, b"fast")
    log.open_group(8, b"slow")
    for i in range(5):
        log.append(8, 1, i + 1, [b"slow %d" % i])
    at = 1
    while log.status()["segments"] < 5:
        log.append(GROUP, 1, at, entries(3, 10_000, at))
        at += 3
        log.settle()
    log.compact(GROUP, at, 1)
    log.settle()

    def cut():
        log.truncate(8, 2, 3)
        log.append(8, 2, 3, [b"new"])

    if when == "before reading":
        cut()
    while log.prepare() == OK:
        pass
    if when == "before writing":
        cut()
    status, number, *_ = log.plan()
    assert status == OK
    if when == "in flight":
        cut()
    log.execute(number)
    log.complete(number)
    log.settle()
    for _ in range(3):
        while log.prepare() == OK:
            pass
        log.settle()
    assert log.status()["segments"] <= 2
    for _ in range(2):
        assert [log.read(8, i)[3] for i in (1, 2, 3)] == [[b"slow 0"], [b"slow 1"], [b"new"]]
        assert log.read(8, 4)[0] == NOT_FOUND
        log.close()
        log = open_log(segment_bytes=MIB)
        assert log.report()["groups"][8]["last"] == 3
        assert log.report()["corrupt"] == 0


def test_what_a_compaction_under_way_calls_dead_still_pins_the_head(open_log):
    """A move leaves it behind; until the compaction is flushed a crash brings it back."""
    log = open_log(segment_bytes=MIB)
    log.open_group(GROUP, b"fast")
    log.open_group(8, b"slow")
    log.append(8, 1, 1, [b"slow"])
    at = 1
    while log.status()["segments"] < 5:
        log.append(GROUP, 1, at, entries(3, 10_000, at))
        at += 3
        log.settle()
    log.compact(GROUP, at, 1)
    log.append(GROUP, 1, at, entries(1))
    log.settle()
    log.append(GROUP, 1, at + 1, entries(1))
    ahead = planned(log)
    log.compact(8, 2, 1)
    while log.prepare() == OK:
        pass
    segments = log.status()["segments"]
    log.execute(ahead)
    log.complete(ahead)
    assert log.status()["segments"] == segments >= 4
    log.abandon()                      # the compaction was never written

    log = open_log(segment_bytes=MIB)
    assert log.report()["corrupt"] == 0
    assert log.report()["groups"][8]["first"] == 1
    assert log.read(8, 1)[::3] == (OK, [b"slow"])
    log.compact(8, 2, 1)
    log.settle()
    assert log.status()["segments"] <= 2
