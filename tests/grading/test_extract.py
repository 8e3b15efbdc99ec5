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
    assert text == "the answer is 5" or extract_answer(text) is None


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
    ("text", "answer"),
    [
        ("The answer is 5.", "5"),
        ("the answer is $x+1$, which was to be shown", "x+1"),
        ("**Final Answer:** 12", "12"),
        ("Final answer: \\(\\frac{1}{2}\\)", r"\frac{1}{2}"),
        ("#### 1,234", "1,234"),
        ("The answer is 3. No: the answer is 4", "4"),
        (r"The answer is 3, so \boxed{4}. The answer is 5.", "4"),
        ("Thus the final answer is 2.5 metres. Done.", "2.5 metres"),
        ("İİİ the answer is 7", "7"),
        ("The answer is", None),
        ("The answer is $5", r"\$5"),
        ("The answer is $x + 5", None),
        ("I think that it is 5", None),
    ],
)
def test_without_a_box_the_last_marker_counts(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    "flood",
    [
        *(
            "####",
            "#",
            "answer ",
            "answer is correct. ",
            "the answer is 5? ",
            "answer: (",
            "answer: $5$ or ",
            "</answer>",
        ),
        *(
            "<answer>",
            "<answer>a",
            "答案",
            "答：？",
            "故选",
            "####, ",
            "answer:" + "*" * 99,
            "answer: " + "." * 400,
            "answer 'a",
        ),
        *("the answer is wait, ", "the answer is " + "(" * 100 + "a, ", "if the answer is 7 ", "Final Answer\n"),
        *(r"\boxed{", r"\boxed{1}", r"\boxed ", r"\boxed (", r"\boxed{}", "\\boxed" + " " * 1000, "$", r"\[", "7"),
        *("{", "\\", "}", "x ", "The answer is ", "é", r"\boxed{" + "{" * 4000, r"\boxed{a" + "{}" * 4000, r"\fbox{"),
    ],
)
@pytest.mark.parametrize("start", ["", r"\boxed{3} \boxed{"])
def test_a_megabyte_of_anything_takes_a_tenth_of_a_second(flood: str, start: str) -> None:
    text = start + flood * (MEGABYTE // len(flood))
    seconds = []
    for _ in range(3):
        started = time.process_time()
        extract_answer(text)
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.1


def test_deep_nesting_needs_no_recursion() -> None:
    depth = 2000
    assert last_boxed(r"\boxed{" + "{" * depth + "5" + "}" * depth + "}") == "{" * depth + "5" + "}" * depth
    assert last_boxed(r"\boxed{" * depth + "5" + "}" * depth) == "5"


def test_a_box_that_is_far_too_long_is_passed_over() -> None:
    assert last_boxed(r"\boxed{3} \boxed{" + "9" * 60_000 + "}") == "3"
