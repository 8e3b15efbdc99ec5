"""Plans: more seeds and problems see more, and the chance is what simulations of the design find."""

from __future__ import annotations

import numpy as np
import pytest

from ngrpo.errors import ConfigError
from ngrpo.evaluation.statistics.design_power import plan_of
from ngrpo.evaluation.statistics.paired_seeds import paired_differences


def differences(rng: np.random.Generator, seeds: int, problems: int, effect: float = 0.0) -> np.ndarray:
    of_seed, of_problem = rng.normal(0, 0.02, (seeds, 1)), rng.normal(0, 0.1, (1, problems))
    return effect + of_seed + of_problem + rng.normal(0, 0.1, (seeds, problems))


PILOT = differences(np.random.default_rng(0), 40, 2000)


def test_more_seeds_and_problems_see_smaller_effects() -> None:
    smallest = [
        plan_of(PILOT, seeds=seeds, problems=problems).smallest
        for seeds, problems in ((3, 100), (3, 1000), (10, 1000), (10, 4000))
    ]
    assert smallest == sorted(smallest, reverse=True)


def test_the_chance_is_the_share_of_simulated_studies_that_find_the_effect() -> None:
    rng, effect = np.random.default_rng(1), 0.03
    plan = plan_of(PILOT, seeds=8, problems=60, effect=effect)
    found = [
        paired_differences(differences(rng, 8, 60, effect)[..., None], np.zeros((8, 60, 1))).interval[0, 0] > 0
        for _ in range(400)
    ]
    assert plan.chance == pytest.approx(np.mean(found), abs=0.1)


@pytest.mark.parametrize(("seeds", "problems", "power"), [(0, 10, 0.8), (2, 1, 0.8), (2, 10, 1.0)])
def test_impossible_designs_are_refused(seeds: int, problems: int, power: float) -> None:
    with pytest.raises(ConfigError, match=r"a design needs|power must lie"):
        plan_of(PILOT, seeds=seeds, problems=problems, power=power)
