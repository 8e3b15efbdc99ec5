r"""From text to a tree of intervals, unions, intersections and differences; see `ngrpo.grading.strict.real_sets`."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from ngrpo.grading.strict.brackets import closes_at_end, split_at
from ngrpo.grading.strict.expression import Tree, parse, substituted, symbols_of
from ngrpo.grading.strict.identity import trees_equal
from ngrpo.grading.strict.values import real_value

INFINITE = {r"\infty": 1, r"+\infty": 1, r"-\infty": -1}
"""Ends that are no number, and on which side."""
MAX_DEPTH = 8

_RELATION = re.compile(r"<|>|\\le(?![A-Za-z])\s?|\\ge(?![A-Za-z])\s?")
_VARIABLE = re.compile(r"[A-Za-z](?:_[A-Za-z0-9])?(?:\([a-z]\))?|\\[a-z]+(?:_[A-Za-z0-9])?")
_BUILDER = re.compile(r"\\\{\s*([A-Za-z])\s*(?:\\in\s*\\mathbb\{?R\}?\s*)?(?:\||:|;)\s*(.*)\\\}", re.S)
_MEMBER = re.compile(r"([A-Za-z](?:_[A-Za-z0-9])?|\\[a-z]+)\s*\\(in|notin)(?![a-z])\s*(.+)", re.S)
_WHOLE_NAMES = frozenset((r"\mathbb{R}", "R"))
_HALF_LINES = re.compile(r"\\mathbb\{R\}(?:\^|_)(?:\{)?(\+|-|\*|>0|<0|\\ge\s?0|\\le\s?0|\\ne\s?0)(?:\})?")
_OR = re.compile(r"\\text\{\s*,?\s*or\s*\}|\s+or\s+|(?<![A-Za-z\\])or(?![A-Za-z])")
_AND = re.compile(r"\\text\{\s*,?\s*(?:and|but)\s*\}|\s+and\s+|(?<![A-Za-z\\])and(?![A-Za-z])")
_OUTWARD = re.compile(r"([\[\]])([^\[\]()]*[,;][^\[\]()]*)([\[\]])")
_ALL = re.compile(
    r"\A(?:\\text\{\s*)?(?:all|any|every) real(?: numbers?| values?(?: of)?)?\s*\}?\s*"
    r"(?=[a-zA-Z]\s*(?:[<>]|\\[lg]e|\\ne|\\in))"
)
_ALL_BUT = re.compile(
    r"\A(?:\\text\{\s*)?(?:all )?reals?(?: numbers?)? (?:except|but|other than)(?: for)?\s*\}?\s*"
    r"(?:[a-z]\s*=\s*)?(-?[^=<>\\]+)\Z"
)
_POINTLESS = (r"\emptyset", r"\{\}")


class Piece(NamedTuple):
    """An interval: its ends as text and, where a reader solved for them, as trees; and whether it contains them."""

    low: str
    low_closed: bool
    high: str
    high_closed: bool
    low_tree: Tree | None = None
    high_tree: Tree | None = None


class Node(NamedTuple):
    """A union, an intersection, or a difference (the first without the others) of pieces and nodes.

    `either` is an intersection, or a union where that is empty: relations with commas between.
    """

    operation: str
    pieces: tuple[Piece, ...] = ()
    parts: tuple[Node, ...] = ()


class RealSet(NamedTuple):
    """A set and the variable that ranges over it, None where none is named."""

    variable: str | None
    node: Node


_WHOLE = Piece(r"-\infty", False, r"\infty", False)


def is_marked(text: str) -> bool:
    """Returns whether a text can only be a set of reals, not a pair of numbers or an equation.

    >>> is_marked("x>2"), is_marked("[1,2)"), is_marked("(1,2)")
    (True, True, False)
    """
    if any(mark in text for mark in (r"\cup", r"\cap", r"\infty", r"\setminus", r"\ne", r"\mathbb", r"\in", r"\notin")):
        return True
    if _RELATION.search(text):
        return True
    return bool(text) and (text[0] + text[-1] in ("[)", "(]", "][") or (text[0] == "]" and "," in text))


def read_set(text: str, depth: int = 0) -> RealSet | None:
    r"""Returns the set that a text denotes, or None where it denotes none.

    >>> read_set(r"0<x\le 1").node.pieces
    (Piece(low='0', low_closed=False, high='1', high_closed=True, low_tree=None, high_tree=None),)
    >>> read_set(r"(-\infty,1)\cup\{2\}").node.pieces[1].low
    '2'
    """
    if depth > MAX_DEPTH or not text:
        return None
    if depth == 0:
        text = _inward(_AND.sub(r"\\land ", _OR.sub(r"\\lor ", text)).strip(", "))
        text = _ALL_BUT.sub(lambda found: r"\mathbb{R}\setminus\{" + found[1].strip() + r"\}", _ALL.sub("", text))
    if text in _WHOLE_NAMES:
        return RealSet(None, Node("union", (_WHOLE,)))
    if text in _POINTLESS:
        return RealSet(None, Node("union"))
    if half := _HALF_LINES.fullmatch(text):
        return _half_line(half[1])
    builder = _BUILDER.fullmatch(text)
    if builder and closes_at_end(text):
        inside = read_set(builder[2].strip(), depth + 1)
        return inside if inside is None or inside.variable in (builder[1], None) else None
    for marks, operation in (((r"\lor", r"\cup"), "union"), ((r"\land", r"\cap"), "intersection")):
        parts = [part.strip(", ") for part in split_at(text, *marks)]
        if len(parts) > 1:
            return _joined([read_set(part, depth + 1) for part in _carried(parts)], operation)
    return (
        _difference(text, depth) or _member(text, depth) or _interval(text) or _points(text) or _relations(text, depth)
    )


def _inward(text: str) -> str:
    r"""French brackets as ours: `]0,1[` is `(0,1)`."""
    if not (text.startswith("]") or text.endswith("[") or re.search(r"\[\s*\\(?:cup|lor|cap|land)(?![a-z])", text)):
        return text
    sides = {"]": "(", "[": "["}, {"[": ")", "]": "]"}
    return _OUTWARD.sub(lambda found: sides[0][found[1]] + found[2] + sides[1][found[3]], text)


def _carried(parts: list[str]) -> list[str]:
    r"""`x=1\lor 2` and `x\ne0\land1`: a value alone has the relation of the part before it."""
    whole: list[str] = []
    for part in parts:
        before = re.match(r"(.+?)(=|\\ne\s?)", whole[-1]) if whole else None
        bare = not re.search(r"[<>=]|\\[lg]e(?![a-z])|\\ne(?![a-z])|\\in|\\notin|\\mathbb|^[(\[]|^\\\{", part)
        whole.append(before[1] + before[2] + part if before and bare else part)
    return whole


def _joined(parts: list[RealSet | None], operation: str) -> RealSet | None:
    known = [part for part in parts if part is not None]
    variables = {part.variable for part in known if part.variable}
    if len(known) < len(parts) or len(variables) > 1:
        return None
    variable = next(iter(variables), None)
    if operation == "union" and all(part.node.operation == "union" and not part.node.parts for part in known):
        # Kept flat where it can be, for sets whose ends are letters.
        return RealSet(variable, Node("union", tuple(piece for part in known for piece in part.node.pieces)))
    return RealSet(variable, Node(operation, (), tuple(part.node for part in known)))


def _half_line(mark: str) -> RealSet:
    closed = mark.startswith((r"\ge", r"\le"))
    zero = Piece("0", True, "0", True)
    if mark in ("*",) or mark.startswith(r"\ne"):
        return RealSet(None, Node("difference", (_WHOLE, zero)))
    positive = mark in ("+", ">0") or mark.startswith(r"\ge")
    half = Piece("0", closed, r"\infty", False) if positive else Piece(r"-\infty", False, "0", closed)
    return RealSet(None, Node("union", (half,)))


def _difference(text: str, depth: int) -> RealSet | None:
    parts = split_at(text, r"\setminus")
    if len(parts) == 1 and r"\{" in text:
        parts = [part for part in split_at(text, "-") if part]
        if not all(part.endswith((r"\}", "]", ")", r"\mathbb{R}")) for part in parts):
            return None
    if len(parts) < 2:
        return None
    read = [read_set(part, depth + 1) for part in parts]
    if any(part is None for part in read):
        return None
    return RealSet(read[0].variable if read[0] else None, Node("difference", (), tuple(p.node for p in read if p)))


def _member(text: str, depth: int) -> RealSet | None:
    found = _MEMBER.fullmatch(text)
    if found is None or len(split_at(found[3], ",")) > 1:
        return None
    inside = read_set(found[3].strip(), depth + 1)
    if inside is None:
        return None
    node = Node("difference", (_WHOLE,), (inside.node,)) if found[2] == "notin" else inside.node
    return RealSet(found[1], node)


def _interval(text: str) -> RealSet | None:
    if len(text) < 3 or text[0] not in "([" or text[-1] not in ")]" or not closes_at_end(text):
        return None
    ends = split_at(text[1:-1], ",", ";")
    if len(ends) != 2 or not all(ends):
        return None
    return RealSet(None, Node("union", (Piece(ends[0], text[0] == "[", ends[1], text[-1] == "]"),)))


def _points(text: str) -> RealSet | None:
    if not (text.startswith(r"\{") and text.endswith(r"\}") and closes_at_end(text)):
        return None
    points = split_at(text[2:-2], ",", ";")
    if not all(points) or any(r"\ldots" in point for point in points):
        return None
    return RealSet(None, Node("union", tuple(Piece(point, True, point, True) for point in points)))


def _relations(text: str, depth: int) -> RealSet | None:
    """One relation or chain, or several with commas between: all hold, or, where they exclude each other, any."""
    parts = split_at(text, ",", ";")
    if len(parts) == 1:
        return _relation(text)
    read = [read_set(part, depth + 1) for part in _carried(parts)]
    if not all(part is not None for part in read) or not any(part and part.variable for part in read):
        return None
    return _joined(read, "either")


def _relation(text: str) -> RealSet | None:
    for mark, holes in (("=", False), (r"\ne", True)):
        sides = split_at(text, mark)
        if len(sides) == 2 and _VARIABLE.fullmatch(sides[0]) and sides[1] and not _RELATION.search(text):
            point = Piece(sides[1], True, sides[1], True)
            node = Node("difference", (_WHOLE, point)) if holes else Node("union", (point,))
            return RealSet(sides[0], node)
    relations = [found[0].strip() for found in _RELATION.finditer(text)]
    sides = [side.strip() for side in _RELATION.split(text)]
    if not 1 <= len(relations) <= 2 or not all(sides):
        return None
    return _named_chain(sides, relations) or _solved_chain(sides, relations)


def _named_chain(sides: list[str], relations: list[str]) -> RealSet | None:
    r"""A chain around a bare variable, whose ends may be any text: `a<x\le b`, `x>2`."""
    if len(relations) == 1:
        if _VARIABLE.fullmatch(sides[1]) and not _VARIABLE.fullmatch(sides[0]):
            sides, relations = sides[::-1], [flipped(relations[0])]
        if not _VARIABLE.fullmatch(sides[0]):
            return None
        closed = "e" in relations[0]
        below = relations[0] in ("<", r"\le")
        piece = Piece(r"-\infty", False, sides[1], closed) if below else Piece(sides[1], closed, r"\infty", False)
        return RealSet(sides[0], Node("union", (piece,)))
    if not _VARIABLE.fullmatch(sides[1]):
        return None
    if all(relation in (">", r"\ge") for relation in relations):
        sides, relations = sides[::-1], [flipped(relation) for relation in relations[::-1]]
    if not all(relation in ("<", r"\le") for relation in relations):
        return None
    return RealSet(sides[1], Node("union", (Piece(sides[0], "e" in relations[0], sides[2], "e" in relations[1]),)))


def _solved_chain(sides: list[str], relations: list[str]) -> RealSet | None:
    """Relations that are linear in one variable, or in the size of something linear: `-x>-1`, `|x-2|<3`."""
    trees = [parse(side) for side in sides]
    known = [tree for tree in trees if tree is not None]
    names = frozenset().union(*map(symbols_of, known))
    if len(known) < len(trees) or len(names) != 1:
        return None
    (name,) = names
    links = [
        _link(left, relation, right, name) for left, relation, right in zip(known, relations, known[1:], strict=False)
    ]
    if any(link is None for link in links):
        return None
    nodes = tuple(link for link in links if link is not None)
    return RealSet(name, nodes[0] if len(nodes) == 1 else Node("intersection", (), nodes))


def _link(left: Tree, relation: str, right: Tree, name: str) -> Node | None:
    if right[0] == "absolute" and symbols_of(right):
        left, relation, right = right, flipped(relation), left
    if left[0] == "absolute" and not symbols_of(right):
        inside, opposite = left[1], ("negate", right)
        both = (_solved(inside, relation, right, name), _solved(inside, flipped(relation), opposite, name))
        if both[0] is None or both[1] is None:
            return None
        return Node("intersection" if relation in ("<", r"\le") else "union", (both[0], both[1]))
    piece = _solved(left, relation, right, name)
    return None if piece is None else Node("union", (piece,))


def _solved(left: Tree, relation: str, right: Tree, name: str) -> Piece | None:
    """The values of a variable in which both sides are linear."""
    difference: Tree = ("add", left, ("negate", right))
    at = [substituted(difference, {name: ("number", Fraction(step))}) for step in (0, 1, 2)]
    slope: Tree = ("add", at[1], ("negate", at[0]))
    if not trees_equal(slope, ("add", at[2], ("negate", at[1]))):
        return None
    steepness = real_value(slope)
    if steepness is None or steepness == 0:
        return None
    end: Tree = ("divide", ("negate", at[0]), slope)
    value = real_value(end)
    if value is None:
        return None
    exact = isinstance(value, Fraction)
    text = rf"\frac{{{value.numerator}}}{{{value.denominator}}}" if exact and value.denominator > 1 else ""
    text = text or (str(value.numerator) if exact else f"#{name}")
    relation = relation if steepness > 0 else flipped(relation)
    closed = "e" in relation
    if relation in ("<", r"\le"):
        return Piece(r"-\infty", False, text, closed, None, end)
    return Piece(text, closed, r"\infty", False, end, None)


def flipped(relation: str) -> str:
    """Returns the relation of two exchanged sides."""
    return {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}[relation]
