"""How many seeds and problems a comparison needs, from the variance components of a pilot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from ngrpo.errors import ConfigError
from ngrpo.evaluation.statistics.paired_seeds import components
from ngrpo.evaluation.statistics.student_t import student_quantile


@dataclass(frozen=True, slots=True)
class Plan:
    """A design and what it can see: `smallest` is the difference found with the power's chance, `half_width` that of
    the interval, `chance` that of finding the wanted effect.
    """

    seeds: int
    problems: int
    smallest: float
    half_width: float
    chance: float


def plan_of(
    differences: ArrayLike, *, seeds: int, problems: int, effect: float = 0.02, power: float = 0.8, level: float = 0.95
) -> Plan:
    """Returns what a design of so many seeds and problems could see of one statistic.

    The variance of the mean difference is problem / problems + seed / seeds + rest / (seeds * problems), with the
    components of the pilot; degrees of freedom are those of the design's smaller side where seeds matter.

    Args:
        differences: A - B of a pilot with paired seeds [seeds, problems].
        seeds: of the design, at least 2 unless the pilot has one.
        problems: of the design, at least 2.
        effect: the difference that one wishes to find.
        power: the chance of finding `smallest`.
        level: of the interval.

    Raises:
        ConfigError: for a design of no seed or fewer than two problems, or a power outside (0, 1).
        DataError: as `components`.

    Examples:
        >>> pilot = [[0.1, 0.0, 0.2, 0.1], [0.0, 0.1, 0.3, -0.1], [0.2, 0.1, 0.0, 0.1]]
        >>> found = plan_of(pilot, seeds=10, problems=1024)
        >>> round(found.smallest, 3), round(found.chance, 2)
        (0.004, 1.0)
    """
    if seeds < 1 or problems < 2:
        raise ConfigError(f"a design needs at least 1 seed and 2 problems, got {seeds} and {problems}")
    if not 0.0 < power < 1.0:
        raise ConfigError(f"power must lie between 0 and 1, got {power!r}")
    found = components(np.asarray(differences, dtype=np.float64)[..., None])
    of_problems, of_seeds = float(found.problem[0]) / problems, float(found.seed[0]) / seeds
    rest = float(found.rest[0]) / (seeds * problems)
    variance = of_problems + of_seeds + rest
    doubt = (of_problems + rest) ** 2 / (problems - 1) + (of_seeds**2 / (seeds - 1) if seeds > 1 else 0.0)
    df = variance**2 / doubt if doubt > 0 else float(problems - 1)
    error, t = math.sqrt(variance), student_quantile((1 + level) / 2, max(df, 1.0))
    chance = NormalDist().cdf(effect / error - t) if error > 0 else 1.0
    return Plan(seeds, problems, (t + NormalDist().inv_cdf(power)) * error, t * error, chance)
