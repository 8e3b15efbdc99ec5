"""The upper end of a share against the binomial distribution in exact rationals."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngrpo.errors import ConfigError
from ngrpo.evaluation.statistics.clopper_pearson import upper_share, upper_shares


@given(st.integers(1, 300), st.data())
@settings(deadline=None, max_examples=60)
def test_the_chance_of_so_few_hits_is_the_tail(trials: int, data: st.DataObject) -> None:
    count, tail = data.draw(st.integers(0, trials - 1)), data.draw(st.sampled_from([0.025, 0.005, 0.2]))
    p = Fraction(upper_share(count, trials, tail))
    chance = sum(comb(trials, i) * p**i * (1 - p) ** (trials - i) for i in range(count + 1))
    assert float(chance) == pytest.approx(tail, rel=1e-6)


def test_ends_and_shares_between_counts() -> None:
    assert upper_share(7, 7, 0.025) == 1.0
    assert upper_share(3, 5000, 0.025) == pytest.approx(0.0017524, abs=1e-7)
    between = upper_shares(np.array([0.0, 0.25, 0.375, 1.0]), 4, 0.025)
    counts = [upper_share(count, 4, 0.025) for count in (0, 1, 2, 4)]
    assert between == pytest.approx([counts[0], counts[1], (counts[1] + counts[2]) / 2, counts[3]])


def test_impossible_input_is_named() -> None:
    with pytest.raises(ConfigError, match="a count must lie between 0 and 4, got 5"):
        upper_share(5, 4, 0.025)
    with pytest.raises(ConfigError, match="a tail must lie between 0 and 1, got 0"):
        upper_share(1, 4, 0)
