"""`quorumlog doctor` says what the machine is like, and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from quorumlog._core.bridge.profile import build_profile
from quorumlog.cli import checks, main


def test_it_reports_every_fact_and_leaves_nothing_behind(tmp_path: Path) -> None:
    ran = CliRunner().invoke(main, ["doctor", str(tmp_path), "--json"])
    findings = json.loads(ran.stdout)
    assert ran.exit_code == int(any(one["verdict"] == "bad" for one in findings.values()))
    assert {"python", "build", "kernel", "processor", "io_uring", "file system"} <= set(findings)
    assert {"append + fdatasync", "overwrite + fdatasync", "overwrite, O_DIRECT|O_DSYNC"} <= set(findings)
    assert build_profile() in findings["build"]["found"]
    assert build_profile() in ("release", "debug", "asan", "tsan", "coverage")
    assert "µs" in findings["append + fdatasync"]["found"]
    assert list(tmp_path.iterdir()) == []


def test_the_table_names_the_same_facts(tmp_path: Path) -> None:
    ran = CliRunner().invoke(main, ["doctor", str(tmp_path)])
    assert "io_uring" in ran.stdout
    assert "fdatasync" in ran.stdout


def test_a_file_system_in_memory_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "mount_of", lambda directory: ("tmpfs", "tmpfs", "rw"))
    ran = CliRunner().invoke(main, ["doctor", str(tmp_path), "--json"])
    assert ran.exit_code == 1
    assert json.loads(ran.stdout)["file system"]["verdict"] == "bad"


def test_a_slow_build_is_warned_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checks, "build_profile", lambda: "debug")
    findings = {one.name: one for one in checks.examine(tmp_path)}
    assert findings["build"].verdict == "warning"
    assert "debug" in findings["build"].found


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    ran = CliRunner().invoke(main, ["doctor", str(tmp_path / "missing")])
    assert ran.exit_code == 1
    assert "is not a directory" in ran.stderr
