"""The `quorumlog` command: click for the words, rich for the tables, a file for each command."""

from __future__ import annotations

import sys

import click

import quorumlog
from quorumlog.cli import bench_service as bench_service  # adds commands to `bench`
from quorumlog.cli.bench import bench
from quorumlog.cli.demo import demo
from quorumlog.cli.doctor import doctor
from quorumlog.cli.log import log
from quorumlog.cli.node import init, node, readmit
from quorumlog.cli.sim import sim
from quorumlog.cli.status import status
from quorumlog.cli.trace import trace


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(quorumlog.__version__, prog_name="quorumlog")
def main() -> None:
    """A durable log and consensus engine for Python services."""


for command in (demo, init, node, readmit, status, log, doctor, bench, sim, trace):
    main.add_command(command)


def run() -> int:
    """The program's return code; an error that says what to do is printed without its traceback."""
    try:
        code = main(standalone_mode=False)
    except click.Abort:
        print("interrupted", file=sys.stderr)
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except quorumlog.QuorumlogError as error:
        print(f"quorumlog: {error}", file=sys.stderr)
        return 1
    # What click's Exit said comes back as a value in this mode.
    return code if isinstance(code, int) else 0
