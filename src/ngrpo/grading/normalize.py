r"""One spelling for answers that differ only in how they are typeset, and exact values for plain numbers.

Each rule is certain by itself: nothing here guesses what an answer may have meant.
"""

from __future__ import annotations

import re
from fractions import Fraction

_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
# A line break of a matrix is matched first, so that its second backslash does not make a thin space of what
# follows.
_LAYOUT = re.compile(r"(?P<break>\\\\)|\\(?:displaystyle|left|right|limits)(?![A-Za-z])|\\[!,;: ]|~")
_FRACTION = re.compile(r"\\[dtc]frac(?![A-Za-z])")
_SHORT_FRACTION = re.compile(r"\\frac\s*([0-9])\s*([0-9])")
_SPACE = re.compile(r"\s+")
# White space between two letters or digits means something ("3 1/2", "\pi r"); next to anything else it does
# not.
_LOOSE_SPACE = re.compile(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])")

_INTEGER = r"[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+"
_NUMBER = re.compile(
    r"(?:\\?\$)?(?P<sign>[-+]?)(?:\\?\$)?"
    rf"(?:\\frac\{{(?P<top>-?[0-9]+)\}}\{{(?P<bottom>[0-9]+)\}}|(?P<left>{_INTEGER})/(?P<right>[0-9]+)"
    rf"|(?P<decimal>(?:{_INTEGER})(?:\.[0-9]*)?|\.[0-9]+))"
    r"(?:\^\{?\\circ\}?|\\degree|°)?"
)


def normalize_answer(answer: str) -> str:
    r"""Returns an answer without what only changes its look on the page.

    Math delimiters around it, ``\left`` and ``\right``, thin spaces, ``\dfrac`` for ``\frac``, ``\frac12``
    for ``\frac{1}{2}``, ``{,}`` for a thousands comma, white space that separates nothing, a full stop at the
    end.

    >>> normalize_answer(r"$\left( 3,\, \dfrac12 \right)$.")
    '(3,\\frac{1}{2})'
    """
    text = _without_delimiters(answer.strip().removesuffix(".").strip())
    text = _LAYOUT.sub(lambda found: found["break"] or " ", text)
    text = _FRACTION.sub(r"\\frac", text).replace("{,}", ",").replace("−", "-")
    text = _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", text)
    return _LOOSE_SPACE.sub("", _SPACE.sub(" ", text)).removesuffix(".").strip()


def exact_number(text: str) -> Fraction | None:
    r"""Returns the value of a plain number, or None for anything that is not one.

    Integers (thousands commas too), decimals, fractions of integers, with an optional dollar or degree sign. A
    percentage is left to the symbolic stage, since 50 % may be meant as 50 or as 1/2.

    Args:
        text: a normalised answer.

    >>> exact_number(r"-\frac{1}{2}"), exact_number("32,348"), exact_number(r"336^\circ")
    (Fraction(-1, 2), Fraction(32348, 1), Fraction(336, 1))
    >>> exact_number("x") is None and exact_number("1/0") is None
    True
    """
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    top = found["top"] or found["left"] or found["decimal"]
    bottom = int(found["bottom"] or found["right"] or 1)
    if bottom == 0:
        return None
    value = Fraction(top.replace(",", "")) / bottom
    return -value if found["sign"] == "-" else value


def _without_delimiters(text: str) -> str:
    for opening, closing in _DELIMITERS:
        inner = text.removeprefix(opening).removesuffix(closing)
        if len(inner) == len(text) - len(opening) - len(closing) and opening not in inner:
            return inner.strip()
    return text
