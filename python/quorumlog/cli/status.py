"""`quorumlog status`: a running node and its groups, and why something does not move."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

import quorumlog as ql
from quorumlog.surveys import GroupSurvey, NodeSurvey, survey


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "only_json", is_flag=True, help="Print a JSON object instead of tables.")
@click.option("--timeout", type=click.FloatRange(min=0.01), default=5.0, show_default=True, help="Seconds.")
def status(directory: Path, only_json: bool, timeout: float) -> None:
    """Print how the node that runs on DIRECTORY and its groups are, and why commit does or doesn't move.

    It is asked through the socket `control` in its directory, by its own user or root.
    """
    try:
        found = survey(directory, timeout)
    except ql.QuorumlogError as error:
        raise click.ClickException(str(error)) from error
    if only_json:
        print(json.dumps(as_json(found)))
    else:
        show(Console(), found)


def as_json(found: NodeSurvey) -> dict[str, object]:
    """One object: the node's fields, `groups` with `status`, `findings` and `explain`, the same in words."""
    node = asdict(found)
    for group, one in zip(node["groups"], found.groups, strict=True):
        explanation = group.pop("explanation")
        group["status"] = explanation["status"]
        group["findings"] = explanation["findings"]
        group["blocked"] = one.explanation.blocked
        group["explain"] = str(one.explanation)
    return node


def show(console: Console, found: NodeSurvey) -> None:
    state, wal = found.status, found.status.wal
    console.print(f"node {found.name} of cluster {found.cluster}, pid {found.pid}, port {found.port}", highlight=False)
    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_row("disk", "FAILED: open the node again" if state.failed else f"works ({state.writer})")
    facts.add_row("boot", f"{state.boot}, incarnation {found.incarnation}")
    facts.add_row("log", f"{wal.segments} segments of {found.segment_bytes:,} B, {wal.spare_segments} spare;"
                         f" {wal.pending_bytes:,} B to be written")
    facts.add_row("memory", f"{state.used_bytes:,} B of batches; {state.pinned_bytes:,} B pinned by views")
    facts.add_row("peers", ", ".join(
        f"{peer.name} {'connected' if peer.connected else 'NOT CONNECTED'}" for peer in found.peers) or "none")
    console.print(facts)
    if found.groups:
        console.print(_groups(found.groups))
    for group in found.groups:
        if group.explanation.status.peers and group.explanation.status.role == "leader":
            console.print(_peers(group))
    for group in found.groups:
        console.print(str(group.explanation), highlight=False, markup=False, soft_wrap=True)


def _groups(groups: tuple[GroupSurvey, ...]) -> Table:
    table = Table(title="groups", title_justify="left")
    for name in ("group", "role", "leader"):
        table.add_column(name)
    for name in ("term", "first", "last", "flushed", "commit", "applied", "log bytes", "in flight bytes", "sessions"):
        table.add_column(name, justify="right")
    for group in groups:
        one = group.explanation.status
        numbers = (one.term, one.first, one.last, one.flushed, one.commit, one.applied, group.log_bytes,
                   group.outstanding_bytes, group.sessions)
        table.add_row(group.name, one.role, one.leader or "-", *(f"{number:,}" for number in numbers))
    return table


def _peers(group: GroupSurvey) -> Table:
    last = group.explanation.status.last
    table = Table(title=f"peers of {group.name}", title_justify="left")
    for name in ("peer", "state"):
        table.add_column(name)
    for name in ("match", "behind", "in flight bytes", "window bytes"):
        table.add_column(name, justify="right")
    for peer in group.explanation.status.peers:
        numbers = (peer.match, last - peer.match, peer.in_flight_bytes, peer.window_bytes)
        table.add_row(peer.name, peer.state, *(f"{number:,}" for number in numbers))
    return table
