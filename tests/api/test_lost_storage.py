"""A node whose disk lost or damaged something, or fails: it says so, and claims nothing it can't show."""

from __future__ import annotations

import contextlib
import resource
import secrets
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import quorumlog as ql
from quorumlog.cli import main
from quorumlog.cluster import free_addresses

SMALL = ql.NodeOptions(segment_bytes=2 << 20, spare_segments=1)
FAST = ql.RaftOptions(election_timeout=0.15, heartbeat=0.03)
CLUSTER, TOKEN = uuid.uuid4(), secrets.token_bytes(32)
NAMES = ("n1", "n2", "n3")
PAUSE = threading.Event()


class Kept(ql.StateMachine):
    def __init__(self) -> None:
        self.entries: list[bytes] = []

    def apply(self, batch: ql.Batch) -> None:
        self.entries.extend(batch)

    def query(self, question: object) -> list[bytes]:
        return list(self.entries)


class Trio:
    """Three nodes that are opened and closed one by one, in directories that the test may spoil."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.addresses = dict(zip(NAMES, free_addresses(3), strict=True))
        self.running: dict[str, tuple[ql.Node, ql.Group]] = {}
        for name in NAMES:
            self.make(name)

    def make(self, name: str) -> None:
        ql.Node.create(self.path / name, name, cluster=CLUSTER, token=TOKEN)

    def start(self, *names: str) -> None:
        for name in names:
            node = ql.Node.open(
                self.path / name, listen=self.addresses[name], peers=self.addresses, options=SMALL
            )
            self.running[name] = (node, node.raft("kept", Kept(), options=FAST))

    def stop(self, *names: str) -> None:
        for name in names or list(self.running):
            self.running.pop(name)[0].close()

    def group(self, name: str) -> ql.Group:
        return self.running[name][1]


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[Trio]:
    made = Trio(tmp_path)
    yield made
    made.stop()


def until(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, what
        PAUSE.wait(0.002)


def acknowledged_without(trio: Trio, absent: str) -> list[bytes]:
    """All three have met; then some entries are acknowledged by the other two alone."""
    trio.start(*NAMES)
    for name in NAMES:
        trio.group(name).propose(b"hello from " + name.encode(), timeout=20)
    trio.stop(absent)
    some = next(iter(trio.running))
    for number in range(10):
        trio.group(some).propose(b"%d" % number, timeout=20)
    return list(trio.group(some).read(None, timeout=20))


def test_a_node_whose_log_is_gone_does_not_start_empty(trio: Trio) -> None:
    """A-R28: n2 helped to commit; with an empty log it would elect n3, which lacks the entries."""
    held = acknowledged_without(trio, "n3")
    trio.stop()
    for segment in (trio.path / "n2").glob("segment-*"):
        segment.unlink()
    with pytest.raises(ql.Corrupt, match="its log is gone"):
        trio.start("n2")
    trio.start("n1", "n3")
    assert trio.group("n3").read(None, timeout=20) == held


def test_a_new_directory_under_a_known_name_has_no_say(trio: Trio) -> None:
    held = acknowledged_without(trio, "n3")
    trio.stop()
    shutil.rmtree(trio.path / "n2")
    trio.make("n2")
    trio.start("n2", "n3")
    until(
        lambda: trio.running["n3"][0].status().transport.refused_openings >= 2,
        "n3 refuses who is not the n2 that it knew",
    )
    assert trio.group("n3").status().role != "leader"
    with pytest.raises(ql.ProposalTimeout):
        trio.group("n3").propose(b"lost?", timeout=0.5)
    trio.start("n1")
    assert trio.group("n3").read(None, timeout=20)[: len(held)] == held
    assert trio.group("n2").status().last == 0


def test_a_damaged_group_is_named_and_stays_closed_while_others_work(tmp_path: Path) -> None:
    """A-W3: a flipped bit in what was known to be flushed."""
    ql.Node.create(tmp_path / "n1", "n1", cluster=CLUSTER, token=TOKEN)
    with ql.Node.open(tmp_path / "n1", options=SMALL) as node:
        spoilt, sound = node.raft("spoilt", Kept()), node.raft("sound", Kept())
        for number in range(20):
            spoilt.propose(b"spoil this %d" % number)
            sound.propose(b"sound %d" % number)
    (file,) = (path for path in (tmp_path / "n1").glob("segment-*") if b"spoil this 7" in path.read_bytes())
    data = file.read_bytes()
    file.write_bytes(data.replace(b"spoil this 7", b"spoil thaS 7", 1))
    told = CliRunner().invoke(main, ["log", "inspect", str(tmp_path / "n1")])
    assert told.exit_code == 1
    assert file.name in told.output
    for _ in range(2):
        with ql.Node.open(tmp_path / "n1", options=SMALL) as node:
            assert node.recovery.corrupt_records > 0
            with pytest.raises(ql.Corrupt, match=file.name) as caught:
                node.raft("spoilt", Kept())
            assert file.name in caught.value.detail
            sound = node.raft("sound", Kept())
            assert sound.read(None)[:20] == [b"sound %d" % number for number in range(20)]
            sound.propose(b"more")


@contextlib.contextmanager
def failing_disk(limit_bytes: int) -> Iterator[None]:
    """Writes of this process behind that place in a file fail (EFBIG), until it is over."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def propose_until_it_fails(group: ql.Group, acknowledged: list[bytes]) -> BaseException:
    for number in range(10_000):
        payload = b"%d " % number + b"x" * 60_000
        try:
            group.propose(payload, timeout=20)
        except ql.QuorumlogError as error:
            return error
        acknowledged.append(payload)
    raise AssertionError("the disk does not fail")


@pytest.mark.parametrize("writer", ["thread", "io_uring"])
def test_a_failed_write_ends_acknowledging_for_good(tmp_path: Path, writer: str) -> None:
    """A-W5, P5: and the disk's recovery changes nothing until the node is opened again."""
    ql.Node.create(tmp_path / "n1", "n1", cluster=CLUSTER, token=TOKEN)
    options = ql.NodeOptions(segment_bytes=2 << 20, spare_segments=1, writer=writer)  # type: ignore[arg-type]
    acknowledged: list[bytes] = []
    try:
        node = ql.Node.open(tmp_path / "n1", options=options)
    except ql.QuorumlogError:
        pytest.skip(f"this kernel does not allow {writer}")
    with node:
        group = node.raft("kept", Kept())
        group.propose(b"before")
        with failing_disk(1 << 20):
            error = propose_until_it_fails(group, acknowledged)
        assert isinstance(error, ql.Unknown)
        assert isinstance(error.__cause__, ql.StorageError)
        assert not error.definite
        assert node.status().failed
        for _ in range(3):  # the disk works again; what failed stays failed
            with pytest.raises(ql.QuorumlogError):
                group.propose(b"after", timeout=5)
        assert group.status().last < 1000
    with ql.Node.open(tmp_path / "n1", options=options) as node:
        held = node.raft("kept", Kept()).read(None, timeout=20)
    assert held[: len(acknowledged) + 1] == [b"before", *acknowledged]
    assert b"after" not in held
    assert len(held) <= len(acknowledged) + 2  # perhaps the one whose outcome is unknown
