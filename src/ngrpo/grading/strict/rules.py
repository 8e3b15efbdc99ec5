r"""Rules for words, numbers and what stands around an answer: conditions, sentences, approximations, parameters."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from ngrpo.grading.strict.brackets import label_of, renamed, split_at
from ngrpo.grading.strict.comparer import Comparer, Finding
from ngrpo.grading.strict.expression import parse
from ngrpo.grading.strict.numbers import Number, numeral, plain_number
from ngrpo.grading.strict.words import quantity, said, unmarked, without_condition, words_of
from ngrpo.grading.strict.zero_test import real_value, trees_equal


def same_text(_: Comparer, answer: str, reference: str) -> Finding | None:
    return Finding(True, "text") if answer == reference or unmarked(answer) == unmarked(reference) else None


def lists_in_text(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    r"""`\text{A, C}` is the list `A,C`."""
    ours, theirs = _list_in_text(answer), _list_in_text(reference)
    return None if (ours, theirs) == (answer, reference) else comparer.compare(ours, theirs)


def _list_in_text(text: str) -> str:
    found = _TEXT_LIST.fullmatch(text)
    return re.sub(r"\s*([,;])\s*", r"\1", found[1].strip()) if found else text


def words(_: Comparer, answer: str, reference: str) -> Finding | None:
    ours, theirs = words_of(answer), words_of(reference)
    if ours is None and theirs is None:
        return None
    if theirs is not None and len(theirs) == 1 and len(answer) == 1:
        return Finding(answer == theirs, "text")
    if ours is not None and len(ours) == 1 and len(reference) == 1:
        return Finding(reference == ours, "text")
    said_empty = [text in _NONE or (part or "") in _NONE for text, part in ((answer, ours), (reference, theirs))]
    if all(said_empty) or (ours or answer).casefold() == (theirs or reference).casefold():
        return Finding(True, "text")
    named = plain_number(ours or answer), plain_number(theirs or reference)
    if named[0] and named[1]:
        return Finding(named[0].value == named[1].value, "number")
    choice = _CHOICE.fullmatch(answer)
    if choice and theirs is not None and len(theirs) == 1:
        return Finding(choice[1] == theirs, "choice")
    if said(answer) or said(reference):
        return None
    return Finding(False, "text")


def numerals(_: Comparer, answer: str, reference: str) -> Finding | None:
    """With a base stated by both, digits and base must agree; a base that one leaves out is the other's."""
    ours, theirs = numeral(answer), numeral(reference)
    if ours and theirs:
        return Finding(ours == theirs, "base")
    one, other = (ours, reference) if ours else (theirs, answer)
    if one is None or not re.fullmatch("-?[0-9A-Fa-f]+", other):
        return None
    return Finding(one[0] == other.upper(), "base")


def numbers(_: Comparer, answer: str, reference: str) -> Finding | None:
    ours, theirs = plain_number(answer), plain_number(reference)
    if theirs is None:
        return None
    if ours is not None:
        if ours.value == theirs.value:
            return Finding(True, "number")
        return Finding(_rounds_to(ours.value, theirs), "rounded") if theirs.rounded else Finding(False, "number")
    if theirs.rounded and (tree := parse(answer)) is not None:
        value = real_value(tree)
        if value is not None:
            return Finding(_rounds_to(value, theirs), "rounded")
    return None


def _rounds_to(value: Any, reference: Number) -> bool:
    """A decimal reference of three or more digits stands for all values that round to it."""
    if reference.last_digit is None:
        return False
    low, high = reference.value - reference.last_digit / 2, reference.value + reference.last_digit / 2
    if isinstance(value, Fraction):
        return low <= value <= high
    number = type(value)
    return bool(number(low.numerator) / low.denominator <= value <= number(high.numerator) / high.denominator)


