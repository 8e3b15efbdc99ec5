from __future__ import annotations

import itertools
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngrpo.errors import ConfigError, DataError
from ngrpo.tasks import load_task
from ngrpo.tasks.countdown import Countdown
from ngrpo.tasks.countdown.answers import find_infix, find_postfix
from ngrpo.tasks.countdown.countdown_task import MAX_ANSWER_CHARACTERS
from ngrpo.tasks.countdown.expressions import (
    OPERATORS,
    Expression,
    ExpressionError,
    Operation,
    numbers_in,
    parse_infix,
    to_infix,
    to_postfix,
    value_of,
)
from ngrpo.tasks.countdown.puzzles import needs_product, problem_rng, random_expression
from ngrpo.types import Grade, Problem

POSTFIX, INFIX = Countdown(), Countdown(notation="infix")
PROBLEM = Problem("p", "2 7 9 12 = 37", "", metadata={"numbers": [2, 7, 9, 12], "target": 37})
TWINS = Problem("t", "2 7 7 12 = 28", "", metadata={"numbers": [2, 7, 7, 12], "target": 28})
SMALL_SETTINGS = st.fixed_dictionaries(
    {
        "numbers": st.integers(3, 6),
        "max_number": st.integers(5, 60),
        "max_target": st.integers(20, 60),
        "tier": st.sampled_from(["all", "hard"]),
        "notation": st.sampled_from(["postfix", "infix"]),
        "seed": st.integers(0, 5),
    }
)


def grade(text: str, problem: Problem = PROBLEM, task: Countdown = POSTFIX) -> Grade:
    (only,) = task.grade_many([(problem, text)])
    return only


def keys(problems: Sequence[Problem]) -> set[tuple[Any, ...]]:
    return {(*problem.metadata["numbers"], problem.metadata["target"]) for problem in problems}


# Problems


def test_the_first_problems_stay_what_they_are() -> None:
    """Published figures were measured on these: a change here makes them incomparable."""
    assert [problem.question for problem in POSTFIX.problems("test")[:3]] == [
        "9 9 10 12 = 9",
        "1 9 11 11 = 14",
        "6 8 10 13 = 17",
    ]
    last = POSTFIX.problems("train")[-1]
    assert (last.id, last.question, last.reference) == (
        "countdown-train-19999",
        "6 7 11 12 = 19",
        "7 * 6 - (11 + 12)",
    )


@given(SMALL_SETTINGS, st.sampled_from(["train", "test"]))
@settings(max_examples=40, deadline=None)
def test_every_problem_is_within_the_settings_and_its_reference_is_correct(table: Any, split: Any) -> None:
    task = load_task({"name": "countdown", "test_size": 5, **table})
    assert isinstance(task, Countdown)
    for problem in task.problems(split)[:5]:
        numbers, target = problem.metadata["numbers"], problem.metadata["target"]
        assert len(numbers) == task.numbers
        assert numbers == sorted(numbers)
        assert min(numbers) >= 1
        assert max(numbers) <= task.max_number
        assert 0 <= target <= task.max_target
        answer = problem.reference if task.notation == "infix" else to_postfix(parse_infix(problem.reference))
        assert grade(f"\\boxed{{{answer}}}" if task.notation == "infix" else answer, problem, task).reward == 1.0
        if task.tier == "hard":
            assert "*" in problem.reference or "/" in problem.reference


def test_ids_are_unique_and_the_test_problems_distinct() -> None:
    problems = POSTFIX.problems("test")
    assert len(problems) == 1_024
    assert len({problem.id for problem in problems}) == 1_024
    assert len(keys(problems)) == 1_024
    assert problems[17].id == "countdown-test-17"


@pytest.mark.parametrize(
    "other", [{}, {"seed": 1}, {"seed": 2, "test_size": 300}, {"tier": "hard"}, {"notation": "infix"}]
)
def test_train_and_test_share_no_problem_whatever_seed_and_size(other: dict[str, Any]) -> None:
    task = Countdown(**other)
    assert not keys(task.problems("train")[:2_000]) & keys(POSTFIX.problems("test"))
    assert not keys(POSTFIX.problems("train")[:2_000]) & keys(task.problems("test")[:300])


