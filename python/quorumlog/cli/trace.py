"""`quorumlog trace`: a recorded trace as text or as a message diagram."""

from __future__ import annotations

from typing import TextIO

import click

from quorumlog.testing.tracing import read_trace


@click.command()
@click.argument("file", type=click.File("r"))
@click.option("--svg", "picture", type=click.File("w"), help="Write a message diagram here, and no text.")
@click.option("--from", "from_ms", type=float, help="From this virtual time on, in milliseconds.")
@click.option("--to", "to_ms", type=float, help="Up to this virtual time, in milliseconds.")
@click.option("--node", "nodes", type=int, multiple=True, help="This node only; may be given again.")
@click.option("--hide", multiple=True, metavar="EVENT", help="Leave out such as flushed or wrote; may be given again.")
def trace(
    file: TextIO,
    picture: TextIO | None,
    from_ms: float | None,
    to_ms: float | None,
    nodes: tuple[int, ...],
    hide: tuple[str, ...],
) -> None:
    """Show FILE, the NDJSON that `quorumlog sim --trace FILE` wrote, as text or as an SVG message diagram."""
    try:
        shown = read_trace(file).between(from_ms, to_ms).without(hide)
        if nodes:
            shown = shown.of_nodes(nodes)
        if picture is None:
            for line in shown.text():
                click.echo(line)
            return
        picture.write(shown.svg() + "\n")
    except ValueError as error:
        raise click.ClickException(f"{file.name}: {error}") from error
