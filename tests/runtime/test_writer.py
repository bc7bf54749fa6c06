"""Both kinds of log writer carry out plans, report failures once and for all, and lose nothing."""

import contextlib
import errno
import os
import resource
import select
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from quorumlog._core.bridge.testing_writer import WriterUnderTest

ERR_USAGE, ERR_AGAIN = 1, 51
BLOCK = 4096


def io_uring_here(tmp_path: Path) -> bool:
    try:
        WriterUnderTest(os.fsencode(tmp_path), "io_uring").close()
    except OSError:
        return False
    return True


@pytest.fixture
def home(tmp_path):
    (tmp_path / "log").mkdir(mode=0o700)
    return tmp_path / "log"


@pytest.fixture(params=["thread", "io_uring"])
def kind(request, tmp_path):
    probe = tmp_path / "probe"
    probe.mkdir()
    if request.param == "io_uring" and not io_uring_here(probe):
        pytest.skip("this kernel, or the rules of this container, don't allow io_uring")
    return request.param


@pytest.fixture
def writer(home, kind):
    with contextlib.closing(WriterUnderTest(os.fsencode(home), kind)) as opened:
        assert opened.kind() == kind
        yield opened


@pytest.fixture
def file(tmp_path):
    """A descriptor for writing, of a file full of dots."""
    path = tmp_path / "file"
    path.write_bytes(b"." * (8 << 20))
    descriptor = os.open(path, os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def wait_for(writer: WriterUnderTest) -> tuple[int, int]:
    """As the reactor does: say that we sleep, look once more, then block."""
    while True:
        writer.say_sleeping(True)
        if (found := writer.completed()) is None:
            select.select([writer.event_fd()], [], [])
            writer.noticed()
        writer.say_sleeping(False)
        if found is not None or (found := writer.completed()) is not None:
            return found


# --- Plans by hand ----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 1023, 1024, 1025, 2048, 5000, 16_384, 20_000])
def test_any_number_of_parts(writer, file, count):
    parts = [(b"%d," % i) * (1 + i % 3) for i in range(count)]
    writer.submit(1, file, 3 * BLOCK, parts)
    assert wait_for(writer) == (1, 0)
    whole = b"".join(parts)
    assert os.pread(file, len(whole) + 2, 3 * BLOCK - 1) == b"." + whole + b"."
    assert writer.completed() is None


@pytest.mark.parametrize("size", [1, 4096, 262_143, 262_144, 5_000_000])
def test_any_size(writer, file, size):
    data = os.urandom(size)
    writer.submit(1, file, BLOCK, [data])
    assert wait_for(writer) == (1, 0)
    assert os.pread(file, size + 1, BLOCK) == data + b"."


def test_two_at_a_time_for_long(writer, file):
    written = bytearray(b"." * 64 * BLOCK)
    outstanding, done = set(), []
    for number in range(1, 61):
        data = bytes([number]) * (1 + 61 * number % BLOCK)
        written[number * BLOCK : number * BLOCK + len(data)] = data
        writer.submit(number, file, number * BLOCK, [data])
        outstanding.add(number)
        if len(outstanding) == 2:
            completed, error = wait_for(writer)
            assert error == 0
            outstanding.remove(completed)
            done.append(completed)
    while outstanding:
        completed, error = wait_for(writer)
        assert error == 0
        outstanding.remove(completed)
        done.append(completed)
    assert sorted(done) == list(range(1, 61))
    assert os.pread(file, len(written), 0) == written


def test_a_write_that_is_its_own_sync(writer, tmp_path):
    path = tmp_path / "direct"
    path.write_bytes(b"." * 8 * BLOCK)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_DIRECT | os.O_DSYNC)
    except OSError:
        pytest.skip("this file system has no direct writes")
    writer.submit(1, descriptor, BLOCK, [b"a" * BLOCK, b"b" * BLOCK], True)
    writer.submit(2, descriptor, 4 * BLOCK, [b"c" * BLOCK], True)
    assert sorted([wait_for(writer), wait_for(writer)]) == [(1, 0), (2, 0)]
    os.close(descriptor)
    expected = [b".", b"a", b"b", b".", b"c", b".", b".", b"."]
    assert path.read_bytes() == b"".join(byte * BLOCK for byte in expected)


