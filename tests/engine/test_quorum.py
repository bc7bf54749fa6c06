"""The quorum engine against sets: every subset, every rule, laws that hold for all rules."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorumlog._core.bridge import testing_engine as core

Described = tuple[str, int, int, list[int]]


def slots(bits: int) -> list[int]:
    return [slot for slot in range(32) if bits >> slot & 1]


def subsets(bits: int) -> list[int]:
    return [
        sum(1 << slot for slot in chosen)
        for size in range(len(slots(bits)) + 1)
        for chosen in combinations(slots(bits), size)
    ]


def oracle(rule: Described, nodes: int) -> bool:
    """What the rule's name says, in sets of Python."""
    kind, members, number, weights = rule
    have, all_of_them = set(slots(nodes & members)), slots(members)
    rows = [set(all_of_them[i : i + number]) for i in range(0, len(all_of_them), max(number, 1))]
    return {
        "majority": lambda: len(have) > len(all_of_them) / 2,
        "all": lambda: have == set(all_of_them),
        "k of n": lambda: len(have) >= number,
        "weighted": lambda: sum(weights[slot] for slot in have) >= number,
        "grid row": lambda: any(row <= have for row in rows),
        "grid cover": lambda: all(row & have for row in rows),
    }[kind]()


@st.composite
def rules(draw, most=7, among=10):
    """A well-formed rule over up to `most` of the slots 0..among-1."""
    chosen = draw(st.lists(st.integers(0, among - 1), min_size=1, max_size=most, unique=True))
    members = sum(1 << slot for slot in chosen)
    kind = draw(st.sampled_from(sorted(core.KINDS)))
    weights = draw(st.lists(st.integers(0, 4), min_size=among, max_size=among))
    if kind == "weighted":
        weights[chosen[0]] = max(1, weights[chosen[0]])
        return kind, members, draw(st.integers(1, sum(weights[s] for s in chosen))), weights
    number = 0 if kind in ("majority", "all") else draw(st.integers(1, len(chosen)))
    return kind, members, number, []


HALVES = st.lists(st.tuples(rules(most=5, among=6), rules(most=5, among=6)), min_size=1, max_size=2)
EVERY_RULE = [
    ("majority", 0b1111111, 0, []),
    ("majority", 0b101101, 0, []),
    ("majority", 1, 0, []),
    ("majority", 1 << 15 | 1, 0, []),
    ("all", 0b11011, 0, []),
    ("k of n", 0b111110, 1, []),
    ("k of n", 0b1111111, 5, []),
    ("weighted", 0b1111, 5, [3, 1, 1, 4]),
    ("weighted", 0b111, 2**32 - 1, [2**32 - 1, 2**32 - 1, 1]),
    ("grid row", 0b111111, 3, []),
    ("grid row", 0b1111111, 3, []),
    ("grid cover", 0b111111, 2, []),
    ("grid cover", 0b1011011, 2, []),
]


@pytest.mark.parametrize("rule", EVERY_RULE, ids=str)
def test_every_subset(rule):
    for nodes in subsets(rule[1]):
        assert core.holds(rule, nodes) == oracle(rule, nodes), nodes


@given(rules())
def test_any_rule_and_every_subset(rule):
    assert core.valid(rule)
    for nodes in subsets(rule[1]):
        assert core.holds(rule, nodes) == oracle(rule, nodes), nodes


@given(rules(), st.integers(0, 1023))
def test_outsiders_count_for_nothing(rule, nodes):
    assert core.holds(rule, nodes) == core.holds(rule, nodes & rule[1])


@given(rules(), st.integers(0, 1023), st.integers(0, 1023))
def test_more_nodes_never_unmake_a_quorum(rule, nodes, more):
    assert core.holds(rule, nodes) <= core.holds(rule, nodes | more)


@pytest.mark.parametrize(
    "rule",
    [
        ("majority", 0, 0, []),
        ("majority", 1 << 16 | 1, 0, []),
        ("k of n", 0b111, 0, []),
        ("k of n", 0b111, 4, []),
        ("weighted", 0b11, 0, [1, 1]),
        ("weighted", 0b11, 3, [1, 1, 5]),
        ("grid row", 0b111, 0, []),
        ("grid cover", 0b111, 4, []),
    ],
    ids=str,
)
def test_rules_that_mean_nothing_are_refused(rule):
    assert not core.valid(rule)


# --- Votes ------------------------------------------------------------------------------------


def tally_oracle(rule: Described, granted: int, refused: int) -> str:
    """Won if every completion of the undecided votes wins, lost if none does."""
    undecided = rule[1] & ~granted & ~refused
    outcomes = {oracle(rule, granted | more) for more in subsets(undecided)}
    return {(True,): "won", (False,): "lost"}.get(tuple(outcomes), "pending")


@pytest.mark.parametrize("rule", [r for r in EVERY_RULE if r[1] < 128], ids=str)
def test_every_tally(rule):
    for granted in subsets(rule[1]):
        for refused in subsets(rule[1] & ~granted):
            assert core.tally(rule, granted, refused) == tally_oracle(rule, granted, refused)


@given(rules(), st.integers(0, 1023), st.integers(0, 1023))
def test_tally_of_any_rule(rule, granted, refused):
    granted &= ~refused
    assert core.tally(rule, granted, refused) == tally_oracle(rule, granted, refused)


