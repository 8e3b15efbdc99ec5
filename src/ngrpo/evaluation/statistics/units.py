"""What an interval takes as drawn at random: single problems, or clusters of problems with a weight each."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ngrpo.errors import DataError

Floats = NDArray[np.float64]

_EQUAL = 1e-12
"""Values in [-1, 1] that are nearer than this are equal but for rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """Values by unit [units, statistics], and the units' weights [units] of mean 1: the sizes of clusters.

    The statistic is the weighted mean. Equal weights are exactly 1.
    """

    values: Floats
    weights: Floats

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.values)

    @property
    def effective(self) -> float:
        """How many units of equal weight would tell as much: (sum w)^2 / sum w^2 (Kish 1965)."""
        return float(self.count**2 / (self.weights**2).sum())

    @property
    def trials(self) -> int:
        """The effective number as whole draws, at least 1."""
        return max(int(self.effective + 1e-9), 1)

    @property
    def df(self) -> float:
        """Degrees of freedom of a variance over the units, at least 1."""
        return max(self.effective - 1.0, 1.0)

    def means(self) -> Floats:
        """Returns the statistics; those of equal values without rounding."""
        means: Floats = np.where(self.constant(), self.values[0], self.weights @ self.values / self.count)
        return means

    def constant(self) -> NDArray[np.bool_]:
        """Returns whether all values are equal but for rounding [statistics]."""
        return np.asarray(np.ptp(self.values, axis=0) <= _EQUAL)

    def residuals(self) -> Floats:
        """Returns weight * (value - mean) [units, statistics], 0 where all values are equal."""
        return np.where(self.constant(), 0.0, self.weights[:, None] * (self.values - self.means()))


def units_of(values: Floats, clusters: Sequence[Hashable] | None = None) -> Units:
    """Returns the units of values [problems, statistics], in an order that does not depend on the problems' order.

    Raises:
        DataError: unless there is a cluster for each problem.
    """
    grouped, sizes = cluster_means(values, clusters)
    order = np.lexsort((sizes, *grouped.T[::-1]))
    return Units(grouped[order], sizes[order] / sizes.mean())


def cluster_means(values: Floats, clusters: Sequence[Hashable] | None) -> tuple[Floats, Floats]:
    """Returns means over each cluster [..., clusters, statistics] and the clusters' sizes, from values by problem.

    Args:
        values: [..., problems, statistics].
        clusters: the cluster of each problem; None makes each problem its own.

    Raises:
        DataError: unless there is a cluster for each problem.
    """
    problems = values.shape[-2]
    if clusters is None:
        return values, np.ones(problems)
    if len(clusters) != problems:
        raise DataError(f"every problem needs a cluster: got {len(clusters)} for {problems}")
    numbers = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
    index = np.array([numbers[name] for name in clusters], dtype=np.int64)
    sizes = np.bincount(index, minlength=len(numbers)).astype(np.float64)
    sums = np.zeros((*values.shape[:-2], len(numbers), values.shape[-1]))
    np.add.at(sums.swapaxes(0, -2), index, values.swapaxes(0, -2))
    means = sums / sizes[:, None]
    # A mean of equal values may exceed them by a last bit.
    return np.clip(means, values.min(initial=0.0), values.max(initial=0.0)), sizes
