r"""Lists, tuples and finite sets, and the two values of `\pm`."""

from __future__ import annotations

import re
from itertools import product

from ngrpo.grading.strict.brackets import Sequence, closes_at_end, sequence, split_at
from ngrpo.grading.strict.comparer import Comparer, Finding, all_equal, same_elements

MAX_SIGNS = 4
"""Most `\\pm` in one element, and"""
MAX_EXPANDED = 40
"""most elements that a list with `\\pm` stands for."""

_SIGN = re.compile(r"\\(pm|mp)(?![a-z])\s?")
_POINT = re.compile(r"([A-Z]'*(?:_[0-9A-Za-z])?)(?=\()")


def plus_minus(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    r"""`a\pm b` is the list of its two values; several signs in one value go together, or each by itself."""
    if not _SIGN.search(answer + reference):
        return None
    ours, theirs = _expansions(answer), _expansions(reference)
    if not ours or not theirs:
        return Finding(False, "limit")
    return comparer.any_of((one, other) for other in theirs for one in ours)._replace(rule="list")


def _expansions(text: str) -> list[str]:
    ways = [_expanded(text, independent) for independent in (False, True)]
    return [way for number, way in enumerate(ways) if way is not None and way not in ways[:number]]


def _expanded(text: str, independent: bool) -> str | None:
    if not _SIGN.search(text):
        return text
    if text.startswith(r"\{") and text.endswith(r"\}") and closes_at_end(text):
        inside = _expanded(text[2:-2], independent)
        return None if inside is None else rf"\{{{inside}\}}"
    elements = [value for part in split_at(text, ",", ";") for value in _values(part, independent)]
    return ",".join(elements) if 0 < len(elements) <= MAX_EXPANDED else None


def _values(element: str, independent: bool) -> list[str]:
    signs = _SIGN.findall(element)
    if not signs:
        return [element]
    if len(signs) > MAX_SIGNS:
        return [element] * (MAX_EXPANDED + 1)
    if independent:
        return [_with_signs(element, choice) for choice in product("+-", repeat=len(signs))]
    tied = ([_opposite(sign) if name == "mp" else sign for name in signs] for sign in "+-")
    return [_with_signs(element, tuple(choice)) for choice in tied]


def _opposite(sign: str) -> str:
    return "-" if sign == "+" else "+"


def _with_signs(element: str, signs: tuple[str, ...]) -> str:
    left = iter(signs)
    return re.sub(r"(^|[=(,])\+", r"\1", _SIGN.sub(lambda _: next(left), element))


def sequences(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    """Bare lists and sets hold the same elements in any order; tuples in theirs, and between the same brackets."""
    ours, theirs = sequence(answer), sequence(reference)
    if ours is None or theirs is None:
        return _single(comparer, answer, reference, ours, theirs)
    if len(ours.parts) != len(theirs.parts):
        return Finding(False, "list")
    if not _same_kind(ours, theirs):
        return Finding(False, "brackets")
    ordered = "(" in (ours.opening + theirs.opening) or "[" in (ours.opening + theirs.opening)
    if ordered or r"\langle" in (ours.opening, theirs.opening):
        return Finding(all_equal(comparer.equal(*pair) for pair in zip(ours.parts, theirs.parts, strict=True)), "tuple")
    return Finding(same_elements(comparer.equal, ours.parts, theirs.parts), "list")


def _single(
    comparer: Comparer, answer: str, reference: str, ours: Sequence | None, theirs: Sequence | None
) -> Finding | None:
    """A set of one element is that element, unless the element is a set; a named point is its coordinates."""
    if ours is None and theirs is None:
        return None
    if (ours and theirs is None) or (theirs and ours is None):
        named = (
            _POINT.sub("", answer, count=1) if theirs else answer,
            _POINT.sub("", reference, count=1) if ours else reference,
        )
        if named != (answer, reference) and all(sequence(side) for side in named):
            return comparer.compare(*named)
    listed = ours or theirs
    if listed and listed.opening == r"\{" and len(listed.parts) == 1:
        if listed.parts[0].startswith((r"\emptyset", r"\{")):
            return Finding(False, "list")
        pair = (listed.parts[0], reference) if ours else (answer, listed.parts[0])
        return comparer.compare(*pair)
    if len(split_at(reference if ours else answer, "=")) > 1:
        return None
    return Finding(False, "list")


def _same_kind(ours: Sequence, theirs: Sequence) -> bool:
    """A bare list may stand for a set, or for a tuple in its order, not for an interval; other brackets must agree."""
    if not ours.opening or not theirs.opening:
        opening, closing = ours.opening + theirs.opening, ours.closing + theirs.closing
        return (opening, closing) not in (("(", "]"), ("[", ")")) and not (opening == "[" and len(ours.parts) == 2)
    angles = {r"\langle", "("}
    if {ours.opening, theirs.opening} == angles or (
        len(ours.parts) > 2 and {ours.opening, theirs.opening} <= {"(", "["}
    ):
        return True
    return (ours.opening, ours.closing) == (theirs.opening, theirs.closing)
