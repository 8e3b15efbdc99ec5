from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngrpo.errors import ConfigError
from ngrpo.tasks import load_task
from ngrpo.tasks.arithmetic import Arithmetic
from ngrpo.tasks.arithmetic.arithmetic_task import first_number
from ngrpo.tasks.arithmetic.tiers import TIERS, TierName
from ngrpo.types import Grade, Problem

NAMES: tuple[TierName, ...] = get_args(TierName)
RANGES = st.tuples(st.integers(0, 30), st.integers(0, 20)).map(lambda pair: [pair[0], pair[0] + pair[1]])


def task(**table: Any) -> Arithmetic:
    made = load_task({"name": "arithmetic", **table})
    assert isinstance(made, Arithmetic)
    return made


TASK = task()


def grade(text: str, reference: str = "222") -> Grade:
    (only,) = TASK.grade_many([(Problem("p", "37*6=", reference), text)])
    return only


def questions(problems: Sequence[Problem]) -> list[str]:
    return [problem.question for problem in problems]


def value_of(question: str) -> int:
    """The value of `a+b=` or `a*b=`, read apart from the task's own code."""
    operator = "+" if "+" in question else "*"
    a, b = (int(part) for part in question.removesuffix("=").split(operator))
    return a + b if operator == "+" else a * b


# Problems


def test_the_problems_stay_what_they_are() -> None:
    """Published figures were measured on these: a change here makes them incomparable."""
    sums, products = task(tier="sums"), task(tier="products", first=[30, 99], second=[3, 9])
    assert questions(sums.problems("test")[:3]) == ["31+1=", "48+1=", "21+9="]
    assert questions(products.problems("test")[:3]) == ["41*5=", "90*6=", "61*9="]
    assert (len(sums.problems("train")), len(products.problems("train"))) == (249, 278)


@pytest.mark.parametrize("name", NAMES)
def test_the_prompt_shows_three_solved_examples_that_are_no_problems(name: TierName) -> None:
    made = task(tier=name)
    *lines, last = made.prompt.splitlines()
    assert (len(lines), last) == (3, "{question}")
    for example, line in zip(TIERS[name].examples, lines, strict=True):
        assert line.removeprefix(example.question).strip() == str(example.answer)
        for split in ("train", "test"):
            assert example.question not in questions(made.problems(split))  # type: ignore[arg-type]


def test_a_prompt_is_the_examples_and_the_question() -> None:
    made = task(tier="products")
    (turn,) = made.messages(Problem("p", "37*6=", "222"))
    assert turn.content == "12*4=48\n23*3=69\n51*5=255\n37*6="
    assert not made.chat


@given(tier=st.sampled_from(["sums", "products"]), first=RANGES, second=RANGES, seed=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_problems_are_in_range_solved_right_and_apart(tier: str, first: Any, second: Any, seed: int) -> None:
    made = task(tier=tier, first=first, second=second, seed=seed, test_size=1)
    asked: dict[str, list[str]] = {}
    for split in ("train", "test"):
        try:
            problems = made.problems(split)  # type: ignore[arg-type]
        except ConfigError as error:
            assert "widen" in str(error)  # noqa: PT017 - small ranges may have no problem of a split
            continue
        asked[split] = questions(problems)
        assert len(set(asked[split])) == len(problems)
        assert len({problem.id for problem in problems}) == len(problems)
        for problem in problems:
            assert value_of(problem.question) == int(problem.reference)
            a, b = (int(part) for part in problem.question.removesuffix("=").replace("*", "+").split("+"))
            assert first[0] <= a <= first[1]
            assert second[0] <= b <= second[1]
            assert made.grade_many([(problem, f"{problem.reference}\n1")])[0].reward == 1.0
    assert not set(asked.get("train", [])) & set(asked.get("test", []))


def test_no_seed_size_or_range_mixes_train_and_test() -> None:
    first, other = task(tier="products"), task(tier="products", first=[5, 60], second=[2, 20], seed=7, test_size=300)
    assert not {*questions(first.problems("train"))} & {*questions(other.problems("test"))}
    assert not {*questions(other.problems("train"))} & {*questions(first.problems("test"))}


def test_stories_have_answers_of_two_steps_and_none_below_zero() -> None:
    problems = [*task(tier="stories").problems("train"), *task(tier="stories").problems("test")]
    known = {problem.question: problem.reference for problem in problems}
    assert min(int(reference) for reference in known.values()) >= 0
    marbles = [question for question in known if question.startswith("Ann")]
    for question in marbles[:50]:
        bags, each, more = (int(word) for word in question.split() if word.isdigit())
        assert known[question] == str(bags * each + more)
    assert len(marbles) > 100


def test_sizes_and_seeds() -> None:
    small, other = task(train_size=10, test_size=20), task(train_size=10, test_size=20, seed=1)
    assert (len(small.problems("train")), len(small.problems("test"))) == (10, 20)
    assert questions(small.problems("train")) == questions(task().problems("train")[:10])
    assert questions(small.problems("train")) != questions(other.problems("train"))


# Grades


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("222\n41*7=287", "correct"),
        (" 222.", "correct"),
        ("is 222.0", "correct"),
        ("2220", "wrong"),
        ("22\n2", "wrong"),
        ("-222", "wrong"),
        ("222.5", "wrong"),
        ("41 or 222", "wrong"),
        ("", "no_answer"),
        ("none", "no_answer"),
        ("x" * 300 + "222", "no_answer"),
    ],
)
def test_the_first_number_is_graded(text: str, status: str) -> None:
    found = grade(text)
    assert (found.status, found.reward) == (status, float(status == "correct"))


@pytest.mark.parametrize(
    ("text", "number"), [("1,340 pens", "1340"), ("12, 13", "12"), ("1,34", "1"), ("12,3456", "12"), ("-7", "-7")]
)
def test_commas_belong_to_a_number_between_thousands_alone(text: str, number: str) -> None:
    assert first_number(text) == number


@given(st.text())
@settings(max_examples=200)
def test_any_text_gets_a_grade(text: str) -> None:
    assert grade(text).status in {"correct", "wrong", "no_answer"}


@given(st.integers(0, 10**6), st.sampled_from(["\n", " ", ".", "\n12", " + 1"]))
def test_a_number_alone_is_correct_for_itself(number: int, behind: str) -> None:
    assert grade(f"{number}{behind}", str(number)).status == "correct"
    assert grade(f"{number}{behind}", str(number + 1)).status == "wrong"


# Settings


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"tier": "roots"}, "'tier'"),
        ({"first": [9, 1]}, "'first': must be [smallest, largest]"),
        ({"second": [0, 1000]}, "'second': must be [smallest, largest]"),
        ({"first": [1, 2, 3]}, "'first'"),
        ({"first": 3}, "'first'"),
        ({"tier": "stories", "first": [0, 999], "second": [0, 999]}, "at most 1,000,000 are allowed"),
        ({"test_size": 0}, "'test_size'"),
        ({"digits": 2}, "unknown key 'digits'"),
    ],
)
def test_wrong_settings_are_one_line(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=r"^\S") as error:
        task(**table)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_too_few_problems_are_an_error() -> None:
    with pytest.raises(ConfigError, match="test problems of tier 'sums', 128 are needed; widen 'first' and 'second'"):
        task(tier="sums", first=[1, 3]).problems("test")


def test_the_resolved_table_has_the_tier_s_defaults_and_reads_back() -> None:
    made = task(tier="sums")
    table = made.model_dump(mode="json")
    assert (table["first"], table["second"]) == ([10, 59], [1, 9])
    assert table["prompt"].startswith("23+5=28\n")
    assert load_task(table) == made
