"""Confidence intervals of means over problems, and of paired differences of such means; NumPy alone.

A column of the input is a statistic, such as Pass@8 or the AUC, and a row a problem: the statistic of the benchmark is
the mean of its column. The intervals are for the mean over all problems of the kind that the benchmark's problems were
drawn from, so that what other problems would have shown is part of the uncertainty, as is the drawing of completions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.student import student_quantile

Floats = NDArray[np.float64]

UNSEEN = 0.2
"""How much of one unseen problem of the other kind the standard error allows for, in problems.

Without it an interval near 0 or 1 covers the truth in 80 % of samples instead of 95 %: none of the few problems that
differ may be in the sample. Found by simulation (`benchmarks/intervals.py`).
"""

_CHUNK_CELLS = 2_000_000
"""Draws that are in memory at once, 8 bytes each and about three times as many in between."""
_HUGE = 1e9
_SAME = 1e-12
"""A resample whose variance is a smaller part than this of its second moment consists of equal values."""


class Interval(NamedTuple):
    """Both ends of an interval, as shares or differences of shares."""

    low: float
    high: float


def mean_intervals(values: ArrayLike, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Floats:
    r"""Returns intervals of the means over problems: the arcsine bootstrap-t.

    With m the mean, s^2 the sample variance, f(m) = arcsin sqrt m and se = (s / sqrt P) / (2 sqrt(m (1 - m))), each
    resample of P problems gives T* = (f(m*) - f(m)) / se*. With its quantiles q the interval is

    .. math:: \sin^2(f(m) - q_{high} se'), \sin^2(f(m) - q_{low} se'), \quad se'^2 = se^2 + 0.2 / (4 P^2)

    where the last term is `UNSEEN`. Where all values are equal, no bootstrap can tell anything: the interval is
    Wilson's for P draws, which at 0 is [0, t^2 / (P + t^2)]. A single problem has no known variance: [0, 1].

    Args:
        values: [problems, statistics], between 0 and 1.
        level: the chance that the interval shall cover the truth.
        resamples: of the bootstrap.
        seed: of the bootstrap. Intervals do not depend on the order of the problems.

    Returns:
        [statistics, 2], the low and the high ends; the mean lies between them.

    Raises:
        DataError: for values outside [0, 1], not finite, not of two dimensions, or without any problem.
        ConfigError: for a level outside (0, 1) or fewer than one resample.

    Example:
        >>> mean_intervals([[0.0], [0.0], [0.5], [1.0], [0.25], [0.0], [0.75], [0.0]]).round(2)
        array([[0.09, 0.71]])
        >>> mean_intervals([[1.0]] * 30).round(3)
        array([[0.878, 1.   ]])

    References:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, 12.5 and 12.6 (bootstrap-t on a transformed
        scale); Wilson 1927.
    """
    array = checked_values(values)
    check_level(level)
    problems, statistics = array.shape
    if problems == 1:
        return np.tile([0.0, 1.0], (statistics, 1))
    low, high = bootstrap_quantiles(array, level=level, resamples=resamples, seed=seed)
    means, variances, constant = _moments(array)
    t = student_quantile((1 + level) / 2, problems - 1)
    result = np.stack(_wilson(means, problems, t), axis=1)
    spread = ~constant
    errors = variances[spread] / problems
    result[spread] = arcsine_intervals(means[spread], errors, (low[spread], high[spread]), problems)
    return result


def difference_intervals(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Floats:
    r"""Returns intervals of the mean of a - b over problems, paired by problem: Student's, widened for skewness.

    With m, s and g the mean, deviation and skewness of the differences, lambda = g / sqrt P and t Student's quantile,
    the side of the long tail is wider by w = clip(lambda / 6 (2 t^2 + 1), -t, t), the term of Cornish and Fisher:

    .. math:: m - (t + \max(-w, 0)) s / \sqrt P, \quad m + (t + \max(w, 0)) s / \sqrt P

    The long tail is where the rare large differences are that this sample may lack. No side is narrower than
    Student's, the ends are clipped to [-1, 1].

    Where all differences are equal, to 0 for example because both solve every problem, the share of problems that
    differ otherwise is at most w = t^2 / (P + t^2) (Wilson), and each of them may be a difference of -1 or 1: the
    interval is (1 - w) m -+ w. That is wide on purpose: nothing at all is known about such problems. A single problem
    has no known variance: [-1, 1].

    Args:
        a: values of one method [problems, statistics], between 0 and 1.
        b: values of the other on the same problems, in the same order.
        level: the chance that the interval shall cover the truth.

    Returns:
        [statistics, 2], the low and the high ends.

    Raises:
        DataError: when the shapes differ, or for values that `mean_intervals` refuses.
        ConfigError: for a level outside (0, 1).

    Example:
        >>> difference_intervals([[0.5], [0.75], [1.0], [0.25]], [[0.5], [0.5], [0.75], [0.25]]).round(3)
        array([[-0.105,  0.355]])

    References:
        Johnson 1978, Modified t tests and confidence intervals for asymmetrical populations; Hall 1992.
    """
    first, second = checked_values(a), checked_values(b)
    if first.shape != second.shape:
        raise DataError(f"paired values must have one shape, got {first.shape} and {second.shape}")
    check_level(level)
    differences = first - second
    problems, statistics = differences.shape
    if problems == 1:
        return np.tile([-1.0, 1.0], (statistics, 1))
    t = student_quantile((1 + level) / 2, problems - 1)
    return skewed_intervals(differences, np.full(statistics, t), np.zeros(statistics))


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


def bootstrap_quantiles(values: Floats, *, level: float, resamples: int, seed: int) -> tuple[Floats, Floats]:
    """Returns the quantiles of the studentised mean on the arcsine scale, which `mean_intervals` uses.

    Args:
        values: [problems, statistics], at least two problems.
        level: between the two quantiles.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        The low and the high ones [statistics]; 0 where all values are equal.

    Raises:
        ConfigError: for fewer than one resample.
    """
    if resamples < 1:
        raise ConfigError(f"resamples must be at least 1, got {resamples!r}")
    means, _, constant = _moments(values)
    quantiles = np.zeros((2, values.shape[1]))
    if not constant.all():
        rows, counts = np.unique(values[:, ~constant], axis=0, return_counts=True)
        studentised = _studentised_resamples(rows, counts, means[~constant], resamples, seed)
        quantiles[:, ~constant] = np.quantile(studentised, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return quantiles[0], quantiles[1]


def arcsine_intervals(means: Floats, variances: Floats, quantiles: tuple[Floats, Floats], problems: int) -> Floats:
    """Returns intervals [statistics, 2] from the quantiles of the studentised mean on the arcsine scale.

    Args:
        means: strictly between 0 and 1 [statistics].
        variances: of the means [statistics].
        quantiles: the low and the high one [statistics].
        problems: decides the allowance for an unseen problem.
    """
    centres = np.arcsin(np.sqrt(means))
    errors = np.sqrt(variances / (4 * means * (1 - means)) + UNSEEN / (4 * problems**2))
    # A quantile on the wrong side of 0 would leave the mean itself out.
    low = centres - np.maximum(quantiles[1], 0.0) * errors
    high = centres - np.minimum(quantiles[0], 0.0) * errors
    ends = np.sin(np.clip(np.stack([low, high], axis=1), 0.0, np.pi / 2)) ** 2
    # The sine of the arcsine may miss the mean by a last bit.
    return np.stack([np.minimum(ends[:, 0], means), np.maximum(ends[:, 1], means)], axis=1)


def wilson_intervals(means: Floats, problems: int, level: float) -> Floats:
    """Returns Wilson's score intervals [statistics, 2] of shares, with Student's quantile for the normal one."""
    return np.stack(_wilson(means, problems, student_quantile((1 + level) / 2, problems - 1)), axis=1)


def skewed_intervals(differences: Floats, t: Floats, others: Floats) -> Floats:
    """Returns the intervals of `difference_intervals`, with variances of the mean from elsewhere added.

    Args:
        differences: by problem [problems, statistics], at least two problems.
        t: Student's quantile [statistics].
        others: variance of the mean that the spread over problems does not show [statistics].
    """
    problems = len(differences)
    means = differences.mean(axis=0)
    constant = differences.max(axis=0) == differences.min(axis=0)
    deviations = np.where(constant, 0.0, differences - means)
    own = (deviations**2).sum(axis=0) / (problems - 1)
    variances = own / problems + others
    skews = np.zeros_like(means)
    if problems > 2:
        third = (deviations**3).sum(axis=0) * problems / ((problems - 1) * (problems - 2))
        np.divide(third, own**1.5, out=skews, where=own > 0)
    # Only the problems are skewed: what else is in the variance thins the skewness of the mean.
    share = np.divide(own / problems, variances, out=np.zeros_like(means), where=variances > 0)
    wider = np.clip(skews / np.sqrt(problems) * share**1.5 / 6 * (2 * t**2 + 1), -t, t)
    errors = np.sqrt(variances)
    unseen = np.where(variances > 0, 0.0, t**2 / (problems + t**2))
    low = (1 - unseen) * means - unseen - (t + np.maximum(-wider, 0.0)) * errors
    high = (1 - unseen) * means + unseen + (t + np.maximum(wider, 0.0)) * errors
    ends: Floats = np.clip(np.stack([low, high], axis=1), -1.0, 1.0)
    return ends


def check_level(level: float) -> None:
    """Raises ConfigError unless a level lies strictly between 0 and 1."""
    if not 0.0 < level < 1.0:
        raise ConfigError(f"level must lie between 0 and 1, got {level!r}")


def _wilson(means: Floats, problems: int, t: float) -> tuple[Floats, Floats]:
    centres = (means + t * t / (2 * problems)) / (1 + t * t / problems)
    halves = t * np.sqrt(means * (1 - means) / problems + t * t / (4 * problems**2)) / (1 + t * t / problems)
    low, high = np.minimum(centres - halves, means), np.maximum(centres + halves, means)
    return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)


def _moments(values: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Returns means, sample variances and whether all values are equal [statistics], whatever the problems' order."""
    ordered = np.sort(values, axis=0)
    constant = ordered[0] == ordered[-1]
    means = np.where(constant, ordered[0], ordered.mean(axis=0))
    return means, np.where(constant, 0.0, ((ordered - means) ** 2).sum(axis=0) / (len(values) - 1)), constant