def approximations(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    r"""What stands before `\approx` is the answer."""
    ours, theirs = _exact_side(answer), _exact_side(reference)
    return None if (ours, theirs) == (answer, reference) else comparer.compare(ours, theirs)


def _exact_side(text: str) -> str:
    sides = split_at(text, r"\approx") if r"\approx" in text else [text]
    if len(sides) > 1 and label_of(sides[0]):
        sides = sides[1:]  # `x\approx 11` names its value
    return next((side for side in sides if side), text)


def sentences(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    """A sentence such as "The smallest value is 5" says 5."""
    ours, theirs = said(answer), said(reference)
    if ours is None and theirs is None:
        return None
    finding = comparer.compare(ours or answer, theirs or reference)
    return finding._replace(rule="sentence")


def conditions(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    """A condition that only one side states is left out; two must be spelled alike."""
    (ours, our_condition), (theirs, their_condition) = without_condition(answer), without_condition(reference)
    if not our_condition and not their_condition:
        return None
    if our_condition and their_condition and our_condition != their_condition:
        letters = set(re.findall(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])", our_condition + their_condition))
        if not (r"\in" in our_condition and r"\in" in their_condition and letters):
            return Finding(False, "condition")
    free = re.findall(r"(?<![A-Za-z\\{])([A-Za-z])(?![A-Za-z])", our_condition + " " + their_condition)
    return _with_parameter(comparer, ours, theirs, set(free) - {"a"} | _integers(answer) | _integers(reference))


def parameters(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    r"""The letter of an integer beside `\pi` (`k\pi`), and of a constant in either case (`C`), may be any."""
    free = _integers(answer) | _integers(reference)
    constants = {"c", "C", "k", "K"}
    ours, theirs = _letters(answer) - _letters(reference), _letters(reference) - _letters(answer)
    if {letter.lower() for letter in ours} == {letter.lower() for letter in theirs} and (ours | theirs) <= constants:
        free |= ours | theirs
    if not free or len(ours) != 1 or len(theirs) != 1 or not (ours | theirs) & free:
        return None
    return _with_parameter(comparer, answer, reference, free)


def _with_parameter(comparer: Comparer, answer: str, reference: str, free: set[str]) -> Finding:
    ours, theirs = _letters(answer) - _letters(reference), _letters(reference) - _letters(answer)
    if len(ours) == len(theirs) == 1 and (ours | theirs) & free:
        answer = renamed(answer, {ours.pop(): theirs.pop()})
        return comparer.compare(answer, reference)._replace(rule="parameter")
    return comparer.compare(answer, reference)


def _letters(text: str) -> set[str]:
    plain = re.sub(r"\\text\{[^{}]*\}|\\[A-Za-z]+", " ", text)
    sides = split_at(plain, "=")
    return set(re.findall("[A-Za-z]", sides[-1])) - {"e", "i"}


def _integers(text: str) -> set[str]:
    return set(
        re.findall(r"(?<![A-Za-z\\])([kmnlKN])\s?\\pi", text) + re.findall(r"\\pi\s?([kmnlKN])(?![A-Za-z])", text)
    )


def units(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    """A unit that only one side states means nothing; two known ones must be the same; other words are ignored."""
    ours, theirs = quantity(answer), quantity(reference)
    if (ours.core, theirs.core) == (answer, reference):
        return None
    if any(plain_number(part.core) is None and len(split_at(part.core, ",", ";")) > 1 for part in (ours, theirs)):
        return None
    if ours.unit and theirs.unit and ours.unit != theirs.unit:
        return Finding(False, "unit")
    if "percent" in (ours.unit, theirs.unit):
        ours, theirs = (part._replace(core=part.core + "%" * (part.unit == "percent")) for part in (ours, theirs))
    return Finding(comparer.equal(ours.core, theirs.core), "unit")


def ratios(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    """Ratios are equal when their terms are proportional; a time of day equals nothing but itself."""
    ours, theirs = split_at(answer, ":"), split_at(reference, ":")
    if len(ours) != len(theirs):
        return Finding(False, "ratio") if max(len(ours), len(theirs)) > 2 else None
    if len(ours) == 1 or not (all(ours) and all(theirs)):
        return None
    if _CLOCK.fullmatch(answer) and _CLOCK.fullmatch(reference):
        return Finding(False, "ratio")
    products = [
        comparer.equal(f"({ours[0]})({other})", f"({theirs[0]})({mine})")
        for mine, other in zip(ours[1:], theirs[1:], strict=True)
    ]
    return Finding(all_equal(products), "ratio")


_TEXT_LIST = re.compile(r"\\text\{([^{}]*[,;][^{}]*)\}")
# In the spelling of `words_of`: all of them say that nothing is a solution.
_NONE = frozenset(
    (r"\emptyset", r"\{\}", "no solution", "no solutions", "no real solution", "no real solutions", "empty set")
)
_CHOICE = re.compile(r"(?:\\text\{)?\(?([A-J])\)\s*\}?\s*:?\s*\S.*", re.S)
_CLOCK = re.compile("[0-9]{1,2}:[0-9]{2}")


def degrees(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    r"""A degree sign that only one side has means nothing, or an angle in radians if the other has a `\pi`."""
    marked = r"^\circ" in answer, r"^\circ" in reference
    if marked[0] == marked[1]:
        return None
    plain = comparer.equal(answer.replace(r"^\circ", ""), reference.replace(r"^\circ", ""))
    other = reference if marked[0] else answer
    trees = parse(answer), parse(reference)
    if plain or r"\pi" not in other or trees[0] is None or trees[1] is None:
        return Finding(plain, "degrees")
    return Finding(trees_equal(*trees), "degrees")


def all_equal(results: list[bool | None]) -> bool | None:
    """Returns whether all are true; None if that is unknown."""
    if any(result is False for result in results):
        return False
    return None if None in results else True
