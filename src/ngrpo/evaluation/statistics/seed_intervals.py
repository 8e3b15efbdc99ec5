"""Intervals over several training seeds of a method: what other seeds and other problems would have shown.

Seeds and problems are crossed: every model of a method, one per seed, has answered every problem. What is assumed:
the seeds are a random sample of all seeds, and so are the problems; a value is mean + seed + problem + rest, where the
rest (the draw of the completions, and what a seed does to single problems) is independent of the other two. Two or
three seeds say little about the spread over seeds, and the intervals are accordingly wide where that spread matters.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ngrpo.errors import DataError
from ngrpo.evaluation.statistics.bootstrap import bootstrap_quantiles
from ngrpo.evaluation.statistics.intervals import (
    Clusters,
    check_level,
    checked_values,
    difference_intervals,
    mean_intervals,
    share_intervals,
    skewed_intervals,
)
from ngrpo.evaluation.statistics.student_t import student_quantile
from ngrpo.evaluation.statistics.units import Floats, Units, cluster_means

_AXES = "seeds, problems, statistics"


def seeded_mean_intervals(
    values: ArrayLike,
    *,
    clusters: Clusters | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Floats:
    r"""Returns intervals of the means over all seeds and problems.

    With the mean squares of the analysis of variance, of problems, seeds and the rest, the variance of the mean is

    .. math:: (MS_{problem} + \max(MS_{seed} - MS_{rest}, 0)) / (seeds \cdot problems)

    on Satterthwaite's degrees of freedom, and the interval Student's on the arcsine scale. Its quantiles are moved by
    what the bootstrap of `mean_intervals` over the problems' means finds beyond Student's, times r^1.5 where r is the
    problems' share of the variance: the skewness of a sum of which one part is skewed. Seeds that differ less than the
    draw of completions explains add nothing: the interval is then that of `mean_intervals` over the problems' means, as
    it is for one seed. Allowance and bounds are those of `mean_intervals` over the problems' means; what seeds add to
    the variance is added to the bounds as well, by Student's quantile for that many seeds. A single problem gives
    [0, 1]. With clusters, each cluster takes the place of a problem, weighted by its size.

    Args:
        values: [seeds, problems, statistics], between 0 and 1.
        clusters: of the problems; by default each is its own.
        level: the chance that the interval shall cover the truth.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        [statistics, 2], the low and the high ends.

    Raises:
        DataError: for values outside [0, 1], of other dimensions, or without any seed or problem.
        ConfigError: for a level outside (0, 1).

    Examples:
        >>> seeded_mean_intervals([[[0.5], [1.0], [0.0], [0.5]], [[0.25], [1.0], [0.25], [0.5]]]).round(2)
        array([[0.15, 0.89]])

    References:
        Searle, Casella and McCulloch 1992, Variance Components, chapter 4; Satterthwaite 1946.
    """
    array = checked_values(values, _AXES)
    check_level(level)
    if len(array) == 1:
        return mean_intervals(array[0], clusters=clusters, level=level, resamples=resamples, seed=seed)
    crossed = _crossed(array, clusters)
    units = crossed.units()
    if units.count == 1:
        return np.tile([0.0, 1.0], (array.shape[2], 1))
    own, variances, df = _combined(units, [(_spread(crossed), 1.0)])
    low, high = bootstrap_quantiles(units, level=level, resamples=resamples, seed=seed)
    t, unit_t = _quantiles(level, df), student_quantile((1 + level) / 2, units.df)
    share = np.divide(own, variances, out=np.zeros_like(own), where=variances > 0) ** 1.5
    quantiles = (share * (low + unit_t) - t, share * (high - unit_t) + t)
    others = _seed_quantile(level, [array]) * np.sqrt(np.maximum(variances - own, 0.0))
    return share_intervals(units, variances, quantiles, level=level, others=others)


def seeded_difference_intervals(
    a: ArrayLike, b: ArrayLike, *, clusters: Clusters | None = None, level: float = 0.95
) -> Floats:
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
        clusters: of the problems, as in `seeded_mean_intervals`.
        level: the chance that the interval shall cover the truth.

    Returns:
        [statistics, 2], the low and the high ends.

    Raises:
        DataError: when problems or statistics differ in number, or for values that `seeded_mean_intervals` refuses.
        ConfigError: for a level outside (0, 1).

    Examples:
        >>> a = [[[0.5], [1.0], [0.0], [0.5]], [[0.25], [1.0], [0.25], [0.5]]]
        >>> seeded_difference_intervals(a, [[[0.25], [0.75], [0.0], [0.5]]]).round(2)
        array([[-0.25,  0.43]])
    """
    first, second = checked_values(a, _AXES), checked_values(b, _AXES)
    if first.shape[1:] != second.shape[1:]:
        raise DataError(f"paired values must agree in problems and statistics, got {first.shape} and {second.shape}")
    check_level(level)
    if len(first) == len(second) == 1:
        return difference_intervals(first[0], second[0], clusters=clusters, level=level)
    sides = [_crossed(array, clusters) for array in (first, second)]
    units = sides[0].units()
    units = replace(units, values=units.values - sides[1].units().values)
    if units.count == 1:
        return np.tile([-1.0, 1.0], (first.shape[2], 1))
    several = [side for side in sides if len(side.values) > 1]
    # How often a method's own variance of seeds counts: for itself, and for the other one where that has one seed.
    weights = [1.0] if len(several) == 2 else [1.0 + len(several[0].values)]
    spreads = [(_spread(side), weight) for side, weight in zip(several, weights * 2, strict=False)]
    own, variances, df = _combined(units, spreads)
    others = np.maximum(variances - own, 0.0)
    bound = _seed_quantile(level, [side.values for side in several]) * np.sqrt(others)
    return skewed_intervals(units, _quantiles(level, df), level=level, others=others, bound=bound)


