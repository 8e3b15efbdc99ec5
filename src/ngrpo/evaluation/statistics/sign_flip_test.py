"""The sign-flip test: could the paired differences of two methods as well have had the other signs?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ngrpo.errors import ConfigError, DataError

EXACT_UP_TO = 14
"""So many differences that are not 0 have 16,384 choices of signs, which are all tried."""

_SAME = 1e-12
"""Sizes of differences that are nearer than this part of the largest are equal but for rounding."""
_CHUNK_CELLS = 2_000_000


def sign_flip_p_value(differences: ArrayLike, *, resamples: int = 10_000, seed: int = 0) -> float:
    """Returns the two-sided p-value of a mean of 0, by flipping the signs of the differences.

    It is the share of all choices of signs whose sum is at least as far from 0 as the sum seen: of all 2^m choices
    where m <= 14 differences are not 0, else of random ones, with those seen counted as one more:
    (1 + count) / (1 + resamples). Sums that differ by rounding only count as equal. Without any difference it is 1.

    What is tested is that each problem's difference is as likely to have either sign, as it is when both methods are
    the same; differences of mean 0 that are skewed are not quite that.

    Args:
        differences: of one statistic, by problem [problems].
        resamples: random choices of signs, where not all are tried.
        seed: of the random choices. The order of the problems does not matter.

    Raises:
        DataError: unless there is one dimension and every value is finite.
        ConfigError: for fewer than one resample.

    Examples:
        >>> sign_flip_p_value([0.25, 0.25, 0.5, 0.0])  # 2 of 8 choices are as extreme: all plus, all minus
        0.25

    References:
        Fisher 1935, The Design of Experiments, section 21; Phipson and Smyth 2010 for the added one.
    """
    array = np.asarray(differences, dtype=np.float64)
    if array.ndim != 1:
        raise DataError(f"differences must be [problems], got {array.ndim} dimensions")
    if not np.isfinite(array).all():
        raise DataError("differences must be finite")
    if resamples < 1:
        raise ConfigError(f"resamples must be at least 1, got {resamples!r}")
    sizes = np.abs(array)
    largest = sizes.max(initial=0.0)
    nonzero = sizes > _SAME * largest
    if not nonzero.any():
        return 1.0
    # In units of the largest and rounded, so that values equal but for rounding fall together; sorted for the seed.
    units = np.round(sizes[nonzero] / largest, 12)
    values, counts = np.unique(units, return_counts=True)
    seen = abs(float(units @ np.sign(array[nonzero]))) - _SAME * len(units) * len(units)
    if len(units) <= EXACT_UP_TO:
        choices = np.arange(2 ** len(units))[:, None] >> np.arange(len(units)) & 1
        return float(np.mean(np.abs((2 * choices - 1) @ units) >= seen))
    as_extreme = sum(int(np.sum(np.abs(sums) >= seen)) for sums in _random_sums(values, counts, resamples, seed))
    return (1 + as_extreme) / (1 + resamples)


def _random_sums(
    values: NDArray[np.float64], counts: NDArray[np.int64], resamples: int, seed: int
) -> list[NDArray[np.float64]]:
    """Returns the sums under random signs; of equal differences, how many are positive is binomial."""
    rng = np.random.default_rng(seed)
    at_once = max(1, _CHUNK_CELLS // len(values))
    sums = []
    for start in range(0, resamples, at_once):
        positive = rng.binomial(counts, 0.5, size=(min(at_once, resamples - start), len(values)))
        sums.append((2.0 * positive - counts) @ values)
    return sums
