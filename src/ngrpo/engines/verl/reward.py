"""The reward function of a run of verl: our grader and its pool, in each of verl's reward workers.

verl calls `compute_score` for one completion at a time, from several threads. A training completion that could not be
graded gets NaN, which `recording_sampler` and our estimators leave out; an evaluated one counts as wrong, with its
status beside it, because verl averages scores.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

from ngrpo.engines.verl.verl_files import problem_of

if TYPE_CHECKING:
    from ngrpo.tasks import Task


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any] | None = None,
    *,
    config_path: str,
    **_: Any,
) -> dict[str, Any]:
    """Returns the reward of one completion as `score`, and its grade beside it.

    Args:
        data_source: the task's slug.
        solution_str: what the model wrote.
        ground_truth: the reference.
        extra_info: `split` and `problem`, as `rows_of` writes them.
        config_path: the run's config, given by `reward_kwargs`.

    Raises:
        GradingError: when no grading process can be started; verl then ends the run.
    """
    told = extra_info or {}
    training = told["split"] == "train"
    task = tasks_of(config_path)["" if training else data_source]
    problem = problem_of(told["problem"], ground_truth)
    (grade,) = task.grade_many([(problem, solution_str)])
    return {
        "score": math.nan if training and not grade.graded else float(grade.reward),
        "acc": float(grade.status == "correct"),
        "pred": grade.answer or "",
        "status": grade.status,
        "reason": grade.reason,
        "problem_id": problem.id,
    }


@cache
def tasks_of(config_path: str) -> dict[str, Task]:
    """Returns the training task as "", and each evaluation task by its slug."""
    from ngrpo.config import load_config

    config = load_config(config_path)
    return {"": config.task} | {task.slug: task for task in config.evaluation_tasks()}
