"""The problems that a run trains on: the task's, or those that its starting model solves at a certain rate."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from ngrpo.config import Config
from ngrpo.errors import ConfigError
from ngrpo.evaluation.samples.counts import read_counts
from ngrpo.tasks import Task
from ngrpo.types import Problem


def training_problems(config: Config) -> Sequence[Problem]:
    """Returns the training problems of a run, in the task's order.

    With `[sampling] solve_rates` they are those whose share of correct completions in that file lies within
    `solve_rate`; a problem that is not in the file, or has no graded completion there, is left out.

    Raises:
        ConfigError: when fewer are left than a step samples.
        DataError: when the file of solve rates cannot be read, or the task's problems cannot.
    """
    sampling = config.sampling
    if not sampling.solve_rates:
        return config.task.problems("train")
    low, high = sampling.solve_rate
    chosen = _chosen(config.task, sampling.solve_rates, low, high)
    if len(chosen) < sampling.problems_per_step:
        raise ConfigError(
            f"[sampling] problems_per_step is {sampling.problems_per_step}, but only {len(chosen)} training problems "
            f"of task '{config.task.name}' have a solve rate from {low:g} to {high:g} in {sampling.solve_rates}"
        )
    return chosen


@lru_cache(maxsize=4)
def _chosen(task: Task, file: str, low: float, high: float) -> tuple[Problem, ...]:
    counts = read_counts(file)
    rates = zip(counts.problem_ids, counts.n.tolist(), counts.c.tolist(), strict=True)
    kept = {problem_id for problem_id, n, c in rates if n and low <= c / n <= high}
    return tuple(problem for problem in task.problems("train") if problem.id in kept)
