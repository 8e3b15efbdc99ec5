"""Levels and solve rates, and problems chosen by them."""

from __future__ import annotations

from typing import Any

import pytest

from ngrpo.errors import ConfigError, DataError
from ngrpo.tasks import load_task
from ngrpo.tasks.difficulty import level_of, of_difficulty, solve_rate_of
from ngrpo.types import Problem


def problem(**metadata: Any) -> Problem:
    return Problem("0", "q", "1", metadata=metadata)


@pytest.mark.parametrize(
    ("metadata", "level", "rate"),
    [
        ({}, None, None),
        ({"level": "Level 5"}, 5, None),
        ({"level": "Level ?", "difficulty": 3}, 3, None),
        ({"difficulty": 6.5}, 6, None),
        ({"difficulty": "5.0"}, 5, None),
        ({"difficulty": -1.0}, None, None),
        ({"difficulty": "hard"}, None, None),
        ({"difficulty": "3/8"}, None, 0.375),
        ({"difficulty": 0.5}, 0, None),
        ({"pass_rate": "0/8", "level": 2}, 2, 0.0),
        ({"solve_rate": 1}, None, 1.0),
        ({"llama8b_solve_rate": 0.0625}, None, 0.0625),
        ({"solve_rate": 1e-05}, None, 1e-05),
        ({"solve_rate": 37.5}, None, None),
        ({"solve_rate": "9/8"}, None, None),
        ({"solve_rate": "n/a", "pass_rate": "0.25"}, None, 0.25),
    ],
)
def test_what_a_data_set_tells(metadata: dict[str, Any], level: int | None, rate: float | None) -> None:
    assert (level_of(problem(**metadata)), solve_rate_of(problem(**metadata))) == (level, rate)


def test_both_choose_and_nothing_left_is_an_error() -> None:
    known = [problem(level=n, solve_rate=n / 4) for n in range(5)]
    assert of_difficulty(known, (), (), "f") == known
    assert of_difficulty([*known, problem()], (1, 2, 3), (0.5, 1.0), "f") == known[2:4]
    with pytest.raises(DataError, match="f: no problem has a level among 7"):
        of_difficulty(known, (7,), (), "f")
    with pytest.raises(DataError, match=r"f: no problem has a solve rate from 0.1 to 0.2"):
        of_difficulty(known, (), (0.1, 0.2), "f")
    with pytest.raises(DataError, match="f: no problem has a solve rate; looked for: solve_rate, pass_rate"):
        of_difficulty([problem()], (), (0.1, 0.2), "f")


@pytest.mark.parametrize("range_", [[0.5], [0.5, 0.2], [-0.1, 1.0], [0.0, 1.5], [0.0, 0.5, 1.0]])
@pytest.mark.parametrize("name", ["math", "hub:a/b", "file:a.jsonl"])
def test_a_wrong_range_is_one_line(name: str, range_: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"^'solve_rate': must be \[lowest, highest\] within 0 and 1, got"):
        load_task({"name": name, "solve_rate": range_})
