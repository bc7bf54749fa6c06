"""`quorumlog bench read`, `gil` and `memory`: what a service feels of the node in its process."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from quorumlog.bench.gil_load import WORKS, GilOptions, run_gil
from quorumlog.bench.log_load import LogOptions, run_log
from quorumlog.bench.memory_load import MemoryOptions, run_memory
from quorumlog.bench.options import MACHINES, BadOptions
from quorumlog.bench.read_load import ReadOptions, run_reads
from quorumlog.cli.bench import DIRECTORY, bench
from quorumlog.processes.channel import RemoteError, WorkerGone
from quorumlog.processes.fleet import FleetError

Run = Callable[[Callable[[str], None]], dict[str, Any]]


def _run(run: Run, table: Callable[[dict[str, Any]], Table], only_json: bool) -> None:
    """Runs and prints; the last line is the JSON object."""
    console = Console(stderr=True, quiet=only_json)
    try:
        with console.status("starting") as status:
            result = run(status.update)
    except BadOptions as why:
        raise click.UsageError(str(why)) from why
    except (FleetError, RemoteError, WorkerGone) as why:
        raise click.ClickException(str(why)) from why
    if not only_json:
        Console().print(table(result))
    print(json.dumps(result), flush=True)
    if not result["verified"]:
        raise click.exceptions.Exit(1)


def _table(result: dict[str, Any], title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, caption=f"NOT verified: {result['problem']}" if "problem" in result else None)
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


@bench.command("read")
@click.option("--nodes", default=3, show_default=True)
@click.option("--batch", default=4096, show_default=True, help="Questions of a read_many; 1: read, one at a time.")
@click.option("--seconds", default=3.0, show_default=True)
@click.option("--callers", default=1, show_default=True, help="Threads that read at the same time.")
@click.option("--via", type=click.Choice(["leader", "follower"]), default="leader", show_default=True)
@click.option(
    "--query",
    type=click.Choice(["many", "each"]),
    default="many",
    show_default=True,
    help="The machine's query_many answers, or its query each question.",
)
@click.option(
    "--consistency",
    type=click.Choice(["linearizable", "lease", "bounded", "stale"]),
    default="linearizable",
    show_default=True,
)
@click.option("--directory", type=DIRECTORY, help="Where the data lies during the run.")
@click.option("--json", "only_json", is_flag=True, help="Print nothing but the JSON object.")
def read_command(only_json: bool, **options: Any) -> None:
    """Reads of a NumPy table, every answer checked."""
    _run(lambda said: run_reads(ReadOptions(**options)), _read_table, only_json)


def _read_table(result: dict[str, Any]) -> Table:
    title = (
        f"{result['consistency']} reads through the {result['via']}, {result['callers']} callers,"
        f" {result['batch_entries']} a call"
    )
    table = _table(result, title, ("reads/s", "p50", "p99", "p99.9"))
    latency = result["latency_us"]
    table.add_row(
        f"query {result['query']}",
        f"{result['entries_per_second']:,.0f}",
        *(f"{latency[key]:,.0f} µs" for key in ("p50", "p99", "p999")),
    )
    return table


@bench.command("gil")
@click.option("--nodes", default=3, show_default=True)
@click.option("--payload", default=16, show_default=True, help="Bytes of an entry.")
@click.option("--batch", default=4096, show_default=True, help="Entries of a batch; 1: propose, one at a time.")
@click.option("--window", default=32, show_default=True, help="Batches in flight on each follower.")
@click.option("--seconds", default=1.0, show_default=True, help="For each of the four.")
@click.option("--pairs", default=1, show_default=True, help="How often.")
@click.option("--machine", type=click.Choice(MACHINES), default="none", show_default=True)
@click.option("--directory", type=DIRECTORY, help="Where the data lies during the run.")
@click.option("--json", "only_json", is_flag=True, help="Print nothing but the JSON object.")
def gil_command(only_json: bool, **options: Any) -> None:
    """What other processes get while the leader's process holds its GIL, against when it doesn't."""
    _run(lambda said: run_gil(GilOptions(**options), said), _gil_table, only_json)


def _gil_table(result: dict[str, Any]) -> Table:
    title = f"proposed by followers, {result['batch_entries']} × {result['payload_bytes']} B, the leader's GIL:"
    table = _table(result, title, ("entries/s", "p50"))
    for kind in WORKS:
        table.add_row(
            kind, f"{result['entries_per_second'][kind]:,.0f}", f"{result['p50_us'][kind]:,.0f} µs"
        )
    for name, ratio in result["ratios"].items():
        table.add_row(name.replace("_", " "), f"{ratio['median']:.2f}", "")
    return table


@bench.command("memory")
@click.option("--nodes", default=3, show_default=True)
@click.option("--payload", default=1024, show_default=True, help="Bytes of an entry.")
@click.option("--batch", default=256, show_default=True, help="Entries of a batch.")
@click.option("--rate", default=64.0, show_default=True, help="MiB a second.")
@click.option("--stopped", default=0.9, show_default=True, help="Share of the time that the slow follower stands.")
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--machine", type=click.Choice(MACHINES), default="python", show_default=True)
@click.option("--directory", type=DIRECTORY, help="Where the data lies during the run.")
@click.option("--json", "only_json", is_flag=True, help="Print nothing but the JSON object.")
def memory_command(only_json: bool, **options: Any) -> None:
    """What nodes take in memory while one follower is slow, and whether it catches up."""
    _run(lambda said: run_memory(MemoryOptions(**options), said), _memory_table, only_json)


def _memory_table(result: dict[str, Any]) -> Table:
    title = (
        f"{result['rate_mib']:g} MiB/s for {result['seconds']:g} s; {result['slow']} was"
        f" {result['behind_entries']:,} entries behind and caught up in {result['caught_up_seconds']:g} s"
    )
    table = _table(result, title, ("resident", "anonymous", "used_bytes"))
    for name, resident in result["rss_mib_most"].items():
        role = {result["leader"]: " (leader)", result["slow"]: " (slow)"}.get(name, "")
        used = result["used_mib_most"].get(name)
        table.add_row(
            f"{name}{role}",
            f"{resident:,.0f} MiB",
            f"{result['anonymous_mib_most'][name]:,.0f} MiB",
            f"{used:,.0f} MiB" if used is not None else "",
        )
    return table


@bench.command("log")
@click.option("--payload", default=16, show_default=True, help="Bytes of an entry.")
@click.option("--batch", default=4096, show_default=True, help="Entries of a batch.")
@click.option("--pairs", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option("--directory", type=DIRECTORY, help="Where the data lies during the run.")
@click.option("--json", "only_json", is_flag=True, help="Print nothing but the JSON object.")
def log(only_json: bool, **options: Any) -> None:
    """The log alone: in segments filled before the clock starts, and in recycled ones."""
    _run(lambda said: run_log(LogOptions(**options), said), _log_table, only_json)


def _log_table(result: dict[str, Any]) -> Table:
    table = _table(result, "the log alone", ("entries/s",))
    table.add_row("fresh segments", f"{result['fresh_entries_per_second']:,.0f}")
    table.add_row("recycled ones", f"{result['recycled_entries_per_second']:,.0f}")
    table.add_row("ratio", f"{result['recycled_to_fresh']:.2f}")
    return table