def test_a_buffered_and_a_direct_plan_together(writer, file, tmp_path):
    try:
        descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_DIRECT | os.O_DSYNC)
    except OSError:
        pytest.skip("this file system has no direct writes")
    writer.submit(1, file, 0, [b"a" * BLOCK])
    writer.submit(2, descriptor, BLOCK, [b"b" * BLOCK], True)
    assert sorted([wait_for(writer), wait_for(writer)]) == [(1, 0), (2, 0)]
    os.close(descriptor)
    assert os.pread(file, 2 * BLOCK + 1, 0) == b"a" * BLOCK + b"b" * BLOCK + b"."


def test_closing_waits_for_what_is_outstanding(home, kind, file):
    writer = WriterUnderTest(os.fsencode(home), kind)
    writer.submit(1, file, 0, [b"x" * 1_000_000])
    writer.submit(2, file, 1_000_000, [b"y" * 1_000_000])
    writer.close()
    assert os.pread(file, 2_000_001, 0) == b"x" * 1_000_000 + b"y" * 1_000_000 + b"."


def test_what_an_ended_thread_submitted_is_carried_out(home, kind, tmp_path):
    """The kernel gives up io_uring requests that wait when their thread ends."""
    for number in range(20):
        path = tmp_path / f"file-{number}"
        path.write_bytes(b"." * (1 << 20))
        descriptor = os.open(path, os.O_RDWR)
        folder = home / str(number)
        folder.mkdir(mode=0o700)
        writer = WriterUnderTest(os.fsencode(folder), kind)

        def submit(writer=writer, descriptor=descriptor):
            writer.submit(1, descriptor, 0, [b"x" * 500_000])
            writer.submit(2, descriptor, 500_000, [b"y" * 500_000])

        thread = threading.Thread(target=submit)
        thread.start()
        thread.join()
        writer.close()
        assert os.pread(descriptor, 1_000_001, 0) == b"x" * 500_000 + b"y" * 500_000 + b"."
        os.close(descriptor)


# --- Failures ---------------------------------------------------------------------------------


def test_a_descriptor_that_can_not_be_written(writer, file, tmp_path):
    read_only = os.open(tmp_path / "file", os.O_RDONLY)
    writer.submit(1, read_only, 0, [b"x" * BLOCK])
    assert wait_for(writer) == (1, errno.EBADF)
    os.close(read_only)
    # What failed once stays failed, and touches the disk no more (P5).
    writer.submit(2, file, 0, [b"x" * BLOCK])
    assert wait_for(writer) == (2, errno.EBADF)
    assert os.pread(file, BLOCK, 0) == b"." * BLOCK


def test_a_full_disk(writer):
    full = os.open("/dev/full", os.O_RDWR)
    writer.submit(1, full, 0, [b"x" * BLOCK])
    assert wait_for(writer) == (1, errno.ENOSPC)
    os.close(full)


def test_a_failed_sync_is_a_failure(writer, tmp_path):
    """/dev/zero takes every write and has nothing to sync."""
    zero = os.open("/dev/zero", os.O_RDWR)
    writer.submit(1, zero, 0, [b"x"])
    assert wait_for(writer) == (1, errno.EINVAL)
    os.close(zero)


