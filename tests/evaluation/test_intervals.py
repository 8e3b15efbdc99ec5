"""Intervals against slow oracles in plain Python, what they must not depend on, and how often they cover the truth."""

import math
import random
import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.intervals import difference_intervals, mean_intervals
from ngrpo.evaluation.student import student_quantile

SHARES = st.lists(st.integers(0, 8).map(lambda eighths: eighths / 8), min_size=2, max_size=20)


def wilson(m: float, problems: int, t: float) -> tuple[float, float]:
    """The roots of (m - p)^2 = t^2 p (1 - p) / P."""
    a, b, c = 1 + t * t / problems, -(2 * m + t * t / problems), m * m
    root = math.sqrt(b * b - 4 * a * c)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def plain_bootstrap_t(values: list[float], resamples: int, seed: int) -> tuple[float, float]:
    """The same interval from drawing problems one by one."""
    draw, problems = random.Random(seed), len(values)

    def studentised(sample: list[float]) -> tuple[float, float]:
        m, s = statistics.fmean(sample), statistics.stdev(sample)
        return m, s / math.sqrt(problems) / (2 * math.sqrt(m * (1 - m))) if 0 < m < 1 else 0.0

    m, error = studentised(values)
    found = []
    for _ in range(resamples):
        m_star, error_star = studentised(draw.choices(values, k=problems))
        shift = math.asin(math.sqrt(min(m_star, 1.0))) - math.asin(math.sqrt(m))
        found.append(
            shift / error_star if error_star > 1e-9 else math.copysign(1e9, shift) if abs(shift) > 1e-9 else 0.0
        )
    low, high = np.quantile(found, [0.025, 0.975])
    wider = math.sqrt(error**2 + 0.2 / (4 * problems**2))
    ends = (math.asin(math.sqrt(m)) - q * wider for q in (high, low))
    first, second = (math.sin(min(max(end, 0.0), math.pi / 2)) ** 2 for end in ends)
    return first, second


@pytest.mark.parametrize(
    "values",
    [
        [0.0] * 10 + [0.25, 0.5, 0.5, 0.75, 1.0],
        [0.1 * i for i in range(11)],
        [0.9] * 5 + [1.0] * 20 + [0.95, 0.7],
    ],
)
def test_agrees_with_drawing_problems_one_by_one(values: list[float]) -> None:
    ((low, high),) = mean_intervals([[v] for v in values], resamples=40_000)
    expected = plain_bootstrap_t(values, 10_000, seed=1)
    assert (low, high) == pytest.approx(expected, abs=0.012)


@pytest.mark.parametrize("problems", [2, 3, 30, 500])
@pytest.mark.parametrize("value", [0.0, 0.1, 0.5, 1.0])
def test_equal_values_give_wilsons_interval(value: float, problems: int) -> None:
    t = student_quantile(0.975, problems - 1)
    ((low, high),) = mean_intervals(np.full((problems, 1), value))
    assert (low, high) == pytest.approx(wilson(value, problems, t), abs=1e-12)
    if value == 0.0:
        assert high == pytest.approx(t * t / (problems + t * t))


def test_a_single_problem_says_nothing() -> None:
    assert mean_intervals([[0.25, 1.0]]).tolist() == [[0.0, 1.0], [0.0, 1.0]]
    assert difference_intervals([[0.25]], [[0.5]]).tolist() == [[-1.0, 1.0]]


def test_no_statistics_have_no_intervals() -> None:
    assert mean_intervals(np.empty((3, 0))).shape == (0, 2)


@given(SHARES, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_the_interval_holds_the_mean_and_not_the_order(values: list[float], draw: random.Random) -> None:
    ((low, high),) = mean_intervals([[v] for v in values], resamples=200)
    assert 0.0 <= low <= np.mean(values) + 1e-15
    assert np.mean(values) - 1e-15 <= high <= 1.0
    shuffled = draw.sample(values, len(values))
    assert mean_intervals([[v] for v in shuffled], resamples=200).tolist() == [[low, high]]


@pytest.mark.parametrize("shape", [(0.3, 1.5), (1.0, 1.0), (6.0, 1.0)])
def test_a_mirrored_benchmark_has_a_mirrored_interval(shape: tuple[float, float]) -> None:
    array = np.random.default_rng(0).beta(*shape, (25, 1))
    ((low, high),) = mean_intervals(array, resamples=20_000)
    ((other_low, other_high),) = mean_intervals(1 - array, resamples=20_000)
    assert (1 - high, 1 - low) == pytest.approx((other_low, other_high), abs=0.01)


def test_the_seed_decides_and_columns_are_independent() -> None:
    values = np.random.default_rng(0).random((12, 3))
    first = mean_intervals(values, resamples=500, seed=3)
    assert first.tolist() == mean_intervals(values, resamples=500, seed=3).tolist()
    assert first.tolist() != mean_intervals(values, resamples=500, seed=4).tolist()
    with_constant = mean_intervals(np.column_stack([values, np.ones(12)]), resamples=500, seed=3)
    np.testing.assert_allclose(with_constant[:3], first, atol=1e-12)


def test_a_higher_level_is_wider_and_more_problems_are_narrower() -> None:
    values = np.random.default_rng(0).random((40, 1))
    (narrow,), (wide,) = mean_intervals(values, level=0.8), mean_intervals(values, level=0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    many = np.tile(values, (25, 1))
    assert np.ptp(mean_intervals(many)) < np.ptp(mean_intervals(values)) / 4


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((20, 2))
    whole = mean_intervals(values, resamples=300)
    monkeypatch.setattr("ngrpo.evaluation.intervals._CHUNK_CELLS", 20 * 7)
    np.testing.assert_allclose(mean_intervals(values, resamples=300), whole, atol=1e-12)


def test_values_near_one_keep_their_digits() -> None:
    values = 1 - 1e-9 * np.arange(30.0)[:, None]
    ((low, high),) = mean_intervals(values)
    assert 0.99 < low < 1 - 1e-8 < high <= 1.0


def plain_difference(d: list[float]) -> tuple[float, float]:
    problems, m = len(d), statistics.fmean(d)
    s = statistics.stdev(d)
    t = student_quantile(0.975, problems - 1)
    g = sum((x - m) ** 3 for x in d) * problems / ((problems - 1) * (problems - 2)) / s**3 if problems > 2 else 0.0
    w = max(-t, min(t, g / math.sqrt(problems) / 6 * (2 * t * t + 1)))
    error = s / math.sqrt(problems)
    return max(-1.0, m - (t + max(-w, 0)) * error), min(1.0, m + (t + max(w, 0)) * error)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=2, max_size=20))