class _Crossed(NamedTuple):
    """Values [seeds, units, statistics] and the units' weights of mean 1 [units]."""

    values: Floats
    weights: Floats

    def units(self) -> Units:
        """Returns the means over the seeds."""
        return Units(self.values.mean(axis=0), self.weights)


class _Spread(NamedTuple):
    """Mean squares of seeds and of the rest over seeds * units, and their degrees of freedom."""

    seed: Floats
    rest: Floats
    seed_df: int
    rest_df: int


def _crossed(values: Floats, clusters: Clusters | None) -> _Crossed:
    means, sizes = cluster_means(values, clusters)
    return _Crossed(means, sizes / sizes.mean())


def _spread(crossed: _Crossed) -> _Spread:
    values, weights = crossed
    seeds, units, _ = values.shape
    by_seed, by_unit = np.einsum("iuk,u->ik", values, weights) / units, values.mean(axis=0)
    mean = by_seed.mean(axis=0)
    residuals = weights[:, None] * (values - by_seed[:, None] - by_unit + mean)
    seed_df, rest_df = seeds - 1, (seeds - 1) * (units - 1)
    cells = seeds * units
    return _Spread(
        seed=units * ((by_seed - mean) ** 2).sum(axis=0) / seed_df / cells,
        rest=(residuals**2).sum(axis=(0, 1)) / rest_df / cells,
        seed_df=seed_df,
        rest_df=rest_df,
    )


def _combined(units: Units, spreads: list[tuple[_Spread, float]]) -> tuple[Floats, Floats, Floats]:
    """Returns the variance of the mean [statistics] by the units alone and in all, and Satterthwaite's df.

    Args:
        units: means over seeds, or their differences.
        spreads: of the methods with several seeds, and how often each counts.
    """
    own = (units.residuals() ** 2).sum(axis=0) / (units.count - 1) / units.count
    variances, uncertainty = own, own**2 / units.df
    for spread, weight in spreads:
        adds = spread.seed > spread.rest
        variances = variances + np.where(adds, weight * (spread.seed - spread.rest), 0.0)
        terms = spread.seed**2 / spread.seed_df + spread.rest**2 / spread.rest_df
        uncertainty = uncertainty + np.where(adds, weight**2 * terms, 0.0)
    # Of tiny values the squares of squares are 0, though the variance is not.
    known = uncertainty > 0
    df = np.divide(variances**2, uncertainty, out=np.full_like(own, units.df), where=known)
    return own, variances, np.maximum(df, 1.0)


def _quantiles(level: float, df: Floats) -> Floats:
    return np.array([student_quantile((1 + level) / 2, float(value)) for value in df])


def _seed_quantile(level: float, several: list[Floats]) -> float:
    return student_quantile((1 + level) / 2, min(len(values) for values in several) - 1)
