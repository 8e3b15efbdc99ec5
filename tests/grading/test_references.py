"""The answer inside a reference text, and the functions that find it there."""

from __future__ import annotations

import pytest

from ngrpo.errors import ConfigError
from ngrpo.grading import GraderPool, answer_of_reference, compare_answers, grade

LONG = "We add the numbers and then divide them again. " * 12
FORMS = ["42", r"\boxed{42}", r"$\boxed{42}$", "#### 42", "6 * 7 = 42\n#### 42", LONG + r"Hence $\boxed{42}$."]
FORMS += [LONG + "The answer is 42.", "We multiply.\nThe answer is $42$.", "<answer>42</answer>", LONG + "\n答案：42"]


@pytest.mark.parametrize("text", FORMS)
def test_every_form_of_a_reference_is_the_same_answer(text: str) -> None:
    assert answer_of_reference(text) == "42"
    assert answer_of_reference("42") == "42"
    assert grade(r"\boxed{42}", text).status == "correct"
    assert grade(r"\boxed{41}", text).status == "wrong"
    assert compare_answers("42", text).status == "correct"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (" 42 ", "42"),
        ("Petya will receive the last token.", "Petya will receive the last token."),
        ("\\begin{pmatrix} 1 \\\\\n 2 \\end{pmatrix}", "\\begin{pmatrix} 1 \\\\\n 2 \\end{pmatrix}"),
        (r"\boxed{1} and \boxed{2}", "2"),
        ("#### 1,234", "1,234"),
        ("x^2 + " * 200 + "1", "x^2 + " * 200 + "1"),
        (r"\text{cm} + " * 15 + "1" * 400, r"\text{cm} + " * 15 + "1" * 400),
        (LONG, None),
    ],
)
def test_other_references(text: str, answer: str | None) -> None:
    assert answer_of_reference(text) == answer
    assert answer is None or answer_of_reference(answer) == answer


@pytest.mark.parametrize("grader", ["strict", "math-verify", "reference", "choice"])
def test_a_worked_solution_without_an_answer_leaves_its_completions_ungraded(grader: str) -> None:
    found = grade(r"\boxed{4}" if grader != "choice" else r"\boxed{B}", LONG, grader=grader)
    assert (found.status, found.reason) == ("ungraded", "the reference declares no answer")


def test_all_policies_of_answers_read_references_and_exact_does_not() -> None:
    for grader in ("strict", "math-verify", "reference"):
        assert grade(r"\boxed{18}", "9 + 9 = 18\n#### 18", grader=grader).status == "correct"
    assert grade(r"\boxed{B}", r"The choice is $\boxed{\text{(B)}}$.", grader="choice").status == "correct"
    assert grade("#### 18", "#### 18", grader="exact").status == "correct"


def test_comparing_answers_extracts_nothing_but_a_box() -> None:
    assert compare_answers(r"\boxed{0.5}", r"\frac12").status == "correct"
    assert compare_answers("0.5", r"\boxed{\frac12}").status == "correct"
    assert compare_answers("The answer is 5", "Petya").status == "wrong"
    assert compare_answers("", "5").status == "no_answer"
    assert compare_answers("(B)", "B", grader="choice").status == "correct"
    with pytest.raises(ConfigError, match="grades whole completions"):
        compare_answers("5", "5", grader="module:function")


def test_markers_of_a_user_reach_the_functions_and_the_pool() -> None:
    assert grade("My answer: 5", "5").status == "correct"
    assert grade("I choose 5", "5").status == "no_answer"
    assert grade("I choose 5", "5", markers=["i choose"]).status == "correct"
    with GraderPool(markers=["I choose"]) as pool:
        assert [found.status for found in pool.grade_many([("I CHOOSE $5$.", "5"), ("I choose 6", "5")])] == [
            "correct",
            "wrong",
        ]
