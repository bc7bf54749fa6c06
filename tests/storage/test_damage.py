"""Damaged files: recovery judges, never guesses, never crashes, and judges alike twice.

The full matrix (every byte, every sector, an independent decoder) is elsewhere; here
are the rules one at a time, and random damage of several sectors at once.
"""

import random
import shutil

import pytest

from quorumlog._core.bridge.testing_storage import StepLog

OK, NOT_FOUND, COMPACTED, CORRUPT = 0, 52, 12, 42
MIB = 1 << 20
GROUP, OTHER = 7, 8
FIRST = "segment-0000000000000001.qlog"


class Reference:
    """A log of two groups, one batch a sync group; where each record lies, and what it was."""

    def __init__(self, path, *, mark):
        self.path = path
        self.places = {}
        log = StepLog(str(path), segment_bytes=MIB, spares=0)
        for group, name in ((GROUP, b"a"), (OTHER, b"b")):
            log.open_group(group, name)
        log.settle()
        for i in range(6):
            for group in (GROUP, OTHER):
                log.append(group, 1, 2 * i + 1, self.batch(group, i))
                status, number, offset, size, *_ = log.plan()
                assert status == OK
                log.execute(number)
                log.complete(number)
                self.places[group, i] = (offset, size)
        if mark:
            log.settle(mark=True)
        log.abandon()

    @staticmethod
    def batch(group, i):
        return [b"%d-%d-%d " % (group, i, k) * 20 for k in range(2)]

    def change(self, change):
        file = self.path / FIRST
        data = bytearray(file.read_bytes())
        change(data)
        file.write_bytes(data)


def opened(path):
    log = StepLog(str(path), segment_bytes=MIB, spares=0)
    report = log.report()
    return log, report, report["groups"]


def verdicts(groups):
    keys = ("first", "last", "faulty", "unproved_last", "unproved_term", "hard_state_damaged", "hard_state")
    return {group: tuple(found[key] for key in keys) for group, found in groups.items()}


def flip_body(reference, group, i):
    offset, _ = reference.places[group, i]

    def change(data):
        data[data.index(b"%d-%d-0" % (group, i), offset)] ^= 1

    reference.change(change)


def zero(reference, group, i):
    offset, size = reference.places[group, i]

    def change(data):
        data[offset : offset + size] = bytes(size)

    reference.change(change)


def test_a_bad_record_below_f_is_corrupt_and_taints_its_group_alone(tmp_path):
    reference = Reference(tmp_path, mark=True)
    flip_body(reference, GROUP, 2)
    for _ in range(2):
        log, report, groups = opened(tmp_path)
        assert groups[GROUP]["last"] == 4
        assert groups[GROUP]["faulty"] == (5, 12)
        assert groups[OTHER]["last"] == 12
        assert groups[OTHER]["faulty"] == (0, 0)
        assert not groups[OTHER]["hard_state_damaged"]
        assert log.read(GROUP, 4)[0] == OK
        assert log.read(GROUP, 5)[0] == CORRUPT
        log.close()
    assert FIRST in opened(tmp_path)[1]["detail"] or report["corrupt"] > 0


def test_a_bad_record_above_f_is_unproved(tmp_path):
    """The last group issued: no header says that it was flushed."""
    reference = Reference(tmp_path, mark=False)
    flip_body(reference, OTHER, 5)
    for _ in range(3):
        log, _, groups = opened(tmp_path)
        assert groups[OTHER]["last"] == 10
        assert groups[OTHER]["faulty"] == (0, 0)
        assert (groups[OTHER]["unproved_last"], groups[OTHER]["unproved_term"]) == (12, 1)
        assert groups[GROUP]["last"] == 12
        assert groups[GROUP]["unproved_last"] == 0
        log.close()
    # The protocol drops the tail: then it is gone for good.
    log, _, _ = opened(tmp_path)
    log.truncate(OTHER, 2, 11)
    log.append(OTHER, 2, 11, [b"new"])
    log.settle()
    log.close()
    log, _, groups = opened(tmp_path)
    assert (groups[OTHER]["last"], groups[OTHER]["unproved_last"], groups[OTHER]["last_term"]) == (11, 0, 2)
    assert log.read(OTHER, 11)[3] == [b"new"]
    log.close()


