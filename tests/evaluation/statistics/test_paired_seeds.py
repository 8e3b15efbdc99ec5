"""Paired seeds: the analysis of variance written out, p-values, Holm, and what pairing takes out."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngrpo.errors import DataError
from ngrpo.evaluation.statistics.paired_seeds import components, holm, paired_differences
from ngrpo.evaluation.statistics.student_t import student_quantile


def slow(values: list[list[float]]) -> tuple[float, float, float]:
    """Mean, standard error and degrees of freedom of values by seed and problem, in the words of the formula."""
    seeds, problems = len(values), len(values[0])
    mean = statistics.fmean(v for row in values for v in row)
    by_seed = [statistics.fmean(row) for row in values]
    by_problem = [statistics.fmean(column) for column in zip(*values, strict=True)]
    of_problem = seeds * sum((m - mean) ** 2 for m in by_problem) / (problems - 1)
    of_seed = problems * sum((m - mean) ** 2 for m in by_seed) / (seeds - 1)
    rest = sum(
        (values[s][p] - by_seed[s] - by_problem[p] + mean) ** 2 for s in range(seeds) for p in range(problems)
    ) / ((seeds - 1) * (problems - 1))
    extra = max(of_seed - rest, 0.0)
    doubt = of_problem**2 / (problems - 1)
    if extra > 0:
        doubt += of_seed**2 / (seeds - 1) + rest**2 / ((seeds - 1) * (problems - 1))
    df = (of_problem + extra) ** 2 / doubt if doubt > 0 else problems - 1
    return mean, math.sqrt((of_problem + extra) / (seeds * problems)), max(df, 1.0)


@given(st.integers(0, 500), st.integers(2, 5), st.integers(2, 12))
def test_components_are_those_of_the_slow_oracle(seed: int, seeds: int, problems: int) -> None:
    values = np.random.default_rng(seed).normal(size=(seeds, problems, 2))
    found = components(values)
    for statistic in range(2):
        expected = slow(values[:, :, statistic].tolist())
        got = (found.mean[statistic], found.error[statistic], found.df[statistic])
        assert got == pytest.approx(expected, rel=1e-9)
    assert np.linalg.eigvalsh(found.correlation).min() > -1e-9


def test_one_seed_is_the_t_test_of_paired_problems() -> None:
    d = [0.25, -0.5, 0.0, 0.75, 0.25]
    found = paired_differences([[[x] for x in d]], [[[0.0]] * len(d)])
    error = statistics.stdev(d) / math.sqrt(len(d))
    half = student_quantile(0.975, 4) * error
    assert found.interval[0] == pytest.approx([statistics.fmean(d) - half, statistics.fmean(d) + half])


def test_what_a_seed_does_to_both_is_taken_out() -> None:
    rng = np.random.default_rng(0)
    shared, a = rng.normal(size=(4, 1, 1)), rng.normal(size=(4, 30, 1))
    with_it = paired_differences(a + 10 * shared, np.zeros_like(a) + 10 * shared + 0.1)
    without = paired_differences(a, np.full_like(a, 0.1))
    np.testing.assert_allclose(with_it.interval, without.interval, atol=1e-9)


def test_p_values_and_intervals_agree_at_the_level() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        a, b = rng.normal(0.3, 1.0, (3, 20, 1)), rng.normal(size=(3, 20, 1))
        found = paired_differences(a, b)
        outside = found.interval[0, 0] > 0 or found.interval[0, 1] < 0
        assert outside == (found.p_value[0] < 0.05)


def test_equal_values_differ_by_nothing_with_certainty() -> None:
    values = np.ones((2, 5, 1))
    found = paired_differences(values, values)
    assert (found.difference[0], found.interval.tolist(), found.p_value[0]) == (0.0, [[0.0, 0.0]], 1.0)
    assert paired_differences(values, 0 * values).p_value[0] == 0.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]).tolist() == []


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((2, 3, 1)), np.zeros((3, 3, 1)), "one shape"),
        (np.zeros((2, 1, 1)), np.zeros((2, 1, 1)), "two problems or more"),
        (np.full((2, 3, 1), np.nan), np.zeros((2, 3, 1)), "finite"),
    ],
)
def test_wrong_values_are_one_line(a: np.ndarray, b: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        paired_differences(a, b)
