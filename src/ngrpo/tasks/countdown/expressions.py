"""Arithmetic expressions over whole numbers: read from infix or postfix, valued exactly, printed in both.

What a model wrote is hostile input: it is read by a tokeniser and two small loops with limits on length,
never by Python's own parser. An expression is an `int` or an `Operation`; the four operators are binary, a
sign in front of a number is not accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias, TypeGuard, get_args

from ngrpo.errors import DataError

Operator = Literal["+", "-", "*", "/"]
OPERATORS: tuple[Operator, ...] = get_args(Operator)

MAX_CHARACTERS = 1_000
"""Longest text that is read; a longer one is refused before anything looks at it."""
MAX_TOKENS = 128
"""Most numbers, operators and parentheses of one expression; it also bounds the depth of the tree."""
MAX_DIGITS = 9

_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
_TOKEN = re.compile(r"\s*(?:([0-9]+)|([-+*/()]))")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_SYNONYMS = {
    "×": "*",
    "·": "*",
    "⋅": "*",
    "∗": "*",
    "\\times": "*",
    "\\cdot": "*",
    "\\ast": "*",
    "÷": "/",
    "∕": "/",
    "\\div": "/",
    "−": "-",
    "–": "-",
    "\\left": "",
    "\\right": "",
    "\\displaystyle": "",
    "\\,": " ",
    "\\;": " ",
    "\\!": " ",
    "\\ ": " ",
    "\\(": " ",
    "\\)": " ",
    "\\[": " ",
    "\\]": " ",
    "~": " ",
}
_SYNONYM = re.compile("|".join(re.escape(key) for key in _SYNONYMS))


class ExpressionError(DataError):
    """A text is not an expression, or the expression has no value; the message says why in a few words."""


@dataclass(frozen=True, slots=True)
class Operation:
    """`left operator right`."""

    operator: Operator
    left: Expression
    right: Expression


Expression: TypeAlias = int | Operation


def combine(operator: Operator, left: Fraction, right: Fraction) -> Fraction:
    """Returns `left operator right`, exactly.

    Raises:
        ExpressionError: for a division by zero.
    """
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    if right == 0:
        raise ExpressionError("division by zero")
    return left / right


def value_of(expression: Expression) -> Fraction:
    """Returns the exact value.

    Raises:
        ExpressionError: for a division by zero anywhere inside.

    >>> value_of(parse_infix("8 / (3 - 8 / 3)"))
    Fraction(24, 1)
    """
    if isinstance(expression, int):
        return Fraction(expression)
    return combine(expression.operator, value_of(expression.left), value_of(expression.right))


def numbers_in(expression: Expression) -> list[int]:
    """Returns the numbers from left to right, repeated ones as often as they stand there.

    >>> numbers_in(parse_infix("7 * (2 + 7)"))
    [7, 2, 7]
    """
    if isinstance(expression, int):
        return [expression]
    return numbers_in(expression.left) + numbers_in(expression.right)


def to_postfix(expression: Expression) -> str:
    """Returns the expression with every operator after its two operands, separated by single spaces.

    >>> to_postfix(parse_infix("2 * (9 + 12)"))
    '2 9 12 + *'
    """
    if isinstance(expression, int):
        return str(expression)
    return f"{to_postfix(expression.left)} {to_postfix(expression.right)} {expression.operator}"


def to_infix(expression: Expression) -> str:
    """Returns the expression as people write it, with no parentheses that its value does not need.

    A right operand of the same precedence keeps them after `-` and `/` only: `1 + (2 - 3)` is `1 + 2 - 3`.

    >>> to_infix(parse_postfix("2 9 * 12 + 7 +"))
    '2 * 9 + 12 + 7'
    >>> to_infix(parse_postfix("12 9 7 - 2 / -"))
    '12 - (9 - 7) / 2'
    """
    if isinstance(expression, int):
        return str(expression)
    own = _PRECEDENCE[expression.operator]
    left, right = to_infix(expression.left), to_infix(expression.right)
    if _precedence(expression.left) < own:
        left = f"({left})"
    weakest = own + 1 if expression.operator in "-/" else own
    if _precedence(expression.right) < weakest:
        right = f"({right})"
    return f"{left} {expression.operator} {right}"


def parse_postfix(text: str) -> Expression:
    """Returns the expression of a postfix text such as `2 9 * 12 + 7 +`.

    Raises:
        ExpressionError: when the text is anything else, or longer than the limits of this module.
    """
    stack: list[Expression] = []
    for part in _tokens(text):
        if isinstance(part, int):
            stack.append(part)
        elif _is_operator(part):
            _reduce(stack, part)
        else:
            raise ExpressionError(f"parenthesis '{part}' in a postfix expression")
    if len(stack) != 1:
        raise ExpressionError(f"{len(stack)} numbers are left without an operator" if stack else "nothing to read")
    return stack[0]


def parse_infix(text: str) -> Expression:
    r"""Returns the expression of an infix text; LaTeX and the usual signs for operators are understood.

    `×`, `÷`, `\times`, `\cdot`, `\div`, `\frac{a}{b}`, `\left(` and thin spaces are read; a sign in front of
    a number, powers, `//`, decimals, letters and products without an operator are refused.

    Raises:
        ExpressionError: when the text is anything else, or longer than the limits of this module.

    >>> to_infix(parse_infix(r"\frac{12 - 2}{5} \times (7)"))
    '(12 - 2) / 5 * 7'
    """
    output: list[Expression] = []
    pending: list[str] = []
    operand_next = True
    for part in _tokens(plain_operators(text)):
        if operand_next != (isinstance(part, int) or part == "("):
            wanted = "a number" if operand_next else "an operator"
            raise ExpressionError(f"'{part}' where {wanted} should be")
        if isinstance(part, int):
            output.append(part)
            operand_next = False
        elif part == "(":
            pending.append(part)
        elif part == ")":
            _close(output, pending)
        elif _is_operator(part):
            while pending and pending[-1] != "(" and _PRECEDENCE[pending[-1]] >= _PRECEDENCE[part]:
                _reduce(output, pending.pop())
            pending.append(part)
            operand_next = True
    if operand_next:
        raise ExpressionError("the expression ends early" if output else "nothing to read")
    while pending:
        _reduce(output, pending.pop())
    return output[0]


def plain_operators(text: str) -> str:
    r"""Returns the text with `×`, `\times`, `\frac{a}{b}` and the like written with `+ - * / ( )`.

    >>> plain_operators(r"\frac{8}{3 − 1} × 2")
    '((8)/(3 - 1)) * 2'
    """
    _refuse_long(text)
    text = _SYNONYM.sub(lambda match: _SYNONYMS[match.group()], text)
    replaced = 1
    while replaced and len(text) <= MAX_CHARACTERS:
        text, replaced = _FRACTION.subn(r"((\1)/(\2))", text)
    return text


def _precedence(expression: Expression) -> int:
    return 3 if isinstance(expression, int) else _PRECEDENCE[expression.operator]


def _is_operator(part: str) -> TypeGuard[Operator]:
    return part in OPERATORS


def _tokens(text: str) -> Iterator[int | str]:
    _refuse_long(text)
    text = text.rstrip()
    position = count = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ExpressionError(f"{text[position:].lstrip()[:1]!r} is not part of an expression")
        position, count = match.end(), count + 1
        if count > MAX_TOKENS:
            raise ExpressionError(f"more than {MAX_TOKENS} numbers and operators")
        digits, symbol = match.groups()
        if digits is not None and len(digits) > MAX_DIGITS:
            raise ExpressionError(f"a number of more than {MAX_DIGITS} digits")
        yield symbol if digits is None else int(digits)


def _refuse_long(text: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError(f"longer than {MAX_CHARACTERS} characters")


def _close(output: list[Expression], pending: list[str]) -> None:
    while pending and pending[-1] != "(":
        _reduce(output, pending.pop())
    if not pending:
        raise ExpressionError("')' without '('")
    pending.pop()


def _reduce(stack: list[Expression], operator: str) -> None:
    if not _is_operator(operator):
        raise ExpressionError("'(' without ')'")
    if len(stack) < 2:
        raise ExpressionError(f"operator '{operator}' without two numbers before it")
    right = stack.pop()
    stack[-1] = Operation(operator, stack[-1], right)
