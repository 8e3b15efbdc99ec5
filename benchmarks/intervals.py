"""How often the intervals of Pass@k, AUC and paired differences cover the truth: the tables of docs/evaluation.md.

    OMP_NUM_THREADS=1 python benchmarks/intervals.py [--repeats 300] [--resamples 400] [--out intervals.json]

Each repeat draws a benchmark: problems with solve rates from a known distribution, n completions of each. The truth is
the mean over all such problems. The intervals here have 400 bootstrap resamples, the program's 10,000: that is a few
tenths of a point of coverage. "normal" is mean +- 1.96 standard errors, "percentile" the bootstrap of the mean. With
300 repeats, 95 % is seen as 92.5 to 97.5 % by chance. Takes less than ten minutes on one core.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from solve_rates import (
    CLUSTERED,
    DISTRIBUTIONS,
    EFFECTS,
    PAIRED,
    SEEDED,
    STATISTICS,
    Rates,
    clustered_rates,
    clustered_truth,
    expit,
    logit,
    seeded_truth,
    tables,
    trained,
    truth_of,
)

from ngrpo.evaluation.statistics.intervals import difference_intervals, mean_intervals
from ngrpo.evaluation.statistics.seed_intervals import seeded_difference_intervals, seeded_mean_intervals

NOMINAL = (93.0, 97.0)
OWN = ("bounded bootstrap-t", "skewed t", "over clusters", "mean of seeds", "difference of seeds")

Row = dict[str, object]


def normal(values: np.ndarray) -> np.ndarray:
    centre, half = values.mean(axis=0), 1.96 * values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return np.stack([centre - half, centre + half], axis=1)


@functools.cache
def resample_weights(problems: int, resamples: int) -> np.ndarray:
    """How often each problem is in each resample, over P [resamples, problems]; one draw serves all repeats."""
    drawn = np.random.default_rng(2).multinomial(problems, np.full(problems, 1 / problems), size=resamples)
    return drawn / problems


def percentile(values: np.ndarray, resamples: int) -> np.ndarray:
    return np.quantile(resample_weights(len(values), resamples) @ values, [0.025, 0.975], axis=0).T


def cells(labels: Row, intervals: dict[str, np.ndarray], truth: np.ndarray) -> list[Row]:
    """A row per method and statistic from intervals [repeats, 3, 2]."""
    rows = []
    for method, ends in intervals.items():
        covered = 100 * ((ends[:, :, 0] <= truth) & (truth <= ends[:, :, 1])).mean(axis=0)
        widths = 100 * (ends[:, :, 1] - ends[:, :, 0]).mean(axis=0)
        widest = 100 * (ends[:, :, 1] - ends[:, :, 0]).max(axis=0)
        rows += [
            {**labels, "method": method, "statistic": name}
            | {"coverage": float(covered[i]), "width": float(widths[i]), "widest": float(widest[i])}
            for i, name in enumerate(STATISTICS)
        ]
    return rows


def repeated(count: int, once: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    drawn = [once() for _ in range(count)]
    return {method: np.stack([one[method] for one in drawn]) for method in drawn[0]}


def single(problems: int, n: int, name: str, arguments: argparse.Namespace, rng: np.random.Generator) -> list[Row]:
    draw, table = DISTRIBUTIONS[name], tables(n)

    def once() -> dict[str, np.ndarray]:
        values = table[rng.binomial(n, draw(rng, (problems,)))]
        return {
            "bounded bootstrap-t": mean_intervals(values, resamples=arguments.resamples, seed=int(rng.integers(2**31))),
            "normal": normal(values),
            "percentile": percentile(values, arguments.resamples),
        }

    labels: Row = {"kind": "mean", "problems": problems, "n": n, "rates": name}
    return cells(labels, repeated(arguments.repeats, once), truth_of(name, n))


def paired(
    problems: int, n: int, name: str, effect: str, arguments: argparse.Namespace, rng: np.random.Generator
) -> list[Row]:
    draw, change, table = DISTRIBUTIONS[name], EFFECTS[effect], tables(n)

    def once() -> dict[str, np.ndarray]:
        rates = draw(rng, (problems,))
        a, b = table[rng.binomial(n, change(rng, rates))], table[rng.binomial(n, rates)]
        return {
            "skewed t": difference_intervals(a, b),
            "normal": normal(a - b),
            "percentile": percentile(a - b, arguments.resamples),
        }

    labels: Row = {"kind": "difference", "problems": problems, "n": n, "rates": name, "effect": effect}
    return cells(labels, repeated(arguments.repeats, once), truth_of(name, n, effect))


def clustered(problems: int, n: int, arguments: argparse.Namespace, rng: np.random.Generator) -> list[Row]:
    """Problems of one template resemble each other; intervals over clusters, and as if problems were independent."""
    table, rows = tables(n), []

    def once() -> dict[str, np.ndarray]:
        rates, clusters = clustered_rates(rng, problems)
        values, options = table[rng.binomial(n, rates)], {"resamples": arguments.resamples}
        return {
            "over clusters": mean_intervals(values, clusters=clusters.tolist(), **options),
            "clusters ignored": mean_intervals(values, **options),
        }

    labels: Row = {"kind": "mean", "problems": problems, "n": n, "rates": CLUSTERED}
    rows += cells(labels, repeated(arguments.repeats, once), clustered_truth(n))
    for effect in ("none", "shift 0.5, noise 1", "template noise"):

        def pair(effect: str = effect) -> dict[str, np.ndarray]:
            rates, clusters = clustered_rates(rng, problems)
            if effect == "template noise":
                changed = expit(logit(rates) + rng.standard_normal(problems)[clusters])
            else:
                changed = EFFECTS[effect](rng, rates)
            a, b = table[rng.binomial(n, changed)], table[rng.binomial(n, rates)]
            return {
                "over clusters": difference_intervals(a, b, clusters=clusters.tolist()),
                "clusters ignored": difference_intervals(a, b),
            }

        # Noise of a template changes the mean of all as noise of each problem does.
        truth = clustered_truth(n, "noise 1" if effect == "template noise" else effect)
        labels = {"kind": "difference", "problems": problems, "n": n, "rates": CLUSTERED, "effect": effect}
        rows += cells(labels, repeated(arguments.repeats, pair), truth)
    return rows


def seeded(
    problems: int, n: int, name: str, seeds: int, arguments: argparse.Namespace, rng: np.random.Generator
) -> list[Row]:
    """Several training seeds of two methods that are the same but for the seeds; and of one method."""
    draw, table = DISTRIBUTIONS[name], tables(n)

    def drawn(rates: Rates) -> np.ndarray:
        return table[rng.binomial(n, trained(rng, rates, seeds))]

    def once() -> dict[str, np.ndarray]:
        rates = draw(rng, (problems,))
        a, b = drawn(rates), drawn(rates)
        return {
            "mean of seeds": seeded_mean_intervals(a, resamples=arguments.resamples),
            "difference of seeds": seeded_difference_intervals(a, b),
            "difference, seeds ignored": difference_intervals(a.mean(axis=0), b.mean(axis=0)),
        }

    found = repeated(max(1, arguments.repeats // 2), once)
    labels: Row = {"kind": "seeds", "problems": problems, "n": n, "rates": name, "seeds": seeds}
    mean = {method: ends for method, ends in found.items() if method == "mean of seeds"}
    differences = {method: ends for method, ends in found.items() if method not in mean}
    return cells(labels, mean, seeded_truth(name, n)) + cells(labels, differences, np.zeros(3))


def summary_table(rows: list[Row]) -> str:
    lines = ["| interval | problems | coverage, mean | lowest to highest | within 93-97 % | width, points |"]
    lines.append("|---|---|---|---|---|---|")
    keys = dict.fromkeys((row["kind"], row["method"], row["problems"]) for row in rows)
    for kind, method, problems in sorted(keys, key=lambda key: list(keys).index(key)):
        group = [row for row in rows if (row["kind"], row["method"], row["problems"]) == (kind, method, problems)]
        coverage = np.array([row["coverage"] for row in group])
        width = np.mean([row["width"] for row in group])
        inside = np.sum((coverage >= NOMINAL[0]) & (coverage <= NOMINAL[1]))
        lines.append(
            f"| {kind}: {method} | {problems} | {coverage.mean():.1f} | {coverage.min():.1f} to {coverage.max():.1f} | "
            f"{inside} of {len(coverage)} | {width:.1f} |"
        )
    return "\n".join(lines)


def shapes_table(rows: list[Row]) -> str:
    """One line per shape of benchmark and number of problems: our own intervals, of one file and paired."""
    lines = [
        "| benchmark | problems | one file: coverage, lowest | width | widest | paired: coverage, lowest | width |"
    ]
    lines.append("|---|---|---|---|---|---|---|")
    own = [row for row in rows if row["method"] in (*OWN[:2], "over clusters")]
    for name in dict.fromkeys(str(row["rates"]) for row in own):
        for problems in dict.fromkeys(row["problems"] for row in own):
            line = [name, str(problems)]
            for kind in ("mean", "difference"):
                group = [r for r in own if (r["kind"], r["rates"], r["problems"]) == (kind, name, problems)]
                coverage = np.array([row["coverage"] for row in group])
                if not group:
                    line += ["", ""]
                    continue
                line += [f"{coverage.mean():.1f}, {coverage.min():.1f}", f"{np.mean([r['width'] for r in group]):.1f}"]
                line += [f"{max(float(str(r['widest'])) for r in group):.1f}"] if kind == "mean" else []
            lines.append(f"| {' | '.join(line)} |")
    return "\n".join(lines)


def outside(rows: list[Row], methods: tuple[str, ...]) -> str:
    listed = [
        row for row in rows if row["method"] in methods and not NOMINAL[0] <= float(str(row["coverage"])) <= NOMINAL[1]
    ]
    keys = ("method", "problems", "n", "rates", "effect", "seeds", "statistic")
    return "\n".join(
        f"{row['coverage']:.1f} %: " + ", ".join(f"{key} {row[key]}" for key in keys if key in row) for row in listed
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=300, help="simulated benchmarks per cell; half for the seeds")
    parser.add_argument("--resamples", type=int, default=400, help="of each bootstrap")
    parser.add_argument("--problems", type=int, nargs="+", default=[30, 100, 500])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write all cells to this JSON file")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    rows: list[Row] = []
    for problems in arguments.problems:
        for n in (64, 256):
            for name in DISTRIBUTIONS:
                rows += single(problems, n, name, arguments, rng)
            for name in PAIRED:
                for effect in EFFECTS:
                    rows += paired(problems, n, name, effect, arguments, rng)
            rows += clustered(problems, n, arguments, rng)
        if problems <= 100:
            for name in SEEDED:
                for seeds in (2, 3, 5):
                    rows += seeded(problems, 64, name, seeds, arguments, rng)
    print(shapes_table(rows))
    print("\n" + summary_table(rows))
    print("\nOutside 93-97 %:\n" + outside(rows, OWN))
    if arguments.out:
        arguments.out.write_text(
            json.dumps({"settings": vars(arguments) | {"out": None}, "cells": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
