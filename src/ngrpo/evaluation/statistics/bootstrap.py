"""The studentised bootstrap of a mean over units, on the arcsine scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ngrpo.errors import ConfigError
from ngrpo.evaluation.statistics.units import Floats, Units

_CHUNK_CELLS = 2_000_000
"""Draws that are in memory at once, 8 bytes each and about three times as many in between."""
_HUGE = 1e9
_SAME = 1e-12
"""A resample whose variance is a smaller part than this of its second moment consists of equal values."""


def bootstrap_quantiles(units: Units, *, level: float, resamples: int, seed: int) -> tuple[Floats, Floats]:
    """Returns the quantiles of the studentised mean on the arcsine scale, which `mean_intervals` uses.

    Args:
        units: at least two.
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
    means = units.means()
    varied = ~units.constant() & (means > 0.0) & (means < 1.0)
    quantiles = np.zeros((2, len(means)))
    if varied.any():
        table = np.column_stack([units.values[:, varied], units.weights])
        rows, counts = np.unique(table, axis=0, return_counts=True)
        studentised = _resampled(rows[:, :-1], rows[:, -1], counts, means[varied], (resamples, seed))
        quantiles[:, varied] = np.quantile(studentised, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return quantiles[0], quantiles[1]


def _resampled(
    rows: Floats, weights: Floats, counts: NDArray[np.int64], means: Floats, draws: tuple[int, int]
) -> Floats:
    """Returns T* [resamples, statistics] from kinds of units, how many there are of each, and (resamples, seed).

    Units with equal rows cannot be told apart, so how often each kind of row is drawn is multinomial: that is far
    less to draw than units, for c of n correct leaves n + 1 kinds.
    """
    resamples, seed = draws
    units, rng = int(counts.sum()), np.random.default_rng(seed)
    even = bool((weights == 1.0).all())
    # Moments of centred values lose no digits to their difference.
    centred = weights[:, None] * (rows - means)
    squares = centred**2
    at_once = max(1, _CHUNK_CELLS // len(rows))
    parts = []
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        drawn = rng.multinomial(units, counts / units, size=size).astype(np.float64)
        sums, seconds = drawn @ centred, drawn @ squares
        if even:
            shifts = sums / units
            spread = seconds - units * shifts**2
            total: Floats | float = float(units)
        else:
            total = (drawn @ weights)[:, None]
            shifts = sums / total
            spread = seconds - 2 * shifts * (drawn @ (weights[:, None] * centred))
            spread += shifts**2 * (drawn @ weights**2)[:, None]
        known = spread > _SAME * seconds
        variances = np.where(known, spread, 1.0) / total**2 * units / (units - 1)
        parts.append(_studentised(means, shifts, variances, known))
    return np.concatenate(parts)


def _studentised(means: Floats, shifts: Floats, variances: Floats, known: NDArray[np.bool_]) -> Floats:
    drawn = means + shifts
    inside = known & (drawn > 0.0) & (drawn < 1.0)
    points = np.where(inside, drawn, 0.5)
    errors = np.sqrt(variances / (4 * points * (1 - points)))
    # Resamples of equal values are further out than all others, on the side of their mean.
    beyond = np.where(np.abs(shifts) > _SAME * means * (1 - means), np.sign(shifts) * _HUGE, 0.0)
    return np.where(inside, (np.arcsin(np.sqrt(points)) - np.arcsin(np.sqrt(means))) / errors, beyond)
