"""`quorumlog log inspect` on a good directory, and on one with each kind of damage."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import quorumlog as ql
from quorumlog.bench.readback import read_group
from quorumlog.cli import main
from quorumlog.logfiles import read_segments

ENTRIES = [b"entry %d" % number for number in range(40)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a node that was closed in peace."""
    root = tmp_path_factory.mktemp("inspect")
    options = ql.NodeOptions(segment_bytes=1 << 20, spare_segments=1)
    with ql.LocalCluster(1, path=root, options=options) as cluster:
        group = cluster.leader(timeout=30)
        for entry in ENTRIES:
            group.propose(entry, timeout=30)
    return root / "n1"


@pytest.fixture
def directory(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "n1"))


def inspect(directory: Path, *more: str) -> tuple[int, str]:
    ran = CliRunner().invoke(main, ["log", "inspect", str(directory), *more])
    return ran.exit_code, ran.output


def inspected(directory: Path) -> tuple[int, dict[str, Any]]:
    code, output = inspect(directory, "--records", "--json")
    return code, json.loads(output)


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def test_a_good_directory_is_listed_whole(directory: Path) -> None:
    code, found = inspected(directory)
    assert code == 0
    assert found["damage"] == []
    assert found["identity"]["name"] == "n1"
    (group,) = found["groups"]
    assert group["name"] == "main"
    assert group["last"] == len(ENTRIES) + 1  # and the leader's blank one
    kinds = [record["kind"] for record in found["records"]]
    assert {"checkpoint", "open", "hard state", "blank", "entries"} <= set(kinds)
    assert sum(r["count"] for r in found["records"] if r["kind"] == "entries") == len(ENTRIES)
    assert sum(segment["records"] for segment in found["segments"]) == len(kinds)


def test_the_tables_say_it_too(directory: Path) -> None:
    code, output = inspect(directory, "--records")
    assert code == 0
    assert "every checksum agrees" in output
    assert "hard state" in output
    assert "node n1 of cluster" in output


def test_the_entries_are_read_back_as_they_were_proposed(directory: Path) -> None:
    log = read_group(directory, "main")
    assert [batch.first for batch in log] == list(range(1, len(ENTRIES) + 2))
    assert b"".join(batch.payload().tobytes() for batch in log) == b"".join(ENTRIES)


def places(directory: Path) -> dict[str, tuple[Path, int]]:
    """Where to strike: in each part of a data group in the middle of what was flushed."""
    groups = [g for s in read_segments(directory) for g in s.groups if g.kind == "data"]
    group = groups[len(groups) // 2]
    (record,) = group.records
    return {
        "header": (group.path, group.offset + 48),
        "list": (group.path, group.offset + 80 + 8),
        "placement": (group.path, record.offset + 32),
        "identity": (group.path, record.offset + 64 + 32),
        "body": (group.path, record.offset + 144 + record.body_bytes - 8),
        "tail": (group.path, group.offset + group.length - 8),
        "magic": (group.path, group.offset + 4),
    }


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("header", "sync group"),
        ("list", "sync group"),
        ("magic", "sync group"),
        ("placement", "placement checksum"),
        ("identity", "identity checksum"),
        ("body", "body checksum"),
        ("tail", "tail: checksum"),
    ],
)
def test_damage_to_what_was_flushed_is_corrupt(part: str, said: str, directory: Path) -> None:
    flip(*places(directory)[part])
    code, found = inspected(directory)
    assert code == 1
    assert any(said in one["what"] and one["verdict"] == "corrupt" for one in found["damage"])
    code, output = inspect(directory)
    assert code == 1
    assert "corrupt" in output
    with pytest.raises(ValueError, match=said):
        read_group(directory, "main")


def test_a_whole_group_overwritten_by_zeros_is_missed(directory: Path) -> None:
    groups = [g for s in read_segments(directory) for g in s.groups if g.kind == "data"]
    group = groups[len(groups) // 2]
    data = bytearray(group.path.read_bytes())
    data[group.offset : group.offset + group.length] = bytes(group.length)
    group.path.write_bytes(data)
    code, found = inspected(directory)
    assert code == 1
    assert [one["what"] for one in found["damage"]] == ["the sync group before this one is missing"]


def test_damage_behind_what_was_known_flushed_is_unproved(directory: Path) -> None:
    """The log ends with a group that nothing behind it says was flushed."""
    segments = list(read_segments(directory))
    last = [g for s in segments for g in s.groups if g.wsn_last >= g.wsn_first][-1]
    for segment in segments:
        data = bytearray(segment.path.read_bytes())
        for group in segment.groups:
            if group.offset >= last.offset and group.path == last.path and group is not last:
                data[group.offset : group.offset + group.length] = bytes(group.length)
        segment.path.write_bytes(data)
    flip(last.path, last.records[-1].offset + 144)
    code, found = inspected(directory)
    assert code == 0
    assert {one["verdict"] for one in found["damage"]} == {"unproved"}


def test_a_damaged_identity_is_corrupt(directory: Path) -> None:
    flip(directory / "identity", 100)
    code, output = inspect(directory)
    assert code == 1
    assert "identity: checksum" in output


def test_the_process_ends_with_the_verdict(directory: Path) -> None:
    """Not through click's runner: the program's own way out."""
    command = [sys.executable, "-m", "quorumlog", "log", "inspect", str(directory)]
    good = subprocess.run(command, capture_output=True, text=True, check=False)
    flip(*places(directory)["body"])
    bad = subprocess.run(command, capture_output=True, text=True, check=False)
    none = subprocess.run([*command, "--speed"], capture_output=True, text=True, check=False)
    assert (good.returncode, bad.returncode, none.returncode) == (0, 1, 2)
    assert "No such option" in none.stderr


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    code, output = inspect(tmp_path)
    assert code == 1
    assert "is no data directory" in output
