from __future__ import annotations

import contextlib
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngrpo.tasks.countdown.expressions import (
    MAX_CHARACTERS,
    MAX_DIGITS,
    MAX_TOKENS,
    OPERATORS,
    Expression,
    ExpressionError,
    Operation,
    combine,
    numbers_in,
    parse_infix,
    parse_postfix,
    plain_operators,
    to_infix,
    to_postfix,
    value_of,
)

numbers = st.integers(min_value=0, max_value=10**MAX_DIGITS - 1)
expressions = st.recursive(
    numbers, lambda inner: st.builds(Operation, st.sampled_from(OPERATORS), inner, inner), max_leaves=12
)


def exact_value(expression: Expression) -> Fraction | None:
    try:
        return value_of(expression)
    except ExpressionError:
        return None


@given(expressions)
def test_postfix_is_read_back_as_the_same_tree(expression: Expression) -> None:
    assert parse_postfix(to_postfix(expression)) == expression


@given(expressions)
def test_infix_is_read_back_with_the_same_numbers_and_value(expression: Expression) -> None:
    again = parse_infix(to_infix(expression))
    assert numbers_in(again) == numbers_in(expression)
    assert exact_value(again) == exact_value(expression)


@given(expressions)
def test_infix_has_no_parentheses_that_could_be_left_out(expression: Expression) -> None:
    text = to_infix(expression)
    opens = [position for position, character in enumerate(text) if character == "("]
    for position in opens:
        depth, end = 0, position
        for end in range(position, len(text)):
            depth += (text[end] == "(") - (text[end] == ")")
            if depth == 0:
                break
        without = text[:position] + text[position + 1 : end] + text[end + 1 :]
        assert _generic_value(parse_infix(without)) != _generic_value(parse_infix(text))


def _generic_value(expression: Expression) -> Fraction:
    """The value with the numbers replaced by ones without coincidences, so that only equal formulas agree."""
    fresh = iter(_UNRELATED)

    def walk(node: Expression) -> Fraction:
        if isinstance(node, int):
            return Fraction(next(fresh))
        left = walk(node.left)
        return combine(node.operator, left, walk(node.right))

    return walk(expression)


_UNRELATED = [10007, 20011, 30011, 40009, 50021, 60013, 70001, 80021, 90001, 100003, 110017, 120011]


@given(expressions)
def test_spaces_do_not_matter_in_infix(expression: Expression) -> None:
    text = to_infix(expression)
    assert parse_infix(text.replace(" ", "")) == parse_infix(f"  {text.replace(' ', '   ')}\n")


