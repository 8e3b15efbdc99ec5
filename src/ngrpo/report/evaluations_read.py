"""The evaluations of a run: correct completions by problem, and what each summary says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ngrpo.errors import NgrpoError, short_line
from ngrpo.evaluation.samples.counts import Counts, read_counts
from ngrpo.report.rollout_scan import number
from ngrpo.runs.run_dir import RunDir
from ngrpo.storage import read_json_object

MOST_READ = 24
"""Evaluations of a task whose samples are read, evenly spaced, the first and the last among them."""


class Evaluated(NamedTuple):
    """One evaluation; `counts` is None where its samples were not read."""

    step: int
    counts: Counts | None
    auc: float | None
    auc_interval: tuple[float, float] | None


def read_evaluations(run: RunDir) -> tuple[dict[str, list[Evaluated]], list[str]]:
    """Returns the complete evaluations of each task by step, and a line for each that cannot be read."""
    summaries: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    notes: list[str] = []
    for path in sorted(run.path.glob("eval/*/*/summary.json")):
        if not path.parts[-3].isdecimal():
            continue
        try:
            summary = read_json_object(path)
        except NgrpoError as error:
            notes.append(short_line(str(error)))
            continue
        summaries.setdefault(path.parts[-2], []).append((int(path.parts[-3]), summary))
    found: dict[str, list[Evaluated]] = {}
    for task, listed in summaries.items():
        listed.sort(key=lambda one: one[0])
        read = set(np.linspace(0, len(listed) - 1, min(MOST_READ, len(listed))).round().astype(int).tolist())
        for place, (step, summary) in enumerate(listed):
            counts = None
            if place in read:
                samples = run.path / "eval" / f"{step:06d}" / task / "samples.jsonl"
                counts = _counts(samples, notes)
            found.setdefault(task, []).append(
                Evaluated(step, counts, number(summary.get("auc")), interval_of(summary.get("auc_interval")))
            )
    return found, notes


def with_counts(evaluations: Sequence[Evaluated]) -> list[tuple[int, Counts]]:
    """Returns step and counts of the evaluations whose samples were read."""
    return [(one.step, one.counts) for one in evaluations if one.counts is not None]


def _counts(samples: Any, notes: list[str]) -> Counts | None:
    try:
        counts = read_counts(samples)
    except (NgrpoError, OSError, UnicodeError) as error:
        notes.append(short_line(str(error)))
        return None
    return counts if bool((counts.n > 0).any()) else None


def interval_of(value: Any) -> tuple[float, float] | None:
    """Returns the two ends of an interval as JSON has it, None for all else."""
    ends = [number(end) for end in value] if isinstance(value, list | tuple) else []
    return (ends[0], ends[1]) if len(ends) == 2 and ends[0] is not None and ends[1] is not None else None
