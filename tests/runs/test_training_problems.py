"""Choosing training problems by what the starting model solves, in the run as in the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ngrpo.config import Config, config_of
from ngrpo.errors import ConfigError, DataError
from ngrpo.runs.opening import fingerprint
from ngrpo.runs.training_problems import training_problems


def config(problems: int = 2, **sampling: object) -> Config:
    tables = {
        "model": {"path": "builtin:countdown-base"},
        "task": {"name": "countdown", "train_size": 30},
        "sampling": {"problems_per_step": problems, **sampling},
        "optimizer": {"updates_per_step": 1},
    }
    return config_of(tables)


@pytest.fixture
def rates(tmp_path: Path) -> str:
    """Problem i has i of 10 completions correct for i up to 10; later ones are not in the file but for two."""
    lines = [
        {"problem_id": f"countdown-train-{i}", "sample": s, "status": "correct" if s < i else "wrong"}
        for i in range(11)
        for s in range(10)
    ]
    lines.append({"problem_id": "countdown-train-12", "sample": 0, "status": "ungraded"})
    lines.append({"problem_id": "of another task", "sample": 0, "status": "wrong"})
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.mark.parametrize(
    ("chosen", "expected"), [([0.0, 0.0], [0]), ([0.0, 0.2], [0, 1, 2]), ([0.9, 1.0], [9, 10]), ([0.3, 0.4], [3, 4])]
)
def test_problems_of_a_range_in_the_tasks_order(rates: str, chosen: list[float], expected: list[int]) -> None:
    made = training_problems(config(1, solve_rates=rates, solve_rate=chosen))
    assert [problem.id for problem in made] == [f"countdown-train-{i}" for i in expected]
    assert made[0] == config().task.problems("train")[expected[0]]


def test_without_a_file_all_are_taken() -> None:
    assert len(training_problems(config())) == 30


def test_the_choice_is_part_of_what_resume_compares(rates: str) -> None:
    whole, part = fingerprint(config()), fingerprint(config(solve_rates=rates, solve_rate=[0.0, 0.2]))
    assert whole["problems"] != part["problems"]
    assert whole["weights"] == part["weights"]


def test_what_cannot_be(rates: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"problems_per_step is 4, but only 3 training .* from 0 to 0\.2 in "):
        training_problems(config(4, solve_rates=rates, solve_rate=[0.0, 0.2]))
    with pytest.raises(ConfigError, match=r"solve_rate is given without solve_rates"):
        config(solve_rate=[0.0, 0.2])
    for wrong in ([0.2, 0.1], [-0.1, 0.5], [0.0, 1.5]):
        with pytest.raises(ConfigError, match=r"must be \[lowest, highest\]"):
            config(solve_rates=rates, solve_rate=wrong)
    with pytest.raises(DataError):
        training_problems(config(solve_rates=str(tmp_path / "missing.jsonl")))
