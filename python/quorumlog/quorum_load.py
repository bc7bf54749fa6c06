"""The load of a quorum system: a small linear programme, solved exactly.

Naor and Wool, The Load, Capacity and Availability of Quorum Systems (1998): choose quorums at random so that the
busiest node takes part in as few of them as possible.  With x = p / load this is

    maximise sum(x), such that for each node the x of its quorums add up to at most 1,

which starts feasible at x = 0.  Nodes that can change places have the same load in some best strategy, so a
quorum is only how many it takes of each class.  The revised simplex method with Bland's rule, in fractions.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

__all__ = ["load_of"]


def _taken(bits: int, classes: Sequence[int], count: int) -> list[int]:
    taken = [0] * count
    for slot, kind in enumerate(classes):
        taken[kind] += bits >> slot & 1
    return taken


def _columns(quorums: Sequence[int], classes: Sequence[int]) -> list[list[Fraction]]:
    """For each kind of quorum, its share of each class."""
    sizes = [classes.count(one) for one in range(max(classes) + 1)]
    kinds = {tuple(_taken(bits, classes, len(sizes))) for bits in quorums}
    return [[Fraction(taken, size) for taken, size in zip(kind, sizes, strict=True)] for kind in sorted(kinds)]


def _dot(left: Sequence[Fraction], right: Sequence[Fraction]) -> Fraction:
    return sum((one * other for one, other in zip(left, right, strict=True) if one and other), Fraction(0))


def load_of(quorums: Sequence[int], classes: Sequence[int]) -> Fraction:
    """The load of the system with these smallest quorums.

    Args:
        quorums: bit sets of node slots.
        classes: of each slot; slots of one class can change places without changing the system.

    Returns:
        From 1/nodes to 1.
    """
    columns = _columns(quorums, classes)
    rows = len(columns[0])
    # Variables 0..len(columns)-1 are quorums, then one slack per class.
    basis = [len(columns) + row for row in range(rows)]
    inverse = [[Fraction(int(row == column)) for column in range(rows)] for row in range(rows)]
    solution = [Fraction(1)] * rows
    while True:
        chosen = [row for row in range(rows) if basis[row] < len(columns)]
        prices = [sum((inverse[row][place] for row in chosen), Fraction(0)) for place in range(rows)]
        entering = _entering(columns, prices)
        if entering is None:
            return 1 / sum((solution[row] for row in chosen), Fraction(0))
        if entering < len(columns):
            column = columns[entering]
        else:
            column = [Fraction(int(row == entering - len(columns))) for row in range(rows)]
        _pivot(basis, inverse, solution, entering, [_dot(row, column) for row in inverse])


def _entering(columns: Sequence[Sequence[Fraction]], prices: Sequence[Fraction]) -> int | None:
    """The first variable that would raise the sum (Bland): no cycles."""
    for number, column in enumerate(columns):
        if _dot(prices, column) < 1:
            return number
    for row, price in enumerate(prices):
        if price < 0:
            return len(columns) + row
    return None


def _pivot(
    basis: list[int], inverse: list[list[Fraction]], solution: list[Fraction], entering: int, direction: list[Fraction]
) -> None:
    """One node's bound becomes tight; every quorum has a node, so one of them does."""
    _, _, leaving = min(
        (solution[row] / direction[row], basis[row], row) for row in range(len(basis)) if direction[row] > 0
    )
    scale = direction[leaving]
    inverse[leaving] = [value / scale for value in inverse[leaving]]
    solution[leaving] /= scale
    for row in range(len(basis)):
        if row != leaving and direction[row]:
            inverse[row] = [a - direction[row] * b for a, b in zip(inverse[row], inverse[leaving], strict=True)]
            solution[row] -= direction[row] * solution[leaving]
    basis[leaving] = entering
