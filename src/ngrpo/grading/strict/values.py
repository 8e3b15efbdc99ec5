r"""The value of an expression at one point: a Fraction as long as all is rational, then a number of mpmath.

Every operation checks the size of its operands first: no expression takes long.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from ngrpo.grading.strict.expression import Tree, symbols_of

MAX_BITS = 60_000
"""Size of exact numbers, as numerators and denominators; beyond it arithmetic is in floating point."""
MAX_FACTORIAL = 15_000
"""Largest argument of a factorial or binomial."""
MAX_EXACT_FACTORIAL = 4_000
"""Largest integer whose factorial is computed exactly."""
MAX_MAGNITUDE = 200_000
"""Largest exponent of two of a floating-point number."""

_local = threading.local()


class UndefinedError(ArithmeticError):
    """The expression has no value at this point: division by zero, a pole."""


class TooLargeError(ArithmeticError):
    """The value or a step on the way to it is beyond the limits of this module."""


def _context(digits: int) -> Any:
    """An arithmetic of this thread: mpmath's own precision is a global of the process."""
    import mpmath  # type: ignore[import-untyped, unused-ignore]

    context = getattr(_local, "context", None)
    if context is None:
        context = _local.context = mpmath.MPContext()
    context.dps = digits
    return context


def magnitude(value: Any) -> float:
    """Returns the binary exponent of a size; far below every other for zero."""
    from mpmath import mp  # type: ignore[import-untyped, unused-ignore]

    return float(mp.mag(value)) if value != 0 else -1e9


def nearly_real(value: Any) -> bool:
    """Returns whether the imaginary part is rounding noise."""
    return bool(value.imag == 0) or magnitude(value.imag) < magnitude(value) - 66