def _studentised_resamples(rows: Floats, counts: NDArray[np.int64], means: Floats, resamples: int, seed: int) -> Floats:
    """Returns T* [resamples, statistics].

    Problems with equal rows cannot be told apart, so how often each kind of row is drawn is multinomial: that is far
    less to draw than problems, for c of n correct leaves n + 1 kinds.
    """
    problems = int(counts.sum())
    rng = np.random.default_rng(seed)
    # Moments of centred values lose no digits to their difference.
    centred = rows - means
    squares = centred**2
    at_once = max(1, _CHUNK_CELLS // len(rows))
    parts = []
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        drawn = rng.multinomial(problems, counts / problems, size=size).astype(np.float64)
        shifts, seconds = drawn @ centred / problems, drawn @ squares / problems
        parts.append(_studentised(means, shifts, seconds, problems))
    return np.concatenate(parts)


def _studentised(means: Floats, shifts: Floats, seconds: Floats, problems: int) -> Floats:
    drawn = means + shifts
    variances = (seconds - shifts**2) * problems / (problems - 1)
    known = (variances > _SAME * seconds) & (drawn > 0.0) & (drawn < 1.0)
    inside = np.where(known, drawn, 0.5)
    errors = np.sqrt(np.where(known, variances, 1.0) / problems / (4 * inside * (1 - inside)))
    # Resamples of equal values are further out than all others, on the side of their mean.
    beyond = np.where(np.abs(shifts) > _SAME, np.sign(shifts) * _HUGE, 0.0)
    return np.where(known, (np.arcsin(np.sqrt(inside)) - np.arcsin(np.sqrt(means))) / errors, beyond)
