from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngrpo.grading.strict.normalize import normalize_answer
from ngrpo.grading.strict.numbers import plain_number


def value_of(text: str) -> Fraction | None:
    number = plain_number(text)
    return None if number is None else number.value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("$5$", "5"),
        (r"\(5\)", "5"),
        ("$$ 5 $$", "5"),
        ("5.", "5"),
        (r"\dfrac{1}{2}", r"\frac{1}{2}"),
        (r"\tfrac12", r"\frac{1}{2}"),
        (r"\frac 12", r"\frac{1}{2}"),
        (r"\left( 1,\, 2 \right)", "(1,2)"),
        (r"32,\!348", "32348"),
        ("10{,}000", "10000"),
        (r"x^2 + 1", "x^2+1"),
        (r"\displaystyle x", "x"),
        ("−3", "-3"),
        ("\n 5 \t", "5"),
    ],
)
def test_typesetting_does_not_matter(one: str, other: str) -> None:
    assert normalize_answer(one) == normalize_answer(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("3 1/2", "31/2"),
        (r"\pi r", r"\pir"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 2 \end{pmatrix}"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix}1\2\end{pmatrix}"),
        (r"\leftarrow", "arrow"),
        ("(1,2)", "(1,2]"),
        ("A", "a"),
    ],
)
def test_what_has_a_meaning_stays(one: str, other: str) -> None:
    assert normalize_answer(one) != normalize_answer(other)


@given(st.text(st.characters(codec="utf-8"), max_size=40) | st.text(r"\frac{}12 $.!,()[]", max_size=20))
def test_normalising_ends_and_never_fails(text: str) -> None:
    assert isinstance(normalize_answer(text), str)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", Fraction(42)),
        ("-7", Fraction(-7)),
        ("+7", Fraction(7)),
        ("007", Fraction(7)),
        ("2.50", Fraction(5, 2)),
        (".5", Fraction(1, 2)),
        ("5.", Fraction(5)),
        ("3/6", Fraction(1, 2)),
        (r"-\frac{3}{6}", Fraction(-1, 2)),
        (r"\frac{-3}{6}", Fraction(-1, 2)),
        (r"336^\circ", Fraction(336)),
        (r"336^{\circ}", Fraction(336)),
        ("336°", Fraction(336)),
        ("0.1234567890123456789", Fraction("0.1234567890123456789")),
    ],
)
def test_plain_numbers_have_their_exact_value(text: str, value: Fraction) -> None:
    assert value_of(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1,2",
        "1,23",
        "12,3456",
        "(1,234)",
        "1/0",
        "1//2",
        "--1",
        "1.2.3",
        "５",
        "1 2",
        "3 4/3",
        "inf",
        "nan",
    ],
)
def test_what_is_no_plain_number_has_no_value(text: str) -> None:
    assert value_of(text) is None


@given(st.fractions())
def test_a_fraction_comes_back_from_either_notation(value: Fraction) -> None:
    assert value_of(f"{value.numerator}/{value.denominator}") == value
    assert value_of(rf"\frac{{{value.numerator}}}{{{value.denominator}}}") == value