@given(rules(), st.integers(0, 1023), st.integers(0, 1023))
def test_who_says_both_has_refused(rule, granted, refused):
    assert core.tally(rule, granted, refused) == core.tally(rule, granted & ~refused, refused)


def both(said: list[str]) -> str:
    return "lost" if "lost" in said else "won" if set(said) == {"won"} else "pending"


@given(HALVES, st.integers(0, 63), st.integers(0, 63))
def test_joint_tally_needs_both_halves(halves, granted, refused):
    granted &= ~refused
    assert core.tallies(halves, granted, refused) == (
        both([tally_oracle(elect, granted, refused) for elect, _ in halves]),
        both([tally_oracle(commit, granted, refused) for _, commit in halves]),
    )
    assert core.tallies(halves[::-1], granted, refused) == core.tallies(halves, granted, refused)


# --- Acknowledgements -------------------------------------------------------------------------


def acked_oracle(commits: list[Described], match: list[int]) -> int:
    """The largest i such that the slots with match >= i are a quorum."""

    def quorum_at(i: int) -> bool:
        reached = sum(1 << slot for slot, value in enumerate(match) if value >= i)
        return all(oracle(rule, reached) for rule in commits)

    return max(i for i in {0, *match} if i == 0 or quorum_at(i))


MATCH = st.lists(
    st.one_of(st.integers(0, 5), st.integers(0, 2**64 - 1)), min_size=10, max_size=10
)


@given(rules(), MATCH)
def test_acked_by_any_rule(rule, match):
    assert core.acked_by_rule(rule, match) == acked_oracle([rule], match)


@given(HALVES, MATCH)
def test_acked_by_joint_rules(halves, match):
    assert core.acked(halves, match) == acked_oracle([commit for _, commit in halves], match)
    assert core.acked(halves[::-1], match) == core.acked(halves, match)


@given(st.integers(1, 16), st.data())
def test_majority_is_the_middle(count, data):
    match = data.draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    middle = sorted(match, reverse=True)[count // 2]
    rule = ("majority", (1 << count) - 1, 0, [])
    assert core.acked([(rule, rule)], match) == middle


@given(rules(), MATCH, st.integers(0, 9), st.integers(0, 2**63))
def test_acked_never_falls_when_a_match_rises(rule, match, slot, by):
    higher = list(match)
    higher[slot] = min(higher[slot] + by, 2**64 - 1)
    assert core.acked_by_rule(rule, higher) >= core.acked_by_rule(rule, match)


@given(rules(), MATCH, st.permutations(range(10)))
def test_names_of_slots_mean_nothing(rule, match, order):
    """Except to a grid, which is filled in their order."""
    kind, members, number, weights = rule
    if kind.startswith("grid"):
        return
    moved_members = sum(1 << order[slot] for slot in slots(members))
    moved_weights, moved_match = [0] * 10, [0] * 10
    for slot in range(10):
        moved_match[order[slot]] = match[slot]
        if weights:
            moved_weights[order[slot]] = weights[slot]
    moved = (kind, moved_members, number, moved_weights if weights else [])
    assert core.acked_by_rule(moved, moved_match) == core.acked_by_rule(rule, match)


# --- Intersection -----------------------------------------------------------------------------


def disjoint_pair_exists(elect: Described, commit: Described) -> bool:
    return any(
        oracle(elect, one) and oracle(commit, other)
        for one in subsets(elect[1])
        for other in subsets(commit[1] & ~one)
    )


@settings(max_examples=60)
@given(HALVES)
def test_intersection_and_its_witness(halves):
    meets, elect, commit = core.intersects(halves)
    assert meets == (not any(disjoint_pair_exists(*half) for half in halves))
    if meets:
        return
    assert elect & commit == 0
    assert any(oracle(half[0], elect) and oracle(half[1], commit) for half in halves)


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("elect", range(1, 8))
@pytest.mark.parametrize("commit", range(1, 8))
def test_flexible_quorums_meet_when_they_outnumber(count, elect, commit):
    """Howard, Malkhi, Spiegelman 2016: phase 1 and phase 2 quorums must meet: |Q1| + |Q2| > n."""
    if max(elect, commit) > count:
        return
    nodes = (1 << count) - 1
    rules_ = (("k of n", nodes, elect, []), ("k of n", nodes, commit, []))
    assert core.intersects([rules_])[0] == (elect + commit > count)


@pytest.mark.parametrize("columns", range(1, 8))
@pytest.mark.parametrize("count", range(1, 17))
def test_a_row_meets_every_cover(count, columns):
    if columns > count:
        return
    nodes = (1 << count) - 1
    row, cover = ("grid row", nodes, columns, []), ("grid cover", nodes, columns, [])
    assert core.intersects([(row, cover)]) == (True, 0, 0)
    assert core.intersects([(cover, row)]) == (True, 0, 0)
    several_rows = count > columns
    assert core.intersects([(row, row)])[0] != several_rows


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16])
def test_majority_of(count):
    nodes = (1 << count) - 1
    rule = ("majority", nodes)
    assert core.majority_of(nodes) == (rule, rule, 1)
    full = (*rule, 0, [])
    assert core.intersects([(full, full)]) == (True, 0, 0)
    assert core.members([(full, full)]) == nodes


def test_members_are_all_who_are_named():
    a, b = ("majority", 0b0011, 0, []), ("all", 0b0110, 0, [])
    assert core.members([(a, b)]) == 0b0111
    assert core.members([(a, a), (b, ("all", 0b1000, 0, []))]) == 0b1111
