"""`quorumlog log inspect`: what lies in a data directory, every checksum verified."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from quorumlog.logfiles import (
    BATCH_KINDS,
    Damage,
    Record,
    Segment,
    SyncGroup,
    broken_chain,
    group_names,
    read_identity,
    read_segments,
    segment_paths,
)


@dataclass
class Found:
    """What one pass over a directory has gathered; records are kept only if they are to be shown."""

    segments: list[dict[str, Any]] = field(default_factory=list)
    groups: dict[int, dict[str, Any]] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    sync_groups: list[SyncGroup] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    flushed_by_boot: dict[int, int] = field(default_factory=dict)

    def verdict(self, damage: Damage) -> str:
        """Corrupt if its boot knew it flushed, unproved otherwise (docs/format.md 6)."""
        if damage.wsn and damage.wsn <= self.flushed_by_boot.get(damage.boot, 0):
            return "corrupt"
        return "unproved"

    @property
    def corrupt(self) -> int:
        return sum(self.verdict(one) == "corrupt" for one in self.damage)


@click.group()
def log() -> None:
    """Look at the log of a node that is not running."""


@log.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--records/--no-records", default=False, help="List each record too.")
@click.option("--json", "only_json", is_flag=True, help="Print a JSON object instead of tables.")
def inspect(directory: Path, records: bool, only_json: bool) -> None:
    """Print segments, log groups and records of DIRECTORY, and verify every checksum.

    Damage that was known to be flushed is corrupt: the command ends with 1.  Damage behind that is unproved,
    as a power cut leaves it, and recovery deals with it.
    """
    if not segment_paths(directory) and not (directory / "identity").exists():
        raise click.ClickException(f"{directory} is no data directory: no identity and no segments")
    found = examine(directory, keep_records=records)
    identity = _identity(directory, found)
    if only_json:
        print(json.dumps(_as_json(found, identity)))
    else:
        _print(Console(), found, identity, directory)
    if found.corrupt:
        raise click.exceptions.Exit(1)


def examine(directory: Path, *, keep_records: bool = False) -> Found:
    found = Found()
    names: dict[int, str] = {}
    for segment in read_segments(directory):
        _take_segment(found, segment)
        for group in segment.groups:
            flushed = max(found.flushed_by_boot.get(group.boot, 0), group.flushed)
            found.flushed_by_boot[group.boot] = flushed
            for record in group.records:
                _take_record(found, record)
                if record.kind in ("open", "checkpoint"):
                    names.update(group_names(record))
            if keep_records:
                found.records += group.records
            found.sync_groups.append(group)
            group.records = []
    found.damage += broken_chain(found.sync_groups)
    for number, one in found.groups.items():
        one["name"] = names.get(number, f"{number:016x}")
    return found


def _take_segment(found: Found, segment: Segment) -> None:
    found.damage += segment.damage
    groups = segment.groups
    found.segments.append(
        {
            "file": segment.path.name,
            "size_bytes": segment.size,
            "used_bytes": segment.used_bytes,
            "boot": groups[-1].boot if groups else None,
            "sync_groups": len(groups),
            "records": sum(len(group.records) for group in groups),
            "wsn_first": next((g.wsn_first for g in groups), None),
            "wsn_last": groups[-1].wsn_last if groups else None,
            "damaged": len(segment.damage),
        }
    )


def _take_record(found: Found, record: Record) -> None:
    if not record.group:  # the log's own: checkpoints and footers
        return
    one = found.groups.setdefault(
        record.group, {"first": 0, "last": 0, "term": 0, "batches": 0, "entries": 0, "hard_states": 0}
    )
    one["term"] = max(one["term"], record.term)
    if record.kind in BATCH_KINDS:
        one["first"] = min(one["first"] or record.first, record.first)
        one["last"] = record.last
        one["batches"] += 1
        one["entries"] += record.count
    elif record.kind == "truncate":
        one["last"] = record.first - 1
    elif record.kind == "compact":
        one["first"] = record.first
    elif record.kind == "hard state":
        one["hard_states"] += 1


def _identity(directory: Path, found: Found) -> dict[str, Any] | None:
    path = directory / "identity"
    try:
        return asdict(read_identity(directory))
    except FileNotFoundError:
        return None
    except ValueError as error:
        # It is written once and synced before anything else: no power cut explains it.
        found.flushed_by_boot[0] = max(found.flushed_by_boot.get(0, 0), 1)
        found.damage.append(Damage(path, 0, 0, 1, str(error)))
        return None


def _as_json(found: Found, identity: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "identity": identity,
        "segments": found.segments,
        "groups": list(found.groups.values()),
        "records": [{**asdict(one), "path": one.path.name} for one in found.records],
        "damage": [
            {**asdict(one), "path": one.path.name, "verdict": found.verdict(one)} for one in found.damage
        ],
        "corrupt": found.corrupt,
    }


def _print(console: Console, found: Found, identity: dict[str, Any] | None, directory: Path) -> None:
    if identity is not None:
        console.print(f"node [bold]{identity['name']}[/] of cluster {identity['cluster']}")
    console.print(_table(str(directory), [_segment_row(one) for one in found.segments]))
    groups = [{"name": one["name"], **one} for one in found.groups.values()]
    console.print(_table("log groups", groups))
    if found.records:
        console.print(_table("records", [_record_row(one) for one in found.records]))
    for one in found.damage:
        verdict = found.verdict(one)
        colour = "bold red" if verdict == "corrupt" else "yellow"
        where = f"{one.path.name} at {one.offset}, write sequence number {one.wsn or '?'}"
        console.print(f"[{colour}]{verdict}[/]: {one.what} ({where})", soft_wrap=True)
    if not found.damage:
        console.print("[green]every checksum agrees")


def _segment_row(segment: dict[str, Any]) -> dict[str, Any]:
    used, size = (segment[key] / 2**20 for key in ("used_bytes", "size_bytes"))
    return {
        "segment": segment["file"][8:24].lstrip("0") or "0",
        "boot": segment["boot"],
        "used MiB": f"{used:,.1f} of {size:,.0f}",
        "sync groups": segment["sync_groups"],
        "records": segment["records"],
        "wsn": "" if segment["boot"] is None else f"{segment['wsn_first']}-{segment['wsn_last']}",
        "damaged": segment["damaged"],
    }


def _record_row(record: Record) -> dict[str, Any]:
    return {
        "segment": record.path.name[8:24].lstrip("0") or "0",
        "offset": record.offset,
        "wsn": record.wsn,
        "kind": record.kind,
        "group": f"{record.group:016x}" if record.group else "",
        "term": record.term,
        "first": record.first,
        "count": record.count,
        "body_bytes": record.body_bytes,
    }


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in rows[0] if rows else ["nothing"]:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(
            *(f"{v:,}" if isinstance(v, int) else "" if v is None else str(v) for v in row.values())
        )
    return table
