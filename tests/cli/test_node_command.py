"""`quorumlog init` and `quorumlog node`: good runs, and errors that say what to do."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner

from quorumlog.cli import main
from quorumlog.cli.config import BadConfig, read_config

CLUSTER = "a44c2bfa-4f95-45fc-8d51-0c1b1d9a8e0a"


def init(tmp_path: Path, name: str, *more: str) -> str:
    token = str(tmp_path / "token")
    ran = CliRunner().invoke(
        main, ["init", str(tmp_path / name), "--name", name, "--token-file", token, *more]
    )
    assert ran.exit_code == 0, ran.output
    return ran.output


def refused(arguments: list[str]) -> str:
    ran = CliRunner().invoke(main, arguments)
    assert ran.exit_code != 0
    return ran.output


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(text)
    return path


GOOD = """
directory = "n1"
listen = "127.0.0.1:0"
[groups.ledger]
"""


def test_the_first_node_says_the_cluster_for_the_others(tmp_path: Path) -> None:
    output = init(tmp_path, "n1")
    cluster = uuid.UUID(output.split("of cluster ")[1].split()[0])
    assert f"--cluster {cluster}" in output
    token = tmp_path / "token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    before = token.read_bytes()
    init(tmp_path, "n2", "--cluster", str(cluster))
    assert token.read_bytes() == before


def test_a_second_init_over_the_same_directory_is_refused(tmp_path: Path) -> None:
    init(tmp_path, "n1", "--cluster", CLUSTER)
    token = str(tmp_path / "token")
    said = refused(
        ["init", str(tmp_path / "n1"), "--name", "n1", "--token-file", token, "--cluster", CLUSTER]
    )
    assert str(tmp_path / "n1") in said


def test_a_token_that_is_there_needs_the_cluster(tmp_path: Path) -> None:
    init(tmp_path, "n1")
    token = str(tmp_path / "token")
    said = refused(["init", str(tmp_path / "n2"), "--name", "n2", "--token-file", token])
    assert "--cluster UUID" in said
    assert not (tmp_path / "n2").exists()


@pytest.mark.parametrize(
    ("content", "said"), [("zz", "does not hold a token in hex"), ("abcd", "holds 2 bytes")]
)
def test_a_bad_token_file_is_refused(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(content)
    arguments = ["init", str(tmp_path / "n1"), "--name", "n1", "--cluster", CLUSTER]
    assert said in refused([*arguments, "--token-file", str(tmp_path / "token")])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("directory = ", "not TOML"),
        ('listen = "127.0.0.1:0"', 'directory = "…" is required'),
        ('directory = "gone"\nlisten = "127.0.0.1:0"', "quorumlog init"),
        ('directory = "n1"\nlisten = "127.0.0.1"', '"address:port"'),
        ('directory = "n1"\nlisten = "127.0.0.1:70000"', '"address:port"'),
        ('directory = "n1"\nlisten = "127.0.0.1:0"', "no group"),
        (GOOD + 'flavour = "x"', "unknown key 'flavour' in groups.ledger"),
        ('adress = "x"\n' + GOOD, "unknown key 'adress' in the file; known are directory"),
        (GOOD + 'protocol = "paxos"', 'only "raft" is there'),
        (GOOD + 'machine = "no_such_module:Thing"', "No module named 'no_such_module'"),
        (GOOD + 'machine = "json:Nothing"', "Nothing"),
        (GOOD + 'machine = "json:JSONDecoder"', "is not a subclass of quorumlog.StateMachine"),
        (GOOD + 'machine = "json"', '"package.module:Class"'),
        (GOOD + "[peers]\nn2 = 7", "peers.n2 = 7"),
        (GOOD + "[options]\nspeed = 9", "unknown key 'speed' in options"),
        (GOOD + "[groups.ledger.options]\nspeed = 9", "in groups.ledger.options"),
    ],
)
def test_each_fault_of_a_config_is_said_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "n1").mkdir()
    with pytest.raises(BadConfig) as caught:
        read_config(config(tmp_path, text))
    assert said in str(caught.value)
    assert str(tmp_path / "node.toml") in str(caught.value)


def test_a_good_config_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "n1").mkdir()
    text = GOOD + (
        'machine = "quorumlog.bench.machines:SumMachine"\n'
        "[groups.ledger.options]\nelection_timeout = 0.5\n"
        '[peers]\nn2 = "127.0.0.1:7102"\n'
        '[options]\nwriter = "thread"\n'
    )
    settings = read_config(config(tmp_path, text))
    assert settings.directory == tmp_path / "n1"
    assert settings.peers == {"n2": "127.0.0.1:7102"}
    assert settings.options is not None
    assert settings.options.writer == "thread"
    (group,) = settings.groups
    assert group.name == "ledger"
    assert group.machine is not None
    assert group.options is not None
    assert group.options.election_timeout == 0.5


def test_a_missing_config_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    said = refused(["node", "--config", str(tmp_path / "none.toml")])
    assert "No such file" in said
    assert "Traceback" not in said


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_runs_until_it_is_told_to_end(number: signal.Signals, tmp_path: Path) -> None:
    init(tmp_path, "n1")
    path = config(tmp_path, GOOD)
    with subprocess.Popen(
        [sys.executable, "-m", "quorumlog", "node", "--config", str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as running:
        assert running.stdout is not None
        first = running.stdout.readline()
        assert first.startswith("n1 listens on 127.0.0.1:")
        assert "groups: ledger" in first
        running.send_signal(number)
        rest = running.stdout.read()
        assert running.wait(60) == 0
    assert rest == "n1 is closed\n"