def test_a_problem_depends_on_seed_and_index_alone() -> None:
    large, small = Countdown(train_size=10_000_000, test_size=200), Countdown(train_size=30, test_size=100)
    assert large.problems("train")[29] == small.problems("train")[29]
    assert list(large.problems("test")[:100]) == list(small.problems("test"))
    assert Countdown(seed=1).problems("train")[0] != Countdown(seed=2).problems("train")[0]


def test_problems_are_the_same_in_another_process() -> None:
    code = "from ngrpo.tasks.countdown import Countdown; print(Countdown(seed=3).problems('train')[123])"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("0", "1")
    }
    assert outputs == {str(Countdown(seed=3).problems("train")[123])}


def test_the_train_split_is_a_lazy_sequence() -> None:
    started = time.process_time()
    problems = Countdown(train_size=100_000_000).problems("train")
    assert len(problems) == 100_000_000
    assert problems[-1].id == "countdown-train-99999999"
    assert time.process_time() - started < 0.5
    assert problems[-100_000_000] == problems[0]
    assert [problem.id for problem in problems[2:6:2]] == ["countdown-train-2", "countdown-train-4"]
    assert [problem.id for problem in itertools.islice(problems, 2)] == [
        "countdown-train-0",
        "countdown-train-1",
    ]
    for index in (100_000_000, -100_000_001):
        with pytest.raises(IndexError):
            problems[index]