def test_a_torn_last_write_that_left_nothing(tmp_path):
    reference = Reference(tmp_path, mark=False)
    zero(reference, OTHER, 5)
    log, report, groups = opened(tmp_path)
    assert groups[OTHER]["last"] == 10
    assert groups[OTHER]["unproved_last"] == 0
    assert report["corrupt"] == 0
    log.close()


def test_a_lost_write_below_f_taints_what_the_chain_names(tmp_path):
    """A whole sync group is zeros: the next record of its group names it."""
    reference = Reference(tmp_path, mark=True)
    zero(reference, GROUP, 2)
    log, _, groups = opened(tmp_path)
    assert groups[GROUP]["last"] == 4
    assert groups[GROUP]["faulty"] == (5, 12)
    assert groups[OTHER]["last"] == 12
    assert groups[OTHER]["faulty"] == (0, 0)
    log.close()


def test_a_lost_write_that_nothing_names_taints_all_that_end_before_it(tmp_path):
    reference = Reference(tmp_path, mark=True)
    zero(reference, OTHER, 5)
    log, _, groups = opened(tmp_path)
    for group in (GROUP, OTHER):
        assert groups[group]["faulty"][0] == groups[group]["last"] + 1
        assert groups[group]["hard_state_damaged"]
    log.close()


def test_a_lost_end_of_a_segment_is_named_by_file_and_offset(tmp_path):
    """Only the next segment knows what was there: the damage lies behind the last thing that is."""
    reference = Reference(tmp_path, mark=True)
    log, *_ = opened(tmp_path)
    log.append(GROUP, 1, 13, [b"in the next segment"])
    log.settle(mark=True)
    log.close()
    end, _ = reference.places[GROUP, 4]

    def change(data):
        data[end:] = bytes(len(data) - end)

    reference.change(change)
    for opening in range(3):
        log, report, groups = opened(tmp_path)
        assert groups[GROUP]["boundless"], opening
        assert "segment-" in report["detail"], opening
        assert "at offset" in report["detail"], opening
        if opening == 0:
            assert f"{FIRST} at offset {end}" in report["detail"]
        # Later ones find it in the checkpoint that holds the first one's verdict, as long as nobody has mended it.
        log.close()
        if opening == 0:
            (tmp_path / FIRST).unlink()


def test_a_header_alone_is_replaced_by_the_tail(tmp_path):
    reference = Reference(tmp_path, mark=True)
    offset, _ = reference.places[GROUP, 2]

    def change(data):
        data[offset : offset + 120] = bytes(120)

    reference.change(change)
    log, report, groups = opened(tmp_path)
    assert groups[GROUP]["last"] == 12
    assert groups[GROUP]["faulty"] == (0, 0)
    assert FIRST in report["detail"]
    log.close()


def test_header_and_tail_gone_records_are_found_by_their_magic(tmp_path):
    reference = Reference(tmp_path, mark=True)
    offset, size = reference.places[GROUP, 2]

    def change(data):
        data[offset : offset + 120] = bytes(120)
        data[offset + size - 88 : offset + size] = bytes(88)

    reference.change(change)
    log, _, groups = opened(tmp_path)
    assert groups[GROUP]["last"] == 12
    assert log.read(GROUP, 5)[3] == Reference.batch(GROUP, 2)
    log.close()


