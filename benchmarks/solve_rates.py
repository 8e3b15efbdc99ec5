"""Simulated benchmarks of `intervals.py`: solve rates of problems, what changes them, and the true statistics."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from ngrpo.evaluation.statistics.pass_at_k import powers_of_two
from ngrpo.evaluation.statistics.problem_values import problem_values

KS = (1, 16)
STATISTICS = ("Pass@1", "Pass@16", "AUC")
POPULATION = 1_000_000

Rates = np.ndarray
Draw = Callable[[np.random.Generator, tuple[int, ...]], Rates]


def expit(x: Rates) -> Rates:
    return 1 / (1 + np.exp(-x))


def logit(p: Rates) -> Rates:
    inside = np.clip(p, 1e-12, 1 - 1e-12)
    return np.log(inside / (1 - inside))


def aime_like(rng: np.random.Generator, size: tuple[int, ...]) -> Rates:
    kind = rng.random(size)
    middle = np.where(kind < 0.8, rng.beta(1, 3, size), rng.beta(4, 2, size))
    return np.where(kind < 0.5, rng.beta(0.2, 6, size), middle)


DISTRIBUTIONS: dict[str, Draw] = {
    "Beta(1, 1)": lambda rng, size: rng.beta(1, 1, size),
    "Beta(0.3, 1.5)": lambda rng, size: rng.beta(0.3, 1.5, size),
    "40 % never, else Beta(0.5, 2)": lambda rng, size: np.where(rng.random(size) < 0.4, 0, rng.beta(0.5, 2, size)),
    "AIME-like mix": aime_like,
    "logit-normal(-2, 2)": lambda rng, size: expit(-2 + 2 * rng.standard_normal(size)),
    "logit-normal(1, 2)": lambda rng, size: expit(1 + 2 * rng.standard_normal(size)),
    "weak: 95 % never": lambda rng, size: np.where(rng.random(size) < 0.95, 0, rng.beta(1, 1, size)),
    "near the ceiling": lambda rng, size: np.where(rng.random(size) < 0.9, rng.beta(50, 1, size), rng.beta(1, 2, size)),
    "U-shaped": lambda rng, size: rng.beta(0.1, 0.1, size),
}

Effect = Callable[[np.random.Generator, Rates], Rates]
EFFECTS: dict[str, Effect] = {
    "none": lambda _, p: p,
    "shift 0.5": lambda _, p: np.where(p == 0, 0, expit(logit(p) + 0.5)),
    "shift 0.5, noise 1": lambda rng, p: np.where(p == 0, 0, expit(logit(p) + 0.5 + rng.standard_normal(p.shape))),
    "noise 1": lambda rng, p: np.where(p == 0, 0, expit(logit(p) + rng.standard_normal(p.shape))),
    "shift 3 of 10 %": lambda rng, p: np.where(rng.random(p.shape) < 0.1, expit(logit(p) + 3), p),
}
PAIRED = (
    *("Beta(0.3, 1.5)", "AIME-like mix", "logit-normal(1, 2)"),
    *("weak: 95 % never", "near the ceiling", "U-shaped"),
)
CLUSTERED = "clustered"
"""Solve rates of a template, and of its 1 to 5 problems around it, in logits."""
SEEDED = ("Beta(0.3, 1.5)", "logit-normal(1, 2)")
SEED_SHIFT = 0.3
"""Deviation, in logits, of what a training seed does to all problems; and of what it does to each apart."""


def truths(rates: Rates, n: int) -> np.ndarray:
    """Expected statistics [3] of problems with these solve rates."""
    curve = {k: float(np.mean(1 - (1 - rates) ** k)) for k in {*KS, *powers_of_two(n)}}
    area = [curve[k] for k in powers_of_two(n)]
    return np.array([*(curve[k] for k in KS), ((area[0] + area[-1]) / 2 + sum(area[1:-1])) / (len(area) - 1)])


@functools.cache
def truth_of(name: str, n: int, effect: str | None = None) -> np.ndarray:
    """Statistics [3] of all problems of this kind, or how much the effect changes them."""
    rng = np.random.default_rng(1)
    population = DISTRIBUTIONS[name](rng, (POPULATION,))
    if effect is None:
        return truths(population, n)
    return truths(EFFECTS[effect](rng, population), n) - truths(population, n)


@functools.cache
def seeded_truth(name: str, n: int) -> np.ndarray:
    """Statistics [3] over all problems and all training seeds."""
    rng = np.random.default_rng(1)
    population = DISTRIBUTIONS[name](rng, (POPULATION // 100,))
    return np.mean([truths(trained(rng, population, 1)[0], n) for _ in range(1000)], axis=0)


def trained(rng: np.random.Generator, rates: Rates, seeds: int) -> Rates:
    """Solve rates [seeds, problems] after training with several seeds."""
    shifts = SEED_SHIFT * (rng.standard_normal((seeds, 1)) + rng.standard_normal((seeds, rates.shape[-1])))
    return expit(logit(rates) + shifts)


def clustered_rates(rng: np.random.Generator, problems: int) -> tuple[Rates, np.ndarray]:
    """Solve rates [problems] and clusters [problems]; the last cluster may be cut."""
    sizes = rng.integers(1, 6, size=problems)
    clusters = np.repeat(np.arange(problems), sizes)[:problems]
    return expit(-1 + 1.5 * rng.standard_normal(problems)[clusters] + 0.7 * rng.standard_normal(problems)), clusters


@functools.cache
def clustered_truth(n: int, effect: str | None = None) -> np.ndarray:
    rng = np.random.default_rng(1)
    population = clustered_rates(rng, POPULATION)[0]
    if effect is None:
        return truths(population, n)
    return truths(EFFECTS[effect](rng, population), n) - truths(population, n)


@functools.cache
def tables(n: int) -> np.ndarray:
    """Statistics [n + 1, 3] by the number of correct completions."""
    return problem_values(np.full(n + 1, n), np.arange(n + 1), KS, powers_of_two(n))
