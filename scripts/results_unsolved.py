"""Which held-out problems a method finds and loses: 64 samples of the base model, 64 after each third of a run.

The base model's own next 64 samples are the measure: by luck alone they solve some of what the first did not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ngrpo.evaluation.samples.counts import read_counts
from ngrpo.evaluation.statistics.paired_seeds import paired_differences
from ngrpo.storage import read_json_object, write_json
from ngrpo.study.cell_summary import CellSummary

BASE = Path("docs/results/countdown-base.json")
BASELINE = "grpo"


def keep_base(first: Path, again: Path) -> None:
    """Writes the correct samples by problem of two evaluations of the base model on the held-out problems."""
    counts = [read_counts(str(path / "samples.jsonl")) for path in (first, again)]
    if counts[0].problem_ids != counts[1].problem_ids:
        raise SystemExit(f"{first} and {again} are of different problems")
    write_json(BASE, {"samples": int(counts[0].n[0]), "correct": counts[0].c.tolist(), "again": counts[1].c.tolist()})


def found_and_lost(summaries: Sequence[CellSummary]) -> list[dict[str, Any]]:
    """Returns a row for the base model's second samples, and one for each method.

    `found` has the share solved of the problems that the first samples did not solve, `lost` the share not solved of
    the others, each by evaluation, mean over seeds; `found_difference` is the last one minus GRPO's.
    """
    if not BASE.exists():
        return []
    base = read_json_object(BASE)
    unsolved, again = (np.array(base[key]) == 0 for key in ("correct", "again"))
    rows: list[dict[str, Any]] = [
        {
            "method": "base",
            "problems": int(unsolved.sum()),
            "found": [float(1 - again[unsolved].mean())],
            "lost": [float(again[~unsolved].mean())],
        }
    ]
    by_method: dict[str, list[Any]] = {}
    for run in sorted(summaries, key=lambda run: run.seed):
        by_method.setdefault(run.variant, []).append([np.array(evaluation.c) > 0 for evaluation in run.evaluations])
    solved = {name: np.array(runs, dtype=float) for name, runs in by_method.items()}
    for name, values in solved.items():
        found, lost = values[:, :, unsolved], 1 - values[:, :, ~unsolved]
        row = {"method": name, "found": found.mean(axis=(0, 2)).tolist(), "lost": lost.mean(axis=(0, 2)).tolist()}
        if name != BASELINE:
            of_baseline = solved[BASELINE][:, -1, unsolved]
            paired = paired_differences(found[:, -1, :, None], of_baseline[:, :, None])
            ends = paired.interval[0].tolist()
            row |= {"found_difference": float(paired.difference[0]), "found_ci95": ends}
        rows.append(row)
    return rows