@pytest.mark.parametrize(
    ("text", "infix"),
    [
        ("2 9 * 12 + 7 +", "2 * 9 + 12 + 7"),
        ("2 9 12 + *", "2 * (9 + 12)"),
        ("12 9 7 - -", "12 - (9 - 7)"),
        ("12 9 7 - +", "12 + 9 - 7"),
        ("12 9 7 / *", "12 * 9 / 7"),
        ("12 9 7 * /", "12 / (9 * 7)"),
        ("12 9 7 / /", "12 / (9 / 7)"),
        ("12 9 / 7 /", "12 / 9 / 7"),
        ("1 2 + 3 4 - *", "(1 + 2) * (3 - 4)"),
        ("5", "5"),
    ],
)
def test_minimal_parentheses(text: str, infix: str) -> None:
    assert to_infix(parse_postfix(text)) == infix


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("2 × 9", "2 * 9"),
        ("8 ÷ 2 − 1", "8 / 2 - 1"),
        (r"2 \times 9 \cdot 3", "2 * 9 * 3"),
        (r"8 \div 2", "8 / 2"),
        (r"\frac{8}{2}", "8 / 2"),
        (r"\dfrac{8 + 2}{\frac{6}{3}}", "(8 + 2) / (6 / 3)"),
        (r"\left(2 + 3\right) \times 4", "(2 + 3) * 4"),
        (r"\( (2 + 3)\,\cdot\,4 \)", "(2 + 3) * 4"),
        ("((((2))))+(3)", "2 + 3"),
        ("007", "7"),
    ],
)
def test_spellings_of_infix(text: str, plain: str) -> None:
    assert to_infix(parse_infix(text)) == plain


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "nothing to read"),
        ("   ", "nothing to read"),
        ("2 +", "ends early"),
        ("+ 2", "'+' where a number"),
        ("-2 + 3", "'-' where a number"),
        ("2 ** 3", "'*' where a number"),
        ("2 // 3", "'/' where a number"),
        ("1e5", "'e' is not part"),
        ("2.5 + 1", "'.' is not part"),
        ("1_000", "'_' is not part"),
        ("٣ + 4", "'٣' is not part"),
        ("２ + 4", "'２' is not part"),
        ("2 + ²", "'²' is not part"),
        ("2 (3)", "'(' where an operator"),
        ("(2)(3)", "'(' where an operator"),
        ("2 3", "'3' where an operator"),
        ("()", "')' where a number"),
        ("(2", "'(' without ')'"),
        ("2)", "')' without '('"),
        ("2 + 3 = 5", "'=' is not part"),
        ("__import__('os').system('true')", "'_' is not part"),
        ("2 if 1 else 3", "'i' is not part"),
        ("\x00", "is not part"),
        (r"\frac{1}", "is not part"),
        ("9" * (MAX_DIGITS + 1), "digits"),
        ("+".join("1" * MAX_TOKENS), "more than"),
        ("1" * (MAX_CHARACTERS + 1), "longer than"),
        ("(" * 100_000 + "1" + ")" * 100_000, "longer than"),
    ],
)
def test_what_infix_refuses(text: str, why: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_infix(text)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "nothing to read"),
        ("2 9", "2 numbers are left"),
        ("2 +", "operator '+' without two numbers"),
        ("+ 2 9", "operator '+' without two numbers"),
        ("2 9 + )", "parenthesis ')'"),
        ("2 9 × ", "is not part"),
        ("2 9 <eos> +", "'<' is not part"),
        ("1 " * MAX_CHARACTERS, "longer than"),
    ],
)
def test_what_postfix_refuses(text: str, why: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_postfix(text)
    assert why in str(caught.value)


@given(st.text(max_size=2_000) | st.text(alphabet="0123456789+-*/()= \\{}frac.", max_size=2_000))
def test_any_text_is_an_expression_or_an_expression_error(text: str) -> None:
    for parse in (parse_infix, parse_postfix):
        with contextlib.suppress(ExpressionError):
            assert isinstance(value_of(parse(text)), Fraction)


@given(expressions)
def test_division_by_zero_is_an_expression_error(expression: Expression) -> None:
    with pytest.raises(ExpressionError, match="division by zero"):
        value_of(Operation("/", expression, Operation("-", 7, 7)))


def test_the_deepest_expression_within_the_limits_is_handled() -> None:
    half = MAX_TOKENS // 2
    text = " ".join(["1"] * half + ["/"] * (half - 1))
    expression = parse_postfix(text)
    assert value_of(expression) == 1
    assert to_postfix(expression) == text
    with pytest.raises(ExpressionError, match="more than"):
        parse_infix(to_infix(expression))
    quarter = to_infix(parse_postfix(" ".join(["1"] * (half // 2) + ["/"] * (half // 2 - 1))))
    assert value_of(parse_infix(quarter)) == 1


def test_many_fractions_are_expanded_quickly() -> None:
    text = "1"
    while len(text) < MAX_CHARACTERS - 20:
        text = rf"\frac{{1}}{{{text}}}"
    started = time.process_time()
    with pytest.raises(ExpressionError):
        parse_infix(text)
    assert len(plain_operators(r"\frac" * (MAX_CHARACTERS // 5))) == MAX_CHARACTERS
    assert time.process_time() - started < 0.5
