"""Nodes whose files are spoilt while they are closed: what others hold is fetched, and nothing is lost."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_lost_storage import CLUSTER, NAMES, TOKEN, Trio, acknowledged_without, trio, until

import quorumlog as ql
from quorumlog.cli import main

__all__ = ["trio"]


def entry(number: int) -> bytes:
    return b"entry %d, to be spoilt perhaps" % number


def fill(trio: Trio, count: int = 20) -> list[bytes]:
    """Acknowledged and applied on all three, marked as flushed, and closed."""
    trio.start(*NAMES)
    for number in range(count):
        trio.group("n1").propose(entry(number), timeout=20)
    # What is flushed everywhere is said so by the next header: F covers all but the last entry.
    for last in (b"last but one", b"last"):
        for name in NAMES:
            end = trio.group("n1").status().last
            until(lambda name=name, end=end: trio.group(name).status().flushed >= end, "all is flushed")  # type: ignore[misc]
        trio.group("n1").propose(last, timeout=20)
    held = list(trio.group("n1").read(None, timeout=20))
    trio.stop()
    return held


def spoil(path: Path, text: bytes) -> Path:
    """Flips a bit of what is written in a node's log, in place: a running one sees nothing else changed."""
    (file,) = (p for p in path.glob("segment-*") if text in p.read_bytes())
    data = file.read_bytes()
    place = data.index(text)
    with file.open("r+b") as opened:
        opened.seek(place)
        opened.write(bytes([data[place] ^ 0x10]))
    return file


def faults(trio: Trio, name: str) -> tuple[int, int, int]:
    status = trio.group(name).status()
    return status.faulty, status.faults_found, status.faults_repaired


@pytest.mark.parametrize("places", [(3, 9, 15), (19, 18, 17), (0, 1, 2)])
def test_three_nodes_with_one_bad_record_each_recover(trio: Trio, places: tuple[int, ...]) -> None:
    held = fill(trio)
    for name, place in zip(NAMES, places, strict=True):
        spoil(trio.path / name, entry(place))
    trio.start(*NAMES)
    for name in NAMES:
        assert trio.group(name).read(None, timeout=30) == held
        assert faults(trio, name) == (0, 1, 1)
    trio.group("n2").propose(b"on", timeout=20)
    trio.stop()
    # For good: another restart finds nothing.
    trio.start(*NAMES)
    for name in NAMES:
        assert trio.group(name).read(None, timeout=30) == [*held, b"on"]
        assert faults(trio, name) == (0, 0, 0)


def test_a_corrupt_last_acknowledged_record_loses_nothing(trio: Trio) -> None:
    held = acknowledged_without(trio, "n3")
    trio.stop()
    spoil(trio.path / "n2", held[-1] if len(held[-1]) > 8 else b"hello from n3")
    trio.start("n1", "n2")
    assert trio.group("n2").read(None, timeout=30) == held
    trio.start("n3")
    assert trio.group("n3").read(None, timeout=30) == held


def test_without_an_intact_copy_it_waits_and_never_guesses(trio: Trio) -> None:
    """n1 and n2 acknowledged; n3 lacks it, n2's copy is bad, n1 is down."""
    trio.start(*NAMES)
    for name in NAMES:
        trio.group(name).propose(b"hello from " + name.encode(), timeout=20)
    trio.stop("n3")
    trio.group("n1").propose(entry(77), timeout=20)
    held = trio.group("n1").read(None, timeout=20)
    trio.stop()
    spoil(trio.path / "n2", entry(77))
    trio.start("n2", "n3")
    until(lambda: trio.running["n2"][0].status().transport.connections, "they meet")
    with pytest.raises(ql.ProposalTimeout):
        trio.group("n3").propose(b"lost?", timeout=2)
    assert faults(trio, "n2")[0] in (0, 1)
    assert trio.group("n3").status().role != "leader"
    trio.start("n1")
    for name in NAMES:
        assert trio.group(name).read(None, timeout=30)[: len(held)] == held


def test_damage_without_a_known_place_waits_for_a_leader_to_admit_it(trio: Trio) -> None:
    """A block of zeros takes a record, its list and everything that names it."""
    held = fill(trio)
    text = entry(7)
    (file,) = (p for p in (trio.path / "n3").glob("segment-*") if text in p.read_bytes())
    data = bytearray(file.read_bytes())
    at = data.index(text) // 4096 * 4096
    data[at : at + 4096] = bytes(4096)
    file.write_bytes(data)
    trio.start("n3")
    assert trio.group("n3").status().listening
    trio.start("n1", "n2")
    assert trio.group("n3").read(None, timeout=30) == held
    until(lambda: not trio.group("n3").status().listening, "n3 is admitted")
    trio.stop("n1")
    trio.group("n3").propose(b"with a say again", timeout=20)


def test_what_only_a_read_finds_is_repaired_too(trio: Trio) -> None:
    """A sealed segment is not read at opening: the state machine's reading comes upon it."""
    big = [b"<%d> " % number + b"z" * 50_000 for number in range(60)]
    trio.start(*NAMES)
    for payload in big:
        trio.group("n1").propose(payload, timeout=20)
    trio.group("n3").read(None, timeout=20)
    trio.stop()
    file = spoil(trio.path / "n3", big[2][:12])
    assert file.name.endswith("1.qlog")
    trio.start(*NAMES)
    assert trio.group("n3").read(None, timeout=30) == big
    assert faults(trio, "n3") == (0, 1, 1)
    trio.stop()
    trio.start(*NAMES)
    assert trio.group("n3").read(None, timeout=30) == big
    assert faults(trio, "n3") == (0, 0, 0)


def wiped(trio: Trio, name: str) -> int:
    shutil.rmtree(trio.path / name)
    return ql.Node.create(trio.path / name, name, cluster=CLUSTER, token=TOKEN, rejoin=True)


