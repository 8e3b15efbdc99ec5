"""Pass@k against its definition: brute force, exact fractions, and the numbers printed in papers."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.statistics.pass_at_k import auc, pass_at_k, pass_at_k_curve, powers_of_two

PUBLISHED_ROWS = [  # percent for k = 1, 2, 4, ..., 256, and the area derived from them
    ("MATH base", "63.2 76.0 83.7 88.4 91.6 93.7 95.2 96.2 96.9", 88.11),
    ("MATH GRPO", "76.3 81.7 85.6 88.4 90.6 92.3 93.6 94.7 95.5", 89.10),
    ("MATH NSR", "75.7 82.4 86.9 90.1 92.4 94.1 95.3 96.2 96.9", 90.46),
    ("MATH W-REINFORCE", "76.6 82.8 87.1 90.2 92.4 94.1 95.3 96.1 96.7", 90.58),
    ("AIME2025 GRPO", "10.3 14.7 19.4 24.0 28.4 32.8 37.3 42.5 50.0", 28.66),
    ("AIME2025 W-REINFORCE", "10.6 15.3 20.0 24.7 29.7 34.6 40.5 47.8 56.7", 30.78),
]


def exact(n: int, c: int, k: int) -> Fraction:
    return 1 - Fraction(math.comb(n - c, k), math.comb(n, k))


@pytest.mark.parametrize("n", range(1, 9))
def test_equals_enumeration_of_all_draws(n: int) -> None:
    for c in range(n + 1):
        completions = [True] * c + [False] * (n - c)
        for k in range(1, n + 1):
            draws = list(itertools.combinations(completions, k))
            assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-15)


@given(st.data())
@settings(deadline=None, max_examples=50)
def test_agrees_with_exact_fractions(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 10_000))
    c = data.draw(st.integers(0, n))
    k = data.draw(st.integers(1, n))
    assert abs(pass_at_k(n, c, k) - exact(n, c, k)) < 1e-13


@pytest.mark.parametrize("k", [1, 2, 100, 999_999, 1_000_000])
@pytest.mark.parametrize("c", [0, 1, 7, 1_000_000])
def test_a_million_completions_with_few_or_all_correct(c: int, k: int) -> None:
    n = 1_000_000
    failures = Fraction(math.prod(range(n - k - c + 1, n - k + 1)), math.prod(range(n - c + 1, n + 1))) if c < 8 else 0
    assert abs(pass_at_k(n, c, k) - (1 - failures)) < 1e-12


@pytest.mark.parametrize(("c", "k"), [(1000, 1000), (3000, 300), (300, 3000), (500_000, 3), (5000, 5000)])
def test_a_million_completions_with_many_correct(c: int, k: int) -> None:
    n, m = 1_000_000, min(c, k)
    top = math.prod(range(n - max(c, k) - m + 1, n - max(c, k) + 1))
    failures = Fraction(top, math.prod(range(n - m + 1, n + 1)))
    assert abs(pass_at_k(n, c, k) - (1 - failures)) < 1e-12


@given(n=st.integers(1, 300), data=st.data())
@settings(max_examples=50)
def test_rises_with_k_and_with_c_between_its_ends(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, n))
    by_c = pass_at_k(n, np.arange(n + 1), k)
    assert isinstance(by_c, np.ndarray)
    assert by_c[0] == 0.0
    assert (by_c[n - k + 1 :] == 1.0).all()
    assert (np.diff(by_c) >= 0).all()
    if k > 1:
        assert (by_c >= pass_at_k(n, np.arange(n + 1), k - 1)).all()


def test_pass_at_one_is_the_share_of_correct() -> None:
    np.testing.assert_array_equal(pass_at_k(64, np.arange(65), 1), np.arange(65) / 64)


def test_arrays_of_any_shape_give_what_scalars_give() -> None:
    n = np.array([[4, 8, 16], [256, 300, 5]])
    c = np.array([[0, 3, 16], [1, 150, 2]])
    result = pass_at_k(n, c, 4)
    assert isinstance(result, np.ndarray)
    expected = [[pass_at_k(int(a), int(b), 4) for a, b in zip(*row, strict=True)] for row in zip(n, c, strict=True)]
    assert result.tolist() == expected
    assert isinstance(pass_at_k(8, 1, 4), float)


def test_small_integer_types_do_not_overflow() -> None:
    assert pass_at_k(np.array([200], np.uint8), np.array([3], np.uint8), 150) == pytest.approx(
        float(exact(200, 3, 150))
    )


def test_drawing_without_replacement_finds_the_only_correct_one() -> None:
    assert pass_at_k(256, 1, 256) == 1.0


@pytest.mark.parametrize(
    ("n", "c", "k", "error", "message"),
    [
        (4, 1, 5, ConfigError, "Pass@5 needs n >= 5, got n = 4 at problem 0"),
        ([8, 4], [1, 1], 5, ConfigError, "got n = 4 at problem 1"),
        (4, 1, 0, ConfigError, "k must be a whole number >= 1, got 0"),
        (4, 1, 1.5, ConfigError, "got 1.5"),
        (4, 1, True, ConfigError, "got True"),
        ([4, 4], [1, 5], 1, DataError, "c is larger than n at problem 1 .*n = 4, c = 5"),
        (4, -1, 1, DataError, "c is negative"),
        (-4, -5, 1, DataError, "n is negative"),
        (-4, 0, 1, DataError, "n is negative at problem 0"),
        (4.0, 1, 1, DataError, "n must hold whole numbers, got .*4.0"),
        (4, [0.5], 1, DataError, "c must hold whole numbers"),
        (4, "1", 1, DataError, "c must hold whole numbers"),
        ([4, 4, 4], [1, 1], 1, DataError, r"n and c differ in shape: \(3,\) and \(2,\)"),
        (0, 0, 1, ConfigError, "Pass@1 needs n >= 1, got n = 0"),
    ],
)
def test_impossible_numbers_are_named(n: object, c: object, k: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        pass_at_k(n, c, k)  # type: ignore[call-overload]


def test_the_curve_is_the_mean_over_problems() -> None:
    curve = pass_at_k_curve(10, [0, 5, 10])
    assert list(curve) == [1, 2, 4, 8]
    assert curve[1] == pytest.approx(0.5)
    assert curve[4] == pytest.approx(float(exact(10, 5, 4) + 1) / 3)


def test_the_curve_ends_at_the_smallest_n() -> None:
    curve = pass_at_k_curve([16, 5], [4, 1])
    assert list(curve) == [1, 2, 4]
    assert curve[2] == pytest.approx(float(exact(16, 4, 2) + exact(5, 1, 2)) / 2)


def test_the_curve_takes_chosen_ks_in_order() -> None:
    assert list(pass_at_k_curve(10, [1, 2], [7, 3, 3])) == [3, 7]


def test_a_curve_without_problems_or_beyond_n_is_an_error() -> None:
    with pytest.raises(DataError, match="at least one problem"):
        pass_at_k_curve([], [])
    with pytest.raises(ConfigError, match="Pass@16 needs n >= 16, got n = 5 at problem 1"):
        pass_at_k_curve([16, 5], [4, 1], [16])


@pytest.mark.parametrize(
    ("row", "expected"), [row[1:] for row in PUBLISHED_ROWS], ids=[row[0] for row in PUBLISHED_ROWS]
)
def test_published_rows_give_the_published_area(row: str, expected: float) -> None:
    curve = {k: float(value) / 100 for k, value in zip(powers_of_two(256), row.split(), strict=True)}
    area = auc(curve)
    assert area is not None
    assert 100 * area == pytest.approx(expected, abs=0.0051)


def test_the_area_is_the_formula_of_the_paper() -> None:
    shares = np.random.default_rng(0).random(9)
    formula = ((shares[0] + shares[-1]) / 2 + shares[1:-1].sum()) / 8
    assert auc(dict(zip(powers_of_two(256), shares.tolist(), strict=True))) == pytest.approx(formula, abs=1e-15)


def test_the_area_respects_uneven_spacing_and_ignores_order() -> None:
    assert auc({16: 1.0, 1: 0.0, 2: 0.0}) == pytest.approx((0.0 + 0.5 * 3) / 4)
    assert auc({3: 0.25, 6: 0.25}) == pytest.approx(0.25)


@given(st.floats(0, 1), st.integers(1, 12))
def test_a_flat_curve_has_its_height_as_area(height: float, exponent: int) -> None:
    assert auc(dict.fromkeys(powers_of_two(2**exponent), height)) == pytest.approx(height, abs=1e-15)


def test_a_point_has_no_area() -> None:
    assert auc({1: 0.5}) is None
    assert auc({}) is None


def test_powers_of_two_end_at_or_below_the_largest() -> None:
    assert powers_of_two(1) == [1]
    assert powers_of_two(256)[-1] == 256
    assert powers_of_two(255)[-1] == 128