@settings(deadline=None, max_examples=60)
def test_differences_agree_with_plain_python_and_turn_round(pairs: list[tuple[int, int]]) -> None:
    a, b = (np.array(side)[:, None] / 8 for side in zip(*pairs, strict=True))
    ((low, high),) = difference_intervals(a, b)
    d = (a - b)[:, 0].tolist()
    if len(set(d)) > 1:
        assert (low, high) == pytest.approx(plain_difference(d), abs=1e-9)
    assert difference_intervals(b, a).tolist() == [pytest.approx([-high, -low], abs=1e-12)]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=20))
@settings(deadline=None, max_examples=40)
def test_a_constant_shift_moves_the_interval(pairs: list[tuple[int, int]]) -> None:
    a, b = (np.array(side)[:, None] / 64 for side in zip(*pairs, strict=True))
    if np.ptp(a - b) == 0:
        return
    np.testing.assert_allclose(difference_intervals(a + 0.25, b), difference_intervals(a, b) + 0.25, atol=1e-12)


def test_the_side_of_the_long_tail_is_wider() -> None:
    a, b = np.zeros((30, 1)), np.zeros((30, 1))
    a[0] = 0.5
    ((low, high),) = difference_intervals(a, b)
    assert high - a.mean() > 1.5 * (a.mean() - low)


def test_equal_differences_leave_room_for_an_unseen_problem() -> None:
    t = student_quantile(0.975, 29)
    w = t * t / (30 + t * t)
    same = np.full((30, 1), 0.7)
    assert difference_intervals(same, same)[0] == pytest.approx([-w, w])
    assert difference_intervals(same, same - 0.2)[0] == pytest.approx([0.2 * (1 - w) - w, 0.2 * (1 - w) + w])
    assert np.ptp(difference_intervals(np.ones((5000, 1)), np.ones((5000, 1)))) < 0.002


@pytest.mark.parametrize("rates", [(0.3, 1.5), (4.0, 1.0)])
def test_intervals_cover_the_truth(rates: tuple[float, float]) -> None:
    rng, repeats, covered, paired = np.random.default_rng(5), 300, 0, 0
    for repeat in range(repeats):
        p = rng.beta(*rates, 30)
        a, b = (rng.binomial(64, p)[:, None] / 64 for _ in range(2))
        ((low, high),) = mean_intervals(a, resamples=300, seed=repeat)
        covered += low <= rates[0] / sum(rates) <= high
        ((low, high),) = difference_intervals(a, b)
        paired += low <= 0 <= high
    assert 0.91 <= covered / repeats <= 0.99
    assert 0.91 <= paired / repeats <= 0.99


@pytest.mark.parametrize(
    ("values", "options", "error", "message"),
    [
        ([0.5], {}, DataError, r"values must be \[problems, statistics\], got 1 dimensions"),
        (np.empty((0, 2)), {}, DataError, "an interval needs problems, got none"),
        ([[0.5], [1.5]], {}, DataError, "values must lie between 0 and 1, got 1.5"),
        ([[0.5], [-0.1]], {}, DataError, "got -0.1"),
        ([[0.5], [math.nan]], {}, DataError, "got nan"),
        ([[0.5], [0.7]], {"level": 1.0}, ConfigError, "level must lie between 0 and 1, got 1.0"),
        ([[0.5], [0.7]], {"level": math.nan}, ConfigError, "got nan"),
        ([[0.5], [0.7]], {"resamples": 0}, ConfigError, "resamples must be at least 1, got 0"),
    ],
)
def test_impossible_input_is_named(values: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mean_intervals(values, **options)


def test_pairs_must_be_pairs() -> None:
    with pytest.raises(DataError, match=r"paired values must have one shape, got \(2, 1\) and \(1, 1\)"):
        difference_intervals([[0.5], [0.5]], [[0.5]])
    with pytest.raises(ConfigError, match="level"):
        difference_intervals([[0.5], [0.5]], [[0.5], [0.5]], level=0)
