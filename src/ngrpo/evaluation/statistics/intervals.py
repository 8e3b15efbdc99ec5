"""Confidence intervals of means over problems, and of paired differences of such means; NumPy alone.

A column of the input is a statistic, such as Pass@8 or the AUC, and a row a problem: the statistic of the benchmark is
the mean of its column. The intervals are for the mean over all problems of the kind that the benchmark's problems were
drawn from, so that what other problems would have shown is part of the uncertainty, as is the drawing of completions.
Where problems come in clusters (templates of one source), clusters take the place of problems.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.statistics.bootstrap import bootstrap_quantiles
from ngrpo.evaluation.statistics.student_t import student_quantile
from ngrpo.evaluation.statistics.units import Floats, Units, units_of
from ngrpo.evaluation.statistics.unseen import allowances, bounded, widened

UNSEEN = 0.2
"""How much of one unseen problem of the other kind the standard error allows for, in problems.

Without it an interval near 0 or 1 covers the truth in 80 % of samples instead of 95 %: none of the few problems that
differ may be in the sample. Found by simulation (`benchmarks/intervals.py`).
"""

Clusters = Sequence[Hashable]
"""The cluster of each problem, in the order of the problems."""


class Interval(NamedTuple):
    """Both ends of an interval, as shares or differences of shares."""

    low: float
    high: float


def mean_intervals(
    values: ArrayLike,
    *,
    clusters: Clusters | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Floats:
    r"""Returns intervals of the means over problems: the arcsine bootstrap-t, bounded by Clopper-Pearson.

    With m the mean, s^2 the sample variance, f(m) = arcsin sqrt m and se = (s / sqrt P) / (2 sqrt(m (1 - m))), each
    resample of P problems gives T* = (f(m*) - f(m)) / se*. With its quantiles q the interval is

    .. math:: \sin^2(f(m) - q_{high} se'), \sin^2(f(m) - q_{low} se'), \quad se'^2 = se^2 + 0.2 / (4 P^2)

    where the last term is `UNSEEN`. It is widened by `allowances` for problems unlike those seen, which is all that is
    left where all values are equal: from 0, [0, u] with u the share that Clopper-Pearson allows a kind of problem that
    is not in the sample. And it is bounded by Clopper-Pearson (`bounded`): the upper end is at most what it allows for
    the share of problems above 0, the lower end mirrored. A single problem has no known variance: [0, 1].

    With clusters, a resample draws whole clusters, the variance is the cluster-robust one of a weighted mean, and P
    is the effective number of clusters, (sum n)^2 / sum n^2. A single cluster gives [0, 1].

    Args:
        values: [problems, statistics], between 0 and 1.
        clusters: of the problems; by default each is its own.
        level: the chance that the interval shall cover the truth.
        resamples: of the bootstrap.
        seed: of the bootstrap. Intervals do not depend on the order of the problems.

    Returns:
        [statistics, 2], the low and the high ends; the mean lies between them.

    Raises:
        DataError: for values outside [0, 1], not finite, not of two dimensions, or without any problem; for a number
            of clusters that is not that of the problems.
        ConfigError: for a level outside (0, 1) or fewer than one resample.

    Examples:
        >>> mean_intervals([[0.0], [0.0], [0.5], [1.0], [0.25], [0.0], [0.75], [0.0]]).round(2)
        array([[0.08, 0.69]])
        >>> mean_intervals([[1.0]] * 30).round(3)
        array([[0.884, 1.   ]])

    References:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, 12.5 and 12.6 (bootstrap-t on a transformed
        scale); Clopper and Pearson 1934; Korn and Graubard 1998 (effective numbers).
    """
    array = checked_values(values)
    check_level(level)
    units = units_of(array, clusters)
    if units.count == 1:
        return np.tile([0.0, 1.0], (array.shape[1], 1))
    quantiles = bootstrap_quantiles(units, level=level, resamples=resamples, seed=seed)
    variances = (units.residuals() ** 2).sum(axis=0) / (units.count - 1) / units.count
    return share_intervals(units, variances, quantiles, level=level)


def difference_intervals(
    a: ArrayLike, b: ArrayLike, *, clusters: Clusters | None = None, level: float = 0.95
) -> Floats:
    r"""Returns intervals of the mean of a - b over problems, paired by problem: Student's, widened for skewness.

    With m, s and g the mean, deviation and skewness of the differences, lambda = g / sqrt P and t Student's quantile,
    the side of the long tail is wider by w = clip(lambda / 6 (2 t^2 + 1), -t, t), the term of Cornish and Fisher:

    .. math:: m - (t + \max(-w, 0)) s / \sqrt P, \quad m + (t + \max(w, 0)) s / \sqrt P

    The long tail is where the rare large differences are that this sample may lack. No side is narrower than
    Student's.

    As in `mean_intervals` it is widened by `allowances`, for problems that differ unlike those seen, which is all that
    is left where all differences are equal: around 0, [-u, u]. And it is bounded: the upper end is at most what
    Clopper-Pearson allows for the share of problems where a > b, the lower end for those where a < b. A single problem
    has no known variance: [-1, 1].

    Args:
        a: values of one method [problems, statistics], between 0 and 1.
        b: values of the other on the same problems, in the same order.
        clusters: of the problems, as in `mean_intervals`.
        level: the chance that the interval shall cover the truth.

    Returns:
        [statistics, 2], the low and the high ends.

    Raises:
        DataError: when the shapes differ, or for values that `mean_intervals` refuses.
        ConfigError: for a level outside (0, 1).

    Examples:
        >>> difference_intervals([[0.5], [0.75], [1.0], [0.25]], [[0.5], [0.5], [0.75], [0.25]]).round(3)
        array([[-0.16,  0.39]])

    References:
        Johnson 1978, Modified t tests and confidence intervals for asymmetrical populations; Hall 1992.
    """
    first, second = checked_values(a), checked_values(b)
    if first.shape != second.shape:
        raise DataError(f"paired values must have one shape, got {first.shape} and {second.shape}")
    check_level(level)
    units = units_of(first - second, clusters)
    statistics = first.shape[1]
    if units.count == 1:
        return np.tile([-1.0, 1.0], (statistics, 1))
    t = student_quantile((1 + level) / 2, units.df)
    return skewed_intervals(units, np.full(statistics, t), level=level)


def checked_values(values: ArrayLike, axes: str = "problems, statistics") -> Floats:
    """Returns the values as an array of floats.

    Args:
        values: of one dimension per axis, the statistics last and the problems before them.
        axes: names of the axes, with commas.

    Raises:
        DataError: for other dimensions, an axis of length 0 before the last, or values outside [0, 1].
    """
    array = np.asarray(values, dtype=np.float64)
    names = axes.split(", ")
    if array.ndim != len(names):
        raise DataError(f"values must be [{axes}], got {array.ndim} dimensions")
    for name, length in zip(names[:-1], array.shape, strict=False):
        if not length:
            raise DataError(f"an interval needs {name}, got none")
    bad = ~((array >= 0.0) & (array <= 1.0))
    if bad.any():
        raise DataError(f"values must lie between 0 and 1, got {float(array[bad][0])!r}")
    return array


def check_level(level: float) -> None:
    """Raises ConfigError unless a level lies strictly between 0 and 1."""
    if not 0.0 < level < 1.0:
        raise ConfigError(f"level must lie between 0 and 1, got {level!r}")


def share_intervals(
    units: Units,
    variances: Floats,
    quantiles: tuple[Floats, Floats],
    *,
    level: float,
    others: Floats | None = None,
) -> Floats:
    """Returns the intervals of `mean_intervals` from the quantiles of the studentised mean on the arcsine scale.

    Args:
        units: at least two, with values between 0 and 1.
        variances: of the means [statistics].
        quantiles: the low and the high one [statistics].
        level: of the intervals.
        others: added to the bounds [statistics]: what may differ beside the units.
    """
    means = units.means()
    ends = np.stack([means, means], axis=1)
    # A mean that differs from 0 or 1 by less than a last bit has no arcsine scale.
    inside = (means > 0.0) & (means < 1.0) & (variances > 0.0)
    m, effective = means[inside], units.effective
    centres = np.arcsin(np.sqrt(m))
    errors = np.sqrt(variances[inside] / (4 * m * (1 - m)) + UNSEEN / (4 * effective**2))
    # A quantile on the wrong side of 0 would leave the mean itself out.
    low = centres - np.maximum(quantiles[1][inside], 0.0) * errors
    high = centres - np.minimum(quantiles[0][inside], 0.0) * errors
    ends[inside] = np.sin(np.clip(np.stack([low, high], axis=1), 0.0, np.pi / 2)) ** 2
    ends = widened(ends, means, allowances(units, level), 0.0)
    missing = np.zeros_like(means) if others is None else others
    ends = bounded(ends, units, level, 0.0, missing)
    # The sine of the arcsine may miss the mean by a last bit.
    return np.stack([np.minimum(ends[:, 0], means), np.maximum(ends[:, 1], means)], axis=1)


def skewed_intervals(
    units: Units, t: Floats, *, level: float, others: Floats | None = None, bound: Floats | None = None
) -> Floats:
    """Returns the intervals of `difference_intervals`, with variances of the mean from elsewhere added.

    Args:
        units: at least two, with differences between -1 and 1.
        t: Student's quantile [statistics].
        level: of the intervals.
        others: variance of the mean that the spread over units does not show [statistics].
        bound: added to the bounds [statistics]: how far that variance reaches.
    """
    count, means, residuals = units.count, units.means(), units.residuals()
    own = (residuals**2).sum(axis=0) / (count - 1)
    added = np.zeros_like(means) if others is None else others
    variances = own / count + added
    skews = np.zeros_like(means)
    if count > 2:
        scaled = residuals / np.sqrt(np.where(own > 0.0, own, 1.0))
        skews = (scaled**3).sum(axis=0) * count / ((count - 1) * (count - 2))
    # Only the units are skewed: what else is in the variance thins the skewness of the mean.
    share = np.divide(own / count, variances, out=np.zeros_like(means), where=variances > 0)
    wider = np.clip(skews / np.sqrt(count) * share**1.5 / 6 * (2 * t**2 + 1), -t, t)
    errors = np.sqrt(variances)
    low = means - (t + np.maximum(-wider, 0.0)) * errors
    high = means + (t + np.maximum(wider, 0.0)) * errors
    ends = widened(np.stack([low, high], axis=1), means, allowances(units, level), -1.0)
    return bounded(ends, units, level, -1.0, np.zeros_like(means) if bound is None else bound)
