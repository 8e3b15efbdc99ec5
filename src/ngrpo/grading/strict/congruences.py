r"""Classes of numbers: congruences, and expressions with a letter that may be any integer."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from ngrpo.grading.strict.brackets import split_at
from ngrpo.grading.strict.comparer import Comparer, Finding, same_elements
from ngrpo.grading.strict.expression import Tree, parse, substituted, symbols_of
from ngrpo.grading.strict.identity import trees_equal
from ngrpo.grading.strict.values import real_value
from ngrpo.grading.strict.words import domain_of, without_condition

_CONGRUENCE = re.compile(
    r"(?:(?P<name>[^=<>]+?)\\equiv\s*)?(?P<residues>[^=<>]+?)\s*,?\s*\\pmod\{(?P<modulus>[^{}]+)\}", re.S
)
_LETTERS = "kmnlKN"
_USUAL = frozenset("kmnltpqjsKN")
_BESIDE_PI = re.compile(rf"(?<![A-Za-z\\])([{_LETTERS}])\s?\\pi|\\pi\s?([{_LETTERS}])(?![A-Za-z])")
_CONDITION_LETTER = re.compile(r"(?<![A-Za-z\\{])([A-Za-z])(?![A-Za-z])")
_LABEL = re.compile(r"(?:[A-Za-z]|\\[a-z]+)\s*=\s*")


class Congruence(NamedTuple):
    """What is congruent ("" where only the class is named), to which residues, and the modulus."""

    name: str
    residues: tuple[str, ...]
    modulus: str


class Progression(NamedTuple):
    """The numbers `start + k * step` for all integers k."""

    start: Tree
    step: Tree


def congruence(text: str) -> Congruence | None:
    r"""Returns the congruence that a normalised text is, or None.

    >>> congruence(r"x\equiv1,3\pmod{8}")
    Congruence(name='x', residues=('1', '3'), modulus='8')
    """
    found = _CONGRUENCE.fullmatch(text) if r"\pmod" in text else None
    if found is None:
        return None
    residues = re.sub(r"\\text\{\s*(?:or|and)\s*\}|\\lor|\bor\b|\band\b", ",", found["residues"])
    return Congruence((found["name"] or "").strip(), tuple(split_at(residues, ",", ";")), found["modulus"])


def congruences(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    r"""`x\equiv3\pmod{7}`, `10\pmod{7}` and `7k+3` are one class; a residue alone is none."""
    ours, theirs = congruence(answer), congruence(reference)
    if ours is None and theirs is None:
        return None
    if ours and theirs:
        if ours.name and theirs.name and not comparer.equal(ours.name, theirs.name):
            return Finding(False, "congruence")
        if not comparer.equal(ours.modulus.lstrip("-"), theirs.modulus.lstrip("-")):
            return Finding(False, "congruence")
        modulus = theirs.modulus
        same = same_elements(lambda a, b: _same_residue(comparer, a, b, modulus), ours.residues, theirs.residues)
        return Finding(same, "congruence")
    stated, other = (ours, reference) if ours else (theirs, answer)
    assert stated is not None  # noqa: S101  (told to mypy)
    found = progression(other) if domain_of(without_condition(other)[1]) in ("", "integers") else None
    if found is not None and len(stated.residues) == 1:
        start, step = parse(stated.residues[0]), parse(stated.modulus)
        if start is not None and step is not None:
            return Finding(_same_progression(found, Progression(start, step)), "congruence")
    if not stated.name and len(stated.residues) == 1:  # "3 (mod 7)" states the remainder 3
        return comparer.compare(*((stated.residues[0], reference) if ours else (answer, stated.residues[0])))
    return Finding(False, "congruence") if r"\equiv" not in other else None


def _same_residue(comparer: Comparer, one: str, other: str, modulus: str) -> bool | None:
    values = [_rational(text) for text in (one, other, modulus)]
    if any(value is None for value in values) or values[2] == 0:
        return comparer.equal(one, other)
    first, second, size = (value for value in values if value is not None)
    return ((first - second) / size).denominator == 1


def _rational(text: str) -> Fraction | None:
    tree = parse(text)
    value = None if tree is None else real_value(tree)
    return value if isinstance(value, Fraction) else None


def progressions(_: Comparer, answer: str, reference: str) -> Finding | None:
    r"""`7n+3` is `7k+3\text{ for integer }k`, `\frac{\pi}{4}+k\pi` is `k\pi-\frac{3\pi}{4}`: the same numbers."""
    conditions = without_condition(answer)[1], without_condition(reference)[1]
    free = free_letters(answer) | free_letters(reference)
    if not free or any(condition and domain_of(condition) != "integers" for condition in conditions):
        return None
    ours, theirs = progression(answer, free), progression(reference, free)
    if ours is None or theirs is None or not (any(conditions) or _has_offset(theirs)):
        return None
    return Finding(_same_progression(ours, theirs), "progression")


def _has_offset(numbers: Progression) -> bool:
    r"""Whether the numbers are not the multiples of their step; `(n-2)\pi` may be a formula for a given n."""
    return _same_progression(numbers, Progression(("number", Fraction(0)), numbers.step)) is False


def free_letters(text: str) -> set[str]:
    r"""Returns the letters of a text that may be any integer: those beside `\pi` and those that a condition says so of.

    >>> free_letters(r"k\pi"), free_letters(r"7n+3\text{ for integer }n"), free_letters("7n+3")
    ({'k'}, {'n'}, set())
    """
    beside = {letter for pair in _BESIDE_PI.findall(text) for letter in pair if letter}
    condition = without_condition(text)[1]
    if domain_of(condition) == "integers":
        beside |= set(_CONDITION_LETTER.findall(re.sub(r"\\mathbb\{Z\}", "", condition))) - {"a"}
    return beside


def progression(text: str, free: set[str] | None = None) -> Progression | None:
    """Returns the numbers that an expression runs through with one integer letter in it, in which it is linear."""
    core = _LABEL.sub("", without_condition(text)[0], count=1)
    tree = parse(core)
    if tree is None:
        return None
    names = symbols_of(tree)
    if len(names) != 1 or (not names <= free if free and names & free else not names <= _USUAL):
        return None
    (name,) = names
    at = [substituted(tree, {name: ("number", Fraction(value))}) for value in (0, 1, 2)]
    step: Tree = ("add", at[1], ("negate", at[0]))
    if not trees_equal(step, ("add", at[2], ("negate", at[1]))) or not real_value(step):
        return None
    return Progression(at[0], step)


def _same_progression(ours: Progression, theirs: Progression) -> bool | None:
    steps = trees_equal(ours.step, theirs.step) or trees_equal(ours.step, ("negate", theirs.step))
    if not steps:
        return steps
    distance: Tree = ("divide", ("add", ours.start, ("negate", theirs.start)), theirs.step)
    value = real_value(distance)
    if value is None:
        return None
    if isinstance(value, Fraction):
        return value.denominator == 1
    nearest = round(float(value)) if abs(value) < 10**6 else 0
    return trees_equal(distance, ("number", Fraction(nearest)))
