"""The write-ahead log step by step: append, plan, write, complete, open again."""

import errno
import random

import pytest

from quorumlog._core.bridge.testing_storage import FaultyFiles

OK, AGAIN, POISONED, USAGE, NOT_FOUND, COMPACTED, CORRUPT = 0, 51, 45, 1, 52, 12, 42
MIB = 1 << 20
GROUP = 7


def entries(count, size=10, seed=0):
    return [random.Random(seed * 1000 + i).randbytes(size) for i in range(count)]


def planned(log, mark=False):
    status, number, *_ = log.plan(mark)
    assert status == OK
    return number


def test_an_empty_directory(open_log):
    log = open_log()
    report = log.report()
    assert (report["boot"], report["flushed"], report["wsn_last"], report["groups"]) == (1, 0, 0, {})


def test_append_flush_read_open_again(open_log):
    log = open_log()
    assert log.open_group(GROUP, b"alpha") == (OK, 1)
    assert log.append(GROUP, 3, 1, entries(5)) == 2
    assert log.hard_state(GROUP, 3, 99) == 3
    assert log.append(GROUP, 4, 6, entries(2, seed=1)) == 4
    assert log.status()["flushed"] == 0
    assert log.read(GROUP, 1)[0] == NOT_FOUND
    assert log.settle()
    assert log.status()["flushed"] == 4
    assert log.read(GROUP, 5) == (OK, 1, 3, entries(5), 2)
    log.close()

    again = open_log()
    group = again.report()["groups"][GROUP]
    assert (group["name"], group["mode"], group["hard_state"]) == ("alpha", 1, (3, 99))
    assert (group["first"], group["last"], group["last_term"]) == (1, 7, 4)
    assert group["runs"] == [(1, 3), (6, 4)]
    assert group["faulty"] == (0, 0)
    assert group["unproved_last"] == 0
    assert not group["hard_state_damaged"]
    assert again.report()["boot"] == 2
    assert again.report()["corrupt"] == 0
    assert again.open_group(GROUP, b"alpha")[0] == OK
    assert again.open_group(GROUP, b"beta")[0] == USAGE
    assert again.append(GROUP, 4, 8, entries(1)) == 5
    assert again.settle()
    assert again.read(GROUP, 7) == (OK, 6, 4, entries(2, seed=1), 4)


def test_flushed_is_a_prefix(open_log):
    """Two writes in flight complete in the wrong order."""
    log = open_log()
    log.open_group(GROUP, b"a")
    log.append(GROUP, 1, 1, entries(1))
    first = planned(log)
    log.append(GROUP, 1, 2, entries(1))
    second = planned(log)
    log.append(GROUP, 1, 3, entries(1))
    assert log.plan()[0] == AGAIN, "at most two are in flight"
    assert log.execute(second) == 0
    assert log.complete(second) == OK
    assert log.status()["flushed"] == 0
    assert log.read(GROUP, 2)[0] == NOT_FOUND
    assert log.plan()[0] == AGAIN, "the second slot is free only when the first is settled"
    assert log.execute(first) == 0
    log.complete(first)
    assert log.status()["flushed"] == 3
    assert log.read(GROUP, 2)[0] == OK
    log.settle()


def test_what_gathers_goes_out_as_one(open_log):
    log = open_log()
    log.open_group(GROUP, b"a")
    for i in range(100):
        log.append(GROUP, 1, i + 1, entries(1))
    before = log.status()["syncs"]
    log.settle()
    assert log.status()["syncs"] == before + 1


@pytest.mark.parametrize("direct", [True, False])
def test_large_groups_are_bounded_and_staged_or_vectored(open_log, direct):
    """Past the page cache a write is one aligned piece; through it, headers and bodies where they lie."""
    log = open_log(segment_bytes=8 * MIB, group_bytes=MIB, direct=direct)
    log.open_group(GROUP, b"a")
    for i in range(10):
        log.append(GROUP, 1, 10 * i + 1, entries(10, 30_000, i))
    status, number, _, size, _, synced_by_write, parts = log.plan()
    assert status == OK
    assert size <= MIB + 4096
    assert (parts == 1) == direct
    assert bool(synced_by_write) == direct
    log.execute(number)
    log.complete(number)
    log.settle()
    for i in range(10):
        assert log.read(GROUP, 10 * i + 5) == (OK, 10 * i + 1, 1, entries(10, 30_000, i), i + 2)