def test_impossible_settings_are_one_line_before_anything_else_happens() -> None:
    with pytest.raises(ConfigError, match="20000 tries gave no test problem for 3 numbers up to 1"):
        Countdown(numbers=3, max_number=1).problems("test")
    with pytest.raises(ConfigError, match=r"different test problems for .*'test_size' is 1024"):
        Countdown(numbers=3, max_number=3, max_target=9).problems("test")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"numbers": 2}, "'numbers': input should be greater than or equal to 3, got 2"),
        ({"numbers": 7}, "'numbers': input should be less than or equal to 6, got 7"),
        ({"notation": "prefix"}, "'notation': input should be 'postfix' or 'infix', got 'prefix'"),
        ({"tier": 1}, "'tier': input should be 'all' or 'hard', got 1"),
        ({"max_target": "60"}, "'max_target': input should be a valid integer, got '60'"),
        ({"seed": -1}, "'seed': input should be greater than or equal to 0, got -1"),
        ({"number": 4}, "unknown key 'number'; did you mean 'numbers'?"),
        ({"name": "countdown:file"}, "'name': input should be 'countdown', got 'countdown:file'"),
    ],
)
def test_wrong_settings_are_one_line(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_task({"name": "countdown", **table})
    assert str(caught.value) == message


@given(st.lists(st.integers(1, 13), min_size=3, max_size=4), st.integers(0, 60))
@settings(max_examples=30, deadline=None)
def test_needs_product_agrees_with_trying_all_sums(numbers: list[int], target: int) -> None:
    signs = itertools.product((1, -1), repeat=len(numbers) - 1)
    orders = list(itertools.permutations(numbers))
    reached = {
        order[0] + sum(s * n for s, n in zip(sign, order[1:], strict=True)) for sign in signs for order in orders
    }
    assert needs_product(numbers, target) == (target not in reached)


def test_random_expressions_use_every_number_once_and_know_their_value() -> None:
    rng = random.Random(1)
    without_value = 0
    for _ in range(300):
        expression, value = random_expression(rng, [3, 3, 5, 8])
        assert sorted(numbers_in(expression)) == [3, 3, 5, 8]
        if value is None:
            without_value += 1
            with pytest.raises(ExpressionError, match="division by zero"):
                value_of(expression)
        else:
            assert value_of(expression) == value
    assert 0 < without_value < 30


def test_streams_of_problems_differ() -> None:
    first = {problem_rng(s, split, i).random() for s in range(3) for split in ("train", "test") for i in range(3)}  # type: ignore[arg-type]
    assert len(first) == 18


# Prompts


def test_prompt_of_the_shipped_model() -> None:
    (message,) = POSTFIX.messages(PROBLEM)
    assert (message.role, message.content) == ("user", "2 7 9 12 = 37 :")


def test_prompt_for_hub_models_is_in_the_settings_and_can_be_changed() -> None:
    task = load_task({"name": "countdown", "notation": "infix"})
    (message,) = task.messages(task.problems("test")[0])
    assert "Numbers: 9, 9, 10, 12. Target: 9." in message.content
    assert r"\boxed{}" in message.content
    assert r"\boxed{}" in task.model_dump()["prompt"]
    own = load_task({"name": "countdown", "notation": "infix", "prompt": "Q {question}"})
    assert own.messages(PROBLEM)[0].content == "Q 2 7 9 12 = 37"
    assert load_task(task.model_dump()) == task


# Grading


@given(st.permutations(PROBLEM.metadata["numbers"]), st.lists(st.sampled_from(OPERATORS), min_size=3, max_size=3))
def test_postfix_grade_agrees_with_exact_arithmetic(order: list[int], operators: list[Any]) -> None:
    expression: Expression = order[0]
    for operator, number in zip(operators, order[1:], strict=True):
        expression = Operation(operator, expression, number)
    correct = value_of(expression) == 37
    assert grade(to_postfix(expression)).status == ("correct" if correct else "wrong")
    assert grade(f"\\boxed{{{to_infix(expression)}}}", task=INFIX).status == ("correct" if correct else "wrong")


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        ("2 9 * 12 + 7 +", "correct", "value 37"),
        ("  2 9 *\n12 + 7 +  ", "correct", "value 37"),
        ("7 2 9 * 12 + +", "correct", "value 37"),
        ("2 9 * 12 + 7 -", "wrong", "value 23 != 37"),
        ("2 9 / 12 + 7 +", "wrong", "value 173/9 != 37"),
        ("2 9 * 12 +", "wrong", "does not use 7"),
        ("2 9 * 12 + 7 + 7 +", "wrong", "uses 7 twice"),
        ("2 9 * 7 + 7 + 7 +", "wrong", "uses 7 3 times"),
        ("2 9 * 13 + 7 +", "wrong", "uses 13, which is not given"),
        ("37", "wrong", "uses 37, which is not given"),
        ("2 9 * 12 + 7", "wrong", "2 numbers are left without an operator"),
        ("2 9 * 12 + 7 + +", "wrong", "operator '+' without two numbers before it"),
        ("2 * 9 + 12 + 7", "wrong", "operator '*' without two numbers before it"),
        ("9 2 7 12 - - /", "wrong", "value 9/7 != 37"),
        ("", "no_answer", "no expression found"),
        (" \n", "no_answer", "no expression found"),
        (": = +", "no_answer", "no expression found"),
    ],
)
def test_postfix_grades(text: str, status: str, reason: str) -> None:
    found = grade(text)
    assert (found.status, found.reason, found.reward) == (status, reason, 1.0 if status == "correct" else 0.0)
    assert found.answer == (None if status == "no_answer" else text.strip())


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        (r"So \boxed{2 * 9 + 12 + 7}.", "correct", "value 37"),
        (r"\boxed{2 \times 9 + 12 + 7 = 37}", "correct", "value 37"),
        (r"\boxed{2 * 9 + 12 + 7 = 38}", "wrong", "'=' is not part of an expression"),
        (r"\boxed{$2 \cdot 9 + 12 + 7$}", "correct", "value 37"),
        (r"\boxed{\left(2 × 9\right) + 12 + 7}", "correct", "value 37"),
        (r"\boxed{1} no, \boxed{(2 * 9) + (12 + 7)}", "correct", "value 37"),
        (r"\boxed{2 * 9 + 12 + 7} no, \boxed{37}", "wrong", "uses 37, which is not given"),
        ("<answer> 2 * 9 + 12 + 7 </answer>", "correct", "value 37"),
        ("<answer>7</answer> or <answer>2*9+12+7 = 37</answer>", "correct", "value 37"),
        ("Try 2 + 9 first.\nAnswer: 2 * 9 + 12 + 7 = 37.\nThat is it.", "correct", "value 37"),
        ("2*9+12+7", "correct", "value 37"),
        ("`2*9+12+7`", "correct", "value 37"),
        (r"$\frac{9}{7} + 2 - 12$", "wrong", "value -61/7 != 37"),
        (r"\boxed{2 * 9 + 12 - 7}", "wrong", "value 23 != 37"),
        (r"\boxed{12 / (9 - 2 - 7)}", "wrong", "division by zero"),
        (r"\boxed{2 ** 9 + 12 + 7}", "wrong", "'*' where a number should be"),
        (r"\boxed{-2 + 9}", "wrong", "'-' where a number should be"),
        (r"\boxed{no idea}", "wrong", "'n' is not part of an expression"),
        (r"\boxed{}", "no_answer", "no expression found"),
        (r"\boxed{2 * 9 + 12", "no_answer", "no expression found"),
        ("<answer>2 * 9 + 12 + 7", "no_answer", "no expression found"),
        ("I cannot find a well-known answer with 2, 7, 9.", "no_answer", "no expression found"),
        ("__import__('os').system('true')", "no_answer", "no expression found"),
        ("", "no_answer", "no expression found"),
    ],
)
def test_infix_grades(text: str, status: str, reason: str) -> None:
    found = grade(text, task=INFIX)
    assert (found.status, found.reason) == (status, reason)


