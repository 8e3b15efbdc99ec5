r"""Names of values: what may stand left of an equals sign without being a part of the answer."""

from __future__ import annotations

import re

from ngrpo.grading.strict.expression import parse, symbols_of

_NAME = re.compile(
    r"(?P<name>\\?[A-Za-z]+(?:_(?:[0-9A-Za-z]|\{[^{}]*\}))?'*(?:\^\{?(?:-1|\([a-z0-9]\)|\\[a-z]+)\}?)?|\\text\{[^{}]*\}"
    r"|\\angle\s?[A-Z]+|[|\[]?[A-Z]{2,3}[|\]]?)(?P<arguments>\([A-Za-z](?:,[A-Za-z])*\))?"
)
_NO_NAMES = ("sin", "cos", "tan", "pi", "frac", "sqrt", "log", "ln", "cot", "sec", "csc", "exp", "infty", "e")
# Names of figures, bare or in a fraction, a ratio or bars: `\frac{AB}{CD}`, `S_{ABC}:S`, `|AB|`; no number among them.
_NAMED_RATIO = re.compile(
    r"(?:\\frac|\\angle|\\triangle|\\overline|\\text\{[^{}]*\}|[{}|:/()\s]|[A-Z](?:_(?:[0-9A-Za-z]|\{[^{}]*\}))?'*)+"
)
_PHRASE = re.compile(r"(?:[A-Za-z]{3,}|\\text\{[^{}]*\})(?:[ ][A-Za-z]+)*")
_MEASURED = re.compile(
    r"(?:m\s?)?\\(?:angle|triangle|overline|vec|hat|bar|widehat|overparen|arc|tilde)\s?(?:\{[^{}]*\}|[A-Za-z]+)'?"
    r"|\|[^=<>]+\||\\\|[^=<>]+\\\|"  # sizes
    r"|(?:\\text\{\s*)?(?:E|P|Var|Cov|Pr|[nd](?=\((?:[A-Z\\]))|N|S|deg|det|dim|rank|area|vol|perimeter|ord|\\det|\\dim|\\deg|\\Pr|\\mathbb\{E\})\}?"
    r"\s?(?:\[[^\[\]=]*\]|\((?:[^()]|\([^()]*\))*\)|\{[^{}]*\})"
    r"|[f-hF-HPQpqEVTARWDUuy](?:_(?:[0-9A-Za-z]|\{[^{}]*\}))?'*(?:\^\{-1\})?\((?:[^()=]|\([^()]*\))*\)"  # f(3), f(g(x))
    r"|(?:\\complement(?:_(?:[A-Z]|\{[^{}]*\}))?\s?)?\(?[A-Z](?:\s?(?:\\(?:cup|cap|setminus|complement)|')\s?(?:_[A-Z]\s?)?[A-Z]?)*\)?'?"
    r"|\[[A-Z]{3,}\]|\\(?:max|min|lim|sup|inf|int|sum|prod|iint|gcd|lcm|operatorname)(?![a-z]).*",
    re.S,
)
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_ANGLE = re.compile(r"\\angle\s?([A-Z]+)")


def label_of(side: str) -> tuple[str, tuple[str, ...]] | None:
    r"""Returns the name and the arguments of the left side of a definition; None where it is more than a name.

    >>> label_of("f(x,y)"), label_of("x_1"), label_of("2x")
    (('f', ('x', 'y')), ('x_1', ()), None)
    """
    found = _NAME.fullmatch(side)
    if found is None or found["name"].lstrip("\\") in _NO_NAMES:
        return None
    arguments = (found["arguments"] or "").strip("()")
    return found["name"], tuple(arguments.split(",")) if arguments else ()


def names_a_value(side: str) -> bool:
    r"""Returns whether the left side of an equation only names what the right side is.

    A name, a function's value, a size, an expectation, the sine of an angle, a ratio of figures, and a sum or product
    of several letters do; `2x`, `x^2` and `2+5` do not: they are calculated with.

    >>> [names_a_value(side) for side in ("x", "f(3)", r"|A\cup B|", r"\cos A", "m+n", "2x", "2+5", "x^2")]
    [True, True, True, True, True, False, False, False]
    """
    if label_of(side) or _PHRASE.fullmatch(side) or _NAMED_RATIO.fullmatch(side) or _MEASURED.fullmatch(side):
        return True
    tree = parse(_ANGLE.sub("A", side))
    if tree is None:
        return False
    names = symbols_of(tree)
    if tree[0] == "function" and names and _TRIGONOMETRIC.match(side):
        return True
    return len(names) > 1 and not re.search(r"[0-9^]", re.sub(r"_(?:\{[^{}]*\}|[0-9A-Za-z])", "", side))
