"""`quorumlog bench scaling`, `sweep` and `plot`: series of runs, their tables and their figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from quorumlog.bench import series
from quorumlog.bench.limit import LimitUnavailable
from quorumlog.bench.options import MACHINES, OPEN_LOOP_MODES, BadOptions, BenchOptions
from quorumlog.bench.plots import PlotUnavailable, plot
from quorumlog.processes.channel import RemoteError, WorkerGone
from quorumlog.processes.fleet import FleetError

DIRECTORY = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


def numbers(kind: type[int] | type[float]) -> Callable[[click.Context, click.Parameter, str], tuple[float, ...]]:
    """Reads a list such as 1,3,5."""

    def read(context: click.Context, parameter: click.Parameter, value: str) -> tuple[float, ...]:
        try:
            return tuple(kind(one) for one in value.split(",") if one)
        except ValueError:
            raise click.BadParameter(f"{value!r} is no list of numbers such as 1,3,5", context, parameter) from None

    return read


@click.command()
@click.option("--nodes", callback=numbers(int), default=",".join(map(str, series.NODES)), show_default=True)
@click.option("--payloads", callback=numbers(int), default=",".join(map(str, series.PAYLOADS)), show_default=True)
@click.option("--seconds", default=2.0, show_default=True)
@click.option("--pairs", default=3, show_default=True, help="Of limit and cluster, for each shape.")
@click.option("--machine", type=click.Choice(MACHINES), default="none", show_default=True)
@click.option("--directory", type=DIRECTORY, help="Where the data lies during the runs.")
@click.option("--output", type=FILE, required=True, help="JSON; the table goes beside it with the ending .md.")
def scaling(
    nodes: tuple[int, ...], payloads: tuple[int, ...], pairs: int, output: Path, **rest: Any
) -> None:
    """Throughput over payloads and numbers of nodes, each beside the limit at the same shape."""
    try:
        options = BenchOptions(**rest)
        for count in nodes:
            for payload in payloads:  # all shapes are checked before the first one runs
                BenchOptions(nodes=count, payload=payload, batch=series.batch_for(max(1, payload)))
        if not 1 <= pairs <= 100:
            raise BadOptions(f"--pairs {pairs}: 1 to 100")
    except BadOptions as why:
        raise click.UsageError(str(why)) from why
    _finish(_run(lambda said: series.scaling(options, payloads, nodes, pairs, output, said)), output)


@click.command()
@click.option("--rates", callback=numbers(float), default="", help="Default: shares of a closed loop's.")
@click.option("--nodes", default=3, show_default=True)
@click.option("--payload", default=16, show_default=True)
@click.option("--batch", default=64, show_default=True)
@click.option("--mode", type=click.Choice(OPEN_LOOP_MODES), default="batch", show_default=True)
@click.option("--machine", type=click.Choice(MACHINES), default="none", show_default=True)
@click.option("--seconds", default=3.0, show_default=True, help="For each rate.")
@click.option("--directory", type=DIRECTORY, help="Where the data lies during the runs.")
@click.option("--output", type=FILE, required=True, help="JSON; the table goes beside it with the ending .md.")
def sweep(rates: tuple[float, ...], output: Path, **rest: Any) -> None:
    """Latency against offered load: open loops at rising rates."""
    try:
        options = BenchOptions(**rest)
        for rate in rates:
            BenchOptions(**rest, rate=rate)
        if not all(rates):
            raise BadOptions("--rates: an open loop needs a rate above 0")
    except BadOptions as why:
        raise click.UsageError(str(why)) from why
    _finish(_run(lambda said: series.sweep(options, rates, output, said)), output)


@click.command(name="plot")
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("image", type=FILE)
def draw(data: Path, image: Path) -> None:
    """Draw what `scaling` or `sweep` wrote into a PNG (wants matplotlib)."""
    try:
        plot(json.loads(data.read_text()), image)
    except PlotUnavailable as why:
        raise click.ClickException(str(why)) from why
    except (ValueError, KeyError, TypeError) as why:
        raise click.ClickException(f"{data} is not what `bench scaling` or `bench sweep` writes: {why!r}") from why


def _run(runs: Callable[[series.Said], dict[str, Any]]) -> dict[str, Any]:
    console = Console(stderr=True)
    try:
        with console.status("starting") as status:
            return runs(status.update)
    except (LimitUnavailable, FleetError, RemoteError, WorkerGone) as why:
        raise click.ClickException(str(why)) from why


def _finish(result: dict[str, Any], output: Path) -> None:
    table = series.markdown(result)
    output.with_suffix(".md").write_text(table)
    print(table)
    if not series.verified(result):
        raise click.ClickException(f"NOT verified: see `problem` in {output}")