def test_repeated_numbers_are_counted() -> None:
    assert grade("2 7 * 7 + 12 +", TWINS).reason == "value 33 != 28"
    assert grade("2 7 7 + + 12 +", TWINS).status == "correct"
    assert grade("2 7 * 12 +", TWINS).reason == "does not use 7 often enough"
    assert grade("7 7 + 7 + 2 + 12 +", TWINS).reason == "uses 7 3 times"


def test_division_is_exact() -> None:
    problem = Problem("d", "", "", metadata={"numbers": [3, 3, 8, 8], "target": 24})
    assert value_of(parse_infix("8 / (3 - 8 / 3)")) == Fraction(24)
    assert grade("8 3 8 3 / - /", problem).status == "correct"


def test_the_reward_is_the_settings() -> None:
    assert grade("2 9 * 12 + 7 +", task=Countdown(max_reward=2.5)).reward == 2.5


def test_grades_come_in_the_order_given() -> None:
    found = POSTFIX.grade_many([(PROBLEM, "2"), (TWINS, "2 7 7 + + 12 +"), (PROBLEM, "")])
    assert [one.status for one in found] == ["wrong", "correct", "no_answer"]
    assert POSTFIX.grade_many([]) == []


HUGE = [
    "7 " * 500_000,
    "(" * 100_000 + "7" + ")" * 100_000,
    "1" + "0" * 1_000_000,
    "9**9**9**9",
    "1e5",
    "9//2",
    "٣ ٤ +",
    r"\boxed{" * 100_000,
    r"\boxed{" + "{" * 500_000 + "}" * 500_000 + "}",
    r"\boxed{" + r"\frac{1}{" * 50_000,
    "<answer>" * 100_000,
    "1 + " * 250_000,
    "7 +\n" * 250_000,
    "7" + " " * 1_000_000 + "x",
    ":" * 1_000_000,
    "\x00\ud800 7",
    "__import__('os').system('true') + 7",
]


@pytest.mark.parametrize("task", [POSTFIX, INFIX], ids=["postfix", "infix"])
@pytest.mark.parametrize("text", HUGE, ids=lambda text: repr(text[:12]))
def test_hostile_text_is_graded_quickly(text: str, task: Countdown) -> None:
    started = time.process_time()
    found = grade(text, task=task)
    assert time.process_time() - started < 0.5
    assert found.status in ("wrong", "no_answer")
    assert len(found.answer or "") <= MAX_ANSWER_CHARACTERS
    assert len(found.reason) < 120


@given(st.text() | st.text(alphabet="0123456789+-*/()={}\\boxed <answer>\n"))
def test_any_text_gets_a_grade(text: str) -> None:
    for task in (POSTFIX, INFIX):
        found = grade(text, task=task)
        assert found.graded
        assert (found.reward > 0) == (found.status == "correct")


def test_a_problem_of_another_task_is_refused() -> None:
    with pytest.raises(DataError, match="'x' is not a Countdown problem"):
        grade("2", Problem("x", "q", "a"))


def test_finding_the_answer() -> None:
    assert find_postfix(" 2 3 + ") == "2 3 +"
    assert find_infix("a\n3 - 2\nno numbers - here") == "3 - 2"
    with pytest.raises(ExpressionError):
        parse_infix(find_infix("3 x 2 - 1"))
