"""Two plain numbers have the verdict of `settled`, to the reason, without a process."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngrpo.grading import GraderPool
from ngrpo.grading.quick import MOST_CHARACTERS, quick_number_grade
from ngrpo.grading.strict.equivalence import settled

DIGITS = st.text("0123456789", min_size=1, max_size=5)
FORMS = [
    "{a}", "-{a}", "+{a}", "{a}.{b}", "-{a}.{b}", ".{b}", "{a}.", "{a}/{b}", "-{a}/{b}", r"\frac{{{a}}}{{{b}}}",
    r"\frac{a}{b}", r"-\frac{{{a}}}{{{b}}}", "${a}.{b}$", "{{{a}}}", r"{a}\frac{{{b}}}{{9}}", "{a} {b}/31", "{a},{b}",
    "{a}.{b}00", "1,234.{b}", "$$ {a} $$", "{a} ", "--{a}", "{a}-{b}", "{a}+{b}", "{a}/{b}/{a}", "{a}.{b}.{a}",
]  # fmt: skip
SMALL = st.sampled_from(["0", "1", "2", "3", "5", "10", "50", "25", "333", "667", "000", "142857"])
NUMBERS = st.builds(lambda form, a, b: form.format(a=a, b=b), st.sampled_from(FORMS), SMALL | DIGITS, SMALL | DIGITS)
TOKENS = st.lists(st.sampled_from([*"0123456789.,/-+{}$ ", r"\frac"]), max_size=8).map("".join)


@settings(max_examples=1_500, deadline=None)
@given(NUMBERS | TOKENS, NUMBERS | TOKENS)
def test_the_verdict_is_that_of_the_rules(answer: str, reference: str) -> None:
    verdict = quick_number_grade(answer, reference)
    if verdict is not None:
        assert verdict == settled(answer, reference)


def test_decimals_and_fractions_start_no_process() -> None:
    pairs = [("0.5", r"\frac{1}{2}"), ("0.49", "1/2"), ("21.934", "21.93"), ("$1000$", "1000.0"), (r"\frac34", "0.75")]
    with GraderPool() as pool:
        grades = pool.grade_many([(rf"\boxed{{{answer}}}", reference) for answer, reference in pairs])
        assert pool._workers[0]._process is None
    assert [grade.status for grade in grades] == ["correct", "wrong", "correct", "correct", "correct"]


@pytest.mark.parametrize(
    "text", ["x", "1_2", r"\frac{1}{2}x", "5%", "1e5", "", "9" * (MOST_CHARACTERS + 1), "٣", "5\n"]
)
def test_other_texts_are_left_to_the_rules(text: str) -> None:
    assert quick_number_grade(text, "0.5") is quick_number_grade("0.5", text) is None
