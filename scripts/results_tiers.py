"""Question 4 of the study: the tiers of problems by the base model's success rate, and which tables they have.

A tier is the training problems that the base model solves with a share of 64 samples in a window. How many of its
groups are all-wrong at the start is counted in 8 other samples of each problem, which did not choose it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ngrpo.evaluation.samples.counts import read_counts
from ngrpo.evaluation.statistics.clopper_pearson import upper_share
from ngrpo.storage import read_json_object, write_json

RATES = Path("docs/results/countdown-rates.json")
TIERS = {
    "05": (0.27, 0.36),
    "15": (0.18, 0.25),
    "30": (0.12, 0.17),
    "60": (0.055, 0.07),
    "75": (0.03, 0.05),
    "90": (0.01, 0.02),
}
"""By name, the expected share of all-wrong groups: the window of the share of correct samples, both ends included."""
DOSES = ("30", "60", "90")
"""Tiers in which the push on all-wrong groups is scaled."""


def overrides_of(tier: str) -> list[str]:
    """Returns the settings of a tier's study."""
    low, high = TIERS[tier]
    return [f"study.name=countdown-tier-{tier}", f"sampling.solve_rate=[{low},{high}]"]


def keep_rates(choosing: Path, fresh: Path) -> None:
    """Writes what two evaluations of the base model on the same problems say: by correct samples of the first, how many
    problems there are, and of how many every sample of the second is wrong.
    """
    first, second = (read_counts(str(path / "samples.jsonl")) for path in (choosing, fresh))
    if first.problem_ids != second.problem_ids:
        raise SystemExit(f"{choosing} and {fresh} are of different problems")
    samples, again = int(first.n[0]), int(second.n[0])
    problems = np.bincount(first.c, minlength=samples + 1)
    all_wrong = np.bincount(first.c[second.c == 0], minlength=samples + 1)
    table = {"samples": samples, "fresh_samples": again}
    write_json(RATES, {**table, "problems": problems.tolist(), "all_wrong": all_wrong.tolist()})


def starts_of_tiers() -> list[dict[str, Any]]:
    """Returns for each tier its problems and the share of all-wrong groups at the start, with its 95 % interval."""
    if not RATES.exists():
        return []
    rates = read_json_object(RATES)
    shares = np.arange(rates["samples"] + 1) / rates["samples"]
    rows = []
    for tier, (low, high) in TIERS.items():
        inside = (low <= shares) & (shares <= high)
        problems, all_wrong = (int(np.array(rates[key])[inside].sum()) for key in ("problems", "all_wrong"))
        ends = [1 - upper_share(problems - all_wrong, problems, 0.025), upper_share(all_wrong, problems, 0.025)]
        row = {"tier": tier, "window": [low, high], "problems": problems}
        rows.append({**row, "all_wrong": all_wrong / problems, "all_wrong_ci95": ends})
    return rows
