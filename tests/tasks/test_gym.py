"""reasoning-gym's data sets as tasks: disjoint splits, its own scorer, errors."""

from __future__ import annotations

from typing import Any

import pytest

from ngrpo.errors import ConfigError, DataError, GradingError
from ngrpo.tasks import load_task

pytest.importorskip("reasoning_gym")


def gym(name: str, **settings: Any) -> Any:
    return load_task({"name": f"gym:{name}", "test_size": 20, "train_size": 50, **settings})


@pytest.mark.parametrize("name", ["gcd", "countdown", "graph_color", "gsm_symbolic"])
def test_the_splits_are_disjoint_and_the_same_each_time(name: str) -> None:
    task, again = gym(name), gym(name)
    test, train = task.problems("test"), task.problems("train")
    assert (len(test), len(train)) == (20, 50)
    assert len({problem.question for problem in test}) == 20
    assert not {problem.question for problem in test} & {problem.question for problem in train}
    assert list(test) == list(again.problems("test"))
    assert train[-1] == again.problems("train")[49]
    assert tuple(train[1:3]) == tuple(again.problems("train"))[1:3]
    assert gym(name, seed=7).problems("test")[0] != test[0]
    assert hash(task) == hash(again)


@pytest.mark.parametrize("name", ["gcd", "countdown", "leg_counting", "rearc"])
def test_its_own_scorer_grades(name: str) -> None:
    task = gym(name)
    task.check_grader()
    problem = task.problems("test")[0]
    pairs = [(problem, f"I get \\boxed{{{problem.reference}}}."), (problem, f"<answer>{problem.reference}</answer>")]
    *right, wrong = task.grade_many([*pairs, (problem, "no idea at all")])
    assert [grade.status for grade in right] == ["correct"] * 2
    assert wrong.status in ("wrong", "no_answer", "ungraded")
    assert task.grade_many([(problem, "\\boxed{no idea}")])[0].reward < 1.0


def test_another_answer_than_the_reference_counts_where_the_scorer_knows_it() -> None:
    task = gym("countdown", options={"min_numbers": 2, "max_numbers": 2, "operators": ["+"], "min_target": 2})
    problem = task.problems("test")[0]
    numbers = problem.metadata["numbers"]
    for answer in (f"{numbers[0]}+{numbers[1]}", f"{numbers[1]} + {numbers[0]}"):
        assert task.grade_many([(problem, f"\\boxed{{{answer}}}")])[0].status == "correct"


def test_names_and_options_that_do_not_exist() -> None:
    with pytest.raises(ConfigError, match=r"reasoning-gym has no data set 'countdwn'; it has countdown"):
        gym("countdwn").problems("test")
    with pytest.raises(ConfigError, match=r"\[task\] options of gym:gcd: .*colour"):
        gym("gcd", options={"colour": "red"}).problems("test")
    with pytest.raises(ConfigError, match="must be gym:NAME, such as gym:countdown"):
        load_task({"name": "gym"})
    assert gym("gcd").slug == "gym-gcd"


def test_a_data_set_with_too_few_problems() -> None:
    tiny = {"min_numbers": 2, "max_numbers": 2, "min_value": 1, "max_value": 2}
    with pytest.raises(DataError, match=r"gym:gcd has only [0-9]+ different problems, \[task\] test_size is 500"):
        gym("gcd", options=tiny, test_size=500).problems("test")


def test_a_scorer_that_refuses_its_own_reference_is_found_before_anything_is_drawn() -> None:
    task = gym("gcd", prompt="{question}")
    refusing = task.model_copy(update={"grader": "tests.tasks.test_gym:refuse"})
    with pytest.raises(GradingError):
        refusing.check_grader()


def refuse(completion: str, reference: str) -> bool:
    return False
