r"""How many digits tell two numbers apart that are not equal.

`\sqrt{10^{200}+1}` and $10^{100}$ agree in 200 digits, `\tanh 500` and 1 in 434. Numbers of such kinds that differ at
all differ by no less than about the product of the sizes that occur on the way to them, so that is the precision to
look at. Not proven for sums of many roots, whose bounds grow with the product of the degrees: those known are far
from them.
"""

from __future__ import annotations

import math
from fractions import Fraction

from ngrpo.grading.strict.expression import Tree, symbols_of
from ngrpo.grading.strict.values import real_value

MOST_DIGITS = 6_000
"""Numbers that agree in so many digits are taken for equal."""
FEW = 40

_EXPONENTIAL = frozenset(("exp", "sinh", "cosh", "tanh"))


def digits_between(one: Tree, other: Tree) -> int:
    r"""Returns at how many digits two different values must have come apart, at most `MOST_DIGITS`."""
    return int(min(FEW + 2 * (_size(one) + _size(other)), MOST_DIGITS))


def _size(tree: Tree) -> float:
    """Decimal digits of the sizes that occur inside a tree, all together."""
    name = tree[0]
    if name == "number":
        return _length(tree[1])
    if name in ("symbol", "constant"):
        return 0.0 if name == "constant" else 5.0
    inside = sum(_size(part) for part in tree[1:] if isinstance(part, tuple))
    if name == "power":
        return _size(tree[1]) * _times(tree[2]) + _size(tree[2]) + _exponential(tree[1], tree[2])
    if name == "function" and tree[1] in _EXPONENTIAL:
        return inside + 0.87 * _value(tree[2])
    if name in ("factorial", "double_factorial"):
        count = _value(tree[1])
        return inside + (
            count * math.log10(max(count, 3.0)) if symbols_of(tree) == frozenset() and count > 4_000 else 0
        )
    return inside


def _times(exponent: Tree) -> float:
    """How often a base's size counts: its exponent where it is a number of moderate size."""
    return max(1.0, min(_value(exponent), 1e6))


def _exponential(base: Tree, exponent: Tree) -> float:
    return 0.87 * _value(exponent) if base == ("constant", "e") else 0.0


def _value(tree: Tree) -> float:
    """A rough size of an expression, 1 for what is not a number of moderate size at a glance."""
    if symbols_of(tree):
        return 6.0
    value = real_value(tree, 30)
    try:
        return 1.0 if value is None else abs(float(value))
    except OverflowError:
        return 1e9


def _length(value: Fraction) -> float:
    return (value.numerator.bit_length() + value.denominator.bit_length()) * 0.302 if value not in (0, 1) else 0.0
