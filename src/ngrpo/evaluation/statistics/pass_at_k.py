"""Pass@k: the chance that at least one of k completions is correct; unbiased, with its area over log2 k.

All values are shares between 0 and 1; the tables of the papers show them times 100.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ngrpo.errors import ConfigError, DataError

_INVISIBLE = 2.0**-60
"""A share of failures below this changes no double that it is subtracted from 1 in."""


@overload
def pass_at_k(n: int, c: int, k: int) -> float: ...
@overload
def pass_at_k(n: ArrayLike, c: ArrayLike, k: int) -> float | NDArray[np.float64]: ...
def pass_at_k(n: ArrayLike, c: ArrayLike, k: int) -> float | NDArray[np.float64]:
    r"""Returns the unbiased estimate of Pass@k of problems with c correct among n completions.

    .. math:: 1 - \binom{n-c}{k} / \binom{n}{k} = 1 - \prod_{i=n-c+1}^{n} (1 - k/i)

    It is exactly 1 where fewer than k completions are wrong, exactly 0 where none is correct. The product
    runs over the smaller of c and k, in factors of whole numbers: for n up to a million it errs by less than
    1e-12.

    Args:
        n: completions per problem, whole numbers >= k, of any shape.
        c: how many of them are correct, 0 <= c <= n; broadcast against n.
        k: completions that one may try, >= 1.

    Returns:
        A float for plain numbers, else an array of the shape of n and c.

    Raises:
        DataError: for counts that are not whole, negative, or c > n.
        ConfigError: for a k below 1 or above the smallest n.

    Examples:
        >>> pass_at_k(8, 1, 4)
        0.5
        >>> pass_at_k([8, 8, 4], [0, 6, 1], 4)
        array([0., 1., 1.])

    References:
        Chen et al. 2021, https://arxiv.org/abs/2107.03374, eq. 1.
    """
    counts, correct = _checked_counts(n, c)
    _check_k(k, counts)
    fewer, more = np.minimum(correct, k), np.maximum(correct, k)
    failures = np.ones(counts.shape)
    for i in range(int(fewer.max(initial=0))):
        # C(n - c, k) / C(n, k) is symmetric in c and k. A numerator reaches exactly 0 where n - c < k.
        factors = np.divide(counts - more - i, counts - i, where=i < fewer, out=np.ones(counts.shape))
        failures *= factors
        if (np.abs(failures) < _INVISIBLE).all():
            break
    result = 1.0 - failures
    return float(result) if result.ndim == 0 else result


def pass_at_k_curve(n: ArrayLike, c: ArrayLike, ks: Iterable[int] | None = None) -> dict[int, float]:
    """Returns Pass@k for several k, each the mean over problems.

    Problems may differ in n: each estimate is unbiased, so their mean is too, up to the smallest n.

    Args:
        n: completions per problem [problems], or one number for all of them.
        c: correct completions per problem [problems].
        ks: the values of k; by default 1, 2, 4, ... up to the smallest n.

    Raises:
        DataError: when there are no problems, or for impossible counts.
        ConfigError: for a k below 1 or above the smallest n.

    Examples:
        >>> pass_at_k_curve(4, [0, 1, 4])
        {1: 0.416..., 2: 0.5, 4: 0.666...}
    """
    counts, correct = (np.atleast_1d(array) for array in _checked_counts(n, c))
    if counts.size == 0:
        raise DataError("Pass@k needs at least one problem, got none")
    chosen = powers_of_two(int(counts.min())) if ks is None else sorted(set(ks))
    return {k: float(np.mean(pass_at_k(counts, correct, k))) for k in chosen}


def powers_of_two(largest: int) -> list[int]:
    """Returns 1, 2, 4, ... up to `largest`.

    >>> powers_of_two(10)
    [1, 2, 4, 8]
    """
    return [1 << exponent for exponent in range(largest.bit_length())]


def auc(curve: Mapping[int, float]) -> float | None:
    """Returns the area under a Pass@k curve over log2 k, by the trapezoid, divided by the curve's width.

    For k = 1, 2, 4, ..., 256 that is [(P_1 + P_256)/2 + the seven between] / 8. A curve of one point has no
    width, hence no area: None.

    Args:
        curve: Pass@k by k, in any order and spacing.

    Examples:
        >>> auc({1: 0.0, 2: 0.5, 4: 1.0})
        0.5
        >>> auc({1: 0.3}) is None
        True
    """
    points = [(math.log2(k), share) for k, share in sorted(curve.items())]
    if len(points) < 2:
        return None
    area = math.fsum((left + right) / 2 * (end - start) for (start, left), (end, right) in itertools.pairwise(points))
    return area / (points[-1][0] - points[0][0])


def _checked_counts(n: ArrayLike, c: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    try:
        counts, correct = np.broadcast_arrays(_whole(n, "n"), _whole(c, "c"))
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"n and c differ in shape: {np.shape(n)} and {np.shape(c)}") from None
    _refuse(counts < 0, "n is negative", counts, correct)
    _refuse(correct < 0, "c is negative", counts, correct)
    _refuse(correct > counts, "c is larger than n", counts, correct)
    return counts, correct


def _whole(values: ArrayLike, name: str) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.size == 0:
        return array.astype(np.int64)
    if not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{name} must hold whole numbers, got {array.flat[0]!r} of type {array.dtype}")
    return array.astype(np.int64)


def _refuse(bad: NDArray[np.bool_], complaint: str, n: NDArray[np.int64], c: NDArray[np.int64]) -> None:
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise DataError(f"{complaint} at problem {first} (from 0): n = {n.flat[first]}, c = {c.flat[first]}")


def _check_k(k: int, n: NDArray[np.int64]) -> None:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ConfigError(f"k must be a whole number >= 1, got {k!r}")
    if n.size and k > n.min():
        first = int(np.argmin(n))
        raise ConfigError(f"Pass@{k} needs n >= {k}, got n = {n.flat[first]} at problem {first} (from 0)")
