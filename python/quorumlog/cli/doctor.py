"""`quorumlog doctor`: what this machine is like, as far as it matters to a log."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from quorumlog.cli.checks import Finding, examine

COLOURS = {"good": "green", "note": "cyan", "warning": "yellow", "bad": "bold red"}


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=Path())
@click.option("--json", "only_json", is_flag=True, help="Print a JSON object instead of a table.")
def doctor(directory: Path, only_json: bool) -> None:
    """Examine this machine, and the disk that DIRECTORY (default: here) lies on.

    Ends with 1 if something makes a log useless here.
    """
    if not directory.is_dir():
        raise click.ClickException(f"{directory} is not a directory; name the one that will hold data")
    findings = examine(directory)
    if only_json:
        print(json.dumps({one.name: asdict(one) for one in findings}))
    else:
        Console().print(_table(findings))
    if any(one.verdict == "bad" for one in findings):
        raise click.exceptions.Exit(1)


def _table(findings: list[Finding]) -> Table:
    table = Table(title="quorumlog doctor", show_lines=False)
    table.add_column("what")
    table.add_column("found", overflow="fold")
    table.add_column("verdict")
    table.add_column("why", overflow="fold")
    for one in findings:
        colour = COLOURS[one.verdict]
        table.add_row(one.name, one.found, f"[{colour}]{one.verdict}[/]", one.why)
    return table
