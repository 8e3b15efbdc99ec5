r"""Rules for words, numbers and what stands around an answer: conditions, sentences, approximations, parameters."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from ngrpo.grading.strict.brackets import renamed, split_at
from ngrpo.grading.strict.comparer import Comparer, Finding, all_equal
from ngrpo.grading.strict.congruences import free_letters
from ngrpo.grading.strict.expression import parse
from ngrpo.grading.strict.labels import label_of
from ngrpo.grading.strict.numbers import Number, numeral, plain_number
from ngrpo.grading.strict.values import real_value
from ngrpo.grading.strict.words import (
    boolean,
    domain_of,
    meaning_of,
    said,
    unmarked,
    without_condition,
    word_list,
    words_of,
)

_TEXT_LIST = re.compile(r"\\text\{([^{}]*[,;][^{}]*)\}")
_INFINITE = {r"\infty": 1, r"+\infty": 1, r"-\infty": -1}
_RELATION = re.compile(r"[<>]|\\(?:[lg]e|ne|in)(?![a-z])")
_TO = re.compile(r"\s*(?:\\text\{\s*to\s*\}|(?<=[0-9])\s*to(?=\s*[0-9]))\s*")
_ANSWERS = frozenset(("yes", "no", "true", "false"))
_ADDED = re.compile(r"\+\s?[CK]\Z")
_CONSTANTS = frozenset("cCkK")


def same_text(_: Comparer, answer: str, reference: str) -> Finding | None:
    if answer == reference:
        return Finding(True, "text")
    marked = r"\text" in answer or r"\text" in reference
    return Finding(True, "text") if marked and unmarked(answer).split() == unmarked(reference).split() else None


def meanings(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    """Words that name mathematics are it: "all real numbers", "infinity", "no solution"."""
    ours, theirs = meaning_of(answer), meaning_of(reference)
    return None if (ours, theirs) == (answer, reference) else comparer.compare(ours, theirs)


def booleans(_: Comparer, answer: str, reference: str) -> Finding | None:
    """Yes, no, true and false are what an answer begins with: "Yes, it is." is yes."""
    theirs = boolean(reference)
    if theirs is None:
        return None
    ours = boolean(answer)
    return None if ours is None else Finding(ours == theirs, "text")


def lists_in_text(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    r"""`\text{A, C}` is the list `A,C`; `\text{Alice and Bob}` and `\text{Bob, Alice}` name the same."""
    ours, theirs = word_list(answer), word_list(reference)
    if ours and theirs and len(ours) == len(theirs):
        # "Yes, no" answers two questions in their order.
        answers = _ANSWERS.intersection(ours + theirs)
        return Finding(ours == theirs if answers else sorted(ours) == sorted(theirs), "text")
    pair = _list_in_text(answer), _list_in_text(reference)
    return None if pair == (answer, reference) else comparer.compare(*pair)


def _list_in_text(text: str) -> str:
    found = _TEXT_LIST.fullmatch(text)
    return re.sub(r"\s*([,;])\s*", r"\1", found[1].strip()) if found else text


def words(_: Comparer, answer: str, reference: str) -> Finding | None:
    ours, theirs = words_of(answer), words_of(reference)
    if ours is None and theirs is None:
        return None
    if (ours or answer).casefold() == (theirs or reference).casefold() and not (ours and theirs and len(ours) == 1):
        return Finding(len(ours or answer) > 1 or (ours or answer) == (theirs or reference), "text")
    named = plain_number(ours or answer), plain_number(theirs or reference)
    if named[0] and named[1]:
        return Finding(named[0].value == named[1].value, "number")
    if said(answer) or said(reference) or _has_unit(answer, ours) or _has_unit(reference, theirs):
        return None
    return Finding((ours or answer) == (theirs or reference), "text")


def _has_unit(text: str, found: str | None) -> bool:
    r"""Number words with a unit, `\text{five cm}`, are left to the rule for units."""
    return found is not None and plain_number(found.rpartition(" ")[0]) is not None and text != found


def infinities(_: Comparer, answer: str, reference: str) -> Finding | None:
    ours, theirs = _INFINITE.get(answer), _INFINITE.get(reference)
    if ours and theirs:
        return Finding(ours == theirs, "infinity")
    other = reference if ours else answer
    if (ours or theirs) and plain_number(other) is not None:
        return Finding(False, "infinity")
    return Finding(False, "infinity") if (ours or theirs) and parse(other) and r"\infty" not in other else None


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
    if r"\approx" not in answer + reference:
        return None
    ours, theirs = _exact_side(answer), _exact_side(reference)
    if (ours, theirs) == (answer, reference):
        return None
    stated = split_at(reference, r"\approx")[-1]
    if r"\approx" in reference and ours == stated:
        return Finding(True, "approximation")
    return comparer.compare(ours, theirs)


def _exact_side(text: str) -> str:
    sides = split_at(text, r"\approx")
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
    """A condition that only one side states is left out; two must name the same numbers, or be spelled alike."""
    (ours, our_condition), (theirs, their_condition) = _conditioned(answer), _conditioned(reference)
    if not our_condition and not their_condition:
        return None
    if our_condition and their_condition and our_condition != their_condition:
        domains = domain_of(our_condition), domain_of(their_condition)
        if domains[0] != domains[1] or not domains[0]:
            return Finding(False, "condition")
    free = re.findall(r"(?<![A-Za-z\\{])([A-Za-z])(?![A-Za-z])", our_condition + " " + their_condition)
    return _with_parameter(comparer, ours, theirs, set(free) - {"a"} | free_letters(answer) | free_letters(reference))


def _conditioned(text: str) -> tuple[str, str]:
    core, condition = without_condition(text)
    if condition:
        return core, condition
    parts = split_at(text, ",")
    if len(parts) < 2 or _RELATION.search(parts[0]) or not all(map(_RELATION.search, parts[1:])):
        return text, ""
    # `f(x)=x+1,x\ge0`: a relation for the letters of the answer before it; `x=3,y>2` are two statements.
    letters = _letters_of(parts[0].rpartition("=")[2]) - _letters_of(parts[0].rpartition("=")[0].partition("(")[0])
    about = _letters_of(" ".join(parts[1:]))
    return (parts[0], ",".join(parts[1:])) if letters and about <= letters else (text, "")


def parameters(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    r"""The letter of an integer beside `\pi` (`k\pi`), and of a constant in either case (`C`), may be any."""
    free = free_letters(answer) | free_letters(reference)
    ours, theirs = _letters(answer) - _letters(reference), _letters(reference) - _letters(answer)
    alike = {letter.lower() for letter in ours} == {letter.lower() for letter in theirs}
    added = _ADDED.search(answer), _ADDED.search(reference)
    if (ours | theirs) <= _CONSTANTS and (alike or all(added)):
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
    return _letters_of(split_at(text, "=")[-1]) - {"e", "i"}


def _letters_of(text: str) -> set[str]:
    return set(re.findall("[A-Za-z]", re.sub(r"\\text\{[^{}]*\}|\\[A-Za-z]+", " ", text)))


def ratios(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    r"""Ratios are equal when their terms are proportional; `2\text{ to }3` is `2:3`."""
    if "to" not in answer + reference and ":" not in answer + reference:
        return None
    spelled = tuple(_TO.sub(":", unmarked(side) if side.startswith(r"\text") else side) for side in (answer, reference))
    ours, theirs = split_at(spelled[0], ":"), split_at(spelled[1], ":")
    if len(ours) != len(theirs):
        if max(len(ours), len(theirs)) > 2:
            return Finding(False, "ratio")
        return None if spelled == (answer, reference) else comparer.compare(*spelled)
    if len(ours) == 1 or not (all(ours) and all(theirs)):
        return None
    products = [
        comparer.equal(f"({ours[0]})({other})", f"({theirs[0]})({mine})")
        for mine, other in zip(ours[1:], theirs[1:], strict=True)
    ]
    return Finding(all_equal(products), "ratio")
