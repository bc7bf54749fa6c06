"""Batch pools: bounded, reused, safe to give back from any thread; bodies are checked."""

import itertools
import struct
import threading

import pytest
from google_crc32c import value as crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from quorumlog._core.bridge import testing_storage
from quorumlog._core.bridge.testing_storage import Pool

KIND_ENTRIES = 1


def test_a_pool_never_takes_more_than_its_limit():
    pool = Pool(1 << 20)
    held = []
    while (number := pool.new(8192)) is not None:
        held.append(number)
        assert pool.numbers_of()["allocated"] <= 1 << 20
    assert len(held) > 100
    assert all(pool.drop(number) for number in held)
    assert pool.numbers_of()["used"] == 0
    assert pool.new(1000 * 1024) is not None, "what is kept for reuse makes room for another size"
    pool.close()


def test_bodies_are_aligned_and_reused():
    pool = Pool(1 << 20)
    first = pool.new(4096)
    assert pool.aligned(first)
    pool.drop(first)
    before = pool.numbers_of()["allocated"]
    for _ in range(1000):
        assert pool.drop(pool.new(4000))
    assert pool.numbers_of()["allocated"] == before
    pool.close()


def test_large_bodies_go_back_at_once():
    pool = Pool(64 << 20)
    number = pool.new(16 << 20)
    assert pool.numbers_of()["allocated"] > 16 << 20
    pool.drop(number)
    assert pool.numbers_of()["allocated"] == 0
    pool.close()


def test_the_memory_outlives_the_owner():
    pool = Pool(1 << 20)
    numbers = [pool.new(size) for size in (0, 8, 512, 300_000)]
    address_holder = pool
    # The batches are dropped after the pool was closed by its owner; ASan watches.
    pool.close()
    assert all(address_holder.drop(number) for number in numbers)


def test_batches_come_back_from_other_threads():
    pool = Pool(8 << 20)
    rounds = 2000
    handed: list[list[int]] = [[], []]
    wrong = []
    ready = threading.Barrier(3)

    def give_back(mine):
        ready.wait()
        done = 0
        while done < rounds:
            if mine:
                if not pool.drop(mine.pop(0)):
                    wrong.append(done)
                done += 1

    threads = [threading.Thread(target=give_back, args=(mine,)) for mine in handed]
    for thread in threads:
        thread.start()
    ready.wait()
    for i in range(rounds):
        for k in (0, 1):
            while (number := pool.new(8 * (i % 64))) is None:
                pass
            handed[k].append(number)
    for thread in threads:
        thread.join()
    assert wrong == []
    assert pool.numbers_of()["used"] == 0
    assert pool.numbers_of()["allocated"] <= 8 << 20
    pool.close()


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=40))
def test_what_is_sealed_is_valid(payloads):
    header, body = testing_storage.identity(KIND_ENTRIES, 1, 1, 1, payloads)
    status, verdict, fields = testing_storage.parse(header, body)
    assert (status, verdict) == (0, 0)
    assert fields["count"] == len(payloads)
    assert len(body) % 8 == 0


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=9), min_size=1, max_size=6), st.data())
def test_wrong_offsets_are_seen(payloads, data):
    """The oracle: offsets start at 0, never fall, end within the body, and paddings are zero."""
    header, body = testing_storage.identity(KIND_ENTRIES, 1, 1, 1, payloads)
    offsets = list(struct.unpack_from(f"<{len(payloads) + 1}I", body))
    at = data.draw(st.integers(0, len(offsets) - 1))
    offsets[at] = data.draw(st.integers(0, 60))
    changed = struct.pack(f"<{len(offsets)}I", *offsets) + body[4 * len(offsets) :]
    table = (4 * len(offsets) + 7) // 8 * 8
    expected = (
        offsets[0] == 0
        and all(a <= b for a, b in itertools.pairwise(offsets))
        and (offsets[-1] + 7) // 8 * 8 == len(body) - table
        and not any(body[table + offsets[-1] :])
    )
    fixed = bytearray(header)
    fixed[72:76] = struct.pack("<I", crc32c(changed))
    fixed[0:4] = struct.pack("<I", crc32c(bytes(fixed[4:])))
    status, verdict, _ = testing_storage.parse(bytes(fixed), changed)
    assert status == 0
    assert (verdict == 0) == expected


@pytest.mark.parametrize(("kind", "count"), [(3, 1), (1, 0)])
def test_count_must_fit_the_kind(kind, count):
    header, body = testing_storage.identity(KIND_ENTRIES, 1, 1, 1, [b"x"])
    fixed = bytearray(header)
    fixed[5] = kind
    fixed[40:44] = struct.pack("<I", count)
    fixed[0:4] = struct.pack("<I", crc32c(bytes(fixed[4:])))
    assert testing_storage.parse(bytes(fixed), body)[0] != 0
