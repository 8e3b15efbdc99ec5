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


def exact_shares(correct: int, wrong: Sequence[int], silent: int) -> Floats:
    r"""Returns the expected share of the victory of the correct answer for k = 0, 1, ..., n [n + 1].

    For j correct votes, each wrong answer with w completions has the polynomial \sum_{i<j} C(w, i) x^i + y C(w, j) x^j,
    and answers with fewer than j are as silent as those without an answer. The coefficient of x^{k-j} y^m of the
    product counts the draws in which m wrong answers tie with it, and each of them counts 1 / (m + 1).

    Args:
        correct: completions with the correct answer.
        wrong: completions with each of the wrong answers.
        silent: completions without an answer.

    Example:
        >>> exact_shares(2, [1], 0).round(3).tolist()
        [0.0, 0.667, 0.667, 1.0]
    """
    n = correct + sum(wrong) + silent
    total = np.zeros(n + 1)
    of_correct = _weights(correct)
    most = min(correct, max(wrong, default=0))
    for votes in range(1, most + 1):
        rivals = [count for count in wrong if count >= votes]
        spectators = silent + sum(count for count in wrong if count < votes)
        # Ties by degree: the first axis is how many wrong answers have as many votes.
        ways = np.zeros((min(len(rivals), n // votes) + 1, n + 1))
        ways[0, : spectators + 1] = _weights(spectators)
        for count in rivals:
            ways = _with_rival(ways, _weights(count), votes)
        shares = (ways / np.arange(1, len(ways) + 1)[:, None]).sum(axis=0)
        total[votes:] += of_correct[votes] * shares[: n + 1 - votes]
    # With more votes than any wrong answer has completions, the correct answer wins.
    beyond = of_correct.copy()
    beyond[: most + 1] = 0.0
    total += np.convolve(beyond, _weights(n - correct))
    result: Floats = np.clip(total / _weights(n), 0.0, 1.0)
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


def _with_rival(ways: Floats, weights: Floats, votes: int) -> Floats:
    """Returns the product with the polynomial of one more wrong answer."""
    new = np.zeros_like(ways)
    width = ways.shape[1]
    if len(ways) <= votes:  # fewer rows than terms
        for row, old in enumerate(ways):
            new[row] += np.convolve(old, weights[:votes])[:width]
        new[1:, votes:] += weights[votes] * ways[:-1, : width - votes]
        return new
    for i in range(votes):
        new[:, i:] += weights[i] * ways[:, : width - i]
    new[1:, votes:] += weights[votes] * ways[:-1, : width - votes]
    return new


@functools.lru_cache(maxsize=2048)
def _weights(count: int) -> Floats:
    """Returns C(count, i) / 2^count for i = 0, ..., count; the powers of two cancel in the end."""
    return np.array([math.comb(count, i) / 2**count for i in range(count + 1)])
