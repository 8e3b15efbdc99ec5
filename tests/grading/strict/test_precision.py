"""Numbers that agree in hundreds of digits and are not equal."""

from __future__ import annotations

import pytest

from ngrpo.grading.strict.equivalence import settled
from ngrpo.grading.strict.expression import parse
from ngrpo.grading.strict.precision import MOST_DIGITS, digits_between


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        (r"\tanh(500)", "1"),
        (r"\tanh(2000)", "1"),
        (r"\sqrt{10^{200}+1}", "10^{100}"),
        (r"\sqrt{2^{2024}+1}", "2^{1012}"),
        (r"\sqrt[1000]{2^{1000}+1}", "2"),
        (r"2^{\frac{1}{2^{1000}}}", "1"),
        (r"e^{10^{-900}}", "1"),
        (r"\cos(10^{-800})", "1"),
        (r"\sqrt{x^2+10^{-500}}", "x"),
        (r"(1+10^{-300})^{10^5}", "1"),
    ],
)
def test_a_near_miss_of_any_size_is_wrong(answer: str, reference: str) -> None:
    for pair in ((answer, reference), (reference, answer)):
        verdict = settled(*pair)
        assert verdict is not None
        assert verdict.status == "wrong", pair


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        (r"\binom{5000}{2500}", r"\frac{5000!}{2500!^2}"),
        (r"\frac{2026!}{1013!\,1013!}", r"\binom{2026}{1013}"),
        ("((x+1)^{100}+1)^{50}", "((1+x)^{100}+1)^{50}"),
        (r"\sqrt{10^{200}+2\cdot10^{100}+1}", "10^{100}+1"),
        ("+".join(rf"\sqrt{{{n}}}" for n in range(2, 60)), "+".join(rf"\sqrt{{{n}}}" for n in range(59, 1, -1))),
    ],
)
def test_what_is_equal_stays_equal(answer: str, reference: str) -> None:
    verdict = settled(answer, reference)
    assert verdict is not None
    assert verdict.status == "correct"


def test_the_digits_grow_with_the_sizes_up_to_a_limit() -> None:
    one = parse("1")
    digits = [digits_between(tree, one) for text in ("2", r"\sqrt{10^{200}+1}", r"\tanh(500)", "9^{9^9}")
              if (tree := parse(text)) and one]  # fmt: skip
    assert digits[0] < 60
    assert digits[1] > 200
    assert digits[2] > 434
    assert digits[3] == MOST_DIGITS
