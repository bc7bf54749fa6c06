"""The `quorumlog` command without its extra, and its way of ending."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

import quorumlog as ql
from quorumlog.cli import main


@pytest.mark.parametrize("package", ["click", "rich"])
def test_without_the_extra_it_says_what_to_install(package: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from quorumlog.__main__ import main\n"
        "sys.exit(main())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert f"the package '{package}'" in ran.stderr
    assert "pip install 'quorumlog[cli]'" in ran.stderr


def test_every_command_has_help() -> None:
    ran = CliRunner().invoke(main, ["--help"])
    for name in ("demo", "init", "node", "log", "doctor", "bench", "sim", "trace"):
        assert name in ran.output
        assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0


def test_the_version_is_the_packages() -> None:
    assert ql.__version__ in CliRunner().invoke(main, ["--version"]).output


def test_a_seed_of_the_simulation_runs_and_repeats() -> None:
    first, second = (CliRunner().invoke(main, ["sim", "--seed", "7", "--json"]) for _ in range(2))
    assert first.exit_code == 0
    assert first.output == second.output
    assert '"hash"' in first.output
    other = CliRunner().invoke(main, ["sim", "--seed", "8", "--json"])
    assert other.output != first.output
