"""Reward functions for TRL and plain verl."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy
import pytest

from ngrpo.errors import ConfigError
from ngrpo.grading import rewards
from ngrpo.grading.rewards import trl_reward, verl_reward
from ngrpo.types import Grade

COMPLETIONS = [r"So $\boxed{0.5}$.", "The answer is 3.", "I give up."]
ROWS = {"prompts": ["p"] * 3, "completion_ids": [[1]] * 3, "trainer_state": None}


@pytest.mark.parametrize("name", ["solution", "answer", "reference", "ground_truth", "target"])
def test_trl_gives_a_reward_per_completion_whatever_the_column_is_called(name: str) -> None:
    columns: dict[str, Any] = {name: [r"$\frac12$", "so we get\n#### 4", r"\boxed{3}"]}
    assert trl_reward(completions=COMPLETIONS, **ROWS, **columns) == [1.0, 0.0, 0.0]


def test_trl_chats_are_graded_by_their_last_message() -> None:
    chats = [
        [{"role": "assistant", "content": r"\boxed{4}"}],
        [{"role": "assistant", "content": r"\boxed{5}"}, {"role": "assistant", "content": r"\boxed{4}"}],
        [{"role": "assistant", "content": [{"type": "text", "text": r"\boxed"}, {"type": "text", "text": "{4}"}]}],
        [{"role": "assistant", "content": None}],
        [],
    ]
    assert trl_reward(chats, solution=[4] * 5, **ROWS) == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_trl_what_is_ungraded_has_no_reward() -> None:
    references = ["", "word " * 200, None, "4"]
    assert trl_reward([r"\boxed{4}"] * 4, references) == [None, None, None, 1.0]


def test_trl_without_a_column_of_references_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"needs a column solution or reference .*, found: prompts, completion_ids"):
        trl_reward(COMPLETIONS, **ROWS)


@pytest.mark.parametrize("truth", ["4", 4, 4.0, ["4"], numpy.array(["4"]), {"target": "4"}, r"so $\boxed{4}$"])
def test_verl_forms_of_the_ground_truth(truth: Any) -> None:
    found = verl_reward(
        data_source="openai/gsm8k",
        solution_str="#### 4",
        ground_truth=truth,
        extra_info={"split": "train", "num_turns": 2},
        reward_router_address=None,
    )
    assert found == {"score": 1.0, "acc": 1.0, "pred": "4", "status": "correct"}


def test_verl_statuses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verl_reward("x", r"\boxed{5}", "4") == {"score": 0.0, "acc": 0.0, "pred": "5", "status": "wrong"}
    assert verl_reward("x", "no", "4") == {"score": 0.0, "acc": 0.0, "pred": "", "status": "no_answer"}

    class Pool:
        def grade_many(self, pairs: Any) -> list[Grade]:
            return [Grade("ungraded", 0.0, "5", "timeout") for _ in pairs]

    monkeypatch.setattr(rewards, "shared_pool", Pool)
    assert verl_reward("x", "5", "4") == {"score": 0.0, "acc": 0.0, "pred": "5", "status": "ungraded"}
    assert trl_reward(["5"], ["4"]) == [None]


def test_importing_loads_neither_torch_nor_sympy() -> None:
    code = "import ngrpo.grading.rewards, sys; print({'torch', 'sympy', 'trl', 'verl', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
