"""Intervals against slow oracles in plain Python, what they must not depend on, and how often they cover the truth."""

import itertools
import math
import os
import random
import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.statistics.intervals import difference_intervals, mean_intervals
from ngrpo.evaluation.statistics.problem_values import problem_values
from ngrpo.evaluation.statistics.seed_intervals import seeded_difference_intervals, seeded_mean_intervals
from ngrpo.evaluation.statistics.student_t import student_quantile

CASES = int(os.environ.get("NGRPO_CASES", "150"))
"""Of the search for counts without an interval; the figure of docs/evaluation.md is 10,000."""
SHARES = st.lists(st.integers(0, 8).map(lambda eighths: eighths / 8), min_size=2, max_size=20)


def largest_share(hits: int, draws: int) -> float:
    """Clopper and Pearson's upper end by bisection on the binomial distribution, in plain Python."""
    low, high = hits / draws, 1.0
    for _ in range(60 if hits < draws else 0):
        p = (low + high) / 2
        chance = sum(math.comb(draws, i) * p**i * (1 - p) ** (draws - i) for i in range(hits + 1))
        low, high = (p, high) if chance > 0.025 else (low, p)
    return high


def plainly_widened(
    values: list[float], ends: tuple[float, float], lowest: float, slack: float = 0.0
) -> tuple[float, float]:
    """The allowance for problems unlike those seen, and the bounds, which may be looser by `slack`."""
    problems, m = len(values), statistics.fmean(values)
    squares = [(v - m) ** 2 for v in values] if max(values) - min(values) > 1e-12 else [0.0]
    seen = sum(squares) ** 2 / sum(s * s for s in squares) if any(squares) else 1.0
    allowed = largest_share(0, problems) / max(seen, 1.0)
    low, high = m - math.hypot(m - ends[0], allowed * (m - lowest)), m + math.hypot(ends[1] - m, allowed * (1 - m))
    low, high = max(low, lowest), min(high, 1.0)
    low = max(low, lowest + 1 - plain_bound([lowest + 1 - v for v in values], lowest) - slack)
    return low, min(high, plain_bound(values, lowest) + slack)


def plain_bound(values: list[float], lowest: float) -> float:
    """Returns lowest + the integral of the upper end of the share of values above x, step by step."""
    edges, total = sorted({lowest, *values, 1.0}), lowest
    for start, end in itertools.pairwise(edges):
        total += (end - start) * largest_share(sum(v > start for v in values), len(values))
    return total


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
    return plainly_widened(values, (first, second), 0.0)


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
def test_equal_values_leave_room_for_a_kind_of_problem_that_was_not_seen(value: float, problems: int) -> None:
    unseen = 1 - 0.025 ** (1 / problems)
    ((low, high),) = mean_intervals(np.full((problems, 1), value))
    assert (low, high) == pytest.approx((value * (1 - unseen), value + unseen * (1 - value)), abs=1e-9)


@pytest.mark.parametrize("above", [1, 2, 3, 4, 10])
@pytest.mark.parametrize("value", [0.5, 1.0, 1e-9])
def test_few_problems_that_differ_bound_the_ends(above: int, value: float) -> None:
    """Three problems of 5,000 at 0.5 gave [0.0001, 1.0], four of them [0.0001, 0.0009]."""
    values = np.zeros((5000, 1))
    values[:above] = value
    ((low, high),) = mean_intervals(values, resamples=2000)
    assert 0 <= low <= values.mean() < high <= largest_share(above, 5000) + 1e-12
    ((low, high),) = mean_intervals(1 - values, resamples=2000)
    assert 1 - largest_share(above, 5000) - 1e-12 <= low < 1 - values.mean() <= high <= 1


def test_a_difference_in_one_problem_says_little_of_the_others() -> None:
    """100 problems at 128 of 128 but one, with 40 against 41, gave [0, 0] at Pass@64."""
    values = [problem_values(np.full(100, 128), np.array([c] + [128] * 99), [1, 64], [1]) for c in (40, 41)]
    for low, high in difference_intervals(*values):
        assert -0.0363 < low < -0.03
        assert 0.03 < high < 0.0546
    tiny = np.zeros((100, 1))
    tiny[::2] = 1e-10
    assert np.ptp(difference_intervals(tiny, np.zeros((100, 1)))) > 0.0005


@pytest.mark.filterwarnings("error")
@given(
    st.integers(1, 3).flatmap(
        lambda files: st.tuples(
            st.integers(1, 256), st.lists(st.tuples(*[st.floats(0, 1)] * files), min_size=1, max_size=12)
        )
    ),
    st.data(),
)
@settings(deadline=None, max_examples=CASES)
def test_no_counts_give_an_interval_that_is_not_a_number(
    drawn: tuple[int, list[tuple[float, ...]]], data: st.DataObject
) -> None:
    """One file, two of them paired, and three as seeds, with clusters or without; n up to 256, any k."""
    n, rates = drawn
    k = data.draw(st.integers(1, n))
    clusters = data.draw(st.none() | st.lists(st.integers(0, 3), min_size=len(rates), max_size=len(rates)))
    powers = [1 << i for i in range(n.bit_length())]
    files = [
        problem_values(np.full(len(rates), n), np.array([round(rate * n) for rate in of_file]), [k], powers)
        for of_file in zip(*rates, strict=True)
    ]
    options = {"clusters": clusters, "resamples": 50}
    shares = [(file, mean_intervals(file, **options)) for file in files]
    shares.append((np.mean(files, axis=0), seeded_mean_intervals(files, **options)))
    for values, found in shares:
        assert np.isfinite(found).all()
        assert ((found >= 0) & (found <= 1)).all()
        assert (found[:, 1] - found[:, 0] > 1e-6).all()
        assert (found[:, 0] <= values.mean(axis=0) + 1e-9).all()
        assert (values.mean(axis=0) - 1e-9 <= found[:, 1]).all()
    paired = [difference_intervals(file, files[0], clusters=clusters) for file in files]
    paired += [seeded_difference_intervals(files, files[:many], clusters=clusters) for many in (1, len(files))]
    for found in paired:
        assert np.isfinite(found).all()
        assert (np.abs(found) <= 1).all()
        assert (found[:, 1] - found[:, 0] > 1e-6).all()


