"""How often simultaneous bands cover a whole Pass@k curve, beside pointwise intervals: the table of docs/study.md.

    python benchmarks/bands.py [--repeats 1000] [--json]

Each repeat is a study of two methods with paired seeds: solve rates of problems from a beta distribution, shifted by a
random effect of the seed and of seed and problem, n completions each. The truth is the mean over very many seeds and
problems. A band covers where all k are inside.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from ngrpo.evaluation.statistics.bands import simultaneous_band
from ngrpo.evaluation.statistics.paired_seeds import paired_differences
from ngrpo.evaluation.statistics.pass_at_k import pass_at_k, powers_of_two

SIZES = ((3, 100), (5, 300), (10, 1024))
N = 64


def curves(rates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pass@k [seeds, problems, ks] of n completions at these solve rates."""
    counts = rng.binomial(N, rates)
    table = np.stack([pass_at_k(N, np.arange(N + 1), k) for k in powers_of_two(N)], axis=1)
    return table[counts]


def rates_of(rng: np.random.Generator, seeds: int, problems: int) -> tuple[np.ndarray, np.ndarray]:
    """Solve rates [seeds, problems] of two methods: log-odds with effects of problem, method, seed and both."""
    base = rng.normal(-2.0, 1.5, problems)
    of_method = rng.normal(0.1, 0.4, problems)
    sides = [
        base + method * of_method + rng.normal(0.0, 0.15, (seeds, 1)) + rng.normal(0.0, 0.3, (seeds, problems))
        for method in (1, 0)
    ]
    return tuple(1 / (1 + np.exp(-side)) for side in sides)  # type: ignore[return-value]


def truth() -> np.ndarray:
    """The expected difference of the curves, from many seeds and problems."""
    a, b = rates_of(np.random.default_rng(123), 400, 20_000)
    exact = [1 - (1 - rates[..., None]) ** np.array(powers_of_two(N)) for rates in (a[:50], b[:50])]
    return (exact[0] - exact[1]).mean(axis=(0, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    expected, rows = truth(), []
    for seeds, problems in SIZES:
        rng, bands, points, widths = np.random.default_rng(seeds), 0, 0, []
        for _ in range(given.repeats):
            a, b = (curves(rates, rng) for rates in rates_of(rng, seeds, problems))
            band, pointwise = simultaneous_band(a - b, draws=4000), paired_differences(a, b).interval
            bands += bool(((band.low <= expected) & (expected <= band.high)).all())
            points += bool(((pointwise[:, 0] <= expected) & (expected <= pointwise[:, 1])).all())
            widths.append(float((band.high - band.low).mean()))
        rows.append(
            {
                "seeds": seeds,
                "problems": problems,
                "band_covers": bands / given.repeats,
                "pointwise_covers_all_k": points / given.repeats,
                "mean_width": float(np.mean(widths)),
            }
        )
    if given.json:
        print(json.dumps({"repeats": given.repeats, "rows": rows}))
        return
    print(
        "| seeds | problems | band covers all k | pointwise intervals do | mean width, points |\n|---|---|---|---|---|"
    )
    for row in rows:
        shares = [f"{100 * row[key]:.1f} %" for key in ("band_covers", "pointwise_covers_all_k")]
        print(f"| {row['seeds']} | {row['problems']} | {shares[0]} | {shares[1]} | {100 * row['mean_width']:.1f} |")


if __name__ == "__main__":
    main()
