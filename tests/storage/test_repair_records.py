"""Holes and repairs in the log of one node (docs/format.md 6 and 6.1)."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from test_damage import CORRUPT, FIRST, GROUP, MIB, OK, OTHER, Reference, flip_body, opened, zero

from quorumlog._core.bridge.testing_storage import StepLog


def holes(groups: dict[int, dict[str, object]], group: int = GROUP) -> object:
    return groups[group]["holes"]


def spoil(reference: Reference, group: int, batch: int, at: int) -> None:
    """Flips a bit `at` bytes into the record of a sync group of one record."""
    offset, _ = reference.places[group, batch]

    def change(data: bytearray) -> None:
        data[offset + 120 + at] ^= 1

    reference.change(change)


@pytest.mark.parametrize(("at", "identified"), [(4, False), (70, False), (150, True)])
def test_a_bad_batch_whose_place_is_known_is_a_hole(tmp_path: Path, at: int, identified: bool) -> None:
    """Placement, identity, body: a list names it in any case."""
    reference = Reference(tmp_path, mark=True)
    spoil(reference, GROUP, 2, at)
    for _ in range(2):
        log, _, groups = opened(tmp_path)
        assert holes(groups) == [(5, 6, 1, identified)]
        assert groups[GROUP]["whole_last"] == 12
        assert groups[GROUP]["whole_runs"] == [(1, 1)]
        assert not groups[GROUP]["boundless"]
        # Who can't mend it has to stop before it.
        assert (groups[GROUP]["last"], groups[GROUP]["faulty"]) == (4, (5, 12))
        assert log.read(GROUP, 5)[0] == CORRUPT
        assert log.read(GROUP, 7)[3] == Reference.batch(GROUP, 3)
        log.close()


def test_damage_without_a_known_place_has_no_bounds(tmp_path: Path) -> None:
    reference = Reference(tmp_path, mark=True)
    zero(reference, GROUP, 2)
    _, _, groups = opened(tmp_path)
    assert holes(groups) == []
    assert groups[GROUP]["boundless"]
    assert not groups[OTHER]["boundless"]


def test_a_list_alone_does_not_place_a_batch_behind_a_missing_record(tmp_path: Path) -> None:
    """What is missing may be a batch of the same group: `first` is not known."""
    reference = Reference(tmp_path, mark=True)
    zero(reference, GROUP, 2)
    spoil(reference, GROUP, 3, 70)
    _, _, groups = opened(tmp_path)
    assert holes(groups) == []
    assert groups[GROUP]["boundless"]


def test_above_f_nothing_is_a_hole(tmp_path: Path) -> None:
    reference = Reference(tmp_path, mark=False)
    flip_body(reference, OTHER, 5)
    _, _, groups = opened(tmp_path)
    assert holes(groups, OTHER) == []
    assert groups[OTHER]["unproved_last"] == 12


def mended(path: Path) -> None:
    log, _, groups = opened(path)
    assert holes(groups) == [(5, 6, 1, True), (9, 10, 1, True)]
    log.repair(GROUP, 1, 9, Reference.batch(GROUP, 4))
    assert log.read(GROUP, 9)[0] != OK, "not before it is durable"
    log.settle()
    assert log.read(GROUP, 9)[3] == Reference.batch(GROUP, 4)
    assert log.read(GROUP, 5)[0] == CORRUPT
    log.append(GROUP, 2, 13, [b"on"])
    log.settle(mark=True)
    log.close()


def two_holes(path: Path) -> Reference:
    reference = Reference(path, mark=True)
    flip_body(reference, GROUP, 2)
    flip_body(reference, GROUP, 4)
    return reference


def test_a_repair_fills_its_hole_in_any_order_and_for_good(tmp_path: Path) -> None:
    two_holes(tmp_path)
    mended(tmp_path)
    for _ in range(2):
        log, _, groups = opened(tmp_path)
        assert holes(groups) == [(5, 6, 1, True)]
        assert (groups[GROUP]["whole_last"], groups[GROUP]["whole_runs"]) == (13, [(1, 1), (13, 2)])
        assert log.read(GROUP, 9)[3] == Reference.batch(GROUP, 4)
        log.close()
    log, _, _ = opened(tmp_path)
    log.repair(GROUP, 1, 5, Reference.batch(GROUP, 2))
    log.settle()
    log.close()
    log, _, groups = opened(tmp_path)
    assert groups[GROUP]["faulty"] == (0, 0)
    assert groups[GROUP]["last"] == 13
    assert [log.read(GROUP, i)[0] for i in range(1, 14)] == [OK] * 13
    log.close()


def test_a_bad_repair_mends_nothing_and_harms_nothing(tmp_path: Path) -> None:
    two_holes(tmp_path)
    mended(tmp_path)
    (second,) = (p for p in tmp_path.glob("segment-*") if b"on" in p.read_bytes() and p.name != FIRST)
    data = bytearray(second.read_bytes())
    data[data.index(Reference.batch(GROUP, 4)[0])] ^= 1
    second.write_bytes(data)
    _, report, groups = opened(tmp_path)
    assert holes(groups) == [(5, 6, 1, True), (9, 10, 1, True)]
    assert groups[GROUP]["whole_last"] == 13
    assert report["corrupt"] == 3


def test_a_repair_of_what_was_truncated_since_says_nothing(tmp_path: Path) -> None:
    two_holes(tmp_path)
    log, _, _ = opened(tmp_path)
    log.repair(GROUP, 1, 9, Reference.batch(GROUP, 4))
    log.truncate(GROUP, 3, 9)
    log.append(GROUP, 3, 9, [b"another"])
    log.settle(mark=True)
    assert log.read(GROUP, 9)[3] == [b"another"]
    log.close()
    log, _, groups = opened(tmp_path)
    assert holes(groups) == [(5, 6, 1, True)]
    assert groups[GROUP]["whole_runs"] == [(1, 1), (9, 3)]
    assert log.read(GROUP, 9)[3] == [b"another"]
    log.close()


def test_an_older_record_of_a_bad_index_is_not_served(tmp_path: Path) -> None:
    """Index 2 was written, truncated and written anew; the new one is bad and the old one intact."""
    log = StepLog(str(tmp_path), segment_bytes=MIB, spares=0)
    log.open_group(GROUP, b"a")
    log.append(GROUP, 1, 1, [b"kept"])
    log.append(GROUP, 1, 2, [b"old"])
    log.settle()
    log.close()
    log = StepLog(str(tmp_path), segment_bytes=MIB, spares=0)
    log.truncate(GROUP, 2, 2)
    log.append(GROUP, 2, 2, [b"newer"])
    log.settle(mark=True)
    log.close()
    file = tmp_path / "segment-0000000000000002.qlog"
    file.write_bytes(file.read_bytes().replace(b"newer", b"never"))
    log, _, groups = opened(tmp_path)
    assert holes(groups) == [(2, 2, 2, True)]
    assert log.read(GROUP, 2)[0] == CORRUPT
    log.repair(GROUP, 2, 2, [b"newer"])
    log.settle()
    assert log.read(GROUP, 2)[3] == [b"newer"]
    log.close()


def test_holes_go_with_the_head(tmp_path: Path) -> None:
    two_holes(tmp_path)
    log, _, _ = opened(tmp_path)
    log.compact(GROUP, 7, 1)
    log.settle(mark=True)
    log.close()
    _, _, groups = opened(tmp_path)
    assert holes(groups) == [(9, 10, 1, True)]
    assert groups[GROUP]["first"] == 7


def test_a_segment_with_a_hole_stays_and_a_repair_outlives_it(tmp_path: Path) -> None:
    """Nothing else of its first segment is alive; and when that goes at last, the repair is all there is."""
    log = StepLog(str(tmp_path), segment_bytes=MIB, spares=0)
    log.open_group(GROUP, b"a")
    log.append(GROUP, 1, 1, [b"the only batch"])
    log.settle()
    log.settle(mark=True)
    log.close()
    file = tmp_path / FIRST
    file.write_bytes(file.read_bytes().replace(b"the only batch", b"the only botch"))
    for _ in range(3):
        log, _, groups = opened(tmp_path)
        assert holes(groups) == [(1, 1, 1, True)]
        log.close()
    log, _, _ = opened(tmp_path)
    log.repair(GROUP, 1, 1, [b"the only batch"])
    log.settle(mark=True)
    log.close()
    file.unlink()
    log, _, groups = opened(tmp_path)
    assert groups[GROUP]["faulty"] == (0, 0)
    assert log.read(GROUP, 1)[3] == [b"the only batch"]
    log.close()


def test_listening_is_a_part_of_the_hard_state(tmp_path: Path) -> None:
    log = StepLog(str(tmp_path), segment_bytes=MIB, spares=0)
    log.open_group(GROUP, b"a")
    for term, listening in ((1, True), (2, True), (3, False)):
        log.hard_state(GROUP, term, 0, listening)
        log.settle(mark=True)
        log.close()
        for _ in range(2):  # the second time from the checkpoint of the first
            log, _, groups = opened(tmp_path)
            assert groups[GROUP]["listening"] == listening
            log.close()
        log, _, _ = opened(tmp_path)
    log.close()


@pytest.mark.parametrize("seed", range(40))
def test_random_holes_are_mended_in_random_order_over_restarts(tmp_path: Path, seed: int) -> None:
    chosen = random.Random(seed)
    source = tmp_path / "log"
    source.mkdir()
    log = StepLog(str(source), segment_bytes=MIB, spares=0)
    log.open_group(GROUP, b"a")
    log.open_group(OTHER, b"b")
    written: dict[int, tuple[int, list[bytes]]] = {}
    end = term = 0
    for step in range(60):
        term += chosen.random() < 0.2
        payloads = [b"%d at %d " % (step, end + 1 + k) * chosen.choice([1, 400]) for k in range(chosen.randint(1, 3))]
        log.append(GROUP, term + 1, end + 1, payloads)
        log.append(OTHER, 1, step + 1, [b"other"])
        written[end + 1] = (term + 1, payloads)
        end += len(payloads)
        if chosen.random() < 0.5:
            log.settle()
    log.settle(mark=True)
    log.close()
    file = source / FIRST
    data = bytearray(file.read_bytes())
    spoilt = chosen.sample(sorted(written), 8)
    for first in spoilt:
        data[data.index(written[first][1][0])] ^= 4
    file.write_bytes(data)
    left = set(spoilt)
    while left:
        log, _, groups = opened(source)
        assert {first for first, *_ in groups[GROUP]["holes"]} == left
        assert groups[GROUP]["whole_last"] == end
        for first in chosen.sample(sorted(left), chosen.randint(1, len(left))):
            log.repair(GROUP, written[first][0], first, written[first][1])
            left.discard(first)
        end += 1
        log.append(GROUP, term + 1, end, [b"more"])
        written[end] = (term + 1, [b"more"])
        log.settle(mark=chosen.random() < 0.5)
        log.close()
        shutil.copytree(source, tmp_path / f"after {len(left)}")
    log, _, groups = opened(source)
    assert groups[GROUP]["faulty"] == (0, 0)
    for first, (_, payloads) in written.items():
        assert log.read(GROUP, first)[3] == payloads
    log.close()
