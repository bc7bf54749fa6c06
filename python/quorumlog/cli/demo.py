"""`quorumlog demo`: three node processes, a killed leader, and every line still there once."""

from __future__ import annotations

from pathlib import Path

import click

from quorumlog.demo.story import DemoFailed, DemoOptions, run_demo


@click.command()
@click.option(
    "--input",
    "input_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The file whose lines are replicated; without it quorumlog's own sources.",
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the nodes' data shall lie; it must be empty or not there yet.",
)
@click.option("--proposers", default=4, show_default=True, help="Threads that propose, 1 to 64.")
@click.option("--batch", default=64, show_default=True, help="Lines of one proposal, 1 to 4096.")
@click.option("--json", "only_json", is_flag=True, help="Print nothing but a JSON object.")
def demo(
    input_path: Path | None, directory: Path | None, proposers: int, batch: int, only_json: bool
) -> None:
    """Replicate every line of an input on three node processes, and kill the leader in the middle.

    Ends with 0 only if every acknowledged line is in all three state machines exactly once and in
    the same order.
    """
    if not 1 <= proposers <= 64 or not 1 <= batch <= 4096:
        raise click.UsageError("--proposers is 1 to 64, --batch 1 to 4096")
    try:
        run_demo(
            DemoOptions(
                input_path=input_path,
                directory=directory,
                proposers=proposers,
                batch=batch,
                only_json=only_json,
            )
        )
    except DemoFailed as error:
        raise click.ClickException(str(error)) from error
