r"""Sets of real numbers, however written: intervals, inequalities, unions, set-builder notation, single points."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from ngrpo.grading.strict.brackets import closes_at_end, split_at
from ngrpo.grading.strict.expression import parse
from ngrpo.grading.strict.zero_test import real_value

_RELATION = re.compile(r"<|>|\\le(?![A-Za-z])\s?|\\ge(?![A-Za-z])\s?")
_VARIABLE = re.compile(r"[A-Za-z](?:_[A-Za-z0-9])?(?:\([a-z]\))?|\\[a-z]+(?:_[A-Za-z0-9])?")
_BUILDER = re.compile(r"\\\{\s*([A-Za-z])\s*(?:\\in\s*\\mathbb\{?R\}?\s*)?(?:\||:|;)\s*(.*)\\\}", re.S)
_MEMBER = re.compile(r"([A-Za-z](?:_[A-Za-z0-9])?|\\[a-z]+)\s*\\in\s*(.+)", re.S)
_ALL = frozenset((r"\mathbb{R}", r"\mathbbR", r"\R", r"\text{all real numbers}", "R"))
_INFINITE = {r"\infty": 1, r"+\infty": 1, r"-\infty": -1}


class Piece(NamedTuple):
    """An interval: its ends as text, and whether it contains them. A point is [p, p]."""

    low: str
    low_closed: bool
    high: str
    high_closed: bool


class RealSet(NamedTuple):
    """A union of pieces without some points; the variable is None where none is named."""

    variable: str | None
    pieces: tuple[Piece, ...]
    without: tuple[str, ...] = ()


_WHOLE = Piece(r"-\infty", False, r"\infty", False)


def real_set(text: str) -> RealSet | None:
    r"""Returns the set that a text denotes, or None where it denotes none.

    >>> real_set("0<x\\le 1")
    RealSet(variable='x', pieces=(Piece(low='0', low_closed=False, high='1', high_closed=True),), without=())
    >>> real_set(r"(-\infty,1)\cup\{2\}").pieces[1]
    Piece(low='2', low_closed=True, high='2', high_closed=True)
    """
    if text in _ALL:
        return RealSet(None, (_WHOLE,))
    builder = _BUILDER.fullmatch(text)
    if builder and closes_at_end(text):
        inside = real_set(builder[2].strip())
        return inside if inside is None or inside.variable == builder[1] else None
    parts = split_at(
        text.replace(r"\text{or}", r"\lor ").replace(r"\text{ or }", r"\lor ").replace(" or ", r"\lor "),
        r"\cup",
        r"\lor",
    )
    if len(parts) > 1:
        return _union([real_set(part) for part in parts])
    without = _without(text)
    if without is not None:
        return without
    member = _MEMBER.fullmatch(text)
    if member:
        inside = real_set(member[2])
        return inside._replace(variable=member[1]) if inside else None
    return _interval(text) or _points(text) or _relation(text)


def is_marked(text: str) -> bool:
    """Returns whether a text can only be a set of reals, not a pair of numbers or an equation.

    >>> is_marked("x>2"), is_marked("[1,2)"), is_marked("(1,2)")
    (True, True, False)
    """
    if any(mark in text for mark in (r"\cup", r"\infty", r"\setminus", r"\ne", r"\mathbb", r"\in")):
        return True
    if _RELATION.search(text):
        return True
    return bool(text) and text[0] + text[-1] in ("[)", "(]")


def same_set(one: RealSet, other: RealSet, equal: Callable[[str, str], bool | None]) -> bool | None:
    """Returns whether two sets are equal, None where their ends cannot be compared."""
    if one.variable and other.variable and one.variable != other.variable:
        return False
    left, right = _arranged(one), _arranged(other)
    if len(left) != len(right):
        return False
    unsure = False
    for ours, theirs in zip(left, right, strict=True):
        if (ours.low_closed, ours.high_closed) != (theirs.low_closed, theirs.high_closed):
            return False
        for end, other_end in ((ours.low, theirs.low), (ours.high, theirs.high)):
            infinite, other_infinite = _INFINITE.get(end), _INFINITE.get(other_end)
            same = infinite == other_infinite if infinite or other_infinite else equal(end, other_end)
            if same is False:
                return False
            unsure |= same is None
    return None if unsure else True


def _arranged(given: RealSet) -> list[Piece]:
    """The pieces from left to right where they can be sorted, cut at the points that are left out."""
    pieces = list(given.pieces)
    for point in given.without:
        pieces = [part for piece in pieces for part in _cut(piece, point)]
    keys = [(_position(piece.low), _position(piece.high)) for piece in pieces]
    if any(low is None or high is None for low, high in keys):
        return pieces
    order = sorted(range(len(pieces)), key=lambda number: keys[number])
    return [pieces[number] for number in order]


def _cut(piece: Piece, point: str) -> list[Piece]:
    low, here, high = _position(piece.low), _position(point), _position(piece.high)
    if low is None or here is None or high is None or here < low or here > high:
        return [piece]
    if here in (low, high):
        return [
            piece._replace(low_closed=piece.low_closed and here != low, high_closed=piece.high_closed and here != high)
        ]
    return [piece._replace(high=point, high_closed=False), piece._replace(low=point, low_closed=False)]


def _position(end: str) -> float | None:
    if end in _INFINITE:
        return _INFINITE[end] * float("inf")
    tree = parse(end)
    value = None if tree is None else real_value(tree, 30)
    try:
        return None if value is None else float(value)
    except OverflowError:
        return None


def _union(parts: list[RealSet | None]) -> RealSet | None:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or any(part.without for part in known):
        return None
    variables = {part.variable for part in known if part.variable}
    if len(variables) > 1:
        return None
    return RealSet(next(iter(variables), None), tuple(piece for part in known for piece in part.pieces))


def _without(text: str) -> RealSet | None:
    parts = split_at(text, r"\setminus")
    if len(parts) == 1 and r"\{" in text:
        parts = [part for part in split_at(text, "-") if part]
        if not all(part.endswith((r"\}", "]", ")", r"\mathbb{R}")) for part in parts):
            return None
    if len(parts) != 2:
        return None
    whole, points = real_set(parts[0]), _points(parts[1])
    if whole is None or points is None:
        return None
    return whole._replace(without=whole.without + tuple(piece.low for piece in points.pieces))


def _interval(text: str) -> RealSet | None:
    if len(text) < 3 or text[0] not in "([" or text[-1] not in ")]" or not closes_at_end(text):
        return None
    ends = split_at(text[1:-1], ",")
    if len(ends) != 2 or not all(ends):
        return None
    return RealSet(None, (Piece(ends[0], text[0] == "[", ends[1], text[-1] == "]"),))


def _points(text: str) -> RealSet | None:
    if not (text.startswith(r"\{") and text.endswith(r"\}") and closes_at_end(text)):
        return None
    points = split_at(text[2:-2], ",")
    return RealSet(None, tuple(Piece(point, True, point, True) for point in points)) if all(points) else None


def _relation(text: str) -> RealSet | None:
    for mark, holes in (("=", False), (r"\ne", True)):
        sides = split_at(text, mark)
        if len(sides) == 2 and _VARIABLE.fullmatch(sides[0]) and sides[1] and not _RELATION.search(text):
            point = Piece(sides[1], True, sides[1], True)
            return RealSet(sides[0], (_WHOLE,), (sides[1],)) if holes else RealSet(sides[0], (point,))
    relations = [found[0].strip() for found in _RELATION.finditer(text)]
    sides = [side.strip() for side in _RELATION.split(text)]
    if len(relations) == 1 and _VARIABLE.fullmatch(sides[1]) and not _VARIABLE.fullmatch(sides[0]):
        sides, relations = sides[::-1], [_flipped(relations[0])]
    if len(relations) == 1 and _VARIABLE.fullmatch(sides[0]):
        closed = "e" in relations[0]
        below = relations[0] in ("<", r"\le")
        piece = Piece(r"-\infty", False, sides[1], closed) if below else Piece(sides[1], closed, r"\infty", False)
        return RealSet(sides[0], (piece,)) if sides[1] else None
    if len(relations) == 2 and _VARIABLE.fullmatch(sides[1]) and all(sides):
        if all(relation in (">", r"\ge") for relation in relations):
            sides, relations = sides[::-1], [_flipped(relation) for relation in relations[::-1]]
        if all(relation in ("<", r"\le") for relation in relations):
            return RealSet(sides[1], (Piece(sides[0], "e" in relations[0], sides[2], "e" in relations[1]),))
    return None


def _flipped(relation: str) -> str:
    return {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}[relation]
