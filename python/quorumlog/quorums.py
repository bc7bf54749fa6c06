"""Quorum rules, alone: who must agree to elect a leader, and who to commit.

    from quorumlog.quorums import AtLeast, Quorums, describe

    four = Quorums(("a", "b", "c", "d"), elect=AtLeast(3), commit=AtLeast(2))
    describe(four).commit.resilience        # 2: a commit outlives any two nodes that fall silent

A rule says which sets of nodes decide.  `Quorums` puts an elect and a commit rule together and refuses them
when some elect quorum misses some commit quorum, naming the two (Howard, Malkhi, Spiegelman: Flexible Paxos,
2016: "it is only necessary for phase-1 quorums and phase-2 quorums to intersect").

Everything here is pure, runs in the calling thread, and tries all subsets of at most 16 nodes: it is meant for
the moment at which a group is planned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from quorumlog._core.bridge import quorums as _core
from quorumlog.errors import UsageError
from quorumlog.quorum_load import load_of

__all__ = [
    "All",
    "AtLeast",
    "Cover",
    "Description",
    "Disjoint",
    "Majority",
    "Quorums",
    "Row",
    "Rule",
    "RuleFacts",
    "Weighted",
    "describe",
    "grid",
]

_Described = tuple[str, int, int, list[int]]


class Disjoint(UsageError):
    """Some elect quorum and some commit quorum have no node in common: what one commits the other would not see.

    Attributes:
        elect: a smallest elect quorum, node names.
        commit: a smallest commit quorum that it misses.
    """

    def __init__(self, elect: frozenset[str], commit: frozenset[str]) -> None:
        super().__init__(f"elect quorum {sorted(elect)} and commit quorum {sorted(commit)} have no node in common")
        self.elect = elect
        self.commit = commit


@dataclass(frozen=True, slots=True)
class Rule:
    """Which sets of nodes are a quorum.  One of the classes below."""

    def _described(self, nodes: tuple[str, ...]) -> _Described:
        raise UsageError("a rule is one of Majority, All, AtLeast, Weighted, Row and Cover")

    def _classes(self, nodes: tuple[str, ...]) -> list[int]:
        """Nodes of the same class can change places without changing the rule."""
        return [0] * len(nodes)


@dataclass(frozen=True, slots=True)
class Majority(Rule):
    """More than half of the nodes."""

    def _described(self, nodes: tuple[str, ...]) -> _Described:
        return "majority", (1 << len(nodes)) - 1, 0, []


@dataclass(frozen=True, slots=True)
class All(Rule):
    """Every node."""

    def _described(self, nodes: tuple[str, ...]) -> _Described:
        return "all", (1 << len(nodes)) - 1, 0, []


@dataclass(frozen=True, slots=True)
class AtLeast(Rule):
    """Any `count` nodes.

    Attributes:
        count: from 1 to the number of nodes.
    """

    count: int

    def _described(self, nodes: tuple[str, ...]) -> _Described:
        if not 1 <= self.count <= len(nodes):
            raise UsageError(f"AtLeast({self.count}) of {len(nodes)} nodes: the count is from 1 to {len(nodes)}")
        return "k of n", (1 << len(nodes)) - 1, self.count, []


@dataclass(frozen=True, slots=True)
class Weighted(Rule):
    """Nodes whose weights add up to `threshold` (Gifford, 1979).

    Attributes:
        weights: of every node by name, from 0 to 2^32 - 1.
        threshold: from 1 to the sum of the weights; None: more than half of it.
    """

    weights: Mapping[str, int] = field(hash=False)
    threshold: int | None = None

    def _described(self, nodes: tuple[str, ...]) -> _Described:
        if set(self.weights) != set(nodes):
            raise UsageError(f"weights are of {sorted(self.weights)}, but the nodes are {sorted(nodes)}")
        weights = [self.weights[node] for node in nodes]
        threshold = sum(weights) // 2 + 1 if self.threshold is None else self.threshold
        if min(weights) < 0 or max(weights) >= 1 << 32:
            raise UsageError("a weight is from 0 to 2^32 - 1")
        if not 1 <= threshold <= min(sum(weights), (1 << 32) - 1):
            raise UsageError(f"threshold {threshold} is not from 1 to the sum of the weights, {sum(weights)}")
        return "weighted", (1 << len(nodes)) - 1, threshold, weights

    def _classes(self, nodes: tuple[str, ...]) -> list[int]:
        kinds = sorted(set(self.weights.values()))
        return [kinds.index(self.weights[node]) for node in nodes]


@dataclass(frozen=True, slots=True)
class _InGrid(Rule):
    columns: int

    def _of_grid(self, kind: str, nodes: tuple[str, ...]) -> _Described:
        if not 1 <= self.columns <= len(nodes):
            raise UsageError(f"a grid of {len(nodes)} nodes has from 1 to {len(nodes)} columns, not {self.columns}")
        return kind, (1 << len(nodes)) - 1, self.columns, []

    def _classes(self, nodes: tuple[str, ...]) -> list[int]:
        return [place // self.columns for place in range(len(nodes))]


@dataclass(frozen=True, slots=True)
class Row(_InGrid):
    """One whole row of a grid, which the nodes fill row by row in the order given (Cheung, Ammar, Ahamad, 1992).

    Attributes:
        columns: of the grid; the last row may be shorter.
    """

    def _described(self, nodes: tuple[str, ...]) -> _Described:
        return self._of_grid("row", nodes)


@dataclass(frozen=True, slots=True)
class Cover(_InGrid):
    """One node of each row of a grid: it meets every whole row.

    Attributes:
        columns: of the grid, as in `Row`.
    """

    def _described(self, nodes: tuple[str, ...]) -> _Described:
        return self._of_grid("cover", nodes)


@dataclass(frozen=True, slots=True)
class Quorums:
    """Who elects and who commits, among named nodes.  Refused at once where the two can miss each other.

    Attributes:
        nodes: 1 to 16 names, each once; grids are filled in this order.
        elect: which sets elect a leader.
        commit: which sets commit.

    Raises:
        Disjoint: an elect and a commit quorum have no node in common.
        UsageError: a rule that means nothing for these nodes.
    """

    nodes: tuple[str, ...]
    elect: Rule = field(default_factory=Majority)
    commit: Rule = field(default_factory=Majority)

    def __post_init__(self) -> None:
        if not 1 <= len(self.nodes) <= _core.NODES_LIMIT or len(set(self.nodes)) != len(self.nodes):
            raise UsageError(f"quorums are of 1 to {_core.NODES_LIMIT} different nodes, not {self.nodes!r}")
        pair = _core.disjoint(self.elect._described(self.nodes), self.commit._described(self.nodes))
        if pair is not None:
            raise Disjoint(self._names(pair[0]), self._names(pair[1]))

    def _names(self, bits: int) -> frozenset[str]:
        return frozenset(node for slot, node in enumerate(self.nodes) if bits >> slot & 1)

    def _holds(self, rule: Rule, nodes: Iterable[str]) -> bool:
        present = set(nodes)
        bits = sum(1 << slot for slot, node in enumerate(self.nodes) if node in present)
        return _core.holds(rule._described(self.nodes), bits)

    def elects(self, nodes: Iterable[str]) -> bool:
        """Whether these nodes can elect a leader; names of others count for nothing."""
        return self._holds(self.elect, nodes)

    def commits(self, nodes: Iterable[str]) -> bool:
        """Whether an entry that these nodes have flushed is committed."""
        return self._holds(self.commit, nodes)


def grid(nodes: Iterable[str], columns: int) -> Quorums:
    """Commits by one whole row, elects by one node of each row.

    Args:
        nodes: filled into the rows in this order.
        columns: nodes in a row.

    Raises:
        UsageError: a grid that these nodes don't fill.
    """
    return Quorums(tuple(nodes), elect=Cover(columns), commit=Row(columns))


@dataclass(frozen=True, slots=True)
class RuleFacts:
    """What a rule costs and withstands.

    Attributes:
        smallest: nodes in its smallest quorum.
        resilience: so many nodes may fail, whichever they are, and a quorum is left.
        load: the share of all decisions that the busiest node takes part in, when quorums are chosen as evenly as
            the rule allows (Naor and Wool, 1998); 1/load is the capacity in units of one node's.
    """

    smallest: int
    resilience: int
    load: Fraction


@dataclass(frozen=True, slots=True)
class Description:
    """What `describe` found.

    Attributes:
        elect: of the elect rule.
        commit: of the commit rule.
        resilience: so many nodes may fail, and a leader can be elected and commit: the smaller of the two.
    """

    elect: RuleFacts
    commit: RuleFacts
    resilience: int


def _facts(rule: Rule, nodes: tuple[str, ...]) -> RuleFacts:
    described = rule._described(nodes)
    quorums = _core.smallest(described)
    return RuleFacts(
        smallest=min(bits.bit_count() for bits in quorums),
        resilience=_core.resilience(described),
        load=load_of(quorums, rule._classes(nodes)),
    )


def describe(quorums: Quorums) -> Description:
    """Resilience, load and size of both rules.  Exact; up to some seconds for 16 nodes of 16 different weights."""
    elect = _facts(quorums.elect, quorums.nodes)
    commit = _facts(quorums.commit, quorums.nodes)
    return Description(elect, commit, min(elect.resilience, commit.resilience))
