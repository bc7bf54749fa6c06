"""`quorumlog bench instructions`: what the hot paths cost in instructions, and whether one grew."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from quorumlog.bench.instructions import (
    GROWTH_MAX,
    Count,
    InstructionsUnavailable,
    count_instructions,
    find_kept,
    grown,
    growth,
    keep,
    key,
    load_kept,
)


@click.command()
@click.option("--kept", type=click.Path(dir_okay=False, path_type=Path), help="The file with kept figures.")
@click.option("--check", is_flag=True, help="End with 1 if a path grew by more than 10 %; skip without valgrind.")
@click.option("--update", is_flag=True, help="Keep these figures in place of those under the same key.")
@click.option("--json", "only_json", is_flag=True, help="Print nothing but a JSON object.")
def instructions(kept: Path | None, check: bool, update: bool, only_json: bool) -> None:
    """Count the instructions of the hot paths by callgrind (takes seconds; wants valgrind)."""
    if (check or update) and kept is None:
        raise click.UsageError("--check and --update need --kept FILE")
    try:
        now = count_instructions()
    except InstructionsUnavailable as why:
        if not check:
            raise click.ClickException(str(why)) from why
        print(f"instructions: skipped, {why}")
        return
    used = key()
    before = find_kept(load_kept(kept), used) if kept else None
    if only_json:
        print(json.dumps({"key": used, "paths": {name: asdict(count) for name, count in now.items()}}))
    else:
        Console().print(_table(now, before or {}))
        print(_verdict(now, before, used))
    if update and kept:
        keep(kept, used, now)
    elif check and before and grown(before, now):
        raise click.exceptions.Exit(1)


def _table(now: dict[str, Count], before: dict[str, Count]) -> Table:
    table = Table(title="instructions of the hot paths")
    table.add_column("path", no_wrap=True)
    for name in ("a turn", "an entry", "kept", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, count in now.items():
        old = before.get(name)
        by = growth(old, count)
        table.add_row(
            name,
            f"{count.instructions:,.0f}",
            f"{count.instructions / count.entries:,.3g}",
            "new" if old is None else f"{old.instructions:,.0f}",
            "" if by is None else f"{by:+.1%}",
        )
    for name in sorted(before.keys() - now.keys()):
        table.add_row(name, "gone", "", f"{before[name].instructions:,.0f}", "")
    return table


def _verdict(now: dict[str, Count], before: dict[str, Count] | None, used: dict[str, object]) -> str:
    """One line that a log can be searched for."""
    if before is None:
        return (
            f"instructions: nothing is kept for {used['compiler']}, flags `{used['flags']}`, Python {used['python']},"
            f" {used['libc']} on this processor; `make bench-instructions-update` keeps these"
        )
    found = grown(before, now)
    if not found:
        return f"instructions: none of {len(now)} paths grew by more than {GROWTH_MAX:.0%}"
    return (
        f"instructions: GREW by more than {GROWTH_MAX:.0%}: {', '.join(found)}."
        " If that is meant, `make bench-instructions-update` keeps the new figures"
    )
