"""The sign-flip test against enumeration of all signs."""

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.statistics.sign_flip_test import sign_flip_p_value

WHOLE = st.lists(st.integers(-4, 4), min_size=1, max_size=10)


def enumerated(differences: list[int]) -> float:
    seen = abs(sum(differences))
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
            for signs in itertools.product((-1, 1), repeat=len(differences))]  # fmt: skip
    return sum(value >= seen for value in sums) / len(sums)


@given(WHOLE, st.sampled_from([1.0, 0.1, 1 / 3, 1 / 256, 1e-9]))
@settings(deadline=None, max_examples=60)
def test_few_differences_are_exact_in_any_unit(differences: list[int], unit: float) -> None:
    assert sign_flip_p_value([d * unit for d in differences]) == pytest.approx(enumerated(differences), abs=1e-12)


@given(WHOLE, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_neither_order_nor_direction_nor_zeros_matter(differences: list[int], draw: random.Random) -> None:
    p = sign_flip_p_value(differences)
    assert sign_flip_p_value(draw.sample(differences, len(differences))) == p
    assert sign_flip_p_value([-d for d in differences] + [0] * 7) == p


def test_many_differences_are_close_to_the_exact_value() -> None:
    differences = [1] * 12 + [-1] * 5
    exact = sum(math.comb(17, i) for i in range(18) if abs(2 * i - 17) >= 7) / 2**17
    assert sign_flip_p_value(np.array(differences) / 7, resamples=100_000) == pytest.approx(exact, abs=0.005)
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=16)
    sums = np.array(list(itertools.product((-1, 1), repeat=16))) @ np.abs(mixed)
    exact = float(np.mean(np.abs(sums) >= abs(mixed.sum()) - 1e-9))
    assert sign_flip_p_value(mixed, resamples=50_000) == pytest.approx(exact, abs=0.01)


def test_the_seed_decides_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(0).normal(0.2, 1, 30)
    p = sign_flip_p_value(differences, resamples=999, seed=1)
    assert p == sign_flip_p_value(differences[::-1], resamples=999, seed=1)
    assert p != sign_flip_p_value(differences, resamples=999, seed=2)
    monkeypatch.setattr("ngrpo.evaluation.statistics.sign_flip_test._CHUNK_CELLS", 100)
    assert p == sign_flip_p_value(differences, resamples=999, seed=1)


def test_nothing_differs_and_all_differ() -> None:
    assert sign_flip_p_value([0.0] * 20) == 1.0
    assert sign_flip_p_value([]) == 1.0
    assert sign_flip_p_value([0.5] * 100) == pytest.approx(1 / 10_001)
    assert sign_flip_p_value([0.5] * 5) == 2 / 32


def test_the_level_is_kept_where_the_methods_are_the_same() -> None:
    rng = np.random.default_rng(0)
    p_values = [sign_flip_p_value(rng.choice([-1, 0, 0.5, -0.5, 0, 1], 20), resamples=199, seed=i) for i in range(400)]
    assert np.mean(np.array(p_values) <= 0.1) <= 0.14


def test_impossible_input_is_named() -> None:
    with pytest.raises(DataError, match=r"differences must be \[problems\], got 2 dimensions"):
        sign_flip_p_value([[0.5]])
    with pytest.raises(DataError, match="differences must be finite"):
        sign_flip_p_value([0.5, math.nan])
    with pytest.raises(ConfigError, match="resamples must be at least 1, got 0"):
        sign_flip_p_value([0.5], resamples=0)