@pytest.mark.parametrize("count", [1, 3000])
def test_a_short_write_ends_in_its_reason(writer, file, count):
    """A limit on file sizes cuts the write short; carried out once more, it says why."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    parts = [b"x" * 30] * (count - 1) + [b"y" * 8192]
    start = (8 << 20) - sum(map(len, parts)) + 100
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, limits[1]))
    try:
        writer.submit(1, file, start, parts)
        assert wait_for(writer) == (1, errno.EFBIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_the_second_of_two_fails_with_the_first(writer, file, tmp_path):
    """Both orders of completion are legal; no plan succeeds behind a failed one."""
    read_only = os.open(tmp_path / "file", os.O_RDONLY)
    writer.submit(1, read_only, 0, [b"x"])
    writer.submit(2, file, 0, [b"x" * (4 << 20)])
    found = dict([wait_for(writer), wait_for(writer)])
    assert found == {1: errno.EBADF, 2: errno.EBADF}
    os.close(read_only)


def run_here(source: str, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", source, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


THREE_OUTSTANDING = """
import os, sys
from quorumlog._core.bridge.testing_writer import WriterUnderTest
writer = WriterUnderTest(os.fsencode(sys.argv[1]), sys.argv[2])
file = os.open(sys.argv[3], os.O_RDWR)
for number in (1, 2, 3):
    writer.submit(number, file, 0, [b"x"])
"""


def test_a_third_plan_is_a_bug(home, kind, file, tmp_path):
    ended = run_here(THREE_OUTSTANDING, str(home), kind, str(tmp_path / "file"))
    assert ended.returncode == -6
    assert "Q-WRITER-04" in ended.stderr


# Seccomp as Docker's default profile has it: io_uring_setup fails with EPERM.
WITHOUT_IO_URING = """
import ctypes, os, struct, sys
from quorumlog._core.bridge.testing_writer import WriterUnderTest
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
program = b"".join(struct.pack("<HBBI", *line) for line in [
    (LOAD, 0, 0, 0), (EQUAL, 0, 1, 425), (RETURN, 0, 0, 0x00050000 | int(sys.argv[2])),
    (RETURN, 0, 0, 0x7FFF0000)])