def test_a_wiped_node_comes_back_by_an_explicit_command(trio: Trio) -> None:
    held = fill(trio)
    incarnation = wiped(trio, "n2")
    trio.start(*NAMES)
    refused = lambda: trio.running["n1"][0].status().transport.refused_openings  # noqa: E731
    until(lambda: refused() >= 2, "n1 refuses whom nobody readmitted")
    assert trio.group("n2").status().last == 0
    for name in ("n1", "n3"):
        trio.running[name][0].readmit("n2", incarnation)
    assert trio.group("n2").read(None, timeout=30) == held
    until(lambda: not trio.group("n2").status().listening, "n2 is admitted")
    trio.stop("n1")
    trio.group("n2").propose(b"n2 counts again", timeout=20)
    trio.stop()
    trio.start("n2", "n3")  # the survivor remembers, and so does n2
    assert not trio.group("n2").status().listening
    assert trio.group("n2").read(None, timeout=30) == [*held, b"n2 counts again"]


def test_a_wiped_node_helps_nobody_before_it_is_admitted(trio: Trio) -> None:
    """A-R28: n1 and n2 committed without n3; n2 is wiped and readmitted while n1 is down."""
    held = acknowledged_without(trio, "n3")
    trio.stop()
    incarnation = wiped(trio, "n2")
    trio.start("n2", "n3")
    trio.running["n3"][0].readmit("n2", incarnation)
    until(lambda: trio.running["n3"][0].status().transport.connections >= 2, "they are connected")
    with pytest.raises(ql.ProposalTimeout):
        trio.group("n3").propose(b"lost?", timeout=2)
    assert trio.group("n3").status().role != "leader"
    trio.stop("n2")
    trio.start("n2")
    assert trio.group("n2").status().listening
    trio.start("n1")
    trio.running["n1"][0].readmit("n2", incarnation)
    for name in NAMES:
        assert trio.group(name).read(None, timeout=30)[: len(held)] == held


def test_readmission_of_a_stopped_survivor(trio: Trio) -> None:
    held = fill(trio)
    incarnation = wiped(trio, "n2")
    for name in ("n1", "n3"):
        arguments = ["readmit", str(trio.path / name), "--name", "n2", "--incarnation", str(incarnation)]
        told = CliRunner().invoke(main, arguments)
        assert told.exit_code == 0, told.output
        assert "from now on" in told.output
    trio.start(*NAMES)
    assert trio.group("n2").read(None, timeout=30) == held


def test_readmission_refuses_what_was_not_made_for_it(trio: Trio) -> None:
    fill(trio, 2)
    shutil.rmtree(trio.path / "n2")
    plain = ql.Node.create(trio.path / "n2", "n2", cluster=CLUSTER, token=TOKEN)
    trio.start("n1")
    node = trio.running["n1"][0]
    for name, incarnation in [("n2", plain), ("n2", 1 << 64), ("n1", 1 << 63), ("nobody", 1 << 63)]:
        with pytest.raises(ql.UsageError):
            node.readmit(name, incarnation)
    directory = str(trio.path / "n3")
    for arguments in itertools.product([directory], ["n2", "n3"], [str(plain)]):
        command = ["readmit", arguments[0], "--name", arguments[1], "--incarnation", arguments[2]]
        assert CliRunner().invoke(main, command).exit_code == 1


def test_init_tells_what_to_do(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("ab" * 32)
    arguments = ["init", str(tmp_path / "n2"), "--name", "n2", "--token-file", str(token), "--rejoin"]
    assert CliRunner().invoke(main, arguments).exit_code == 2
    told = CliRunner().invoke(main, [*arguments, "--cluster", str(CLUSTER)])
    assert told.exit_code == 0
    assert "quorumlog readmit DIR --name n2 --incarnation" in told.output


def scrub_twice(node: ql.Node) -> None:
    """The second of two passes that end after this call began after it."""
    for _ in range(2):
        passes = node.status().scrub_passes
        node.scrub()
        until(lambda passes=passes: node.status().scrub_passes > passes, "another pass")


def test_the_scrub_finds_what_nobody_reads(trio: Trio) -> None:
    big = [b"<%d> " % number + b"z" * 50_000 for number in range(60)]
    trio.start(*NAMES)
    for payload in big:
        trio.group("n1").propose(payload, timeout=20)
    for name in NAMES:
        trio.group(name).read(None, timeout=20)
    node = trio.running["n3"][0]
    node.scrub()
    until(lambda: node.status().scrub_passes >= 1, "all that is sealed is read once")
    before = node.status()
    assert before.scrub_faults == 0
    spoil(trio.path / "n3", big[2][:12])
    # A pass under way and the one asked for may both meet it before it is repaired; none that begins later may.
    scrub_twice(node)
    until(lambda: node.status().faults_repaired >= 1, "the bad batch is found and repaired")
    scrub_twice(node)
    after = node.status()
    assert after.scrub_faults in (1, 2)
    assert after.faults_found == after.faults_repaired
    assert after.scrubbed_bytes > before.scrubbed_bytes
    scrub_twice(node)
    assert node.status().scrub_faults == after.scrub_faults, "what is repaired is not found again"
    trio.stop()
    trio.start(*NAMES)
    assert trio.group("n3").read(None, timeout=30) == big


def test_a_scrub_that_is_off_reads_nothing(trio: Trio) -> None:
    options = ql.NodeOptions(segment_bytes=2 << 20, spare_segments=1, scrub_bytes_per_s=0)
    with ql.Node.open(trio.path / "n1", options=options) as node:
        node.raft("alone", voters=["n1"])
        node.scrub()
        assert node.status().scrubbed_bytes == 0
