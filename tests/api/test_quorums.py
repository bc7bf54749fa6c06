"""Quorum rules as users write them: against sets, against a plain search for loads, and against quoracle."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorumlog.errors import UsageError
from quorumlog.quorums import (
    All,
    AtLeast,
    Cover,
    Disjoint,
    Majority,
    Quorums,
    Row,
    Rule,
    Weighted,
    describe,
    grid,
)

NAMES = tuple("abcdefg")


def decides(rule: Rule, nodes: tuple[str, ...], chosen: frozenset[str]) -> bool:
    """What the rule's name says, in sets."""
    if isinstance(rule, Majority):
        return 2 * len(chosen) > len(nodes)
    if isinstance(rule, All):
        return chosen == set(nodes)
    if isinstance(rule, AtLeast):
        return len(chosen) >= rule.count
    if isinstance(rule, Weighted):
        threshold = rule.threshold or sum(rule.weights.values()) // 2 + 1
        return sum(rule.weights[node] for node in chosen) >= threshold
    assert isinstance(rule, Row | Cover)
    rows = [set(nodes[i : i + rule.columns]) for i in range(0, len(nodes), rule.columns)]
    return any(row <= chosen for row in rows) if isinstance(rule, Row) else all(row & chosen for row in rows)


def subsets(nodes: tuple[str, ...]) -> list[frozenset[str]]:
    return [frozenset(some) for size in range(len(nodes) + 1) for some in combinations(nodes, size)]


def smallest(rule: Rule, nodes: tuple[str, ...]) -> list[frozenset[str]]:
    quorums = [chosen for chosen in subsets(nodes) if decides(rule, nodes, chosen)]
    return [one for one in quorums if not any(other < one for other in quorums)]


@st.composite
def rules(draw: st.DrawFn, nodes: tuple[str, ...]) -> Rule:
    kind = draw(st.sampled_from(["majority", "all", "at least", "weighted", "row", "cover"]))
    if kind == "weighted":
        weights = {node: draw(st.integers(0, 4)) for node in nodes}
        weights[nodes[0]] += 1
        return Weighted(weights, draw(st.none() | st.integers(1, sum(weights.values()))))
    number = draw(st.integers(1, len(nodes)))
    return {
        "majority": Majority(),
        "all": All(),
        "at least": AtLeast(number),
        "row": Row(number),
        "cover": Cover(number),
    }[kind]


NODES = st.integers(1, 6).map(lambda count: NAMES[:count])
PAIRS = NODES.flatmap(lambda nodes: st.tuples(st.just(nodes), rules(nodes), rules(nodes)))


@given(PAIRS)
def test_a_pair_is_refused_exactly_when_it_can_miss(pair: tuple[tuple[str, ...], Rule, Rule]) -> None:
    nodes, elect, commit = pair
    missing = [
        (one, other)
        for one in smallest(elect, nodes)
        for other in smallest(commit, nodes)
        if not one & other
    ]
    if not missing:
        quorums = Quorums(nodes, elect, commit)
        for chosen in subsets(nodes):
            assert quorums.elects(chosen) == decides(elect, nodes, chosen)
            assert quorums.commits([*chosen, "a stranger"]) == decides(commit, nodes, chosen)
        return
    with pytest.raises(Disjoint) as caught:
        Quorums(nodes, elect, commit)
    assert (caught.value.elect, caught.value.commit) in missing
    assert all(node in str(caught.value) for node in caught.value.elect | caught.value.commit)


def facts_by_search(rule: Rule, nodes: tuple[str, ...]) -> tuple[int, int]:
    quorums = smallest(rule, nodes)
    kills = [failed for failed in subsets(nodes) if not any(not quorum & failed for quorum in quorums)]
    return min(map(len, quorums)), min(map(len, kills)) - 1


@settings(max_examples=60)
@given(NODES.flatmap(lambda nodes: st.tuples(st.just(nodes), rules(nodes))))
def test_what_describe_tells(case: tuple[tuple[str, ...], Rule]) -> None:
    nodes, rule = case
    told = describe(Quorums(nodes, elect=All(), commit=rule))
    assert (told.commit.smallest, told.commit.resilience) == facts_by_search(rule, nodes)
    assert told.elect.resilience == told.resilience == 0
    assert told.elect.load == 1
    low, high = load_by_play(smallest(rule, nodes), nodes)
    assert low - 1e-9 <= told.commit.load <= high + 1e-9


