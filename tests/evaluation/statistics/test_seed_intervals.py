"""Intervals over training seeds: the analysis of variance in plain Python, and what one seed reduces to."""

import math
import statistics

import numpy as np
import pytest

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.statistics.bootstrap import bootstrap_quantiles
from ngrpo.evaluation.statistics.intervals import difference_intervals, mean_intervals
from ngrpo.evaluation.statistics.seed_intervals import seeded_difference_intervals, seeded_mean_intervals
from ngrpo.evaluation.statistics.student_t import student_quantile
from ngrpo.evaluation.statistics.units import units_of
from tests.evaluation.statistics.test_intervals import plainly_widened


def drawn(seeds: int, problems: int, seed: int, spread: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = (
        rng.beta(1, 1, (1, problems)) + spread * rng.normal(size=(seeds, 1)) + 0.05 * rng.normal(size=(seeds, problems))
    )
    return np.clip(values, 0, 1)[:, :, None]


def mean_squares(y: list[list[float]]) -> tuple[float, float, float]:
    seeds, problems = len(y), len(y[0])
    mean = statistics.fmean(v for row in y for v in row)
    by_seed = [statistics.fmean(row) for row in y]
    by_problem = [statistics.fmean(column) for column in zip(*y, strict=True)]
    rest = sum((y[i][j] - by_seed[i] - by_problem[j] + mean) ** 2 for i in range(seeds) for j in range(problems))
    return (
        problems * sum((m - mean) ** 2 for m in by_seed) / (seeds - 1),
        seeds * sum((m - mean) ** 2 for m in by_problem) / (problems - 1),
        rest / ((seeds - 1) * (problems - 1)),
    )


@pytest.mark.parametrize("spread", [0.0, 0.2])
def test_the_mean_is_that_of_the_analysis_of_variance(spread: float) -> None:
    values = drawn(3, 8, 1, spread)
    seed, problem, rest = mean_squares(values[:, :, 0].tolist())
    total, uncertainty = problem, problem**2 / 7
    if seed > rest:
        total += seed - rest
        uncertainty += seed**2 / 2 + rest**2 / 14
    t, m = student_quantile(0.975, total**2 / uncertainty), float(values.mean())
    quantiles = bootstrap_quantiles(units_of(values.mean(axis=0)), level=0.95, resamples=10_000, seed=0)
    share, problem_t = (problem / total) ** 1.5, student_quantile(0.975, 7)
    low, high = share * (quantiles[0][0] + problem_t) - t, share * (quantiles[1][0] - problem_t) + t
    error = math.sqrt(total / 24 / (4 * m * (1 - m)) + 0.2 / (4 * 64))
    ends = [math.sin(min(max(math.asin(math.sqrt(m)) - q * error, 0), math.pi / 2)) ** 2 for q in (high, low)]
    slack = student_quantile(0.975, 2) * math.sqrt(max(seed - rest, 0) / 24)
    expected = plainly_widened(values.mean(axis=0)[:, 0].tolist(), (ends[0], ends[1]), 0.0, slack)
    assert seeded_mean_intervals(values)[0] == pytest.approx(expected, abs=1e-9)


def test_one_seed_is_the_interval_over_problems() -> None:
    a, b = drawn(1, 9, 1), drawn(1, 9, 2)
    options = {"resamples": 300, "seed": 5, "level": 0.9}
    assert seeded_mean_intervals(a, **options).tolist() == mean_intervals(a[0], **options).tolist()
    assert seeded_difference_intervals(a, b).tolist() == difference_intervals(a[0], b[0]).tolist()


def test_equal_seeds_are_as_one_and_differing_seeds_widen() -> None:
    one = drawn(1, 40, 1)
    same = np.repeat(one, 4, axis=0)
    other = drawn(1, 40, 3)
    np.testing.assert_allclose(
        seeded_difference_intervals(same, np.repeat(other, 2, axis=0)),
        difference_intervals(one[0], other[0]),
        atol=1e-9,
    )
    np.testing.assert_allclose(seeded_mean_intervals(same), mean_intervals(one[0]), atol=1e-9)
    apart = np.clip(same + np.array([-0.3, -0.1, 0.1, 0.3])[:, None, None], 0, 1)
    assert np.ptp(seeded_mean_intervals(apart)) > 1.5 * np.ptp(seeded_mean_intervals(same))


def test_differences_add_the_spread_of_both_methods_seeds() -> None:
    a, b = drawn(3, 12, 1, 0.15), drawn(4, 12, 2, 0.15)
    d = (a.mean(axis=0) - b.mean(axis=0))[:, 0]
    total = uncertainty = 0.0
    for values in (a, b):
        seeds = len(values)
        seed, _, rest = (square / (12 * seeds) for square in mean_squares(values[:, :, 0].tolist()))
        assert seed > rest
        total += seed - rest
        uncertainty += seed**2 / (seeds - 1) + rest**2 / ((seeds - 1) * 11)
    own = statistics.variance(d.tolist()) / 12
    t = student_quantile(0.975, (total + own) ** 2 / (uncertainty + own**2 / 11))
    skew = float(((d - d.mean()) ** 3).sum() * 12 / (11 * 10) / (own * 12) ** 1.5)
    w = skew / math.sqrt(12) * (own / (own + total)) ** 1.5 / 6 * (2 * t * t + 1)
    low, high = seeded_difference_intervals(a, b)[0]
    error = math.sqrt(own + total)
    student = (d.mean() - (t + max(-w, 0)) * error, d.mean() + (t + max(w, 0)) * error)
    assert (low, high) == pytest.approx(plainly_widened(d.tolist(), student, -1.0), abs=1e-9)
    turned = seeded_difference_intervals(b, a)[0]
    assert turned == pytest.approx([-high, -low], abs=1e-12)


def test_a_single_seed_borrows_the_spread_of_the_other_method() -> None:
    a, b = drawn(1, 30, 1), drawn(3, 30, 2, 0.15)
    assert np.ptp(seeded_difference_intervals(a, b)) > np.ptp(difference_intervals(a[0], b.mean(axis=0)))
    np.testing.assert_allclose(
        seeded_difference_intervals(a, b)[0], -seeded_difference_intervals(b, a)[0][::-1], atol=1e-12
    )


def test_few_problems_that_differ_bound_the_ends() -> None:
    """Three problems of 5,000 at 0.5 gave [0, 1]; Clopper-Pearson allows 0.18 % of problems above 0."""
    for above in (3, 4):
        values = np.zeros((2, 5000, 1))
        values[:, :above] = [[[0.5]], [[0.25]]]
        ((low, high),) = seeded_mean_intervals(values)
        assert 0 <= low < values.mean() < high < 0.003
        ((low, high),) = seeded_mean_intervals(1 - values)
        assert 0.997 < low < 1 - values.mean() < high <= 1


def test_seeds_that_collapse_keep_the_bounds_open() -> None:
    """Of two seeds one solves nothing and one a tenth: other seeds may solve more than these problems show."""
    values = np.zeros((2, 100, 1))
    values[1, :10] = 1.0
    ((_, high),) = seeded_mean_intervals(values)
    assert high > 0.3


def test_clusters_take_the_place_of_problems() -> None:
    a, b = drawn(3, 12, 1), drawn(2, 12, 2)
    thrice = np.repeat(np.arange(12), 3).tolist()
    of_a, of_b = (np.repeat(values, 3, axis=1) for values in (a, b))
    np.testing.assert_allclose(seeded_mean_intervals(of_a, clusters=thrice), seeded_mean_intervals(a), atol=1e-9)
    np.testing.assert_allclose(
        seeded_difference_intervals(of_a, of_b, clusters=thrice), seeded_difference_intervals(a, b), atol=1e-9
    )
    assert np.ptp(seeded_mean_intervals(of_a)) < np.ptp(seeded_mean_intervals(a))
    assert seeded_mean_intervals(a, clusters=["x"] * 12).tolist() == [[0.0, 1.0]]
    assert seeded_difference_intervals(a, b, clusters=["x"] * 12).tolist() == [[-1.0, 1.0]]


def test_degenerate_values() -> None:
    ones = np.ones((3, 30, 1))
    np.testing.assert_allclose(seeded_mean_intervals(ones), mean_intervals(ones[0]))
    np.testing.assert_allclose(seeded_mean_intervals(0.1 * ones), mean_intervals(0.1 * ones[0]))
    np.testing.assert_allclose(seeded_difference_intervals(ones, ones), difference_intervals(ones[0], ones[0]))
    one_problem = np.full((3, 1, 1), 0.5)
    assert seeded_mean_intervals(one_problem).tolist() == [[0.0, 1.0]]
    assert seeded_difference_intervals(one_problem, one_problem).tolist() == [[-1.0, 1.0]]


def test_coverage_with_seeds_that_differ() -> None:
    rng, repeats, covered = np.random.default_rng(0), 200, 0
    for _ in range(repeats):
        problems = rng.normal(0.5, 0.1, (1, 25, 1))
        a, b = (
            np.clip(problems + rng.normal(0, 0.05, (3, 1, 1)) + rng.normal(0, 0.05, (3, 25, 1)), 0, 1) for _ in "ab"
        )
        low, high = seeded_difference_intervals(a, b)[0]
        covered += low <= 0 <= high
    assert covered / repeats >= 0.91


def test_impossible_input_is_named() -> None:
    values = drawn(2, 4, 0)
    with pytest.raises(DataError, match=r"values must be \[seeds, problems, statistics\], got 2 dimensions"):
        seeded_mean_intervals(values[0])
    with pytest.raises(DataError, match="an interval needs seeds, got none"):
        seeded_mean_intervals(values[:0])
    with pytest.raises(DataError, match="an interval needs problems, got none"):
        seeded_mean_intervals(values[:, :0])
    with pytest.raises(DataError, match="must agree in problems and statistics"):
        seeded_difference_intervals(values, values[:, :3])
    with pytest.raises(ConfigError, match="level must lie between 0 and 1, got 2"):
        seeded_mean_intervals(values, level=2)
    with pytest.raises(ConfigError, match="level"):
        seeded_difference_intervals(values, values, level=0)