def test_a_record_larger_than_a_group_is_staged_too(open_log):
    """It grows the staging block, and what follows is written as before."""
    log = open_log(segment_bytes=32 * MIB, group_bytes=MIB)
    log.open_group(GROUP, b"a")
    log.settle()
    large, small = entries(3, 2 * MIB, 7), entries(1)
    log.append(GROUP, 1, 1, large)
    log.append(GROUP, 1, 4, small)
    status, number, _, size, _, synced_by_write, parts = log.plan()
    assert (status, parts, bool(synced_by_write)) == (OK, 1, True)
    assert size > 6 * MIB
    log.execute(number)
    log.complete(number)
    log.settle()
    assert log.read(GROUP, 2) == (OK, 1, 1, large, 2)
    assert log.read(GROUP, 4) == (OK, 4, 1, small, 3)


def test_a_mark_says_what_is_flushed_once(open_log):
    log = open_log()
    log.open_group(GROUP, b"a")
    assert log.plan(True)[0] == OK
    log.execute(2)
    log.complete(2)
    number = planned(log, mark=True)
    assert log.execute(number) == 0
    log.complete(number)
    assert log.plan(True)[0] == AGAIN
    log.close()
    assert open_log().report()["flushed"] == 1


def test_hard_states_are_written_twice(open_log, tmp_path):
    log = open_log()
    log.open_group(GROUP, b"a")
    log.settle()
    log.hard_state(GROUP, 5, 1234567)
    _, number, offset, size, *_ = log.plan()
    assert size == 8192
    log.execute(number)
    log.complete(number)
    data = (tmp_path / "segment-0000000000000001.qlog").read_bytes()[offset : offset + size]
    vote = (1234567).to_bytes(8, "little")
    assert vote in data[:4096]
    assert vote in data[4096:]


@pytest.mark.parametrize("damaged", [(0,), (1,), (0, 1)])
def test_one_copy_of_a_hard_state_suffices(open_log, tmp_path, damaged):
    log = open_log()
    log.open_group(GROUP, b"a")
    log.settle()
    log.hard_state(GROUP, 5, 77)
    _, number, offset, *_ = log.plan()
    log.execute(number)
    log.complete(number)
    log.settle(mark=True)
    log.close()
    path = tmp_path / "segment-0000000000000001.qlog"
    data = bytearray(path.read_bytes())
    for block in damaged:
        # The record alone: behind header (80) and list (40).
        at = offset + 4096 * block + 120
        data[at + 140] ^= 1
    path.write_bytes(data)
    group = open_log().report()["groups"][GROUP]
    assert group["hard_state_damaged"] == (len(damaged) == 2)
    if len(damaged) == 1:
        assert group["hard_state"] == (5, 77)
    # And it stays so over another restart, until a new hard state is written.
    again = open_log_again(open_log)
    assert again.report()["groups"][GROUP]["hard_state_damaged"] == (len(damaged) == 2)
    again.hard_state(GROUP, 6, 78)
    again.settle()
    group = open_log_again(open_log, again).report()["groups"][GROUP]
    assert group["hard_state"] == (6, 78)
    assert not group["hard_state_damaged"]


def open_log_again(open_log, log=None):
    if log is not None:
        log.close()
    return open_log()


def test_truncate_and_append(open_log):
    log = open_log()
    log.open_group(GROUP, b"a")
    log.append(GROUP, 1, 1, entries(7))
    log.append(GROUP, 1, 8, entries(3))
    log.settle()
    log.truncate(GROUP, 2, 8)
    assert log.read(GROUP, 8)[0] == NOT_FOUND
    log.append(GROUP, 2, 8, entries(1, seed=5))
    assert log.read(GROUP, 8)[0] == NOT_FOUND, "the dead batch is not served while its successor is pending"
    log.settle()
    assert log.read(GROUP, 8)[3] == entries(1, seed=5)
    assert log.read(GROUP, 9)[0] == NOT_FOUND
    log.close()
    again = open_log()
    group = again.report()["groups"][GROUP]
    assert (group["last"], group["runs"]) == (8, [(1, 1), (8, 2)])
    assert again.read(GROUP, 8)[3] == entries(1, seed=5)
    assert again.read(GROUP, 9)[0] == NOT_FOUND


