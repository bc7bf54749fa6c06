"""`quorumlog bench cluster` and `quorumlog bench limit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from quorumlog.bench import limit as limit_program
from quorumlog.bench.cluster import run_cluster
from quorumlog.bench.limit import LimitUnavailable, run_limit
from quorumlog.bench.options import LOOPS, MACHINES, MODES, BadOptions, BenchOptions
from quorumlog.bench.pairs import run_with_limit
from quorumlog.cli.bench_instructions import instructions
from quorumlog.cli.bench_series import draw, scaling, sweep
from quorumlog.processes.channel import RemoteError, WorkerGone
from quorumlog.processes.fleet import FleetError

DIRECTORY = click.Path(file_okay=False, path_type=Path)


@click.group()
def bench() -> None:
    """Measure a cluster, or what this machine could do at best."""


for command in (instructions, scaling, sweep, draw):
    bench.add_command(command)


@bench.command()
@click.option("--protocol", default="raft", show_default=True)
@click.option("--nodes", default=3, show_default=True)
@click.option("--payload", default=16, show_default=True, help="Bytes of an entry.")
@click.option("--batch", default=4096, show_default=True, help="Entries of a batch (mode batch).")
@click.option("--seconds", default=5.0, show_default=True)
@click.option("--mode", type=click.Choice(MODES), default="batch", show_default=True)
@click.option("--machine", type=click.Choice(MACHINES), default="none", show_default=True)
@click.option("--processes/--threads", default=True, help="A process per node, or all in one.")
@click.option("--window", default=0, help="Submissions in flight; 0: by mode.")
@click.option(
    "--rate",
    default=0.0,
    help="An open loop: so many entries a second are due at fixed times, and latency counts from when they were due.",
)
@click.option("--loop", type=click.Choice(LOOPS), default="asyncio", show_default=True, help="Mode aio.")
@click.option(
    "--tasks",
    default=10_000,
    show_default=True,
    help="Mode aio: tasks that each propose in a loop, or keep --window futures; 0: one per command.",
)
@click.option("--callers", default=1, show_default=True, help="Mode submit: threads that share the window.")
@click.option(
    "--fresh/--steady",
    default=True,
    help="Segments filled before the clock starts, as the limit program's files are, or while the load runs.",
)
@click.option("--writer", default="auto", show_default=True, help="auto, thread or io_uring.")
@click.option("--directory", type=DIRECTORY, help="Where the data lies during the run.")
@click.option("--with-limit", is_flag=True, help="Run the limit program in turn with the cluster.")
@click.option("--pairs", default=1, show_default=True, help="How often, with --with-limit.")
@click.option("--json", "only_json", is_flag=True, help="Print nothing but the JSON object.")
def cluster(
    protocol: str, processes: bool, with_limit: bool, pairs: int, only_json: bool, **rest: Any
) -> None:
    """Load a real cluster on loopback; the last line printed is a JSON object."""
    console = Console(stderr=True, quiet=only_json, log_path=False)
    try:
        options = BenchOptions(protocol=protocol, shape="processes" if processes else "threads", **rest)
        if not 1 <= pairs <= 100:
            raise BadOptions(f"--pairs {pairs}: 1 to 100")
        if with_limit and options.rate:
            raise BadOptions("--rate with --with-limit: the limit program knows no rate, measure it by itself")
    except BadOptions as why:
        raise click.UsageError(str(why)) from why
    try:
        with console.status("starting") as status:
            said = status.update
            result = run_with_limit(options, pairs, said) if with_limit else run_cluster(options, said)
    except (LimitUnavailable, FleetError, RemoteError, WorkerGone) as why:
        raise click.ClickException(str(why)) from why
    if not only_json:
        Console().print(_cluster_table(result))
    print(json.dumps(result), flush=True)
    if not result["verified"]:
        raise click.exceptions.Exit(1)


@bench.command()
@click.option("--nodes", default=3, show_default=True)
@click.option("--payload", default=16, show_default=True, help="Bytes of an entry.")
@click.option("--batch", default=4096, show_default=True, help="Entries of a batch.")
@click.option("--seconds", default=3.0, show_default=True, help="For each variant.")
@click.option("--mode", type=click.Choice(["batch", "single"]), default="batch", show_default=True)
@click.option(
    "--variant",
    type=click.Choice(["all", *limit_program.VARIANTS]),
    default="all",
    show_default=True,
    help="How the log is written.",
)
@click.option("--processes/--threads", default=True, help="A process per node, or all in one.")
@click.option("--directory", type=DIRECTORY, help="Where the log files lie during the run.")
@click.option("--json", "only_json", is_flag=True, help="Print nothing but the JSON object.")
def limit(variant: str, processes: bool, only_json: bool, **rest: Any) -> None:
    """Run the bare C program with the same shape: the best a log could do here.

    It writes up to 2 GiB a node before the clock starts, and removes it afterwards.
    """
    console = Console(stderr=True, quiet=only_json, log_path=False)
    variants = [one for one in limit_program.VARIANTS if variant in ("all", one)]
    try:
        with console.status(f"variants {', '.join(variants)}"):
            result = run_limit(
                variants=tuple(variants),
                threads=not processes,
                said=lambda one: console.log(
                    f"{one['variant']}: {_rate(one['entries_per_second'])} entries/s"
                ),
                **rest,
            )
    except LimitUnavailable as why:
        raise click.ClickException(str(why)) from why
    if not only_json:
        Console().print(_limit_table(result))
    print(json.dumps(result), flush=True)
    if not result["verified"]:
        raise click.exceptions.Exit(1)


def _columns(title: str) -> Table:
    table = Table(title=title)
    table.add_column("")
    for name in ("entries/s", "p50", "p99", "p99.9", "syncs/s", "cpu", "ok"):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _row(table: Table, name: str, run: dict[str, Any]) -> None:
    latency = run["latency_us"]
    table.add_row(
        name,
        _rate(run["entries_per_second"]),
        *(_duration(latency[key]) for key in ("p50", "p99", "p999")),
        f"{run['syncs_per_second']:,.0f}",
        f"{run['cpu_seconds']:.1f} s",
        "yes" if run.get("verified", True) else "NO",
    )


def _rate(per_second: float) -> str:
    return f"{per_second / 1e6:,.2f} M" if per_second >= 1e6 else f"{per_second:,.0f}"


def _duration(us: float) -> str:
    return f"{us / 1000:,.1f} ms" if us >= 1000 else f"{us:,.0f} µs"


def _cluster_table(result: dict[str, Any]) -> Table:
    table = _columns(
        f"{result['protocol']}, {result['nodes']} nodes ({result['shape']}), mode {result['mode']},"
        f" {result['batch_entries']} × {result['payload_bytes']} B, machine {result['machine']}"
    )
    _row(table, f"cluster ({result['writer']})", result)
    if "limit" in result:
        _row(table, f"limit ({result['limit']['variant']})", result["limit"])
        table.caption = _ratios(result)
    if "open_loop" in result:
        table.caption = _generator(result)
    if "problem" in result:
        table.caption = f"NOT verified: {result['problem']}"
    return table


def _ratios(result: dict[str, Any]) -> str:
    """What the pairs came to; in brackets the least and the most of them."""
    spread = result["spread"]

    def range_of(name: str) -> str:
        least, _, most = spread[name]
        return f" ({least:.3g} to {most:.3g})" if len(result["pairs"]) > 1 else ""

    said = f"{result['fraction_of_limit']:.1%} of the limit{range_of('entries_per_second')}"
    for name in ("p50", "p99"):
        if f"{name}_ratio" in result:
            said += f", {name} {result[f'{name}_ratio']:.3g} × the limit's{range_of(f'{name}_ratio')}"
    return said


def _generator(result: dict[str, Any]) -> str:
    loop = result["open_loop"]
    late = loop["generator_late_us"]
    said = (
        f"offered {_rate(loop['offered_per_second'])} entries/s; the generator was late by p50"
        f" {_duration(late['p50'])}, p99 {_duration(late['p99'])}, at most {_duration(late['max'])}"
    )
    left_out = [(result["refused"], "refused"), (loop["not_started"], "not started in time")]
    return said + "".join(f"; {count:,} {what}" for count, what in left_out if count)


def _limit_table(result: dict[str, Any]) -> Table:
    table = _columns(
        f"the limit: {result['nodes']} nodes ({result['shape']}),"
        f" {result['batch_entries']} × {result['payload_bytes']} B"
    )
    for one in result["variants"]:
        _row(table, f"{one['variant']}{' ★' if one['variant'] == result['variant'] else ''}", one)
    for variant in result["refused"]:
        table.add_row(variant, "refused here", *[""] * 6)
    return table
