r"""Quantities: a number with a unit, money, and scale words such as *million*."""

from __future__ import annotations

import re
from typing import NamedTuple

from ngrpo.grading.strict.brackets import split_at
from ngrpo.grading.strict.comparer import Comparer, Finding
from ngrpo.grading.strict.number_words import SCALES
from ngrpo.grading.strict.numbers import plain_number

_SPELLINGS = {
    "cm": "centimeter centimeters centimetre centimetres 厘米", "mm": "millimeter millimeters millimetre 毫米",
    "in": "inch inches", "m": "meter meters metre metres 米", "km": "kilometer kilometers kilometre kilometres 千米",
    "ft": "foot feet", "mi": "mile miles", "yd": "yard yards", "kg": "kilogram kilograms kilo kilos 千克 公斤",
    "g": "gram grams gm 克", "mg": "milligram milligrams", "t": "ton tons tonne tonnes 吨", "lb": "lbs pound-weight",
    "oz": "ounce ounces", "s": "sec secs second seconds 秒", "ms": "millisecond milliseconds",
    "min": "mins minute minutes 分钟", "h": "hr hrs hour hours 小时", "day": "days 天", "week": "weeks 周",
    "month": "months 月", "year": "years yr yrs 年 岁", "ml": "milliliter milliliters millilitre 毫升",
    "l": "liter liters litre litres 升", "gal": "gallon gallons", "dollar": "dollars usd us$ bucks $ 美元",
    "cent": "cents ¢",
    "penny": "pence p", "euro": "euros eur €", "pound": "pounds gbp £ sterling", "yen": "jpy", "yuan": "rmb cny 元 ￥",
    "rupee": "rupees rs inr ₹", "degree": "degrees deg 度", "radian": "radians rad 弧度", "mi/h": "mph",
    "km/h": "kmh kph",
    "percent": "pct percentage", "celsius": "°c", "fahrenheit": "°f", "kelvin": "kelvins",
    "j": "joule joules", "n": "newton newtons", "w": "watt watts", "kw": "kilowatt kilowatts", "v": "volt volts",
    "ohm": "ohms ω", "hz": "hertz", "mol": "mole moles", "pa": "pascal pascals",
    "": "unit units 个 人 名 只 种 次 件 本",
}  # fmt: skip
_UNITS = {word: unit for unit, words in _SPELLINGS.items() for word in (unit, *words.split()) if word}
_CURRENCIES = frozenset(("dollar", "cent", "euro", "pound", "yen", "yuan", "rupee"))
_POWERS = {"square": 2, "squared": 2, "sq": 2, "cubic": 3, "cubed": 3, "cu": 3}
_SCALES = {**SCALES, "dozen": 12, "万": 10**4, "亿": 10**8}
_CODES = "USD|EUR|GBP|RMB|CNY|JPY|INR|Rs"
_SYMBOL = rf"(?:US)?\\\$|[€£￥₹]|\\text\{{\s*(?:{_CODES}|Rs\.|US\$|US\\\$)\s*\}}|(?:{_CODES})(?![A-Za-z])"
_PREFIX = re.compile(rf"(?P<sign>-?)\s*(?P<symbol>{_SYMBOL})\s*(?P<core>-?[0-9.\\(x-z].*)", re.S)
_SUFFIX = re.compile(rf"(?P<core>.*[0-9}})a-z])\s*(?P<symbol>{_SYMBOL})", re.S)
_ATOM = r"\\text\{[^{}0-9]*[A-Za-z%][^{}]*\}(?:\^\{?-?[1-3]\}?)?"
_UNIT_TEXT = re.compile(
    rf"(?P<core>.*?[^\s\\/])\s*(?P<unit>/?(?:{_ATOM})(?:\s*(?:/|\\cdot|\\times|\s)?\s*{_ATOM}){{0,3}})", re.S
)
_UNIT_FRACTION = re.compile(
    r"(?P<core>.*?[^\s\\])\s*\\frac\{(?P<over>\\text\{[A-Za-z ]+\})\}\{(?P<under>\\text\{[A-Za-z ]+\}(?:\^2)?)\}", re.S
)
_UNIT_WORD = re.compile(
    r"(?P<core>[-+]?[0-9][0-9.,/]*|.*\})(?P<space>\s*)(?P<unit>[A-Za-z/]+(?: [A-Za-z]+){0,4})(?P<power>\^[23])?", re.S
)
_UNIT_HAN = re.compile(r"(?P<core>.*?[0-9})])\s*(?P<unit>[\u4e00-\u9fff/]+)(?P<power>)", re.S)
_TEMPERATURE = re.compile(r"(?P<core>.*?)\^\\circ\s*(?:\\text\{\s*)?(?P<unit>[CF])\s*\}?")
_OHM = re.compile(r"(?P<core>.*?[0-9}])\s*(?P<prefix>k|M|\\text\{\s*[kM]\s*\})?\s*\\Omega")


class Quantity(NamedTuple):
    """An answer without its unit, that unit in one spelling (None: an unknown word, "": none), and a scale."""

    core: str
    unit: str | None
    scale: int = 1


