"""A real verifiers: a taskset of one turn is trained on; what needs more is refused by name, the shipped ones too."""

from __future__ import annotations

import importlib.machinery
import os
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("verifiers.v1")

from ngrpo.api import train
from ngrpo.errors import ConfigError, DataError
from ngrpo.tasks import load_task

TASKSETS = Path(__file__).parent / "tasksets"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TASKSETS))
    paths = [str(TASKSETS), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))  # of the grading processes


def taskset(**settings: Any) -> Any:
    return load_task({"name": "verifiers:first-number", "size": 60, "test_size": 10, **settings})


def test_splits_ids_and_prompts_are_the_tasksets() -> None:
    task = taskset()
    test, training = task.problems("test"), task.problems("train")
    assert [len(test), len(training)] == [10, 50]
    assert [problem.id for problem in (*test, *training)] == [str(i) for i in range(60)]
    assert test[0].question == "1 1 1 = 3 :"
    assert training[0].reference == "2"
    assert task.slug == "verifiers-first-number"
    other = taskset(test_options={"numbers": 3})
    assert [len(other.problems("test")), len(other.problems("train"))] == [10, 60]
    assert other.problems("test")[3].reference == "1"


def test_its_rewards_are_added_with_their_weights_in_our_pool() -> None:
    task = taskset()
    task.check_grader()
    problem = task.problems("test")[4]  # the number 5
    completions = {"5 + 1": 1.0, "5 + 1 + 1 + 1 + 1": 0.75, "4 + 1": 0.25, "4 + 1 + 1 + 1 + 1": 0.0}
    grades = task.grade_many([(problem, text) for text in completions])
    assert [grade.reward for grade in grades] == list(completions.values())
    assert [grade.status for grade in grades] == ["correct", "wrong", "wrong", "wrong"]


def test_five_steps_are_trained(tmp_path: Path) -> None:
    """Must show: a taskset by name, its rewards in the pool, and the reward rises."""
    run = train(
        {
            "model": {"path": "builtin:countdown-base", "device": "cpu"},
            "task": {"name": "verifiers:first-number", "size": 400, "test_size": 20},
            "method": {"name": "ngrpo", "entropy_bonus": 0.0},
            "sampling": {"problems_per_step": 16, "group_size": 8, "max_completion_tokens": 10},
            "optimizer": {"lr": 1e-3},
            "evaluation": {"every": 0},
            "run": {"steps": 5},
        },
        tmp_path / "run",
    )
    rewards = [line["reward/mean"] for line in run.read_metrics()]
    assert len(rewards) == 5
    assert all(line["group/ungraded"] == 0.0 for line in run.read_metrics())
    assert rewards[-1] > rewards[0] + 0.05
    assert {row["reward"] for row in run.read_rollouts()} <= {0.0, 0.25, 0.75, 1.0}


def needing_more(monkeypatch: pytest.MonkeyPatch, kind: str, **data: Any) -> Any:
    import needing_more as modules

    environment = modules.Two if data.pop("own_environment", False) else None
    module = modules.module_of(getattr(modules, kind), environment=environment, **data)
    module.__spec__ = importlib.machinery.ModuleSpec("one_task", None)
    monkeypatch.setitem(sys.modules, "one_task", module)
    return load_task({"name": "verifiers:one-task"})


@pytest.mark.parametrize(
    ("kind", "data", "reason"),
    [
        ("WithTools", {}, r"needs tools \(Tools\)"),
        ("WithSetup", {}, r"needs a runtime \(WithSetup.setup\)"),
        ("WithContainer", {}, "needs a container"),
        ("WithRuntime", {}, r"has a reward that needs a runtime \(tests_pass\)"),
        ("WithoutRewards", {}, "has no rewards"),
        ("Plain", {"own_environment": True}, r"has an environment of its own \(Two\)"),
        ("Plain", {"prompt": None}, "has no prompt: its user opens the conversation"),
        ("Plain", {"image": "python:3"}, "needs a container"),
    ],
)
def test_what_needs_more_than_a_message_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, kind: str, data: dict[str, Any], reason: str
) -> None:
    task = needing_more(monkeypatch, kind, **data)
    with pytest.raises((ConfigError, DataError), match=f"'verifiers:one-task'.* {reason}.*: only task") as error:
        task.problems("test")
    assert "\n" not in str(error.value)


def test_a_conversation_and_a_system_prompt_become_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    task = needing_more(monkeypatch, "Plain", prompt=turns, system_prompt="be brief")
    (problem,) = task.problems("test")
    assert [turn.role for turn in task.messages(problem)] == ["system", "user", "assistant", "user"]
    assert problem.question == "c"


@pytest.mark.parametrize("name", ["harbor", "nemo_gym", "openenv", "textarena"])
def test_the_tasksets_that_verifiers_ships_are_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=f"verifiers:{name}") as error:
        load_task({"name": f"verifiers:{name}"}).problems("test")
    assert "\n" not in str(error.value)


def test_names_and_options_that_do_not_exist() -> None:
    for settings, message in (
        ({"name": "verifiers:no-such-taskset"}, "'verifiers:no-such-taskset': taskset 'no-such-taskset' not found"),
        ({"options": {"colour": "red"}}, r"^\[task\] options of verifiers:first-number: .*colour"),
        ({"size": 0}, "'verifiers:first-number' never ends: give"),
        ({"name": "verifiers:"}, "must be verifiers:NAME"),
    ):
        with pytest.raises(ConfigError, match=message) as error:
            taskset(**settings).problems("test")
        assert "\n" not in str(error.value)