def test_a_truncation_is_replayed_from_a_list(tmp_path):
    log = StepLog(str(tmp_path), segment_bytes=MIB, spares=0)
    log.open_group(GROUP, b"a")
    log.append(GROUP, 1, 1, [b"kept"])
    log.append(GROUP, 1, 2, [b"dropped"])
    log.settle()
    log.truncate(GROUP, 2, 2)
    _, number, offset, *_ = log.plan()
    log.execute(number)
    log.complete(number)
    log.append(GROUP, 2, 2, [b"instead"])
    log.settle()
    log.settle(mark=True)
    log.close()
    file = tmp_path / FIRST
    data = bytearray(file.read_bytes())
    data[offset + 120 + 64 + 10] ^= 1
    file.write_bytes(data)
    log, _, groups = opened(tmp_path)
    assert (groups[GROUP]["last"], groups[GROUP]["runs"]) == (2, [(1, 1), (2, 2)])
    assert groups[GROUP]["faulty"] == (0, 0)
    assert log.read(GROUP, 2)[3] == [b"instead"]
    log.close()


@pytest.mark.parametrize("size", [0, 100, 4096, MIB - 4096])
def test_a_spare_that_was_never_finished(tmp_path, size):
    log = StepLog(str(tmp_path), segment_bytes=MIB, spares=0)
    log.open_group(GROUP, b"a")
    log.settle()
    log.close()
    (tmp_path / "segment-0000000000000002.qlog").write_bytes(bytes(size))
    log, report, groups = opened(tmp_path)
    assert list(groups) == [GROUP]
    assert report["corrupt"] == 0
    log.append(GROUP, 1, 1, [b"x"])
    assert log.settle()
    log.close()


@pytest.mark.parametrize("seed", range(60))
def test_random_damage(tmp_path, seed):
    """Whatever is damaged: opening works, what is served is what was written, and a second
    recovery says the same as the first."""
    chosen = random.Random(seed)
    source = tmp_path / "source"
    source.mkdir()
    written = {}
    log = StepLog(str(source), segment_bytes=MIB, spares=0)
    model = {GROUP: 0, OTHER: 0}
    for group in model:
        log.open_group(group, b"group %d" % group)
    for step in range(chosen.randint(20, 150)):
        group = chosen.choice([GROUP, OTHER])
        if chosen.random() < 0.1 and model[group] > 2:
            model[group] -= 1
            log.truncate(group, step + 1, model[group] + 1)
        elif chosen.random() < 0.1:
            log.hard_state(group, step + 1, chosen.randrange(5))
        else:
            model[group] += 1
            payload = [b"%d %d %d" % (group, model[group], step) * chosen.choice([1, 50, 3000])]
            log.append(group, step + 1, model[group], payload)
            written.setdefault((group, model[group]), []).append(payload)
        if chosen.random() < 0.3:
            log.settle(chosen.random() < 0.3)
        if chosen.random() < 0.02:
            log.close()
            log = StepLog(str(source), segment_bytes=MIB, spares=0)
    log.close()
    for path in source.glob("segment-*"):
        data = bytearray(path.read_bytes())
        used = len(data.rstrip(b"\0")) + 1
        for _ in range(chosen.choice([0, 1, 1, 3, 10])):
            at = chosen.randrange(min(used, len(data)))
            what = chosen.random()
            if what < 0.4:
                data[at] ^= 1 << chosen.randrange(8)
            elif what < 0.7:
                sector = at // 512 * 512
                data[sector : sector + 512] = bytes(512)
            elif what < 0.9:
                sector, source_at = at // 512 * 512, chosen.randrange(used) // 512 * 512
                data[sector : sector + 512] = data[source_at : source_at + 512]
            else:
                data[at // 4096 * 4096 : at // 4096 * 4096 + 4096] = chosen.randbytes(4096)
        path.write_bytes(data)
    before = None
    for attempt in range(3):
        copy = tmp_path / f"copy-{attempt}"
        shutil.copytree(source if attempt == 0 else tmp_path / f"copy-{attempt - 1}", copy)
        log, _, groups = opened(copy)
        for group, found in groups.items():
            for index in range(max(found["first"], 1), found["last"] + 1):
                status, first, _, got, _ = log.read(group, index)
                if status == OK:
                    assert got in written[group, first]
                else:
                    assert status == CORRUPT
        if before is not None:
            assert verdicts(groups) == before
        before = verdicts(groups)
        log.close()