def test_a_mean_that_rounds_to_one() -> None:
    values = problem_values(np.array([128, 128]), np.array([128, 40]), [64], [1 << i for i in range(8)])
    ((low, high), _) = mean_intervals(values)
    assert (low, high) == pytest.approx((0.025**0.5, 1.0))


def test_few_hard_problems_among_solved_ones_bound_the_lower_end() -> None:
    """Two of 30 at 0.1 and 0.3, the others nearly solved, gave an interval of more than 90 points."""
    ((low, high),) = mean_intervals([[v] for v in [0.98] * 25 + [0.99] * 3 + [0.1, 0.3]])
    assert 0.75 < low < high < 0.98
    ((low, high),) = mean_intervals([[v] for v in [0.02] * 25 + [0.01] * 3 + [0.9, 0.7]])
    assert 0.02 < low < high < 0.25


def test_clusters_take_the_place_of_problems() -> None:
    rng = np.random.default_rng(0)
    values, other = rng.random((2, 12, 1))
    three = np.repeat(np.arange(12), 3).tolist()
    repeated = values.repeat(3, axis=0), other.repeat(3, axis=0)
    np.testing.assert_allclose(mean_intervals(repeated[0], clusters=three), mean_intervals(values), atol=1e-9)
    np.testing.assert_allclose(
        difference_intervals(*repeated, clusters=three), difference_intervals(values, other), atol=1e-9
    )
    assert np.ptp(mean_intervals(repeated[0])) < np.ptp(mean_intervals(values))
    assert mean_intervals(values, clusters=["x"] * 12).tolist() == [[0.0, 1.0]]
    assert difference_intervals(values, other, clusters=["x"] * 12).tolist() == [[-1.0, 1.0]]
    order = rng.permutation(36)
    shuffled = mean_intervals(repeated[0][order], clusters=[three[at] for at in order])
    assert shuffled == pytest.approx(mean_intervals(repeated[0], clusters=three), abs=1e-9)
    with pytest.raises(DataError, match="every problem needs a cluster: got 2 for 12"):
        mean_intervals(values, clusters=[0, 1])


def test_uneven_clusters_are_weighted_by_their_size() -> None:
    """The cluster-robust variance of a ratio, in plain Python."""
    groups = [[0.1, 0.2, 0.4], [0.9], [0.5, 0.7], [0.3, 0.35, 0.3, 0.2]]
    values = [v for group in groups for v in group]
    clusters = [at for at, group in enumerate(groups) for _ in group]
    size, m = len(values) / len(groups), statistics.fmean(values)
    e = [(sum(group) - m * len(group)) / size for group in groups]
    s = math.sqrt(sum(x * x for x in e) / 3)
    effective = len(values) ** 2 / sum(len(group) ** 2 for group in groups)
    t = student_quantile(0.975, effective - 1)
    w = sum((x / s) ** 3 for x in e) * 4 / 6 / 2 / 6 * (2 * t * t + 1)
    w = max(-t, min(t, w))
    low, high = m - (t + max(-w, 0)) * s / 2, m + (t + max(w, 0)) * s / 2
    unseen = 1 - 0.025 ** (1 / int(effective))
    allowed = unseen / (sum(x**2 for x in e) ** 2 / sum(x**4 for x in e))
    low, high = m - math.hypot(m - low, allowed * (m + 1)), m + math.hypot(high - m, allowed * (1 - m))
    found = difference_intervals(np.array(values)[:, None], np.zeros((len(values), 1)), clusters=clusters)
    assert found[0] == pytest.approx([max(low, -unseen), min(high, 1)], abs=1e-9)


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
    monkeypatch.setattr("ngrpo.evaluation.statistics.bootstrap._CHUNK_CELLS", 20 * 7)
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
    return plainly_widened(d, (m - (t + max(-w, 0)) * error, m + (t + max(w, 0)) * error), -1.0)


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
def test_no_interval_is_narrower_than_students(pairs: list[tuple[int, int]]) -> None:
    a, b = (np.array(side)[:, None] / 64 for side in zip(*pairs, strict=True))
    d = a - b
    half = student_quantile(0.975, len(d) - 1) * d.std(ddof=1) / math.sqrt(len(d))
    ((low, high),) = difference_intervals(a, b)
    assert low <= d.mean() - half + 1e-12
    assert high >= min(d.mean() + half, largest_share(int((d > 0).sum()), len(d))) - 1e-9


def test_the_side_of_the_long_tail_is_wider() -> None:
    a, b = np.full((300, 1), 0.5), np.full((300, 1), 0.5)
    a[:8, 0], b[:2, 0] = 1.0, 0.4
    ((low, high),) = difference_intervals(a, b)
    mean = float((a - b).mean())
    assert high - mean > 1.15 * (mean - low)


def test_equal_differences_leave_room_for_an_unseen_problem() -> None:
    w = 1 - 0.025 ** (1 / 30)
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
    assert 0.91 <= paired / repeats <= 1.0


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
