"""What units that are not in the sample may add to an interval, and what they cannot.

Both hold for values in any range: the sample bounds the share of unseen units, which may lie anywhere in the range.
"""

from __future__ import annotations

import numpy as np

from ngrpo.evaluation.statistics.clopper_pearson import upper_share, upper_shares
from ngrpo.evaluation.statistics.units import Floats, Units


def allowances(units: Units, level: float) -> Floats:
    r"""Returns the share of unlike units that an interval allows for [statistics].

    With e the residuals, N = (\sum e^2)^2 / \sum e^4 units of equal size would make the spread seen: 1 where a single
    unit does, a third of all for normal values. Where nothing differs, unlike units may be as many as Clopper-Pearson
    allows for a kind that was not seen; where N differ, an N-th of that.
    """
    residuals = np.abs(units.residuals())
    largest = residuals.max(axis=0)
    squares = (residuals / np.where(largest > 0.0, largest, 1.0)) ** 2
    fourth = (squares**2).sum(axis=0)
    seen = np.divide(squares.sum(axis=0) ** 2, fourth, out=np.ones_like(fourth), where=fourth > 0.0)
    allowed: Floats = upper_share(0, units.trials, (1 - level) / 2) / np.maximum(seen, 1.0)
    return allowed


def widened(ends: Floats, means: Floats, allowed: Floats, lowest: float) -> Floats:
    """Returns ends [statistics, 2] moved by the allowance for units at `lowest` and at 1, added in squares.

    Where all values are equal, the ends are what the mean becomes when that share of units lies at either end.
    """
    low = means - np.hypot(means - ends[:, 0], allowed * (means - lowest))
    high = means + np.hypot(ends[:, 1] - means, allowed * (1.0 - means))
    return np.clip(np.stack([low, high], axis=1), lowest, 1.0)


def bounded(ends: Floats, units: Units, level: float, lowest: float, others: Floats) -> Floats:
    r"""Returns ends [statistics, 2] that do not exceed what Clopper-Pearson allows for each value.

    A mean of values in [lowest, 1] is lowest plus the integral of the share of units above x, over x. With the upper
    Clopper-Pearson end of each share it is an upper bound, and mirrored a lower one. It is at most the bound of the
    share of units above 0, and equals the binomial one where all values are 0 or 1.

    Args:
        ends: of the mean.
        units: values in [lowest, 1].
        level: of the interval.
        lowest: 0 for shares, -1 for differences.
        others: uncertainty that is not of the units, added to the bounds [statistics].

    References:
        Anderson 1969, Confidence limits for the expected value of an arbitrary bounded random variable; Clopper and
        Pearson 1934 for the band.
    """
    high = _bounds(units, units.values, level, lowest) + others
    low = lowest + 1.0 - _bounds(units, lowest + 1.0 - units.values, level, lowest) - others
    return np.stack([np.maximum(ends[:, 0], low), np.minimum(ends[:, 1], high)], axis=1)


def _bounds(units: Units, values: Floats, level: float, lowest: float) -> Floats:
    """Returns lowest + the integral over x of the upper end of the share of units above x [statistics]."""
    order = np.argsort(values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, axis=0)
    edges = np.concatenate([np.full((1, values.shape[1]), lowest), ordered, np.ones((1, values.shape[1]))])
    weights = np.cumsum(units.weights[order], axis=0) / units.count
    above = np.clip(1.0 - np.concatenate([np.zeros((1, values.shape[1])), weights]), 0.0, 1.0)
    above[-1] = 0.0
    steps = np.maximum(np.diff(edges, axis=0), 0.0)
    used = steps > 0.0
    shares = np.ones_like(above)
    shares[used] = upper_shares(above[used], units.trials, (1 - level) / 2)
    return lowest + np.asarray((shares * steps).sum(axis=0))
