"""The course of the long runs: Pass@k at each of their evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from results_names import name_of

from ngrpo.study.cell_summary import CellSummary, values_of


def course_of(summaries: Sequence[CellSummary]) -> list[dict[str, Any]]:
    """Returns for each run its Pass@1 and Pass@64 at each evaluation."""
    rows = []
    for summary in summaries:
        curves = []
        for evaluation in summary.evaluations:
            ks, values = values_of([evaluation])
            curves.append(dict(zip(ks, values.mean(axis=0).tolist(), strict=True)))
        rows.append({"method": summary.variant, **{f"pass@{k}": [curve[k] for curve in curves] for k in (1, 64)}})
    return rows


def course_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the table, or nothing before the runs are finished."""
    lines = ["| | Pass@1 after 1/3, 2/3, 3/3 | Pass@64 |", "|---|---|---|"]
    for row in rows:
        cells = (", ".join(f"{100 * share:.1f}" for share in row[key]) for key in ("pass@1", "pass@64"))
        lines.append(f"| {name_of(row['method'])} | {' | '.join(cells)} |")
    return lines if rows else []