def quantity(answer: str) -> Quantity:
    r"""Splits an answer into what is measured and the unit beside it.

    >>> quantity(r"5\text{cm}^2"), quantity("5")
    (Quantity(core='5', unit='cm^2', scale=1), Quantity(core='5', unit='', scale=1))
    >>> quantity(r"\$5\text{ million}"), quantity(r"5\text{ apples}").unit
    (Quantity(core='5', unit='dollar', scale=1000000), None)
    """
    if answer.isascii() and not re.search(r"[A-Za-z$]", answer):
        return Quantity(answer, "")
    for pattern, unit in ((_TEMPERATURE, ""), (_OHM, "ohm")):
        if found := pattern.fullmatch(answer):
            name = unit or {"C": "celsius", "F": "fahrenheit"}[found["unit"]]
            prefix = re.sub(r"\\text|[{}\s]", "", found.groupdict().get("prefix") or "")
            return Quantity(found["core"].strip(), prefix + name)
    for pattern in (_PREFIX, _SUFFIX):
        if found := pattern.fullmatch(answer):
            inside = quantity(found["core"].strip())
            sign = found.groupdict().get("sign") or ""
            return Quantity(sign + inside.core, _known(found["symbol"]), inside.scale)
    return _with_unit(answer)


def _with_unit(answer: str) -> Quantity:
    if found := _UNIT_FRACTION.fullmatch(answer):
        return Quantity(found["core"].strip(), _canonical(f"{found['over']}/{found['under']}").unit)
    found = _UNIT_TEXT.fullmatch(answer)
    if found is None and not answer.isascii():
        found = _UNIT_HAN.fullmatch(answer)
    if found is None:
        found = _UNIT_WORD.fullmatch(answer)
        if found is None or not (found["unit"].lower() in _UNITS or _is_phrase(found)):
            return Quantity(answer, "")
        if not found["space"] and len(found["unit"]) < 2:
            return Quantity(answer, "")
    name = found["unit"] + (found.groupdict().get("power") or "")
    return _canonical(name)._replace(core=found["core"].strip())


def _is_phrase(found: re.Match[str]) -> bool:
    words = found["unit"].lower().split()
    known = all(word in _UNITS or word in _SCALES or word in _POWERS for word in words)
    return known or (bool(found["space"]) and len(found["unit"]) > 2)


def _known(symbol: str) -> str | None:
    return _UNITS.get(re.sub(r"\\text|[{}\\.\s]", "", symbol).lower())


def _canonical(name: str) -> Quantity:
    r"""The unit and scale of words such as `million dollars`, `square cm`, `\text{m}/\text{s}^2`, `km per hour`."""
    plain = re.sub(r"\\text|\\cdot|\\times|[{}]", " ", name).lower().replace("\\", "").replace("~", " ")
    plain = re.sub(r"\b(?:per|an?|each)\b", "/", plain) if re.search(r"\bper\b", plain) else plain
    scale, sign, power = 1, 1, 0
    exponents: dict[str, int] = {}
    last = ""
    for token in re.findall(r"/|\^\s*-?[0-9]|[^\s/^.,]+", plain):
        if token in _SCALES:
            scale *= _SCALES[token]
        elif token in _POWERS:
            exponents, power = ({**exponents, last: _POWERS[token]}, 0) if last else (exponents, _POWERS[token])
        elif token[0] == "^":
            exponents[last] = exponents.get(last, 1) * int(token[1:].strip())
        elif token == "/":
            sign = -1
        elif token in _UNITS:
            for number, last in enumerate(_UNITS[token].split("/")):
                exponents[last] = exponents.get(last, 0) + (sign if not number else -1) * (power or 1)
            power = 0
        elif token not in ("of", "the", "in", "us"):
            return Quantity("", None, scale)
    named = {name: exponent for name, exponent in exponents.items() if name and exponent}
    plural = [f"{name}^{exponent}" if exponent != 1 else name for name, exponent in sorted(named.items())]
    return Quantity("", " ".join(plural), scale)


def quantities(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    """A unit that only one side states means nothing; two known ones must be the same; other words are ignored."""
    ours, theirs = quantity(answer), quantity(reference)
    if (ours.core, theirs.core) == (answer, reference):
        return None
    if any(plain_number(part.core) is None and len(split_at(part.core, ",", ";")) > 1 for part in (ours, theirs)):
        return None
    if ours.unit and theirs.unit and ours.unit != theirs.unit:
        return Finding(False, "unit")
    if {"degree", "percent", "radian"} & {ours.unit, theirs.unit}:
        ours, theirs = _with_sign(ours, theirs.unit), _with_sign(theirs, ours.unit)
        if {ours.unit, theirs.unit} == {"radian", ""} and r"^\circ" in ours.core + theirs.core:
            return Finding(False, "unit")
    one, other = _scaled(ours), _scaled(theirs)
    return Finding(comparer.equal(one, other), "unit")


def _with_sign(part: Quantity, other: str | None) -> Quantity:
    r"""A word for a sign becomes the sign: `45\text{ degrees}` is `45^\circ`; beside the same word it means nothing."""
    sign = {"degree": r"^\circ", "percent": "%"}.get(part.unit or "", "")
    if not sign or other == part.unit or part.core.endswith(sign):
        return part
    simple = re.fullmatch(r"[0-9.,]+|\\[a-z]+\{[^{}]*\}(?:\{[^{}]*\})?", part.core)
    return part._replace(core=f"{part.core}{sign}" if simple else f"({part.core}){sign}")


def _scaled(part: Quantity) -> str:
    if part.scale == 1:
        return part.core
    number = plain_number(part.core)
    if number is None:
        return rf"({part.core})\cdot{part.scale}"
    value = number.value * part.scale
    return str(value.numerator) if value.denominator == 1 else rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
