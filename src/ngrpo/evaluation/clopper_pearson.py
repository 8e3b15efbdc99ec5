"""Clopper-Pearson: the largest share of a population that a count in a sample still allows, without SciPy."""

from __future__ import annotations

import functools

from ngrpo.errors import ConfigError
from ngrpo.evaluation.student import incomplete_beta

_PRECISION = 1e-12


@functools.lru_cache(maxsize=65536)
def upper_share(count: float, trials: float, tail: float) -> float:
    """Returns the share whose chance of at most `count` hits in `trials` draws is `tail`.

    Fractions are allowed, as effective numbers of clusters have them.

    Args:
        count: hits, from 0 to `trials`.
        trials: draws, more than 0.
        tail: strictly between 0 and 1; 0.025 for one end of a 95 % interval.

    Raises:
        ConfigError: outside these ranges.

    Example:
        >>> round(upper_share(0, 30, 0.025), 4), round(upper_share(3, 5000, 0.025), 5), upper_share(30, 30, 0.025)
        (0.1157, 0.00175, 1.0)

    References:
        Clopper and Pearson 1934; Korn and Graubard 1998 for effective numbers.
    """
    if not 0.0 < tail < 1.0:
        raise ConfigError(f"a tail must lie between 0 and 1, got {tail!r}")
    if not (trials > 0.0 and 0.0 <= count <= trials * (1 + _PRECISION)):
        raise ConfigError(f"a count must lie between 0 and {trials!r}, got {count!r}")
    rest = trials - count
    if rest <= _PRECISION * trials:
        return 1.0
    low, high = count / trials, 1.0
    while high - low > _PRECISION * high:
        middle = (low + high) / 2
        if not low < middle < high:
            break
        # The chance of at most `count` hits is I_{1-p}(trials - count, count + 1).
        if incomplete_beta(1.0 - middle, middle, rest, count + 1.0) > tail:
            low = middle
        else:
            high = middle
    return high