def load_by_play(quorums: list[frozenset[str]], nodes: tuple[str, ...], rounds: int = 300) -> tuple[float, float]:
    """Bounds by fictitious play (Brown 1951): each side answers best to all that the other has played.

    Any mix of quorums bounds the load from above by its busiest node; any weighing of the nodes bounds it from
    below by its lightest quorum.
    """
    used = dict.fromkeys(nodes, 0)
    weight = dict.fromkeys(nodes, 0)
    for _ in range(rounds):
        weight[max(nodes, key=used.__getitem__)] += 1
        for node in min(quorums, key=lambda quorum: sum(weight[node] for node in quorum)):
            used[node] += 1
    return min(sum(weight[node] for node in quorum) for quorum in quorums) / rounds, max(used.values()) / rounds


def test_known_loads() -> None:
    """By hand: symmetric systems have size/nodes; a row costs one in so many rows."""
    five = NAMES[:5]
    assert describe(Quorums(five)).commit.load == Fraction(3, 5)
    assert describe(Quorums(five, AtLeast(4), AtLeast(2))).commit.load == Fraction(2, 5)
    told = describe(grid(NAMES[:6], 3))
    assert (told.commit.load, told.elect.load) == (Fraction(1, 2), Fraction(1, 3))
    assert (told.commit.resilience, told.elect.resilience) == (1, 2)
    assert (told.commit.smallest, told.elect.smallest) == (3, 2)
    # a with any other, or the three others without it: 3/5 of a's and 2/5 of theirs.
    star = describe(Quorums(NAMES[:4], commit=Weighted({"a": 2, "b": 1, "c": 1, "d": 1}, 3)))
    assert star.commit.load == Fraction(3, 5)


# What quoracle 0.0.4 says: QuorumSystem(reads=elect, writes=commit).load(read_fraction=0), .resilience().
HEAVY = Weighted({"a": 3, "b": 2, "c": 2, "d": 1, "e": 1})
STAR = Weighted({"a": 2, "b": 1, "c": 1, "d": 1}, 3)
KNOWN = [
    (Quorums(NAMES[:3]), 0.6667, 1),
    (Quorums(NAMES[:5], AtLeast(4), AtLeast(2)), 0.4, 1),
    (grid(NAMES[:4], 2), 0.5, 1),
    (grid(NAMES[:6], 2), 0.3333, 1),
    (Quorums(NAMES[:4], STAR, STAR), 0.6, 1),
    (Quorums(NAMES[:5], HEAVY, HEAVY), 0.5556, 1),
]


@pytest.mark.parametrize(("quorums", "load", "resilience"), KNOWN)
def test_what_quoracle_said(quorums: Quorums, load: float, resilience: int) -> None:
    told = describe(quorums)
    assert round(float(told.commit.load), 4) == load
    assert told.resilience == resilience


@pytest.mark.parametrize("quorums", [known[0] for known in KNOWN])
def test_what_quoracle_says(quorums: Quorums) -> None:
    quoracle = pytest.importorskip("quoracle")
    node = {name: quoracle.Node(name) for name in quorums.nodes}

    def expression(rule: Rule) -> object:
        return quoracle.choose(1, [
            quoracle.choose(len(quorum), [node[name] for name in sorted(quorum)])
            for quorum in smallest(rule, quorums.nodes)
        ])

    system = quoracle.QuorumSystem(reads=expression(quorums.elect), writes=expression(quorums.commit))
    told = describe(quorums)
    assert system.load(read_fraction=0) == pytest.approx(float(told.commit.load), abs=1e-4)
    assert system.load(read_fraction=1) == pytest.approx(float(told.elect.load), abs=1e-4)
    assert system.resilience() == told.resilience


def test_sixteen_nodes() -> None:
    many = tuple(f"n{i}" for i in range(16))
    told = describe(Quorums(many, AtLeast(13), AtLeast(4)))
    assert (told.commit.load, told.commit.resilience, told.elect.resilience) == (Fraction(1, 4), 12, 3)


@pytest.mark.parametrize("make", [
    lambda: Quorums(()),
    lambda: Quorums(("a", "a")),
    lambda: Quorums(tuple(f"n{i}" for i in range(17))),
    lambda: Quorums(("a", "b"), commit=AtLeast(0)),
    lambda: Quorums(("a", "b"), commit=AtLeast(3)),
    lambda: Quorums(("a", "b"), commit=Row(3)),
    lambda: Quorums(("a", "b"), commit=Weighted({"a": 1})),
    lambda: Quorums(("a", "b"), commit=Weighted({"a": -1, "b": 3})),
    lambda: Quorums(("a", "b"), commit=Weighted({"a": 1, "b": 1}, 3)),
    lambda: Quorums(("a", "b"), commit=Weighted({"a": 0, "b": 0}, 0)),
    lambda: Quorums(("a", "b"), commit=Rule()),
])
def test_what_means_nothing_is_refused(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError):
        make()
