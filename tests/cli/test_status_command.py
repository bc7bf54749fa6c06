"""`quorumlog status`: tables for people, JSON for programs, errors that say what to do."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from click.testing import CliRunner

import quorumlog as ql
from quorumlog.cli import main

SMALL = ql.NodeOptions(segment_bytes=1 << 20, spare_segments=1)
FAST = ql.RaftOptions(election_timeout=0.15, heartbeat=0.03)


def status(directory: Path, *more: str) -> tuple[int, str]:
    ran = CliRunner().invoke(main, ["status", str(directory), "--timeout", "60", *more])
    return ran.exit_code, ran.output


def test_a_running_node(tmp_path: Path) -> None:
    path = tmp_path / "n1"
    ql.Node.create(path, "n1", cluster=uuid.uuid4(), token=b"a token of enough bytes")
    with ql.Node.open(path, options=SMALL, peers={"n2": "127.0.0.1:1"}) as node:
        group = node.raft("ledger", voters=["n1"], options=FAST)
        group.propose(b"x", timeout=60)
        node.raft("stuck", options=FAST)
        code, output = status(path)
        assert code == 0
        assert "node n1 of cluster" in output
        assert "n2 NOT CONNECTED" in output
        assert "group ledger on n1: leader" in output
        assert "everything in the log is committed" in output
        assert "! no quorum" in output
        code, output = status(path, "--json")
        found = json.loads(output)
        assert code == 0
        assert found["peers"] == [{"name": "n2", "connected": False}]
        ledger, stuck = found["groups"]
        assert (ledger["name"], ledger["status"]["role"], ledger["blocked"]) == ("ledger", "leader", False)
        assert stuck["blocked"]
        assert stuck["findings"][0]["reason"] == "no_quorum"
        assert "no quorum" in stuck["explain"]


def test_no_node_runs_there(tmp_path: Path) -> None:
    code, output = status(tmp_path)
    assert code == 1
    assert "no node runs on" in output
    assert "Traceback" not in output


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    code, output = status(tmp_path / "none")
    assert code == 2
    assert "does not exist" in output
