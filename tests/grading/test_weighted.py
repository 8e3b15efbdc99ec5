"""Several graders with weights: the sum, the status, and a run on own JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngrpo import train
from ngrpo.config import config_of
from ngrpo.errors import ConfigError
from ngrpo.grading.weighted import weighted_grade
from ngrpo.tasks import load_task
from ngrpo.types import Grade

GRADERS = """
def short(completion, reference):
    return len(completion) <= 20

def half(completion, reference, metadata):
    return 0.5 if metadata["question"] else 0.0

def unsure(completion, reference):
    return None
"""


@pytest.fixture(autouse=True)
def graders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weighted_graders.py").write_text(GRADERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def task_of(folder: Path, weights: dict[str, float], **settings: Any) -> Any:
    rows = [{"question": f"1 + {n}", "answer": str(1 + n)} for n in range(4)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_task({"name": f"file:{folder / 'rows.jsonl'}", "graders": weights, **settings})


@given(st.lists(st.tuples(st.floats(-2, 2), st.floats(0, 3)), min_size=1, max_size=5))
def test_the_reward_is_the_weighted_sum(parts: list[tuple[float, float]]) -> None:
    weights = {str(place): weight for place, (weight, _) in enumerate(parts)}
    grades = [Grade("wrong", reward) for _, reward in parts]
    total = 0.0
    for weight, reward in parts:
        total += weight * reward
    assert weighted_grade(grades, weights).reward == pytest.approx(total, abs=1e-11)


def test_weights_that_add_up_to_one_give_one() -> None:
    grades = [Grade("correct", 1.0)] * 3
    assert weighted_grade(grades, {"a": 0.7, "b": 0.2, "c": 0.1}).reward == 1.0
    assert 0.7 + 0.2 + 0.1 != 1.0


def test_real_graders_are_added_and_the_first_decides(tmp_path: Path) -> None:
    weights = {"strict": 1.0, "weighted_graders:short": -0.5, "weighted_graders:half": 1.0}
    task = task_of(tmp_path, weights)
    task.check_grader()
    problem = task.problems("train")[1]
    right, wrong, long = r"\boxed{2}", r"\boxed{3}", r"After long thought: \boxed{2}"
    found = task.grade_many([(problem, text) for text in (right, wrong, long)])
    assert [(grade.status, grade.reward) for grade in found] == [("correct", 1.0), ("wrong", 0.0), ("correct", 1.5)]
    assert found[2].answer == "2"
    assert found[2].reason == "strict 1, weighted_graders:short 0, weighted_graders:half 0.5"
    assert (task.highest_reward, task.first_grader, task.grades_by_reference) == (2.0, "strict", False)


def test_a_negative_reward_and_one_that_is_ungraded(tmp_path: Path) -> None:
    task = task_of(tmp_path, {"strict": 1.0, "weighted_graders:short": -0.5})
    assert task.grade_many([(task.problems("train")[0], r"\boxed{5}")])[0].reward == -0.5
    unsure = task_of(tmp_path, {"strict": 1.0, "weighted_graders:unsure": 0.1})
    (grade,) = unsure.grade_many([(unsure.problems("train")[0], r"\boxed{1}")])
    assert (grade.status, grade.reward) == ("ungraded", 0.0)
    assert grade.reason.startswith("weighted_graders:unsure: grader returned None")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"strickt": 1.0}, "'graders': must be strict, math-verify,"),
        ({"strict": 0.0}, "'graders': weights must not be 0, and that of the first grader must be positive"),
        ({"strict": -1.0, "exact": 1.0}, "'graders': weights must not be 0"),
        ({"strict": "1"}, "'graders.strict': input should be a valid number"),
    ],
)
def test_wrong_graders_are_one_line(tmp_path: Path, weights: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        task_of(tmp_path, weights)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_rewards_above_the_bound_of_a_method_are_refused_before_a_run(tmp_path: Path) -> None:
    task = task_of(tmp_path, {"strict": 1.0, "weighted_graders:short": 0.25}).model_dump(mode="json")
    tables = {"model": {"path": "m"}, "task": task}
    with pytest.raises(ConfigError, match=r"graders add up to 1.25, above \[method\] max_reward, 1, which ngrpo needs"):
        config_of(tables)
    assert config_of({**tables, "method": {"name": "ngrpo", "max_reward": 1.25}}).task.highest_reward == 1.25
    config_of({**tables, "method": {"name": "grpo"}})


def test_a_run_on_own_lines_with_two_graders(tmp_path: Path) -> None:
    task = task_of(tmp_path, {"strict": 1.0, "weighted_graders:short": -0.5}, prompt="{question}", id="#")
    tables = {
        "model": {"path": "builtin:countdown-base"},
        "task": task.model_dump(mode="json"),
        "method": {"name": "grpo"},
        "sampling": {"problems_per_step": 2, "group_size": 4, "max_completion_tokens": 12},
        "optimizer": {"updates_per_step": 1},
        "run": {"steps": 2},
    }
    run = train(tables, tmp_path / "run", progress=False)
    lines = [json.loads(line) for line in (run.path / "rollouts.jsonl").read_text().splitlines()]
    assert len(lines) == 16
    expected = [-0.5 if len(line["completion"]) <= 20 else 0.0 for line in lines if line["status"] != "correct"]
    assert [line["reward"] for line in lines if line["status"] != "correct"] == expected
    assert -0.5 in expected
    assert {metrics["group/ungraded"] for metrics in run.read_metrics()} == {0.0}
