"""What units that are not in the sample may add to an interval, and what they cannot.

Both hold for values in any range: the sample bounds the share of unseen units, which may lie anywhere in the range.
"""

from __future__ import annotations

import numpy as np

from ngrpo.evaluation.clopper_pearson import upper_share
from ngrpo.evaluation.units import Floats, Units


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
    return upper_share(0.0, units.effective, (1 - level) / 2) / np.maximum(seen, 1.0)


def widened(ends: Floats, means: Floats, allowed: Floats, lowest: float) -> Floats:
    """Returns ends [statistics, 2] moved by the allowance for units at `lowest` and at 1, added in squares.

    Where all values are equal, the ends are what the mean becomes when that share of units lies at either end.
    """
    low = means - np.hypot(means - ends[:, 0], allowed * (means - lowest))
    high = means + np.hypot(ends[:, 1] - means, allowed * (1.0 - means))
    return np.clip(np.stack([low, high], axis=1), lowest, 1.0)


def bounded(ends: Floats, units: Units, level: float, others: Floats) -> Floats:
    """Returns ends [statistics, 2] that do not exceed what the shares of positive and of negative values allow.

    A mean of values up to 1 is at most the share of those above 0, whose upper end is that of Clopper and Pearson.

    Args:
        ends: of the mean.
        units: values in [-1, 1]; for the ends of shares, those minus 1 bound the lower end.
        level: of the interval.
        others: uncertainty that is not of the units, added to the bounds [statistics].
    """
    high = _bounds(ends[:, 1], units.share(units.values > 0.0), units.effective, level) + others
    low = _bounds(-ends[:, 0], units.share(units.values < 0.0), units.effective, level) + others
    return np.stack([np.maximum(ends[:, 0], -low), np.minimum(ends[:, 1], high)], axis=1)


def _bounds(ends: Floats, shares: Floats, effective: float, level: float) -> Floats:
    """Returns the upper ends of shares where they can matter: an end below the share itself is below its bound."""
    tail = (1 - level) / 2
    return np.array(
        [
            upper_share(min(round(share * effective, 9), effective), effective, tail) if end > share else 1.0
            for end, share in zip(ends, shares, strict=True)
        ],
        dtype=np.float64,
    ).reshape(ends.shape)
