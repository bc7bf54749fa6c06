"""A recorded trace as text, and as a message diagram in SVG.

A trace is NDJSON, a happening a line, in the order of time: what `quorumlog sim --trace`
writes.  Time runs downwards in the diagram, each node has its line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

__all__ = ["Trace", "read_trace"]

Line = dict[str, Any]

RECORDS_IN_SVG = 20_000
LEFT = 90
TOP = 60
SPACING = 190
PIXELS_PER_EVENT = 9
COLOURS = {"leader": "#b3261e", "candidate": "#e08a00", "pre-candidate": "#c9a227", "follower": "#4a6572"}
MESSAGE_COLOURS = {
    "append": "#1565c0", "append_reply": "#5e92d6", "vote": "#e08a00", "vote_reply": "#e08a00",
    "pre_vote": "#c9a227", "pre_vote_reply": "#c9a227", "commit": "#2e7d32",
}


WORDS = {
    "voted": "votes for {for}{term}",
    "flushed": "has flushed up to WSN {wsn}",
    "committed": "commits up to {index}{term}",
    "not_started": "fails to start, status {status}",
    "out": "stops for good",
    "fault": "FAULT {fault}",
    "mended": "all links are whole again",
    "healed": "all faults end",
    "proposed": "is asked to write (operation {operation})",
    "acked": "answers the writer (operation {operation})",
    "read": "is asked to read (operation {operation})",
    "served": "answers the reader with {value} (operation {operation})",
    "compacted": "drops the entries before {first}",
}


def read_trace(lines: Iterable[str]) -> Trace:
    """Reads NDJSON; ValueError names the line that is none."""
    records: list[Line] = []
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
            float(record["at_ms"]), str(record["event"])
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"line {number} is no line of a trace: {error}") from None
        records.append(record)
    return Trace(records)


def said_of(record: Line) -> str:
    """One happening in words, without its time and node."""
    event = str(record["event"])
    term = f" in term {record['term']}" if "term" in record else ""
    if event == "sent":
        fate = {0: ", lost", 1: "", 2: ", twice"}.get(record["copies"], "")
        return f"-> {record['to']}  {record['message']}{term}{fate}"
    if event == "arrived":
        return f"<- {record['from']}  {record['message']}{term}{', again' if record['again'] else ''}"
    if event == "role":
        follows = f" of {record['leader']}" if record["role"] == "follower" and record["leader"] else ""
        return f"is {record['role']}{follows}{term}"
    if event == "wrote":
        entries = f" {record['first']}..{record['last']}" if record["kind"] in ("entries", "blank") else ""
        return f"writes {record['kind']}{entries}{term}, WSN {record['wsn']}"
    if event == "started":
        unproved = f", unproved to {record['unproved_last']}" if record["unproved_last"] else ""
        return f"starts with entries {record['first']}..{record['last']}{unproved}"
    if event == "stopped":
        return "loses its power" if record["power"] else "crashes"
    return WORDS.get(event, event).format_map({**record, "term": term})


@dataclass(frozen=True)
class Trace:
    """A recorded run, or a part of it."""

    records: Sequence[Line]

    def between(self, from_ms: float | None, to_ms: float | None) -> Trace:
        """What happened from `from_ms` to `to_ms`."""
        low = float("-inf") if from_ms is None else from_ms
        high = float("inf") if to_ms is None else to_ms
        return Trace([r for r in self.records if low <= r["at_ms"] <= high])

    def of_nodes(self, nodes: Iterable[int]) -> Trace:
        """What these nodes did, and what concerns all."""
        wanted = set(nodes)
        return Trace([r for r in self.records if r.get("node", None) is None or r["node"] in wanted])

    def without(self, events: Iterable[str]) -> Trace:
        """Without some kinds of happenings, such as `flushed`."""
        unwanted = set(events)
        return Trace([r for r in self.records if r["event"] not in unwanted])

    @property
    def nodes(self) -> list[int]:
        return sorted({r[name] for r in self.records for name in ("node", "to", "from") if name in r})

    def text(self) -> Iterator[str]:
        """A line for each happening."""
        for record in self.records:
            yield f"{record['at_ms']:12.3f} ms  {record.get('node', '*')!s:>2}  {said_of(record)}"

    def svg(self) -> str:
        """The message diagram; ValueError if there is too much for one picture."""
        if len(self.records) > RECORDS_IN_SVG:
            raise ValueError(
                f"{len(self.records)} happenings are too many for one picture (at most {RECORDS_IN_SVG}): "
                "choose a part of the time"
            )
        return Diagram(self).draw()


class Diagram:
    """Places happenings: equal steps downwards from one to the next, so that busy times stay readable."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.nodes = trace.nodes
        self.places = [float(TOP + PIXELS_PER_EVENT * i) for i in range(len(trace.records))]
        self.bottom = TOP + PIXELS_PER_EVENT * max(len(trace.records), 1) + 20
        self.width = LEFT + SPACING * max(len(self.nodes), 1)
        self.drawn: list[str] = []

    def draw(self) -> str:
        self.lifelines()
        self.messages()
        self.labels()
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.bottom}" '
            f'viewBox="0 0 {self.width} {self.bottom}" font-family="sans-serif" font-size="9">'
        )
        arrow = (
            '<defs><marker id="head" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="6" markerHeight="6" '
            'orient="auto"><path d="M0 0 6 3 0 6z"/></marker></defs>'
        )
        return "\n".join([head, arrow, '<rect width="100%" height="100%" fill="white"/>', *self.drawn, "</svg>"])

    def x(self, node: int) -> float:
        return LEFT + SPACING * (self.nodes.index(node) + 0.3)

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        self.drawn.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>')

    def words(self, x: float, y: float, text: str, style: str = "") -> None:
        self.drawn.append(f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>')

    def lifelines(self) -> None:
        """Coloured by role; none while the node is down."""
        for node in self.nodes:
            self.words(self.x(node) - 18, TOP - 25, f"node {node}", 'font-size="13" font-weight="bold"')
            since, role = float(TOP - 15), "follower"
            for record, y in zip(self.trace.records, self.places, strict=True):
                if record.get("node") != node or record["event"] not in ("role", "stopped", "out", "started"):
                    continue
                self.life(node, since, y, role)
                since = y
                role = {"role": str(record.get("role", "")), "started": "follower"}.get(record["event"], "")
            self.life(node, since, self.bottom - 10.0, role)

    def life(self, node: int, y1: float, y2: float, role: str) -> None:
        if role:
            colour = COLOURS.get(role, "#4a6572")
            width = 4 if role == "leader" else 2
            self.line(self.x(node), y1, self.x(node), y2, f'stroke="{colour}" stroke-width="{width}"')

    def messages(self) -> None:
        sent: dict[int, tuple[float, Line]] = {}
        arrived: set[int] = set()
        for record, y in zip(self.trace.records, self.places, strict=True):
            if record["event"] == "sent":
                sent[record["number"]] = (y, record)
            elif record["event"] == "arrived" and record["number"] in sent:
                arrived.add(record["number"])
                self.arrow(sent[record["number"]], record["node"], y)
        for number, (y, record) in sent.items():
            if number not in arrived and record["copies"] == 0:
                self.lost(record, y)

    def arrow(self, sent: tuple[float, Line], target: int, y: float) -> None:
        start, record = sent
        colour = MESSAGE_COLOURS.get(record["message"], "#9e9e9e")
        x1, x2 = self.x(record["node"]), self.x(target)
        title = f"{record['message']} {record['node']} to {target}, term {record.get('term', 0)}"
        self.drawn.append(
            f'<line x1="{x1:.1f}" y1="{start:.1f}" x2="{x2:.1f}" y2="{y:.1f}" stroke="{colour}" '
            f'marker-end="url(#head)"><title>{escape(title)}</title></line>'
        )

    def lost(self, record: Line, y: float) -> None:
        x1, x2 = self.x(record["node"]), self.x(record["to"])
        end = x1 + (x2 - x1) * 0.3
        self.line(x1, y, end, y, 'stroke="#9e9e9e" stroke-dasharray="3 2"')
        self.words(end - 3, y + 3, "×", 'fill="#b3261e" font-size="11"')

    def labels(self) -> None:
        last_ms = -1.0
        for record, y in zip(self.trace.records, self.places, strict=True):
            if record["at_ms"] - last_ms >= 1 or record["event"] in ("healed", "mended"):
                self.words(4, y + 3, f"{record['at_ms']:.1f} ms", 'fill="#757575"')
                last_ms = record["at_ms"]
            if record["event"] in ("sent", "arrived", "flushed"):
                continue
            if "node" in record:
                self.words(self.x(record["node"]) + 7, y + 3, said_of(record))
            else:
                self.words(LEFT, y + 3, said_of(record), 'font-weight="bold"')
