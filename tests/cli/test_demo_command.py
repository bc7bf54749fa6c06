"""`quorumlog demo` on a small input: real processes, a real SIGKILL, and the verdict."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from quorumlog.cli import main
from quorumlog.demo.source import Chunk, chunked, own_sources, read_lines


@pytest.mark.processes
def test_every_line_survives_the_leader(tmp_path: Path) -> None:
    """Lines that repeat, empty ones, bytes that are no text, and one of 100 kB."""
    lines = [b"line %d" % (number % 50) for number in range(600)]
    lines += [b"", b"\xff\x00\xfe", b"x" * 100_000, b""]
    source = tmp_path / "input"
    source.write_bytes(b"\n".join(lines))
    data = tmp_path / "data"
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "quorumlog", "demo", "--json"),
            *("--input", str(source), "--directory", str(data)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    result = json.loads(ran.stdout)
    assert result["ok"] is True
    assert result["problems"] == []
    assert result["lines"] == result["acknowledged"] == len(source.read_bytes().splitlines())
    assert len(set(result["state_hash"].values())) == 1
    assert len(result["state_hash"]) == 3
    assert result["killed"] in result["state_hash"]
    assert result["without_leader_ms"] > 0
    assert result["syncs_per_second"] > 0
    assert sorted(path.name for path in data.iterdir() if path.is_dir()) == ["n1", "n2", "n3"]


@pytest.mark.processes
def test_a_single_line_is_enough(tmp_path: Path) -> None:
    source = tmp_path / "input"
    source.write_bytes(b"alone")
    ran = CliRunner().invoke(
        main,
        ["demo", "--json", "--input", str(source), "--directory", str(tmp_path / "data")],
    )
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["acknowledged"] == 1


@pytest.mark.processes
def test_ctrl_c_ends_all_its_processes(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "quorumlog", "demo", "--directory", str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as running:
        assert running.stdout is not None
        while "processes are up" not in running.stdout.readline():
            assert running.poll() is None
        nodes = psutil.Process(running.pid).children()
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert len(nodes) == 3
    assert not any(node.is_running() for node in nodes)


def test_an_input_without_lines_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "input"
    source.write_bytes(b"")
    ran = CliRunner().invoke(main, ["demo", "--input", str(source)])
    assert ran.exit_code == 1
    assert "has no lines" in ran.stderr


def test_a_directory_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    source = tmp_path / "precious"
    ran = CliRunner().invoke(main, ["demo", "--input", str(source), "--directory", str(tmp_path)])
    assert ran.exit_code == 1
    assert "is not empty" in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize(("count", "batch"), [(1, 64), (15, 64), (16, 1), (1000, 64), (5000, 7)])
def test_chunks_are_the_lines_in_order_with_consecutive_ids(count: int, batch: int) -> None:
    lines = [b"%d" % number for number in range(count)]
    chunks = chunked(lines, batch)
    assert [line for chunk in chunks for line in chunk.lines] == lines
    assert [chunk.first_id for chunk in chunks] == [
        sum(len(before.lines) for before in chunks[:number]) for number in range(len(chunks))
    ]
    assert max(len(chunk.lines) for chunk in chunks) <= batch
    assert len(chunks) >= min(16, count)


def test_large_lines_don_t_make_large_chunks() -> None:
    lines = [b"x" * 700_000] * 64
    assert chunked(lines, 64) == [Chunk(number, [line]) for number, line in enumerate(lines)]


def test_by_default_it_reads_our_own_sources() -> None:
    names = {path.name for path in own_sources()}
    assert {"limit.c", "story.py"} <= names
    assert len(read_lines(None)) > 1000
