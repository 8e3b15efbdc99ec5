r"""Inequalities and chains of them, and the words that join several: `and`, `or`, a comma."""

from __future__ import annotations

import re

from ngrpo.grading.strict.brackets import sequence, split_at
from ngrpo.grading.strict.comparer import Comparer, Finding, all_equal, same_elements
from ngrpo.grading.strict.expression import Tree, parse, substituted, symbols_of
from ngrpo.grading.strict.identity import trees_equal, value_of
from ngrpo.grading.strict.values import real_value
from ngrpo.grading.strict.words import without_labels, without_ordinal

_RELATIONS = {"<": ("<", False), r"\le": (r"\le", False), ">": ("<", True), r"\ge": (r"\le", True)}
_RELATION = re.compile(r"<|>|\\le(?![A-Za-z])|\\ge(?![A-Za-z])")
_WORD = r"(?:\\text\{{\s*,?\s*(?:{0})\s*,?\s*\}}|(?<![A-Za-z\\])(?:{0})(?![A-Za-z])|\\{1}(?![a-z]))"
_AND = re.compile(r",?\s*" + _WORD.format("and|but", "land") + r"\s*")
_OR = re.compile(r",?\s*" + _WORD.format("or", "lor") + r"\s*")
_LETTER = re.compile(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])")


def orders(_: Comparer, answer: str, reference: str) -> Finding | None:
    """`b<a<d<c` as the answer to "order them" is the list b, a, d, c."""
    ours, theirs = _ordered(answer), _ordered(reference)
    if ours is None and theirs is None:
        return None
    other = sequence(reference if ours else answer)
    if (ours and theirs) or other is None:
        return None
    return Finding((ours or theirs) == list(other.parts), "order")


def _ordered(text: str) -> list[str] | None:
    parts = split_at(text, "<")
    return parts if len(parts) > 2 and all(re.fullmatch("[A-Za-z]", part) for part in parts) else None


def inequalities(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    r"""Chains are read from either end; one relation is equal to another that is it times a positive number."""
    ours, theirs = _chain(answer), _chain(reference)
    if ours is None or theirs is None:
        return None
    if ours[1::2] != theirs[1::2]:
        return None
    same = all_equal(comparer.equal(*pair) for pair in zip(ours[::2], theirs[::2], strict=True))
    if same or (len(ours) == 3 and _same_half_plane(ours, theirs)):
        return Finding(True, "inequality")
    return None


def _chain(text: str) -> list[str] | None:
    """Sides and relations in turn, from the least to the greatest; None where relations of both directions meet."""
    relations = _RELATION.findall(text)
    if not 1 <= len(relations) <= 8 or len(split_at(text, ",", ";")) > 1:
        return None
    sides = split_at(text, "<", ">", r"\le", r"\ge")
    if len(sides) != len(relations) + 1 or not all(sides):
        return None
    directions = {_RELATIONS[relation][1] for relation in relations}
    if len(directions) > 1:
        return None
    chain = [sides[0]]
    for relation, side in zip(relations, sides[1:], strict=True):
        chain += [_RELATIONS[relation][0], side]
    return chain[::-1] if True in directions else chain


def _same_half_plane(ours: list[str], theirs: list[str]) -> bool:
    one, other = _difference(ours), _difference(theirs)
    if one is None or other is None:
        return False
    names = symbols_of(one)
    if not names or names != symbols_of(other):
        return False
    anchor: dict[str, Tree] = {name: ("number", value_of(name, 97)) for name in names}
    ratio: Tree = ("divide", substituted(one, anchor), substituted(other, anchor))
    factor = real_value(ratio)
    return factor is not None and factor > 0 and bool(trees_equal(one, ("multiply", ratio, other)))


def _difference(chain: list[str]) -> Tree | None:
    left, right = parse(chain[0]), parse(chain[2])
    return None if left is None or right is None else ("add", left, ("negate", right))


def joined_statements(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    """Statements about different things are all meant, or any of them: `or` is not `and`, nor a comma."""
    ours, theirs = _statements(answer), _statements(reference)
    if ours is None or theirs is None or ours[0] == theirs[0]:
        return None
    if "or" not in (ours[0], theirs[0]):
        return None
    parts = ours[1] + theirs[1]
    about = {_subject(part) for part in parts}
    if len(about) > 1 or any(_RELATION.search(part) for part in parts):
        same = same_elements(comparer.equal, ours[1], theirs[1])
        return Finding(False, "and, or") if same or len(about) > 1 else None
    return None


def _statements(text: str) -> tuple[str, list[str]] | None:
    """The word that joins equations or inequalities, and these."""
    if not re.search(r"[=<>]|\\[lg]e", text):
        return None
    plain = re.sub(_AND, r",", re.sub(_OR, ",", text))
    parts = [part for part in split_at(plain, ",", ";") if part]
    if len(parts) < 2 or not all("=" in part or _RELATION.search(part) for part in parts):
        return None
    return ("or" if _OR.search(text) else "and"), parts


def _subject(part: str) -> str:
    side = re.sub(r"(?<=[A-Za-z])\([^()]*\)", "", re.split(r"=|<|>|\\[lg]e", part)[0])
    return " ".join(sorted(set(_LETTER.findall(side))))


def labelled_lists(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    """Names before a colon and words between the elements of a list mean nothing: "Paolo: 18 and Qing: 14"."""
    forms = [part.strip(", ") for part in _OR.split(answer)]
    if len(forms) > 1 and not _OR.search(reference) and all(comparer.equal(form, reference) for form in forms if form):
        return Finding(True, "list")  # "3/4 or 75%" is one number in two forms
    ours, theirs = _unlabelled(answer), _unlabelled(reference)
    return None if (ours, theirs) == (answer, reference) else comparer.compare(ours, theirs)


def _unlabelled(text: str) -> str:
    listed = _AND.sub(",", _OR.sub(",", text))
    return without_labels(without_ordinal(listed)).strip(", ") or text
