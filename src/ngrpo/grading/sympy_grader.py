r"""Comparisons that need sympy: math-verify's verdict, and `strict`'s on expressions that its own parser cannot read.

Nothing here bounds its time or memory, so only the worker process of `ngrpo.grading.worker` calls it.
"""

from __future__ import annotations

import importlib
import logging
import re
from fractions import Fraction
from functools import partial
from typing import Any

from ngrpo.grading.strict.equivalence import compared_with
from ngrpo.grading.strict.identity import is_zero, value_of

_DIGITS = re.compile(r"[0-9]+")
_DECIMAL = re.compile(r"[0-9]*\.[0-9]*")
_CATCHING = ("math_verify.grader", "math_verify.parser", "latex2sympy2_extended.latex2sympy2")
_POINTS = 4


def symbolically_equal(answer: str, reference: str, grader: str = "math-verify") -> bool | None:
    r"""Returns whether two answers are equal by a grader, or None where it cannot tell.

    Call `prepare_math_verify` once before. May run for ever and use any amount of memory.

    Raises:
        MemoryError: when the memory does not suffice.
    """
    if grader == "math-verify":
        from math_verify import verify

        return bool(verify(_parsed(reference), _parsed(answer), timeout_seconds=None))
    return compared_with(_by_sympy, answer, reference)


def prepare_math_verify() -> None:
    """Makes math-verify safe to call in this process, and warm.

    Changes sympy for the whole process: strings are no longer evaluated. sympy turns them into objects with
    Python's `eval`, and math-verify hands it at least every number that the model wrote.
    """
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    logging.getLogger("latex2sympy2_extended").setLevel(logging.CRITICAL)
    # sympy evaluates its own names of units when this module is first imported: before strings are refused.
    import sympy.physics.units  # noqa: F401
    from sympy.parsing import sympy_parser

    sympy_parser.parse_expr = _number_only
    # Nothing is left of the first parse's cost (the grammar's tables) for the first real pair to pay.
    symbolically_equal("x+1", "1+x")
    # math-verify takes every exception for "not equal". One for want of memory is none of the answer's: there, the
    # name that it catches stands for all of them but that one.
    ordinary = tuple(kind for kind in Exception.__subclasses__() if kind is not MemoryError)
    for name in _CATCHING:
        vars(importlib.import_module(name))["Exception"] = ordinary


def _parsed(answer: str) -> Any:
    from math_verify import parse
    from math_verify.parser import LatexExtractionConfig

    # Its own timeouts are alarms, which only a main thread may set and which wait for a bytecode's end: off.
    config = [LatexExtractionConfig(boxed_match_priority=0)]
    return parse(rf"\boxed{{{answer}}}", config, parsing_timeout=None)


def _by_sympy(answer: str, reference: str) -> bool | None:
    """Decides by the values of two expressions at several points, to as many digits as it takes."""
    import sympy

    one, other = (next(iter(_parsed(text)), None) for text in (answer, reference))
    if not isinstance(one, sympy.Expr) or not isinstance(other, sympy.Expr):
        return False
    difference = one - other
    if difference == 0:
        return True
    # The value of an unknown function, such as f(x), is one more variable.
    unknown = difference.atoms(sympy.core.function.AppliedUndef)
    difference = difference.subs({value: sympy.Symbol(str(value)) for value in unknown})
    names = sorted(difference.free_symbols, key=str)
    for number in range(_POINTS if names else 1):
        values = {name: _rational(value_of(str(name), 3 * number + 1)) for name in names}
        at = difference.subs(values)
        try:
            zero = is_zero(partial(_number, at))
        except (ArithmeticError, TypeError):  # no number comes out, or sympy cannot tell which
            return None
        if not zero:
            return zero
    return True


def _rational(value: Fraction) -> Any:
    import sympy

    return sympy.Rational(value.numerator, value.denominator)


def _number(expression: Any, digits: int) -> Any:
    value = expression.evalf(digits)
    parts = value.as_real_imag()
    if not all(part.is_Float or part.is_Rational for part in parts):
        raise ArithmeticError("no number")
    return parts[0]._to_mpmath(int(3.33 * digits)) + 1j * parts[1]._to_mpmath(int(3.33 * digits))


def _number_only(text: str, *_: object, **__: object) -> Any:
    """Stands in for sympy's `parse_expr`: a plain number becomes one, any other text an error."""
    import sympy

    if _DIGITS.fullmatch(text):
        return sympy.Integer(int(text))
    if _DECIMAL.fullmatch(text) and text != ".":
        return sympy.Float(text)
    raise sympy.SympifyError(f"text is not evaluated: {text[:40]!r}")
