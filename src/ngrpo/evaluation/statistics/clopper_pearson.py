"""Clopper-Pearson: the largest share of a population that a count in a sample still allows, without SciPy."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from ngrpo.errors import ConfigError
from ngrpo.evaluation.statistics.student_t import incomplete_beta

_PRECISION = 1e-11


@functools.lru_cache(maxsize=1 << 17)
def upper_share(count: int, trials: int, tail: float) -> float:
    """Returns the share whose chance of at most `count` hits in `trials` draws is `tail`.

    Args:
        count: hits, from 0 to `trials`.
        trials: draws, at least 1.
        tail: strictly between 0 and 1; 0.025 for one end of a 95 % interval.

    Raises:
        ConfigError: outside these ranges.

    Examples:
        >>> round(upper_share(0, 30, 0.025), 4), round(upper_share(3, 5000, 0.025), 5), upper_share(30, 30, 0.025)
        (0.1157, 0.00175, 1.0)

    References:
        Clopper and Pearson 1934.
    """
    if not 0.0 < tail < 1.0:
        raise ConfigError(f"a tail must lie between 0 and 1, got {tail!r}")
    if not 0 <= count <= trials or trials < 1:
        raise ConfigError(f"a count must lie between 0 and {trials!r}, got {count!r}")
    if count == trials:
        return 1.0
    if count == 0:
        return -math.expm1(math.log(tail) / trials)
    low, high = count / trials, 1.0
    while high - low > _PRECISION * high:
        middle = (low + high) / 2
        # The chance of at most `count` hits is I_{1-p}(trials - count, count + 1).
        if incomplete_beta(1.0 - middle, middle, trials - count, count + 1) > tail:
            low = middle
        else:
            high = middle
    return high


def upper_shares(shares: NDArray[np.float64], trials: int, tail: float) -> NDArray[np.float64]:
    """Returns the same for shares of `trials` draws, between whole counts by linear interpolation.

    Args:
        shares: between 0 and 1, in one dimension.
        trials: draws, at least 1.
        tail: strictly between 0 and 1.

    Raises:
        ConfigError: as `upper_share` does.

    Examples:
        >>> upper_shares(np.array([0.0, 0.05, 0.1]), 10, 0.025).round(3)
        array([0.308, 0.377, 0.445])
    """
    counts = np.clip(np.round(shares * trials, 9), 0, trials)
    whole, places = np.unique(np.concatenate([np.floor(counts), np.ceil(counts)]), return_inverse=True)
    known = np.array([upper_share(int(count), trials, tail) for count in whole])[places]
    below, above = known[: len(counts)], known[len(counts) :]
    found: NDArray[np.float64] = below + (counts - np.floor(counts)) * (above - below)
    return found
