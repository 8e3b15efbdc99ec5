from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngrpo.grading import extract_answer, last_boxed

MEGABYTE = 1 << 20


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{5}", "5"),
        (r"first \boxed{4}, then \boxed{ 5 }.", "5"),
        (r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{1}{\sqrt{2}}"),
        (r"\fbox{7}", "7"),
        ("\\boxed{\n7\n}", "7"),
        (r"\boxed  {7}", "7"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{1\}}", r"1\}"),
        (r"\boxed{1\\}", r"1\\"),
        (r"}} { \boxed{1}", "1"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{\text{as \boxed{2} says}}", "2"),
    ],
)
def test_the_last_box_with_balanced_braces_is_the_answer(text: str, answer: str) -> None:
    assert last_boxed(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{3} or rather \boxed{4", "3"),
        (r"\boxed{3}, put within \boxed{}.", "3"),
        (r"\boxed{3} \boxed{  }", "3"),
    ],
)
def test_a_box_cut_off_or_empty_is_passed_over(text: str, answer: str) -> None:
    assert last_boxed(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"it is $\boxed 5$.", "5"),
        (r"it is \boxed 5.", "5"),
        (r"\boxed -3 it is", "-3"),
        (r"\boxed \frac{1}{2}$", r"\frac{1}{2}"),
        (r"$\boxed x$", "x"),
        (r"\boxed7", "7"),
    ],
)
def test_a_box_without_braces_holds_the_next_word(text: str, answer: str) -> None:
    assert last_boxed(text) == answer


@pytest.mark.parametrize(
    "text",
    ["", "the answer is 5", r"\boxed", r"\boxed{", r"\boxed{}", r"the \boxed notation", r"\boxedfoo{3}", "boxed{5}"],
)
def test_no_box_is_none(text: str) -> None:
    assert last_boxed(text) is None
    assert extract_answer(text) is None


def balanced() -> st.SearchStrategy[str]:
    plain = st.text(st.characters(exclude_characters="\\{}", codec="utf-8"), min_size=1, max_size=5)
    return st.recursive(
        plain, lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda x: "{" + "".join(x) + "}")
    )


@given(st.text(max_size=50), balanced(), st.text(st.characters(exclude_characters="\\{}"), max_size=50))
def test_what_was_boxed_last_comes_back_whatever_stands_around(before: str, content: str, after: str) -> None:
    before = before.rstrip("\\")
    if content.strip():
        assert last_boxed(f"{before}\\boxed{{{content}}}{after}") == content.strip()


@pytest.mark.parametrize(
    "flood",
    [
        r"\boxed{",
        r"\boxed{1}",
        r"\boxed ",
        r"\boxed (",
        r"\boxed{}",
        "\\boxed" + " " * 1000,
        "{",
        "\\",
        "}",
        "$",
        "x ",
    ],
)
def test_a_megabyte_of_anything_takes_linear_time(flood: str) -> None:
    text = r"\boxed{3} \boxed{" + flood * (MEGABYTE // len(flood))
    started = time.process_time()
    last_boxed(text)
    # 0.1 to 0.4 s; anything quadratic takes hours.
    assert time.process_time() - started < 4


def test_deep_nesting_needs_no_recursion() -> None:
    depth = 100_000
    assert last_boxed(r"\boxed{" + "{" * depth + "5" + "}" * depth + "}") == "{" * depth + "5" + "}" * depth
    assert last_boxed(r"\boxed{" * depth + "5" + "}" * depth) == "5"