def test_rolls_over_many_segments(open_log):
    log = open_log(segment_bytes=MIB)
    log.open_group(GROUP, b"a")
    log.open_group(8, b"b")
    log.hard_state(8, 3, 4)
    for i in range(200):
        log.append(GROUP, 1 + i // 50, 3 * i + 1, entries(3, 10_000, i))
        if i % 3 == 0:
            log.append(8, 1, i // 3 + 1, [b"slow %d" % i])
        log.settle()
        if i % 7 == 0:
            while log.prepare() == OK:
                pass
    assert log.status()["segments"] >= 6
    log.close()
    again = open_log(segment_bytes=MIB)
    assert again.report()["corrupt"] == 0
    assert again.report()["detail"] == ""
    group = again.report()["groups"][GROUP]
    assert group["last"] == 600
    assert group["runs"] == [(1, 1), (151, 2), (301, 3), (451, 4)]
    assert again.report()["groups"][8]["hard_state"] == (3, 4)
    for i in range(200):
        assert again.read(GROUP, 3 * i + 2) == (
            OK,
            3 * i + 1,
            1 + i // 50,
            entries(3, 10_000, i),
            again_wsn(i),
        )


def again_wsn(i):
    """Two opens and a hard state come first; every third round appends to both groups."""
    return 4 + i + (i + 2) // 3


def test_compaction_drops_the_head_and_reuses_its_files(open_log, tmp_path):
    log = open_log(segment_bytes=MIB)
    log.open_group(GROUP, b"a")
    for i in range(100):
        log.append(GROUP, 1, 3 * i + 1, entries(3, 10_000, i))
        log.settle()
    used = log.status()["segments"]
    assert used >= 3
    assert log.compact(GROUP, 271, 1) == OK
    assert log.read(GROUP, 270)[0] == COMPACTED
    assert log.status()["segments"] == used, "not before the compact record is flushed"
    log.settle()
    assert log.status()["segments"] < used
    while log.prepare() == OK:
        pass
    assert log.status()["spare_segments"] == 2
    assert len(list(tmp_path.glob("segment-*"))) == log.status()["segments"] + 2
    # The reused files take new content that can't be mixed up with what they held.
    for i in range(100, 160):
        log.append(GROUP, 1, 3 * i + 1, entries(3, 10_000, i))
        log.settle()
    log.close()
    again = open_log(segment_bytes=MIB)
    assert again.report()["corrupt"] == 0
    group = again.report()["groups"][GROUP]
    assert (group["first"], group["term_before_first"], group["last"]) == (271, 1, 480)
    assert again.read(GROUP, 270)[0] == COMPACTED
    for i in range(90, 160):
        assert again.read(GROUP, 3 * i + 1)[3] == entries(3, 10_000, i)


def test_dropped_groups_stay_dropped(open_log):
    log = open_log()
    log.open_group(GROUP, b"a")
    log.append(GROUP, 1, 1, entries(3))
    assert log.drop_group(GROUP) == 3
    log.settle()
    log.close()
    again = open_log()
    assert again.report()["groups"] == {}
    assert again.read(GROUP, 1)[0] == NOT_FOUND
    assert again.open_group(GROUP, b"new")[0] == OK
    again.append(GROUP, 9, 1, entries(1))
    again.settle()
    again.close()
    group = open_log().report()["groups"][GROUP]
    assert (group["name"], group["last"], group["last_term"]) == ("new", 1, 9)


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("kind", ["writes", "syncs"])
def test_a_failed_write_or_sync_is_final(open_log, kind, error):
    files = FaultyFiles()
    log = open_log(files=files, direct=False)
    log.open_group(GROUP, b"a")
    log.append(GROUP, 1, 1, entries(3))
    log.settle()
    log.append(GROUP, 1, 4, entries(3))
    files.fail(**{kind: 0}, error=error)
    number = planned(log)
    assert log.execute(number) == error
    assert log.complete(number, error) == POISONED
    files.fail()
    assert log.status()["poisoned"]
    assert log.status()["flushed"] == 2
    assert log.append(GROUP, 1, 7, entries(1)) == 0
    assert log.plan()[0] == POISONED
    assert log.open_group(9, b"c")[0] == POISONED
    log.abandon()
    again = open_log()
    assert again.report()["groups"][GROUP]["last"] in (3, 6)
    assert not again.status()["poisoned"]


def test_a_later_write_cant_save_an_earlier_failure(open_log):
    log = open_log()
    log.open_group(GROUP, b"a")
    first = planned(log)
    log.append(GROUP, 1, 1, entries(1))
    second = planned(log)
    log.complete(first, errno.EIO)
    log.execute(second)
    assert log.complete(second) == POISONED
    assert log.status()["flushed"] == 0


def test_a_full_disk_while_rolling_is_final(open_log):
    files = FaultyFiles()
    log = open_log(files=files, spares=0)
    log.open_group(GROUP, b"a")
    at = 1
    log.append(GROUP, 1, at, entries(3, 100_000))
    files.fail(writes=8, error=errno.ENOSPC)
    while log.settle():
        at += 3
        log.append(GROUP, 1, at, entries(3, 100_000, at))
    assert log.status()["poisoned"]
    flushed = log.status()["flushed"]
    files.fail()
    log.abandon()
    again = open_log()
    assert again.report()["groups"][GROUP]["last"] >= 3 * (flushed - 1)


def test_opening_fails_when_nothing_can_be_written(open_log):
    files = FaultyFiles()
    files.fail(writes=0, error=errno.ENOSPC)
    with pytest.raises(OSError, match="can't begin a new segment"):
        open_log(files=files)
    files.fail()
    assert open_log(files=files).report()["boot"] == 1


def test_a_damaged_record_is_never_served(open_log, tmp_path):
    log = open_log()
    log.open_group(GROUP, b"a")
    log.append(GROUP, 1, 1, [b"needle in a record"])
    log.append(GROUP, 1, 2, [b"sound"])
    log.settle()
    path = tmp_path / "segment-0000000000000001.qlog"
    data = bytearray(path.read_bytes())
    data[data.index(b"needle")] ^= 0x20
    path.write_bytes(data)
    assert log.read(GROUP, 1)[0] == CORRUPT
    assert "segment-0000000000000001.qlog at offset" in log.damage()
    assert log.read(GROUP, 2)[0] == OK


def test_the_memory_of_cold_reads_is_bounded(open_log):
    log = open_log(segment_bytes=MIB, cache_bytes=1)
    log.open_group(GROUP, b"a")
    for i in range(300):
        log.append(GROUP, 1, i + 1, entries(1, 20_000, i))
        log.settle()
    order = list(range(300))
    random.Random(4).shuffle(order)
    for i in order:
        assert log.read(GROUP, i + 1)[3] == entries(1, 20_000, i)


def test_random_histories(open_log):
    """Against a model: two groups, truncations, compactions, votes, restarts, marks at random."""
    chosen = random.Random(20)
    log = open_log(segment_bytes=MIB)
    model = {7: ([], 1, (0, 0)), 8: ([], 1, (0, 0))}
    for group in model:
        log.open_group(group, b"group %d" % group)
    for step in range(2500):
        group = chosen.choice([7, 8])
        held, first, vote = model[group]
        starts = sorted({start for _, start in held if start >= first})
        what = chosen.random()
        if what < 0.06 and starts:
            at = chosen.choice(starts[-4:])
            log.truncate(group, step + 1, at)
            held = held[: at - 1]
        elif what < 0.08 and starts:
            first = chosen.choice(starts)
            assert log.compact(group, first, 1) == OK
        elif what < 0.12:
            vote = (step + 1, chosen.randrange(9))
            log.hard_state(group, *vote)
        elif what < 0.13:
            log.settle(chosen.random() < 0.5)
            while log.prepare() == OK and chosen.random() < 0.9:
                pass
            log.close()
            log = open_log(segment_bytes=MIB)
            check_report(log, model)
            continue
        elif what < 0.4:
            log.settle(chosen.random() < 0.5)
        else:
            payloads = entries(chosen.randint(1, 4), chosen.choice([0, 3, 200, 9000]), step)
            log.append(group, step + 1, len(held) + 1, payloads)
            held = held + [(payload, len(held) + 1) for payload in payloads]
        model[group] = held, first, vote
    log.settle()
    for group, (held, first, _) in model.items():
        for at in range(first, len(held) + 1):
            status, start, _, got, _ = log.read(group, at)
            assert (status, start) == (OK, held[at - 1][1])
            assert got == [payload for payload, _ in held[start - 1 : start - 1 + len(got)]]
            assert start <= at < start + len(got)
        assert log.read(group, len(held) + 1)[0] == NOT_FOUND


def check_report(log, model):
    report = log.report()
    assert (report["corrupt"], report["unproved"], report["detail"]) == (0, 0, "")
    for group, (held, first, vote) in model.items():
        found = report["groups"][group]
        assert (found["first"], found["last"], found["hard_state"]) == (first, len(held), vote)
        assert found["faulty"] == (0, 0)
        assert found["unproved_last"] == 0


def test_preparing_waits_for_a_lull_but_not_when_spares_are_low(open_log):
    log = open_log(segment_bytes=4 * MIB, group_bytes=MIB, spares=4)
    log.open_group(GROUP, b"a")
    log.settle()
    waits, seen = log.prepare_can_wait(0)
    assert not waits, "fewer than two are ready: at once, whatever is written"
    while log.status()["spare_segments"] < 2:
        assert log.prepare() == OK
    log.append(GROUP, 1, 1, entries(1, 600_000))
    log.settle()
    waits, seen = log.prepare_can_wait(seen)
    assert waits, "much was written since the last look"
    waits, seen = log.prepare_can_wait(seen)
    assert not waits, "nothing was: a lull"
