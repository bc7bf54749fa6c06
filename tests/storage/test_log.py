"""quorumlog.Log: the log alone, as its users see it."""

import gc
import os
import signal
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

import quorumlog as ql
from quorumlog.log import Log, Span

MIB = 1 << 20


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log"


def opened(path, **options):
    return Log.open(path, segment_bytes=MIB, spare_segments=1, **options)


def contents(log):
    return [entry for batch in log for entry in batch]


def test_append_sync_read(path):
    with opened(path) as log:
        assert (log.first, log.last, len(log)) == (1, 0, 0)
        assert log.append(b"one") == 1
        assert log.append_many([b"two", b"", b"four"]) == Span(2, 5)
        log.sync()
        batch = log.read(3)
        assert (batch.first, batch.last, batch.count) == (2, 4, 3)
        assert batch.payload.tobytes() == b"twofour"
        assert batch.offsets.tolist() == [0, 3, 3, 7]
        assert contents(log) == [b"one", b"two", b"", b"four"]
    with opened(path) as log:
        assert contents(log) == [b"one", b"two", b"", b"four"]
        assert [batch.first for batch in log.iterate(3)] == [2]


def test_views_are_read_only_aligned_and_outlive_the_log(path):
    with opened(path) as log:
        log.append_many((np.arange(100, dtype="<u8"), np.arange(0, 801, 8, dtype="<u4")))
        batch = log.read(1)
        payload = batch.payload
        with pytest.raises(ValueError, match="read-only"):
            payload[0] = 1
        del batch
    assert payload.view("<u8").tolist() == list(range(100))


def test_reading_needs_no_sync(path):
    with opened(path) as log:
        log.append(b"x")
        assert list(log.read(1)) == [b"x"]


def test_appends_before_close_are_durable(path):
    with opened(path) as log:
        for i in range(100):
            log.append(b"%d" % i)
    with opened(path) as log:
        assert contents(log) == [b"%d" % i for i in range(100)]


def test_truncate_and_compact_at_batch_ends_only(path):
    with opened(path) as log:
        for i in range(10):
            log.append_many([b"%d" % i] * 3)
        with pytest.raises(ql.UsageError, match="within the batch 4 to 6"):
            log.truncate(5)
        with pytest.raises(ql.UsageError, match="within the batch 4 to 6"):
            log.compact(6)
        with pytest.raises(ql.UsageError, match="truncate at 32"):
            log.truncate(32)
        log.truncate(31)
        log.truncate(28)
        log.compact(7)
        assert (log.first, log.last) == (7, 27)
        with pytest.raises(ql.Compacted, match="begins at 7") as caught:
            log.read(6)
        assert caught.value.first == 7
        with pytest.raises(ql.UsageError, match="index 28"):
            log.read(28)
        assert log.append(b"next") == 28
        expected = contents(log)
    with opened(path) as log:
        assert (log.first, log.last) == (7, 28)
        assert contents(log) == expected
        log.compact(29)
        assert (len(log), contents(log)) == (0, [])
        assert log.append(b"again") == 29


def test_the_disk_use_of_a_compacted_log_is_bounded(path):
    with opened(path) as log:
        for _ in range(100):
            log.append_many([bytes(50_000)])
            log.compact(log.last + 1)
            log.sync()
        assert log.status().segments <= 3
    assert len(list(path.glob("segment-*"))) < 8


def test_only_one_process_at_a_time(path):
    with opened(path):
        with pytest.raises(ql.UsageError, match="has the directory open"):
            opened(path)
        program = "import sys; from quorumlog.log import Log; Log.open(sys.argv[1])"
        child = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True)
        assert child.returncode != 0
        assert "has the directory open" in child.stderr
    opened(path).close()
    assert os.stat(path).st_mode & 0o777 == 0o700


def test_closed(path):
    log = opened(path)
    log.append(b"x")
    log.close()
    log.close()
    assert log.closed
    for call in (lambda: log.append(b"y"), log.sync, lambda: log.read(1), lambda: log.truncate(1)):
        with pytest.raises(ql.Closed):
            call()


def test_a_forgotten_close_warns_and_keeps_what_was_appended(path):
    log = opened(path)
    log.append(b"kept")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del log
        gc.collect()
    assert [w.category for w in caught] == [ResourceWarning]
    assert str(path) in str(caught[0].message)
    with opened(path) as log:
        assert contents(log) == [b"kept"]


def test_bad_arguments(path):
    with opened(path) as log:
        with pytest.raises(ql.UsageError, match="at least one entry"):
            log.append_many([])
        with pytest.raises(ql.UsageError, match="split it"):
            log.append(bytes(MIB))
        with pytest.raises(TypeError):
            log.append("text")
        with pytest.raises(ql.UsageError, match="index 1 of a log"):
            log.read(1)
        assert log.append(b"fine") == 1
    with pytest.raises(ql.UsageError, match="multiple of 1 MiB"):
        Log.open(path, segment_bytes=12345)


def test_damage_is_named_and_nothing_is_served(path):
    with opened(path) as log:
        log.append(b"damaged in a moment")
        log.append(b"sound")
    file = path / "segment-0000000000000001.qlog"
    data = bytearray(file.read_bytes())
    data[data.index(b"damaged")] ^= 1
    file.write_bytes(data)
    with pytest.raises(ql.Corrupt, match=r"entries 1 to 2 .*segment-0000000000000001.qlog at offset"):
        opened(path)


def test_a_torn_tail_is_dropped_for_good(path):
    log = opened(path)
    log.append(b"first")
    log.sync()
    log.append(b"torn in a moment")
    log.sync()
    log._core.close()
    file = path / "segment-0000000000000001.qlog"
    data = bytearray(file.read_bytes())
    # As if the process had died before its last mark, and the last write had come half.
    at = data.index(b"torn in") // 4096 * 4096
    data[at + 200 : at + 400] = bytes(200)
    data[at + 4096 : at + 8192] = bytes(4096)
    file.write_bytes(data)
    for _ in range(2):
        with opened(path) as log:
            assert contents(log) == [b"first"]
    with opened(path) as log:
        assert log.append(b"second") == 2
    with opened(path) as log:
        assert contents(log) == [b"first", b"second"]


def test_many_threads(path):
    with opened(path) as log:
        seen: list[list[int]] = [[] for _ in range(4)]

        def work(k):
            for i in range(50):
                seen[k].append(log.append(b"%d:%d" % (k, i)))
                if i % 7 == 0:
                    log.sync()
                    assert log.read(seen[k][-1])[0].startswith(b"%d:" % k)

        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log.sync()
        entries = contents(log)
        assert sorted(index for mine in seen for index in mine) == list(range(1, 201))
        for k in range(4):
            assert [entries[index - 1] for index in seen[k]] == [b"%d:%d" % (k, i) for i in range(50)]


def test_killed_without_a_word(path):
    """What was synced is there after SIGKILL, and what is there was appended."""
    program = """
import sys
from quorumlog.log import Log
log = Log.open(sys.argv[1], segment_bytes=1 << 20)
for i in range(100000):
    log.append(b"%d" % i)
    log.sync()
    print(i, flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= 50:
            break
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read().split()
    child.wait()
    last = int(rest[-1]) if rest else 50
    with opened(path) as log:
        found = contents(log)
        assert len(found) >= last + 1
        assert found == [b"%d" % i for i in range(len(found))]
