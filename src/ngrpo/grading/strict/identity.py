r"""Whether two expressions are equal, by their values: exactly or to as many digits as it takes, never by tolerance.

Variables take fixed pseudo-random values. A difference of irrational numbers counts as zero only when it
shrinks with the precision of the arithmetic, so that $10^{-20}$ and $2\cdot10^{-20}$ differ. Every operation
checks the size of its operands first: no expression takes long.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any

from ngrpo.grading.strict.expression import Tree, parse, symbols_of
from ngrpo.grading.strict.precision import digits_between
from ngrpo.grading.strict.values import Evaluation, TooLargeError, UndefinedError, magnitude, nearly_real

POINTS = 10
"""Values that each variable takes; at least `ENOUGH` of them must make both sides real."""
ENOUGH = 2
DIGITS = (30, 120, 300)
"""Precisions tried until a difference is clearly zero or clearly not, unless its size asks for more."""


@lru_cache(maxsize=8192)
def trees_equal(one: Tree, other: Tree) -> bool | None:
    r"""Returns whether two expressions are equal wherever both are real, or None where that cannot be told.

    Without variables the values are compared, complex ones too. With variables the expressions must agree at
    every point where both are real, or, if there are fewer than two, at every point.

    Raises:
        TooLargeError: when a number exceeds the limits.

    >>> trees_equal(parse("(x+1)^2"), parse("x^2+2x+1")), trees_equal(parse("e^{-100}"), parse("e^{-101}"))
    (True, False)
    """
    names = sorted(symbols_of(one) | symbols_of(other))
    if not names:
        try:
            return is_zero(_difference(one, other, {}), partial(digits_between, one, other))
        except UndefinedError:
            return False if is_undefined(one) != is_undefined(other) else None
    real = 0
    complex_: list[bool | None] = []
    for number in range(POINTS):
        point = {name: value_of(name, number) for name in names}
        try:
            if not (_is_real(one, point) and _is_real(other, point)):
                if not real and len(complex_) < ENOUGH:
                    complex_.append(is_zero(_difference(one, other, point)))
                continue
            # A near miss shows at one point as well as at ten.
            enough = (lambda: 0) if real else partial(digits_between, one, other)
            equal = is_zero(_difference(one, other, point), enough)
        except UndefinedError:
            continue
        if not equal:
            return equal
        real += 1
    if real >= ENOUGH:
        return True
    if False in complex_:
        return False
    return True if complex_ and None not in complex_ else None


def is_too_large(text: str) -> bool:
    """Returns whether an expression by itself goes beyond the limits."""
    tree = parse(text)
    if tree is None:
        return False
    try:
        Evaluation({name: value_of(name, 0) for name in symbols_of(tree)}, DIGITS[0]).value(tree)
    except TooLargeError:
        return True
    except UndefinedError:
        return False
    return False


def is_undefined(tree: Tree) -> bool:
    """Returns whether an expression has no value, such as `1/0`; with variables, at the first of the points."""
    try:
        Evaluation({name: value_of(name, 0) for name in symbols_of(tree)}, DIGITS[0]).value(tree)
    except UndefinedError:
        return True
    except TooLargeError:
        return False
    return False


def _difference(one: Tree, other: Tree, point: Mapping[str, Fraction]) -> Callable[[int], Any]:
    difference: Tree = ("add", one, ("negate", other))

    def at(digits: int) -> Any:
        evaluation = Evaluation(point, digits)
        value = evaluation.value(difference)
        spread = int(evaluation.spread * 0.302)
        # A small term beside a huge one needs as many digits more as lie between them.
        return value if spread < digits // 2 else Evaluation(point, digits + spread).value(difference)

    return at


def is_zero(at: Callable[[int], Any], enough: Callable[[], int] = lambda: 0) -> bool | None:
    """Returns whether a value is zero, from its behaviour at growing precision, or None if that does not tell.

    Args:
        at: the value, computed with so many digits: a Fraction, which is exact, or an mpmath number.
        enough: how many digits there must be before a zero is believed in; asked where the first few look like one.
    """
    before, fewer, least = at(DIGITS[0]), DIGITS[0], 0
    if isinstance(before, Fraction):
        return before == 0
    for tried, fewest in enumerate((*DIGITS[1:], DIGITS[2])):
        digits = max(fewest, least + 150 * tried)
        value = at(digits)
        # Noise falls by as much as the precision grows; a number that is not zero stays where it is.
        if value == before == 0 or magnitude(value) < magnitude(before) - 3.3 * (digits - fewer) + 25:
            least = least or max(1, enough())
            if digits >= least:
                return True
        elif value != 0 and magnitude(value - before) < magnitude(value) - 10:
            return False
        before, fewer = value, digits
    return None


def _is_real(tree: Tree, point: Mapping[str, Fraction]) -> bool:
    value = Evaluation(point, DIGITS[0]).value(tree)
    return isinstance(value, Fraction) or nearly_real(value)


def value_of(name: str, number: int) -> Fraction:
    """The value of a variable at one of the points: in (0, 1), in (1, 6), and, from the fourth on, of either sign."""
    seed = int.from_bytes(hashlib.blake2b(f"{number} {name}".encode("utf-8", "replace"), digest_size=8).digest())
    inside = Fraction(seed % 99_991 + 1, 99_999)
    value = inside if number % 3 == 0 else 1 + 5 * inside
    return -value if number >= 4 and (seed >> 40) & 1 else value
