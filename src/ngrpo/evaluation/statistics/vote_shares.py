"""The chance that one answer wins a majority vote among k completions drawn without replacement: exact, or by draws."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from ngrpo.evaluation.statistics.units import Floats

EXACT_UP_TO = 1000
"""Completions of a problem; of more, the smallest binomial weights underflow."""
MOST_WORK = 3e8
"""Multiplications for one problem, about half a second."""


def exact_work(correct: int, wrong: Sequence[int], silent: int) -> float:
    """Returns the multiplications that `exact_shares` takes, infinite for too many completions."""
    n = correct + sum(wrong) + silent
    if n > EXACT_UP_TO:
        return math.inf
    work = 0.0
    for votes in range(1, min(correct, max(wrong, default=0)) + 1):
        rivals = sum(count >= votes for count in wrong)
        work += rivals * (votes + 1) * (min(rivals, n // votes) + 1) * n
    return work


def exact_shares(correct: int, wrong: Sequence[int], silent: int, most_k: int | None = None) -> Floats:
    r"""Returns the expected share of the victory of the correct answer for k = 0, 1, ..., most_k [most_k + 1].

    For j correct votes, each wrong answer with w completions has the polynomial \sum_{i<j} C(w, i) x^i + y C(w, j) x^j,
    and answers with fewer than j are as silent as those without an answer. The coefficient of x^{k-j} y^m of the
    product counts the draws in which m wrong answers tie with it, and each of them counts 1 / (m + 1), which is the
    integral of y^m from 0 to 1: a Gauss-Legendre sum over half as many values of y as there can be ties, exactly.

    Args:
        correct: completions with the correct answer.
        wrong: completions with each of the wrong answers.
        silent: completions without an answer.
        most_k: the largest k that is wanted, by default n, all of them; a smaller one takes less time.

    Examples:
        >>> exact_shares(2, [1], 0).round(3).tolist()
        [0.0, 0.667, 0.667, 1.0]
    """
    n = correct + sum(wrong) + silent
    top = n if most_k is None else most_k
    total = np.zeros(top + 1)
    of_correct = _weights(correct)
    most = min(correct, max(wrong, default=0))
    for votes in range(1, min(most, top) + 1):
        rivals = [count for count in wrong if count >= votes]
        spectators = silent + sum(count for count in wrong if count < votes)
        room = top - votes  # beside the votes of the correct answer
        values, shares = _unit_quadrature(min(len(rivals), room // votes))
        ways = np.zeros((len(values), room + 1))
        weights = _weights(spectators)[: room + 1]
        ways[:, : len(weights)] = weights
        for count in rivals:
            ways = _with_rival(ways, _weights(count), votes, values)
        total[votes:] += of_correct[votes] * (shares @ ways)
    # With more votes than any wrong answer has completions, the correct answer wins.
    beyond = of_correct[: top + 1].copy()
    beyond[: most + 1] = 0.0
    total += np.convolve(beyond, _weights(n - correct))[: top + 1]
    result: Floats = np.clip(total / _weights(n)[: top + 1], 0.0, 1.0)
    return result


def drawn_shares(colors: Sequence[int], k: int, draws: int, generator: np.random.Generator) -> float:
    """Returns the same for one k as a mean over random draws.

    Args:
        colors: completions with the correct answer, with each wrong one, and without any.
        k: completions that vote.
        draws: how many.
        generator: of the draws.
    """
    drawn = generator.multivariate_hypergeometric(list(colors), k, size=draws)[:, :-1]
    most = drawn.max(axis=1)
    winners = (drawn == most[:, None]).sum(axis=1)
    return float(np.mean(np.where((drawn[:, 0] == most) & (most > 0), 1.0 / winners, 0.0)))


def _with_rival(ways: Floats, weights: Floats, votes: int, values: Floats) -> Floats:
    """Returns the product with the polynomial of one more wrong answer, a row for each value of y."""
    width = ways.shape[1]
    if len(ways) <= votes:  # fewer rows than terms
        terms = weights[: votes + 1].copy()
        new = np.empty_like(ways)
        for row, value in enumerate(values):
            terms[votes] = weights[votes] * value
            new[row] = np.convolve(ways[row], terms)[:width]
        return new
    product: Floats = weights[0] * ways
    for i in range(1, votes):
        product[:, i:] += weights[i] * ways[:, : width - i]
    product[:, votes:] += (weights[votes] * values)[:, None] * ways[:, : width - votes]
    return product


@functools.lru_cache(maxsize=512)
def _unit_quadrature(degree: int) -> tuple[Floats, Floats]:
    """Returns points in (0, 1) and weights that integrate polynomials of a degree exactly."""
    points, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    return (points + 1) / 2, weights / 2


@functools.lru_cache(maxsize=2048)
def _weights(count: int) -> Floats:
    """Returns C(count, i) / 2^count for i = 0, ..., count; the powers of two cancel in the end."""
    return np.array([math.comb(count, i) / 2**count for i in range(count + 1)])
