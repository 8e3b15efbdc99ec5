r"""Angles: the degree sign outside of functions, minutes and seconds of arc, degrees beside radians."""

from __future__ import annotations

import re

from ngrpo.grading.strict.comparer import Comparer, Finding
from ngrpo.grading.strict.expression import Tree, parse
from ngrpo.grading.strict.identity import trees_equal

_ARC = re.compile(r"([0-9]+)\^\\circ\s*([0-9]+(?:\.[0-9]+)?)'\s*(?:([0-9]+(?:\.[0-9]+)?)(?:''|\"))?")
_TRANSPARENT = frozenset(("add", "negate", "multiply", "divide"))


def angles(_: Comparer, answer: str, reference: str) -> Finding | None:
    r"""A degree sign that only one side has means nothing, or an angle in radians if the other has a `\pi`.

    Inside a function the sign counts always: `\cos 58` is not `\cos 58^\circ`.
    """
    if r"^\circ" not in answer + reference:
        return None
    ours, theirs = parse(without_minutes(answer)), parse(without_minutes(reference))
    if ours is None or theirs is None:
        return None
    plain_ours, plain_theirs = _unsigned(ours), _unsigned(theirs)
    marked = plain_ours != ours, plain_theirs != theirs
    if marked[0] == marked[1]:
        return Finding(trees_equal(ours, theirs), "degrees")
    plain = trees_equal(plain_ours, plain_theirs)
    other = reference if marked[0] else answer
    if plain or r"\pi" not in other:
        return Finding(plain, "degrees")
    return Finding(trees_equal(ours, theirs), "degrees")


def without_minutes(text: str) -> str:
    r"""Returns an angle with its minutes and seconds as a part of its degrees.

    >>> without_minutes(r"22^\circ30'")
    '(22+30/60+0/3600)^\\circ'
    """
    return _ARC.sub(lambda found: rf"({found[1]}+{found[2]}/60+{found[3] or 0}/3600)^\circ", text)


def _unsigned(tree: Tree) -> Tree:
    """A tree without the degree signs that stand outside of functions and powers."""
    if tree[0] == "degrees":
        inside: Tree = tree[1]
        return inside
    if tree[0] in _TRANSPARENT:
        return (tree[0], *(_unsigned(part) for part in tree[1:]))
    return tree