class Evaluation:
    """Values of trees at one point: Fractions as long as everything is rational, then mpmath's numbers."""

    def __init__(self, point: Mapping[str, Fraction], digits: int) -> None:
        self._point = point
        self._context = _context(digits)
        self._digits = digits
        self.spread = 0.0
        """Largest difference of the binary exponents of two numbers that were added."""

    def value(self, tree: Tree) -> Any:
        """Returns the value of a tree.

        Raises:
            UndefinedError: where it has none.
            TooLargeError: beyond the limits.
        """
        result = getattr(self, "_" + tree[0])(*tree[1:])
        if isinstance(result, Fraction):
            if result.numerator.bit_length() + result.denominator.bit_length() > MAX_BITS:
                return self._float(result)
        elif not self._context.isfinite(result):
            raise UndefinedError
        elif result != 0 and self._context.mag(result) > MAX_MAGNITUDE:
            raise TooLargeError
        return result

    def _float(self, value: Any) -> Any:
        if not isinstance(value, Fraction):
            return value
        return self._context.mpf(value.numerator) / value.denominator

    def _number(self, value: Fraction) -> Fraction:
        return value

    def _symbol(self, name: str) -> Fraction:
        return self._point[name]

    def _constant(self, name: str) -> Any:
        if name == "infinity":
            raise UndefinedError
        return {"pi": +self._context.pi, "e": +self._context.e, "i": self._context.mpc(0, 1)}[name]

    def _add(self, one: Tree, other: Tree) -> Any:
        left, right = self.value(one), self.value(other)
        if isinstance(left, Fraction) and isinstance(right, Fraction):
            return left + right
        left, right = self._float(left), self._float(right)
        if left != 0 and right != 0:
            self.spread = max(self.spread, abs(magnitude(left) - magnitude(right)))
            if self.spread > MAX_BITS:
                raise TooLargeError
        return left + right

    def _negate(self, tree: Tree) -> Any:
        return -self.value(tree)

    def _multiply(self, one: Tree, other: Tree) -> Any:
        left, right = self.value(one), self.value(other)
        if isinstance(left, Fraction) and isinstance(right, Fraction):
            return left * right
        return self._float(left) * self._float(right)

    def _divide(self, one: Tree, other: Tree) -> Any:
        left, right = self.value(one), self.value(other)
        if right == 0:
            raise UndefinedError
        if isinstance(left, Fraction) and isinstance(right, Fraction):
            return left / right
        return self._float(left) / self._float(right)

    def _percent(self, tree: Tree) -> Any:
        return self.value(tree) / 100

    def _degrees(self, tree: Tree) -> Any:
        return self._float(self.value(tree)) * self._context.pi / 180

    def _absolute(self, tree: Tree) -> Any:
        return abs(self.value(tree))

    def _floor(self, tree: Tree) -> Any:
        return Fraction(int(self._context.floor(self._real(tree))))

    def _ceiling(self, tree: Tree) -> Any:
        return Fraction(int(self._context.ceil(self._real(tree))))

    def _real(self, tree: Tree) -> Any:
        value = self._float(self.value(tree))
        if not nearly_real(value):
            raise UndefinedError
        nearest = self._context.nint(value.real)
        # A value that is an integer but for rounding is taken for it.
        return nearest if magnitude(value.real - nearest) < -3 * self._digits + 8 else value.real

    def _power(self, base: Tree, exponent: Tree) -> Any:
        return self._raised(self.value(base), self.value(exponent))

    def _raised(self, base: Any, exponent: Any) -> Any:
        if base == 0:
            real = self._float(exponent).real
            if real < 0:
                raise UndefinedError
            return Fraction(1) if exponent == 0 else Fraction(0)
        if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            if base in (1, -1) or bits * abs(exponent) <= MAX_BITS:
                return base ** (exponent % 2 if base in (1, -1) else exponent)
        base, exponent = self._float(base), self._float(exponent)
        if abs(exponent) * (abs(self._context.mag(base)) + 1) > MAX_MAGNITUDE:
            raise TooLargeError
        return self._context.power(base, exponent)

    def _root(self, tree: Tree, degree: Tree) -> Any:
        radicand, order = self.value(tree), self.value(degree)
        if order == 0:
            raise UndefinedError
        if radicand == 0:
            return Fraction(0)
        # The real root of a negative number, where its degree is odd: what \sqrt[3]{-8} means at school.
        real = isinstance(radicand, Fraction) or nearly_real(radicand)
        if isinstance(order, Fraction) and order.denominator == 1 and order.numerator % 2 and real:
            radicand = self._float(radicand).real
            size = self._raised(abs(radicand), 1 / order)
            return size if radicand > 0 else -size
        return self._raised(radicand, 1 / order)

    def _log(self, argument: Tree, base: Tree) -> Any:
        below = self._function("ln", base)
        if below == 0:
            raise UndefinedError
        return self._function("ln", argument) / below

    def _factorial(self, tree: Tree) -> Any:
        value = self.value(tree)
        if isinstance(value, Fraction) and value.denominator == 1 and value < 0:
            raise UndefinedError
        if abs(self._float(value)) > MAX_FACTORIAL:
            raise TooLargeError
        if isinstance(value, Fraction) and value.denominator == 1 and value <= MAX_EXACT_FACTORIAL:
            return Fraction(math.factorial(int(value)))
        return self._context.gamma(self._float(value) + 1)

    def _double_factorial(self, tree: Tree) -> Any:
        value = self.value(tree)
        if not isinstance(value, Fraction) or value.denominator != 1 or value < 0:
            raise UndefinedError
        if value > MAX_EXACT_FACTORIAL:
            raise TooLargeError
        return Fraction(math.prod(range(int(value), 0, -2)))

    def _gcd(self, *trees: Tree) -> Any:
        return Fraction(math.gcd(*self._integers(trees)))

    def _lcm(self, *trees: Tree) -> Any:
        return Fraction(math.lcm(*self._integers(trees)))

    def _integers(self, trees: tuple[Tree, ...]) -> list[int]:
        values = [self.value(tree) for tree in trees]
        if not all(isinstance(value, Fraction) and value.denominator == 1 for value in values):
            raise UndefinedError
        return [int(value) for value in values]

    def _max(self, *trees: Tree) -> Any:
        return max(map(self._real_value, trees))

    def _min(self, *trees: Tree) -> Any:
        return min(map(self._real_value, trees))

    def _real_value(self, tree: Tree) -> Any:
        value = self._float(self.value(tree))
        if not nearly_real(value):
            raise UndefinedError
        return value.real

    def _binomial(self, above: Tree, below: Tree) -> Any:
        upper, lower = self.value(above), self.value(below)
        if max(abs(self._float(upper)), abs(self._float(lower))) > MAX_FACTORIAL:
            raise TooLargeError
        if all(isinstance(part, Fraction) and part.denominator == 1 and part >= 0 for part in (upper, lower)):
            return Fraction(math.comb(int(upper), int(lower)))
        return self._context.binomial(self._float(upper), self._float(lower))

    def _function(self, name: str, tree: Tree) -> Any:
        argument = self._float(self.value(tree))
        if name in ("ln", "log", "lg"):
            if argument == 0:
                raise UndefinedError
            return self._context.ln(argument) if name == "ln" else self._context.ln(argument) / self._context.ln(10)
        if argument != 0 and self._context.mag(argument) > (17 if name in _EXPONENTIAL else 500):
            raise TooLargeError
        if name == "exp":
            return self._context.exp(argument)
        if name == "cis":
            return self._context.expj(argument)
        try:
            return getattr(self._context, _MPMATH.get(name, name))(argument)
        except (ZeroDivisionError, ValueError):
            raise UndefinedError from None


_EXPONENTIAL = frozenset(("exp", "sinh", "cosh", "tanh"))
_MPMATH = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot"}


def real_value(tree: Tree, digits: int = 60) -> Any:
    """Returns the value of a real expression without variables, a Fraction or an mpmath number; None if it has none.

    >>> from ngrpo.grading.strict.expression import parse
    >>> real_value(parse("1/3+1/6"))
    Fraction(1, 2)
    """
    if symbols_of(tree):
        return None
    try:
        value = Evaluation({}, digits).value(tree)
    except ArithmeticError:
        return None
    if isinstance(value, Fraction):
        return value
    return value.real if nearly_real(value) else None
