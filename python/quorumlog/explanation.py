"""`group.explain()`: why a group's commit index does or doesn't move, in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quorumlog.group import GroupStatus

__all__ = ["Explanation", "Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the node sees.

    Attributes:
        reason: a word for programs, one of `REASONS`; it keeps its meaning.
        text: the same for people.
        blocks: commit can't move while this lasts; of a peer's lateness: while it lasts for too many.
        node: name of whom it is about; None: the node that was asked.
        index, number: as the text says; 0 where it has none.
        seconds: for how long; None where that is not known.
    """

    reason: str
    text: str
    blocks: bool
    node: str | None
    index: int
    number: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What stands in the way of a group's commit index, as one node sees it.  `str()` of it is for people.

    Attributes:
        group, node: names.
        status: of the group at the same moment.
        findings: the weightiest first; there always is one.
    """

    group: str
    node: str
    status: GroupStatus
    findings: tuple[Finding, ...]

    @property
    def blocked(self) -> bool:
        """Whether something is seen that keeps commit from moving."""
        return any(finding.blocks for finding in self.findings)

    def __str__(self) -> str:
        status = self.status
        leader = f"leader {status.leader}" if status.leader else "no leader"
        head = (
            f"group {self.group} on {self.node}: {status.role}, term {status.term}, {leader};"
            f" committed {status.commit} of {status.last}, flushed {status.flushed}, applied {status.applied}"
        )
        lines = [f"  {'!' if finding.blocks else '-'} {finding.text}" for finding in self.findings]
        return "\n".join([head, *lines])


# By the core's number (engine/explain.pxd): the word, the text, and what follows it where a time is known.
REASONS: dict[int, tuple[str, str, str]] = {
    1: (
        "node_failed",
        "this node's disk failed: it neither votes nor acknowledges before it is opened again",
        "",
    ),
    2: ("machine_stopped", "the state machine has stopped here: nothing more is applied, commit goes on", ""),
    3: ("no_quorum", "no quorum: voters connected to this node, itself among them: {number}", ""),
    4: ("no_leader", "no leader is known", "; one was heard last {ago}"),
    5: ("leader_cut", "no connection to the leader {node}", ""),
    6: (
        "listening",
        "this node may have forgotten what it promised: it has no say before a leader admits it",
        "",
    ),
    7: ("unproved_tail", "the log's torn tail, perhaps up to index {index}, is being judged", ""),
    8: ("faulty", "batches of this node's log that are bad and wait for repair from peers: {number}", ""),
    9: (
        "own_disk",
        "this node's disk is writing, and what it should have is not flushed",
        "; nothing was completed in {time}",
    ),
    10: ("no_segment", "no file of the log is ready to be written", " in {time}"),
    11: ("peer_cut", "{node} is not connected, {behind}", ""),
    12: ("peer_listening", "{node} listens, and counts for nothing before it is admitted; {behind}", ""),
    13: (
        "peer_probed",
        "{node} is probed, {behind}: where its log meets this one is being found out",
        "; asked {ago}",
    ),
    14: ("peer_snapshot", "{node} is sent a snapshot, {behind}", ""),
    15: ("peer_fetched", "{node} is {behind}; what it lacks is being read from disk", ""),
    16: ("peer_sent", "{node} is {behind}", "; it was sent {ago} what it has not acknowledged"),
    17: ("peer_idle", "{node} is {behind}, and nothing is on the way to it", ""),
    18: (
        "own_term",
        "nothing of this leader's own term is committed; index {index} is the first, and what is older goes with it",
        "",
    ),
    19: ("full", "the leader takes no more: {number} bytes are proposed and not committed", ""),
    20: ("membership", "a change of membership at index {index} is not done", ""),
    21: ("follows", "this node follows; {node} knows more", ", which was heard {ago}"),
    22: ("proposals", "batches proposed on this node that wait for their outcome: {number}", ""),
    23: ("applying", "committed entries that are not applied here yet: {number}", ""),
    24: ("nothing_proposed", "everything in the log is committed", ""),
}


def finding_of(raw: dict[str, Any], name_of: Callable[[int], str | None]) -> Finding:
    """From the core's own form."""
    reason, text, tail = REASONS[raw["kind"]]
    node = (name_of(raw["node"]) or f"node {raw['node']:016x}") if raw["node"] else None
    seconds = raw["since_ns"] / 1e9 if raw["since_ns"] else None
    words = {
        "node": node,
        "index": raw["index"],
        "number": f"{raw['number']:,}",
        "behind": f"{raw['number']:,} {'entry' if raw['number'] == 1 else 'entries'} behind",
    }
    if seconds is not None:
        text += tail
        words |= {"time": f"{seconds:.3f} s", "ago": f"{seconds:.3f} s ago"}
    return Finding(
        reason=reason,
        text=text.format(**words),
        blocks=raw["blocks"],
        node=node,
        index=raw["index"],
        number=raw["number"],
        seconds=seconds,
    )
