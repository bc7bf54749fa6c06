"""`quorumlog sim`: the compiled protocols in a virtual world; a seed repeats its run exactly."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console
from rich.progress import track

SHOWN = (
    *("nodes", "virtual_ms", "events", "committed", "proposals", "acked", "messages"),
    *("messages_lost", "process_crashes", "power_cuts", "recoveries", "truncations", "hash"),
)


@click.command()
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0, 2**64 - 1))
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(1), help="How many.")
@click.option("--nodes", default=0, type=click.IntRange(0, 7), help="0: drawn from the seed.")
@click.option("--faults/--no-faults", default=True, show_default=True)
@click.option("--json", "only_json", is_flag=True, help="Print a JSON object for each seed.")
def sim(seed: int, seeds: int, nodes: int, faults: bool, only_json: bool) -> None:
    """Run the simulation for one seed, or for --seeds of them from --seed on.

    Ends with 1 at the first seed that breaks an invariant, and says how to repeat it.
    """
    run = _simulation()
    console = Console(quiet=only_json)
    numbers = track(range(seed, seed + seeds), "seeds", console=console, disable=seeds == 1)
    for number in numbers:
        told = run(number, nodes=nodes, faults=faults)
        if only_json:
            print(json.dumps(told), flush=True)
        elif seeds == 1:
            console.print({key: told[key] for key in SHOWN if key in told})
        if told["failure"]:
            raise click.ClickException(
                f"seed {number}: {told['failure']}\n"
                f"repeat it with: quorumlog sim --seed {number}{f' --nodes {nodes}' if nodes else ''}"
            )
    console.print(f"[green]{seeds} seed{'s' if seeds > 1 else ''} held all invariants")


def _simulation() -> Callable[..., dict[str, Any]]:
    """Looked up when it is wanted: a build may leave the simulation out."""
    try:
        module = importlib.import_module("quorumlog._core.bridge.testing_simulation")
    except ImportError as error:
        raise click.ClickException(f"this build has no simulation: {error}") from error
    run: Callable[..., dict[str, Any]] = module.run
    return run
