r"""Sets of real numbers, however written: intervals, inequalities, unions, conjunctions, set-builder notation, points.

A text is read as a tree of intervals, unions, intersections and differences. Where all ends are numbers, its normal
form is the sorted list of ends and which of them, and of the gaps between them, belong to the set; so
`[2,3]\cup[3,5]` is `[2,5]`, and `x>-3\text{ and }x<3` is `(-3,3)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import cmp_to_key
from typing import Any, NamedTuple

from ngrpo.grading.strict.comparer import Comparer, Finding
from ngrpo.grading.strict.expression import Tree, parse
from ngrpo.grading.strict.identity import trees_equal
from ngrpo.grading.strict.set_reader import INFINITE, Node, Piece, is_marked, read_set
from ngrpo.grading.strict.values import magnitude, real_value

MAX_ENDS = 300
"""A set with more ends is not brought to its normal form."""


class _End(NamedTuple):
    text: str
    tree: Tree
    value: Any


class _Normal(NamedTuple):
    """Ends in rising order; `cells[2k]` is the gap below end k, `cells[2k+1]` the end itself."""

    ends: tuple[_End, ...]
    cells: tuple[bool, ...]


def real_sets(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    """Sets of reals are equal when they have the same elements."""
    if not (is_marked(answer) or is_marked(reference)):
        return None
    ours, theirs = read_set(answer), read_set(reference)
    if ours is None or theirs is None:
        return None
    if ours.variable and theirs.variable and ours.variable != theirs.variable:
        return Finding(False, "interval")
    one, other = _normal(ours.node), _normal(theirs.node)
    if one is None or other is None:
        return _by_pieces(comparer, ours.node, theirs.node)
    if one.cells != other.cells:
        return Finding(False, "interval")
    return Finding(_all(_same_end(comparer, *pair) for pair in zip(one.ends, other.ends, strict=True)), "interval")


def _same_end(comparer: Comparer, ours: _End, theirs: _End) -> bool | None:
    if ours.text and theirs.text:
        return comparer.equal(ours.text, theirs.text)
    return trees_equal(ours.tree, theirs.tree)


def _by_pieces(comparer: Comparer, ours: Node, theirs: Node) -> Finding | None:
    r"""Sets whose ends are no numbers, such as `(-\infty,a)`: interval by interval, in the order given."""
    if not (ours.operation == theirs.operation == "union") or ours.parts or theirs.parts:
        return None
    if len(ours.pieces) != len(theirs.pieces):
        return Finding(False, "interval")
    results: list[bool | None] = []
    for one, other in zip(ours.pieces, theirs.pieces, strict=True):
        results.append((one.low_closed, one.high_closed) == (other.low_closed, other.high_closed))
        for end, other_end in ((one.low, other.low), (one.high, other.high)):
            infinite, other_infinite = INFINITE.get(end), INFINITE.get(other_end)
            known = bool(infinite or other_infinite)
            results.append(infinite == other_infinite if known else comparer.equal(end, other_end))
    return Finding(_all(results), "interval")


def _all(results: Iterable[bool | None]) -> bool | None:
    found = list(results)
    return False if False in found else None if None in found else True


def _normal(node: Node) -> _Normal | None:
    node = _decided(node)
    ends = _ends(node)
    if ends is None:
        return None
    rank, order = _ranked(ends)
    count = len(order)
    cells = [_contains(node, cell, rank) for cell in range(2 * count + 1)]
    # An end whose two sides and itself are alike separates nothing.
    kept = [k for k in range(count) if not cells[2 * k] == cells[2 * k + 1] == cells[2 * k + 2]]
    wanted = [cell for k in kept for cell in (cells[2 * k], cells[2 * k + 1])]
    return _Normal(tuple(order[k] for k in kept), (*wanted, cells[-1]))


def _decided(node: Node) -> Node:
    parts = tuple(_decided(part) for part in node.parts)
    if node.operation != "either":
        return node._replace(parts=parts)
    both = _normal(Node("intersection", (), parts))
    return Node("union" if both is not None and not any(both.cells) else "intersection", (), parts)


def _ends(node: Node) -> list[_End] | None:
    """All finite ends of a set, None where one is no number or there are too many."""
    found: list[_End] = []
    for piece in _pieces(node):
        for text, tree in ((piece.low, piece.low_tree), (piece.high, piece.high_tree)):
            if text in INFINITE:
                continue
            tree = tree or parse(text)
            value = None if tree is None else real_value(tree)
            if tree is None or value is None or len(found) > MAX_ENDS:
                return None
            found.append(_End("" if text.startswith("#") else text, tree, value))
    return found


def _pieces(node: Node) -> Iterable[Piece]:
    yield from node.pieces
    for part in node.parts:
        yield from _pieces(part)


def _ranked(ends: list[_End]) -> tuple[Callable[[str, Tree | None], int], list[_End]]:
    """A function from an end to its place among the different ends, and those in rising order."""
    order: list[_End] = []
    places: dict[Tree, int] = {}
    for end in sorted(ends, key=cmp_to_key(_compared)):
        if not order or _compared(order[-1], end):
            order.append(end)
        places[end.tree] = len(order) - 1

    def place(text: str, tree: Tree | None) -> int:
        return places[tree or parse(text) or ()]

    return place, order


def _compared(one: _End, other: _End) -> int:
    if one.tree == other.tree:
        return 0
    difference = _number(one.value, other.value) - _number(other.value, one.value)
    near = difference == 0 or magnitude(difference) < magnitude(one.value) - 150
    if near and trees_equal(one.tree, other.tree):
        return 0
    return -1 if difference < 0 else 1


def _number(value: Any, beside: Any) -> Any:
    """A fraction as a number of the other's kind."""
    if isinstance(value, Fraction) and not isinstance(beside, Fraction):
        return type(beside)(value.numerator) / value.denominator
    return value


def _contains(node: Node, cell: int, place: Callable[[str, Tree | None], int]) -> bool:
    inside = [_in_piece(piece, cell, place) for piece in node.pieces]
    inside += [_contains(part, cell, place) for part in node.parts]
    if node.operation == "union":
        return any(inside)
    if node.operation == "intersection":
        return all(inside)
    return inside[0] and not any(inside[1:])


def _in_piece(piece: Piece, cell: int, place: Callable[[str, Tree | None], int]) -> bool:
    if piece.low not in INFINITE:
        low = 2 * place(piece.low, piece.low_tree) + 1
        if cell < low + (not piece.low_closed):
            return False
    elif INFINITE[piece.low] > 0:
        return False
    if piece.high not in INFINITE:
        high = 2 * place(piece.high, piece.high_tree) + 1
        return cell <= high - (not piece.high_closed)
    return INFINITE[piece.high] > 0
