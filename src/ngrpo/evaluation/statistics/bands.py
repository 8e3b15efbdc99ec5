"""Simultaneous bands: the whole curve lies inside with the level's chance, not each point by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ngrpo.evaluation.statistics.intervals import check_level
from ngrpo.evaluation.statistics.paired_seeds import components
from ngrpo.evaluation.statistics.student_t import student_quantile
from ngrpo.evaluation.statistics.units import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """Means [statistics] with `low` and `high` ends that hold for all of them together."""

    mean: Floats
    low: Floats
    high: Floats

    @property
    def above(self) -> NDArray[np.bool_]:
        """Where the whole band is above 0: for differences, where A beats B."""
        return self.low > 0

    @property
    def below(self) -> NDArray[np.bool_]:
        """Where the whole band is below 0."""
        return self.high < 0


def simultaneous_band(values: ArrayLike, *, level: float = 0.95, draws: int = 20_000, seed: int = 0) -> Band:
    """Returns a band of the means over seeds and problems, for instance of Pass@k at every k.

    Each end is a standard error times one critical value away: the level's quantile of the largest |t| of the
    statistics, simulated from a multivariate t distribution with the correlation of their errors.

    Args:
        values: [seeds, problems, statistics]: of one method, or differences of two with paired seeds.
        level: the chance that all means lie in the band.
        draws: of the simulation.
        seed: of the simulation.

    Raises:
        DataError: as `components`.
        ConfigError: for a level outside (0, 1).

    References:
        Montiel Olea and Plagborg-Moller 2019, Simultaneous confidence bands.
    """
    check_level(level)
    found = components(values)
    critical = _critical(found.correlation, float(found.df.min()), level, draws, seed)
    # One statistic needs no simulation, and no band is narrower than the pointwise interval.
    pointwise = np.array([student_quantile((1 + level) / 2, df) for df in found.df])
    half = np.maximum(critical, pointwise) * found.error
    return Band(found.mean, found.mean - half, found.mean + half)


def _critical(correlation: Floats, df: float, level: float, draws: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    weights, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(weights.clip(0.0))
    normal = rng.standard_normal((draws, len(correlation))) @ root.T
    scale = np.sqrt(rng.chisquare(df, size=draws) / df)
    return float(np.quantile(np.abs(normal).max(axis=1) / scale, level))
