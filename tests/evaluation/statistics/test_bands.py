"""Simultaneous bands: wider than pointwise intervals, and as wide as their correlation asks."""

from __future__ import annotations

import numpy as np
import pytest

from ngrpo.errors import ConfigError
from ngrpo.evaluation.statistics.bands import simultaneous_band
from ngrpo.evaluation.statistics.paired_seeds import components
from ngrpo.evaluation.statistics.student_t import student_quantile

rng = np.random.default_rng(0)
INDEPENDENT = rng.normal(size=(1, 400, 6))
EQUAL = np.repeat(INDEPENDENT[:, :, :1], 6, axis=2)


def critical_of(values: np.ndarray) -> float:
    band, found = simultaneous_band(values), components(values)
    return float(((band.high - band.mean) / found.error).max())


def test_statistics_that_move_together_need_no_more_than_one() -> None:
    pointwise = max(student_quantile(0.975, df) for df in components(EQUAL).df)
    assert critical_of(EQUAL) == pytest.approx(pointwise, rel=0.05)


def test_independent_statistics_need_about_sidaks_width() -> None:
    df = float(components(INDEPENDENT).df.min())
    sidak = student_quantile((1 + 0.95 ** (1 / 6)) / 2, df)
    assert critical_of(INDEPENDENT) == pytest.approx(sidak, rel=0.1)
    assert critical_of(INDEPENDENT) > critical_of(EQUAL)


def test_where_a_beats_b_the_whole_band_is_above_zero() -> None:
    shift = np.array([5.0, 0.0, 0.0, 0.0, 0.0, -5.0]) - INDEPENDENT.mean(axis=(0, 1))
    band = simultaneous_band(INDEPENDENT + shift)
    assert band.above.tolist() == [True, False, False, False, False, False]
    assert band.below.tolist() == [False, False, False, False, False, True]


def test_the_same_seed_gives_the_same_band() -> None:
    first, again, other = (simultaneous_band(INDEPENDENT, seed=seed).high.tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_a_level_outside_zero_and_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="level must lie between 0 and 1"):
        simultaneous_band(INDEPENDENT, level=1.0)
