"""Intervals over several training seeds of a method: what other seeds and other problems would have shown.

Seeds and problems are crossed: every model of a method, one per seed, has answered every problem. What is assumed:
the seeds are a random sample of all seeds, and so are the problems; a value is mean + seed + problem + rest, where the
rest (the draw of the completions, and what a seed does to single problems) is independent of the other two. Two or
three seeds say little about the spread over seeds, and the intervals are accordingly wide where that spread matters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ngrpo.errors import DataError
from ngrpo.evaluation.intervals import (
    Floats,
    arcsine_intervals,
    bootstrap_quantiles,
    check_level,
    checked_values,
    difference_intervals,
    mean_intervals,
    skewed_intervals,
    wilson_intervals,
)
from ngrpo.evaluation.student import student_quantile

_AXES = "seeds, problems, statistics"


def seeded_mean_intervals(values: ArrayLike, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Floats:
    r"""Returns intervals of the means over all seeds and problems.

    With the mean squares of the analysis of variance, of problems, seeds and the rest, the variance of the mean is

    .. math:: (MS_{problem} + \max(MS_{seed} - MS_{rest}, 0)) / (seeds \cdot problems)

    on Satterthwaite's degrees of freedom, and the interval Student's on the arcsine scale. Its quantiles are moved by
    what the bootstrap of `mean_intervals` over the problems' means finds beyond Student's, times r^1.5 where r is the
    problems' share of the variance: the skewness of a sum of which one part is skewed. Seeds that differ less than the
    draw of completions explains add nothing: the interval is then that of `mean_intervals` over the problems' means, as
    it is for one seed. A single problem gives [0, 1].

    Args:
        values: [seeds, problems, statistics], between 0 and 1.
        level: the chance that the interval shall cover the truth.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        [statistics, 2], the low and the high ends.

    Raises:
        DataError: for values outside [0, 1], of other dimensions, or without any seed or problem.
        ConfigError: for a level outside (0, 1).

    Example:
        >>> seeded_mean_intervals([[[0.5], [1.0], [0.0], [0.5]], [[0.25], [1.0], [0.25], [0.5]]]).round(2)
        array([[0.19, 0.97]])

    References:
        Searle, Casella and McCulloch 1992, Variance Components, chapter 4; Satterthwaite 1946.
    """
    array = checked_values(values, _AXES)
    check_level(level)
    seeds, problems, statistics = array.shape
    if seeds == 1:
        return mean_intervals(array[0], level=level, resamples=resamples, seed=seed)
    if problems == 1:
        return np.tile([0.0, 1.0], (statistics, 1))
    means, by_problem = array.mean(axis=(0, 1)), array.mean(axis=0)
    variances, df = _combined(by_problem, [(_spread(array), 1.0)])
    low, high = bootstrap_quantiles(by_problem, level=level, resamples=resamples, seed=seed)
    t, problem_t = _quantiles(level, df), student_quantile((1 + level) / 2, problems - 1)
    own = by_problem.var(axis=0, ddof=1) / problems
    share = np.divide(own, variances, out=np.zeros_like(own), where=variances > 0) ** 1.5
    quantiles = (share * (low + problem_t) - t, share * (high - problem_t) + t)
    known = array.min(axis=(0, 1)) < array.max(axis=(0, 1))
    result = wilson_intervals(np.where(known, means, array[0, 0]), problems, level)
    chosen = (quantiles[0][known], quantiles[1][known])
    result[known] = arcsine_intervals(means[known], variances[known], chosen, problems)
    return result


def seeded_difference_intervals(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Floats:
    r"""Returns intervals of the mean of A minus that of B: problems are paired, seeds are independent.

    With d the differences, by problem, of the means over seeds, and the mean squares of each method's own analysis of
    variance, the variance of the mean is

    .. math:: s_d^2 / P + \sum_{A, B} \max(MS_{seed} - MS_{rest}, 0) / (seeds \cdot P)

    on Satterthwaite's degrees of freedom; the interval is that of `difference_intervals` with this variance. A method
    with a single seed is taken to vary from seed to seed like the other one. One seed each gives what
    `difference_intervals` gives: the spread over seeds is then unknown and left out.

    Args:
        a: values of one method [seeds, problems, statistics], between 0 and 1.
        b: values of the other, on the same problems in the same order; it may have another number of seeds.
        level: the chance that the interval shall cover the truth.

    Returns:
        [statistics, 2], the low and the high ends.

    Raises:
        DataError: when problems or statistics differ in number, or for values that `seeded_mean_intervals` refuses.
        ConfigError: for a level outside (0, 1).

    Example:
        >>> a = [[[0.5], [1.0], [0.0], [0.5]], [[0.25], [1.0], [0.25], [0.5]]]
        >>> seeded_difference_intervals(a, [[[0.25], [0.75], [0.0], [0.5]]]).round(2)
        array([[-0.04,  0.29]])
    """
    first, second = checked_values(a, _AXES), checked_values(b, _AXES)
    if first.shape[1:] != second.shape[1:]:
        raise DataError(f"paired values must agree in problems and statistics, got {first.shape} and {second.shape}")
    check_level(level)
    if len(first) == len(second) == 1:
        return difference_intervals(first[0], second[0], level=level)
    _, problems, statistics = first.shape
    if problems == 1:
        return np.tile([-1.0, 1.0], (statistics, 1))
    differences = first.mean(axis=0) - second.mean(axis=0)
    several = [array for array in (first, second) if len(array) > 1]
    # How often a method's own variance of seeds counts: for itself, and for the other one where that has one seed.
    weights = [1.0] if len(several) == 2 else [1.0 + len(several[0])]
    spreads = [(_spread(array), weight) for array, weight in zip(several, weights * 2, strict=False)]
    variances, df = _combined(differences, spreads)
    own = differences.var(axis=0, ddof=1) / problems
    return skewed_intervals(differences, _quantiles(level, df), np.maximum(variances - own, 0.0))


class _Spread(NamedTuple):
    """Mean squares of seeds and of the rest over seeds * problems, and their degrees of freedom."""

    seed: Floats
    rest: Floats
    seed_df: int
    rest_df: int


def _spread(values: Floats) -> _Spread:
    seeds, problems, _ = values.shape
    by_seed, by_problem = values.mean(axis=1), values.mean(axis=0)
    mean = values.mean(axis=(0, 1))
    residuals = values - by_seed[:, None] - by_problem + mean
    seed_df, rest_df = seeds - 1, (seeds - 1) * (problems - 1)
    cells = seeds * problems
    return _Spread(
        seed=problems * ((by_seed - mean) ** 2).sum(axis=0) / seed_df / cells,
        rest=(residuals**2).sum(axis=(0, 1)) / rest_df / cells,
        seed_df=seed_df,
        rest_df=rest_df,
    )


def _combined(by_problem: Floats, spreads: list[tuple[_Spread, float]]) -> tuple[Floats, Floats]:
    """Returns the variance of the mean [statistics] and Satterthwaite's degrees of freedom.

    Args:
        by_problem: means over seeds, or their differences [problems, statistics].
        spreads: of the methods with several seeds, and how often each counts.
    """
    problems = len(by_problem)
    variances = by_problem.var(axis=0, ddof=1) / problems
    uncertainty = variances**2 / (problems - 1)
    for spread, weight in spreads:
        adds = spread.seed > spread.rest
        variances = variances + np.where(adds, weight * (spread.seed - spread.rest), 0.0)
        terms = spread.seed**2 / spread.seed_df + spread.rest**2 / spread.rest_df
        uncertainty = uncertainty + np.where(adds, weight**2 * terms, 0.0)
    unknown = np.full_like(variances, float(problems - 1))
    df = np.divide(variances**2, uncertainty, out=unknown, where=uncertainty > 0)
    return variances, np.maximum(df, 1.0)


def _quantiles(level: float, df: Floats) -> Floats:
    return np.array([student_quantile((1 + level) / 2, float(value)) for value in df])
