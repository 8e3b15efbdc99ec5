r"""Plain numbers: their exact value, the unit beside them, and how many digits a decimal states."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from ngrpo.grading.strict.number_words import number_in_words

LEAST_DIGITS = 3
"""A decimal reference with fewer significant digits is taken for exact: 0.5 and 2.5 are, 21.93 is rounded."""
MAX_EXPONENT = 5_000
"""Largest power of ten in scientific notation."""

_FRACTION = r"\\frac\{(?P<top>-?[0-9]+)\}\{(?P<bottom>[0-9]+)\}|(?P<left>[0-9]+)/(?P<right>[0-9]+)"
_REPEATING = (
    r"(?P<start>[0-9]*\.[0-9]*)(?:\\(?:overline|bar|dot)\s*\{?(?P<period>[0-9]+)\}?|\((?P<bracketed>[0-9]{1,60})\))"
)
_DOTTED = re.compile(
    r"(?P<start>-?[0-9]*\.[0-9]*)\\dot\{?(?P<first>[0-9])\}?(?P<middle>[0-9]*)\\dot\{?(?P<last>[0-9])\}?"
)
_GOES_ON = re.compile(r"(?P<digits>-?[0-9]*\.[0-9]{2,60})(?:\\ldots|\.\.\.+)")
_DECIMAL = r"(?P<decimal>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_MIXED = r"(?P<whole>[0-9]+)(?:\s*\\frac\{(?P<over>[0-9]+)\}\{(?P<under>[0-9]+)\}| (?P<num>[0-9]+)/(?P<den>[0-9]+))"
_POWER = r"(?:[eE](?P<e>[-+]?[0-9]{1,5})|\s*(?:\\times|\\cdot|\*)\s*10\^(?:\{|\()?(?P<ten>[-+]?[0-9]{1,5})(?:\}|\))?)?"
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)(?:{_MIXED}|{_FRACTION}|{_REPEATING}|{_DECIMAL}{_POWER})(?P<percent>%)?(?:\^\\circ|\^\{{\\circ\}}|°)?"
)
_BASE = re.compile(
    r"(?P<sign>-?)\(?(?P<digits>[0-9A-Za-z ]*[0-9A-Za-z])\)?\s*"
    r"(?:_\{?\(?\s*(?:\\text\{)?\s*(?:base\s?)?\}?|\\text\{\s*\(?(?:in\s*)?base[\s-]*|\(?(?:in\s*)?base[\s-]*)(?P<base>[0-9]{1,2}|[a-z]{3,9})\s*[})]{0,3}"
)
_ONE = Fraction(1)
_SCALES = {
    (negative, percent): Fraction(-1 if negative else 1, 100 if percent else 1)
    for negative in (False, True)
    for percent in (False, True)
}


class Number(NamedTuple):
    """A plain number: its value, and for a decimal the unit of its last digit and whether that may be rounded."""

    value: Fraction
    last_digit: Fraction | None = None
    rounded: bool = False


def plain_number(text: str) -> Number | None:
    r"""Returns the value of a plain number, or None for anything that is not one.

    Integers, decimals, repeating decimals, fractions of integers, mixed numbers,
    scientific notation, number words; a percentage is a hundredth; a degree sign means nothing.

    Args:
        text: a normalised answer.

    >>> plain_number(r"3\frac{1}{2}").value, plain_number("1.5e3").value, plain_number(r"0.1\overline{6}").value
    (Fraction(7, 2), Fraction(1500, 1), Fraction(1, 6))
    >>> plain_number("21.93").rounded, plain_number("2.5").rounded, plain_number("x")
    (True, False, None)
    """
    if text[:1].isalpha():
        named = number_in_words(text) if len(text) < 80 else None
        return None if named is None else Number(Fraction(named))
    found = _NUMBER.fullmatch(text)
    if found is None:
        return _going_on(text)
    scale = _SCALES[found["sign"] == "-", found["percent"] is not None]
    if found["decimal"]:
        return _decimal(found, scale)
    value = _repeating(found) if found["start"] is not None else _fraction(found)
    return None if value is None else Number(value * scale)


def numeral(text: str) -> tuple[str, str] | None:
    r"""Returns the digits and the base of a numeral with a subscript, or None.

    >>> numeral("1010_2"), numeral(r"2F_{16}"), numeral("x_2")
    (('1010', '2'), ('2F', '16'), None)
    """
    found = _BASE.fullmatch(text)
    if found is None or not found["digits"][0].isdigit():
        return None
    base = found["base"] if found["base"].isdigit() else str(number_in_words(found["base"]) or "")
    digits = found["digits"].replace(" ", "").lstrip("0") or "0"
    return (found["sign"] + digits.upper(), base) if base else None


def _going_on(text: str) -> Number | None:
    r"""`0.\dot{1}4285\dot{7}`, and a decimal that repeats itself before its dots: `0.333\ldots`, `0.1666...`."""
    if found := _DOTTED.fullmatch(text):
        return plain_number(rf"{found['start']}\overline{{{found['first']}{found['middle']}{found['last']}}}")
    if found := _GOES_ON.fullmatch(text):
        whole, _, places = found["digits"].partition(".")
        for start in range(len(places)):
            for length in range(1, (len(places) - start) // 2 + 1):
                period, rest = places[start : start + length], places[start:]
                if len(rest) >= max(3 if length == 1 and start else 2, 2 * length) and _repeats(period, rest):
                    return plain_number(rf"{whole}.{places[:start]}\overline{{{period}}}")
    return None


def _repeats(period: str, digits: str) -> bool:
    return (period * (len(digits) // len(period) + 1)).startswith(digits)


def _decimal(found: re.Match[str], scale: Fraction) -> Number | None:
    digits = found["decimal"]
    power = int(found["e"] or found["ten"] or 0)
    if abs(power) > MAX_EXPONENT:
        return None
    _, point, places = digits.partition(".")
    last = Fraction(10) ** (power - len(places)) * abs(scale) if point or power or scale != 1 else _ONE
    significant = digits.replace(".", "").lstrip("0")
    rounded = bool(point) and len(significant) >= LEAST_DIGITS and not significant.endswith("0")
    value = Fraction(digits)
    if power or scale != 1:
        value *= Fraction(10) ** power * scale
    return Number(value, last, rounded)


def _repeating(found: re.Match[str]) -> Fraction:
    period = found["period"] or found["bracketed"]
    _, _, places = found["start"].partition(".")
    start = Fraction("0" + found["start"] + "0")
    return start + Fraction(int(period), 10 ** len(places) * (10 ** len(period) - 1))


def _fraction(found: re.Match[str]) -> Fraction | None:
    top = found["top"] or found["left"] or found["over"] or found["num"]
    bottom = int(found["bottom"] or found["right"] or found["under"] or found["den"])
    if bottom == 0 or (found["whole"] and int(top) >= bottom):
        return None
    return Fraction(int(top), bottom) + int(found["whole"] or 0)
