r"""What is not mathematics in an answer: words, units, labels, conditions, sentences around it."""

from __future__ import annotations

import re
from typing import NamedTuple

_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_WORDS = re.compile(r"[A-Za-z][A-Za-z'\- ]*")
_CHOICE = re.compile(r"\(?([A-Za-z])\)?")
_ARTICLES = re.compile(r"\b(?:the|an?|only|any)\b")
_SENTENCE = re.compile(
    r"(?:the|so|thus|hence|therefore|it|there)\b.*\b(?:is|are|equals)\b(?:\s+exactly)?:?\s*(.+)", re.I | re.S
)
_CONDITION = re.compile(
    r"[,;]?\s*(?:\\text\{\s*,?\s*|\b)(?:for (?:all|some|any|every|each)|where|with|such that|when|as long as)\b.*", re.S
)
_MEMBERSHIP = re.compile(
    r"(?:[,;]\s*|\s*\()\s*(?:\\forall\s*)?((?:[a-zA-Z],?)+)\s*\\in\s*(?:\\mathbb\{?\s*)?[ZNQRC]\}?(?:\^[+*]|_[+*0-9]|\^\{[+*]\})*\)?"
)
_SPELLINGS = {
    "cm": "centimeter centimeters centimetre centimetres", "mm": "millimeter millimeters", "in": "inch inches",
    "m": "meter meters metre metres", "km": "kilometer kilometers kilometre kilometres", "ft": "foot feet",
    "mi": "mile miles", "yd": "yard yards", "kg": "kilogram kilograms", "g": "gram grams", "mg": "milligram milligrams",
    "lb": "lbs pound pounds", "oz": "ounce ounces", "s": "sec second seconds", "min": "minute minutes",
    "h": "hr hrs hour hours", "day": "days", "week": "weeks", "month": "months", "year": "years", "ml": "milliliters",
    "l": "liter liters litre litres", "gal": "gallon gallons", "dollar": "dollars", "cent": "cents",
    "degree": "degrees deg", "radian": "radians rad", "mph": "", "km/h": "", "m/s": "", "percent": "pct percentage",
    "celsius": "", "fahrenheit": "", "": "unit units",
}  # fmt: skip
_UNITS = {word: unit for unit, words in _SPELLINGS.items() for word in (unit, *words.split()) if word}
_POWERS = {"square": "^2", "squared": "^2", "sq": "^2", "cubic": "^3", "cubed": "^3"}
_UNIT_TEXT = re.compile(r"(?P<core>.*?[^\s\\])\s*\\text\{(?P<unit>[A-Za-z /.\-]+)\}(?P<power>\^\{?[23]\}?)?", re.S)
_UNIT_WORD = re.compile(
    r"(?P<core>[-+]?[0-9][0-9.,/]*|.*\})(?P<space>\s*)(?P<unit>[A-Za-z/]+(?: [A-Za-z]+){0,4})(?P<power>\^[23])?",
    re.S,
)
_ADVERB = re.compile(r"\\text\{\s*(?:only|just|exactly|about|approximately)\s*\}", re.I)
_ORDINAL = re.compile(
    r"([0-9]+)(?:st|nd|rd|th|\^\{?(?:\\text\{)?(?:st|nd|rd|th)\}{0,2}|\\text\{(?:st|nd|rd|th)\})(?![a-z])"
)
_LABEL = re.compile(r"(?:\\text\{)?([A-Za-z][A-Za-z0-9' ]*[A-Za-z0-9]|[A-Z])\s*:\s*\}?\s*(?=[^\s])")


class Quantity(NamedTuple):
    """An answer without the unit beside it, and that unit in one spelling; None: an unknown word, "": none."""

    core: str
    unit: str | None


def words_of(answer: str) -> str | None:
    r"""Returns the words of an answer that consists of nothing else, in lower case, or None.

    >>> words_of(r"\text{Not enough information}"), words_of("x+1"), words_of(r"\text{(C)}")
    ('not enough information', None, 'C')
    """
    plain = _TEXT.sub(lambda found: f" {found[1]} ", answer).replace('"', "").strip().rstrip(".")
    choice = _CHOICE.fullmatch(plain)
    if choice:
        marked = plain != answer or plain.startswith("(")
        return choice[1] if marked else None
    if not _WORDS.fullmatch(plain) or (plain == answer and max(map(len, plain.split())) < 3):
        return None
    return " ".join(_ARTICLES.sub(" ", plain.lower().replace("-", " ")).split())


def unmarked(answer: str) -> str:
    r"""Returns an answer with its words as if they were not marked as text.

    >>> unmarked(r"\text{July 4}")
    'July 4'
    """
    return _TEXT.sub(r"\1", answer)


def said(answer: str) -> str | None:
    """Returns what a sentence of the form "The ... is X" says, or None for anything else.

    >>> said("The transformed function f(x+1)-1 is odd"), said("odd")
    ('odd', None)
    """
    plain = _TEXT.sub(lambda found: f" {found[1]} ", answer).strip() if answer.startswith(r"\text{") else answer
    found = _SENTENCE.fullmatch(plain)
    return found[1].strip() if found else None


def without_condition(answer: str) -> tuple[str, str]:
    r"""Returns an answer without the condition at its end, and that condition ("" for none).

    >>> without_condition(r"2t+1\text{for some integer}t")
    ('2t+1', '\\text{for some integer}t')
    >>> without_condition(r"k\pi,k\in\mathbb{Z}")
    ('k\\pi', ',k\\in\\mathbb{Z}')
    """
    found = _CONDITION.search(answer)
    if found and found.start() > 0:
        return answer[: found.start()].strip(" ,;"), found[0]
    membership = list(_MEMBERSHIP.finditer(answer))
    if membership and membership[-1].end() == len(answer) and membership[-1].start() > 0:
        return answer[: membership[-1].start()], membership[-1][0]
    return answer, ""


def without_ordinal(answer: str) -> str:
    r"""Returns an answer with ordinal numbers as plain ones: `15th` is `15`."""
    return _ORDINAL.sub(r"\1 ", answer).strip()


def without_labels(answer: str) -> str:
    r"""Returns an answer without the names that words followed by a colon give: `Paolo: 18, Rayna: 7` is `18,7`.

    >>> without_labels("Paolo:18,Rayna:7"), without_labels("20:3")
    ('18,7', '20:3')
    """
    return _LABEL.sub("", _ADVERB.sub("", answer))


def quantity(answer: str) -> Quantity:
    r"""Splits an answer into what is measured and the unit beside it.

    >>> quantity(r"5\text{cm}^2"), quantity("45 degrees"), quantity("5")
    (Quantity(core='5', unit='cm^2'), Quantity(core='45', unit='degree'), Quantity(core='5', unit=''))
    """
    found = _UNIT_TEXT.fullmatch(answer)
    if found is None:
        found = _UNIT_WORD.fullmatch(answer)
        if found is None or (found["unit"] not in _UNITS and not (found["space"] and len(found["unit"]) > 2)):
            return Quantity(answer, "")
        if not found["space"] and len(found["unit"]) < 2:
            return Quantity(answer, "")
    return Quantity(found["core"].strip(), _unit(found["unit"], (found["power"] or "").strip("{}").replace("{", "")))


def _unit(name: str, power: str) -> str | None:
    words = name.lower().replace(".", "").split()
    for word in words:
        power = _POWERS.get(word, power)
    known = [_UNITS[word] for word in words if word in _UNITS]
    if len(known) != 1 or len([word for word in words if word not in _POWERS]) != 1:
        return None
    return known[0] + power if known[0] else ""
