"""`quorumlog sim`: the compiled protocols in a virtual world; a seed repeats its run exactly."""

from __future__ import annotations

import importlib
import json
from typing import Any, TextIO

import click
from rich.console import Console
from rich.progress import Progress

from quorumlog.testing.campaign import Campaign
from quorumlog.testing.linearizability import porcupine_lines

PROFILES = ("swarm", "hot", "reference", "beyond", "quiet", "clocks")
SEED_MAX = 2**63 - 1
ONE = (
    *("nodes", "virtual_ms", "events", "committed", "operations", "acked", "reads_served", "messages"),
    *("leader_changes", "recoveries", "truncations", "timeouts_to_progress", "faults", "marks", "stopped", "hash"),
)


def seed_range(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """`A:B` for the seeds from A to B - 1, or a number for so many from 1 on."""
    if value is None:
        return None
    first, colon, end = value.partition(":")
    try:
        begin, stop = (int(first), int(end)) if colon else (1, int(first) + 1)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not like 0:1000") from None
    if not 0 <= begin < stop <= SEED_MAX:
        raise click.BadParameter(f"{value!r}: seeds rise, from 0 on")
    return begin, stop


@click.command()
@click.option("--protocol", default="raft", show_default=True, type=click.Choice(["raft", "paxos"]))
@click.option("--seeds", callback=seed_range, metavar="A:B", help="Many seeds on all cores: 0:1000, or a number.")
@click.option("--seed", type=click.IntRange(0, SEED_MAX), help="One seed, in this process.")
@click.option("--profile", default="swarm", show_default=True, type=click.Choice(PROFILES))
@click.option("--nodes", default=0, type=click.IntRange(0, 7), help="0: drawn from the seed.")
@click.option("--workers", default=0, type=click.IntRange(0, 64), help="0: one for each core.")
@click.option("--json", "only_json", is_flag=True, help="Print one JSON object.")
@click.option("--trace", "trace_file", type=click.File("w"), help="With --seed: all that happened, as NDJSON.")
@click.option("--history", "history_file", type=click.File("w"),
              help="With --seed: what clients did, one porcupine operation a line.")
def sim(
    protocol: str,
    seeds: tuple[int, int] | None,
    seed: int | None,
    profile: str,
    nodes: int,
    workers: int,
    only_json: bool,
    trace_file: TextIO | None,
    history_file: TextIO | None,
) -> None:
    """Run the simulation for one seed or for many, and check every invariant after every event.

    Ends with 1 if a seed broke an invariant (or a long campaign missed a rare path), and says how to
    repeat it.
    """
    if seeds is not None and seed is not None:
        raise click.UsageError("--seed or --seeds, not both")
    if seeds is None:
        one_seed(1 if seed is None else seed, protocol, profile, nodes, only_json, trace_file, history_file)
        return
    if trace_file or history_file:
        raise click.UsageError("--trace and --history are for one --seed")
    campaign = Campaign(seeds[0], seeds[1] - seeds[0], protocol=protocol, profile=profile, nodes=nodes)
    if workers:
        campaign.workers = workers
    many_seeds(campaign, only_json)


def again(seed: int, protocol: str, profile: str, nodes: int) -> str:
    """The one command that repeats a seed, with its trace."""
    options = f" --protocol {protocol}" if protocol != "raft" else ""
    options += f" --profile {profile}" if profile != "swarm" else ""
    options += f" --nodes {nodes}" if nodes else ""
    return f"quorumlog sim --seed {seed}{options} --trace seed-{seed}.ndjson"


def verdict(failures: list[tuple[int, str]], protocol: str, profile: str, nodes: int) -> str:
    shown = [
        f"seed {seed}: {failure}\n  again: {again(seed, protocol, profile, nodes)}" for seed, failure in failures[:20]
    ]
    return "\n".join([*shown, *([f"and {len(failures) - 20} more"] if len(failures) > 20 else [])])


def one_seed(
    seed: int,
    protocol: str,
    profile: str,
    nodes: int,
    only_json: bool,
    trace_file: TextIO | None,
    history_file: TextIO | None,
) -> None:
    module = _simulation()
    told = module.run(
        seed, protocol=protocol, profile=profile, nodes=nodes, trace=trace_file is not None,
        history=history_file is not None,
    )
    if trace_file is not None:
        for line in told.pop("trace"):
            trace_file.write(json.dumps(line) + "\n")
    if history_file is not None:
        history_file.writelines(line + "\n" for line in porcupine_lines(told.pop("history")))
    if only_json:
        click.echo(json.dumps(told))
    else:
        Console().print({key: told[key] for key in ONE})
    if told["failure"]:
        raise click.ClickException(verdict([(seed, told["failure"])], protocol, profile, nodes))


def many_seeds(campaign: Campaign, only_json: bool) -> None:
    _simulation()
    console = Console(stderr=True, quiet=only_json)
    with Progress(console=console, disable=only_json) as progress:
        task = progress.add_task("seeds", total=campaign.count)
        for _ in campaign.results():
            progress.advance(task)
    report = campaign.report()
    if only_json:
        click.echo(json.dumps(report))
    else:
        Console().print(report)
    if campaign.failures:
        failures = [(v.seed, v.failure) for v in campaign.failures]
        raise click.ClickException(verdict(failures, campaign.protocol, campaign.profile, campaign.nodes))
    if campaign.missing_marks:
        raise click.ClickException(
            f"{campaign.count} seeds, and nobody took these paths: {', '.join(campaign.missing_marks)}"
        )


def _simulation() -> Any:
    """Looked up when it is wanted: a build may leave the simulation out."""
    try:
        return importlib.import_module("quorumlog._core.bridge.testing_simulation")
    except ImportError as error:
        raise click.ClickException(f"this build has no simulation: {error}") from error