lines = ctypes.create_string_buffer(program)
class Filter(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("lines", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
described = Filter(4, ctypes.addressof(lines))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.addressof(described), 0, 0):
    print("no seccomp")
    sys.exit()
home = os.fsencode(sys.argv[1])
try:
    WriterUnderTest(home, "io_uring")
except OSError as refused:
    print("refused", refused.errno)
print(WriterUnderTest(home, "auto").kind())
"""


@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOSYS, errno.EACCES])
def test_without_io_uring_a_thread_takes_over(home, reason):
    ended = run_here(WITHOUT_IO_URING, str(home), str(reason))
    assert ended.returncode == 0, ended.stderr
    if ended.stdout == "no seccomp\n":
        pytest.skip("seccomp is not allowed here")
    assert ended.stdout == f"refused {ERR_USAGE}\nthread\n"


def test_auto_prefers_io_uring(home, tmp_path):
    (tmp_path / "probe").mkdir()
    expected = "io_uring" if io_uring_here(tmp_path / "probe") else "thread"
    with contextlib.closing(WriterUnderTest(os.fsencode(home), "auto")) as writer:
        assert writer.kind() == expected


# --- Waking -----------------------------------------------------------------------------------


def readable(writer: WriterUnderTest) -> bool:
    return bool(select.select([writer.event_fd()], [], [], 0)[0])


def test_an_awake_reactor_is_not_woken(home, file):
    with contextlib.closing(WriterUnderTest(os.fsencode(home), "thread")) as writer:
        for number in range(1, 20):
            writer.submit(number, file, 0, [b"x"])
            while writer.completed() is None:
                os.sched_yield()
            assert not readable(writer)


def test_a_sleeping_reactor_is_woken_each_time(writer, file):
    writer.say_sleeping(True)
    for number in range(1, 60):
        writer.submit(number, file, 0, [b"x"])
        found = None
        while found is None:
            select.select([writer.event_fd()], [], [])
            writer.noticed()
            found = writer.completed()
        assert found == (number, 0)


def threads_named(name: str) -> list[Path]:
    return [
        task
        for task in Path("/proc/self/task").iterdir()
        if (task / "comm").read_text().strip() == name
    ]


def test_threads_take_no_signals_and_the_preparing_one_stands_back(writer, kind):
    assert len(threads_named("ql-writer")) == (kind == "thread")
    (preparing,) = threads_named("ql-prepare")
    for task in [preparing, *threads_named("ql-writer")]:
        status = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines())
        blocked = int(status["SigBlk"], 16)
        unblockable_or_internal = {9, 19, 32, 33}
        assert all(
            blocked >> (number - 1) & 1 for number in range(1, 65)
            if number not in unblockable_or_internal
        )
    while os.getpriority(os.PRIO_PROCESS, int(preparing.name)) < 10:
        os.sched_yield()


def test_threads_are_gone_after_closing(home, kind):
    WriterUnderTest(os.fsencode(home), kind).close()
    assert threads_named("ql-writer") == []
    assert threads_named("ql-prepare") == []


# --- Plans of a real log ----------------------------------------------------------------------


def drive(writer: WriterUnderTest, until_wsn: int) -> list[int]:
    """Plans what there is to plan, completes what is done, until `until_wsn` is durable.

    Returns how many parts each plan had.
    """
    parts = []
    while writer.flushed() < until_wsn:
        while not isinstance(planned := writer.plan(), int):
            parts.append(planned[2])
        number, error = wait_for(writer)
        assert error == 0
        writer.complete(number, error)
    return parts


def entries_of(first: int, count: int) -> list[bytes]:
    return [b"entry %d " % index * (index % 7) for index in range(first, first + count)]


@pytest.mark.parametrize("direct", [False, True])
def test_what_was_flushed_is_there_after_reopening(home, kind, direct):
    path, sizes = os.fsencode(home), [1, 3, 200, 1, 1, 4000, 7, 900] * 8
    with contextlib.closing(WriterUnderTest(path, kind, 1 << 20, direct)) as writer:
        writer.open_group()
        first, starts, wsn = 1, [], 0
        for count in sizes:
            starts.append(first)
            wsn = writer.append(first, 1, entries_of(first, count))
            first += count
            if len(starts) % 5 == 0:
                drive(writer, wsn)
        drive(writer, wsn)
    with contextlib.closing(WriterUnderTest(path, kind, 1 << 20, direct)) as writer:
        assert writer.recovered()["groups"][17] == (1, first - 1)
        assert writer.recovered()["corrupt"] == 0
        for start, count in zip(starts, sizes, strict=True):
            assert writer.read(start) == entries_of(start, count)


def test_many_small_batches_make_one_write(home, kind):
    """More than 1,024 parts in one plan, which one system call does not take."""
    with contextlib.closing(WriterUnderTest(os.fsencode(home), kind, 4 << 20, False)) as writer:
        writer.open_group()
        wsn = 0
        for index in range(1, 1501):
            wsn = writer.append(index, 1, [b"x" * 100])
        assert max(drive(writer, wsn)) > 1024
    with contextlib.closing(WriterUnderTest(os.fsencode(home), kind)) as writer:
        assert writer.recovered()["groups"][17] == (1, 1500)
        assert writer.read(1500) == [b"x" * 100]


def test_spare_segments_get_ready_by_themselves(writer):
    while writer.spare_segments() < 2:
        os.sched_yield()


def test_spare_segments_are_replaced_as_they_are_used(home, kind):
    """Without a word from outside: five segments' worth of entries, and two are ready again."""
    with contextlib.closing(WriterUnderTest(os.fsencode(home), kind, 1 << 20)) as writer:
        writer.open_group()
        for index in range(1, 51):
            drive(writer, writer.append(index, 1, [b"x" * 100_000]))
        while writer.spare_segments() < 2:
            os.sched_yield()
