"""Differences of two methods whose training seeds are paired: the same problems, order and sampling seeds.

Seeds and problems are crossed and both are random. With d the difference by seed and problem and the mean squares of
its analysis of variance, the variance of the mean difference is

    (MS_problem + max(MS_seed - MS_rest, 0)) / (seeds * problems)

on Satterthwaite's degrees of freedom. Pairing takes out whatever a seed does to both methods alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ngrpo.errors import DataError
from ngrpo.evaluation.statistics.student_t import student_quantile, student_tail
from ngrpo.evaluation.statistics.units import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """The analysis of variance of values [seeds, problems, statistics], each [statistics].

    `problem`, `seed` and `rest` are variances of the effects, at least 0; `error` is the standard error of the mean on
    `df` degrees of freedom. `correlation` [statistics, statistics] is that of the means' errors.
    """

    mean: Floats
    problem: Floats
    seed: Floats
    rest: Floats
    error: Floats
    df: Floats
    correlation: Floats


@dataclass(frozen=True, slots=True, eq=False)
class PairedDifferences:
    """Mean differences [statistics], their intervals [statistics, 2] and two-sided p-values [statistics]."""

    difference: Floats
    interval: Floats
    p_value: Floats


def components(values: ArrayLike) -> Components:
    """Returns the analysis of variance of values [seeds, problems, statistics].

    One seed has no spread over seeds: it is then left out, and `rest` is part of `problem`.

    Raises:
        DataError: for other dimensions, fewer than two problems, or values that are not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 3 or array.shape[0] < 1 or array.shape[1] < 2:
        raise DataError(f"values must be [seeds, problems, statistics] with two problems or more, got {array.shape}")
    if not np.isfinite(array).all():
        raise DataError("values must be finite")
    seeds, problems, _ = array.shape
    mean, by_seed, by_problem = array.mean(axis=(0, 1)), array.mean(axis=1), array.mean(axis=0)
    off_problem, off_seed = by_problem - mean, by_seed - mean
    products = {"problem": seeds * off_problem.T @ off_problem / (problems - 1)}
    if seeds > 1:
        off = array - by_seed[:, None] - by_problem[None] + mean
        products["seed"] = problems * off_seed.T @ off_seed / (seeds - 1)
        products["rest"] = np.einsum("spk,spl->kl", off, off) / ((seeds - 1) * (problems - 1))
    squares = {name: np.diag(product).clip(0.0) for name, product in products.items()}
    zero = np.zeros_like(mean)
    rest, of_seed = squares.get("rest", zero), squares.get("seed", zero)
    extra = np.maximum(of_seed - rest, 0.0)
    variance = (squares["problem"] + extra) / (seeds * problems)
    doubt = squares["problem"] ** 2 / (problems - 1)
    if seeds > 1:
        doubt = doubt + np.where(extra > 0, of_seed**2 / (seeds - 1) + rest**2 / ((seeds - 1) * (problems - 1)), 0.0)
    df = np.divide((squares["problem"] + extra) ** 2, doubt, out=np.full_like(mean, problems - 1.0), where=doubt > 0)
    return Components(
        mean=mean,
        problem=np.maximum(squares["problem"] - rest, 0.0) / seeds,
        seed=extra / problems,
        rest=rest,
        error=np.sqrt(variance),
        df=df.clip(1.0),
        correlation=_correlation(products["problem"] + products.get("seed", 0.0)),
    )


def paired_differences(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> PairedDifferences:
    """Returns the mean of A - B with interval and p-value for each statistic.

    Args:
        a: values of one method [seeds, problems, statistics].
        b: values of the other, of the same seeds and problems in the same order.
        level: the chance that an interval shall cover the truth.

    Raises:
        DataError: for different shapes, and as `components`.

    Examples:
        >>> a, b = [[[0.5], [1.0], [0.0]], [[0.25], [1.0], [0.5]]], [[[0.25], [0.5], [0.0]], [[0.25], [0.75], [0.25]]]
        >>> found = paired_differences(a, b)
        >>> found.difference.round(3), found.interval.round(2)
        (array([0.208]), array([[-0.15,  0.57]]))
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise DataError(f"paired seeds need values of one shape, got {first.shape} and {second.shape}")
    found = components(first - second)
    quantile = np.array([student_quantile((1 + level) / 2, df) for df in found.df])
    half = quantile * found.error
    t = np.divide(found.mean, found.error, out=np.zeros_like(half), where=found.error > 0)
    p = [2 * student_tail(abs(one), df) for one, df in zip(t, found.df, strict=True)]
    p_values = np.where((found.error == 0) & (found.mean != 0), 0.0, p)
    return PairedDifferences(found.mean, np.stack([found.mean - half, found.mean + half], axis=1), p_values)


def holm(p_values: ArrayLike) -> Floats:
    """Returns p-values adjusted by Holm for their number: the chance of any false rejection is bounded by the level.

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        array([0.03, 0.06, 0.06])

    References:
        Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    raw = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    steps = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def _correlation(products: Floats) -> Floats:
    deviations = np.sqrt(np.diag(products).clip(0.0))
    scale = np.outer(deviations, deviations)
    found = np.divide(products, scale, out=np.eye(len(products)), where=scale > 0)
    np.fill_diagonal(found, 1.0)
    return found
